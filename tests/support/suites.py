#!/usr/bin/env python3
"""tests/run [full] [SUITE...]: proves keyroll on this machine and says so in one last line.
tests/run sim --seed S: tells the story of one simulated history.

Alone it runs every suite of DEFAULT at CI size; `full` first asks for the full counts (the suites see it as
KEYROLL_TEST_SIZE=ci|full). It installs what the chosen suites need (tests/support/provision.py), starts each suite as a
session of its own, counts the tests in the JUnit files the suite leaves in KEYROLL_RESULTS, and removes every process
that a suite started, whatever way it ends. A suite that leaves no JUnit file counts as one test, by its exit status.

A failure is: a failed or a skipped test, a suite without tests, a suite over its budget, a suite that leaves a process
behind, a part that is missing. Where a few tests of AGAIN's suites fail (real servers, real clocks, two cores), these alone run once
more when the suite is over; one that passes then is named as UNSTABLE, with what it said first, in the row and before the last line:
it is a bug to be found, in the test or in keyroll, but not a verdict on the commit. Exit 0 only if nothing failed, 1 otherwise, 2 on wrong usage, 130 after Ctrl-C.
Needs a Debian system; everything is fetched by the ordinary package managers, python3 by tests/run itself.
"""
import ctypes
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests" / "support"))
import provision  # noqa: E402

# What `tests/run` alone runs. By name only: cluster and cluster-keda, since Kubernetes and KEDA are built from source (once, before
# the budget's clock starts); tsan, analyze and coverage, since other versions of gcc and clang find other things.
DEFAULT = ["lint", "unit", "saga", "sim", "model", "fuzz", "valgrind", "sandbox", "integration", "budget", "quickstart", "chart",
           "observability", "image", "chaos", "bench"]

# suite          minutes: CI  full  what it needs             command (bash, in the root of the checkout)
SUITES = {
    "lint":        (        4,    4, "build lint",            "python3 tests/support/lint.py"),
    "unit":        (        5,    8, "build redis",           "python3 tests/support/ctest_suite.py unit dev asan"),
    "saga":        (        5,   15, "build",                 "python3 tests/support/ctest_suite.py saga dev asan"),
    "analyze":     (        5,   20, "build analyze",         "python3 tests/support/analyze_suite.py"),
    "coverage":    (        8,   20, "build redis",           "python3 tests/support/coverage_suite.py"),
    "fuzz":        (        5,   20, "build fuzz",            "python3 tests/support/fuzz_suite.py"),
    "model":       (        6,   30, "model",                 "tests/model/run"),
    "valgrind":    (        4,    8, "build redis valgrind",  "python3 tests/support/valgrind_suite.py"),
    "tsan":        (        5,    6, "build redis",           "python3 tests/support/tsan_suite.py"),
    "sim":         (        5,  120, "build",                 "tests/support/sim_suite.py"),
    "sandbox":     (        3,    5, "build venv",            "tests/support/build release && $PYTEST tests/sandbox"),
    "integration": (       14,   60, "build venv redis kafka",
                    "tests/support/build release && $PYTEST tests/integration -n 6 --dist loadfile --ignore=tests/integration/test_budget.py"),
    "budget":      (        4,   10, "build venv redis kafka",  # alone: it measures rates
                    "tests/support/build release && $PYTEST tests/integration/test_budget.py"),
    "chaos":       (        8,   60, "build venv redis kafka clock",
                    "tests/support/build release && $PYTEST tests/chaos -n 4 --maxschedchunk=1 -rP"),
    "quickstart":  (        5,    8, "build redis",           "python3 tests/support/quickstart_suite.py"),
    "chart":       (        5,    5, "build venv redis kafka chart prometheus",
                      "tests/support/build release && $PYTEST tests/chart -n 2"),
    "observability": (      5,    6, "build venv redis kafka prometheus asyncapi",
                      "tests/support/build release && $PYTEST tests/observability"),
    "image":       (        8,   60, "build venv redis kafka image",
                    "tests/support/build release && $PYTEST tests/image --durations=20 -rP"),
    "cluster":     (       20,   40, "build venv redis kafka image chart cluster",
                    "tests/support/build release && $KEYROLL_PYTHON tests/cluster/run test_cluster.py"),
    "cluster-keda": (      25,   40, "build venv redis kafka image chart prometheus cluster keda",
                     "tests/support/build release && $KEYROLL_PYTHON tests/cluster/run test_keda.py"),
    "bench":       (       10,   30, "build venv redis kafka", "tests/support/build release && tests/bench/run"),
}

AGAIN = {"unit", "integration", "budget", "chaos", "observability", "image", "cluster", "cluster-keda"}
AGAIN_AT_MOST = 3   # failed tests: with more, something is broken

TAIL_LINES = 60
GRACE_S = 5         # a suite's own children may take this long to follow it
KILL_FACTOR = 1.25  # a suite is stopped at this multiple of its budget


