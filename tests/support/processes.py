"""Child processes that cannot outlive the tests, free ports, and waiting with a deadline."""
import ctypes
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_given_ports = set()


def die_with_parent():
    """Makes the kernel kill this process when the thread that started it ends (PR_SET_PDEATHSIG)."""
    _libc.prctl(1, signal.SIGKILL)


def free_port():
    """Returns a TCP port of 127.0.0.1 that nothing listens on, never the same one twice in this process."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


def port_open(port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what, condition, timeout_s, poll_s=0.05, alive=None):
    """Calls condition() until it returns something true, and returns that.

    alive: a Process that must go on running meanwhile. Raises TimeoutError, or RuntimeError when alive has ended.
    """
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if alive is not None and not alive.running():
            raise RuntimeError(f"{alive.name} ended with status {alive.process.returncode} while waiting for {what}:\n"
                               + alive.tail())
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_s} s" + (f"\n{alive.tail()}" if alive is not None else ""))
        time.sleep(poll_s)


def clean_environment(**more):
    """The environment for a program under test: nothing of the caller's AWS or keyroll settings, no proxy."""
    env = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "ASAN_OPTIONS") if key in os.environ}
    env.update(LC_ALL="C.UTF-8", no_proxy="127.0.0.1,localhost", NO_PROXY="127.0.0.1,localhost",
               AWS_EC2_METADATA_DISABLED="true")
    env.update({key: str(value) for key, value in more.items()})
    return env


class Process:
    """One child process: its output goes to a file, it dies with the tests. Start it from the main thread."""

    def __init__(self, name, argv, folder, env=None, cwd=None):
        self.name, self.argv, self.env = name, [str(part) for part in argv], env
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cwd = Path(cwd or self.folder)
        self.log = self.folder / f"{name}.log"
        self.process = None
        self.group = None  # cgroup.Group that it starts in

    def _begin(self):
        die_with_parent()
        if self.group:
            self.group.enter()

    def spawn(self):
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                            cwd=self.cwd, env=self.env, start_new_session=True, preexec_fn=self._begin)
        return self

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        if self.running():
            os.kill(self.process.pid, number)

    def wait(self, timeout_s=30):
        """Returns the exit status; raises TimeoutError."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} (pid {self.process.pid}) still runs after {timeout_s} s\n{self.tail()}") from None

    def kill(self):
        """SIGKILL to the process and to what it started in its session; waits for it."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def stop(self, timeout_s=20):
        """SIGTERM, then SIGKILL after timeout_s. Returns the exit status, negative for a signal."""
        if self.process is None:
            return None
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass
        self.kill()
        return self.process.returncode

    def tail(self, lines=30):
        if not self.log.exists():
            return ""
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return f"--- end of {self.log}\n" + "\n".join(text)

    def cpu_s(self):
        """User and system time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self):
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def peak_bytes(self):
        """The most memory that was resident so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()
