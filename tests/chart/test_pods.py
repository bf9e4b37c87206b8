"""The rendered pods, run: settings, mounts, users and rights as in a cluster, against real Kafka and Redis and the sandbox.

support/pods.py stands in for the kubelet; the real cluster is another suite's.
"""
import http.server
import json
import secrets
import threading

import pytest
import requests
import yaml
from conftest import tool
from support import chart_files, deployment, ledger, pods, sandbox, servers
from support.processes import free_port, wait_for

LICENCES = 30


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Kafka, Redis with a password, the sandbox, and the values that point a release at them."""
    folder = tmp_path_factory.mktemp("pods")
    with servers.KafkaServer(folder) as kafka, servers.RedisServer(folder, password="swordfish-1") as redis_server, \
            sandbox.SandboxFleet(folder, LICENCES, use_interval_ms=1000) as fleet:
        yield folder, kafka, redis_server, fleet


def split_logins(fleet):
    """Returns the inventory with its licences spread over three Secrets of logins, and the three files' texts."""
    rows = fleet.rows()
    path, _, _ = rows[0]["credentials"].removeprefix("file:").partition("#")
    logins = json.loads(open(path).read())
    files = {letter: {} for letter in "abc"}
    for number, row in enumerate(rows):
        letter = "abc"[number % 3]
        files[letter][row["licence"]] = logins[row["licence"]]
        row["credentials"] = f"file:/run/keyroll/logins/{letter}/logins.json#{row['licence']}"
    columns = list(rows[0])
    lines = [",".join(columns)] + [",".join(row[column] for column in columns) for row in rows]
    return "\n".join(lines) + "\n", {letter: json.dumps(text) for letter, text in files.items()}


def pod_of(objects, kind, suffix):
    one = next(one for one in objects if one["kind"] == kind and one["metadata"]["name"].endswith(suffix))
    spec = one["spec"]
    return spec if kind == "Pod" else spec["jobTemplate"]["spec"]["template"]["spec"] if kind == "CronJob" else spec["template"]["spec"]


def render(world, **more):
    """Renders a release; returns (Cluster with its Secrets, objects, port of the probes)."""
    folder, kafka, redis_server, fleet = world
    inventory, logins = split_logins(fleet)
    identity = fleet.aws_environment()
    values = {
        "config": {**{name: value for name, value in deployment.SHORT_WAITS.items()}, "brokers": kafka.bootstrap, "redis_url": redis_server.url,
                   "topic_prefix": f"pods{secrets.token_hex(3)}", "mode": "rotate", "max_rotations_per_hour": 1000000, "iam_calls_per_s": 0,
                   "aws_endpoint": identity["AWS_ENDPOINT_URL"], "aws_region": identity["AWS_REGION"], **more.pop("config", {})},
        "escrow": {"existingSecret": "escrow"}, "redis": {"existingSecret": "redis"}, "aws": {"identity": "secret", "existingSecret": "aws"},
        "instanceLogins": [{"name": letter, "existingSecret": f"logins-{letter}"} for letter in "abc"],
        "inventory": {"inline": inventory}, "metrics": {"port": free_port(), "address": "127.0.0.1"}, **more}
    file = folder / f"values-{values['config']['topic_prefix']}.yaml"
    file.write_text(yaml.safe_dump(values))
    objects = [one for one in yaml.safe_load_all(tool("helm", "template", "roll", chart_files.CHART, "-f", file).stdout) if one]
    cluster = pods.Cluster(folder / values["config"]["topic_prefix"], objects)
    cluster.add_secret("escrow", escrow__key=secrets.token_bytes(32))
    cluster.add_secret("redis", password=redis_server.password)
    cluster.add_secret("aws", AWS_ACCESS_KEY_ID=identity["AWS_ACCESS_KEY_ID"], AWS_SECRET_ACCESS_KEY=identity["AWS_SECRET_ACCESS_KEY"])
    for letter, text in logins.items():
        cluster.add_secret(f"logins-{letter}", logins__json=text)
    return cluster, objects, values["metrics"]["port"]


def run_to_end(process):
    status = process.spawn().wait(60)
    assert status == 0, process.tail()
    return process.log.read_text()


def test_a_release_rolls_its_fleet(world):
    """Hook, worker, a scheduler that is a cron job, and helm test, from topics to the last old key deleted."""
    fleet = world[3]
    cluster, objects, port = render(world, scheduler={"kind": "CronJob"})
    run_to_end(cluster.process("topics", pod_of(objects, "Job", "topics")))
    worker = cluster.process("worker-0", pod_of(objects, "Deployment", "worker")).spawn()
    try:
        wait_for("the worker's readiness probe", lambda: probe(port, "/readyz") == 200, 60, alive=worker)
        assert probe(port, "/healthz") == 200
        checked = run_to_end(cluster.process("doctor", pod_of(objects, "Pod", "test")))
        assert "FAILS" not in checked and f"{LICENCES} licences" in checked
        runs = 0
        while ledger.first_complaint(fleet.books(), "current") is not None:
            assert runs < 100, ledger.check_fleet(fleet.books(), "current")[:5]
            run_to_end(cluster.process(f"scheduler-{runs}", pod_of(objects, "CronJob", "scheduler")))
            runs += 1
            group = "keyroll-workers"
            wait_for("what was published is done", lambda: not ledger.check_lag(world[1], group), 60, poll_s=0.3, alive=worker)
        commands(cluster, pod_of(objects, "Deployment", "worker"), fleet.names[0])
        assert 'service.node.name":"worker-0"' in worker.log.read_text()  # the pod's name
        worker.signal(15)
        assert worker.wait(60) == 0, worker.tail()
    finally:
        worker.kill()


