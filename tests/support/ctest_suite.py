#!/usr/bin/env python3
"""ctest_suite.py PREFIX PRESET...: builds each preset, then runs the ctest programs named PREFIX.* of all presets at once, one
JUnit file each. A job more than there are processors in each: the longest programs wait most of their time. KEYROLL_AGAIN=1: only
those that failed the last time."""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent


def main():
    prefix, presets = sys.argv[1], sys.argv[2:]
    build = Path(os.environ.get("KEYROLL_BUILD", SUPPORT.parent.parent / "build"))
    results = Path(os.environ.get("KEYROLL_RESULTS", build))
    if any(subprocess.run([SUPPORT / "build", preset]).returncode != 0 for preset in presets):
        return 1
    chosen = {preset: ["-R", rf"^{prefix}\."] for preset in presets}
    for preset in presets:
        failed = build / preset / "Testing" / "Temporary" / "LastTestsFailed.log"  # ctest leaves an old one where it is
        if os.environ.get("KEYROLL_AGAIN") != "1":
            failed.unlink(missing_ok=True)
        elif failed.exists():
            chosen[preset] = ["--rerun-failed"]
        else:
            del chosen[preset]
    runs = [subprocess.Popen(["ctest", "--test-dir", build / preset, *options, "--no-tests=error",
                              "--output-on-failure", "--timeout", "300", "-j", str(os.cpu_count() + 1),
                              "--output-junit", results / f"{prefix}-{preset}.xml"],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for preset, options in chosen.items()]
    with ThreadPoolExecutor(len(runs)) as readers:
        texts = readers.map(lambda run: run.communicate()[0].decode(errors="replace"), runs)
        for preset, text in zip(chosen, texts):
            print(f"-- {preset}\n{text}", flush=True)
    return next((run.returncode for run in runs if run.returncode), 0)


if __name__ == "__main__":
    sys.exit(main())
