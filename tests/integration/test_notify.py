"""A person is told of each of the five kinds of news: by a real command and by HTTP, in messages as the published schema has
them, again when they were not taken, once each, and never with a secret."""
import contextlib
import http.server
import json
import stat
import threading

import jsonschema
import pytest

from integration import test_schema as messages
from support import deployment, sandbox
from support.processes import wait_for


class Receiver:
    """Takes POSTs on loopback; the first `failures` are refused. bodies: what was taken; tries: how often it was asked."""

    def __init__(self, failures):
        self.failures, self.tries, self.bodies = failures, 0, []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.tries += 1
                taken = receiver.tries > receiver.failures
                if taken:
                    receiver.bodies.append(json.loads(body))
                self.send_response(204 if taken else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook/of-a-chat"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def command_of(folder, fail_first=True):
    """Writes a program that keeps what it gets, one message a line, and its environment; it fails the first time."""
    script = folder / "tell"
    script.write_text(f"""#!/bin/sh
env > {folder}/told.environment
if [ ! -e {folder}/told.failed ] && [ {int(fail_first)} = 1 ]; then touch {folder}/told.failed; exit 7; fi
cat >> {folder}/told.messages && echo >> {folder}/told.messages
""")
    script.chmod(stat.S_IRWXU)
    return script


def notices(bodies):
    return sorted((one["kind"], one.get("licence", one.get("campaign", ""))) for body in bodies for one in body["notices"])


SCHEMA = json.loads((messages.ROOT / "schema" / "notice.schema.json").read_text())


def complaints(bodies):
    """Returns what the published schema says against messages; what it does not name is one, too."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    kind = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": messages.ecma_pattern})
    validator = kind({name: value for name, value in SCHEMA.items() if name != "$schema"})
    found = [error.message for body in bodies for error in validator.iter_errors(body)]
    known = SCHEMA["$defs"]["notice"]["properties"]
    return found + [name for body in bodies for name in body if name not in SCHEMA["properties"]] \
        + [name for body in bodies for one in body["notices"] for name in one if name not in known]


@pytest.fixture
def start(tmp_path, kafka, redis_server):
    with contextlib.ExitStack() as stack:
        def begin(count, failures, **settings):
            receiver = Receiver(failures)
            stack.callback(receiver.close)
            fleet = stack.enter_context(sandbox.SandboxFleet(tmp_path, count))
            installed = stack.enter_context(deployment.Deployment(
                tmp_path, kafka, redis_server, fleet, **{
                    "max_age": "1000d", "max_age_jitter": "0s", "overlap": "1h", "notify_url": receiver.url, "notify_interval": "2s",
                    "notify_command": command_of(tmp_path), "max_attempts": 1, **settings}))
            installed.topics_apply()
            installed.worker()
            return installed, receiver
        yield begin


def test_a_person_is_told_at_least_once_and_hardly_twice(start, tmp_path):
    installed, receiver = start(8, failures=1)
    fleet = installed.fleet
    by_hand, rolled, failing = fleet.names[5:]
    fleet.write_inventory([{**row, "profile": "assisted"} if row["licence"] == by_hand else row for row in fleet.rows()])
    scheduler = installed.scheduler()
    wait_for("every licence to be looked at", lambda: all(
        one["state"] == "current" for one in installed.keyroll.status()["licences"]), 60, poll_s=0.5)
    told = tmp_path / "told.messages"
    by_command = lambda: [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []  # noqa: E731

    # Two that fail alike before the pivot, one that fails after it, one whose key a stranger deletes, one whose pair a person
    # has to paste, one that fails though AWS accepts its key, and a campaign that is stopped.
    refused, alike, stuck, drifted = fleet.names[:4]
    for name in (refused, alike):
        fleet.fault({"match": {"action": "CreateAccessKey", "user": f"SynergistExpress-{name}"}, "effect": "refuse:AccessDenied:403"})
    for name in (stuck, failing):
        fleet.fault({"match": {"action": "TestAws", "licence": name}, "effect": "refuse:404600:200"})
    fleet.control("POST", "stranger", {"licence": drifted, "op": "delete"})
    installed.keyroll.run("rotate", refused, alike, stuck, by_hand)
    installed.keyroll.run("campaign start --name spring --filter", f"licence={rolled}")
    installed.keyroll.run("campaign stop spring --reason", "enough")
    looks = [json.dumps({"version": "keyroll.trigger/1", "action": "failing", "licence": name, "reason": "a test"}).encode()
             for name in (drifted, failing)]
    for topic, value in (*(("triggers", look) for look in looks), ("jobs", b"not a job")):
        installed.kafka.produce(f"{installed.name}.{topic}", value)
        installed.foreign.append(value)
    needed = {("stuck", refused), ("stuck", alike), ("stuck", stuck), ("drifted", drifted), ("failing", failing), ("dead letter", ""),
              ("awaiting operator", by_hand), ("campaign stopped", "spring")}
    wait_for("all to be told in both ways", lambda: all(
        needed <= set(notices(bodies)) for bodies in (receiver.bodies, by_command())), 90, poll_s=0.5)
    for bodies in (receiver.bodies, by_command()):
        seen = notices(bodies)
        letters = [licence for kind, licence in seen if kind == "dead letter"]
        assert set(seen) - {("dead letter", licence) for licence in letters} == needed - {("dead letter", "")}
        assert len(letters) <= 3 and letters.count(refused) + letters.count(alike) <= 1, "of a kind the first one only"
        assert len(seen) == len(set(seen)), "nothing is told twice"
        assert complaints(bodies) == []
        assert len(bodies) < len(seen), "what happens together is told together"
    assert receiver.tries > len(receiver.bodies) and (tmp_path / "told.failed").exists(), "both refused the first message"
    environment = (tmp_path / "told.environment").read_text()
    assert "AWS" not in environment and "KEYROLL" not in environment and "PATH=" in environment

    # What happens while no scheduler runs is told by the next one; what was told is not told again.
    before = notices(receiver.bodies)
    assert scheduler.drain() == 0
    late = fleet.names[4]
    fleet.fault({"match": {"action": "TestAws", "licence": late}, "effect": "refuse:404600:200"})
    installed.keyroll.run("rotate", late)
    wait_for("it to be stuck", lambda: installed.keyroll.status(late)["licences"][0]["state"] == "stuck", 60, poll_s=0.5)
    installed.scheduler()
    wait_for("it to be told", lambda: ("stuck", late) in notices(receiver.bodies), 60)
    assert [one for one in notices(receiver.bodies) if one not in before] == [("stuck", late)]
    assert len(notices(receiver.bodies)) == len(before) + 1
    (tmp_path / "received.json").write_text(json.dumps(receiver.bodies))
    installed.keep_metrics()
    assert installed.leaks() == []


def test_single_runs_tell_too(start, tmp_path):
    """`keyroll schedule --once`: each run tells what happened since the one before; what was not taken the next one tells."""
    installed, receiver = start(3, failures=0)
    fleet = installed.fleet
    bad = fleet.names[0]
    installed.keyroll.run("schedule --once")
    wait_for("every licence to be looked at", lambda: all(
        one["state"] == "current" for one in installed.keyroll.status()["licences"]), 60, poll_s=0.5)
    assert receiver.bodies == []
    fleet.fault({"match": {"action": "TestAws", "licence": bad}, "effect": "refuse:404600:200"})
    installed.keyroll.run("rotate", bad)
    wait_for("it to be stuck", lambda: installed.keyroll.status(bad)["licences"][0]["state"] == "stuck", 60, poll_s=0.5)
    installed.keyroll.run("schedule --once")
    told = notices(receiver.bodies)
    assert ("stuck", bad) in told and (tmp_path / "told.messages").exists()
    installed.keyroll.run("schedule --once")
    assert notices(receiver.bodies) == told, "nothing is told twice"
