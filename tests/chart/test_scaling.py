"""The control loop of autoscaling, simulated: a fleet of workers in virtual time (tests/sim/scaled.c: their queues for the real
budgets, with the shipped Lua, and an AWS that throttles), its metrics in a real Prometheus, which evaluates the chart's query,
and the chart's behaviour, carried out as Kubernetes documents it for the HorizontalPodAutoscaler
(kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale, "Algorithm details" and "Configurable scaling behavior").

KEDA's pollingInterval and cooldownPeriod are for the way from none to one and back; with one replica or more KEDA is asked by the
HorizontalPodAutoscaler, as often as that looks (keda.sh/docs/latest/reference/scaledobject-spec, "pollingInterval").
"""
import math
import re
import struct
import subprocess
from pathlib import Path

import pytest
import requests
import yaml
from conftest import template

from support import programs, prometheus

SCRAPE_S = 30  # the PodMonitor's interval
LOOK_S = 15    # --horizontal-pod-autoscaler-sync-period
PLACES = 800   # of max_in_flight 1000, without the urgent share
MOST = 12
TOLD = ("keyroll_jobs_in_flight", "keyroll_jobs_working", "keyroll_budget_waiting", "keyroll_due", "keyroll_rotations_waiting", "keyroll_leader")
BEGIN_S = 1700000000
GONE = struct.unpack("<d", struct.pack("<Q", 0x7ff0000000000002))[0]  # Prometheus's mark of a series that is scraped no more


def rendered(kind, autoscaling):
    """The spec of the one object of that kind, as the chart renders it."""
    objects = list(yaml.safe_load_all(template("full", "--set", f"autoscaling.maxReplicas={MOST},autoscaling.kind={autoscaling}").stdout))
    monitor = next(one for one in objects if one and one["kind"] == "PodMonitor")
    assert {one["interval"] for one in monitor["spec"]["podMetricsEndpoints"]} == {f"{SCRAPE_S}s"}
    return next(one for one in objects if one and one["kind"] == kind)["spec"]


@pytest.fixture(scope="module")
def keda():
    """(query, threshold, fewest, most, behaviour) of the ScaledObject."""
    spec = rendered("ScaledObject", "keda")
    trigger, = spec["triggers"]
    assert spec["minReplicaCount"] >= 1  # else pollingInterval and cooldownPeriod would count
    return (trigger["metadata"]["query"], float(trigger["metadata"]["threshold"]), spec["minReplicaCount"], spec["maxReplicaCount"],
            spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"])


@pytest.fixture(scope="module")
def hpa():
    """The same of the HorizontalPodAutoscaler without KEDA: an average over the pods is a sum against the sum of the targets."""
    spec = rendered("HorizontalPodAutoscaler", "hpa")
    metric, = spec["metrics"]
    return (f'sum({metric["pods"]["metric"]["name"]}{{namespace="keyroll"}})', float(metric["pods"]["target"]["averageValue"]),
            spec["minReplicas"], spec["maxReplicas"], spec["behavior"])


class Store:
    """A Prometheus that is written to with the times of the simulation (remote write 1.0: protobuf in a block of snappy)."""

    def __init__(self, server):
        self.server, self.begin_s = server, BEGIN_S

    @staticmethod
    def number(n):
        out = b""
        while n > 127:
            out, n = out + bytes([n & 127 | 128]), n >> 7
        return out + bytes([n])

    def field(self, tag, data):
        return bytes([tag << 3 | 2]) + self.number(len(data)) + data

    def write(self, at_s, samples):
        """samples: {((label, value), ...): value}."""
        body = b""
        for labels, value in samples.items():
            series = b"".join(self.field(1, self.field(1, name.encode()) + self.field(2, text.encode())) for name, text in sorted(labels))
            series += self.field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + self.number(round(1000 * (self.begin_s + at_s))))
            body += self.field(1, series)
        chunks = [body[at:at + 60000] for at in range(0, len(body), 60000)]  # uncompressed: literals with two bytes of length
        block = self.number(len(body)) + b"".join(b"\xf4" + struct.pack("<H", len(one) - 1) + one for one in chunks)
        answer = requests.post(f"{self.server.url}/api/v1/write", data=block, timeout=30, headers={
            "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"})
        assert answer.ok, answer.text

    def query(self, at_s, query):
        self.server.at = self.begin_s + at_s
        (_, value), = self.server.query(query)
        return value


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with prometheus.Prometheus(tmp_path_factory.mktemp("scaling"), [], written=True) as server:
        yield Store(server)


