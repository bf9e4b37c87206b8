"""The judge is judged: books with one thing wrong must make verdict.py complain."""
import json
import types

import pytest

from support import verdict

OLD, NEW, OTHER = "AKIA" + "O" * 16, "AKIA" + "N" * 16, "AKIA" + "X" * 16
FIRST = {"L1": OLD}


def book(*keys, stored=NEW, rotated=1, outages=0):
    return {"keys": [{"id": key, "status": status} for key, status in keys], "stored_key_id": stored, "rotated": rotated,
            "outages": outages}


GOOD = book((OLD, "Deleted"), (NEW, "Active"))


def told(reason, *ids):
    return {"licence": "L1", "state": "awaiting operator", "reason": reason, "keys": [{"id": key} for key in ids], "user": "u"}


def test_good_books_are_good():
    assert list(verdict.about_licence("L1", GOOD, None, FIRST)) == []
    asking = book((OLD, "Active"), (NEW, "Active"))
    assert list(verdict.about_licence("L1", asking, told("look", OLD), FIRST)) == []


@pytest.mark.parametrize("wrong, words", [
    (book((NEW, "Active"), outages=1), "1 outages"),
    (book((NEW, "Active"), rotated=2), "rotated 2 times"),
    (book((NEW, "Active"), (OTHER, "Inactive")), "neither current nor named"),
    (book((OLD, "Active"), (NEW, "Active")), "neither current nor named"),
    (book((NEW, "Inactive")), "neither current nor named"),
    (book((OLD, "Active"), stored=OLD, rotated=0), "neither current nor named"),
], ids=["outage", "double rotation", "orphan", "old key left", "dead key in use", "never rotated"])
def test_each_wrong_is_seen(wrong, words):
    assert words in "; ".join(verdict.about_licence("L1", wrong, None, FIRST))


def test_a_person_must_be_told_of_every_key():
    wrong = book((OLD, "Active"), (NEW, "Active"), (OTHER, "Active"))
    assert OTHER in "; ".join(verdict.about_licence("L1", wrong, told("look at " + OLD), FIRST))
    assert "without a reason" in "; ".join(verdict.about_licence("L1", book((OLD, "Active"), stored=OLD), told(""), FIRST))


def test_keys_of_the_events_are_followed():
    event = types.SimpleNamespace(value=lambda: json.dumps({"licence": "L1", "key_new": OTHER}).encode())
    installed = types.SimpleNamespace(name="t", kafka=types.SimpleNamespace(messages=lambda *topics: [event]))
    rest = verdict.Rest({"L1"}, {}, [])
    found = "; ".join(verdict.about_events(installed, {"L1": book((NEW, "Active"), (OTHER, "Inactive"))}, rest))
    assert OTHER in found and "neither used nor named" in found
    assert f"{NEW} is in use and no event ever told of it" in found
