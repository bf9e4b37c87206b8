"""Policies on a running fleet: who waits for what, what the commands foresee, and a policy file that changes."""
import csv
import datetime
import json

import pytest

from support import deployment, sandbox
from support.processes import wait_for

DAY = 86_400_000


@pytest.fixture
def installed(tmp_path, kafka, redis_server):
    """Eight licences, their keys 100 days old, looked at once by an observing installation."""
    with sandbox.SandboxFleet(tmp_path, 8) as fleet:
        with deployment.Deployment(tmp_path, kafka, redis_server, fleet, mode="observe", policy_file=tmp_path / "policy.json") as made:
            write_policy(made)
            made.topics_apply()
            yield made


def write_policy(installed, **parts):
    (installed.folder / "policy.json").write_text(json.dumps({"version": "keyroll.policy/1", **parts}))


def zone_at(hour):
    """Returns a zone in which it is this hour of the day now."""
    ahead = (hour - datetime.datetime.now(datetime.timezone.utc).hour + 12) % 24 - 12
    return "Etc/UTC" if ahead == 0 else f"Etc/GMT{-ahead:+d}"


def rewrite(fleet, **columns):
    """Changes columns of the inventory: column -> {licence: value}."""
    rows = fleet.rows()
    for row in rows:
        for column, values in columns.items():
            row[column] = values.get(row["licence"], row[column])
    with fleet.inventory.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def looked_at(installed):
    """Runs scheduler and worker until every licence has a record."""
    scheduler, worker = installed.scheduler(), installed.worker()
    wait_for("every licence to be looked at", lambda: all(
        one["state"] not in ("unknown", "new") for one in installed.keyroll.status()["licences"]), 30, poll_s=0.2)
    return scheduler, worker


def test_windows_exclusions_and_a_changed_file(installed):
    """Only what policy allows is rotated; the rest follows when the file is changed under the running scheduler."""
    fleet = installed.fleet
    night, excluded, frozen, unknown, *free = fleet.names
    rewrite(fleet, time_zone={night: zone_at(21)}, policy={frozen: "frozen", unknown: "no-such-policy"})
    today = datetime.datetime.now(datetime.timezone.utc).date()
    day = datetime.timedelta(days=1)
    parts = {"policies": {"frozen": {"blackouts": [{"from": str(today - day), "to": str(today + day), "reason": "stocktaking"}]}},
             "exclusions": [{"licence": excluded, "expires": str(today + 9 * day), "reason": "go-live"}]}
    write_policy(installed, **parts)
    scheduler, worker = looked_at(installed)
    plan = {one["licence"]: one for one in installed.keyroll.run("plan --all --json").json()["licences"]}
    assert sorted(name for name, one in plan.items() if one["due"] and one["what"] == "rotate") == free
    assert all(plan[name]["waits"] for name in (night, excluded, frozen, unknown))
    for name, why in ((night, "nightly copy"), (excluded, "go-live"), (frozen, "stocktaking"), (unknown, "no policy of the name")):
        assert why in plan[name]["why"], plan[name]
    assert "waits" in installed.keyroll.run("plan").out

    check = installed.keyroll.run("policy check", check=False)
    assert check.status == 3 and unknown in check.out and "no-such-policy" in check.out, check

    scheduler.drain()
    worker.drain()
    rotating = installed.scheduler(mode="rotate")
    installed.worker(mode="rotate")
    fleet.wait_rotated(len(free), 60)
    # A tick after everything else was done shows that they are not merely late.
    ticks = rotating.metrics()["keyroll_tick_duration_seconds_count"]
    wait_for("four more ticks", lambda: rotating.metrics()["keyroll_tick_duration_seconds_count"] >= ticks + 4, 20)
    assert fleet.summary()["rotated_licences"] == len(free)
    assert rotating.metrics()["keyroll_policy_waiting"] == 4

    (installed.folder / "policy.json").write_text("{")  # a slip of the pen: what was read before stays in force
    wait_for("the complaint", lambda: any("policy file cannot be used" in str(line) for line in rotating.logged()), 20)
    assert fleet.summary()["rotated_licences"] == len(free)
    write_policy(installed, policies={"frozen": {}, "no-such-policy": {}})
    fleet.wait_rotated(len(free) + 3, 60)
    write_policy(installed, policies={"default": {"nightly_copy": None}, "frozen": {}, "no-such-policy": {}})
    installed.wait_stage("current", 120)
    assert installed.finish("current") == []


def test_what_the_commands_foresee(installed, full):
    fleet, keyroll = installed.fleet, installed.keyroll
    looked_at(installed)
    now = datetime.datetime.now(datetime.timezone.utc)

    month = keyroll.run("plan --days 30 --json").json()
    assert sum(day["rotate"] for day in month["days"]) == len(fleet.names) == month["licences"]
    assert len(month["days"]) == 31 and month["unforeseen"] == 0
    assert month["days"][0]["day"] == str(now.date())
    # Ten days on, this month's rotations are behind: what is foreseen until then counts.
    then = now.date() + datetime.timedelta(days=10)
    later = keyroll.run("plan --days 5 --json", "--at", then).json()["days"]
    assert [day["day"] for day in later] == [str(then + datetime.timedelta(days=n)) for n in range(5)]
    assert sum(day["rotate"] for day in later) == 0 == later[0]["waiting"]
    table = keyroll.run("plan --days 5", "--at", then).out
    assert str(then) in table and str(now.date()) not in table and "8 licences" in table

    # As if it were 30 days ago none of these keys were due: they were 70 days old.
    ago = (now - datetime.timedelta(days=31)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert not any(one["due"] and one["what"] == "rotate" for one in keyroll.run("plan --all --json", "--at", ago).json()["licences"])

    new = installed.folder / "new.json"
    new.write_text(json.dumps({"version": "keyroll.policy/1", "policies": {"default": {"max_age": "110d", "max_age_jitter": "0s"}},
                               "canaries": [fleet.names[0]]}))
    diff = keyroll.run("policy diff", new, "--json").json()
    assert (diff["due_before"], diff["due_after"], diff["later"]) == (8, 0, 8), diff
    moved = {one["licence"]: one["after_ms"] - one["before_ms"] for one in diff["licences"]}
    assert all(9 * DAY < ms < 11 * DAY for ms in moved.values())
    assert sum(day["rotate"] for day in diff["days_before"]) == sum(day["rotate"] for day in diff["days_after"]) == 8
    assert len(diff["days_before"]) == len(diff["days_after"]) >= 30
    assert "8 licences change: 0 sooner, 8 later" in keyroll.run("policy diff", new).out
    assert not keyroll.run("policy diff", installed.folder / "policy.json", "--json").json()["licences"]

    new.write_text('{"version":"keyroll.policy/1","policies":{"default":{"max_age":"5d"}}}')
    refused = keyroll.run("policy diff", new, check=False)
    assert refused.status == 3 and "max_age_jitter" in refused.err, refused
    assert keyroll.run("policy check", new, check=False).status == 3
    assert keyroll.run("policy check", installed.folder / "none.json", check=False).status == 1
    assert "good" in keyroll.run("policy check").out
    for bad in (("plan", "--days", "0"), ("plan", "--at", "soon"), ("policy", "show"), ("policy diff",)):
        assert keyroll.run(*bad, check=False).status == 2, bad
