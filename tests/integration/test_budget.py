"""The common call budget on a sandbox that hides a limit of calls per second for each account, with real Kafka and Redis.

Prints how much of the limit was used and how many calls were throttled after the first 30 s, while the limit is halved and
doubled, and after a worker was killed with reserved calls in its hands.
"""
import time

import pytest

from support import deployment, sandbox
from support.processes import wait_for

LIMIT = 20


@pytest.fixture
def world(tmp_path, kafka, redis_server, full):
    accounts, licences = (4, 4000) if full else (2, 2000)
    fleet = sandbox.SandboxFleet(tmp_path, licences, accounts=accounts, iam_rate=LIMIT, latency_iam=20).start()
    waits = {"overlap": "1h", "quarantine": "1h", "tick": "1s"}
    installed = deployment.Deployment(tmp_path, kafka, redis_server, fleet, **{
        "iam_calls_per_s": 8, "iam_share": 100, "aws_role_template": fleet.endpoints["accounts"][0]["role_arn"].replace(
            fleet.endpoints["accounts"][0]["id"], "{account}"), "aws_external_id": fleet.endpoints["external_id"],
        "plan_publish_rate": 0, **waits})
    installed.topics_apply()
    yield fleet, installed, accounts
    installed.__exit__()
    fleet.stop()


class Meter:
    """IAM calls of the fleet by family: accepted and throttled, as the workers count them."""

    def __init__(self, installed):
        self.installed = installed

    def read(self):
        total = {"calls": 0, "throttled": 0, "asks": 0}
        by_budget = {}
        for worker in self.installed.workers:
            if not worker.running():
                continue
            for sample, value in worker.metrics().items():
                for name in total:
                    if 'family="sts"' in sample:
                        continue  # a limit of its own, which the sandbox does not have
                    if sample.startswith(f"keyroll_budget_{name}_total{{"):
                        total[name] += value
                        key = sample.split("{")[1]
                        by_budget.setdefault(key, {"calls": 0, "throttled": 0, "asks": 0})[name] += value
        return time.monotonic(), total, by_budget

    def leases(self):
        """Returns (leases held, jobs in flight) of all workers together."""
        seen = [worker.metrics() for worker in self.installed.workers if worker.running()]
        return [sum(metrics[f"keyroll_{name}"] for metrics in seen) for name in ("leases_held", "jobs_in_flight")]

    def over(self, seconds):
        """Waits; returns (accepted per second of the busiest budget of each account, throttled share, calls per command)."""
        began, first, by_first = self.read()
        time.sleep(seconds)
        ended, last, by_last = self.read()
        took = ended - began
        accepted = {}
        for key, now in by_last.items():
            before = by_first.get(key, {"calls": 0, "throttled": 0})
            account = key.split('account="')[1].split('"')[0]
            rate = ((now["calls"] - before["calls"]) - (now["throttled"] - before["throttled"])) / took
            accepted[account] = max(accepted.get(account, 0), rate)
        calls = last["calls"] - first["calls"]
        throttled = last["throttled"] - first["throttled"]
        return accepted, throttled / max(calls, 1), calls / max(last["asks"] - first["asks"], 1)


def tell(what, figures, limit):
    accepted, throttled, per_command = figures
    used = min(accepted.values()) / limit
    print(f"{what}: {used:.1%} of {limit}/s used in the least busy account, {throttled:.2%} throttled, "
          f"{per_command:.1f} calls per Redis command")
    return used, throttled, per_command


def test_limit_is_found_shared_and_followed(world, full, capsys):
    fleet, installed, accounts = world
    workers = [installed.worker() for _ in range(4)]
    installed.scheduler()
    meter = Meter(installed)
    time.sleep(30)
    with capsys.disabled():
        print()
        used, throttled, per_command = tell("steady", meter.over(30 if full else 12), LIMIT)
        share, refused, batch = (0.9, 0.01, 10) if full else (0.8, 0.03, 8)  # the unit test has the exact bounds in virtual time
        assert used > share and throttled < refused and per_command > batch
        held, in_flight = meter.leases()
        print(f"{in_flight:.0f} jobs in flight, {held:.0f} of them hold a lease")
        assert held < in_flight / 4, "jobs that wait for the budget hold no lease"
        fleet.settings(iam_rate=LIMIT / 2)
        time.sleep(20)
        halved, _, _ = tell("20 s after the limit was halved", meter.over(8), LIMIT / 2)
        fleet.settings(iam_rate=LIMIT)
        time.sleep(20)
        doubled, _, _ = tell("20 s after it was doubled", meter.over(8), LIMIT)
        assert halved > (0.8 if full else 0.7) and doubled > (0.85 if full else 0.6)
        if full:
            workers[0].sigkill()
            time.sleep(5)
            killed, _, _ = tell("5 s after a worker was killed", meter.over(20), LIMIT)
            assert killed > 0.9, "what it had reserved costs the others nothing any more"
    assert [worker.drain() for worker in workers[1:]] == [0, 0, 0], "jobs that wait for their turn leave at once"
    totals = fleet.summary()
    assert totals["rotated_licences"] > 0 and totals["outages"] == 0  # keys of rotations under way are not stored yet
