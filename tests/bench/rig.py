"""What the benches stand on: one broker, one Redis, a sandbox per measurement, workers, jobs published by hand.

CPU is user + system time of one process, the only figure that holds on a machine which others use too.
"""
import hashlib
import json
import shutil
import subprocess
import time
from pathlib import Path

import confluent_kafka

from support.deployment import Deployment
from support.processes import wait_for
from support.programs import ROOT, binary
from support.sandbox import SandboxFleet

# Nothing waits: the same requests as in production with settle k=1, one test after the deactivation.
BENCH_SETTINGS = {
    "settle_successes": 1, "settle_interval": "2s", "settle_timeout": "120s", "retire_watch": "0s", "overlap": "1ms", "quarantine": "1ms",
    "lease_ttl": "15s", "lease_renew": "5s", "lease_max_age": "30m", "mutate_timeout": "10s", "retry_delays": "1s,30s",
    "session_timeout": "10s", "heartbeat": "3s", "max_rotations_per_hour": 1000000000, "urgent_share": 1, "log_level": "warn",
    "max_calls_per_host": 10000,  # all instances of a bench share one
}
RETRIES = ("1s", "30s")  # as retry_delays above
LIFE = ("rotate", "retire", "reap")


def topics():
    """Returns {topic: partitions} as the product makes them (schema/topics.json)."""
    made = {}
    for topic in json.loads((ROOT / "schema" / "topics.json").read_text())["topics"]:
        for delay in RETRIES if "{delay}" in topic["name"] else ("",):
            made[topic["name"].replace("{delay}", delay)] = topic["partitions"]
    return made


def memory_bytes(pid, what="VmRSS"):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no {what} for {pid}")


class Fleet(SandboxFleet):
    """A sandbox whose instances use their keys seldom, with addresses as the measurement wants them.

    tls: an Authority; then IAM, STS, each bucket and each instance have a host name of their own, over TLS.
    """

    def __init__(self, folder, count, name="sandbox", tls=None, **options):
        self.tls = tls
        shutil.rmtree(Path(folder) / name, ignore_errors=True)
        if tls:
            certificate, key = tls.certificate(name, hosts=["*.localhost", "*.i.localhost", "*.s3.eu-west-1.localhost", "iam.localhost",
                                                            "sts.eu-west-1.localhost", "127.0.0.1"])
            options.update(tls_listen="127.0.0.1:0", tls_cert=certificate, tls_key=key)
        super().__init__(folder, count, name, any_loopback=True, use_interval_ms=600000, **options)

    def endpoint(self, service):
        """Returns the address of iam, sts or s3 as the measurement uses it."""
        if not self.tls:
            return self.endpoints["url"]
        host = {"iam": "iam.localhost", "sts": "sts.eu-west-1.localhost", "s3": "s3.eu-west-1.localhost"}[service]
        return f"https://{host}:{self.endpoints['tls_port']}"

    def instance_url(self, licence):
        if not self.tls:
            return f"{self.endpoints['url']}/{licence}"
        return f"https://{licence.lower()}.i.localhost:{self.endpoints['tls_port']}"

    def aws_environment(self):
        env = super().aws_environment()
        if self.tls:
            del env["AWS_ENDPOINT_URL"]
            env.update({f"AWS_ENDPOINT_URL_{name.upper()}": self.endpoint(name) for name in ("iam", "sts", "s3")})
        return env

    def log_of(self, licence):
        """Returns (counts by service.action, the last 64 requests)."""
        seen = self.control("GET", "requests", licence=licence)
        return seen["counts"], seen["log"]

    def counts(self):
        return self.control("GET", "requests")["counts"]

    def iam_calls(self):
        return sum(n for name, n in self.counts().items() if name.startswith("iam."))


