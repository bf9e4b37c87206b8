"""The instruments themselves: servers restart with their data, the search for secrets finds what is there."""
import base64
import json
import urllib.parse

import boto3
import botocore.config
import botocore.exceptions
import pytest
import requests

from support import leaks, pace, proxy, servers, synergist, tls

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYzEXAMPLEKE"  # made up, with the characters that are encoded


@pytest.mark.parametrize("shape", [
    lambda secret: secret,
    lambda secret: secret[:25],
    lambda secret: urllib.parse.quote(secret, safe=""),
    lambda secret: urllib.parse.quote(secret, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    lambda secret: base64.b64encode(b"x" + secret.encode() + b"yz").decode(),
    lambda secret: base64.b64encode(b"xy" + secret.encode()).decode(),
    lambda secret: base64.urlsafe_b64encode(secret.encode() + b"q").decode(),
    lambda secret: json.dumps({"a": secret}).replace("/", "\\/"),
    lambda secret: secret.encode().hex(),
], ids=["raw", "cut", "percent", "percent-lower", "base64-1", "base64-2", "base64-url", "json", "hex"])
def test_planted_secret_is_found(tmp_path, shape):
    (tmp_path / "log").write_text("before " + shape(SECRET) + " after\n")
    assert leaks.search([tmp_path], {"mine": SECRET}) == [f"{tmp_path}/log: holds secret mine"]


def test_clean_and_excluded_files_are_not_reported(tmp_path):
    (tmp_path / "log").write_text("nothing here\n")
    (tmp_path / "credentials").write_text(SECRET)
    assert leaks.search([tmp_path], {"mine": SECRET}, exclude=[tmp_path / "credentials"]) == []


def test_search_refuses_to_search_nothing(tmp_path):
    with pytest.raises(ValueError):
        leaks.search([tmp_path], {"mine": SECRET})


def test_secret_in_a_topic_is_found(tmp_path, kafka):
    kafka.create_topics(2, "support.leak")
    kafka.produce("support.leak", json.dumps({"secret": SECRET}), key="k", headers={"h": "v"})
    dump = leaks.dump_topics(kafka, tmp_path / "topics", "support.leak")
    assert leaks.search([dump], {"mine": SECRET})


def test_kafka_and_redis_keep_their_data_over_a_restart(kafka, redis_server):
    kafka.create_topics(3, "support.restart")
    place = kafka.produce("support.restart", b"kept", key="k")
    redis_server.client().set("a", "kept")
    kafka.restart(hard=True)
    redis_server.restart()
    kept = [(message.partition(), message.offset(), message.value()) for message in kafka.messages("support.restart")]
    assert kept == [(*place, b"kept")]
    assert redis_server.client().get("a") == "kept"


def test_redis_asks_for_its_password(tmp_path):
    with servers.RedisServer(tmp_path, password="a-password") as server:
        assert server.client().ping()
        with pytest.raises(servers.redis.exceptions.AuthenticationError):
            server.client(password=None).ping()


def test_moto_checks_keys_signatures_and_policies(moto):
    def client(service, **keys):
        return boto3.client(service, endpoint_url=moto.url, region_name="eu-west-1", **keys)

    setup = {"aws_access_key_id": "setup", "aws_secret_access_key": "setup"}
    iam = client("iam", **setup)
    iam.create_user(UserName="u")
    key = iam.create_access_key(UserName="u")["AccessKey"]
    pair = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    moto.require_authorisation()
    assert client("sts", **pair).get_caller_identity()["Arn"].endswith("user/u")
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        client("iam", **pair).list_users()
    assert refused.value.response["Error"]["Code"] == "AccessDenied"
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        client("sts", **{**pair, "aws_secret_access_key": "wrong"}).get_caller_identity()
    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_proxy_loses_a_reply_after_its_effect(moto):
    with proxy.LossyProxy(moto.url) as lossy:
        iam = boto3.client("iam", endpoint_url=lossy.url, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b",
                           config=botocore.config.Config(retries={"total_max_attempts": 1}))
        iam.create_user(UserName="u")
        lossy.lose("CreateAccessKey")
        with pytest.raises(botocore.exceptions.HTTPClientError):
            iam.create_access_key(UserName="u")
        assert len(iam.list_access_keys(UserName="u")["AccessKeyMetadata"]) == 1
        assert lossy.arrived["CreateAccessKey"] == 1


@pytest.mark.parametrize("days, accepted", [(30, True), (-1, False)])
def test_certificates_expire(tmp_path, days, accepted):
    authority = tls.Authority(tmp_path)
    with synergist.Instances(tmp_path, {}, "http://127.0.0.1:1", tls=authority.certificate(days=days), uses_per_s=0) as instances:
        if accepted:
            assert requests.get(f"{instances.url}/_admin/ready", verify=str(authority.path), timeout=10).ok
        else:
            with pytest.raises(requests.exceptions.SSLError):
                requests.get(f"{instances.url}/_admin/ready", verify=str(authority.path), timeout=10)


def paced(*samples):
    """A Pace that saw these (second, jobs so far)."""
    made = pace.Pace(fleet=None)
    made.seen = list(samples)
    return made


def test_pace_by_second_begins_with_what_was_done_before():
    seen = paced((10.1, 228), (10.9, 231), (11.9, 233), (12.9, 238), (13.9, 239))
    assert seen.by_second(10.0, 13.0) == [3, 2, 5], "not 231 in the first second"


def test_pace_finds_the_slowest_window():
    steady = [(second, 4 * second) for second in range(20)]
    still = [(second, 80) for second in range(20, 26)]  # no job in 5 s
    after = [(second, 80 + 4 * (second - 25)) for second in range(26, 50)]
    seen = paced(*steady, *still, *after)
    assert seen.rate(0, 19) == 4
    assert seen.slowest(0, 49) == pytest.approx(4 * (pace.WINDOW_S - 5) / pace.WINDOW_S)
