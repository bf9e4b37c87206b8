#!/usr/bin/env python3
"""fuzz_suite.py [TARGET...]: builds the libFuzzer targets (preset fuzz) and runs each on its corpus, for 5 s each, or 60 s
at full size (KEYROLL_TEST_SIZE=full; KEYROLL_FUZZ_S sets another time), under address, undefined-behaviour and leak
sanitizers. The seeds are tests/fuzz/corpus/TARGET and the unit tests' vectors; what a run finds new is thrown away, a crash
is kept below build/fuzz/crashes and named. A crash is mended at its cause, and its file goes to the corpus: each run
begins with all of them."""
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import junit

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parent.parent
BUILD = Path(os.environ.get("KEYROLL_BUILD", ROOT / "build")) / "fuzz"
CORPUS = ROOT / "tests/fuzz/corpus"
MESSAGES = ["tests/unit/vectors/messages/valid", "tests/unit/vectors/messages/invalid"]
VECTORS = {"job": MESSAGES, "campaign": MESSAGES, "event": MESSAGES, "deadletter": MESSAGES, "json": MESSAGES,
           "policy_file": ["tests/unit/vectors/policies/valid", "tests/unit/vectors/policies/invalid"],
           "profile": ["tests/unit/vectors/profile/valid", "tests/unit/vectors/profile/invalid"],
           "synergist_reply": ["tests/unit/vectors/synergist"]}
LIMITS = ["-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256", "-print_final_stats=1", "-max_len=16384"]


def targets():
    return sorted(path.stem.removeprefix("fuzz_") for path in (ROOT / "tests/fuzz").glob("fuzz_*.c"))


def fuzz(name, seconds):
    """Runs one target. Returns (complaints, one line of figures)."""
    seeds = [CORPUS / name] + [ROOT / folder for folder in VECTORS.get(name, [])]
    seeds = [folder for folder in seeds if folder.is_dir() and any(folder.iterdir())]
    if not seeds:
        return [f"{name}: no seeds in {CORPUS / name}"], ""
    crashes = BUILD / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1:handle_abort=1",
                       UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")
    with tempfile.TemporaryDirectory(prefix=f"keyroll-fuzz-{name}-") as new:
        done = subprocess.run([BUILD / "tests/fuzz" / f"fuzz_{name}", f"-max_total_time={seconds}", f"-seed={os.environ.get('KEYROLL_FUZZ_SEED', '1')}",
                               f"-artifact_prefix={crashes}/{name}-", *LIMITS, new, *seeds],
                              env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = done.stdout.decode(errors="replace")
    runs = re.search(r"stat::number_of_executed_units: (\d+)", text)
    covered = re.findall(r" cov: (\d+)", text)
    figures = f"{int(runs.group(1)) if runs else 0:>9} runs, {covered[-1] if covered else 0:>5} edges"
    if done.returncode == 0 and runs and int(runs.group(1)) > 0:
        return [], figures
    telling = [line for line in text.splitlines() if re.search(r"ERROR|SUMMARY|does not hold|Test unit|runtime error", line)]
    telling = telling or text.splitlines()[-15:]
    return [f"{name}: exit status {done.returncode}: {telling[0] if telling else 'no output'}", *telling], figures


def main():
    names = sys.argv[1:] or targets()
    seconds = os.environ.get("KEYROLL_FUZZ_S") or ("60" if os.environ.get("KEYROLL_TEST_SIZE") == "full" else "5")
    if subprocess.run([SUPPORT / "build", "fuzz"]).returncode != 0:
        return 1
    report = junit.Report("fuzz")

    def timed(name):
        started = time.monotonic()
        complaints, figures = fuzz(name, int(seconds))
        return name, complaints, figures, time.monotonic() - started

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, complaints, figures, used_s in pool.map(timed, names):
            print(f"{name:<16} {figures}")
            report.record(name, complaints, used_s)
    return report.save()


if __name__ == "__main__":
    sys.exit(main())
