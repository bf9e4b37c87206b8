"""The chart as a whole: linted, rendered for a matrix of values, and every object checked by the tools that know it.

What single values do is in deploy/helm/keyroll/tests (helm-unittest), run from here too.
"""
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import CASES, HERE, template, tool
from support import chart_files
from support.processes import clean_environment
from support.programs import binary

CHART, ROOT = chart_files.CHART, chart_files.ROOT
# kube-score tests that are left out, and why.
NOT_SCORED = {
    "container-image-pull-policy": "a tag is never pushed twice, so IfNotPresent pulls the same and starts when the registry is away",
    "deployment-has-host-podantiaffinity": "topology spread constraints do it, which do not stop a rollout on few nodes",
}


def settings_of(text):
    return dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)


def pod_specs(objects):
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "Pod":
            yield one, spec
        elif one["kind"] == "CronJob":
            yield one, spec["jobTemplate"]["spec"]["template"]["spec"]
        elif "template" in spec:
            yield one, spec["template"]["spec"]


@pytest.mark.parametrize("case", CASES)
def test_lint(case):
    tool("helm", "lint", "--strict", CHART, "-f", HERE / "values" / f"{case}.yaml")


@pytest.mark.parametrize("case", CASES)
def test_objects_are_what_the_api_server_takes(case, tmp_path):
    file = tmp_path / "all.yaml"
    file.write_text(template(case).stdout)
    tool("kubectl-validate", "--version", "1.30", "--local-crds", Path(os.environ["KEYROLL_CHART_TOOLS"], "crds"), file)


def test_the_validator_sees_misspelt_fields(tmp_path):
    """kubectl-validate is only worth something if it refuses what is wrong, in custom objects too."""
    file = tmp_path / "bad.yaml"
    text = template("full").stdout
    for right, wrong in (("pollingInterval:", "poolingInterval:"), ("readinessProbe:", "readyProbe:"),
                         ("podMetricsEndpoints:", "podMetricEndpoints:")):
        assert right in text
        file.write_text(text.replace(right, wrong))
        assert tool("kubectl-validate", "--version", "1.30", "--local-crds", Path(os.environ["KEYROLL_CHART_TOOLS"], "crds"), file,
                    check=False).returncode != 0, wrong


@pytest.mark.parametrize("case", CASES)
def test_kube_score(case, tmp_path):
    file = tmp_path / "all.yaml"
    # A chart without network policies (msk) is scored on all the rest.
    ignored = [*NOT_SCORED, *(["pod-networkpolicy"] if case == "msk" else [])]
    file.write_text(template(case).stdout)
    tool("kube-score", "score", "--kubernetes-version", "v1.30", "--exit-one-on-warning", *[f"--ignore-test={name}" for name in ignored], file)


def test_values_matrix():
    results = Path(os.environ.get("KEYROLL_RESULTS", "/nonexistent"))
    report = ["--output-type", "JUnit", "--output-file", results / "helm-unittest.xml"] if results.is_dir() else []
    tool("helm-unittest", "--strict", *report, CHART)


def test_made_files_are_up_to_date():
    stale = [path.name for path, text in chart_files.made_files().items() if path.read_text() != text]
    if (CHART / "README.md").read_text() != chart_files.readme():
        stale.append("README.md")
    assert not stale, f"{stale}: run tests/support/chart_files.py --write"


def test_the_readme_s_example_renders(tmp_path):
    """As it stands there, alone."""
    text = (CHART / "README.md").read_text()
    file = tmp_path / "values.yaml"
    file.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    shown = tool("helm", "template", "keyroll", CHART, "-f", file).stdout
    kinds = {one["kind"] for one in yaml.safe_load_all(shown) if one}
    assert {"Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget"} <= kinds and "registry.example.com/keyroll:" in shown


def test_every_setting_is_reachable(find):
    """Each setting of the programs is a key of `config`, or written by the chart from the value that chart_files.OWNED names."""
    names = {row["name"] for row in chart_files.sample_settings()}
    assert len(names) > 50 and set(chart_files.OWNED) <= names
    config = yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]["config"]
    assert set(config["properties"]) == names - set(chart_files.OWNED)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    written = settings_of(find("full", "ConfigMap", "roll-keyroll")["data"]["keyroll.conf"])
    for name, path in chart_files.OWNED.items():
        if path is None:
            continue
        section, key = path.split(".")
        assert key in values[section], path
        assert name in written or name == "redis_password", name
    environment = [one["name"] for one in find("full", "Deployment", "worker")["spec"]["template"]["spec"]["containers"][0]["env"]]
    assert "KEYROLL_WORKER_ID" in environment