class Rig:
    """Jobs for one fleet and one worker on given servers."""

    def __init__(self, folder, kafka, redis_server, fleet, **settings):
        self.fleet, self.kafka, self.redis = fleet, kafka, redis_server.client()
        tls = {"ca_file": fleet.tls.path, "s3_path_style": "false"} if fleet.tls else {}
        role = {"aws_role_template": fleet.endpoints["accounts"][0]["role_arn"].replace(fleet.endpoints["accounts"][0]["id"], "{account}"),
                "aws_external_id": fleet.endpoints["external_id"]} if len(fleet.endpoints["accounts"]) > 1 else {}
        self.deployment = Deployment(folder, kafka, redis_server, fleet, **{**BENCH_SETTINGS, **tls, **role, **settings})
        self.name = self.deployment.name
        stale = list(self.redis.scan_iter("kr:{*", count=10000))  # users of an earlier sandbox; what is known of the server stays
        for at in range(0, len(stale), 1000):
            self.redis.delete(*stale[at:at + 1000])
        for topic, partitions in topics().items():
            kafka.create_topics(partitions, f"{self.name}.{topic}")
        self.producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all", "linger.ms": 0, "log_level": 0,
                                                  "queue.buffering.max.messages": 200000})
        self.rows = fleet.rows()
        self.worker = None

    def start_worker(self, **settings):
        self.worker = self.deployment.worker(**settings)
        return self.worker

    def records(self):
        """Returns {licence: record} as the worker left them in Redis."""
        keys = list(self.redis.scan_iter("kr:{*:record", count=10000))
        pipe = self.redis.pipeline(transaction=False)
        for key in keys:
            pipe.hget(key, "doc")
        return {record["licence"]: record for record in map(json.loads, filter(None, pipe.execute()))}

    def job(self, row, kind, key="", rotation=0, urgent=False):
        """Returns (key, value) of a job message."""
        user = row["user"] or f"SynergistExpress-{row['licence']}"
        now_ms = int(time.time() * 1000)
        name = hashlib.md5(f"{row['licence']} {kind} {key} {now_ms}".encode()).hexdigest()
        job = {"version": "keyroll.job/1", "job_id": name, "kind": kind, "reason": "scheduled", "licence": row["licence"],
               "account": row["account"], "user": user, "bucket": row["bucket"], "region": row["region"],
               "instance_url": self.fleet.instance_url(row["licence"]), "profile": row["profile"], "credentials": row["credentials"],
               "created_at_ms": now_ms, "requested_by": "bench", "rotation": rotation}
        if key:
            job["replace_key_id"] = key
        if urgent:
            job.update(urgent=True, reason="operator")
        return f"{row['account']}/{user.lower()}", json.dumps(job)

    def jobs(self, kind, rows=None):
        """Makes one job of a kind for each row. retire and reap name the key that the record plans them for."""
        rows = self.rows if rows is None else rows
        if kind == "rotate":
            return [self.job(row, kind) for row in rows]
        records, made = self.records(), []
        for row in rows:
            for key in records[row["licence"]]["keys"]:
                if key.get("next") == kind:
                    made.append(self.job(row, kind, key["id"], key.get("rotation", 0)))
        assert len(made) == len(rows), f"{len(made)} keys of {len(rows)} licences are due for {kind}"
        return made

    def publish(self, jobs, topic="jobs"):
        for key, value in jobs:
            self.producer.produce(f"{self.name}.{topic}", value=value, key=key)
        left = self.producer.flush(60)
        assert left == 0, f"{left} jobs were not delivered"

    def ended(self, metrics=None):
        """Returns {"kind/outcome": jobs ended}."""
        metrics = metrics or self.worker.metrics()
        found = {}
        for name, value in metrics.items():
            if name.startswith("keyroll_jobs_total{"):
                labels = dict(part.split("=") for part in name[name.index("{") + 1:-1].split(","))
                found[f"{labels['kind']}/{labels['outcome']}".replace('"', "")] = value
        return found

    def look(self):
        """Returns the worker's metrics; says how it ended when it has none any more."""
        try:
            return self.worker.metrics()
        except OSError as error:  # requests' errors are such
            raise AssertionError(f"no metrics ({type(error).__name__}), exit status {self.worker.process.poll()}\n{self.worker.tail()}") from None

    def run(self, kind, rows=None, timeout_s=120, poll_s=0.5):
        """Publishes a job for each row and waits until all are done. Returns a Cost."""
        jobs = self.jobs(kind, rows)
        label, cost = f"{kind}/done", Cost(len(jobs))
        before = self.ended().get(label, 0)
        sandbox_before, began = self.fleet.cpu_s(), time.monotonic()
        cpu_before = self.worker.cpu_s()
        self.publish(jobs)
        while True:
            metrics = self.look()
            ended = self.ended(metrics)
            cost.see(memory_bytes(self.worker.pid), metrics)
            if ended.get(label, 0) - before >= len(jobs):
                break
            bad = {name: count for name, count in ended.items() if name.endswith(("/dead", "/abandoned")) and count}
            if bad or time.monotonic() - began > timeout_s or not self.worker.running():
                raise AssertionError(f"{kind}: {ended.get(label, 0) - before:.0f} of {len(jobs)} jobs done after {timeout_s} s; {bad}\n"
                                     + self.worker.tail())
            time.sleep(poll_s)
        cost.wall_s = time.monotonic() - began
        cost.cpu_s = self.worker.cpu_s() - cpu_before
        cost.sandbox_cpu_s = self.fleet.cpu_s() - sandbox_before
        cost.outcomes = self.ended()
        return cost

    def prime(self):
        """Gets over the hold-off: the first worker on a Redis takes no lease for one lease's longest life."""
        worker = self.deployment.worker(lease_ttl="3s", lease_renew="1s", mutate_timeout="500ms", lease_max_age="3s")
        wait_for("the hold-off to end", lambda: 0 < int(self.redis.get("kr:holdoff") or 0) < time.time() * 1000, 30)
        worker.drain()

    def close(self):
        status = self.worker.drain() if self.worker and self.worker.running() else 0
        self.deployment.__exit__()
        assert status == 0, f"the worker ended with status {status}\n{self.worker.tail()}"


