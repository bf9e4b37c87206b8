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
# At full size the whole suite, less what is not about the two programs or asks for what an image rightly does not hold.
NOT_HERE = {
    "test_budget.py": "measures rates, alone on the machine",
    "test_completion.py": "reads files of the build",
    "test_hardening.py": "reads the programs' files, which are wrappers here",
    "test_limits.py": "a container's /sys/fs/cgroup: the cluster suite looks at that of a real pod",
    "test_notify.py": "notices are told by a script: there is no shell",
    "test_policy_schema.py": "runs a program of the build",
    "test_schema.py": "runs a program of the build",
    "test_support.py": "tests the tests",
    "test_trigger_schema.py": "runs a program of the build",
    "test_up.py": "keyroll up starts a redis-server: there is none",
}


def full_size():
    files = {file.name for file in (found.ROOT / "tests" / "integration").glob("test_*.py")}
    assert set(NOT_HERE) <= files, f"gone: {set(NOT_HERE) - files}"
    return sorted(files - set(NOT_HERE))


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
    (folder / "tests").mkdir()
    os.symlink(found.binary("next/keyroll").parent, folder / "tests" / "next")  # test_upgrade.py: from the image's to it, and back
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
    with processes.Process("integration", argv + [f"tests/integration/{name}" for name in (full_size() if full else CI_SIZE)], scratch, env,
                           cwd=found.ROOT).spawn() as running:
        yield running
