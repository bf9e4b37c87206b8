#!/usr/bin/env python3
"""coverage_suite.py: line and branch coverage of our folders by the unit, saga and sim programs (preset coverage). Prints a
table per folder and the files of worker/ and schema/, and fails when worker/ or schema/ falls below what is asked below. Only gcov and the standard library are needed.

What is compiled several times (the simulation has a copy of worker/ and schema/ with its mutants) counts once per source
line; a branch counts as taken when any copy took it."""
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import junit

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
BUILD = Path(os.environ.get("KEYROLL_BUILD", ROOT / "build")) / "coverage"
FOLDERS = ["worker", "schema", "lib", "producer"]
# Percent of lines and of branches. What only the integration tests run (worker/worker.c, main.c) counts as not run.
AT_LEAST = {"worker": (72, 60), "schema": (90, 72)}
HISTORIES = 100000 if os.environ.get("KEYROLL_TEST_SIZE") == "full" else 2000


def run_programs(report):
    for data in BUILD.rglob("*.gcda"):
        data.unlink()
    started = time.monotonic()
    done = subprocess.run(["ctest", "--test-dir", BUILD, "-R", r"^(unit|saga)\.", "--output-on-failure", "--timeout", "300", "-j",
                           str(os.cpu_count())], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    report.record("unit and saga", [] if done.returncode == 0 else done.stdout.splitlines()[-20:], time.monotonic() - started)
    started = time.monotonic()
    done = subprocess.run([BUILD / "tests/sim/keyroll-sim", "--count", str(HISTORIES)], stdout=subprocess.PIPE, text=True)
    report.record("sim", [] if done.returncode == 0 else done.stdout.splitlines()[-20:], time.monotonic() - started)


def gcov(data):
    """What gcov says of one object: [(path in the tree, {line: (count, [branch counts])})]."""
    with tempfile.TemporaryDirectory(prefix="keyroll-gcov-") as folder:
        subprocess.run(["gcov", "--json-format", "--branch-probabilities", data], cwd=folder, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        found = []
        for file in Path(folder).glob("*.gcov.json.gz"):
            said = json.loads(gzip.decompress(file.read_bytes()))
            for source in said["files"]:
                path = os.path.realpath(os.path.join(said["current_working_directory"], source["file"]))
                name = os.path.relpath(path, ROOT)
                if name.split("/")[0] not in FOLDERS:
                    continue
                lines = defaultdict(lambda: (0, []))
                for line in source["lines"]:
                    count, branches = lines[line["line_number"]]
                    more = [branch["count"] for branch in line["branches"] if not branch["throw"]]
                    lines[line["line_number"]] = (count + line["count"], branches + more)
                found.append((name, dict(lines)))
        return found


def merge(objects):
    """{path: {line: (count, [branch counts])}} over all objects."""
    total = defaultdict(dict)
    for name, lines in objects:
        for number, (count, branches) in lines.items():
            before, known = total[name].get(number, (0, []))
            if len(branches) == len(known):
                known = [a + b for a, b in zip(known, branches)]
            elif sum(1 for b in branches if b) > sum(1 for b in known if b) or not known:
                known = branches  # another compilation has other branches here: the better covered one counts
            total[name][number] = (before + count, known)
    return total


def figures(files):
    """(lines, covered, branches, taken)"""
    lines = [line for file in files for line in file.values()]
    branches = [branch for _, known in lines for branch in known]
    return len(lines), sum(1 for count, _ in lines if count), len(branches), sum(1 for branch in branches if branch)


def percent(part, whole):
    return 100.0 * part / whole if whole else 100.0


def row(name, numbers):
    lines, covered, branches, taken = numbers
    return f"{name:<32} {lines:>6} {percent(covered, lines):>6.1f} % {branches:>7} {percent(taken, branches):>6.1f} %"


def main():
    if subprocess.run([SUPPORT / "build", "coverage"]).returncode != 0:
        return 1
    report = junit.Report("coverage")
    run_programs(report)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = [one for found in pool.map(gcov, sorted(BUILD.rglob("*.gcno"))) for one in found]
    total = merge(objects)
    print(f"{'':<32} {'lines':>6} {'':>8} {'branches':>7}")
    for folder in FOLDERS:
        files = {name: lines for name, lines in total.items() if name.startswith(folder + "/")}
        numbers = figures(files.values())
        print(row(folder, numbers))
        if folder in AT_LEAST:
            for name in sorted(files):
                print(row("    " + name, figures([files[name]])))
            got = percent(numbers[1], numbers[0]), percent(numbers[3], numbers[2])
            report.record(f"{folder}: at least {AT_LEAST[folder][0]} % of lines, {AT_LEAST[folder][1]} % of branches",
                          [f"{got[0]:.1f} % of lines, {got[1]:.1f} % of branches"]
                          if got[0] < AT_LEAST[folder][0] or got[1] < AT_LEAST[folder][1] else [])
    return report.save()


if __name__ == "__main__":
    sys.exit(main())