def test_each_setting_reaches_the_file(tmp_path, find):
    """Sets every setting of `config` at once, to its default where it has one that can be written."""
    wanted = {}
    for row in chart_files.settings():
        default = row["default"].split(" ")[0]
        written = default != "none" and " " not in row["default"] and "$" not in default and default != "HOST-PID"
        wanted[row["name"]] = default if written else "x"
    typed = {name: float(text) if text.replace(".", "").isdigit() else text for name, text in wanted.items()}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"config": {**typed, "inventory_discover": ["111122223333"]}}))
    made = [one for one in yaml.safe_load_all(template("minimal", "-f", file).stdout)
            if one and one["kind"] == "ConfigMap" and one["metadata"]["name"] == "roll-keyroll"]
    assert {name: text for name, text in settings_of(made[0]["data"]["keyroll.conf"]).items() if name in wanted} == \
        {**wanted, "inventory_discover": "111122223333"}


@pytest.mark.parametrize("case", CASES)
def test_the_programs_take_the_file(case, find, tmp_path):
    """keyroll reads what the chart wrote; 3: it knows a fault of this librdkafka with these settings, which is no matter of the chart."""
    file = tmp_path / "keyroll.conf"
    file.write_text(find(case, "ConfigMap", "roll-keyroll")["data"]["keyroll.conf"])
    done = subprocess.run([binary("keyroll"), "version", "--config", file], env=clean_environment(), text=True, capture_output=True)
    assert done.returncode in (0, 3), done.stderr
    file.write_text(file.read_text() + "max_age = 9999d\n")
    done = subprocess.run([binary("keyroll"), "version", "--config", file], env=clean_environment(), text=True, capture_output=True)
    assert done.returncode == 2 and "max_age" in done.stderr


def test_more_volumes(find):
    for kind, name in (("Deployment", "worker"), ("Pod", "test")):
        one = find("full", kind, name)["spec"]
        pod = one if kind == "Pod" else one["template"]["spec"]
        assert {"name": "aws", "configMap": {"name": "aws-config"}} in pod["volumes"]
        assert {"name": "aws", "mountPath": "/run/aws", "readOnly": True} in pod["containers"][0]["volumeMounts"]


def test_a_claim_is_mounted_by_the_scheduler_only(find):
    """What else there is for it, every worker has: operators run commands there."""
    def names(case, component):
        return {one["name"] for one in find(case, "Deployment", component)["spec"]["template"]["spec"]["volumes"]}
    assert "inventory" not in names("full", "worker") and "inventory" in names("full", "scheduler")
    assert "inventory" in names("minimal", "worker") and "policy" in names("full", "worker")


def test_three_secrets_of_logins(find):
    pod = find("full", "Deployment", "worker")["spec"]["template"]["spec"]
    mounts = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one for one in pod["volumes"]}
    for letter in "abc":
        assert mounts[f"logins-{letter}"] == f"/run/keyroll/logins/{letter}"
        assert volumes[f"logins-{letter}"]["secret"] == {"secretName": f"keyroll-logins-{letter}", "defaultMode": 0o440}
    scheduler = find("full", "Deployment", "scheduler")["spec"]["template"]["spec"]
    assert not [one for one in scheduler["volumes"] if one["name"].startswith(("logins", "escrow"))]


def test_files_of_the_scheduler_alone(find):
    """The secret address of the notices, beside the policies: set, mounted where they are named, and not in the worker."""
    scheduler = find("full", "Deployment", "scheduler")["spec"]["template"]["spec"]
    mounts = {one["name"]: one["mountPath"] for one in scheduler["containers"][0]["volumeMounts"]}
    volumes = {one["name"]: one for one in scheduler["volumes"]}
    text = next(one for name, one in find("full", "ConfigMap", "keyroll")["data"].items() if name == "keyroll.conf")
    assert f"policy_file = {mounts['policy']}/policy.json\n" in text and f"notify_url_file = {mounts['notify']}/url\n" in text
    assert volumes["policy"]["configMap"] == {"name": "keyroll-policies", "items": [{"key": "fleet.json", "path": "policy.json"}]}
    assert volumes["notify"]["secret"] == {"secretName": "keyroll-chat", "defaultMode": 0o440, "items": [{"key": "webhook", "path": "url"}]}
    worker = find("full", "Deployment", "worker")["spec"]["template"]["spec"]
    assert not [one for one in worker["volumes"] if one["name"] == "notify"]


