"""SIGTERM to a worker with many rotations under way, while every answer of AWS and of the instances is slow: how long it
takes, what is left behind for the others, and that a second SIGTERM or the deadline loses nothing either."""
import time

import pytest

from support import deployment, sandbox, servers, tcp_proxy
from support.processes import wait_for

GRACE_S = 60 - 10  # the chart's terminationGracePeriodSeconds, less what the kubelet may need

# The waits of a real installation where they bound a drain: leases, calls, sessions (the chart's defaults).
REAL = {"lease_ttl": "15s", "lease_renew": "5s", "mutate_timeout": "10s", "lease_max_age": "10m", "session_timeout": "10s",
        "heartbeat": "3s", "settle_successes": 3, "settle_interval": "2s", "skew_limit": "2s", "max_calls_per_host": 1000}


@pytest.fixture
def size(full):
    """Rotations under way, and the latency of each call in ms."""
    return (500, 5000) if full else (100, 2000)


@pytest.fixture
def busy(request, tmp_path, kafka, redis_server, size):
    """An installation whose one worker has as many rotations under way as there are licences; answers are slow. May be
    given settings."""
    count, latency_ms = size
    slow = {f"latency_{service}": latency_ms for service in ("iam", "sts", "s3", "instance")}
    with sandbox.SandboxFleet(tmp_path, count, use_interval_ms=1000, **slow) as fleet, \
            deployment.Deployment(tmp_path, kafka, redis_server, fleet, **REAL, **getattr(request, "param", {})) as made:
        made.topics_apply()
        worker = made.worker()
        made.scheduler()
        wait_for("every rotation to be under way", lambda: worker.metrics()["keyroll_jobs_in_flight"] >= count, 60, poll_s=0.2)
        wait_for("the first keys", lambda: fleet.summary()["creates"] >= count // 4, 120, poll_s=0.2)
        yield made


def leases(made):
    return list(made.redis_server.client().scan_iter(match="kr:{*}:lease", count=1000))


def finish(made, count, lost_replies=0):
    """Others take over: the fleet is rolled, each licence once. lost_replies: creates that may have been cut off, whose
    keys were found by difference and deleted again."""
    made.fleet.settings(**{f"latency-{service}": "5" for service in ("iam", "sts", "s3", "instance")})
    made.worker()
    made.wait_stage("current", 240)
    assert made.finish("current") == []
    totals = made.fleet.summary()
    assert totals["rotated_licences"] == count and count <= totals["creates"] <= count + lost_replies, totals
    assert totals["outages"] == totals["orphan_keys"] == totals["unexplained_keys"] == 0, totals


def test_the_group_forgets_who_leaves_as_soon_as_it_is_ready(tmp_path, kafka, redis_server):
    """Its second member is still joining then: left in the group, it would hold up whoever comes next for a session timeout."""
    with sandbox.SandboxFleet(tmp_path, 1) as fleet, deployment.Deployment(tmp_path, kafka, redis_server, fleet, **REAL) as made:
        made.topics_apply()
        for _ in range(3):
            assert made.worker().drain() == 0
            assert kafka.members(made.group) == 0


def test_the_group_forgets_who_leaves_at_any_moment_of_joining(tmp_path, redis_server, full):
    """The same with a broker that is slow, each answer takes 0.6 s: SIGTERM comes while the second member asks for an id, joins
    with it, waits for its place."""
    slow = servers.KafkaServer(tmp_path, "slow")
    with tcp_proxy.TcpProxy(slow.port) as proxy:
        slow.settings["advertised.listeners"] = f"PLAINTEXT://127.0.0.1:{proxy.port}"
        with slow, sandbox.SandboxFleet(tmp_path, 1) as fleet, \
                deployment.Deployment(tmp_path, slow, redis_server, fleet, **REAL) as made:
            made.topics_apply()
            for after_ms in range(0, 1500, 50 if full else 300):
                proxy.latency_s = 0.3
                worker = made.worker()
                time.sleep(after_ms / 1000)  # the moment is the point
                begun = time.monotonic()
                assert worker.drain() == 0
                print(f"SIGTERM {after_ms} ms after it was ready: ended after {time.monotonic() - begun:.1f} s")
                proxy.latency_s = 0
                assert slow.members(made.group) == 0


def test_sigterm_under_load(busy, size):
    count, latency_ms = size
    worker, = busy.workers
    under_way = worker.metrics()["keyroll_jobs_in_flight"]
    begun = time.monotonic()
    worker.sigterm()
    wait_for("it not to be ready", lambda: not worker.ready(), 30, poll_s=0.01)
    unready_s = time.monotonic() - begun
    status = worker.wait(GRACE_S + 10)
    used_s = time.monotonic() - begun
    print(f"{under_way:.0f} jobs under way at {latency_ms} ms a call: not ready after {unready_s * 1000:.0f} ms, "
          f"ended after {used_s:.1f} s (of {GRACE_S})")
    assert status == 0 and used_s < GRACE_S, worker.tail()
    assert leases(busy) == [] and busy.kafka.members(busy.group) == 0
    ended = [line for line in worker.logged() if line.get("event.action") == "job-end"]
    creates = busy.fleet.summary()["creates"]
    assert len(ended) >= under_way and all(line["keyroll.outcome"] in ("parked", "done") for line in ended)
    time.sleep(latency_ms / 1000)  # nothing that it sent lands now
    assert busy.fleet.summary()["creates"] == creates
    finish(busy, count)


@pytest.mark.parametrize("busy", [{}, {"drain_timeout": "1s"}], indirect=True, ids=["second SIGTERM", "deadline"])
def test_leaving_at_once(busy, size):
    worker = busy.workers.pop()
    begun = time.monotonic()
    worker.sigterm()
    if worker.settings.get("drain_timeout") is None:
        wait_for("it to drain", lambda: not worker.ready(), 30, poll_s=0.01)
        worker.sigterm()
    status = worker.wait(30)  # less than the drain's deadline
    left = next(line["keyroll.jobs"] for line in worker.logged() if line.get("event.action") == "drain-deadline")
    print(f"ended after {time.monotonic() - begun:.1f} s with {left} jobs under way")
    assert status == 1 and left > 0
    finish(busy, size[0], left)
