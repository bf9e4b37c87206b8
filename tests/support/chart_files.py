#!/usr/bin/env python3
"""The parts of deploy/helm/keyroll that are made: settings (from deploy/keyroll.conf), their schema, README.md (by helm-docs).

chart_files.py --write makes them anew; tests/chart compares them with what is there. The settings come from the sample file,
which a unit test compares with the programs' table. Standard library only; KEYROLL_CHART_TOOLS names the folder of helm-docs.
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "deploy" / "helm" / "keyroll"

# Settings that the chart writes itself, or that make no sense in a pod, and the value that reaches each.
OWNED = {
    "redis_password_file": "redis.existingSecret",
    "redis_password": "redis.existingSecret",
    "ca_file": "ca.existingConfigMap",
    "inventory": "inventory.source",
    "profiles_dir": "profiles.existingConfigMap",
    "policy_file": "policy.existingConfigMap",
    "notify_url_file": "notify.existingSecret",
    "escrow_key_file": "escrow.existingSecret",
    "listen": "metrics.port",
    "worker_id": None,   # the pod's name, KEYROLL_WORKER_ID
    "state_dir": None,   # only `keyroll up` has one
}


def sample_settings():
    """Returns the settings of the sample file: name, type, range and default as they stand there, text."""
    found, comment = [], []
    for line in (ROOT / "deploy" / "keyroll.conf").read_text().splitlines():
        match = re.fullmatch(r"#([a-z][a-z0-9_]*) =.*", line)
        if match:
            text = " ".join(comment)
            words, facts = re.fullmatch(r"(.*) \(((?:[^()]|\([^()]*\))*)\)", text).groups()
            found.append({"name": match.group(1), "text": words, **parse_facts(facts.split("; read by ")[0])})
        comment = comment + [line[2:]] if line.startswith("# ") else []
    return found


def parse_facts(facts):
    """Splits `number (jobs), 1..100000, default 1000`."""
    kind, rest = re.fullmatch(r"([a-z|]+(?: \([^)]*\))?), (.*)", facts).groups()
    limits = re.match(r"([^\s,]+)\.\.([^\s,]+), ", rest)
    made = {"type": kind.split(" ")[0], "default": rest[limits.end() if limits else 0:].removeprefix("default ")}
    if limits:
        made["min"], made["max"] = limits.groups()
    return made


def settings():
    return [row for row in sample_settings() if row["name"] not in OWNED]


def number(text):
    return float(text) if "." in text else int(text)


def property_schema(row):
    """Returns the JSON schema of one setting; durations are compared with their range by the templates."""
    kind = row["type"]
    if kind == "number":
        whole = row["name"] not in RATES
        made = {"type": "integer" if whole else "number", "minimum": number(row["min"]), "maximum": number(row["max"])}
    elif kind == "duration":
        made = {"$ref": "#/$defs/duration"}
    elif kind == "list":
        made = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "pattern": "^[^,\\n]+$"}}]}
    elif "|" in kind:
        words = kind.split("|")
        made = {"enum": words + [word == "true" for word in words if word in ("true", "false")]}  # YAML's true is no text
    else:
        made = {"type": "string", "pattern": "^[^\\n]*$"}
    return {**made, "description": row["text"]}


RATES = ("iam_calls_per_s", "plan_publish_rate")


def made_files():
    """Returns {path: text} of settings.json and values.schema.json."""
    rows = settings()
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"]["config"] = {"type": "object", "additionalProperties": False,
                                      "properties": {row["name"]: property_schema(row) for row in rows}}
    lean = [{key: row[key] for key in ("name", "type", "min", "max") if key in row} for row in rows]
    return {CHART / "values.schema.json": json.dumps(schema, indent=1) + "\n",
            CHART / "files" / "settings.json": json.dumps({"settings": lean}, indent=1) + "\n"}


def readme():
    """Returns the README that helm-docs makes of values.yaml."""
    tool = Path(os.environ["KEYROLL_CHART_TOOLS"], "helm-docs")
    return subprocess.run([tool, "--dry-run", "--log-level=error", "--skip-version-footer", "--sort-values-order=file",
                           f"--chart-search-root={CHART}"], check=True, text=True, capture_output=True).stdout


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    for path, text in made_files().items():
        path.write_text(text)
    (CHART / "README.md").write_text(readme())
