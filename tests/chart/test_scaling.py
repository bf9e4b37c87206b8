"""The control loop of autoscaling, simulated: the chart's query, evaluated by promtool on the metrics of a simulated fleet of
workers, and the chart's behaviour, carried out as Kubernetes documents it for the HorizontalPodAutoscaler
(kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale, "Algorithm details" and "Configurable scaling behavior").

Time is simulated in steps of KEDA's polling interval. A job waits for its account's budget first, which lets so many begin in
a second, then takes WORK_S; a worker takes on as many jobs as it has places.
"""
import functools
import math
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml
from conftest import template

STEP_S, WORK_S = 30, 20
PLACES = 800  # of max_in_flight 1000, without the urgent share


@pytest.fixture(scope="module")
def scaled():
    """The ScaledObject as the chart renders it."""
    objects = yaml.safe_load_all(template("full", "--set", "autoscaling.maxReplicas=12").stdout)
    return next(one for one in objects if one and one["kind"] == "ScaledObject")["spec"]


@functools.cache
def evaluate(query, samples):
    """Returns what Prometheus makes of a query on samples, ((series, value), ...): promtool, asked for what cannot be, tells."""
    text = {"evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": name, "values": str(value)} for name, value in samples],
        "promql_expr_test": [{"expr": query, "eval_time": "0m", "exp_samples": [{"labels": "{}", "value": -1}]}]}]}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "test.yaml")
        file.write_text(yaml.safe_dump(text))
        done = subprocess.run(["promtool", "test", "rules", file], text=True, capture_output=True)
    found = re.search(r"got:\s*\{\} ([-+.0-9eE]+)", done.stdout + done.stderr)
    assert found, done.stdout + done.stderr
    return float(found.group(1))


class Workers:
    """Jobs due (not published yet or waiting in Kafka), waiting for the budget, and being worked on."""

    def __init__(self, due, begin_per_s, held=0):
        self.due, self.begin_per_s, self.held = due, begin_per_s, held
        self.waiting, self.working = 0.0, []  # working: how many began in each second that is not over yet
        self.done = 0.0

    def second(self, replicas):
        if len(self.working) >= WORK_S:
            self.done += self.working.pop(0)
        taken = min(self.due - self.held, max(0, replicas * PLACES - self.waiting - sum(self.working)))
        self.due -= taken
        self.waiting += taken
        began = min(self.waiting, self.begin_per_s)
        self.waiting -= began
        self.working.append(began)

    def samples(self):
        label = 'namespace="keyroll",instance="%s"'
        return ((f"keyroll_jobs_in_flight{{{label % 'w'}}}", round(self.waiting + sum(self.working))),
                (f"keyroll_budget_waiting{{{label % 'w'},account=\"1\",family=\"write\"}}", round(self.waiting)),
                (f"keyroll_due{{{label % 's'},what=\"rotate\"}}", round(self.due)),
                (f"keyroll_rotations_waiting{{{label % 's'}}}", self.held),
                (f"keyroll_leader{{{label % 's'}}}", 1))


class Autoscaler:
    """KEDA's target for an average, and the HorizontalPodAutoscaler behind it."""

    TOLERANCE = 0.1

    def __init__(self, spec):
        trigger, = spec["triggers"]
        self.query, self.threshold = trigger["metadata"]["query"], float(trigger["metadata"]["threshold"])
        self.least, self.most = spec["minReplicaCount"], spec["maxReplicaCount"]
        behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self.up, self.down = behaviour["scaleUp"], behaviour["scaleDown"]
        self.replicas, self.changes = self.least, []  # (second, replicas before)
        self.wished = [(0, self.least)]  # (second, wish); at first what there is, as the controller does it

    def allowed(self, now, policies, sign):
        """The furthest that the policies let it go: from what there was at the begin of each one's period."""
        def before(period_s):
            return next((count for at, count in self.changes if at > now - period_s), self.replicas)
        steps = [before(one["periodSeconds"]) + sign * (one["value"] if one["type"] == "Pods" else
                 math.ceil(before(one["periodSeconds"]) * one["value"] / 100)) for one in policies]
        return max(steps) if sign > 0 else min(steps)

    def look(self, now, samples):
        value = evaluate(self.query, samples)
        ratio = value / (self.replicas * self.threshold)
        wish = self.replicas if abs(ratio - 1) <= self.TOLERANCE else math.ceil(value / self.threshold)
        self.wished.append((now, wish))

        def window(side):
            return [one for at, one in self.wished if at >= now - side["stabilizationWindowSeconds"]]
        most, least = max(window(self.down)), min(window(self.up))
        target = max(least, self.replicas) if wish > self.replicas else min(most, self.replicas)
        target = min(target, self.allowed(now, self.up["policies"], 1)) if target > self.replicas else \
            max(target, self.allowed(now, self.down["policies"], -1)) if target < self.replicas else target
        target = min(max(target, self.least), self.most)
        if target != self.replicas:
            self.changes.append((now, self.replicas))
            self.replicas = target


def simulate(spec, workers, minutes, change=None):
    """Returns the replicas at each look. change: {minute: new rate of the budget}."""
    scaler, history = Autoscaler(spec), []
    for now in range(0, 60 * minutes, STEP_S):
        workers.begin_per_s = (change or {}).get(now // 60, workers.begin_per_s)
        for _ in range(STEP_S):
            workers.second(scaler.replicas)
        scaler.look(now, workers.samples())
        history.append(scaler.replicas)
    print(history)
    return history


def test_not_when_a_budget_binds(scaled):
    """20,000 are due, an account lets two writes pass in three seconds for each: two workers are as good as twelve."""
    workers = Workers(due=20000, begin_per_s=0.67)
    assert set(simulate(scaled, workers, 60)) == {2}
    assert workers.done > 0.9 * 0.67 * 3600 - 0.67 * WORK_S  # and the budget is spent


def test_up_with_the_backlog_and_down_again(scaled):
    history = simulate(scaled, Workers(due=100000, begin_per_s=10000), 45)
    assert max(history[:20]) == 12  # within ten minutes
    assert history[-1] == 2
    peak = history.index(12)
    assert history[:peak] == sorted(history[:peak]) and all(a - b <= 1 for a, b in zip(history[peak:], history[peak + 1:]))


def test_as_many_as_the_budget_feeds(scaled):
    """The budget feeds the places of three workers: never fewer once they are there, never more than twice as many (a pod more
    each minute would find it closer, but be slow where no budget binds)."""
    history = simulate(scaled, Workers(due=10**6, begin_per_s=3 * PLACES / WORK_S), 60)
    assert max(history) <= 6 and min(history[20:]) >= 3


def test_up_when_the_budget_is_raised(scaled):
    history = simulate(scaled, Workers(due=10**6, begin_per_s=0.67), 40, change={20: 10000})
    assert set(history[:40]) == {2} and max(history) == 12


def test_not_for_what_an_hourly_limit_holds_back(scaled):
    assert set(simulate(scaled, Workers(due=5000, begin_per_s=10000, held=5000), 20)) == {2}
