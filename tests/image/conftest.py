"""Fixtures of the image suite: the image, built once from what git knows of the checkout, and unpacked; and what goes on meanwhile.

The image itself is made first, without its tests: that takes little. While the integration tests run on it (they mostly
wait), it is made again with its unit tests, by clang, and from nothing that was compiled before.
"""
import concurrent.futures
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import image, processes, programs as found, provision  # noqa: E402

processes.die_with_parent()

CI_SIZE = ["test_fleet.py::test_sigterm_in_the_middle_drains", "test_moto.py::test_rotate_command_waits_for_the_overlap", "test_tls.py",
           "test_identity.py"]
FULL_SIZE = ["test_fleet.py", "test_refusals.py", "test_moto.py", "test_synergist.py", "test_tls.py", "test_identity.py", "test_commands.py",
             "test_drain.py"]


@pytest.fixture(scope="session")
def full():
    return os.environ.get("KEYROLL_TEST_SIZE") == "full"


@pytest.fixture(scope="session")
def builder(tmp_path_factory):
    return image.Builder(provision.cache_folder() / "image", tmp_path_factory.mktemp("image"))


def timed(what, function):
    started = time.monotonic()
    result = function()
    print(f"{what}: {time.monotonic() - started:.0f} s")
    return result


@pytest.fixture(scope="session")
def built(builder):
    """The builder, once the image is made."""
    timed("base system", builder.base)
    timed("image", lambda: builder.build(image.NAME, "--build-arg", "UNIT_TESTS=off"))
    return builder


@pytest.fixture(scope="session")
def root(built):
    """The unpacked image."""
    container, folder = built.mount()
    yield folder
    built.release(container)


@pytest.fixture(scope="session")
def programs(root, tmp_path_factory):
    """A folder with keyroll and keyroll-worker that run from the unpacked image, confined; and the host's sandbox."""
    folder = image.wrappers(tmp_path_factory.mktemp("bin"), root)
    os.symlink(found.binary("keyroll-sandbox"), folder / "keyroll-sandbox")
    return folder


@pytest.fixture(scope="session")
def builds(built, integration, full):
    """{name of an image: future of its build}, one after the other, in the background."""
    with concurrent.futures.ThreadPoolExecutor(1) as background:
        def later(name, *options, **more):
            return background.submit(timed, name, lambda: built.build(name, *options, **more))
        yield {
            image.TESTED: later(image.TESTED),
            image.CLANG: later(image.CLANG, file=image.CLANG_FILE, base=image.TOOLS),
            # At full size from the base system on, with nothing cached.
            image.AGAIN: later(image.AGAIN, *(["--no-cache"] if full else []), "--build-arg", "UNIT_TESTS=off", "--build-arg",
                               "SOURCES=/elsewhere/keyroll", compile_all=True)}


@pytest.fixture(scope="session")
def integration(programs, full, tmp_path_factory):
    """The integration tests on the host, with real Kafka and Redis; both programs are those of the image. A process, started."""
    scratch = tmp_path_factory.mktemp("integration")
    results = Path(os.environ.get("KEYROLL_RESULTS", scratch))
    env = {**os.environ, "KEYROLL_BIN": str(programs), "PYTEST_ADDOPTS": ""}
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", "--durations=15", f"--junitxml={results}/integration.xml",
            f"--basetemp={scratch}/pytest", "-n", "3", "--dist", "loadfile"]
    with processes.Process("integration", argv + [f"tests/integration/{name}" for name in (FULL_SIZE if full else CI_SIZE)], scratch, env,
                           cwd=found.ROOT).spawn() as running:
        yield running
