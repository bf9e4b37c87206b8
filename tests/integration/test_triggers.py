"""Events from outside start work: AWS's own forms and ours, once each, as far as policy allows; and forged ones do not."""
import contextlib
import json
import random
import time

import confluent_kafka
import pytest

from support import deployment, sandbox
from support.processes import wait_for


@pytest.fixture
def start(tmp_path, kafka, redis_server):
    """Starts a fleet whose keys are not due, with a scheduler and a worker, and waits for the first looks."""
    with contextlib.ExitStack() as stack:
        def begin(count, fleet_options=None, **settings):
            fleet = stack.enter_context(sandbox.SandboxFleet(tmp_path, count, **(fleet_options or {})))
            installed = stack.enter_context(deployment.Deployment(tmp_path, kafka, redis_server, fleet, max_age="1000d",
                                                                  max_age_jitter="0s", tick="2s", **settings))
            installed.topics_apply()
            return installed
        yield begin


def run_all(installed):
    """A scheduler and a worker, idle: every licence was looked at."""
    installed.worker()
    scheduler = installed.scheduler()
    wait_for("every licence to be looked at", lambda: all(
        one["state"] == "current" for one in installed.keyroll.status()["licences"]), 60, poll_s=0.2)
    return scheduler


class Sender:
    """Sends to the triggers topic over one connection that is warm."""

    def __init__(self, installed):
        self.installed, self.topic = installed, f"{installed.name}.triggers"
        self.producer = confluent_kafka.Producer({"bootstrap.servers": installed.kafka.bootstrap, "acks": "all", "linger.ms": 0,
                                                  "queue.buffering.max.messages": 100000, "log_level": 0})

    def send(self, value, flush=True):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.installed.foreign.append(data)
        self.producer.produce(self.topic, value=data)
        if flush:
            assert self.producer.flush(30) == 0


def own(action, **members):
    return {"version": "keyroll.trigger/1", "action": action, "reason": "a test", **members}


def health(*keys):
    return {"version": "0", "id": "7bf73129", "detail-type": "AWS Health Event", "source": "aws.health", "account": "999999999999",
            "time": "2026-11-25T12:00:00Z", "region": "us-east-1", "resources": list(keys),
            "detail": {"eventArn": "arn:aws:health:global::event/RISK/x", "service": "RISK", "eventTypeCode": "AWS_RISK_CREDENTIALS_EXPOSED",
                       "eventTypeCategory": "issue", "eventRegion": "global", "affectedEntities": [{"entityValue": key} for key in keys]}}


def guardduty(key, user):
    return {"version": "0", "id": "c8c4daa7", "detail-type": "GuardDuty Finding", "source": "aws.guardduty", "account": "100000000001",
            "detail": {"schemaVersion": "2.0", "accountId": "100000000001", "type": "UnauthorizedAccess:IAMUser/MaliciousIPCaller.Custom",
                       "severity": 5, "resource": {"resourceType": "AccessKey", "accessKeyDetails": {
                           "accessKeyId": key, "userName": user, "userType": "IAMUser", "principalId": "AIDAX"}}}}


def cloudtrail(name, account, user, actor, key="AKIASTRANGERSKEY0001"):
    return {"version": "0", "id": "x", "detail-type": "AWS API Call via CloudTrail", "source": "aws.iam", "account": account,
            "detail": {"eventVersion": "1.08", "eventName": name, "recipientAccountId": account, "requestParameters": {"userName": user},
                       "userIdentity": {"type": "AssumedRole", "arn": f"arn:aws:sts::{account}:assumed-role/admin/{actor}"},
                       "responseElements": {"accessKey": {"accessKeyId": key, "status": "Active", "userName": user}}}}


def book(installed, licence):
    return installed.fleet.control("GET", "books", licence=licence)["licences"][licence]


def old_key_status(installed, licence):
    first = installed.fleet.first[licence]
    return next((key["status"] for key in book(installed, licence)["keys"] if key["id"] == first), "Deleted")


def outcomes(scheduler):
    """Returns {(source, outcome): count}."""
    found = {}
    for name, count in scheduler.metrics().items():
        if name.startswith("keyroll_triggers_total{"):
            labels = dict(part.split("=", 1) for part in name[name.index("{") + 1:-1].split(","))
            found[labels["source"].strip('"'), labels["outcome"].strip('"')] = int(count)
    return found


