"""Campaigns on real Kafka and Redis against the sandbox: waves, failures that stop them, emergencies, schedulers that die."""
import datetime
import json
import random
import time

import pytest

from support import deployment, sandbox
from support.processes import wait_for

YOUNG = {"max_age": "3650d", "max_age_jitter": "0s", "overlap": "1h", "quarantine": "1h"}  # nothing is due by age


@pytest.fixture
def made(tmp_path, kafka, redis_server):
    open_ones = []

    def make(count, options=None, **settings):
        simulated = sandbox.SandboxFleet(tmp_path, count, **{"new_key_delay_ms": "50-300", "use_interval_ms": 500, **(options or {})})
        simulated.start()
        open_ones.append(simulated)
        one = deployment.Deployment(tmp_path, kafka, redis_server, simulated, **{**YOUNG, **settings})
        open_ones.append(one)
        one.topics_apply()
        return one
    yield make
    for one in reversed(open_ones):
        one.__exit__()


def looked_at(installed):
    """Waits until every licence was looked at once: only then has it a record."""
    wait_for("the first look at all", lambda: all(one["state"] == "current" for one in installed.keyroll.status()["licences"]), 60,
             poll_s=0.5)


def shown(installed, name):
    told = installed.keyroll.run("campaign show", name, "--json", check=False)
    return json.loads(told.out) if told.out else {"state": "not known"}


def wait_ended(installed, name, timeout_s=120):
    try:
        return wait_for(f"campaign {name} to end", lambda: (lambda one: one if one["state"] in ("done", "stopped") else None)(shown(installed, name)),
                        timeout_s, poll_s=0.5)
    except TimeoutError:
        waiting = [one for one in installed.keyroll.status()["licences"] if one["state"] != "current"][:5]
        raise AssertionError(f"{shown(installed, name)}\n{waiting}\n{installed.schedulers[-1].tail(10)}") from None


def test_each_licence_once_though_schedulers_die_and_campaigns_overlap(made, full):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    installed = made(300 if full else 80)
    installed.worker()
    installed.worker()
    scheduler = installed.scheduler()
    looked_at(installed)
    count = len(installed.fleet.names)
    dry = installed.keyroll.run("campaign start --all --name spring --dry-run")
    assert f"{count} licences in 3 waves (1, 10, {count})" in dry.out
    installed.keyroll.run("campaign start --all --name spring --stop-at-failures off")
    again = installed.keyroll.run("campaign start --all --name spring", check=False)
    assert again.status == 1 and "already" in again.err
    installed.keyroll.run("campaign start --name half --waves 100% --filter", "licence~L0000?1")
    for _ in range(10):
        time.sleep(dice.uniform(0.2, 1.5 if full else 0.6))  # a random moment is the point
        scheduler.sigkill()
        scheduler = installed.scheduler(start=False).spawn()
    for name in ("spring", "half"):
        end = wait_ended(installed, name)
        assert end["state"] == "done" and end["counts"]["done"] == end["licences"], end
    assert installed.keyroll.run("campaign show spring").status == 0
    assert installed.fleet.summary()["creates"] == count
    assert installed.finish("overlap") == []


def test_waves_one_after_the_other_and_pause(made):
    installed = made(20)
    installed.worker()
    installed.scheduler()
    looked_at(installed)
    installed.fleet.fault({"match": {"service": "instance", "action": "Update"}, "effect": "slow:1500"})
    installed.keyroll.run("campaign start --all --name careful --waves 2,100%")
    wait_for("the first wave", lambda: installed.fleet.summary()["creates"] == 2, 30)
    assert shown(installed, "careful")["wave"] == 1
    installed.keyroll.run("campaign pause careful --reason", "lunch")
    wait_for("the first wave to end", lambda: shown(installed, "careful")["counts"]["done"] == 2, 30)
    assert shown(installed, "careful")["state"] == "paused" and installed.fleet.summary()["creates"] == 2
    installed.keyroll.run("campaign resume careful")
    assert wait_ended(installed, "careful")["counts"]["done"] == 20
    listed = json.loads(installed.keyroll.run("campaign list --json").out)["campaigns"]
    assert [(one["name"], one["state"]) for one in listed] == [("careful", "done")]

    # All have two keys now, so another one waits for slots, until it is stopped.
    installed.keyroll.run("campaign start --all --name more --waves 100%")
    wait_for("it to wait for slots", lambda: shown(installed, "more")["counts"]["waits for a slot"] == 20, 30)
    installed.keyroll.run("campaign stop more --reason", "enough")
    assert (shown(installed, "more")["state"], shown(installed, "more")["why"]) == ("stopped", "enough")
    assert installed.keyroll.run("campaign show more", check=False).status == 3
    assert installed.fleet.summary()["creates"] == 20


