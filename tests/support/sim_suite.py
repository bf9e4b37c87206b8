#!/usr/bin/env python3
"""sim_suite.py [KEYROLL-SIM ARGUMENTS]: the simulation suite. Builds with gcc and clang, runs the regressions, the histories
(20,000; full 1,000,000) with the table of what they went through, the mutants, compares the traces of all builds, and runs the
regressions and some histories under ASan, UBSan and LSan. With arguments (--seed N): only those."""
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
SANITIZED = 20000 if FULL else 1500
JOBS = os.cpu_count() or 1


def start(build, *arguments):
    program = build / "tests" / "sim" / "keyroll-sim"
    return subprocess.Popen([program, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def build_one(build, preset):
    """This one program of a preset."""
    commands = (["cmake", "--preset", preset, "-B", build / preset],
                ["cmake", "--build", build / preset, "-j", str(JOBS), "--target", "keyroll-sim", "--", "--quiet"])
    return not any(subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode for command in commands)


def compare_traces(build):
    """Two runs of the gcc build and one of the clang build, each with address randomisation as the system has it; the first ones
    of a sanitized build too, which has the C library's heap and numbers in place of heap.c and numbers.c."""
    wanted = [("release", TRACES), ("release", TRACES), ("clang", TRACES), ("asan", TRACES // 6)]
    runs = [start(build / preset, "--traces", n) for preset, n in wanted]
    texts = [run.communicate()[0].splitlines() for run in runs]
    same = not any(run.returncode for run in runs) and all(
        len(text) == n and text == texts[0][:n] for text, (_, n) in zip(texts, wanted))
    print(f"-- traces: {TRACES} of gcc, gcc again and clang, {TRACES // 6} sanitized {'are the same' if same else 'DIFFER'}", flush=True)
    return same


def main():
    build = Path(os.environ.get("KEYROLL_BUILD", ROOT / "build"))
    results = Path(os.environ.get("KEYROLL_RESULTS", build))
    if subprocess.run([SUPPORT / "build", "release"], check=False).returncode != 0:
        return 1
    if sys.argv[1:]:
        os.execv(build / "release" / "tests" / "sim" / "keyroll-sim", ["keyroll-sim", *sys.argv[1:]])
    if not all(build_one(build, preset) for preset in ("clang", "asan")):
        return 1
    plans = ("--plan", ROOT / "tests" / "sim" / "regressions.txt")
    tests = {
        "regressions": ("release", *plans),
        "histories": ("release", "--count", HISTORIES, "--coverage", LEAST, "--jobs", JOBS),
        "mutants": ("release", "--mutants", 20000, "--jobs", JOBS),
        "regressions, sanitized": ("asan", *plans),
        "histories, sanitized": ("asan", "--count", SANITIZED, "--jobs", JOBS),
    }
    failed = {}
    for name, (preset, *arguments) in tests.items():
        began = time.monotonic()
        run = start(build / preset, *arguments)
        print(f"-- {name}\n{run.communicate()[0]}   {time.monotonic() - began:.0f} s", flush=True)
        failed[name] = run.returncode != 0
    failed["traces"] = not compare_traces(build)
    cases = "".join(f'<testcase classname="sim" name={quoteattr(n)}>{"<failure message=" + quoteattr(n) + "/>" if bad else ""}'
                    "</testcase>" for n, bad in failed.items())
    (results / "sim.xml").write_text(f'<testsuite name="sim" tests="{len(failed)}">{cases}</testsuite>')
    return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