def test_pods_roll_when_a_setting_changes_and_not_for_the_inventory(tmp_path):
    def checksum(values):
        (tmp_path / "v.yaml").write_text(yaml.safe_dump(values))
        worker = next(one for one in yaml.safe_load_all(template("msk", "-f", tmp_path / "v.yaml").stdout)
                      if one and one["kind"] == "Deployment" and one["metadata"]["name"].endswith("worker"))
        return worker["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
    before = checksum({})
    assert checksum({"config": {"mode": "rotate"}}) != before != checksum({"escrow": {"keys": ["new.key", "escrow.key"]}})
    assert checksum({"inventory": {"inline": "licence,account\n4712,111122223333\n"}}) == before


@pytest.mark.parametrize("case", CASES)
def test_pods_are_restricted(case, rendered):
    """Pod Security "restricted", and what goes beyond it: read-only root, no API token, limits."""
    pods = list(pod_specs(rendered(case)))
    assert len(pods) >= 2
    for one, spec in pods:
        name = one["metadata"]["name"]
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] == 65532, name
        assert security["seccompProfile"]["type"] == "RuntimeDefault", name
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, name
        assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC", "initContainers")), name
        for volume in spec["volumes"]:
            assert set(volume) - {"name"} <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}, name
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}, name
            assert {"memory", "cpu"} <= set(container["resources"]["limits"]) and container["command"][0].startswith("/usr/bin/"), name


@pytest.mark.parametrize("case", CASES)
def test_no_secret_is_made_or_written(case, rendered):
    assert not [one for one in rendered(case) if one["kind"] == "Secret"]
    assert "password =" not in template(case).stdout and "sasl.username =" not in template(case).stdout


def test_network_policies(find):
    """As rendered; nothing here can enforce them."""
    deny = find("full", "NetworkPolicy", "deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"] and not deny.get("ingress") and not deny.get("egress")
    ports = {}
    for component in ("worker", "scheduler", "topics", "test"):
        spec = find("full", "NetworkPolicy", component)["spec"]
        assert spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == component
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        ports[component] = sorted({port["port"] for rule in spec["egress"] for port in rule["ports"]})
        open_to = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
        assert open_to == ([9464] if component in ("worker", "scheduler") else []), component
    assert ports == {"worker": [53, 443, 3128, 6380, 9093], "scheduler": [53, 443, 3128, 6380, 9093], "topics": [53, 3128, 9093],
                     "test": [53, 443, 3128, 6380, 9093]}
    scheduler = find("minimal", "NetworkPolicy", "scheduler")["spec"]["egress"]
    assert 443 not in {port["port"] for rule in scheduler for port in rule["ports"]}, "it has nobody to tell, and no IAM to ask"
    worker = find("full", "NetworkPolicy", "worker")["spec"]["egress"]
    kafka = next(rule for rule in worker if rule["ports"] == [{"port": 9093, "protocol": "TCP"}])
    assert kafka["to"] == [{"podSelector": {"matchLabels": {"app": "kafka"}}}]
    https = next(rule for rule in worker if rule["ports"] == [{"port": 443, "protocol": "TCP"}])
    assert https["to"][0]["ipBlock"] == {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}