class Child:
    """Sends the signals of one suite: it leads a session of its own and dies with this process."""

    def __init__(self, command, env, log):
        libc = ctypes.CDLL(None, use_errno=True)

        def follow_parent():
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

        self.process = subprocess.Popen(["bash", "-c", command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=log,
                                        stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=follow_parent)

    def signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def wait(self, timeout_s):
        """Returns the exit status, or None when it still runs after timeout_s."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None


def descendants():
    """Lists (pid, command) of every process below this one. Orphans are ours too: this process is a subreaper."""
    parent, name = {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text()
            line = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        fields = stat[stat.rindex(")") + 2:].split()
        if fields[0] != "Z":
            parent[int(entry)], name[int(entry)] = int(fields[1]), line.strip()[:120]
    found, level = [], [os.getpid()]
    while level:
        level = [pid for pid, above in parent.items() if above in level]
        found += [(pid, name[pid]) for pid in level]
    return found


def cpu_seconds():
    """The CPU time of all that has ended below this process."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def reap():
    """Collects dead orphans, so that none stays behind as a zombie."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        pass


def sweep(grace_s):
    """Waits grace_s for what is still running, then kills it. Returns the commands that had to be killed."""
    end = time.monotonic() + grace_s
    while descendants() and time.monotonic() < end:
        reap()
        time.sleep(0.1)
    killed = []
    while True:
        rest = descendants()
        if not rest:
            return killed
        for pid, command in rest:
            if command not in killed:
                killed.append(command)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
        reap()


def read_junit(folder):
    """Returns (names of the passed, {name of a failed one: text}) over the JUnit files of one run of a suite. A name begins with its
    file's."""
    passed, failures = [], {}
    for file in sorted(folder.glob("*.xml")):
        try:
            root = ElementTree.parse(file).getroot()
        except ElementTree.ParseError as error:
            failures[file.name] = f"not a JUnit file: {error}"
            continue
        for case in root.iter("testcase"):
            name = f"{file.stem}: " + ".".join(part for part in (case.get("classname"), case.get("name")) if part)
            bad = next((case.find(tag) for tag in ("failure", "error", "skipped") if case.find(tag) is not None), None)
            if bad is None and case.get("status") in (None, "run", "passed"):
                passed.append(name)
            elif bad is None:
                failures[name] = str(case.get("status"))
            else:
                text = (bad.get("message") or "").strip().splitlines()
                failures[name] = f"{bad.tag}: {text[0][:200] if text else ''}"
    return passed, failures


def print_tail(log):
    lines = log.read_text(errors="replace").splitlines()
    for line in lines[-TAIL_LINES:]:
        print(f"    | {line[:300]}")
    print(f"    log: {log}")


def suite_environment(results, scratch, size, provided):
    """The suites' environment: nothing of AWS or keyroll leaks in from outside, nothing goes through a proxy to us."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PYTEST_"))}
    no_proxy = ",".join(part for part in (env.get("no_proxy") or env.get("NO_PROXY"), "127.0.0.1,localhost,::1") if part)
    build = env.setdefault("KEYROLL_BUILD", str(ROOT / "build"))
    env.update(KEYROLL_TEST_SIZE=size, KEYROLL_RESULTS=str(results), KEYROLL_TMP=str(scratch), TMPDIR=str(scratch),
               NO_PROXY=no_proxy, no_proxy=no_proxy, AWS_EC2_METADATA_DISABLED="true", PYTHONDONTWRITEBYTECODE="1",
               PYTEST_ADDOPTS=f"--junitxml={results}/pytest.xml --basetemp={scratch}/pytest -o cache_dir={scratch}/cache -ra",
               XDG_STATE_HOME=str(scratch / "state"), LC_ALL="C.UTF-8")
    programs = env.setdefault("KEYROLL_BIN", os.path.join(build, "release"))
    env.setdefault("KEYROLL_SANDBOX", os.path.join(programs, "tests", "sandbox", "keyroll-sandbox"))
    env.update(provided)
    return env


def run_command(command, env, out, limit_s):
    """Runs a suite's command. Returns (exit status or None when it had to be stopped, [command that it left running])."""
    child = Child(command, env, out)
    try:
        status = child.wait(limit_s)
        if status is None:
            child.signal(signal.SIGINT)  # lets pytest name the test that hangs and write its results
            status = child.wait(20)
    finally:
        if sys.exc_info()[0] is not None:
            child.signal(signal.SIGINT)
            child.wait(10)
        left = sweep(GRACE_S)
    return status, left


def run_again(command, env, out, results, failures, limit_s):
    """Runs the failed tests once more, alone. Moves those that pass now out of failures; returns them as {name: text}."""
    folder = results / "again"
    folder.mkdir()
    out.write(f"\n-- again, alone: {len(failures)} that failed\n".encode())
    out.flush()
    options = env["PYTEST_ADDOPTS"].replace(f"{results}/pytest.xml", f"{folder}/pytest.xml")
    options = options.replace(f"{env['KEYROLL_TMP']}/pytest", f"{env['KEYROLL_TMP']}/again")
    env = {**env, "KEYROLL_RESULTS": str(folder), "KEYROLL_AGAIN": "1",
           "PYTEST_ADDOPTS": f"{options} --last-failed --last-failed-no-failures none"}
    status, left = run_command(command, env, out, limit_s)
    passed, failed_again = read_junit(folder)
    if status != 0 or failed_again or left:
        return {}
    unstable = {name: text for name, text in failures.items() if name in passed}
    for name in unstable:
        del failures[name]
    return unstable


def run_suite(name, size, results_root, provided):
    """Runs one suite, prints its row. Returns (passed, failed, [line on each unstable test])."""
    minutes_ci, minutes_full, _, command = SUITES[name]
    budget_s = 60 * (minutes_full if size == "full" else minutes_ci)
    results = results_root / name
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"keyroll-{name}-"))
    log = results / "log"
    print(f"-- {name}: running (budget {budget_s / 60:.0f} min, log {log})", flush=True)
    started, cpu_before = time.monotonic(), cpu_seconds()
    unstable = {}
    env = suite_environment(results, scratch, size, provided)
    with log.open("ab") as out:
        status, left = run_command(command, env, out, budget_s * KILL_FACTOR)
        passed, failures = read_junit(results)
        if name in AGAIN and 0 < len(failures) <= AGAIN_AT_MOST and passed and status is not None and not left:
            print_tail(log)
            unstable = run_again(command, env, out, results, failures, budget_s * KILL_FACTOR)
            status = 0 if unstable and not failures else status
    used_s, cpu_s = time.monotonic() - started, cpu_seconds() - cpu_before

    count = len(passed) + len(unstable)
    complaints = [f"{test}: {text}" for test, text in failures.items()]
    if not count and not complaints and status == 0 and not list(results.glob("*.xml")):
        count = 1
    elif not count and not complaints:
        complaints.append(f"{name}: ran no test (exit status {status})")
    elif status != 0 and not complaints:
        complaints.append(f"{name}: exit status {status}")
    if used_s > budget_s:
        complaints.append(f"{name}: over its budget of {budget_s / 60:.0f} min")
    complaints += [f"{name}: left a process running: {line}" for line in left]

    if complaints:
        print_tail(log)
        for complaint in complaints:
            print(f"    FAILED {complaint}")
    notes = [f"UNSTABLE {name}, passed when it ran again: {test}: {text}" for test, text in unstable.items()]
    for note in notes:
        print(f"    {note}")
    if complaints or notes:
        print(f"    scratch files are kept: {scratch}")
    else:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{name:<12} budget {budget_s / 60:5.1f} min   used {used_s / 60:5.1f} min (CPU {cpu_s / 60:5.1f})   "
          f"{'FAILED' if complaints else 'ok':<6}  {count} passed, {len(complaints)} failed"
          f"{f' ({len(notes)} unstable)' if notes else ''}", flush=True)
    return count, len(complaints), notes