def test_a_canary_that_fails_stops_it(made):
    installed = made(10, max_attempts=1, retry_cap="1h")
    installed.worker()
    installed.scheduler()
    looked_at(installed)
    installed.fleet.fault({"match": {"service": "iam", "action": "CreateAccessKey"}, "effect": "refuse:AccessDenied:403"})
    installed.keyroll.run("campaign start --all --name doomed")
    end = wait_ended(installed, "doomed")
    assert end["state"] == "stopped" and "1 of 1 failed" in end["why"] and end["counts"]["failed"] == 1, end
    assert end["counts"]["pending"] == 9 and end["causes"], end
    assert installed.keyroll.run("campaign show doomed", check=False).status == 3
    assert installed.fleet.summary()["creates"] == 0


def test_emergency_ends_with_no_leaked_key_active(made, tmp_path):
    """Neither the nightly copy, which it is now everywhere, nor the hour's allowance of new keys holds it up."""
    hour = datetime.datetime.now(datetime.timezone.utc).hour
    installed = made(30, max_rotations_per_hour=3, policy_file=tmp_path / "policy.json")
    (tmp_path / "policy.json").write_text(json.dumps({"version": "keyroll.policy/1", "policies": {"default": {
        "quiet": [{"from": f"{(hour - 1) % 24:02}:00", "to": f"{(hour + 2) % 24:02}:00"}]}}}))
    installed.worker()
    installed.scheduler()
    looked_at(installed)
    leaked = {name: book["stored_key_id"] for name, book in installed.fleet.control("GET", "books")["licences"].items()}
    installed.keyroll.run("campaign start --all --name leak --reason exposed")
    assert wait_ended(installed, "leak")["counts"]["done"] == 30
    for name, book in installed.fleet.control("GET", "books")["licences"].items():
        assert {key["id"]: key["status"] for key in book["keys"]}[leaked[name]] == "Inactive", name
    totals = installed.fleet.summary()
    assert totals["creates"] == 30 and totals["outages"] == 0


def test_redis_loses_everything_and_the_campaign_goes_on(made):
    installed = made(40, overlap="3s", quarantine="3s")  # a key whose secret is lost gives its slot back
    installed.worker()
    installed.scheduler()
    looked_at(installed)
    installed.keyroll.run("campaign start --all --name lasting --waves 5,100%")
    wait_for("some", lambda: installed.fleet.summary()["rotated_licences"] >= 5, 60)
    installed.redis_server.client().flushall()
    end = wait_ended(installed, "lasting", 120)
    assert end["state"] == "done" and end["counts"]["done"] == 40, end
    assert installed.fleet.summary()["outages"] == 0


def test_what_it_refuses(made, tmp_path):
    installed = made(2)
    refuse = [(["--all"], "--name"), (["--name", "a b", "--all"], "--name"), (["--name", "x"], "for whom"),
              (["--name", "x", "--all", "--filter", "licence=1"], "for whom"), (["--name", "x", "--filter", "colour=1"], "columns"),
              (["--name", "x", "--all", "--waves", "0"], "waves"), (["--name", "x", "--all", "--pace", "7"], "--pace"),
              (["--name", "x", "--all", "--stop-at-failures", "7"], "--stop-at-failures"), (["--name", "x", "--all", "--reason", "fun"], "--reason")]
    for arguments, word in refuse:
        done = installed.keyroll.run("campaign start", *arguments, check=False)
        assert done.status == 2 and word in done.err and len(done.err.splitlines()) == 1, (arguments, done)
    names = tmp_path / "names"
    names.write_text("L000001\nnobody\n")
    done = installed.keyroll.run("campaign start --name x --file", names, check=False)
    assert done.status == 1 and "nobody" in done.err
    assert installed.keyroll.run("campaign show x", check=False).status == 1
