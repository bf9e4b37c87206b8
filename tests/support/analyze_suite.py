#!/usr/bin/env python3
"""analyze_suite.py: clang-tidy (checks: .clang-tidy) and gcc -fanalyzer over lib, schema, worker and producer. Clean, or each
exception explained where it stands: NOLINT with a reason for clang-tidy, the list below for gcc's analyzer, which knows no
such comment. clang's own path analysis (clang-analyzer-*) takes seconds a file and runs at full size only
(KEYROLL_TEST_SIZE=full)."""
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import junit

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
BUILD = Path(os.environ.get("KEYROLL_BUILD", ROOT / "build")) / "dev"
FOLDERS = ("lib", "schema", "worker", "producer")
# gcc 12 made its analyzer for C, and still loses the thread in two places that are everywhere here:
GCC_FLAGS = [
    "-fanalyzer", "-O1", "-Werror", "-Wno-format-truncation",
    "-Wno-analyzer-malloc-leak",  # what is stored in an array of a struct, or moved out with TAKE(), is "leaked"; clang's
                                  # unix.Malloc, LeakSanitizer (unit, saga, torture) and valgrind look for real ones
    "-Wno-analyzer-use-of-uninitialized-value",  # AUTO_FREE char *p = NULL; is "uninitialized" where the scope ends early;
                                                 # clang's core.uninitialized and valgrind look for real ones
]
# Single findings that are none: (file, what gcc says, why it cannot be).
NOT_SO = [
    ("lib/kafka_in.c", "-Wanalyzer-null-dereference", "librdkafka gives a list with each rebalance callback"),
    ("schema/record.c", "-Wanalyzer-null-argument", "record_find() takes NULL, record_add() is called with an id"),
    ("producer/campaign_cmd.c", "-Wanalyzer-null-argument", "f->n is only counted up where f->list is not NULL"),
]
# clang 14's path analysis knows no __attribute__((cleanup)), so that what AUTO_FREE frees is "leaked": LeakSanitizer (unit, saga,
# torture) and valgrind look for real leaks. valist: it loses va_start() behind a condition. Padding: members stand in the order
# in which they are read.
PATH_CHECKS = "--checks=-bugprone-*,-cert-*,-clang-analyzer-valist.Uninitialized,-clang-analyzer-optin.performance.Padding"
NO_PATH = [
    ("", "Potential leak of memory", "see above"),
    ("lib/aws_call.c", "Use of memory after it is freed", "the macros of sys/queue.h: the freed call is no longer the first"),
    ("lib/kafka_out.c", "Use of memory after it is freed", "list_remove() makes the next one the first"),
    ("lib/loop.c", "Use of memory after it is freed", "watch_close() takes itself from the list"),
    ("lib/redis.c", "Use of memory after it is freed", "between enter() and leave() nothing is freed"),
    ("worker/calls.c", "Use of memory after it is freed", "the freed call is no longer the first"),
    ("lib/buf.c", "Null pointer passed to 2nd parameter", "bytes that are there (len) have memory"),
    ("lib/kafka_admin.c", "dereference of a null pointer", "librdkafka gives metadata with its 0"),
    ("lib/profile.c", "null pointer dereference", "place_of() finds it only among entries"),
    ("producer/campaign_cmd.c", "Null pointer passed to 1st parameter", "f->n is only counted up where f->list is not NULL"),
    ("producer/cmd_doctor.c", "garbage value", "client_instance_call() fills it with its 0"),
    ("producer/table.c", "Division by zero", "a table has columns before it has cells"),
    ("schema/inventory.c", "Dereference of null pointer", "asserted above: rows where n is not 0"),
    ("schema/keyslots.c", "Value stored to 'k'", "read by the mutants, which are in the simulation's build alone"),
]
TIDY_FLAGS = ["--quiet", "-p", str(BUILD), "--extra-arg=-Wno-unknown-warning-option"]  # flags of gcc in the database


def commands():
    """{source in the tree: its compiler command from the build}"""
    found = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        name = os.path.relpath(entry["file"], ROOT)
        if name.split("/")[0] in FOLDERS:
            found.setdefault(name, entry)
    return found


def gcc(name, entry):
    words = [word for word in entry["command"].replace('\\"', '"').split() if word.startswith(("-I", "-D", "-std", "-isystem"))]
    done = subprocess.run(["gcc", *words, *GCC_FLAGS, "-c", "-o", os.devnull, entry["file"]], cwd=entry["directory"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    told = [line for line in done.stdout.splitlines() if ": error:" in line or ": warning:" in line]
    told = [line for line in told if not any(name == file and what.removeprefix("-W") in line for file, what, _ in NOT_SO)]
    if done.returncode and not done.stdout.strip():
        told.append(f"{name}: gcc ended with {done.returncode}")
    return [line for line in told if "all warnings being treated" not in line]


def tidy(name, entry, flag="--checks=-clang-analyzer-*"):
    done = subprocess.run(["clang-tidy", *TIDY_FLAGS, flag, entry["file"]], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    told = [line for line in done.stdout.splitlines() if ": error:" in line or ": warning:" in line]
    return told or ([f"{name}: clang-tidy ended with {done.returncode}: {done.stderr[-300:]}"] if done.returncode else [])


def paths(name, entry):
    return [line for line in tidy(name, entry, PATH_CHECKS)
            if not any(name.startswith(file) and what in line for file, what, _ in NO_PATH)]


def seen(tool):
    """The tool finds what is wrong on purpose: a clean run means something."""
    source = ("#include <stdlib.h>\nint f(int n); int f(int n) { char *p = malloc(4); if (!p) return 0; free(p); if (n) free(p); "
              "return atoi(\"1\"); }\n")
    path = BUILD / "analyze_this.c"
    path.write_text(source)
    try:
        return [] if tool(str(path), {"file": str(path), "directory": str(ROOT), "command": "cc -std=c17"}) else ["what is wrong is not found"]
    finally:
        path.unlink()


def main():
    if subprocess.run([SUPPORT / "build", "dev"]).returncode != 0:
        return 1
    report = junit.Report("analyze")
    sources = commands()
    tools = [("clang-tidy", tidy), ("gcc -fanalyzer", gcc)]
    if os.environ.get("KEYROLL_TEST_SIZE") == "full":
        tools.append(("clang-analyzer", paths))
    for title, tool in tools:
        report.check(f"{title} sees what is wrong", seen, tool)
        started = time.monotonic()
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            told = [line for lines in pool.map(lambda one, tool=tool: tool(*one), sorted(sources.items())) for line in lines]
        print(f"{title}: {len(sources)} files, {len(set(told))} findings")
        report.record(title, sorted(set(told)), time.monotonic() - started)
    return report.save()


if __name__ == "__main__":
    sys.exit(main())
