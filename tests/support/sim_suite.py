#!/usr/bin/env python3
"""sim_suite.py [KEYROLL-SIM ARGUMENTS]: the simulation suite. Builds with gcc and clang, runs the regressions, the histories
(20,000; full 1,000,000), the mutants, and compares the traces of both builds. With arguments (--seed N): only those."""
import os
import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import quoteattr

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
FULL = os.environ.get("KEYROLL_TEST_SIZE") == "full"
HISTORIES = 1000000 if FULL else 20000
TRACES = 2000 if FULL else 300


def run(build, *arguments):
    program = build / "tests" / "sim" / "keyroll-sim"
    return subprocess.run([program, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)


def main():
    build = Path(os.environ.get("KEYROLL_BUILD", ROOT / "build"))
    results = Path(os.environ.get("KEYROLL_RESULTS", build))
    if subprocess.run([SUPPORT / "build", "release"], check=False).returncode != 0:
        return 1
    if sys.argv[1:]:
        os.execv(build / "release" / "tests" / "sim" / "keyroll-sim", ["keyroll-sim", *sys.argv[1:]])
    if subprocess.run([SUPPORT / "build", "clang"], check=False).returncode != 0:
        return 1
    tests = {
        "regressions": ("--plan", ROOT / "tests" / "sim" / "regressions.txt"),
        "histories": ("--count", HISTORIES),
        "mutants": ("--mutants", 20000),
    }
    failed = {}
    for name, arguments in tests.items():
        done = run(build / "release", *arguments)
        print(f"-- {name}\n{done.stdout}", flush=True)
        failed[name] = done.returncode != 0
    gcc, clang = (run(build / preset, "--traces", TRACES) for preset in ("release", "clang"))
    same = gcc.stdout == clang.stdout and gcc.stdout.count("\n") == TRACES
    print(f"-- traces: {TRACES} of gcc and clang {'are the same' if same else 'DIFFER'}", flush=True)
    failed["traces"] = not same
    cases = "".join(f'<testcase classname="sim" name={quoteattr(n)}>{"<failure message=" + quoteattr(n) + "/>" if bad else ""}'
                    "</testcase>" for n, bad in failed.items())
    (results / "sim.xml").write_text(f'<testsuite name="sim" tests="{len(failed)}">{cases}</testsuite>')
    return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
