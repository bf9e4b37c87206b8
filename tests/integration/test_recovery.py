"""A host that all instances share goes away and comes back: nothing is counted meanwhile, and all goes on at once.

The scheduler ticks once an hour here, so whatever starts after the recovery was started by the recovery itself. Prints how
long that took, from the event that tells it to the last licence's intent.
"""
import contextlib
import json

import pytest

from support import deployment, ledger, sandbox
from support.processes import wait_for

AWAY = {"match": {"service": "instance"}, "effect": "close-before"}


@pytest.fixture
def start(tmp_path, kafka, redis_server):
    """Starts a fleet whose keys are not due, a scheduler that hardly ticks and workers; waits for the first looks."""
    with contextlib.ExitStack() as stack:
        def begin(count, workers=2, **settings):
            fleet = stack.enter_context(sandbox.SandboxFleet(tmp_path, count))
            installed = stack.enter_context(deployment.Deployment(
                tmp_path, kafka, redis_server, fleet,
                **{"max_age": "1000d", "max_age_jitter": "0s", "tick": "1h", "overlap": "1h", "plan_publish_rate": 10, **settings}))
            installed.topics_apply()
            for _ in range(workers):
                installed.worker()
            installed.scheduler()
            wait_for("every licence to be looked at", lambda: all(
                one["state"] == "current" for one in installed.keyroll.status()["licences"]), 120, poll_s=0.5)
            return installed
        yield begin


def events(installed):
    return [json.loads(message.value()) for message in installed.kafka.messages(f"{installed.name}.events")]


def books(fleet):
    return fleet.control("GET", "books")["licences"]


def records(installed):
    client = installed.redis_server.client()
    return [json.loads(client.hget(key, "doc")) for key in client.keys("*:record")]


def test_what_is_parked_starts_when_its_host_is_back(start, full, capsys):
    count = 500 if full else 60
    installed = start(count)
    fleet = installed.fleet
    fleet.fault(AWAY)
    installed.keyroll.run("rotate", *fleet.names)
    wait_for("all to be parked", lambda: sum(
        one["reason"].startswith("parked until host:") for one in installed.keyroll.status()["licences"]) == count, 120, poll_s=0.5)
    assert [one["licence"] for one in records(installed) if one.get("attempts")] == [], "a host that is away burns no attempts"
    fleet.control("DELETE", "faults")
    fleet.wait_rotated(count, 120)
    told = events(installed)
    back = [event["at_ms"] for event in told if event["type"] == "recovered"]
    assert back, "no event told that the host is back"
    begun = {event["licence"]: event["at_ms"] for event in told if event["type"] == "intent"}
    assert len(begun) == count and fleet.summary()["creates"] == count, "each was rotated once"
    with capsys.disabled():
        print(f"\n{count} parked licences: the first started {min(begun.values()) - back[0]} ms after "
              f"the recovery, the last {max(begun.values()) - back[0]} ms")
    assert ledger.check_fleet(fleet.books(), "overlap") == [] and installed.dead_letters() == []


def test_an_instance_whose_key_fails_is_put_right_at_once(start):
    installed = start(4, workers=1)
    fleet = installed.fleet
    restored, cut_off = fleet.names[:2]
    installed.keyroll.run("rotate", restored, cut_off)
    fleet.wait_rotated(2, 60)
    proven = books(fleet)
    wait_for("both records to be closed", lambda: [one["state"] for one in installed.keyroll.status(restored, cut_off)["licences"]]
             == ["overlap"] * 2, 30, poll_s=0.2)
    fleet.instance(restored, key="restore-previous")
    fleet.control("POST", "stranger", {"licence": cut_off, "op": "delete", "access_key_id": proven[cut_off]["stored_key_id"]})
    for name in (restored, cut_off):
        told = json.dumps({"version": "keyroll.trigger/1", "action": "failing", "licence": name, "reason": "attachments cannot be opened"})
        installed.foreign.append(told.encode())
        installed.kafka.produce(f"{installed.name}.triggers", told.encode())
    wait_for("the kept pair to be written again", lambda: books(fleet)[restored]["stored_key_id"] == proven[restored]["stored_key_id"], 60)
    wait_for("a person to be told of the key that others deleted", lambda: [
        event["licence"] for event in events(installed) if event["type"] == "drifted"] == [cut_off], 60, poll_s=0.5)
    assert books(fleet)[restored]["creates"] == 1
