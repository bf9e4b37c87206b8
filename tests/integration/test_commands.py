"""The operators' commands against a running installation: real Kafka and Redis, the sandbox, one worker, one scheduler."""
import json
import os
import stat

import pytest

from support import deployment, fleet, sandbox
from support.processes import wait_for


@pytest.fixture
def made(tmp_path, kafka, redis_server):
    """Returns make(count, sandbox options, **settings) -> an installation with its topics, nothing started."""
    open_ones = []

    def make(count=4, options=None, **settings):
        simulated = sandbox.SandboxFleet(tmp_path, count, **{"new_key_delay_ms": "50-300", "use_interval_ms": 200, **(options or {})})
        simulated.start()
        open_ones.append(simulated)
        one = deployment.Deployment(tmp_path, kafka, redis_server, simulated, **settings)
        open_ones.append(one)
        one.topics_apply()
        return one
    yield make
    for one in reversed(open_ones):
        one.__exit__()


def start(installed):
    installed.worker()
    installed.scheduler()
    return installed


def told(installed, name):
    return next(one for one in installed.keyroll.status(name)["licences"] if one["licence"] == name)


def wait_state(installed, name, *states, timeout_s=40):
    return wait_for(f"{name} to be {states}", lambda: (lambda one: one if one["state"] in states else None)(told(installed, name)),
                    timeout_s, poll_s=0.2)


def book(installed, name):
    return installed.fleet.control("GET", "books", licence=name)["licences"][name]


def checks(result):
    return {one["check"]: one for one in json.loads(result.out)["checks"]}


# ---- doctor, audit, version ----------------------------------------------------------------------------------------


def test_doctor_finds_everything_in_order(made):
    installed = start(made())
    done = installed.keyroll.run("doctor", "--json")
    assert json.loads(done.out)["ok"] and {"settings", "Kafka", "topics", "Redis", "Redis persistence", "Redis eviction", "escrow key",
                                           "workers", "escrow keys", "inventory", "AWS identity", "ListAccessKeys", "UpdateAccessKey",
                                           "DeleteAccessKey", "instance"} <= set(checks(done)), done
    assert checks(done)["workers"]["text"] == "1 running"


def test_doctor_says_what_to_do(made, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["iam:ListAccessKeys", "iam:UpdateAccessKey"], "Resource": "*"}]}))
    installed = made(2, {"policy": policy})
    installed.worker()
    installed.redis_server.client().config_set("maxmemory-policy", "allkeys-lru")
    other = tmp_path / "other.key"
    other.touch(0o600)
    other.write_bytes(os.urandom(32))
    wait_for("the worker to register", lambda: installed.redis_server.client().exists("kr:members"), 20)
    done = installed.keyroll.run("doctor", "--json", "--escrow-key-file", other, check=False)
    found = checks(done)
    assert done.status == 3, done
    for name, words in {"Redis eviction": "noeviction", "DeleteAccessKey": "deploy/iam", "escrow keys": "same files"}.items():
        assert not found[name]["ok"] and words in found[name]["text"], found[name]
    assert found["UpdateAccessKey"]["ok"]


def test_audit_is_the_first_half_of_the_manual_procedure(made):
    installed = made(2, {"mix": "expired=1"})
    dead, good = installed.fleet.names
    done = installed.keyroll.run("audit", good, "--json")
    one = json.loads(done.out)["licences"][0]
    assert one["ok"] and one["keys"][0]["status"] == "Active" and one["keys"][0]["in_instance"] and one["instance_test"] == "ok"
    bad = installed.keyroll.run("audit", dead, check=False)
    assert bad.status == 3 and "test" in bad.out, bad


def test_version_tells_all_libraries(made):
    shown = json.loads(made().keyroll.run("version", "--json").out)
    assert all(any(character.isdigit() for character in version) for version in shown["libraries"].values()) and len(shown["libraries"]) == 8


# ---- observe, limits, pauses ---------------------------------------------------------------------------------------


def test_a_new_installation_observes(made):
    installed = start(made(3, mode="observe"))
    for name in installed.fleet.names:
        wait_state(installed, name, "current")
    plan = installed.keyroll.run("plan")
    assert "held" in plan.out, plan
    refused = installed.keyroll.run("rotate", installed.fleet.names[0], check=False)
    assert refused.status == 1 and "mode = rotate" in refused.err
    assert installed.fleet.summary()["creates"] == 0


def test_rotations_per_hour_are_bounded(made):
    installed = start(made(12, max_rotations_per_hour=5))
    installed.fleet.wait_rotated(5, 60)
    wait_for("the scheduler to say how many wait", lambda: installed.schedulers[0].metrics().get("keyroll_rotations_waiting") == 7, 30)
    assert installed.fleet.summary()["creates"] == 5


def test_pause_and_resume_of_an_account(made):
    installed = made(4, {"accounts": 2}, aws_role_template="arn:aws:iam::{account}:role/keyroll-rotator")
    accounts = {row["account"] for row in installed.fleet.rows()}
    paused = sorted(accounts)[0]
    installed.keyroll.run("pause", "--account", paused, "--reason", "a migration")
    start(installed)
    other = [row["licence"] for row in installed.fleet.rows() if row["account"] != paused]
    for name in other:
        wait_for(f"{name} rotated", lambda name=name: book(installed, name)["rotated"] == 1, 60)
    assert installed.fleet.summary()["creates"] == len(other)
    installed.keyroll.run("resume", "--account", paused)
    installed.wait_stage("current", 90)
    assert installed.finish("current") == []


