"""Metrics, alerts, dashboard and logs of a real run (conftest.py)."""
import json
import re
import subprocess

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from support.processes import wait_for
from support.programs import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "keyroll.json"
# Fields of our logs that are neither ECS nor plain numbers of one event; ECS: https://www.elastic.co/guide/en/ecs/current/
OWN_FIELDS = re.compile(r"(keyroll|kafka|redis|aws)\.[a-z_.]+")
ECS_FIELDS = {"@timestamp", "log.level", "service.name", "service.node.name", "service.version", "event.action", "event.reason", "event.duration", "message",
              "error.code", "error.message", "server.port", "server.address", "trace.id", "cloud.account.id"}
VARIABLES = {"$namespace": ".*", "$__rate_interval": "2m", "${datasource}": ""}


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def queries():
    for panel in panels():
        for target in panel["targets"]:
            yield f"{panel['title']}: {target['legendFormat']}", target["expr"]


def series(text):
    """Returns {metric: {label names}} of an exposition, and its types."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels = {}
    for name, inner in re.findall(r"^([a-z0-9_]+)(?:\{([^}]*)\})? ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'([a-z_]+)="', inner))
    return labels, types


def test_the_run_itself_was_clean(run):
    assert run.complaints == []


@pytest.mark.parametrize("name", ["worker1", "scheduler1"])
def test_promtool_checks_the_metrics(run, name):
    done = subprocess.run(["promtool", "check", "metrics"], input=run.texts[name], text=True, capture_output=True)
    assert done.returncode == 0 and not done.stderr.strip(), done.stdout + done.stderr


@pytest.mark.parametrize("name", ["worker1", "scheduler1"])
def test_names_units_and_labels(run, name):
    """Base units at the end of a name, `_total` for counters; no label with values from outside (users, licences, job ids, hosts)."""
    labels, types = series(run.texts[name])
    assert len(types) > 8
    for metric, kind in types.items():
        assert metric.startswith("keyroll_")
        assert metric.endswith("_total") == (kind == "counter"), metric
        assert kind != "histogram" or metric.endswith("_seconds"), metric
        assert not re.search(r"_(ms|millis|us|minutes|kb|percent)(_|$)", metric), metric
    allowed = {"kind", "outcome", "step", "code", "queue", "event", "operation", "version", "librdkafka", "state", "what", "reason",
               "min_days", "le"}
    for metric, names in labels.items():
        if not metric.startswith(("keyroll_budget_", "keyroll_breaker_", "keyroll_policy_", "keyroll_campaign_")):
            assert names <= allowed, metric
    known = [*run.installed.fleet.names, *run.installed.fleet.first.values()]
    assert not [word for word in known if word in run.texts[name]]


def test_rate_errors_duration_of_steps_and_calls(run):
    labels, _ = series(run.texts["worker1"] + run.texts["worker2"])
    for prefix, name in (("keyroll_step", "step"), ("keyroll_aws_call", "operation"), ("keyroll_instance_call", "operation")):
        assert name in labels[f"{prefix}_duration_seconds_count"] and name in labels[f"{prefix}_failures_total"]
    operations = set(re.findall(r'keyroll_aws_call_duration_seconds_count\{operation="([^"]+)"', run.texts["worker1"] + run.texts["worker2"]))
    assert {"ListAccessKeys", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey", "GetCallerIdentity", "ListObjectsV2"} <= operations


def test_due_to_done_and_key_ages(run):
    done = dict((labels["kind"], value) for labels, value in run.prometheus.query("sum by (kind) (keyroll_job_due_to_done_seconds_count)"))
    assert done["rotate"] >= len(run.installed.fleet.names) and done["retire"] > 0 and done["reap"] > 0
    ages = {labels["min_days"]: value for labels, value in
            run.prometheus.query("max by (min_days) (keyroll_licences_by_key_age * on (instance) group_left () keyroll_leader)")}
    assert ages["0"] == len(run.installed.fleet.names) and ages["90"] == 0
    assert 0 < run.prometheus.query("max(keyroll_oldest_key_age_seconds * on (instance) keyroll_leader)")[0][1] < 3600


def test_what_observe_mode_holds_back_is_not_due(run):
    """A new installation observes: its due rotations raise no alert. On the run's servers, after all of its processes ended."""
    assert not run.installed.running()
    observer = run.installed.scheduler(start=False, mode="observe", max_age="1s", max_age_jitter="0s").spawn()

    def told():
        text = observer.get("/metrics").text if observer.ready() else ""
        return dict(re.findall(r'^keyroll_due\{what="([a-z ]+)"\} (\d+)$', text, re.MULTILINE))
    try:
        due = wait_for("a look at the fleet", lambda: told().get("held", "0") != "0" and told(), 60, poll_s=0.2)
        assert int(due["held"]) == len(run.installed.fleet.names) and due["rotate"] == "0"
    finally:
        observer.kill()
        run.installed.schedulers.remove(observer)


def test_one_leads_and_both_tell_their_versions(run):
    assert run.prometheus.query("sum(keyroll_leader)")[0][1] == 1
    assert run.prometheus.query("count(keyroll_build_info)")[0][1] == 4
    assert run.prometheus.query("min(keyroll_redis_connected)")[0][1] == 1


@pytest.mark.parametrize("name, expression", list(queries()))
def test_every_query_of_the_dashboard_has_a_result(run, name, expression):
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    result = run.prometheus.query(expression)
    print(name, result[:5])
    assert result, expression


