"""The end of a scenario that hurt: waits until every licence has come to rest, then holds the books against the promises.

At rest is a licence that was rotated once and is alone with its new key, or, where a scenario may cost a person, one that
`keyroll status` shows in a state that asks for one. complaints() then looks at all of it: outages, double rotations, orphan
keys, keys known from the events, what Redis and Kafka hold, how processes ended, leaks, message schemas.
"""
import json
import re
import subprocess
import time

from . import ledger, messages

ASKING = ("awaiting operator", "drifted", "excluded")  # nothing is tried any more until a person acts
KEY_ID = re.compile(r"\bAKIA[A-Z0-9]{16}\b")


def books(fleet):
    """Returns the sandbox's own books: {licence: {keys, stored_key_id, rotated, outages, creates, ...}}."""
    return fleet.control("GET", "books")["licences"]


def existing(book):
    """Returns {key id: status} of the keys that AWS still has."""
    return {key["id"]: key["status"] for key in book["keys"] if key["status"] != "Deleted"}


def is_finished(name, book, first):
    return (book["rotated"] == 1 and book["stored_key_id"] != first[name] and existing(book) == {book["stored_key_id"]: "Active"})


def named_in(told):
    """Returns the key ids that `keyroll status` names for one licence."""
    return set(KEY_ID.findall(json.dumps(told)))


class Rest:
    """How a fleet came to rest: licences that finished, licences that ask (name -> what status says of it)."""

    def __init__(self, finished, asking, moving):
        self.finished, self.asking, self.moving = finished, asking, moving

    def __str__(self):
        return f"{len(self.finished)} current, {len(self.asking)} ask a person, {len(self.moving)} neither"


def look(installed):
    """Returns the Rest of this moment. status is asked only about what the books do not show as finished."""
    held = books(installed.fleet)
    finished = {name for name, book in held.items() if is_finished(name, book, installed.fleet.first)}
    others = sorted(set(held) - finished)
    asking = {}
    if others:
        done = installed.keyroll.run("status", "--json", check=False)
        if done.status == 0:
            asking = {one["licence"]: one for one in done.json()["licences"]
                      if one["licence"] not in finished and one["state"] in ASKING and one["reason"]}
    return Rest(finished, asking, [name for name in others if name not in asking])


def settle(installed, timeout_s, may_ask=False):
    """Waits until all licences are at rest; fails with the first that are not. Returns the Rest."""
    end = time.monotonic() + timeout_s
    while True:
        fallen(installed)
        held = books(installed.fleet)
        open_ones = [name for name, book in held.items() if not is_finished(name, book, installed.fleet.first)]
        rest = Rest(set(held), {}, []) if not open_ones else None
        if rest is None and may_ask:
            rest = look(installed)
        if rest is not None and not rest.moving:
            return rest
        if time.monotonic() > end:
            raise AssertionError(f"after {timeout_s} s {len(open_ones)} licences are not at rest: {story(installed, open_ones[:3])}")
        time.sleep(0.5)


def fallen(installed):
    """Fails when a process ended in a way that nobody asked for."""
    for process in installed.schedulers + installed.workers:
        if process.process is not None and process.process.poll() not in (None, 0, -9):
            raise AssertionError(f"{process.name} ended with status {process.process.returncode}\n{process.tail()}")


def story(installed, names):
    """All that is known of some licences, for the reader of a failed test."""
    lines, held = [], books(installed.fleet)
    shown = installed.keyroll.run("status", "--json", check=False)
    told = {one["licence"]: one for one in shown.json()["licences"]} if shown.status == 0 else {}
    for name in names:
        lines += [f"\n== {name}", f"books: {json.dumps(held[name])}", f"status: {json.dumps(told.get(name, repr(shown)))}"]
        logs = [process.log for process in installed.schedulers + installed.workers if process.log.exists()]
        found = subprocess.run(["grep", "-h", f'"{name}"', *map(str, logs)], capture_output=True, text=True).stdout.splitlines()
        lines += [line[:600] for line in sorted(found, key=stamp)[-40:]]
    tails = [process.tail(5) for process in installed.schedulers + installed.workers if process.running()]
    return "\n".join(lines + tails)


def stamp(line):
    try:
        return json.loads(line)["@timestamp"]
    except (ValueError, KeyError):
        return ""