# ---- assisted mode -------------------------------------------------------------------------------------------------


def revealed(installed, name, path):
    """Runs reveal into a new file. Returns the pair."""
    installed.keyroll.run("reveal", name, "--to", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    words = path.read_text().split()
    key = next(word for word in words if word.startswith("AKIA"))
    secret = next(word for word in words if len(word) == 40)
    return {"licence": name, "access_key_id": key, "secret": secret}


@pytest.mark.parametrize("confirm", [True, False], ids=["confirmed", "noticed by its presigned URL"])
def test_assisted(made, tmp_path, confirm):
    installed = start(made(2, {"mix": "assisted=1"}))
    name = installed.fleet.names[0]
    wait_state(installed, name, "awaiting operator", timeout_s=60)
    asked = wait_for("the reason", lambda: told(installed, name)["reason"], 10)
    assert "keyroll reveal" in asked
    first = revealed(installed, name, tmp_path / "pair.secret")
    assert revealed(installed, name, tmp_path / "again.secret") == first, "repeatable until proven"
    refused = installed.keyroll.run("reveal", name, "--to", tmp_path / "pair.secret", check=False)
    assert refused.status == 1 and "pair.secret" in refused.err, "a file that is there is not written over"
    installed.fleet.control("POST", "paste", first)
    if confirm:
        installed.keyroll.run("confirm", name)
    installed.wait_stage("current", 90)
    assert installed.keyroll.run("reveal", name, "--to", tmp_path / "late.secret", check=False).status == 1
    installed.fleet.holders = lambda held=installed.fleet.holders(): [*held, *tmp_path.glob("*.secret")]
    assert installed.finish("current") == []


# ---- drift, odd keys, exposed keys ---------------------------------------------------------------------------------


def test_drift_waits_for_adopt(made):
    installed = start(made(2, {"new_key_delay_ms": 0}, max_age="3650d", max_age_jitter="0s", audit_interval="1s"))
    name = installed.fleet.names[0]
    wait_state(installed, name, "current")
    before = told(installed, name)["key_id"]
    stranger = installed.fleet.control("POST", "stranger", {"licence": name, "op": "create", "store": True})
    drifted = wait_state(installed, name, "drifted")
    assert stranger["access_key_id"] in drifted["reason"] or "adopt" in drifted["reason"], drifted
    assert installed.fleet.summary()["creates"] == 0
    installed.keyroll.run("adopt", name, "--replaced", before)
    adopted = wait_state(installed, name, "overlap", "quarantine", "current")
    assert adopted["key_id"] == stranger["access_key_id"]
    wait_for("the old key deleted", lambda: [key["id"] for key in book(installed, name)["keys"] if key["status"] != "Deleted"]
             == [stranger["access_key_id"]], 60)
    assert installed.fleet.summary()["outages"] == 0


def test_an_exposed_key_is_inactive_at_once(made):
    installed = start(made(2, max_age="3650d", max_age_jitter="0s", overlap="1h", quarantine="1h"))
    name = installed.fleet.names[0]
    wait_state(installed, name, "current")
    exposed = told(installed, name)["key_id"]
    installed.keyroll.run("rotate", name, "--exposed", "--wait", timeout_s=90)
    wait_for("the exposed key Inactive", lambda: {key["id"]: key["status"] for key in book(installed, name)["keys"]}[exposed] == "Inactive", 30)
    assert book(installed, name)["rotated"] == 1 and installed.fleet.summary()["outages"] == 0


# ---- inventory and topics ------------------------------------------------------------------------------------------


def test_fleet_discovered_from_iam(made):
    """No inventory file: users are found by path, described by their tags, and rotated."""
    installed = made(6, {"accounts": 1, "time_zone": fleet.noon_zone()}, inventory="")
    installed.settings.update(inventory_discover=installed.fleet.rows()[0]["account"], discover_path="/synergist/",
                              discover_tag="synergist:licence")
    start(installed)
    installed.wait_stage("current", 90)
    assert installed.finish("current") == []


def test_a_vanished_licence_is_not_touched_and_told(made):
    installed = made(3, max_age="3650d", max_age_jitter="0s", audit_interval="1s")
    start(installed)
    gone, *kept = installed.fleet.names
    wait_state(installed, gone, "current")
    installed.fleet.write_inventory([row for row in installed.fleet.rows() if row["licence"] != gone])
    wait_for("the log to tell", lambda: any(line.get("event.action") == "licence-vanished" and gone in json.dumps(line)
                                            for line in installed.schedulers[0].logged()), 20)
    assert gone in installed.keyroll.run("status").out
    assert [key["status"] for key in book(installed, gone)["keys"]] == ["Active"]


def test_topics_show_the_difference_first(made, kafka):
    installed = made(1)
    assert installed.keyroll.run("topics apply", "--dry-run").status == 0
    kafka.delete_topics(f"{installed.name}.dead")
    wait_for("the topic gone", lambda: f"{installed.name}.dead" not in kafka.topics(), 20)
    shown = installed.keyroll.run("topics apply", "--dry-run", check=False)
    assert f"{installed.name}.dead" in shown.out and f"{installed.name}.dead" not in kafka.topics(), shown
    installed.keyroll.run("topics apply")
    assert f"{installed.name}.dead" in kafka.topics()
