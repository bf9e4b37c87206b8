"""One installation of keyroll for a test: settings, topics, schedulers and workers on given servers, and its end.

Every deployment has a topic prefix and a consumer group of its own, so that tests can share a broker. finish() drains
everything, then looks at the books, at Redis, at the consumer lag, and searches all that was left behind for secrets.
"""
import contextlib
import json
import secrets
from pathlib import Path

from . import fleet, leaks, ledger, messages
from .processes import wait_for
from .programs import Keyroll, Scheduler, Worker

# Shortened waits, accepted because every address is a loopback one.
SHORT_WAITS = {
    "overlap": "3s", "quarantine": "3s", "skew_limit": "2s", "create_doubt": "3s", "newcomer_wait": "2s",
    "settle_successes": 2, "settle_interval": "200ms", "settle_timeout": "30s", "retire_watch": "1s", "assisted_poll": "500ms",
    "retry_delays": "1s,3s", "retry_cap": "5s", "tick": "500ms", "session_timeout": "6s", "heartbeat": "1s",
    "lease_ttl": "6s", "lease_renew": "1500ms", "mutate_timeout": "3s", "lease_max_age": "10s",
}


class Deployment:
    def __init__(self, folder, kafka, redis_server, fleet_made, **settings):
        self.folder, self.kafka, self.redis_server, self.fleet = Path(folder), kafka, redis_server, fleet_made
        self.name = f"t{secrets.token_hex(3)}"
        self.group = f"{self.name}-workers"
        self.escrow_key = fleet.escrow_key(self.folder)
        self.settings = {
            "brokers": kafka.bootstrap,
            "topic_prefix": self.name,
            "group": self.group,
            "redis_url": redis_server.url,
            "redis_password": redis_server.password,
            "escrow_key_file": self.escrow_key,
            "inventory": fleet_made.inventory,
            "state_dir": self.folder / "state",
            "mode": "rotate",
            "max_rotations_per_hour": 1000000,
            "iam_calls_per_s": 0,
            **SHORT_WAITS,
            **settings,
        }
        self.env = fleet_made.aws_environment()
        self.keyroll = Keyroll(self.folder, self.settings, **self.env)
        self.workers, self.schedulers = [], []
        self.foreign = []  # message values that the test itself put into topics

    def topics_apply(self):
        return self.keyroll.run("topics apply")

    def worker(self, start=True, version="", **settings):
        made = Worker(self.folder / "logs", f"worker{len(self.workers) + 1}", {**self.settings, **settings}, version, **self.env)
        self.workers.append(made)
        return made.start() if start else made

    def scheduler(self, start=True, version="", **settings):
        made = Scheduler(self.folder / "logs", f"scheduler{len(self.schedulers) + 1}", {**self.settings, **settings}, version,
                         **self.env)
        self.schedulers.append(made)
        return made.start() if start else made

    def running(self):
        return [process for process in self.schedulers + self.workers if process.running()]

    def wait_stage(self, stage, timeout_s):
        """Waits until the books show every licence at `stage`; fails with the first complaints, and when a process falls."""
        def there():
            for process in self.schedulers + self.workers:
                if process.process is not None and process.process.poll() not in (None, 0, -9):
                    raise AssertionError(f"{process.name} ended with status {process.process.returncode}\n{process.tail()}")
            return ledger.first_complaint(self.fleet.books(), stage) is None
        try:
            wait_for(f"every licence at {stage}", there, timeout_s, poll_s=0.5)
        except TimeoutError:
            complaints = ledger.check_fleet(self.fleet.books(), stage)
            tails = "\n".join(process.tail(15) for process in self.schedulers + self.workers)
            raise AssertionError(f"after {timeout_s} s {len(complaints)} licences are not at {stage}: "
                                 + "; ".join(complaints[:10]) + f"\n{tails}") from None

    def keep_metrics(self):
        """Writes the metrics text of all running processes where the search for leaks finds it."""
        for process in self.running():
            with contextlib.suppress(OSError):
                (self.folder / f"metrics-{process.name}.txt").write_text(process.get("/metrics").text)

    def finish(self, stage="current", idle=True, dead_letters=0):
        """Stops the schedulers, checks everything, drains the workers. Returns the complaints; call it once.

        idle: nothing is under way any more, so leases, journals and lag must be gone. dead_letters: how many the test
        expects.
        """
        self.keep_metrics()
        complaints = [f"{one.name}: exit status {one.drain()} on SIGTERM" for one in self.schedulers if one.running()]
        if idle:
            complaints += ledger.check_redis(self.redis_server.client())
            complaints += ledger.check_lag(self.kafka, self.group)
        complaints += [f"{one.name}: exit status {one.drain()} on SIGTERM" for one in self.workers if one.running()]
        complaints = [text for text in complaints if not text.endswith("exit status 0 on SIGTERM")]
        complaints += ledger.check_fleet(self.fleet.books(), stage)
        dead = self.dead_letters()
        if len(dead) != dead_letters:
            seen = sorted({f"{one['step']}: {one['error_code']}: {one['reason']}" for one in dead})
            complaints.append(f"{len(dead)} dead letters, not {dead_letters}: {'; '.join(seen[:5])}")
        return complaints + self.leaks() + messages.check(self.kafka.messages(*self.topics()), self.name, self.foreign)

    def dead_letters(self):
        """Returns the dead letters as objects."""
        values = [json.loads(message.value()) for message in self.kafka.messages(f"{self.name}.dead")]
        return [value for value in values if not messages.is_mark(value)]

    def topics(self):
        return [topic for topic in self.kafka.topics() if topic.startswith(self.name + ".")]

    def leaks(self):
        """Searches logs, metrics, topics, AOF, the broker's segments and core files for every secret of the run."""
        leaks.dump_topics(self.kafka, self.folder / "topics.dump", *self.topics())
        if self.redis_server.running():
            leaks.dump_redis(self.redis_server.client(), self.folder / "redis.dump")
        known = {**self.fleet.secrets(), "escrow key": self.escrow_key.read_bytes()}
        if self.redis_server.password:
            known["Redis password"] = self.redis_server.password
        configs = list(self.folder.rglob("*.conf"))
        return leaks.search([self.folder, self.redis_server.folder, self.kafka.folder], known,
                            exclude=[*self.fleet.holders(), *configs, self.escrow_key, self.redis_server.folder / "redis.conf"])

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for process in self.schedulers + self.workers:
            process.kill()
        if self.kafka.running():
            self.kafka.delete_topics(*self.topics())
