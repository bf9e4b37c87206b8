"""Fixtures of the image suite: the image, built once from what git knows of the checkout, and unpacked."""
import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import image, processes, provision  # noqa: E402

processes.die_with_parent()


@pytest.fixture(scope="session")
def full():
    return os.environ.get("KEYROLL_TEST_SIZE") == "full"


@pytest.fixture(scope="session")
def builder(tmp_path_factory):
    return image.Builder(provision.cache_folder() / "image", tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def built(builder):
    """Builds base and image, the unit tests run on the way. Returns the builder."""
    started = time.monotonic()
    builder.base()
    print(f"base system ready after {time.monotonic() - started:.0f} s")
    builder.build()
    print(f"image built after {time.monotonic() - started:.0f} s")
    return builder


@pytest.fixture(scope="session")
def root(built):
    """The unpacked image."""
    container, folder = built.mount()
    yield folder
    built.release(container)


@pytest.fixture(scope="session")
def programs(root, tmp_path_factory):
    """A folder with keyroll and keyroll-worker that run from the unpacked image."""
    return image.wrappers(tmp_path_factory.mktemp("bin"), root)
