"""Fixtures of the integration tests: real servers, started once per session, and a folder per test."""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import processes, servers  # noqa: E402

processes.die_with_parent()


def pytest_report_header(config):
    return f"size: {os.environ.get('KEYROLL_TEST_SIZE', 'ci')}, programs: {os.environ.get('KEYROLL_BIN', 'build/release')}"


@pytest.fixture(scope="session")
def full():
    """True for the full counts, False at CI size."""
    return os.environ.get("KEYROLL_TEST_SIZE") == "full"


@pytest.fixture(scope="session")
def servers_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def kafka(servers_folder):
    """One broker for the session; every test takes topics and a group of its own by a prefix."""
    with servers.KafkaServer(servers_folder) as server:
        yield server


@pytest.fixture
def redis_server(tmp_path):
    """A Redis for one test: its AOF is searched for secrets afterwards."""
    with servers.RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def moto(tmp_path):
    with servers.Moto(tmp_path) as server:
        yield server
