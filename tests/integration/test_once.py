"""`keyroll schedule --once`, as a cron job runs it: a fleet rolled by single runs alone, each of which ends by itself."""
import json
import time

from support import deployment, ledger, sandbox
from support.processes import wait_for


def test_a_fleet_rolled_by_single_runs(tmp_path, kafka, redis_server):
    with sandbox.SandboxFleet(tmp_path, 20, use_interval_ms=1000) as fleet, \
            deployment.Deployment(tmp_path, kafka, redis_server, fleet) as installed:
        installed.topics_apply()
        installed.worker()
        end = time.monotonic() + 120
        runs = 0
        while ledger.first_complaint(fleet.books(), "current") is not None:
            assert time.monotonic() < end, ledger.check_fleet(fleet.books(), "current")[:5]
            installed.keyroll.run("schedule --once")
            runs += 1
            wait_for("what was published is done", lambda: not ledger.check_lag(kafka, installed.group), 60, poll_s=0.5)
        assert runs >= 3
        assert installed.finish("current") == []


def test_ends_when_another_one_leads(tmp_path, kafka, redis_server):
    with sandbox.SandboxFleet(tmp_path, 5) as fleet, \
            deployment.Deployment(tmp_path, kafka, redis_server, fleet) as installed:
        installed.topics_apply()
        installed.scheduler()
        done = installed.keyroll.run("schedule --once")
        assert "another scheduler leads" in str(done)


def test_breakers_of_a_dead_worker_are_forgotten(tmp_path, kafka, redis_server):
    """What it left in Redis is told for five minutes, then by nobody; the scheduler's next look removes it."""
    def left(age_s):
        return json.dumps({"state": "open", "by": "gone", "error": "NET_LOST", "at_ms": int((time.time() - age_s) * 1000)})
    with sandbox.SandboxFleet(tmp_path, 2) as fleet, \
            deployment.Deployment(tmp_path, kafka, redis_server, fleet) as installed:
        installed.topics_apply()
        redis = redis_server.client()
        redis.hset("kr:breakers", mapping={"host:old.test": left(3600), "host:young.test": left(10)})
        assert list(installed.keyroll.status()["breakers"]) == ["host:young.test"]
        installed.keyroll.run("schedule --once")
        wait_for("the old one to be gone", lambda: redis.hkeys("kr:breakers") in (["host:young.test"], [b"host:young.test"]), 10)
        redis.delete("kr:breakers")