class Fleet:
    """keyroll-scaled, and what was last scraped from it."""

    def __init__(self, due, accounts):
        self.process = subprocess.Popen([programs.binary("keyroll-scaled"), str(due), str(accounts), str(PLACES)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.samples, self.rotated, self.throttled = {}, 0, 0

    def tell(self, line):
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def go(self, seconds, replicas):
        """Lets time go by. Returns the samples of a scrape, those of processes that are gone marked so."""
        self.tell(f"go {seconds} {replicas}")
        before, self.samples, process = self.samples, {}, None
        for line in self.process.stdout:
            if found := re.fullmatch(r"rotated (\d+) throttled (\d+)\.\n", line):
                self.rotated, self.throttled = int(found[1]), int(found[2])
                return {**{labels: GONE for labels in before if labels not in self.samples}, **self.samples}
            if line.startswith("process "):
                process = line.split()[1]
            elif line.startswith(TOLD):
                name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)\n", line).groups()
                pairs = re.findall(r'(\w+)="([^"]*)"', labels or "")
                self.samples[("__name__", name), ("namespace", "keyroll"), ("instance", process), *pairs] = float(value)
        raise AssertionError("keyroll-scaled ended")

    def sum(self, name):
        return sum(value for labels, value in self.samples.items() if ("__name__", name) in labels)

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(10) == 0


class Autoscaler:
    """A target for an average, and the HorizontalPodAutoscaler that keeps it."""

    TOLERANCE = 0.1

    def __init__(self, query, threshold, least, most, behaviour):
        self.query, self.threshold, self.least, self.most = query, threshold, least, most
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

    def look(self, now, value):
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


@pytest.fixture
def simulate(keda, store):
    """Runs a story, for so many minutes or until there are so many replicas. change: {minute: what is told to the fleet then}.

    Returns the replicas at each look, and the fleet.
    """
    fleets = []

    def run(minutes, due, accounts, change, until=None, by=None):
        fleet, scaler, history, told = Fleet(due, accounts), Autoscaler(*(by or keda)), [], []
        fleets.append(fleet)
        assert set(re.findall(r"keyroll_\w+", scaler.query)) <= set(TOLD)
        for now in range(0, 60 * minutes, LOOK_S):
            if now % 60 == 0 and now // 60 in change:
                fleet.tell(change[now // 60])
            scrape = fleet.go(LOOK_S, scaler.replicas)
            if now % SCRAPE_S:
                store.write(now, scrape)
            if now:
                value = store.query(now, scaler.query)
                told.append(f"{value:.0f}/{fleet.sum('keyroll_jobs_in_flight'):.0f}/{fleet.sum('keyroll_budget_waiting'):.0f}")
                scaler.look(now, value)
            history.append(scaler.replicas)
            if scaler.replicas == until:
                break
        store.begin_s += 60 * minutes + 3600  # the next story sees nothing of this one
        print(f"replicas at each look: {history}\nquery/in flight/waiting: {' '.join(told)}\n"
              f"rotated {fleet.rotated} of {due}, throttled {fleet.throttled}")
        return history, fleet
    yield run
    for one in fleets:
        one.end()


def looks(minute):
    return minute * 60 // LOOK_S


def test_up_with_the_backlog_and_down_again(simulate):
    """Fifty accounts, none of which is asked for more than it bears: to the most, and one by one back to the least."""
    history, fleet = simulate(28, 45000, 40, {0: "limit 40"})
    assert max(history[:looks(10)]) == MOST
    assert fleet.rotated == 45000 and history[-1] == 2
    peak = history.index(MOST)
    assert history[:peak] == sorted(history[:peak]) and all(0 <= a - b <= 1 for a, b in zip(history[peak:], history[peak + 1:]))


def test_not_for_what_an_hourly_limit_holds_back(simulate):
    history, fleet = simulate(20, 5000, 10, {0: "per_hour 200"})
    assert set(history) == {2}
    assert fleet.rotated == 200  # all that the limit lets go


def test_not_when_awss_budget_binds(simulate):
    """20,000 are due in an account that bears three calls a second: two workers are as good as twelve."""
    history, fleet = simulate(20, 20000, 1, {0: "limit 3"})
    assert set(history) == {2}
    # What it bears is used (two reads for each), and little is asked for beyond it.
    assert 0.6 < fleet.rotated / (20 * 60 * 3 / 2) < 1 and fleet.throttled < 0.05 * 2 * fleet.rotated


def test_not_when_the_budgets_of_many_accounts_bind(simulate):
    """More of them than a metric has series for: those that are folded together are waited for, too."""
    history, _ = simulate(8, 20000, 60, {0: "limit 0.5"})
    assert set(history) == {2}


def test_none_is_added_when_aws_throttles_more(simulate):
    """What the accounts bear is halved in the middle of the work: nobody comes any more."""
    history, fleet = simulate(16, 80000, 8, {0: "limit 30", 5: "limit 15"})
    assert 2 < max(history[:looks(5)]) <= 4  # they feed the places of two workers, hardly more
    assert max(history[looks(5):]) <= history[looks(5)]
    assert fleet.throttled > 0 and fleet.sum("keyroll_due") > MOST * PLACES  # there was enough for all of them, all the time


def test_up_when_aws_bears_more(simulate):
    history, _ = simulate(60, 100000, 20, {0: "limit 5", 8: "limit 100"}, until=4)
    assert set(history[:looks(8)]) == {2} and max(history) == 4


def test_without_keda_not_when_awss_budget_binds(simulate, hpa):
    history, _ = simulate(10, 20000, 1, {0: "limit 3"}, by=hpa)
    assert set(history) == {2}


def test_without_keda_up_and_down_again(simulate, hpa):
    history, fleet = simulate(28, 45000, 40, {0: "limit 40"}, by=hpa)
    assert max(history) >= 6 and fleet.rotated == 45000 and history[-1] == 2


def test_these_stories_can_fail(simulate, keda):
    """A query that asks for nothing but what is due brings workers that the account cannot feed."""
    history, _ = simulate(10, 20000, 1, {0: "limit 3"}, until=MOST, by=('sum(keyroll_due{namespace="keyroll"})', *keda[1:]))
    assert max(history) == MOST
