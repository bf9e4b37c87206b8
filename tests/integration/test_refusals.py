"""What is refused ends in a clear line and a named state, and disturbs nothing else: settings, messages, instances."""
import json

import pytest

from support import deployment, fleet, ledger, servers, tls
from support.processes import free_port, wait_for
from support.proxy import LossyProxy
from support.synergist import Instances


@pytest.fixture
def small(tmp_path, moto):
    with fleet.MotoFleet(tmp_path, moto, 6, uses_per_s=5) as made:
        yield made


@pytest.fixture
def installed(tmp_path, kafka, redis_server, small):
    with deployment.Deployment(tmp_path, kafka, redis_server, small) as made:
        made.topics_apply()
        yield made


def untouched(row):
    """True when a licence holds what it held at the start: its first key, Active, and nothing else."""
    return row.distinct() == [row.first_key] and row.keys == {row.first_key: "Active"}


def complaint_of(process, *words, timeout_s=30):
    """Waits until the process has said all the words in its log, in one line, at level warn or error."""
    def said():
        for line in process.logged():
            text = json.dumps(line).lower()
            if line.get("level", "error") in ("warn", "error") and all(word.lower() in text for word in words):
                return text
        return None
    try:
        return wait_for(f"{process.name} to say {words}", said, timeout_s)
    except TimeoutError:
        raise AssertionError(f"{process.name} never said {words}\n{process.tail()}") from None


# ---- settings and servers ------------------------------------------------------------------------------------------


def test_wrong_redis_password(tmp_path, kafka, small):
    with servers.RedisServer(tmp_path, name="locked", password="the-right-password") as locked, \
            deployment.Deployment(tmp_path, kafka, locked, small, redis_password="the-wrong-password") as made:
        made.topics_apply()
        worker = made.worker(start=False)
        worker.spawn()
        complaint_of(worker, "redis", "password")
        assert not worker.ready()
        status = made.keyroll.run("status", check=False)
        assert status.status == 1 and "redis" in status.err.lower() and "password" in status.err.lower(), status
        assert "the-wrong-password" not in worker.log.read_text() + status.err + status.out


def test_wrong_broker(installed):
    worker = installed.worker(start=False, brokers=f"127.0.0.1:{free_port()}")
    worker.spawn()
    complaint_of(worker, "broker")
    assert not worker.ready()
    assert worker.running(), "an absent broker is waited for"
    assert worker.drain() == 0


def test_wrong_aws_key(installed, small):
    installed.env["AWS_SECRET_ACCESS_KEY"] = "this-is-not-the-secret-of-that-key-00000"
    worker = installed.worker()
    installed.scheduler()
    complaint_of(worker, "SignatureDoesNotMatch", timeout_s=60)
    assert all(untouched(row) for row in small.books())


def test_short_waits_are_for_loopback_only(installed):
    done = installed.keyroll.run("plan", "--aws-endpoint", "https://aws.example.com", check=False)
    assert done.status == 2 and "loopback" in done.err, done


def test_unreadable_inventory(installed, tmp_path):
    absent = tmp_path / "absent.csv"
    done = installed.keyroll.run("inventory check", absent, check=False)
    assert done.status not in (0, 2) and str(absent) in done.err and len(done.err.strip().splitlines()) <= 2, done
    scheduler = installed.scheduler(start=False, inventory=absent)
    scheduler.spawn()
    complaint_of(scheduler, str(absent))


def test_bad_inventory_rows_are_told_and_good_ones_go_on(installed, small, tmp_path):
    lines = small.inventory.read_text().splitlines()
    bad = lines[1].split(",")
    bad[1] = "not-an-account"
    mixed = tmp_path / "mixed.csv"
    mixed.write_text("\n".join([lines[0], ",".join(bad), *lines[2:]]) + "\n")
    done = installed.keyroll.run("inventory check", mixed, check=False)
    assert done.status != 0 and "2" in done.out + done.err and "account" in done.out + done.err, done
    plan = installed.keyroll.run("plan", "--inventory", mixed, check=False)
    assert small.names[1] in plan.out, plan


