"""One real run for all tests here: sandbox, Kafka, Redis, two schedulers, two workers, and a Prometheus that scrapes them."""
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import deployment, processes, prometheus, proxy, sandbox, servers  # noqa: E402
from support.processes import wait_for  # noqa: E402
from support.programs import ROOT  # noqa: E402

processes.die_with_parent()

RULES = ROOT / "deploy" / "prometheus" / "keyroll.rules.yaml"
LICENCES = 40


class Run:
    """What is left of it: metrics texts by process, states of the alerts, Prometheus (still up), the deployment (its logs and topics)."""

    def __init__(self, installed, server, texts, alerts, traces, complaints):
        self.installed, self.prometheus, self.texts, self.alerts, self.complaints = installed, server, texts, alerts, complaints
        self.traces = traces  # of HTTP calls, as they arrived: proxy.LossyProxy


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    with servers.KafkaServer(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture(scope="session")
def run(tmp_path_factory, kafka):
    folder = tmp_path_factory.mktemp("run")
    with servers.RedisServer(folder) as redis_server, \
            sandbox.SandboxFleet(folder, LICENCES, new_key_delay_ms="300-1500", use_interval_ms=1000) as fleet, \
            proxy.LossyProxy(fleet.url) as seen, \
            deployment.Deployment(folder, kafka, redis_server, fleet, log_level="debug", iam_calls_per_s=50) as installed:
        installed.env["AWS_ENDPOINT_URL"] = seen.url
        fleet.write_inventory([{**row, "instance_url": row["instance_url"].replace(fleet.url, seen.url)} for row in fleet.rows()])
        installed.topics_apply()
        daemons = [installed.worker(start=False), installed.worker(start=False),
                   installed.scheduler(start=False), installed.scheduler(start=False)]
        with prometheus.Prometheus(folder, [f"127.0.0.1:{one.port}" for one in daemons], [RULES]) as server:
            fleet.instance(fleet.names[0], down=True)
            installed.keyroll.run("campaign start --all --name spring --stop-at-failures off --waves 100%")
            for one in daemons:
                one.start() if one in installed.workers else one.spawn()
            wait_for("a job that is put off", lambda: server.query("sum(keyroll_jobs_total{outcome='retry'}) > 0"), 120, poll_s=0.5)
            fleet.instance(fleet.names[0], down=False)
            installed.wait_stage("current", 180)
            wait_for("all of it in Prometheus", lambda: server.query("sum(keyroll_licences{state='current'} * on (instance) keyroll_leader) == %d"
                                                                     % LICENCES), 30, poll_s=0.5)
            began = time.monotonic()
            wait_for("a rule's evaluation since then", lambda: time.monotonic() - began > 3 and server.get("rules")["groups"], 30, poll_s=0.5)
            texts = {one.name: one.get("/metrics").text for one in daemons}
            alerts = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
            server.at = time.time() - 1  # what is asked later is about now: the processes are stopped in a moment
            yield Run(installed, server, texts, alerts, seen.traces, installed.finish("current"))
