"""Fixtures of the cluster suites, which run inside the cluster's namespaces (tests/cluster/run): kubectl, helm and the servers on 127.0.0.1."""
import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from support import chart_files, processes  # noqa: E402
from support.processes import wait_for  # noqa: E402

processes.die_with_parent()


def run(*argv, check=True, given=None, timeout_s=600):
    """Runs a command. Returns the finished process; fails with its words."""
    done = subprocess.run([str(part) for part in argv], text=True, capture_output=True, input=given, timeout=timeout_s)
    print(f"$ {' '.join(map(str, argv))[:300]}\n{(done.stdout + done.stderr)[-3000:]}", flush=True)
    assert not check or done.returncode == 0, f"{argv[:4]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done


def kubectl(*arguments, **options):
    return run("kubectl", *arguments, **options)


def apply(*objects):
    kubectl("apply", "-f", "-", given=yaml.safe_dump_all(objects))


def get(*arguments):
    """Returns what `kubectl get` knows, parsed; [] for an empty list."""
    shown = subprocess.run(["kubectl", "get", *arguments, "-o", "json"], text=True, capture_output=True, timeout=120)
    assert shown.returncode == 0, f"get {arguments}: {shown.stderr}"
    found = json.loads(shown.stdout)
    return found["items"] if found["kind"].endswith("List") else found


def helm(*arguments, **options):
    return run(Path(os.environ["KEYROLL_CHART_TOOLS"], "helm"), *arguments, **options)


def logins_file(fleet):
    """Returns the inventory's text, with logins as the chart mounts them, and the text of the file of logins."""
    rows = fleet.rows()
    path = rows[0]["credentials"].removeprefix("file:").partition("#")[0]
    for row in rows:
        row["credentials"] = f"file:/run/keyroll/logins/a/logins.json#{row['licence']}"
    columns = list(rows[0])
    lines = [",".join(columns)] + [",".join(row[column] for column in columns) for row in rows]
    return "\n".join(lines) + "\n", Path(path).read_text()