# ---- messages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, words", [
    (b"\x00\xffnot json", ("json",)),
    (b'{"version": "keyroll.job/1", "kind": "rotate"}', ()),
    (b'{"version": "keyroll.job/99", "kind": "rotate"}', ("version",)),
    (b'{"pad": "' + b"x" * 12000 + b'"}', ("larger than",)),
], ids=["malformed", "incomplete", "unknown-version", "oversized"])
def test_bad_message_goes_to_the_dead_letters(installed, kafka, small, value, words):
    jobs, dead = f"{installed.name}.jobs", f"{installed.name}.dead"
    worker = installed.worker()
    installed.foreign.append(value)
    for partition in range(kafka.topics()[jobs]):
        kafka.produce(jobs, value, key=f"{fleet.ACCOUNT}/nobody", partition=partition)
    count = kafka.topics()[jobs]
    letters = wait_for("dead letters", lambda: [found for found in [kafka.messages(dead)] if len(found) == count], 30)[0]
    text = b" ".join([letters[0].value() or b"", *(value or b"" for _, value in letters[0].headers() or [])]).decode(errors="replace")
    assert all(word in text.lower() for word in words), text[:2000]
    assert len(letters[0].value()) < 200000
    installed.scheduler()
    installed.wait_stage("current", 90)
    assert worker.running()
    assert installed.finish("current", dead_letters=len(letters)) == []


# ---- instances -----------------------------------------------------------------------------------------------------


def test_bad_instances_do_not_disturb_the_others(installed, small, tmp_path):
    plain = {name for name, book in small.instances.books().items() if book["dialect"] != "html"}  # a bare page has no number
    refused = next(name for name in small.names if name in plain)
    unreachable, expired, *good = [name for name in small.names if name != refused]
    old = tls.Authority(tmp_path).certificate("expired", days=-1)
    rows = {name: small.rows[name] for name in small.names}
    with Instances(tmp_path, {}, small.moto.url, tls=old, uses_per_s=0, name="expired") as behind_old_certificate:
        rows[unreachable].url = f"http://127.0.0.1:{free_port()}"
        rows[expired].url = behind_old_certificate.instance_url(expired)
        small.instances.fault(refused, refuse_login=True)
        fleet.write_inventory(tmp_path, rows.values())
        installed.worker(ca_file=tmp_path / "ca.pem")
        installed.scheduler()
        wait_for("the good ones", lambda: all(ledger.first_complaint([row], "current") is None for row in small.books()
                                              if row.name in good), 90, poll_s=1)
        bad = [row for row in small.books() if row.name not in good]
        assert all(untouched(row) for row in bad), bad
        told = {one["licence"]: one for one in installed.keyroll.status()["licences"]}
        for name in (unreachable, refused, expired):
            assert told[name]["reason"] and told[name]["state"] in ("retry", "failed", "awaiting operator"), told[name]
        assert "404002" in told[refused]["reason"] or "login" in told[refused]["reason"].lower()
        assert "certificate" in told[expired]["reason"].lower()
        assert installed.leaks() == []


# ---- replies that are lost after their effect ----------------------------------------------------------------------


def test_lost_reply_to_a_create_is_never_sent_again(tmp_path, kafka, redis_server, moto):
    with fleet.MotoFleet(tmp_path, moto, 3, uses_per_s=5) as small, LossyProxy(moto.url) as lossy, \
            deployment.Deployment(tmp_path, kafka, redis_server, small) as made:
        made.env["AWS_ENDPOINT_URL"] = lossy.url
        lossy.lose("CreateAccessKey", 1)
        made.topics_apply()
        made.worker()
        made.scheduler()
        made.wait_stage("current", 120)
        assert lossy.arrived["CreateAccessKey"] == 4, "one for each licence, and one more for the lost reply"
        assert made.finish("current") == []


def test_lost_reply_to_a_write_is_read_back(installed, small):
    for name in small.names[:3]:
        small.instances.fault(name, close_after_write=1)
    installed.worker()
    installed.scheduler()
    installed.wait_stage("current", 90)
    assert installed.finish("current") == []
