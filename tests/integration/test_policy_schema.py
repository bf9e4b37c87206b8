"""The policy file's decoder and its published JSON Schema say the same: a corpus, and mutations of it.

What the schema cannot say, and its description tells, is said here by sensible().
"""
import copy
import datetime
import json
import random
from pathlib import Path

import jsonschema
import pytest

from integration import test_schema as messages

CORPUS = messages.ROOT / "tests" / "unit" / "vectors" / "policies"
DAY = 86_400_000
UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY}
LIMITS = {"max_age": (1000, 3650 * DAY), "max_age_jitter": (0, 365 * DAY), "min_gap": (0, 365 * DAY), "lead": (0, DAY)}


def make_validator():
    schema = json.loads((messages.ROOT / "schema" / "policy.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    del schema["$schema"]
    kind = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": messages.ecma_pattern})
    return kind(schema)


VALIDATOR = make_validator()


def duration(text):
    return int(text[:-1]) * UNITS[text[-1]]


def minutes(span):
    start, end = (int(span[name][:2]) * 60 + int(span[name][3:]) for name in ("from", "to"))
    if start == end:
        raise ValueError("from is to")
    return (end - start) % 1440 or 1440


def effective(policy, above):
    """Returns what a policy amounts to over what it takes over; ValueError when it cannot be."""
    made = {**above, **policy}
    for name, (least, most) in LIMITS.items():
        if name in policy:
            made[name] = duration(policy[name])
            if not least <= made[name] <= most:
                raise ValueError(name)
    spare = made["max_age"] - made["max_age_jitter"]
    if "min_gap" not in policy:
        made["min_gap"] = min(made["min_gap"], max(spare, 0) // 2)
    for span in [*made["windows"], *made["quiet"], *([made["nightly_copy"]] if made["nightly_copy"] else [])]:
        minutes(span)
    for dates in made["blackouts"]:
        if datetime.date.fromisoformat(dates["from"]) > datetime.date.fromisoformat(dates.get("to", dates["from"])):
            raise ValueError("dates")
    if spare <= 0 or made["min_gap"] > spare or any(minutes(window) * 60_000 <= made["lead"] for window in made["windows"]):
        raise ValueError("against itself")
    return made


def sensible(value):
    """What a file that the schema accepts amounts to; ValueError when it makes no sense."""
    base = {"max_age": 80 * DAY, "max_age_jitter": 10 * DAY, "min_gap": DAY, "lead": 600_000, "windows": [], "quiet": [],
            "blackouts": [], "nightly_copy": {"from": "20:00", "to": "22:30"}}
    given = value.get("policies", {})
    policies = {"default": effective(given.get("default", {}), base)}
    for name, policy in given.items():
        if name != "default":
            policies[name] = effective(policy, policies["default"])
    for names in (value.get("canaries", []), [one["licence"] for one in value.get("exclusions", [])]):
        if len({name.lower() for name in names}) != len(names):
            raise ValueError("twice")
    for one in value.get("exclusions", []):
        datetime.date.fromisoformat(one["expires"])
    return {"policies": {name: [one["max_age"], one["max_age_jitter"], one["min_gap"], one["lead"], len(one["windows"]),
                                len(one["quiet"]), len(one["blackouts"]), int(one["nightly_copy"] is not None)]
                         for name, one in policies.items()},
            "canaries": len(value.get("canaries", [])), "exclusions": len(value.get("exclusions", []))}


def theirs(data):
    """What schema and sensible() make of it, None: refused."""
    try:
        value = messages.strictly_parsed(data)
        if any(VALIDATOR.iter_errors(value)):
            return None
        return sensible(value)
    except (ValueError, RecursionError):
        return None


def compare(files):
    accepted = 0
    for data, (said, words) in zip(files, messages.ours([("policy", data) for data in files])):
        expected = theirs(data)
        assert said == (b"err" if expected is None else b"ok"), f"{data[:3000]!r}: {said} {words}, the schema: {expected}"
        if expected is not None:
            assert json.loads(words) == expected, data
            accepted += 1
    return accepted


def corpus(verdict):
    return sorted((CORPUS / verdict).glob("*.json"))


@pytest.mark.parametrize("verdict", ["valid", "invalid"])
def test_corpus(verdict):
    files = corpus(verdict)
    assert len(files) > (5 if verdict == "valid" else 30)
    for path, (said, words) in zip(files, messages.ours([("policy", path.read_bytes()) for path in files])):
        assert said == (b"ok" if verdict == "valid" else b"err"), f"{path.name}: {words.decode()}"
    assert compare([path.read_bytes() for path in files]) == (len(files) if verdict == "valid" else 0)


VALUES = [None, True, 0, 1.5, "", "1d", "10d", "100d", "0s", "3650d", "3651d", "9999999999d", "1h30m", "-1d", "00:00", "24:00", "2:00", "23:59", "12:60",
          "2026-12-24", "2026-02-29", "2028-02-29", "1969-12-31", "2100-01-01", "a", "x" * 48, "x" * 101, "é" * 100, "\u007f", [], ["mon"],
          ["mon", "sun"], ["A", "a"], {}, {"from": "01:00", "to": "02:00"}, [{"from": "22:00", "to": "02:00"}],
          [{"from": "2026-01-01", "reason": "r"}], {"default": {"max_age": "5d"}}, "keyroll.policy/1", "keyroll.policy/1.", "keyroll.policy/1.12345"]


def places(value, found=None):
    """Lists (container, key) of everything in it."""
    found = [] if found is None else found
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        places(inner, found)
    return found


def mutated(rng, text):
    value = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2])):
        target, key = rng.choice(places(value))
        how = rng.random()
        if how < 0.55:
            target[key] = copy.deepcopy(rng.choice(VALUES))
        elif how < 0.7:
            del target[key]
        elif isinstance(target, list) and rng.random() < 0.5:
            target.append(copy.deepcopy(target[key]))
        elif isinstance(target, dict):
            target[rng.choice(["lead", "max_age", "min_gap", "quiet", "days", "to", "typo"])] = copy.deepcopy(rng.choice(VALUES))
        elif isinstance(target[key], str) and target[key]:
            at = rng.randrange(len(target[key]))
            target[key] = target[key][:at] + rng.choice(["0", "9", "d", "-", ":", "é", "\n"]) + target[key][at + 1:]
        if not places(value):
            break
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()


def test_mutations(full):
    rng = random.Random(20261125)
    seeds = [path.read_text() for path in corpus("valid")] + [corpus("valid")[1].read_text()] * 6
    files = [mutated(rng, text) for text in seeds for _ in range(2000 if full else 300)]
    accepted = compare(files)
    assert len(files) // 20 < accepted < len(files)