class Release:
    """One installation of the chart on given servers, in a namespace that enforces Pod Security `restricted` and a quota."""

    name, namespace = "roll", "keyroll"
    QUOTA = {"requests.cpu": "4", "requests.memory": "3Gi", "limits.cpu": "24", "limits.memory": "3Gi", "pods": "14",
             "limits.ephemeral-storage": "2Gi"}

    def __init__(self, folder, kafka, redis_server, fleet, settings):
        self.folder, self.kafka, self.redis_server, self.fleet = folder, kafka, redis_server, fleet
        self.revisions = 0
        identity = fleet.aws_environment()
        self.inventory, self.logins = logins_file(fleet)
        self.secrets = {
            "escrow": {"escrow.key": secrets.token_bytes(32)}, "redis": {"password": redis_server.password},
            "aws": {name: identity[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}, "logins-a": {"logins.json": self.logins}}
        self.values = {
            "image": {"repository": "localhost/keyroll", "tag": "test", "pullPolicy": "Never"},
            "config": {"brokers": kafka.bootstrap, "redis_url": redis_server.url, "topic_prefix": "cluster", "group": "cluster-workers",
                       "mode": "rotate", "max_rotations_per_hour": 1000000, "aws_endpoint": identity["AWS_ENDPOINT_URL"],
                       "aws_region": identity["AWS_REGION"], **settings},
            "escrow": {"existingSecret": "escrow"}, "redis": {"existingSecret": "redis"},
            "aws": {"identity": "secret", "existingSecret": "aws"}, "instanceLogins": [{"name": "a", "existingSecret": "logins-a"}],
            "inventory": {"inline": self.inventory},
            "worker": {"replicas": 3}}

    def make_namespace(self):
        labels = {f"pod-security.kubernetes.io/{what}": "restricted" for what in ("enforce", "warn")}
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}},
              {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota", "namespace": self.namespace},
               "spec": {"hard": self.QUOTA}})
        for name, data in self.secrets.items():
            files = []
            for key, value in data.items():
                file = self.folder / f"{name}-{key}"
                file.touch(0o600)
                file.write_bytes(value if isinstance(value, bytes) else value.encode())
                files.append(f"--from-file={key}={file}")
            kubectl("-n", self.namespace, "create", "secret", "generic", name, *files)
        print(f"the namespace begins with {sorted(self.objects())}")
        # What the controllers put into every namespace comes a moment later.
        wait_for("the namespace's own objects", lambda: {"ServiceAccount/default", "ConfigMap/kube-root-ca.crt"} <= self.objects(), 60, 0.5)

    def helm(self, command, *arguments, **options):
        return helm(command, self.name, *arguments, "--namespace", self.namespace, **options)

    def write_values(self):
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump(self.values))
        return file

    def install(self):
        return self.helm("install", chart_files.CHART, "-f", self.write_values(), "--wait", "--timeout", "10m")

    def upgrade(self, *arguments, **config):
        """Upgrades with settings changed for good, and waits for the rollout."""
        self.values["config"].update(config)
        done = self.helm("upgrade", chart_files.CHART, "-f", self.write_values(), "--wait", "--timeout", "10m", *arguments)
        self.wait_ready()  # helm waits for the new pods only
        return done

    def pods(self, component="worker"):
        """Returns the component's pods that are not on their way out."""
        found = get("pods", "-n", self.namespace, "-l", f"app.kubernetes.io/component={component}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def pod_names(self):
        return sorted(pod["metadata"]["name"] for pod in self.pods())

    def ready(self, component="worker"):
        """Returns the number of ready pods."""
        return sum(1 for pod in self.pods(component)
                   for one in pod["status"].get("conditions", []) if one["type"] == "Ready" and one["status"] == "True")

    def wait_ready(self, timeout_s=300):
        for component in ("worker", "scheduler"):
            kubectl("-n", self.namespace, "rollout", "status", f"deployment/{self.name}-keyroll-{component}", f"--timeout={timeout_s}s")

    def objects(self):
        """Returns the set of "Kind/name" of everything in the namespace but events."""
        kinds = run("kubectl", "api-resources", "--verbs=list", "--namespaced", "-o", "name").stdout.split()
        kinds = [kind for kind in kinds if not kind.startswith("events")]
        found = get(",".join(kinds), "-n", self.namespace)
        return {f"{one['kind']}/{one['metadata']['name']}" for one in found}

    def uninstall(self, before, timeout_s=120):
        """Uninstalls and waits for the namespace's objects to be those of `before`; fails with the difference."""
        self.helm("uninstall", "--wait", "--timeout", "5m")
        end = time.monotonic() + timeout_s
        while (now := self.objects()) != before:
            assert time.monotonic() < end, f"left behind: {sorted(now - before)}; gone: {sorted(before - now)}"
            time.sleep(1)


class PodWatch(processes.Process):
    """Writes down each state of the namespace's pods, so that the end of a pod that is gone by now can be asked for."""

    def __init__(self, folder, namespace):
        super().__init__("pods", ["kubectl", "get", "pods", "-n", namespace, "--watch", "-o", "json"], folder, dict(os.environ))

    def states(self):
        """Yields the pods as they were, in order. The last one may be cut short."""
        text, reader = self.log.read_text(), json.JSONDecoder()
        at = text.find("{")
        while at >= 0:
            try:
                found, at = reader.raw_decode(text, at)
            except ValueError:
                return
            yield from found["items"] if found["kind"].endswith("List") else [found]
            at = text.find("{", at)

    def ends(self, component="worker"):
        """Returns {pod/container's id: (exit code, reason)} of every container that ran and ended."""
        found = {}
        for pod in self.states():
            if pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") != component:
                continue
            for status in pod["status"].get("containerStatuses", []):
                for state in (status.get("state", {}), status.get("lastState", {})):
                    end = state.get("terminated")
                    if end and "containerID" in end:
                        found[f"{pod['metadata']['name']}/{end['containerID'][-8:]}"] = (end["exitCode"], end["reason"])
        return found


def fleet_size(ci):
    """Returns the number of licences: at full size 2,000 at least, else `ci`."""
    return int(os.environ.get("KEYROLL_CLUSTER_LICENCES", max(ci, 2000) if os.environ.get("KEYROLL_TEST_SIZE") == "full" else ci))


@pytest.fixture(autouse=True)
def told_time(request):
    started = time.monotonic()
    yield
    print(f"{request.node.name}: {time.monotonic() - started:.0f} s")
