#!/usr/bin/env python3
"""tsan_suite.py: runs the unit tests that cross threads (librdkafka's callbacks, libuv's and libcurl's resolver threads,
libmicrohttpd, the heartbeat) under ThreadSanitizer.

librdkafka is not instrumented, so that its atomic reference counts are not seen: reports whose place, the first frame outside
the sanitizer, is in librdkafka itself do not count. What our callbacks do on its threads does."""
import os
import subprocess
import sys
import time
from pathlib import Path

import junit

SUPPORT = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("KEYROLL_BUILD", SUPPORT.parent.parent / "build")) / "tsan"
NAMES = ["http", "http_server", "kafka_admin", "kafka_follow", "kafka_in", "kafka_out", "loop", "metrics", "redis", "secret"]


def check(name):
    options = "exitcode=0:halt_on_error=0:second_deadlock_stack=1"
    done = subprocess.run([BUILD / "tests/unit" / f"test_{name}"], env=dict(os.environ, TSAN_OPTIONS=options),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = done.stdout.decode(errors="replace").splitlines()
    reports = [line for line in lines if line.startswith("SUMMARY: ThreadSanitizer")]
    ours = [line for line in reports if "librdkafka.so" not in line]
    print(f"{name}: {len(reports)} reports, {len(ours)} of them outside librdkafka")
    if done.returncode == 0 and not ours:
        return []
    return [f"{name}: exit status {done.returncode}"] + ours + [line for line in lines if "FAILED" in line or "#" in line][-40:]


def main():
    if subprocess.run([SUPPORT / "build", "tsan"]).returncode != 0:
        return 1
    report = junit.Report("tsan")
    for name in NAMES:
        started = time.monotonic()
        report.record(name, check(name), time.monotonic() - started)
    return report.save()


if __name__ == "__main__":
    sys.exit(main())
