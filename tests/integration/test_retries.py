"""Retry topics: a failed job comes back when its time has come and not before, as the same job with its history.

Prints how late the heads of the retry topics' partitions were started; the scheduler ticks once an hour, so that nothing
but the topics brings the jobs back.
"""
import datetime
import json
import statistics
from pathlib import Path

from support import deployment, sandbox
from support.processes import wait_for


def use_profile(fleet, folder, **changes):
    """Gives all licences a profile that is the default one but for these members."""
    folder.mkdir()
    shipped = json.loads((Path(__file__).resolve().parents[2] / "deploy" / "profiles" / "default.json").read_text())
    (folder / "quick.json").write_text(json.dumps({**shipped, "name": "quick", **changes}))
    fleet.write_inventory([{**row, "profile": "quick"} for row in fleet.rows()])


def headers(message):
    return {name.removeprefix("keyroll-"): value.decode() for name, value in message.headers() or []}


def starts(worker):
    """Returns {(licence, attempt): when that run began, wall clock in ms} from a worker's log."""
    found = {}
    for line in worker.logged():
        if line.get("event.action") == "job-end" and line["keyroll.kind"] == "rotate":
            ended = datetime.datetime.fromisoformat(line["@timestamp"].replace("Z", "+00:00")).timestamp() * 1000
            found[line["keyroll.licence"], line["keyroll.attempt"]] = ended - line["event.duration"] / 1e6
    return found


def test_failed_jobs_come_back_in_time(tmp_path, kafka, redis_server, full, capsys):
    count = 200 if full else 24
    profiles = tmp_path / "profiles"
    with sandbox.SandboxFleet(tmp_path, count) as fleet, deployment.Deployment(
            tmp_path, kafka, redis_server, fleet, max_age="1000d", max_age_jitter="0s", tick="1h", overlap="1h",
            profiles_dir=profiles) as installed:
        use_profile(fleet, profiles, retry={"failure_ms": 0})
        installed.topics_apply()
        worker = installed.worker()
        installed.scheduler()
        wait_for("every licence to be looked at", lambda: all(
            one["state"] == "current" for one in installed.keyroll.status()["licences"]), 60, poll_s=0.5)
        fleet.fault({"match": {"service": "instance"}, "effect": "refuse:500:500"})
        installed.keyroll.run("rotate", *fleet.names)
        wait_for("all to fail twice", lambda: len(kafka.messages(f"{installed.name}.retry.3s")) == count, 90, poll_s=0.2)
        fleet.control("DELETE", "faults")
        fleet.wait_rotated(count, 60)
        wait_for("all to be told", lambda: len(starts(worker)) == 3 * count, 20, poll_s=0.2)

        began, first_seen = starts(worker), {}
        for message in kafka.messages(f"{installed.name}.urgent", f"{installed.name}.jobs"):
            if (job := json.loads(message.value()))["kind"] == "rotate":
                first_seen[job["licence"]] = headers(message)["first-seen"], job["job_id"]
        for attempt, delay, topic in ((2, 1000, "retry.1s"), (3, 3000, "retry.3s")):
            late = []
            for message in kafka.messages(f"{installed.name}.{topic}"):
                job, head = json.loads(message.value()), headers(message)
                due, failed = int(head["not-before"]), began[job["licence"], attempt - 1]
                assert (head["first-seen"], head["job-id"], job["job_id"]) == (*first_seen[job["licence"]], job["job_id"])
                assert int(head["attempt"]) == attempt and head["last-error"].startswith("INSTANCE_FAILURE"), head
                assert due >= failed + delay, "not before its rung"
                late.append(began[job["licence"], attempt] - due)
            assert len(late) == count and min(late) >= -1, "nothing starts early (a millisecond is the log's)"
            with capsys.disabled():
                print(f"\n{topic}: {count} jobs started {statistics.median(late):.0f} ms after they were due (median), "
                      f"{max(late):.0f} ms at most")
        assert fleet.summary()["creates"] == count and installed.dead_letters() == []


def test_who_asks_to_be_left_alone_is(tmp_path, kafka, redis_server):
    """Retry-After of an instance and of IAM: short ones are waited out in place, longer ones in the record; never called sooner."""
    waits_ms = 2500, 9000
    with sandbox.SandboxFleet(tmp_path, 4) as fleet, deployment.Deployment(
            tmp_path, kafka, redis_server, fleet, max_age="1000d", max_age_jitter="0s", overlap="1h") as installed:
        installed.topics_apply()
        installed.worker()
        installed.scheduler()
        wait_for("every licence to be looked at", lambda: all(
            one["state"] == "current" for one in installed.keyroll.status()["licences"]), 60, poll_s=0.5)
        cases = {}
        for service, action in (("instance", None), ("iam", "ListAccessKeys")):
            for wait_ms in waits_ms:
                licence = fleet.names[len(cases)]
                who = {"licence": licence} if service == "instance" else {"user": f"SynergistExpress-{licence}", "action": action}
                fleet.fault({"match": {"service": service, **who}, "effect": f"retry-after:{wait_ms}", "count": 1})
                cases[licence] = service, action, wait_ms
        installed.keyroll.run("rotate", *cases)
        fleet.wait_rotated(len(cases), 60)
        for licence, (service, action, wait_ms) in cases.items():
            log = [call for call in fleet.control("GET", "requests", licence=licence)["log"]
                   if call["service"] == service and action in (None, call["action"])]
            refused = next(at for at, call in enumerate(log) if call["http"] in (400, 503))
            assert log[refused + 1]["at_ms"] - log[refused]["at_ms"] >= wait_ms - 5, (licence, service, wait_ms, log)
