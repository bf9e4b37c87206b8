"""The disk of Redis is full, file descriptors run out, clocks are set."""
import datetime
import glob
import os
import resource
import time
from pathlib import Path

from support import servers
from support.processes import wait_for


class CrampedRedis(servers.RedisServer):
    """Its files may not grow beyond a limit (RLIMIT_FSIZE, ignored SIGXFSZ): a full disk, without a disk."""

    def __init__(self, folder):
        super().__init__(folder)
        self.argv = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh", *self.argv]

    def room(self, bytes_left):
        """Lets the AOF grow by so much and no more; None: the disk is empty again."""
        size = max(path.stat().st_size for path in self.aof.iterdir())
        limit = resource.RLIM_INFINITY if bytes_left is None else size + bytes_left
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def writes(self):
        return self.client().info("persistence")["aof_last_write_status"] == "ok"


def test_disk_full_for_the_aof(chaos, tmp_path, full):
    with CrampedRedis(tmp_path / "cramped") as server:
        hurt = chaos(redis=server).spread(60 if full else 15).start()
        for part in (0.2, 0.5, 0.8) if full else (0.3,):
            hurt.wait_rotated(part)
            server.room(5000)
            wait_for("the disk to be full", lambda: not server.writes(), 60)
            time.sleep(10 if full else 7)  # longer than the lease
            server.room(None)
            wait_for("Redis to write again", server.writes, 30)
        hurt.end()  # nobody is asked: what Redis refuses is not lost


def open_files(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def test_file_descriptors_run_out(chaos, full):
    """No worker can open a connection or a file any more for a while; the scheduler neither."""
    hurt = chaos().spread(60 if full else 15).start()
    for part in (0.2, 0.5, 0.8) if full else (0.3,):
        hurt.wait_rotated(part)
        processes = hurt.workers() + hurt.schedulers()
        before = {one: resource.prlimit(one.pid, resource.RLIMIT_NOFILE) for one in processes}
        for one in processes:
            resource.prlimit(one.pid, resource.RLIMIT_NOFILE, (16, before[one][1]))
        assert all(open_files(one) >= 16 for one in processes), "the limit is above what they have open"
        time.sleep(15 if full else 7)
        for one in processes:
            resource.prlimit(one.pid, resource.RLIMIT_NOFILE, before[one])
    hurt.end(dead_letters=True)


def test_no_memory_for_an_assignment(chaos, full):
    """A worker that cannot note which partitions it was given ends, so that they go to others: nothing waits in silence."""
    library = Path(os.environ.get("KEYROLL_BIN", "build/release"), "tests", "unit", "libno_memory.so").resolve()
    assert library.exists(), f"{library} is missing"
    hurt = chaos().spread(60 if full else 5).start()
    poor = hurt.installed.worker(start=False)
    poor.env = {**poor.env, "LD_PRELOAD": str(library), "KEYROLL_NO_MEMORY_FOR": f"{hurt.installed.name}.jobs"}
    poor.spawn()
    assert poor.wait(60) == 1
    assert any("no memory" in line.get("error.message", "") for line in poor.logged()), poor.tail()
    hurt.installed.workers.remove(poor)
    hurt.end()


class Clock:
    """The wall clock of one process, set by libfaketime; its monotonic clock is left alone."""

    def __init__(self, process):
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        assert library, "libfaketime is missing"
        self.process, self.file = process, process.folder / f"{process.name}.clock"
        self.set(0)
        process.env = {**process.env, "LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": str(self.file),
                       "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "FAKETIME_CACHE_DURATION": "1"}

    def set(self, seconds):
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self.file)


def test_clocks_are_set(chaos, full):
    """Workers and scheduler go forth and back by an hour, one after the other, so that they also disagree.

    Redis keeps its clock; test_clock_of_redis_is_set sets it.
    """
    clocks = []
    hurt = chaos().spread(60 if full else 15).start(prepare=lambda one: clocks.append(Clock(one)))
    worker, other, third, scheduler = clocks
    steps = [(worker, 3600), (scheduler, -3600), (other, -3600), (scheduler, 3600), (worker, -3600), (third, -3600), (other, 3600)]
    for index, (clock, seconds) in enumerate(steps):
        hurt.wait_rotated(0.8 * index / len(steps), 300)
        clock.set(seconds)
    hurt.wait_rotated(0.8, 300)
    for clock in clocks:
        clock.set(3600)  # what was planned by the one that was ahead comes due
    hurt.end()
    ahead = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=50)
    for clock in (worker, scheduler):
        stamps = [line["@timestamp"] for line in clock.process.logged() if "@timestamp" in line]
        assert max(stamps) > ahead.strftime("%Y-%m-%dT%H:%M:%S"), "the scenario did not happen"
