"""The workers scaled by KEDA's own operator, adapter and webhooks, with the triggers that the chart makes. One story, told in order.

Prometheus scrapes the pods (it is told of them here: Debian's cannot ask Kubernetes); KEDA asks it, and Kafka for the lag.
"""
import json
import os
import re
import threading
import time
from pathlib import Path

import pytest
from conftest import Release, fleet_size, get, kubectl

from support import deployment, ledger, prometheus, sandbox, servers
from support.processes import wait_for

MOST = 4
SETTINGS = {**deployment.SHORT_WAITS, "max_in_flight": 48, "settle_timeout": "120s", "max_rotations_per_hour": 20}
AUTOSCALING = {
    "enabled": True, "kind": "keda", "minReplicas": 1, "maxReplicas": MOST, "scaleDownSeconds": 15,
    "keda": {"pollingInterval": 5, "fallback": {"failureThreshold": 3, "replicas": 1}, "kafka": {"lagThreshold": "50"},
             "prometheus": {"threshold": "50"}}}


class Targets(threading.Thread):
    """Tells Prometheus which pods there are, as its discovery would: each second, with the pod's name and namespace."""

    def __init__(self, file, namespace):
        super().__init__(daemon=True)
        self.file, self.namespace, self.over = Path(file), namespace, threading.Event()

    def run(self):
        while not self.over.wait(1):
            try:
                pods = get("pods", "-n", self.namespace, "-l", "app.kubernetes.io/name=keyroll")
            except AssertionError:
                continue
            found = [{"targets": [f"{pod['status']['podIP']}:9464"], "labels": {"namespace": self.namespace, "pod": pod["metadata"]["name"]}}
                     for pod in pods if pod["status"].get("podIP")
                     and pod["metadata"]["labels"]["app.kubernetes.io/component"] in ("worker", "scheduler")]
            new = self.file.with_suffix(".new")
            new.write_text(json.dumps(found))
            new.rename(self.file)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keda")
    kafka, redis_server = servers.KafkaServer(folder), servers.RedisServer(folder, password="swordfish-1")
    fleet = sandbox.SandboxFleet(folder, fleet_size(500), new_key_delay_ms="100-1500", use_interval_ms=1000, iam_rate=12)
    watcher = prometheus.Prometheus(folder, [], discovery=folder / "targets.json")
    targets = Targets(folder / "targets.json", Release.namespace)
    servers.start_all(kafka, redis_server, watcher)
    fleet.start()
    targets.start()
    with kafka, redis_server, fleet, watcher:
        made = Release(folder, kafka, redis_server, fleet, SETTINGS)
        made.prometheus = watcher
        made.values["autoscaling"] = {**AUTOSCALING, "keda": {**AUTOSCALING["keda"], "prometheus": {
            "threshold": "50", "serverAddress": watcher.url}}}
        yield made
        targets.over.set()


def replicas(world):
    """Returns how many workers are wanted now."""
    return get("deployment", f"{world.name}-keyroll-worker", "-n", world.namespace)["spec"]["replicas"]


def backlog(world):
    """Returns what KEDA's Prometheus trigger sees now, or None."""
    triggers = get("scaledobject", f"{world.name}-keyroll-worker", "-n", world.namespace)["spec"]["triggers"]
    found = world.prometheus.query(next(one["metadata"]["query"] for one in triggers if one["type"] == "prometheus"))
    return found[0][1] if found else None


def figure(world, query):
    """Returns what Prometheus answers now, 0 without an answer."""
    found = world.prometheus.query(query)
    return found[0][1] if found else 0


def keda_manifests():
    """Returns KEDA's own manifests with its images replaced by ours of the same programs."""
    shown = kubectl("kustomize", Path(os.environ["KEYROLL_KEDA"], "config", "default")).stdout
    shown = re.sub(r"image: \S*/(keda[a-z-]*)(:\S+)?", r"image: localhost/\1:test", shown)
    shown = re.sub(r"imagePullPolicy: \w+", "imagePullPolicy: Never", shown)
    assert shown.count("image: localhost/keda") == 3
    return shown


def test_keda_comes_up():
    kubectl("apply", "--server-side", "-f", "-", given=keda_manifests())
    kubectl("-n", "keda", "wait", "--for=condition=Available", "deployment", "--all", "--timeout=600s")
    kubectl("wait", "--for=condition=Available", "apiservice/v1beta1.external.metrics.k8s.io", "--timeout=300s")


