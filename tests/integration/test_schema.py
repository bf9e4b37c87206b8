"""Our decoders and the published JSON Schemas say the same of every message: a corpus, and mutations of it.

JSON Schema cannot say everything that a message must be; what it cannot (size, names that stand twice, U+0000, text that is
no Unicode) is said here in strictly_parsed() and in the descriptions of the schemas.
"""
import copy
import json
import os
import random
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest
import referencing.jsonschema

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "tests" / "unit" / "vectors" / "messages"
LIMITS = {"job": 8192, "event": 8192, "deadletter": 24576, "campaign": 900000, "deadmark": 4096}
MAX_DEPTH = 2000  # the parser's limit is 2048


def decoder():
    base = Path(os.environ.get("KEYROLL_BIN", ROOT / "build" / "release"))
    for path in (base / "tests" / "support" / "decode_message", base / "decode_message"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"decode_message is not built under {base}; run tests/support/build release")


def ecma_pattern(validator, pattern, instance, schema):
    """JSON Schema's patterns are ECMAScript's, where $ never matches before a line end."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def make_validators():
    schemas = {kind: json.loads((ROOT / "schema" / f"{kind}.schema.json").read_text()) for kind in LIMITS}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
        del schema["$schema"]  # else a $ref would lead to the library's own validator, without our patterns
    registry = referencing.Registry().with_resources(
        (schema["$id"], referencing.jsonschema.DRAFT202012.create_resource(schema)) for schema in schemas.values())
    kind_of = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": ecma_pattern})
    return {kind: kind_of(schema, registry=registry) for kind, schema in schemas.items()}


VALIDATORS = make_validators()


def strictly_parsed(data):
    """Parses bytes as RFC 8259 JSON, or raises ValueError."""
    def unique(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name twice")
        return dict(pairs)

    def refuse(text):
        raise ValueError(text)

    def integer(text):
        if not -2**63 <= int(text) < 2**63:
            raise ValueError("larger than an integer can be")
        return int(text)

    def real(text):
        if float(text) in (float("inf"), float("-inf")):
            raise ValueError("larger than a number can be")
        return float(text)

    value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse, parse_int=integer,
                       parse_float=real)
    text = json.dumps(value, ensure_ascii=False)
    text.encode("utf-8")  # lone surrogates
    if "\\u0000" in text.replace("\\\\", ""):
        raise ValueError("U+0000")
    return value


def schema_accepts(kind, data):
    if len(data) > LIMITS[kind]:
        return False
    try:
        value = strictly_parsed(data)
    except ValueError:
        return False
    return VALIDATORS[kind].is_valid(value)


def ours(messages):
    """Runs (kind, bytes) pairs through our decoder; gives ("ok", re-encoded bytes) or ("err", words) for each."""
    fed = b"".join(b"%s %d\n%s" % (kind.encode(), len(data), data) for kind, data in messages)
    done = subprocess.run([decoder()], input=fed, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.split(b"\n")[:-1]
    assert len(lines) == len(messages)
    return [tuple(line.split(b" ", 1)) for line in lines]


def compare(messages):
    """Fails on the first message of which the two verdicts differ, or that changes when it is written again."""
    accepted = 0
    for (kind, data), (verdict, words) in zip(messages, ours(messages)):
        expected = schema_accepts(kind, data)
        assert (verdict == b"ok") == expected, f"{kind}: ours says {verdict} {words[:200]}, the schema {expected}: {data[:2000]}"
        if not expected:
            continue
        accepted += 1
        assert schema_accepts(kind, words), f"{kind}: what we write again is not allowed: {words}"
        check_same(VALIDATORS[kind].schema, json.loads(data), json.loads(words))
    return accepted


def check_same(schema, before, after):
    """Known fields keep their values; absent stands for false, 0 and empty in optional ones."""
    for name, described in schema["properties"].items():
        if name == "version":
            assert after[name] == before[name].split("/")[0] + "/1"
        elif "$ref" in described:
            assert (name in before) == (name in after)
            if name in before:
                check_same(VALIDATORS["job"].schema, before[name], after[name])
        else:
            default = {"integer": 0, "boolean": False, "array": [], "string": ""}.get(described.get("type"))
            if described.get("minimum") == -1:
                default = -1
            assert before.get(name, default) == after.get(name, default), name


def corpus(verdict):
    return [(path.stem.split("-")[0], path) for path in sorted((CORPUS / verdict).glob("*.json"))]


@pytest.mark.parametrize("verdict", ["valid", "invalid"])
def test_corpus(verdict):
    files = corpus(verdict)
    assert len(files) > 30
    messages = [(kind, path.read_bytes()) for kind, path in files]
    for (_, path), (said, words) in zip(files, ours(messages)):
        assert said == (b"ok" if verdict == "valid" else b"err"), f"{path.name}: {words.decode()}"
    assert compare(messages) == (len(messages) if verdict == "valid" else 0)


VALUES = [None, True, False, 0, 1, -1, 1.0, 0.5, -0.0, 2**53 - 1, 2**53, 2**63 - 1, 1e300, "", " ", "a", "0", "-", "x" * 300, "A" * 20,
          "123456789012", "keyroll.job/1", "keyroll.event/1.7", "keyroll.deadletter/1.", "keyroll.job/01", "file:x", "env:A", "file:", "\u007f",
          "é", "a\n", "\u2028", "http://h", "http://h?", "https://h:0", "http://[::1]", "http://[g]", "http://h@", "HTTP://h", "0" * 32, "AAAA", "AA==",
          [], [1], ["A" * 16], ["A" * 16] * 16, ["A" * 16] * 17, {}, {"a": 1}, "rotate", "reap", "audit", "permanent", "intent", "undo-started"]


def mutated(rng, kind, text):
    """One message changed in one to three ways: a field's value, a character of it, its absence, or raw bytes."""
    value = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        target = value
        if kind == "deadletter" and isinstance(value.get("job"), dict) and rng.random() < 0.5:
            target = value["job"]
        name = rng.choice(sorted(VALIDATORS["job" if target is not value else kind].schema["properties"]))
        how = rng.random()
        if how < 0.45:
            target[name] = copy.deepcopy(rng.choice(VALUES))
        elif how < 0.6:
            target.pop(name, None)
        elif isinstance(target.get(name), str) and target[name]:
            old, at = target[name], rng.randrange(len(target[name]) + 1)
            new = rng.choice(["", "\n", " ", "-", "_", "A", "z", "/", ".", "=", "+", ":", "@", "#", "~", "é", "\u0000", "\u007f", "🔑", '"', "\\", "%", "["])
            target[name] = old[:at] + new + old[at + rng.choice([0, 1]):]
        elif isinstance(target.get(name), (int, float)):
            target[name] = rng.choice([target[name] + 1, -target[name], target[name] * 1000, float(target[name]), str(target[name])])
    data = json.dumps(value, ensure_ascii=rng.random() < 0.5).encode()
    if rng.random() < 0.15:
        data = damaged(rng, data)
    return data