def test_the_query_that_scales_the_workers_has_one_result(run):
    values = yaml.safe_load((ROOT / "deploy" / "helm" / "keyroll" / "values.yaml").read_text())
    query = values["autoscaling"]["keda"]["prometheus"]["query"].replace("{{ .Release.Namespace }}", "")
    assert run.prometheus.query(query) == [({}, 0.0)]  # all is done


def test_legends_name_labels_that_are_there(run):
    for name, expression in queries():
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        legend = name.rsplit(": ", 1)[1]
        for labels, _ in run.prometheus.query(expression):
            assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= set(labels), (name, labels)


def test_the_dashboard_is_what_grafana_reads():
    """Grafana's own SDK reads it and writes it again without losing a field, so that none is misspelt."""
    board = json.loads(DASHBOARD.read_text())
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))

    def lost(a, b, path):
        if isinstance(a, dict):
            for key, value in a.items():
                if key not in (b or {}):
                    yield f"{path}.{key}"
                else:
                    yield from lost(value, b[key], f"{path}.{key}")
        elif isinstance(a, list):
            if len(a) != len(b):
                yield path
            for number, (x, y) in enumerate(zip(a, b)):
                yield from lost(x, y, f"{path}[{number}]")
        elif a != b:
            yield f"{path}: {a!r} {b!r}"
    assert list(lost(board, again, "")) == []
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells


def test_every_metric_that_is_named_somewhere_exists(run):
    """Alerts, dashboard and chart name only metrics that the programs have."""
    labels, types = series("".join(run.texts.values()))
    known = {*labels, *types}
    for file in (DASHBOARD, ROOT / "deploy" / "prometheus" / "keyroll.rules.yaml", ROOT / "deploy" / "helm" / "keyroll" / "values.yaml",
                 ROOT / "deploy" / "RUNBOOK.md"):
        named = set(re.findall(r"keyroll_[a-z0-9_]+(?<!_)", file.read_text()))
        assert named <= known, f"{file.name}: {sorted(named - known)}"


def test_alerts_are_evaluated_without_an_error_and_none_fires(run):
    rules = run.alerts
    assert len(rules) > 20
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    # The run breaks an instance, which shows; all others would be false alarms.
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing <= {"KeyrollInstanceFailures"}


def log_lines(run):
    for process in run.installed.workers + run.installed.schedulers:
        for line in process.log.read_text().splitlines():
            yield process.name, line


def test_logs_are_ecs(run):
    """Every line is one JSON object with ECS's names; what is ours is under keyroll. and its like."""
    actions, odd, count = set(), {}, 0
    for name, line in log_lines(run):
        entry = json.loads(line)
        count += 1
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["@timestamp"]), line
        assert entry["log.level"] in ("error", "warn", "info", "debug"), line
        assert {"service.name", "event.action", "ecs.version"} <= set(entry), line
        actions.add(entry["event.action"])
        for field in set(entry) - ECS_FIELDS - {"ecs.version"}:
            if not OWN_FIELDS.fullmatch(field):
                odd[field] = line
        if "event.duration" in entry:
            assert isinstance(entry["event.duration"], int)  # nanoseconds
    assert count > 500 and {"start", "step", "job-end", "published"} <= actions
    assert not odd, odd


def test_every_field_in_the_source_is_ecs_or_under_a_name_of_ours():
    """Also of lines that the run does not write."""
    found = {name: file.name for folder in ("lib", "schema", "worker", "producer") for file in (ROOT / folder).glob("*.c")
             for name in re.findall(r'LOG_[SI]\("([^"]+)"', file.read_text())}
    assert len(found) > 30
    assert not {name: file for name, file in found.items() if name not in ECS_FIELDS and not OWN_FIELDS.fullmatch(name)}


def test_a_trace_joins_scheduler_worker_and_logs(run):
    """traceparent: made by the scheduler, in the headers of jobs and events, trace.id in the workers' logs."""
    pattern = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-01")
    name = run.installed.name
    jobs = {}
    for message in run.installed.kafka.messages(f"{name}.jobs"):
        headers = {key: value.decode() for key, value in message.headers() or []}
        jobs[headers["keyroll-job-id"]] = pattern.fullmatch(headers["traceparent"]).group(1)
    assert jobs and "0" * 32 not in jobs.values()
    events = [{key: value.decode() for key, value in message.headers() or []} for message in run.installed.kafka.messages(f"{name}.events")]
    traces = {pattern.fullmatch(one["traceparent"]).group(1) for one in events if "traceparent" in one}
    assert len(traces) >= LEAST_TRACES and traces <= all_traces(run)
    logged = {entry["trace.id"] for _, line in log_lines(run) if (entry := json.loads(line))["event.action"] == "job-end"}
    assert traces & logged and logged <= all_traces(run)


def test_the_trace_goes_along_to_aws_and_to_the_instance(run):
    known = all_traces(run)
    of_jobs = ("ListAccessKeys", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey", "GetCallerIdentity")
    instances = [path for path in run.traces if "jsonapi" in path]
    buckets = [path for path in run.traces if path.startswith("/synergist-")]
    assert instances and buckets
    for action in [*of_jobs, *instances, *buckets]:
        traces = run.traces[action]
        assert None not in traces and {one.split("-")[1] for one in traces} <= known, (action, traces)
    assert len({one.split("-")[1] for one in run.traces["CreateAccessKey"]}) == len(run.installed.fleet.names)


LEAST_TRACES = 40


def all_traces(run):
    found = set()
    for topic in run.installed.topics():
        if topic.endswith((".events", ".keys", ".dead", ".campaigns")):
            continue
        for message in run.installed.kafka.messages(topic):
            headers = {key: value.decode() for key, value in message.headers() or []}
            found.add(headers["traceparent"].split("-")[1])
    return found
