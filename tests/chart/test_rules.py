"""The alerts: each fires on series that show its trouble, keeps silent on series that come near to it, and is in the runbook.

promtool runs the rules on made-up series, a sample per minute (`VALUExN`, `A+BxN`, as promtool writes them).
"""
import re
import subprocess

import pytest
import yaml
from support import chart_files

RULES = chart_files.ROOT / "deploy" / "prometheus" / "keyroll.rules.yaml"
RUNBOOK = chart_files.ROOT / "deploy" / "RUNBOOK.md"
LED = ('keyroll_leader{instance="a"}', "1x600")
STANDBY = ('keyroll_leader{instance="b"}', "0x600")
STATE = 'keyroll_licences{{instance="a",state="{}"}}'
IAM_DONE = ('keyroll_aws_call_duration_seconds_count{instance="w",operation="ListAccessKeys"}', "0+100x600")


def failed(code, values, operation="ListAccessKeys"):
    return (f'keyroll_aws_call_failures_total{{instance="w",operation="{operation}",code="{code}"}}', values)


def due(what, values, instance="a"):
    return (f'keyroll_due{{instance="{instance}",what="{what}"}}', values)


def in_flight(values):
    return 'keyroll_jobs_in_flight{instance="w"}', values


def budget_waiting(values):
    return 'keyroll_budget_waiting{instance="w",account="123456789012",family="write"}', values


def breaker(name, values):
    return f'keyroll_breaker_state{{instance="w",breaker="{name}"}}', values


WAITING_NONE = ('keyroll_rotations_waiting{instance="a"}', "0x600")
NOTHING_DONE = ('keyroll_jobs_total{instance="w",kind="rotate",outcome="done"}', "7x600")
ONE_A_MINUTE = ('keyroll_jobs_total{instance="w",kind="rotate",outcome="done"}', "0+1x600")

# alert: (minutes, series on which it fires, further cases on which it does not)
CASES = {
    "KeyrollWorkersDown": (6, [LED], [[('keyroll_jobs_in_flight{instance="w"}', "0x600")]]),
    "KeyrollSchedulerDown": (6, [('keyroll_jobs_in_flight{instance="w"}', "0x600")], [[LED]]),
    "KeyrollNoLeader": (6, [STANDBY], [[LED, STANDBY], []]),
    "KeyrollNotReady": (16, [('keyroll_ready{instance="w"}', "0x600")],
                        [[('keyroll_ready{instance="w"}', "0x10 1 0x600")], [('keyroll_ready{instance="w"}', "1x600")]]),
    "KeyrollRedisDown": (6, [('keyroll_redis_connected{instance="w"}', "0x600")],
                         [[('keyroll_redis_connected{instance="w"}', "0x2 1 0x600")], [('keyroll_redis_connected{instance="w"}', "1x600")]]),
    "KeyrollLoopSlow": (11, [('keyroll_loop_turn_p99_seconds{instance="w"}', "0.6x600")],
                        [[('keyroll_loop_turn_p99_seconds{instance="w"}', "0.4x600")]]),
    "KeyrollVersionsDiffer": (61, [('keyroll_build_info{version="1.0",instance="a"}', "1x600"), ('keyroll_build_info{version="1.1",instance="b"}', "1x600")],
                              [[('keyroll_build_info{version="1.0",instance="a"}', "1x600"), ('keyroll_build_info{version="1.0",instance="b"}', "1x600")]]),
    "KeyrollPartitionsLost": (10, [('keyroll_partition_changes_total{event="lost"}', "0x5 6x600")],
                              [[('keyroll_partition_changes_total{event="revoked"}', "0x5 6x600"), ('keyroll_partition_changes_total{event="lost"}', "6x600")]]),
    "KeyrollDeadLetters": (10, [('keyroll_jobs_total{kind="rotate",outcome="dead"}', "0x5 1x600")],
                           [[('keyroll_jobs_total{kind="rotate",outcome="dead"}', "3x600"), ('keyroll_jobs_total{kind="rotate",outcome="done"}', "0+5x600")]]),
    "KeyrollNoProgress": (50, [LED, due("rotate", "5x600"), WAITING_NONE, NOTHING_DONE],
                          [[LED, due("rotate", "5x600"), WAITING_NONE, ONE_A_MINUTE],
                           [LED, due("rotate", "5x600"), ('keyroll_rotations_waiting{instance="a"}', "5x600"), NOTHING_DONE],
                           [LED, STANDBY, due("rotate", "0x600"), due("rotate", "5x600", "b"), WAITING_NONE, NOTHING_DONE],
                           [LED, due("audit", "5x600"), due("held", "5x600"), due("rotate", "0x600"), WAITING_NONE, NOTHING_DONE]]),
    "KeyrollBacklogSlow": (130, [LED, due("rotate", "5000x600"), WAITING_NONE, ONE_A_MINUTE],
                           [[LED, due("rotate", "500x600"), WAITING_NONE, ONE_A_MINUTE],
                            [LED, due("rotate", "5000x600"), ('keyroll_rotations_waiting{instance="a"}', "4990x600"), ONE_A_MINUTE]]),
    "KeyrollJobHangs": (10, [('keyroll_job_oldest_age_seconds{instance="w"}', "4000+60x600")],
                        [[('keyroll_job_oldest_age_seconds{instance="w"}', "1800x600")]]),
    "KeyrollJobsUndelivered": (30, [('keyroll_jobs_undelivered_total{kind="rotate"}', "0+3x600")],
                               [[('keyroll_jobs_undelivered_total{kind="rotate"}', "9x600")]]),
    "KeyrollRecordsRestored": (10, [("keyroll_records_restored_total", "0x5 40x600")], [[("keyroll_records_restored_total", "40x600")]]),
    "KeyrollExposedKey": (11, [LED, due("exposed", "1x600")],
                          [[LED, due("exposed", "1x5 0x600")], [LED, STANDBY, due("exposed", "0x600"), due("exposed", "1x600", "b")]]),
    "KeyrollKeyTooOld": (61, [LED, ('keyroll_oldest_key_age_seconds{instance="a"}', "7800000x600")],
                         [[LED, ('keyroll_oldest_key_age_seconds{instance="a"}', "7700000x600")],
                          [LED, STANDBY, ('keyroll_oldest_key_age_seconds{instance="b"}', "7800000x600")]]),
    "KeyrollLicencesNeedAPerson": (11, [LED, (STATE.format("stuck"), "2x600")],
                                   [[LED, (STATE.format("current"), "2x600"), (STATE.format("excluded"), "2x600"), (STATE.format("stuck"), "0x600")]]),
    "KeyrollAwaitingOperator": (481, [LED, (STATE.format("awaiting operator"), "1x600")],
                                [[LED, (STATE.format("awaiting operator"), "1x470 0x600")]]),
    "KeyrollInventoryBadRows": (16, [("keyroll_inventory_bad_rows", "1x600")], [[("keyroll_inventory_bad_rows", "0x600")]]),
    "KeyrollCampaignStopped": (10, [("keyroll_campaigns_stopped_total", "0x5 1x600")], [[("keyroll_campaigns_stopped_total", "1x600")]]),
    "KeyrollAwsFailures": (30, [IAM_DONE, failed("AWS_FAILURE", "0+20x600")],
                           [[IAM_DONE, failed("AWS_FAILURE", "0+5x600")],
                            [IAM_DONE, failed("AWS_CREDENTIALS", "0+90x600", "GetCallerIdentity")]]),
    "KeyrollAwsThrottled": (30, [failed("AWS_THROTTLED", "0+20x600")], [[failed("AWS_THROTTLED", "0+5x600")], [failed("AWS_FAILURE", "0+20x600")]]),
    "KeyrollBudgetBinds": (70, [in_flight("100x600"), budget_waiting("60x600")],
                           [[in_flight("100x600"), budget_waiting("40x600")], [in_flight("0x600"), budget_waiting("0x600")],
                            [in_flight("100x600"), budget_waiting("60x50 0x600")], [in_flight("100x600")]]),
    "KeyrollBreakerOpen": (20, [breaker("aws 123456789012", "0x2 2x600")],
                           [[breaker("aws 123456789012", "2x10 0x600")], [breaker("aws 123456789012", "1x600")], [breaker("redis", "2x600")]]),
    "KeyrollAwsDenied": (10, [failed("AWS_DENIED", "0+1x600")], [[failed("AWS_DENIED", "4x600")], [failed("AWS_DENIED", "0+1x600", "ListObjectsV2")]]),
    "KeyrollInstanceFailures": (40, [('keyroll_instance_call_failures_total{operation="read key",code="NET_CONNECT"}', "0+5x600"),
                                     ('keyroll_instance_call_duration_seconds_count{operation="read key"}', "0+10x600")],
                                [[('keyroll_instance_call_failures_total{operation="read key",code="NET_CONNECT"}', "0+1x600"),
                                  ('keyroll_instance_call_duration_seconds_count{operation="read key"}', "0+10x600")]]),
}


