#!/usr/bin/env python3
"""ctest_suite.py PREFIX PRESET...: builds each preset and runs its ctest programs named PREFIX.*, one JUnit file each."""
import os
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent


def main():
    prefix, presets = sys.argv[1], sys.argv[2:]
    build = Path(os.environ.get("KEYROLL_BUILD", SUPPORT.parent.parent / "build"))
    results = Path(os.environ.get("KEYROLL_RESULTS", build))
    status = 0
    for preset in presets:
        if subprocess.run([SUPPORT / "build", preset]).returncode != 0:
            return 1
        done = subprocess.run(["ctest", "--test-dir", build / preset, "-R", rf"^{prefix}\.", "--no-tests=error",
                               "--output-on-failure", "--timeout", "300", "-j", str(os.cpu_count()),
                               "--output-junit", results / f"{prefix}-{preset}.xml"])
        status = status or done.returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
