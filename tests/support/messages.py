"""What the programs really produced, held against the published schemas by a validator that is not ours."""
import functools
import json
import random
from pathlib import Path

import jsonschema
import referencing

SCHEMA = Path(__file__).resolve().parent.parent.parent / "schema"
# The part of a topic's name after the prefix -> its schema.
BY_TOPIC = {"jobs": "job", "urgent": "job", "retry": "job", "dead": "deadletter", "events": "event", "keys": "state",
            "campaigns": "campaign", "triggers": "trigger"}
CLOUDEVENT = {"ce_specversion": "1.0", "ce_id": None, "ce_source": None, "ce_type": None}
AT_MOST = 5000  # validating one takes about half a millisecond


@functools.cache
def registry():
    """All published schemas by their $id: they refer to one another."""
    loaded = [json.loads(path.read_text()) for path in sorted(SCHEMA.glob("*.schema.json"))]
    return referencing.Registry().with_resources([(schema["$id"], referencing.Resource.from_contents(schema)) for schema in loaded])


@functools.cache
def validator(name):
    schema = json.loads((SCHEMA / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, registry=registry())


def is_mark(value):
    """True for what the dead-letter topic holds beside letters: what became of them."""
    return str(value.get("version", "")).startswith("keyroll.deadmark/")


def complaints_about(message, prefix):
    """Yields what is wrong with one message; a message without value is a tombstone of the compacted topic."""
    name = message.topic()[len(prefix) + 1:].split(".")[0]
    place = f"{message.topic()}/{message.partition()}@{message.offset()}"
    if name not in BY_TOPIC:
        yield f"{place}: no schema for this topic"
        return
    if message.value() is None:
        if name != "keys":
            yield f"{place}: no value"
        return
    try:
        value = json.loads(message.value())
    except ValueError as error:
        yield f"{place}: {error}"
        return
    if name == "keys" and not (SCHEMA / "state.schema.json").exists():
        if not str(value.get("version", "")).startswith("keyroll.state/1"):
            yield f"{place}: version is {value.get('version')!r}"
        return
    form = "deadmark" if is_mark(value) else BY_TOPIC[name]
    for error in validator(form).iter_errors(value):
        yield f"{place}: {'/'.join(map(str, error.path))}: {error.message[:200]}"
    if name == "events":
        headers = {key: (text or b"").decode() for key, text in message.headers() or []}
        for key, expected in CLOUDEVENT.items():
            if not headers.get(key) or expected not in (None, headers[key]):
                yield f"{place}: header {key} is {headers.get(key)!r}"


def check(messages, prefix, foreign=()):
    """Returns complaints about the messages under a topic prefix, at most 20. foreign: values that the test itself put in."""
    ours = [message for message in messages if message.value() not in foreign]
    if len(ours) > AT_MOST:
        ours = random.Random(1).sample(ours, AT_MOST)
    found = []
    for message in ours:
        found += complaints_about(message, prefix)
        if len(found) >= 20:
            break
    return found