def commands(cluster, worker, name):
    """What an operator runs in a worker's pod (kubectl exec): it has the identity, the logins and the inventory."""
    for command in (["doctor"], ["audit", name], ["status", name], ["plan", "--all"]):
        spec = {**worker, "containers": [{**worker["containers"][0], "command": ["/usr/bin/keyroll", *command]}]}
        said = run_to_end(cluster.process(f"exec-{command[0]}", spec))
        assert "FAILS" not in said if command == ["doctor"] else name in said, said


class Chat(http.server.BaseHTTPRequestHandler):
    """A webhook: its server's `told` holds what it was sent."""

    def do_POST(self):
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def test_policies_and_whom_to_tell(world):
    """The scheduler finds both where they are mounted: keyroll checks the policies, and a person hears of the first dead letter."""
    kafka, names = world[1], world[3].names
    policy = {"version": "keyroll.policy/1", "policies": {"default": {"max_age": "80d"}},
              "exclusions": [{"licence": name, "expires": "2099-01-01", "reason": "go-live, ask Kim"} for name in names]}
    prefix = f"told{secrets.token_hex(3)}"
    cluster, objects, port = render(world, policy={"inline": json.dumps(policy)}, notify={"existingSecret": "chat", "urlKey": "webhook"},
                                    config={"notify_interval": "1s", "topic_prefix": prefix, "group": prefix})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Chat) as chat:
        chat.told = []
        threading.Thread(target=chat.serve_forever, daemon=True).start()
        cluster.add_secret("chat", webhook=f"http://127.0.0.1:{chat.server_port}/hook\n")
        run_to_end(cluster.process("topics", pod_of(objects, "Job", "topics")))
        spec = pod_of(objects, "Deployment", "scheduler")
        check = {**spec, "containers": [{**spec["containers"][0], "command": ["/usr/bin/keyroll", "policy", "check"]}]}
        assert f"{len(names)} exclusions" in run_to_end(cluster.process("check", check))
        kafka.produce(f"{prefix}.jobs", b"not a job")
        with cluster.process("worker-b", pod_of(objects, "Deployment", "worker")).spawn() as worker:
            wait_for("a dead letter", lambda: kafka.messages(f"{prefix}.dead"), 60, alive=worker)
        with cluster.process("scheduler-b", spec).spawn() as scheduler:
            wait_for("a person to be told", lambda: chat.told, 60, alive=scheduler)
        chat.shutdown()
    assert [one["kind"] for one in chat.told[0]["notices"]] == ["dead letter"], chat.told


def test_the_scheduler_as_a_deployment(world):
    cluster, objects, port = render(world, config={"mode": "observe"})
    run_to_end(cluster.process("topics", pod_of(objects, "Job", "topics")))
    scheduler = cluster.process("scheduler-a", pod_of(objects, "Deployment", "scheduler")).spawn()
    try:
        wait_for("the scheduler's readiness probe", lambda: probe(port, "/readyz") == 200, 60, alive=scheduler)
        assert probe(port, "/healthz") == 200 and probe(port, "/metrics") == 200
        scheduler.signal(15)
        assert scheduler.wait(60) == 0, scheduler.tail()
    finally:
        scheduler.kill()


def test_a_missing_secret_is_told(world):
    """Without the logins' Secret a kubelet does not start the pod; an escrow key of the wrong size is the worker's to tell."""
    cluster, objects, _ = render(world)
    del cluster.objects["Secret", "logins-b"]
    with pytest.raises(KeyError):
        cluster.process("worker-1", pod_of(objects, "Deployment", "worker"))
    cluster, objects, _ = render(world)
    cluster.add_secret("escrow", escrow__key=b"too short")
    worker = cluster.process("worker-2", pod_of(objects, "Deployment", "worker"))
    assert worker.spawn().wait(60) in (1, 2)
    assert "32 bytes" in worker.log.read_text()


def test_a_settings_file_that_may_not_be_read_is_told(world):
    """As with a security context that does not fit: not taken for a file that is not there."""
    cluster, objects, _ = render(world)
    job = cluster.process("topics", pod_of(objects, "Job", "topics"))
    (cluster.folder / "topics" / "config").chmod(0o700)
    assert job.spawn().wait(60) == 2
    assert "/etc/keyroll/keyroll.conf" in job.log.read_text(), job.tail()


def probe(port, path):
    try:
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except requests.RequestException:
        return None