def damaged(rng, data):
    at = rng.randrange(len(data))
    return rng.choice([
        data[:at], data + b"x", data + b" \n", data + data, data.replace(b"{", b'{"version":"keyroll.job/1",', 1),
        data[:at] + bytes([rng.randrange(256)]) + data[at + 1:], data[:at] + b"\x00" + data[at:], data[:at] + b"\xff" + data[at:],
        b"\xef\xbb\xbf" + data, data.replace(b"}", b', "extra": 1e999}', 1), data.replace(b"}", b', "extra": "\\ud800"}', 1),
        data.replace(b"}", b', "extra": "\\u0000"}', 1), data.replace(b"}", b', "extra": 99999999999999999999}', 1),
        data.replace(b"}", b', "extra": NaN}', 1), data.replace(b"}", b', "extra": "' + b"x" * rng.choice([6000, 9000, 30000]) + b'"}', 1),
        data.replace(b'"', b"'", 2), data.replace(b":", b" : ", 3)])


def test_mutations(full):
    """The same verdict on every mutation, of which a part stays valid."""
    rng = random.Random(20251123)
    seeds = [(kind, path.read_text()) for verdict in ("valid", "invalid") for kind, path in corpus(verdict)
             if path.read_text().lstrip().startswith("{")]
    messages = [(kind, mutated(rng, kind, text)) for kind, text in seeds for _ in range(2000 if full else 200)]
    accepted = compare(messages)
    assert len(messages) // 20 < accepted < len(messages) // 2


def test_every_enum_of_the_schema_is_decoded():
    """No name is known to one side only."""
    messages = []
    for kind, seed in (("job", "job-full"), ("event", "event-full"), ("deadletter", "deadletter-full"), ("deadmark", "deadmark-full")):
        base = json.loads((CORPUS / "valid" / f"{seed}.json").read_text())
        for name, described in VALIDATORS[kind].schema["properties"].items():
            messages += [(kind, json.dumps({**base, name: word}).encode()) for word in described.get("enum", [])]
    assert compare(messages) == len(messages) > 30