def test_events_of_each_kind(start):
    installed = start(6, overlap="1h")
    fleet = installed.fleet
    scheduler, sender = run_all(installed), Sender(installed)
    leaked, stolen, asked, wrapped, changed, quiet = fleet.names
    rows = {row["licence"]: row for row in fleet.rows()}

    # Leaked keys: rotated at once, and Inactive without the overlap of an hour. Told twice, done once.
    sender.send(health(fleet.first[leaked]))
    sender.send({"Type": "Notification", "MessageId": "1", "Message": json.dumps(health(fleet.first[leaked]))})
    sender.send(guardduty(fleet.first[leaked], rows[leaked]["user"]))
    sender.send(guardduty(fleet.first[stolen], rows[stolen]["user"]))
    sender.send({"specversion": "1.0", "id": "1", "source": "/crm", "type": "com.example.leak",
                 "data": own("exposed", key_id=fleet.first[wrapped], by="crm")})
    # Asked for: rotated, with the overlap. Its key stays Active.
    sender.send(own("rotate", licence=asked, by="crm"))
    fleet.wait_rotated(4, 60)
    wait_for("leaked keys to be out of use", lambda: all(old_key_status(installed, name) != "Active" for name in (leaked, stolen, wrapped)), 60)
    assert old_key_status(installed, asked) == "Active"
    exposed = {event["licence"]: event["by"] for message in installed.kafka.messages(f"{installed.name}.events")
               if (event := json.loads(message.value()))["type"] == "exposed"}
    assert set(exposed) == {leaked, stolen, wrapped} and all(by.startswith("trigger: ") for by in exposed.values())

    # Somebody made a key: found by a look at once, not by tomorrow's.
    made = fleet.control("POST", "stranger", {"licence": changed, "op": "create"})
    sender.send(cloudtrail("CreateAccessKey", rows[changed]["account"], rows[changed]["user"], "mallory", made.get("access_key_id", "AKIASTRANGERSKEY0001")))
    wait_for("the drift to be found", lambda: installed.keyroll.status(changed)["licences"][0]["state"] in ("drifted", "awaiting operator"), 30)
    # Our own doing is no drift; what is not ours is none of our business.
    sender.send(cloudtrail("CreateAccessKey", rows[quiet]["account"], rows[quiet]["user"], "keyroll-worker-1"))
    sender.send(cloudtrail("DeleteAccessKey", "999999999999", "somebody", "mallory"))
    # Kinds that are not known, and what is no event, are counted and stay on the topic.
    sender.send({"version": "0", "detail-type": "EC2 Instance State-change Notification", "source": "aws.ec2", "detail": {}})
    sender.send(b"not an event")
    sender.send(own("rotate"))
    expected = {("aws.health", "asked"): 1, ("aws.health", "known"): 1, ("aws.guardduty", "known"): 1, ("aws.guardduty", "asked"): 1,
                ("keyroll", "asked"): 2, ("aws.iam", "asked"): 1, ("aws.iam", "own"): 1, ("aws.iam", "strange"): 1,
                ("other", "unknown"): 1, ("other", "malformed"): 1, ("keyroll", "malformed"): 1}
    wait_for("all to be counted", lambda: sum(outcomes(scheduler).values()) == sum(expected.values()), 20)
    assert outcomes(scheduler) == expected
    kept = [message.value() for message in installed.kafka.messages(f"{installed.name}.triggers")]
    assert b"not an event" in kept and len(kept) == len(installed.foreign)
    assert fleet.summary()["creates"] - 1 == 4 or fleet.summary()["creates"] == 4  # the stranger's may count

    # All is committed: a new scheduler does nothing again.
    assert scheduler.drain() == 0
    second = installed.scheduler()
    time.sleep(1)  # that nothing happens is what is waited for
    assert outcomes(second) == {}
    assert fleet.summary()["rotated_licences"] == 4
    assert fleet.summary()["outages"] == 0
    assert installed.leaks() == []


