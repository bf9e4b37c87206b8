"""Fixtures of the chart tests: the tools that tests/support/provision.py built, and the chart rendered for each set of values."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support import chart_files  # noqa: E402

CASES = sorted(path.stem for path in (HERE / "values").glob("*.yaml"))


def tool(name, *arguments, check=True):
    """Runs a tool. Returns the finished process; fails with its words."""
    path = Path(os.environ["KEYROLL_CHART_TOOLS"], name)
    done = subprocess.run([path, *map(str, arguments)], text=True, capture_output=True)
    assert not check or done.returncode == 0, f"{name}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


def template(case, *arguments, check=True):
    return tool("helm", "template", "roll", chart_files.CHART, "--namespace", "keyroll", "-f", HERE / "values" / f"{case}.yaml",
                *arguments, check=check)


@pytest.fixture(scope="session")
def rendered():
    """Returns the objects of a set of values."""
    made = {}

    def get(case):
        if case not in made:
            made[case] = [one for one in yaml.safe_load_all(template(case).stdout) if one]
        return made[case]
    return get


@pytest.fixture(scope="session")
def find(rendered):
    """Returns the one object of that kind whose name ends so."""
    def get(case, kind, suffix=""):
        found = [one for one in rendered(case) if one["kind"] == kind and one["metadata"]["name"].endswith(suffix)]
        assert len(found) == 1, [one["metadata"]["name"] for one in found]
        return found[0]
    return get
