#!/usr/bin/env python3
"""The quickstart suite: runs deploy/quickstart as a newcomer would, twice, and reads its last line."""
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import junit

ROOT = Path(__file__).resolve().parent.parent.parent
LAST_LINE = re.compile(r"(\d+) rotated, 0 failed, 0 outages, 0 orphan keys")
BUILDING = re.compile(r"Building C object|Linking C|\[\d+/\d+\]")


def run(licences, env):
    done = subprocess.run([ROOT / "deploy/quickstart", "--licences", str(licences)], cwd=ROOT, env=env, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout, flush=True)
    return done.returncode, done.stdout


def verdict(status, output, licences):
    """Returns the complaints about one run."""
    last = (output.rstrip().split("\n") or [""])[-1]
    match = LAST_LINE.fullmatch(last.strip())
    if status != 0:
        yield f"exit status {status}, last line: {last}"
    elif not match:
        yield f"unexpected last line: {last}"
    elif int(match.group(1)) != licences:
        yield f"{match.group(1)} rotated, not {licences}"


def left_running(env):
    """Names the processes that still work in the state directory of the run, after a moment's grace."""
    state = env["XDG_STATE_HOME"]
    for _ in range(50):
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if entry.name.isdigit() and int(entry.name) != os.getpid() and state in line:
                found.append(f"still running: {line.strip()[:150]}")
        if not found:
            return []
        time.sleep(0.1)
    return found


def main():
    licences = 200 if os.environ.get("KEYROLL_TEST_SIZE") == "full" else 50
    env = dict(os.environ)
    report = junit.Report("quickstart")
    for name in ("first run", "second run"):
        status, output = run(licences, env)
        report.record(name, list(verdict(status, output, licences)))
        report.check(f"{name} leaves nothing running", left_running, env)
    report.record("second run builds nothing", [line for line in output.split("\n") if BUILDING.search(line)][:5])
    return report.save()


if __name__ == "__main__":
    sys.exit(main())
