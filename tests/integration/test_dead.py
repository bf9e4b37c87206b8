"""Dead letters on a running fleet: seen, filtered, replayed from where they stopped, dropped, resolved by themselves."""
import json
from pathlib import Path

import pytest

from support import deployment, sandbox
from support.processes import wait_for


@pytest.fixture
def fleet(tmp_path):
    with sandbox.SandboxFleet(tmp_path, 6) as made:
        yield made


@pytest.fixture
def installed(tmp_path, kafka, redis_server, fleet):
    # Failures are final at once or after two attempts, and the scheduler does not try again by itself within the test.
    with deployment.Deployment(tmp_path, kafka, redis_server, fleet, max_attempts=2, retry_cap="10m", retry_delays="1s") as made:
        made.topics_apply()
        yield made


def letters(installed, *arguments):
    return installed.keyroll.run("dead list --json", *arguments).json()["letters"]


def wait_letters(installed, count, *arguments):
    return wait_for(f"{count} letters {arguments}", lambda: len(found := letters(installed, *arguments)) == count and found, 60, poll_s=0.3)


def events(installed, name):
    return [event for message in installed.kafka.messages(f"{installed.name}.events")
            if (event := json.loads(message.value()))["type"] == name]


def look_first(installed):
    """The first look at each licence goes well: what fails later is the rotation."""
    daemons = installed.scheduler(mode="observe"), installed.worker(mode="observe")
    wait_for("every licence to be looked at", lambda: all(
        one["state"] == "current" for one in installed.keyroll.status()["licences"]), 30, poll_s=0.2)
    assert [one.drain() for one in daemons] == [0, 0]


def refuse_create(fleet, *licences):
    fleet.fault(*({"match": {"service": "iam", "action": "CreateAccessKey", "licence": name}, "effect": "refuse:AccessDenied:403"}
                  for name in licences))


def test_a_life_of_dead_letters(installed, fleet):
    create, given_up, test, *rest = fleet.names
    refuse_create(fleet, create, given_up)
    look_first(installed)
    fleet.fault({"match": {"service": "instance", "action": "TestAws", "licence": test}, "effect": "refuse:500:500"})
    installed.worker()
    scheduler = installed.scheduler()
    found = {one["licence"]: one for one in wait_letters(installed, 3)}
    assert set(found) == {create, given_up, test}
    assert {found[create]["step"], found[create]["error_class"], found[create]["times"]} == {"create", "permanent", 1}
    after_pivot = found[test]["step"]
    assert found[test]["error_code"] == "INSTANCE_UNPROVEN", found[test]
    run = installed.keyroll.run
    shown = run("dead list").out
    assert "3 dead letters are open" in shown and create in shown
    wait_for("the scheduler to count them", lambda: scheduler.metrics()["keyroll_dead_letters_open"] == 3, 20)

    # Filters.
    def ids(*arguments):
        return {one["licence"] for one in letters(installed, *arguments)}
    assert ids("--step", after_pivot) == {test}
    assert ids("--class", "permanent") >= {create, given_up}
    assert ids("--licence", f"{create[:-1]}*") == set(found)
    assert ids("--licence", create.lower()) == {create}
    assert ids("--account", "999999999999") == set() == ids("--older", "1h")
    assert ids("--younger", "1h", "--code", found[create]["error_code"]) >= {create}
    for bad in (("list", "--class", "bad"), ("replay",), ("drop", "--all"), ("show",), ("bury",), ("replay", "--all", "--pace", "0")):
        assert run("dead", *bad, check=False).status == 2, bad

    # A dry run and a limit change nothing, or no more than that.
    dry = run("dead replay --all --dry-run").out
    assert "3 jobs would be replayed" in dry and len(letters(installed)) == 3
    assert "1 jobs would be replayed, 0 cannot be, 2 left" in run("dead replay --all --dry-run --limit 1").out

    # What fails again comes back with its history.
    assert "1 jobs replayed" in run("dead replay", found[create]["id"], "--pace", "5/s").out
    again = wait_for("the letter to come back", lambda: [one for one in letters(installed, "--licence", create) if one["times"] == 2], 30)[0]
    assert again["job_id"] == found[create]["job_id"] and again["id"] != found[create]["id"]
    history = run("dead show --json", again["id"]).json()["letters"][0]["history"]
    assert [(one["id"], one["state"]) for one in history] == [(found[create]["id"], "replayed")]
    assert history[0]["first_failed_at_ms"] == found[create]["first_failed_at_ms"]
    text = run("dead show", again["job_id"]).out
    assert "failed 2 times" in text and found[create]["id"] in text

    # A replay goes on at the failed step: no second key is made.
    creates = fleet.control("GET", "books", licence=test)["licences"][test]["creates"]
    fleet.control("DELETE", "faults")
    refuse_create(fleet, create, given_up)
    run("dead replay --step", after_pivot)
    fleet.wait_rotated(len(rest) + 1, 60)
    wait_for("no letter of it to be open", lambda: test not in ids(), 20)
    assert fleet.control("GET", "books", licence=test)["licences"][test]["creates"] == creates == 1

    # Dropped with a reason, which the audit log keeps.
    run("dead drop --licence", given_up, "--reason", "the customer left")
    assert ids() == {create}
    dropped = [event for event in events(installed, "dropped") if event["licence"] == given_up]
    assert [event["reason"] for event in dropped] == ["the customer left"] and dropped[0]["by"]
    assert [one["mark"]["reason"] for one in letters(installed, "--closed", "--licence", given_up)] == ["the customer left"]

    # Well again by another way: the letter resolves by itself, first in the list, then durably.
    fleet.control("DELETE", "faults")
    run("rotate", create, given_up, "--wait")
    assert letters(installed) == []
    wait_for("the mark", lambda: [one for one in letters(installed, "--closed", "--licence", create) if one.get("mark", {}).get("action") == "resolved"], 30)
    wait_for("the scheduler to count none", lambda: scheduler.metrics()["keyroll_dead_letters_open"] == 0, 20)
    assert {event["licence"] for event in events(installed, "resolved")} >= {create}
    assert events(installed, "replayed")
    installed.wait_stage("current", 120)
    assert installed.finish("current", dead_letters=4) == []