def test_install(world):
    world.make_namespace()
    world.before = world.objects()
    world.install()
    kubectl("-n", world.namespace, "wait", "--for=condition=Ready", "scaledobject", "--all", "--timeout=120s")


def test_workers_are_not_added_when_a_limit_binds(world):
    """Hundreds are due, but only 20 may begin in an hour: more workers would be of no use."""
    def waiting():
        found = world.prometheus.query("max(keyroll_rotations_waiting)")
        return found and found[0][1] >= len(world.fleet.names) - 40
    wait_for("the scheduler to hold the rest back", waiting, 180, 1)
    wait_for("the metric to be had", lambda: backlog(world) is not None, 120, 1)
    # The first look at each licence is work, too, for which a second worker may have come.
    wait_for("one worker wanted", lambda: replicas(world) == 1, 60 + 90 * MOST, 1)
    stays_at_one(world, 45)
    hpa = get("hpa", "-n", world.namespace)[0]
    assert {one["type"]: one["status"] for one in hpa["status"]["conditions"]}["ScalingActive"] == "True", hpa["status"]


def stays_at_one(world, seconds):
    """That nothing happens takes its time: many looks of KEDA's, and more than scaleUpSeconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert replicas(world) == 1, f"backlog {backlog(world)}"
        time.sleep(1)


def test_nor_when_awss_budget_binds(world):
    """All may begin now, but the account's calls are what they wait for: a second worker would wait beside the first."""
    world.fleet.settings(**{"iam-rate": 2})  # iam_calls_per_s is but what the workers begin with: they find out what AWS bears
    world.upgrade(max_rotations_per_hour=1000000)
    wait_for("jobs to wait for the account's budget", lambda: figure(world, "sum(keyroll_budget_waiting)") >= 20, 120, 1)
    began = world.fleet.summary()["rotated_licences"]
    stays_at_one(world, 100)
    due, rotated = figure(world, 'max(keyroll_due{what="rotate"})'), world.fleet.summary()["rotated_licences"]
    print(f"due {due:.0f}, waiting for the budget {figure(world, 'sum(keyroll_budget_waiting)'):.0f}, rotated {began} to {rotated}")
    assert rotated > began, "the work goes on, at AWS's pace"
    assert due >= MOST * 50, "enough is due for all workers: were the budget not what binds, they would come"


def test_replicas_follow_the_backlog_up(world):
    # With no limit left, what takes its time is the proof of each new key.
    world.fleet.settings(**{"iam-rate": 0})
    world.upgrade(iam_calls_per_s=0, settle_successes=20, settle_interval="2s", lease_max_age="2m")
    wait_for(f"{MOST} workers wanted", lambda: replicas(world) == MOST, 240, 1)
    wait_for(f"{MOST} workers ready", lambda: world.ready() == MOST, 240, 1)
    wait_for("each of them to be in the group", lambda: world.kafka.members("cluster-workers") == MOST, 120, 1)
    print(f"backlog {backlog(world)}, rotated {world.fleet.summary()['rotated_licences']}")


def test_and_down_again(world):
    """One by one, each draining; the fleet is rolled once all the same."""
    wait_for("every licence current", lambda: ledger.first_complaint(world.fleet.books(), "current") is None, 600, poll_s=1)
    seen = [replicas(world)]

    def down():
        now = replicas(world)
        if now != seen[-1]:
            seen.append(now)
        return now == 1
    wait_for("one worker wanted", down, 120 + 90 * MOST, 1)
    print(f"workers: {seen}")
    assert seen == sorted(seen, reverse=True) and all(more - less == 1 for more, less in zip(seen, seen[1:])), "one at a time"
    wait_for("the others to be gone", lambda: len(get("pods", "-n", world.namespace, "-l", "app.kubernetes.io/component=worker")) == 1, 120, 1)
    assert ledger.check_run(world.fleet.books(), "current", world.redis_server.client(), world.kafka, "cluster-workers") == []
    totals = world.fleet.summary()
    assert {name: totals[name] for name in ("outages", "orphan_keys", "unexplained_keys", "users_over_two_keys") if totals[name]} == {}


def test_uninstall_leaves_nothing(world):
    world.uninstall(world.before)
