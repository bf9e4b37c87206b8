"""Our own form of a trigger: the decoder and the published JSON Schema say the same of it, over mutations."""
import copy
import json
import random

import jsonschema

from integration import test_schema as messages

SEEDS = [{"version": "keyroll.trigger/1", "action": "rotate", "licence": "0001", "by": "crm", "reason": "the customer asked é"},
         {"version": "keyroll.trigger/1.4", "action": "rotate", "licence": "A+b", "key_id": "AKIAIOSFODNN7EXAMPLE", "reason": ""},
         {"version": "keyroll.trigger/1", "action": "exposed", "key_id": "AKIAIOSFODNN7EXAMPLE", "reason": "on a pastebin", "more": [1]},
         {"version": "keyroll.trigger/1", "action": "failing", "licence": "0001", "reason": "attachments cannot be opened"}]
VALUES = [None, True, 0, "", "x", "rotate", "exposed", "failing", "delete", "ASIAIOSFODNN7EXAMPLE", "AKIA", "A" * 128, "A" * 129, "x" * 47, "x" * 48, "a b", "a/b",
          "é" * 100, "é" * 101, "~" * 100, "~" * 101, "\u007f", "a\nb", [], {}, "keyroll.trigger/1", "keyroll.trigger/1.", "keyroll.trigger/01"]


def make_validator():
    schema = json.loads((messages.ROOT / "schema" / "trigger.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    del schema["$schema"]
    kind = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": messages.ecma_pattern})
    return kind(schema)


def mutated(rng):
    value = copy.deepcopy(rng.choice(SEEDS))
    for _ in range(rng.choice([0, 1, 1, 2])):
        name = rng.choice(["version", "action", "licence", "key_id", "by", "reason", "other"])
        if rng.random() < 0.3:
            value.pop(name, None)
        else:
            value[name] = copy.deepcopy(rng.choice(VALUES))
    return value


def test_own_form(full):
    rng, validator = random.Random(20261125), make_validator()
    values = [*SEEDS, *(mutated(rng) for _ in range(20000 if full else 3000))]
    # What does not say that it is ours is somebody else's event, and not ours to judge.
    values = [value for value in values if str(value.get("version")).startswith("keyroll.trigger/")]
    accepted = 0
    for value, (said, words) in zip(values, messages.ours([("trigger", json.dumps(value).encode()) for value in values])):
        expected = validator.is_valid(value)
        assert (said == b"ok") == expected, f"{value}: {said} {words}, the schema: {expected}"
        accepted += expected
        if expected:
            assert json.loads(words)["want"] == {"rotate": 1, "exposed": 2, "failing": 3}[value["action"]]
    assert len(values) // 10 < accepted < len(values)
