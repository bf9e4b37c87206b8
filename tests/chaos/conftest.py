"""Fixtures of the chaos suite: real Kafka and Redis, the sandbox, 3 workers, 1 scheduler; something hurts, the books must be right.

Every test is one scenario. It lets a fleet live its whole life (rotate, overlap, quarantine, gone) while the scenario goes on,
then verdict.py looks at everything. Random moments are the point of some scenarios: the seed is printed.
"""
import os
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import deployment, processes, sandbox, servers, verdict  # noqa: E402

processes.die_with_parent()

FULL = os.environ.get("KEYROLL_TEST_SIZE") == "full"
LICENCES = 300 if FULL else 60
# New keys are refused for a while, as AWS does it, and every instance uses its key each second.
WORLD = {"new_key_delay_ms": "100-1500", "use_interval_ms": 1000}
WAITS = {"overlap": "2s", "quarantine": "2s", "max_attempts": 30}


def pytest_report_header(config):
    return f"size: {'full' if FULL else 'ci'}, licences: {LICENCES}, programs: {os.environ.get('KEYROLL_BIN', 'build/release')}"


@pytest.fixture(scope="session")
def full():
    return FULL


@pytest.fixture
def dice(request):
    """A test may bring a seed of its own (parametrize, indirect)."""
    seed = int(os.environ.get("KEYROLL_CHAOS_SEED") or getattr(request, "param", random.randrange(10**6)))
    print(f"seed {seed} (KEYROLL_CHAOS_SEED repeats it)")
    return random.Random(seed)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """One broker for the session; every test takes topics and a group of its own by a prefix."""
    with servers.KafkaServer(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture
def redis_server(tmp_path):
    with servers.RedisServer(tmp_path) as server:
        yield server


class Chaos:
    """One fleet and one installation on it, and the usual ways to hurt its processes."""

    def __init__(self, folder, kafka, redis_server, dice, count=LICENCES, world=None, **settings):
        self.dice = dice
        self.fleet = sandbox.SandboxFleet(folder, count, **{**WORLD, **(world or {})}).start()
        self.installed = deployment.Deployment(folder, kafka, redis_server, self.fleet, **{**WAITS, **settings})
        self.installed.topics_apply()

    def spread(self, seconds):
        """Publishes so slowly that the fleet's life lasts about so long: look, rotate, retire and reap of each licence."""
        self.installed.settings["plan_publish_rate"] = max(1, round(4 * len(self.fleet.names) / seconds))
        return self

    def start(self, workers=3, prepare=None):
        """prepare: called with each process before it starts."""
        made = [self.installed.worker(start=False) for _ in range(workers)] + [self.installed.scheduler(start=False)]
        for one in made:
            if prepare:
                prepare(one)
            one.spawn()
        for one in self.installed.running():
            one.wait_ready(60)
        return self

    def workers(self):
        return [one for one in self.installed.workers if one.running()]

    def schedulers(self):
        return [one for one in self.installed.schedulers if one.running()]

    def replace(self, one):
        """SIGKILL, and a new process in its place at once."""
        one.sigkill()
        (self.installed.worker if one in self.installed.workers else self.installed.scheduler)(start=False).spawn()

    def under_way(self, client):
        """Returns users whose journal is open in this Redis now, and licences that have two keys now: those between two rests."""
        users = {verdict.user_of(key) for key in client.scan_iter(match="kr:{*}:journal", count=1000)}
        return users | {name for name, book in verdict.books(self.fleet).items() if len(verdict.existing(book)) > 1}

    def wait_rotated(self, part, timeout_s=120):
        """Waits until this part of the fleet was rotated."""
        self.fleet.wait_rotated(int(len(self.fleet.names) * part), timeout_s)

    def end(self, timeout_s=None, may_ask=False, **how):
        """The verdict: everything at rest, no complaints. may_ask: some licences may ask a person first, who then acts.

        Returns how the fleet came to rest before anybody acted.
        """
        timeout_s = timeout_s or (600 if FULL else 180)
        rest = last = verdict.settle(self.installed, timeout_s, may_ask)
        if rest.asking:
            assert verdict.ask_people(self.installed, rest) == []
            last = verdict.settle(self.installed, timeout_s)
        assert verdict.complaints(self.installed, last, **how) == []
        return rest

    def stop(self):
        self.installed.__exit__()
        self.fleet.stop()


@pytest.fixture
def chaos(tmp_path, kafka, redis_server, dice):
    """Makes the world of a test: chaos(**settings); count, world (options of the sandbox), redis, brokers override."""
    made = []

    def make(redis=redis_server, brokers=kafka, **options):
        if not brokers.running():  # a scenario that failed left it so
            brokers.start()
        made.append(Chaos(tmp_path, brokers, redis, dice, **options))
        return made[-1]
    yield make
    for one in made:
        one.stop()


@pytest.fixture(autouse=True)
def duration(request):
    began = time.monotonic()
    yield
    print(f"{request.node.name}: {time.monotonic() - began:.0f} s")
