"""schema/asyncapi.yaml: valid by AsyncAPI's own schema, the same topics as topics.json, and true of every message of a real run."""
import json
import os
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from referencing.jsonschema import DRAFT202012
from support import messages
from support.programs import ROOT

SCHEMAS = ROOT / "schema"


@pytest.fixture(scope="module")
def document():
    return yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text())


def test_valid_by_the_standard(document):
    standard = json.loads(Path(os.environ["KEYROLL_ASYNCAPI"], f"{document['asyncapi']}.json").read_text())
    jsonschema.Draft7Validator(standard).validate(document)
    broken = json.loads(json.dumps(document))
    broken["operations"]["publishJob"]["action"] = "shout"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(standard).validate(broken)


def references(node, path="#"):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield path, value
            else:
                yield from references(value, f"{path}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from references(value, f"{path}/{number}")


def test_references_lead_somewhere(document):
    for path, target in references(document):
        if not target.startswith("#"):
            assert (SCHEMAS / target).is_file(), f"{path}: {target}"
            continue
        node = document
        for part in target[2:].split("/"):
            assert part in node, f"{path}: {target}"
            node = node[part]


def test_the_same_topics_as_topics_json(document):
    topics = json.loads((SCHEMAS / "topics.json").read_text())
    told = {}
    for channel in document["channels"].values():
        kafka = channel["bindings"]["kafka"]
        config = kafka["topicConfiguration"]
        told[channel["address"].removeprefix("keyroll.")] = (
            kafka["partitions"], kafka["replicas"], config["cleanup.policy"][0], config.get("retention.ms"))
    assert told == {one["name"]: (one["partitions"], topics["replication_factor"], one["config"]["cleanup.policy"],
                                  int(one["config"]["retention.ms"]) if "retention.ms" in one["config"] else None)
                    for one in topics["topics"]}


def resolve(document, node):
    while "$ref" in node:
        node_path = node["$ref"]
        node = document
        for part in node_path[2:].split("/"):
            node = node[part]
    return node


def validator(document, schema):
    registry = messages.registry().with_resources(
        [(file.name, DRAFT202012.create_resource(json.loads(file.read_text()))) for file in SCHEMAS.glob("*.schema.json")])
    schema = {**schema, "components": document["components"]}  # for references within the document
    return jsonschema.Draft202012Validator(schema, registry=registry, format_checker=jsonschema.FormatChecker())


def test_every_message_of_a_run_is_as_described(document, run):
    prefix, seen = run.installed.name, {}
    for name, channel in document["channels"].items():
        described = resolve(document, next(iter(channel["messages"].values())))
        payload = described["payload"].get("schema", described["payload"])
        check_payload, check_headers = validator(document, payload), validator(document, described.get("headers", {}))
        key = described.get("bindings", {}).get("kafka", {}).get("key", {}).get("pattern", ".*")
        address = re.escape(channel["address"].replace("keyroll", prefix, 1)).replace(r"\{delay\}", r"[0-9a-z]+")
        topics = [topic for topic in run.installed.topics() if re.fullmatch(address, topic)]
        assert topics, channel["address"]
        for message in run.installed.kafka.messages(*topics):
            check_payload.validate(json.loads(message.value()))
            check_headers.validate({header: value.decode() for header, value in message.headers() or []})
            assert re.fullmatch(key, message.key().decode()), message.key()
            seen[name] = seen.get(name, 0) + 1
    assert set(seen) >= {"jobs", "events", "keys", "retry"}, seen
    every = [topic for topic in run.installed.topics() if topic.startswith(prefix)]
    assert len(every) == sum(len([topic for topic in every if re.fullmatch(
        re.escape(channel["address"].replace("keyroll", prefix, 1)).replace(r"\{delay\}", r"[0-9a-z]+"), topic)])
        for channel in document["channels"].values())