def test_a_later_try_that_fails_alike_writes_no_other_letter(tmp_path, kafka, redis_server, fleet):
    """What is stuck or failed is tried again every retry_cap. Its letter is there: the history grows, in the list, the record
    and the events, and neither the letter nor the news comes a second time. A replay is a new try that a person asked for.
    (Each scheduler tries again after a growing pause, so each asks for few tries.)"""
    with deployment.Deployment(tmp_path, kafka, redis_server, fleet, overlap="1h", max_attempts=1, retry_cap="1s") as installed:
        installed.topics_apply()
        look_first(installed)
        stuck, failed = fleet.names[:2]
        fleet.fault({"match": {"service": "instance", "action": "TestAws", "licence": stuck}, "effect": "refuse:404600:200"})
        refuse_create(fleet, failed)
        workers = installed.worker(), installed.worker()
        scheduler = installed.scheduler()
        found = {one["licence"]: one for one in wait_letters(installed, 2)}
        assert set(found) == {stuck, failed}

        def tries(licence):
            return installed.keyroll.status(licence)["licences"][0]["attempts"]

        def wait_tries(count, *licences):
            before = [tries(licence) for licence in licences]
            for licence, now in zip(licences, before):
                wait_for(f"{count} more tries of {licence}", lambda: tries(licence) >= now + count, 60, poll_s=0.3)

        wait_tries(2, stuck, failed)
        assert scheduler.drain() == 0
        scheduler = installed.scheduler()  # a new one reads the topic before it asks for what failed
        wait_tries(2, stuck, failed)
        assert workers[0].drain() == 0
        wait_tries(1, stuck, failed)
        assert sorted(one["job"]["licence"] for one in installed.dead_letters()) == sorted((stuck, failed)), "one letter each"
        told = sorted(event["licence"] for name in ("stuck", "failed") for event in events(installed, name))
        assert told == sorted((stuck, failed)), "told once each"
        assert [event for event in events(installed, "retry") if event["licence"] == stuck], "later tries are in the audit log"
        for letter in letters(installed):
            first = found[letter["licence"]]
            assert (letter["id"], letter["job_id"], letter["state"]) == (first["id"], first["job_id"], "open")
            assert letter["times"] >= 6 and letter["last_failed_at_ms"] > first["last_failed_at_ms"], letter
        assert "tried again" in installed.keyroll.run("dead show", found[stuck]["id"]).out

        # A replay that fails comes back as a letter, and what is tried after it does not.
        installed.keyroll.run("dead replay", found[stuck]["id"])
        again = wait_for("its letter", lambda: [
            one for one in letters(installed, "--licence", stuck) if one["id"] != found[stuck]["id"]], 30)[0]
        assert scheduler.drain() == 0
        scheduler = installed.scheduler()
        wait_tries(2, stuck)
        assert len(installed.dead_letters()) == 3
        shown = installed.keyroll.run("dead show --json", again["id"]).json()["letters"][0]
        assert [(one["id"], one["state"]) for one in shown["history"]] == [(found[stuck]["id"], "replayed")]

        # What a person gave up stays given up, while it goes on failing alike.
        installed.keyroll.run("dead drop --all --reason", "a test")
        wait_tries(1, stuck)
        assert letters(installed) == [] and len(installed.dead_letters()) == 3
        fleet.control("DELETE", "faults")
        installed.keyroll.run("rotate", stuck, failed, "--wait", check=False)  # says so where the scheduler's own try came first
        installed.wait_stage("overlap", 60)
        assert installed.finish("overlap", dead_letters=3) == []