def test_policy_stands_above_events(start, tmp_path):
    """An excluded licence, one in its quiet hours, a second wish within the hour, and mode observe."""
    policy = tmp_path / "policy.json"
    installed = start(4, policy_file=policy)
    excluded, free, *_ = installed.fleet.names
    policy.write_text(json.dumps({"version": "keyroll.policy/1", "exclusions": [{"licence": excluded, "expires": "2099-01-01", "reason": "go-live"}]}))
    scheduler, sender = run_all(installed), Sender(installed)
    sender.send(own("rotate", licence=excluded))
    sender.send(own("rotate", licence=free))
    installed.fleet.wait_rotated(1, 60)
    wait_for("its life to end", lambda: installed.keyroll.status(free)["licences"][0]["state"] == "current", 60)
    sender.send(own("rotate", licence=free))  # its last rotation was less than a day ago
    wait_for("all to be counted", lambda: sum(outcomes(scheduler).values()) == 3, 20)
    assert outcomes(scheduler) == {("keyroll", "refused"): 2, ("keyroll", "asked"): 1}
    policy.write_text(json.dumps({"version": "keyroll.policy/1", "policies": {"default": {"min_gap": "0s"}}}))
    wait_for("the policy to be read", lambda: sum(line.get("event.action") == "policy-file" for line in scheduler.logged()) == 2, 20)
    sender.send(own("rotate", licence=free))  # policy would allow it now, but not twice an hour
    wait_for("all to be counted", lambda: sum(outcomes(scheduler).values()) == 4, 20)
    assert outcomes(scheduler)["keyroll", "limited"] == 1
    assert scheduler.drain() == 0
    watching = installed.scheduler(mode="observe")
    sender.send(health(installed.fleet.first[excluded]))
    wait_for("it to be counted", lambda: outcomes(watching) == {("aws.health", "marked"): 1}, 20)
    assert installed.keyroll.status(excluded)["licences"][0]["keys"][0]["exposed"]  # not forgotten when mode is rotate again
    assert installed.fleet.summary()["rotated_licences"] == 1


def forged(rng, installed, rows):
    """One event of a liar: any form, with names and keys that exist or do not, whole or damaged."""
    name = rng.choice(installed.fleet.names)
    key = rng.choice([installed.fleet.first[name], f"AKIA{rng.randrange(16 ** 16):016X}", "ASIAIOSFODNN7EXAMPLE", "", "x" * 500])
    row = rows[name]
    event = rng.choice([
        lambda: health(key, *rng.sample(sorted(installed.fleet.first.values()), 2)), lambda: guardduty(key, row["user"]),
        lambda: own("rotate", licence=name), lambda: own("rotate", licence=name, key_id=key or "A" * 16), lambda: own("exposed", key_id=key),
        lambda: own("rotate", licence="../../" + name), lambda: own("delete", licence=name),
        lambda: cloudtrail(rng.choice(["CreateAccessKey", "DeleteAccessKey"]), row["account"], row["user"], rng.choice(["mallory", "keyroll-x"]), key),
        lambda: {"specversion": "1.0", "type": "x", "source": "y", "data": own("rotate", licence=name)}, lambda: {"detail-type": rng.choice(["x", 7, None])}])()
    data = json.dumps(event).encode()
    if rng.random() < 0.2:
        at = rng.randrange(len(data))
        data = rng.choice([data[:at], data + data, data[:at] + bytes([rng.randrange(256)]) + data[at + 1:], b"\x00" * 10, b""])
    return data


def test_ten_thousand_forged_events(start):
    """They can bring about one rotation of each licence in the hour, as policy would allow it, and nothing else."""
    rng = random.Random(20261125)
    installed = start(20)
    fleet = installed.fleet
    rows = {row["licence"]: row for row in fleet.rows()}
    scheduler, sender = run_all(installed), Sender(installed)
    began = time.monotonic()
    for _ in range(10000):
        sender.send(forged(rng, installed, rows), flush=False)
    assert sender.producer.flush(60) == 0

    def lag():
        left = installed.kafka.lag(f"{installed.group}-triggers")
        return sum(left.values()) if left else None
    wait_for("all to be handled", lambda: lag() == 0, 120, alive=scheduler)
    print(f"10,000 forged events in {time.monotonic() - began:.1f} s: {sorted(outcomes(scheduler).items())}")
    counted = outcomes(scheduler)
    assert sum(counted.values()) >= 9900  # one with three keys counts three times, an empty one may not be readable at all
    wait_for("the rotations to end", lambda: all(one["state"] == "current" for one in installed.keyroll.status()["licences"]), 120)
    books = fleet.control("GET", "books")["licences"]
    assert all(one["creates"] <= 1 for one in books.values()), {name: one["creates"] for name, one in books.items()}
    totals = fleet.summary()
    assert (totals["outages"], totals["orphan_keys"], totals["unexplained_keys"]) == (0, 0, 0)
    asked = sum(count for (source, outcome), count in counted.items() if outcome in ("asked", "marked") and source != "aws.iam")
    assert asked <= 2 * len(fleet.names)  # one wish and one leak each
    assert scheduler.running() and scheduler.ready()
    assert installed.leaks() == []