def test_pod_identity_reaches_its_agent_only_where_it_is_used(find):
    def agent(case, component):
        return [rule for rule in find(case, "NetworkPolicy", component)["spec"]["egress"]
                if {"ipBlock": {"cidr": "169.254.170.23/32"}} in rule.get("to", [])]
    assert agent("cron", "worker")[0]["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert agent("cron", "scheduler") and not agent("full", "worker") and not agent("cron", "topics")


def test_the_metadata_service_is_asked_only_where_it_is_used(find):
    def address(policy):
        return [rule for rule in policy["spec"]["egress"] if {"ipBlock": {"cidr": "169.254.169.254/32"}} in rule.get("to", [])]

    def off(deployment):
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        return [one["value"] for one in container["env"] if one["name"] == "AWS_EC2_METADATA_DISABLED"]
    assert not address(find("full", "NetworkPolicy", "worker")) and off(find("full", "Deployment", "worker")) == ["true"]
    made = [one for one in yaml.safe_load_all(template("full", "--set", "aws.identity=instanceProfile").stdout) if one]
    policy, = [one for one in made if one["kind"] == "NetworkPolicy" and one["metadata"]["name"].endswith("worker")]
    worker, = [one for one in made if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("worker")]
    assert address(policy)[0]["ports"] == [{"port": 80, "protocol": "TCP"}] and off(worker) == []


def test_rules_as_rendered(find, tmp_path):
    file = tmp_path / "rules.yaml"
    for case in ("full", "cron"):
        file.write_text(yaml.safe_dump(find(case, "PrometheusRule")["spec"]))
        subprocess.run(["promtool", "check", "rules", "--lint=all", "--lint-fatal", file], check=True)
    rules = {rule["alert"]: rule for group in find("full", "PrometheusRule")["spec"]["groups"] for rule in group["rules"]}
    assert all(rule["annotations"]["runbook_url"] == "https://example.com/runbook#" + name.lower() for name, rule in rules.items())
    without = {rule["alert"] for group in find("cron", "PrometheusRule")["spec"]["groups"] for rule in group["rules"]}
    assert without == {name for name, rule in rules.items() if rule["labels"]["component"] != "scheduler"}


def test_dashboard_as_rendered(find):
    text = find("full", "ConfigMap", "dashboard")["data"]["keyroll.json"]
    assert yaml.safe_load(text) == yaml.safe_load((ROOT / "deploy" / "grafana" / "keyroll.json").read_text())


def test_package_holds_all_of_it(tmp_path):
    """What stands outside of the chart's folder (rules, dashboard) is in the package."""
    tool("helm", "package", CHART, "--destination", tmp_path)
    packed = next(tmp_path.glob("keyroll-*.tgz"))
    values = HERE / "values" / "full.yaml"
    assert tool("helm", "template", "roll", packed, "--namespace", "keyroll", "-f", values).stdout == template("full").stdout


@pytest.mark.parametrize("values, words", [
    ({"config": {"max_age": "4000d"}}, "config.max_age: 4000d is out of range"),
    ({"config": {"lease_ttl": "1h"}}, "config.lease_ttl: 1h is out of range"),
    ({"config": {"drain_timeout": "55s"}}, "at least 10 s more than config.drain_timeout"),
    ({"config": {"max_attempts": 0}}, "/config/max_attempts"),
    ({"config": {"max_attemps": 5}}, "max_attemps"),
    ({"config": {"mode": "roll"}}, "/config/mode"),
    ({"config": {"redis_password": "x"}}, "redis_password"),
    ({"config": {"listen": "off"}}, "listen"),
    ({"config": {"brokers": ""}}, "config.brokers"),
    ({"config": {"group": "a\nmode = rotate"}}, "/config/group"),
    ({"kafkaConfig": {"sasl.password": "x"}}, "sasl.password"),
    ({"kafkaConfig": {"ssl.key.pem": "x"}}, "ssl.key.pem"),
    ({"escrow": {"existingSecret": ""}}, "escrow.existingSecret"),
    ({"inventory": {"source": "discover"}}, "config.inventory_discover"),
    ({"inventory": {"existing": ""}}, "inventory.existing"),
    ({"worker": {"replica": 3}}, "replica"),
    ({"worker": {"replicas": -1}}, "/worker/replicas"),
    ({"metrics": {"port": 80}}, "/metrics/port"),
    ({"instanceLogins": [{"name": "a"}]}, "existingSecret"),
    ({"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2, "kind": "hpa"}}, "autoscaling.maxReplicas"),
    ({"autoscaling": {"enabled": True}}, "serverAddress"),
    ({"aws": {"identity": "secret"}}, "aws.existingSecret"),
    ({"policy": {"inline": "{}", "existingConfigMap": "a"}}, "one of them"),
    ({"notify": {"existingSecret": "a"}, "config": {"notify_url": "https://chat.example.com"}}, "one of them"),
    ({"nothing": 1}, "nothing"),
])
def test_wrong_values_are_refused(values, words, tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    done = template("minimal", "-f", file, check=False)
    assert done.returncode != 0 and words in done.stderr.replace("\\n", " "), done.stderr[-800:]