def test_a_profile_that_no_worker_has_is_told_once(tmp_path, kafka, redis_server, fleet):
    """The licence has a state and a reason, one letter however often it is tried, and is rolled once the profile is there."""
    shipped = json.loads((Path(__file__).resolve().parents[2] / "deploy" / "profiles" / "default.json").read_text())
    profiles = tmp_path / "profiles"
    profiles.mkdir()
    odd = fleet.names[0]
    fleet.write_inventory([{**row, "profile": "late"} if row["licence"] == odd else row for row in fleet.rows()])
    with deployment.Deployment(tmp_path, kafka, redis_server, fleet, retry_cap="1s", profiles_dir=profiles) as installed:
        installed.topics_apply()
        worker = installed.worker()
        installed.scheduler()
        one = wait_for("several tries of the odd one", lambda: (
            lambda told: told if told.get("attempts", 0) >= 2 else None)(installed.keyroll.status(odd)["licences"][0]), 60, poll_s=0.3)
        assert one["state"] == "failed" and "late" in one["reason"] and "profile" in one["reason"], one
        assert [letter["job"]["licence"] for letter in installed.dead_letters()] == [odd]
        assert worker.drain() == 0
        (profiles / "late.json").write_text(json.dumps({**shipped, "name": "late"}))
        installed.worker()
        installed.wait_stage("current", 60)
        assert installed.finish("current", dead_letters=1) == []


def test_replay_by_limit_and_pace(installed, fleet, kafka):
    """So many, so far apart, the oldest first; the rest stay."""
    refuse_create(fleet, *fleet.names[:3])
    look_first(installed)
    daemons = installed.scheduler(), installed.worker()
    newest = wait_letters(installed, 3)[0]
    assert [one.drain() for one in daemons] == [0, 0]

    def published():
        return sorted(message.timestamp()[1] for message in kafka.messages(f"{installed.name}.jobs", f"{installed.name}.urgent"))
    before = len(published())
    done = installed.keyroll.run("dead replay --step create --limit 2 --pace 1/s").out
    assert "2 jobs replayed, 0 cannot be, 1 left" in done
    one, other = published()[before:]
    assert other - one > 900, "two jobs at one a second"
    assert [letter["licence"] for letter in letters(installed)] == [newest["licence"]]


def test_what_is_no_job(installed, fleet, kafka):
    """A message that cannot be read is kept, shown, not replayed, and can be dropped."""
    installed.worker()
    installed.foreign.append(b"not a job")
    kafka.produce(f"{installed.name}.jobs", b"not a job")
    letter = wait_letters(installed, 1)[0]
    assert letter["step"] == "decode" and "licence" not in letter
    refused = installed.keyroll.run("dead replay", letter["id"], check=False)
    assert refused.status == 3 and "it is no job" in refused.out, refused
    installed.keyroll.run("dead drop", letter["id"], "--reason", "a test")
    assert letters(installed) == []
    assert letters(installed, "--closed")[0]["mark"]["action"] == "dropped"


def test_dead_letters_outlive_every_quarantine(installed):
    refused = installed.keyroll.run("topics apply --dry-run", "--quarantine", "90d", check=False)
    assert refused.status == 2 and "retention.ms" in refused.err and "quarantine" in refused.err, refused


def test_without_kafka_or_topic(installed, tmp_path):
    run = installed.keyroll.run
    away = run("dead list", "--brokers", "127.0.0.1:1", timeout_s=90, check=False)
    assert away.status == 1 and "Kafka" in away.err, away