def about_licence(name, book, told, first):
    """Complaints about one licence at rest. told: what status says of it when it asks a person, else None."""
    if book["outages"]:
        yield f"{book['outages']} outages"
    if book["rotated"] > 1:
        yield f"rotated {book['rotated']} times"
    left = set(existing(book)) - {book["stored_key_id"]}
    if not told:
        if not is_finished(name, book, first):
            yield f"is neither current nor named: {existing(book)}, the instance holds {book['stored_key_id']}"
        return
    unnamed = left - named_in(told)
    if unnamed:
        yield f"asks a person but does not name {sorted(unnamed)}: {told['reason']}"
    if not told["reason"]:
        yield "asks a person without a reason"


def ask_people(installed, rest):
    """Does what a person would for each licence that asks: looks whether status names all keys, then `keyroll adopt`.

    Returns complaints about what the person was told. Afterwards every licence must come to its end by itself.
    """
    held, found = books(installed.fleet), []
    for name, told in rest.asking.items():
        found += [f"{name}: {text}" for text in about_licence(name, held[name], told, installed.fleet.first)]
        others = sorted(set(existing(held[name])) - {held[name]["stored_key_id"]})
        print(f"asked: {name} {told['state']}: {told['reason']}")
        installed.keyroll.run("adopt", name, "--force", *[word for key in others for word in ("--replaced", key)])
    return found


def about_events(installed, held, rest):
    """Every key id of the events is used, retired, or named to a person; every created key that lives is in the events."""
    known = {}
    for message in installed.kafka.messages(f"{installed.name}.events"):
        event = json.loads(message.value())
        known.setdefault(event["licence"], set()).update(KEY_ID.findall(json.dumps(event)))
    for name, book in held.items():
        named = named_in(rest.asking[name]) if name in rest.asking else set()
        alive = set(existing(book))
        orphans = (known.get(name, set()) & alive) - named - {book["stored_key_id"]}
        if orphans:
            yield f"{name}: {sorted(orphans)} stands in the events, exists, and is neither used nor named"
        if book["rotated"] and book["stored_key_id"] not in known.get(name, set()):
            yield f"{name}: {book['stored_key_id']} is in use and no event ever told of it"


def user_of(key):
    """Returns the user whose licence a key of Redis is about."""
    return key.split("}")[0].split("/")[-1].lower()


def about_redis(installed, rest):
    """Journals and leases must be gone, apart from those of licences that wait for a person."""
    waiting = {one["user"].lower() for one in rest.asking.values()}
    end = time.monotonic() + 30
    while True:
        left = [key for key in ledger.open_keys(installed.redis_server.client())
                if not (key.endswith(":journal") and user_of(key) in waiting)]
        if not left or time.monotonic() > end:
            return [f"left in Redis: {key}" for key in left[:20]]
        time.sleep(0.2)


def complaints(installed, rest, lag=True, dead_letters=False, events=True, made_anew=False):
    """Stops the schedulers, checks everything, drains the workers. Returns what is wrong; call it once.

    lag: the group must have committed everything. dead_letters: the scenario may have cost some. events: all of them are still
    on their topic. made_anew: topics were deleted and made again.
    """
    installed.keep_metrics()
    ended = [(one.name, one.drain()) for one in installed.schedulers if one.running()]
    found = about_redis(installed, rest)
    if lag:
        found += ledger.check_lag(installed.kafka, installed.group, 60, made_anew)
    ended += [(one.name, one.drain()) for one in installed.workers if one.running()]
    found += [f"{name}: exit status {status} on SIGTERM" for name, status in ended if status != 0]
    held = books(installed.fleet)
    for name, book in held.items():
        found += [f"{name}: {text}" for text in about_licence(name, book, rest.asking.get(name), installed.fleet.first)]
    found += about_events(installed, held, rest) if events else []
    dead = installed.dead_letters()
    if dead and not dead_letters:
        found.append(f"{len(dead)} dead letters: " + "; ".join(sorted({f"{one['step']}: {one['reason']}" for one in dead})[:5]))
    found += installed.leaks()
    found += messages.check(installed.kafka.messages(*installed.topics()), installed.name, installed.foreign)
    totals = installed.fleet.summary()
    print(f"{rest}; {totals['creates']} keys made for {len(held)} licences, {totals['outages']} outages, {len(dead)} dead letters")
    return found
