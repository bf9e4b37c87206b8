"""A rolling upgrade in the middle of the work, as the chart does it (one new worker more, then one old one less), to a build
that writes the next minor version of messages, records and journals, and back from it to the older one. tests/next builds
that version: it writes ".../1.1" and a member that the other does not know."""
import json
import time

import pytest

from support import deployment, sandbox
from support.pace import WINDOW_S, Pace
from support.processes import wait_for

WORKERS = 4
SLOW = {"latency_iam": 50, "latency_sts": 50, "latency_s3": 50, "latency_instance": 150, "new_key_delay_ms": "100-1000"}
QUICK = {**{name.replace("_", "-"): "1" for name in SLOW}, "new-key-delay-ms": "0-10"}
LEAST_SHARE = 0.6
NEXT = "next/"


@pytest.fixture
def size(full):
    """Licences, and how many rotations each worker may have under way: so few that there is work for the whole upgrade."""
    return (2000, 12) if full else (200, 3)


@pytest.fixture
def fleet(tmp_path, size):
    with sandbox.SandboxFleet(tmp_path, size[0], use_interval_ms=1000, **SLOW) as made:
        yield made


def roll(made, version):
    """Replaces each worker by one of that version, and the scheduler half way. Returns how long each took, seconds."""
    times = []
    for index, old in enumerate(list(made.workers)):
        begun = time.monotonic()
        made.worker(version=version)  # waits until it is ready: maxUnavailable 0
        assert old.drain(50) == 0, old.tail()
        times.append(time.monotonic() - begun)
        if index == WORKERS // 2 - 1:
            before, = made.schedulers
            made.scheduler(version=version)
            assert before.drain() == 0
    return times


def versions(made, topic):
    """Returns the minor versions of the messages on a topic."""
    values = [json.loads(message.value()) for message in made.kafka.messages(f"{made.name}.{topic}") if message.value()]
    return {value["version"].partition("/")[2] for value in values}


@pytest.mark.parametrize("before, after", [("", NEXT), (NEXT, "")], ids=["to the newer", "back to the older"])
def test_rolling_upgrade(tmp_path, kafka, redis_server, fleet, size, before, after):
    count, in_flight = size
    with deployment.Deployment(tmp_path, kafka, redis_server, fleet, max_in_flight=in_flight, overlap="25s",
                               plan_publish_rate=0) as made:
        made.topics_apply()
        for _ in range(WORKERS):
            made.worker(start=False, version=before).spawn()
        for worker in made.workers:
            worker.wait_ready()
        made.scheduler(version=before)
        with Pace(fleet) as pace:
            wait_for("the work to be under way", lambda: pace.effects() >= count // 10, 60, alive=made.workers[0])
            steady_from = time.monotonic()
            wait_for("a steady pace", lambda: time.monotonic() > steady_from + WINDOW_S, 60)
            steady = pace.rate(steady_from, time.monotonic())
            begun = time.monotonic()
            times = roll(made, after)
            ended = time.monotonic()
            wait_for("the last window", lambda: time.monotonic() > ended + WINDOW_S, 2 * WINDOW_S)
            done = fleet.summary()["rotated_licences"]
            slowest = pace.slowest(begun, ended + WINDOW_S)
        fleet.settings(**QUICK)
        print(f"{count} licences, {WORKERS} workers replaced in {ended - begun:.1f} s ({', '.join(f'{one:.1f}' for one in times)}), "
              f"{done} rotated {WINDOW_S} s later; steady {steady:.1f} jobs/s, slowest {WINDOW_S} s {slowest:.1f} ({slowest / steady:.0%})")
        assert done < count  # there was work all the time
        made.wait_stage("current", 600 if count > 1000 else 240)
        assert made.finish("current") == []
        assert versions(made, "events") == versions(made, "jobs") == {"1", "1.1"}
        totals = fleet.summary()
        assert totals["creates"] == totals["rotated_licences"] == count, totals
        assert totals["outages"] == totals["orphan_keys"] == totals["unexplained_keys"] == 0, totals
        assert slowest >= LEAST_SHARE * steady
