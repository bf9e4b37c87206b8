"""Control groups for processes under test, version 1 or 2 as the machine has them. Needs root and a writable mount."""
import contextlib
import os
import secrets
import time
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
PERIOD_US = 100000


class Unavailable(Exception):
    """This machine lets us make no group with such a limit."""


def home(controller):
    """Returns (our own group in the hierarchy of a controller, its version)."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            base = MOUNT / controller
            return (base / path.strip("/") if (base / path.strip("/")).is_dir() else base), 1
    root = MOUNT
    if controller not in (root / "cgroup.subtree_control").read_text().split():
        (root / "cgroup.subtree_control").write_text(f"+{controller}")
    return root, 2


class Group:
    """A group with a limit: memory_bytes or cpus. A context; ends when its processes have ended. enter() goes into
    preexec_fn of the process, see Process.spawn."""

    def __init__(self, memory_bytes=None, cpus=None):
        self.controller = "memory" if memory_bytes else "cpu"
        try:
            above, self.version = home(self.controller)
            self.folder = above / f"keyroll-test-{secrets.token_hex(4)}"
            self.folder.mkdir()
            self.limit(memory_bytes, cpus)
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError, AttributeError):
                self.folder.rmdir()
            raise Unavailable(f"no control group for {self.controller}: {error}") from None

    def limit(self, memory_bytes, cpus):
        if memory_bytes:
            self.write("memory.limit_in_bytes" if self.version == 1 else "memory.max", memory_bytes)
        elif self.version == 1:
            self.write("cpu.cfs_period_us", PERIOD_US)
            self.write("cpu.cfs_quota_us", int(cpus * PERIOD_US))
        else:
            self.write("cpu.max", f"{int(cpus * PERIOD_US)} {PERIOD_US}")

    def write(self, name, value):
        (self.folder / name).write_text(str(value))

    def counters(self, name):
        """Returns {word: number} of a file of the group."""
        lines = (self.folder / name).read_text().split("\n")
        return {line.split()[0]: int(line.split()[1]) for line in lines if len(line.split()) == 2}

    def enter(self):
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def oom_kills(self):
        return self.counters("memory.oom_control" if self.version == 1 else "memory.events")["oom_kill"]

    def throttled(self):
        """How often the group had to wait for its next period."""
        return self.counters("cpu.stat")["nr_throttled"]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for _ in range(50):
            try:
                return self.folder.rmdir()
            except OSError:
                time.sleep(0.1)  # a process that ended leaves its group a moment later
        raise RuntimeError(f"{self.folder} is in use: {(self.folder / 'cgroup.procs').read_text().split()}")
