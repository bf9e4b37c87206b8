#!/usr/bin/env python3
"""sim_suite.py [KEYROLL-SIM ARGUMENTS]: the simulation suite. Builds with gcc and clang, runs the regressions, the histories
(20,000; full 1,000,000) with the table of what they went through, the mutants, and compares the traces of both builds. With
arguments (--seed N): only those."""
import os
import subprocess
import sys
import time
from pathlib import Path
from xml.sax.saxutils import quoteattr

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
FULL = os.environ.get("KEYROLL_TEST_SIZE") == "full"
HISTORIES, LEAST = (1000000, 100) if FULL else (20000, 10)  # LEAST: times that each step x outcome x crash point is seen
TRACES = 2000 if FULL else 300
JOBS = os.cpu_count() or 1


def start(build, *arguments):
    program = build / "tests" / "sim" / "keyroll-sim"
    return subprocess.Popen([program, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def compare_traces(build):
    """Two runs of the gcc build and one of the clang build, each with address randomisation as the system has it."""
    runs = [start(build / preset, "--traces", TRACES) for preset in ("release", "release", "clang")]
    texts = [run.communicate()[0] for run in runs]
    same = len(set(texts)) == 1 and texts[0].count("\n") == TRACES and not any(run.returncode for run in runs)
    print(f"-- traces: {TRACES} of gcc, gcc again and clang {'are the same' if same else 'DIFFER'}", flush=True)
    return same


def main():
    build = Path(os.environ.get("KEYROLL_BUILD", ROOT / "build"))
    results = Path(os.environ.get("KEYROLL_RESULTS", build))
    if subprocess.run([SUPPORT / "build", "release"], check=False).returncode != 0:
        return 1
    if sys.argv[1:]:
        os.execv(build / "release" / "tests" / "sim" / "keyroll-sim", ["keyroll-sim", *sys.argv[1:]])
    clang = (["cmake", "--preset", "clang", "-B", build / "clang"],  # this one program of it
             ["cmake", "--build", build / "clang", "-j", str(JOBS), "--target", "keyroll-sim", "--", "--quiet"])
    if any(subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode for command in clang):
        return 1
    tests = {
        "regressions": ("--plan", ROOT / "tests" / "sim" / "regressions.txt"),
        "histories": ("--count", HISTORIES, "--coverage", LEAST, "--jobs", JOBS),
        "mutants": ("--mutants", 20000, "--jobs", JOBS),
    }
    failed = {}
    for name, arguments in tests.items():
        began = time.monotonic()
        run = start(build / "release", *arguments)
        print(f"-- {name}\n{run.communicate()[0]}   {time.monotonic() - began:.0f} s", flush=True)
        failed[name] = run.returncode != 0
    failed["traces"] = not compare_traces(build)
    cases = "".join(f'<testcase classname="sim" name={quoteattr(n)}>{"<failure message=" + quoteattr(n) + "/>" if bad else ""}'
                    "</testcase>" for n, bad in failed.items())
    (results / "sim.xml").write_text(f'<testsuite name="sim" tests="{len(failed)}">{cases}</testsuite>')
    return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