class Cost:
    """What a run took: CPU, wall time, the highest RSS and number in flight that was seen."""

    def __init__(self, count):
        self.count, self.cpu_s, self.wall_s, self.sandbox_cpu_s = count, 0.0, 0.0, 0.0
        self.rss_bytes, self.in_flight, self.turn_p99_s, self.outcomes = 0, 0, 0.0, {}

    def see(self, rss_bytes, metrics):
        self.rss_bytes = max(self.rss_bytes, rss_bytes)
        self.in_flight = max(self.in_flight, metrics.get("keyroll_jobs_in_flight", 0))
        self.turn_p99_s = metrics.get("keyroll_loop_turn_p99_seconds", 0)  # of the last minute: at the end, the run's

    @property
    def cpu_us(self):
        return self.cpu_s * 1e6 / self.count

    def __str__(self):
        return (f"{self.count} jobs: {self.cpu_us:.0f} us CPU each, {self.count / self.wall_s:.0f}/s, RSS {self.rss_bytes / 2**20:.1f} MiB, "
                f"in flight {self.in_flight:.0f}, turn p99 {self.turn_p99_s * 1e3:.1f} ms")


def floor(fleet, in_flight, life=False, rows=None):
    """Runs tests/bench/floor on the licences of a fleet. Returns its figures: {kind: {"cpu_us", "per_s"}, "rss_bytes", ...}."""
    path = fleet.inventory_folder / "credentials"
    logins = json.loads(path.read_text())
    operators = {account["id"]: account["admin"] for account in fleet.endpoints["accounts"]}
    lines = [" ".join([fleet.endpoint("iam"), fleet.endpoint("sts"), fleet.endpoint("s3"), "virtual" if fleet.tls else "path"])]
    for row in rows or fleet.rows():
        login, own = logins[row["licence"]], operators[row["account"]]
        lines.append(" ".join([row["account"], row["user"], row["bucket"], row["region"], fleet.instance_url(row["licence"]), login["user"],
                               login["password"], own["access_key_id"], own["secret_access_key"]]))
    argv = [binary("keyroll-sandbox").parent.parent / "bench" / "floor", "--in-flight", in_flight, *(["--life"] if life else []),
            *(["--ca", fleet.tls.path] if fleet.tls else [])]
    done = subprocess.run([str(part) for part in argv], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise AssertionError(f"floor: exit status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)