def rules():
    return {rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]}


def firing(alert, minutes, series, tmp_path):
    """True when promtool sees the alert firing after so many minutes."""
    text = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": name, "values": values} for name, values in series],
        "promql_expr_test": [{"expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)', "eval_time": f"{minutes}m",
                              "exp_samples": [{"labels": "{}", "value": 0}]}]}]}
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(text))
    done = subprocess.run(["promtool", "test", "rules", file], text=True, capture_output=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0 or re.search(r'got:.*"?\{\} [1-9E+]+|got: *"?.*[1-9]', said), said
    return done.returncode != 0


def test_rules_are_well_formed():
    subprocess.run(["promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES], check=True)
    for name, rule in rules().items():
        assert re.fullmatch("Keyroll[A-Za-z]+", name)
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["labels"]["component"] in ("worker", "scheduler", "any"), name
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, name


def test_every_alert_has_its_cases():
    assert set(CASES) == set(rules())
    assert all(silent for _, _, silent in CASES.values())


@pytest.mark.parametrize("alert", CASES)
def test_fires(alert, tmp_path):
    minutes, series, _ = CASES[alert]
    assert firing(alert, minutes, series, tmp_path)


@pytest.mark.parametrize("alert, number", [(alert, i) for alert, case in CASES.items() for i in range(len(case[2]))])
def test_keeps_silent(alert, number, tmp_path):
    minutes, _, silent = CASES[alert]
    assert not firing(alert, minutes, silent[number], tmp_path)


def test_every_alert_has_its_section_in_the_runbook():
    sections = re.findall(r"^## (Keyroll\w+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(rules()) and len(set(sections)) == len(sections)
    for name, rule in rules().items():
        assert rule["annotations"]["runbook_url"] == f"deploy/RUNBOOK.md#{name.lower()}"
    for part in re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]:
        if part.startswith("Keyroll"):
            assert "**Means.**" in part and "**Look.**" in part and "**Do.**" in part, part.splitlines()[0]


def test_commands_of_the_runbook_exist():
    """Every `keyroll COMMAND` of the runbook is one of the program's."""
    commands = set(re.findall(r'^    \{"([a-z]+)",', (chart_files.ROOT / "producer" / "main.c").read_text(), re.MULTILINE))
    named = set(re.findall(r"`keyroll ([a-z]+)", RUNBOOK.read_text()))
    assert commands and named <= commands, named - commands
