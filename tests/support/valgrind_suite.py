#!/usr/bin/env python3
"""valgrind_suite.py: runs unit tests of preset dev under valgrind's memcheck: no invalid access, no use of undefined bytes,
no definite leak. At CI size those which parse and keep secrets; full: all but those which measure or fork servers."""
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import junit

SUPPORT = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("KEYROLL_BUILD", SUPPORT.parent.parent / "build")) / "dev"
CI = ["aws", "aws_sign", "buf", "clock", "credref", "escrow", "http_head", "identity", "keyslots", "lease", "message",
      "offsets", "policy", "presigned", "profile", "record", "saga", "secret", "settings", "slots", "synergist",
      "synergist_reply", "synergist_request", "topics", "xml"]
FULL = CI + ["aws_creds", "discover", "log", "metrics", "options", "states"]


def check(name):
    started = time.monotonic()
    done = subprocess.run(["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite",
                           "--show-leak-kinds=definite", "--child-silent-after-fork=yes", BUILD / "tests/unit" / f"test_{name}"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = done.stdout.decode(errors="replace").splitlines()
    telling = [line for line in lines if line.startswith("==") or "FAILED" in line or "ERROR" in line]
    return name, ([f"{name}: exit status {done.returncode}"] + telling[:40]) if done.returncode else [], time.monotonic() - started


def main():
    if subprocess.run([SUPPORT / "build", "dev"]).returncode != 0:
        return 1
    report = junit.Report("valgrind")
    names = FULL if os.environ.get("KEYROLL_TEST_SIZE") == "full" else CI
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, complaints, used_s in pool.map(check, names):
            report.record(name, complaints, used_s)
    return report.save()


if __name__ == "__main__":
    sys.exit(main())
