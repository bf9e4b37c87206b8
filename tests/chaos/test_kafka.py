"""Brokers die, topics vanish, a consumer that stands still is thrown out of the group."""
import fcntl
import os
import threading
import time

from support.kafka_cluster import KafkaCluster
from support.processes import wait_for


def test_broker_killed_and_restarted(chaos, kafka, dice, full):
    hurt = chaos().spread(60 if full else 15).start()
    for part in (0.1, 0.3, 0.5, 0.7, 0.9) if full else (0.2, 0.6):
        hurt.wait_rotated(part)
        kafka.kill()
        time.sleep(dice.uniform(0, 10 if full else 2))  # away for a while
        kafka.start()
    hurt.end()


def test_one_of_three_brokers_lost(chaos, tmp_path, full):
    """The one that coordinates the workers' group is killed and stays away."""
    with KafkaCluster(tmp_path) as cluster:
        hurt = chaos(brokers=cluster).spread(40 if full else 15).start()
        hurt.wait_rotated(0.3)
        cluster.holder_of_the_group(hurt.installed.group).kill()
        hurt.end()


def recreate(hurt, kafka, *names):
    topics = [f"{hurt.installed.name}.{name}" for name in names]
    kafka.delete_topics(*topics)
    wait_for("the topics gone", lambda: not set(topics) & set(kafka.topics()), 30)
    hurt.installed.topics_apply()


def test_topics_deleted_and_recreated(chaos, kafka, full):
    """Jobs are lost with their topic: the scheduler publishes again what is due. Offsets begin at 0 again."""
    hurt = chaos().spread(60 if full else 15).start()
    hurt.wait_rotated(0.3)
    recreate(hurt, kafka, "jobs", "retry.1s", "retry.3s", "urgent")
    if full:
        hurt.wait_rotated(0.6)
        recreate(hurt, kafka, "jobs", "events", "keys")
    hurt.end(events=not full, made_anew=True)


class Stall:
    """Takes a process's log by a FIFO; while it is not read, the process stands still in write(2), its other threads go on."""

    def __init__(self, process):
        self.fifo = process.folder / f"{process.name}.fifo"
        os.mkfifo(self.fifo)
        self.fd = os.open(self.fifo, os.O_RDWR)
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, 4096)  # full after some lines
        self.log, self.reading = process.log, threading.Event()
        self.reading.set()
        process.argv = ["sh", "-c", 'fifo=$1; shift; exec "$@" >"$fifo" 2>&1', "sh", str(self.fifo), *process.argv]
        threading.Thread(target=self._copy, daemon=True).start()

    def _copy(self):
        with self.log.open("ab") as out:
            while True:
                self.reading.wait()
                out.write(os.read(self.fd, 65536))
                out.flush()


def test_thrown_out_by_max_poll(chaos, full):
    """The loop of a busy worker stands still (nobody reads its log) for longer than max.poll.interval; its heartbeats go on."""
    hurt = chaos(log_level="debug", **{"kafka.max.poll.interval.ms": 6000}).spread(60 if full else 20)
    stalls = {}
    hurt.start(prepare=lambda one: stalls.update({one: Stall(one)}))
    stalled = set()
    for part in (0.2, 0.5, 0.8) if full else (0.3,):
        hurt.wait_rotated(part)
        slow = max(hurt.workers(), key=lambda one: one.log.stat().st_size)
        stalled.add(slow)
        stalls[slow].reading.clear()
        wait_for("the stalled loop", lambda: not responds(slow), 60)
        time.sleep(8)  # longer than max.poll.interval and the lease, which are 6 s
        stalls[slow].reading.set()
        wait_for("its loop to go on", lambda: responds(slow), 30)
    hurt.end()
    assert all("MAXPOLL" in slow.log.read_text() for slow in stalled), "the scenario did not happen"


def responds(process):
    try:
        return process.get("/healthz").status_code in (200, 503)
    except OSError:
        return False