def parse(arguments):
    """Returns (size, suites), or exits with 2."""
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__ + "\nSuites: " + " ".join(SUITES) + "\nDefault: " + " ".join(DEFAULT))
        sys.exit(0)
    size = "ci"
    if arguments and arguments[0] == "full":
        size, arguments = "full", arguments[1:]
    unknown = [name for name in arguments if name not in SUITES]
    if unknown:
        print(f"tests/run: unknown suite {unknown[0]}; suites are: {' '.join(SUITES)}", file=sys.stderr)
        sys.exit(2)
    return size, list(arguments) or DEFAULT


def main():
    if sys.argv[1:2] == ["sim"] and sys.argv[2:3] and sys.argv[2].startswith("--"):  # one history, to look at: sim --seed S
        provision.provide({"build"})
        script = ROOT / "tests" / "support" / "sim_suite.py"
        os.execv(script, [str(script), *sys.argv[2:]])
    size, suites = parse(sys.argv[1:])
    os.chdir(ROOT)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans of a suite come to us, see sweep()

    def stop(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)

    results_root = Path(os.environ.get("KEYROLL_BUILD", ROOT / "build")) / "test-results"
    results_root.mkdir(parents=True, exist_ok=True)
    lock = (results_root / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("-- another tests/run works in this checkout; waiting for it", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)

    passed = failed = 0
    unstable = []
    try:
        try:
            needs = {need for name in suites for need in SUITES[name][2].split()}
            provided = provision.provide(needs)
        except provision.Missing as error:
            print(f"tests/run: {error}")
            print(f"0 passed, {len(suites)} failed")
            return 1
        for name in suites:
            good, bad, notes = run_suite(name, size, results_root, provided)
            passed, failed = passed + good, failed + bad
            unstable += notes
    except KeyboardInterrupt:
        sweep(0)
        print("tests/run: interrupted; everything it started is stopped", flush=True)
        print(f"{passed} passed, {failed + 1} failed")
        return 130
    for note in unstable:
        print(note)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
