"""The policies of deploy/iam are enough for the whole life of a key, and allow nothing beside it.

The action lists alone are tried on moto (test_moto.py: the programs' user has exactly those, with the resource opened, since
moto scopes no IAM resource). Here the sandbox enforces the documents as they are, resources included, over two accounts.
"""
import json

import boto3
import botocore.exceptions
import pytest

from support import deployment, fleet, sandbox

ACCOUNTS = ["100000000001", "100000000002"]


@pytest.fixture
def bound(tmp_path):
    """A fleet over two accounts whose rotator and role may do what the shipped policies say."""
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(fleet.shipped_policy("account-role", "assume-role", accounts=ACCOUNTS)))
    with sandbox.SandboxFleet(tmp_path, 20, accounts=2, policy=policy, user_path="/", role_name="keyroll",
                              new_key_delay_ms="100-500") as made:
        yield made


def clients(bound):
    """Returns boto3's IAM client of the role in the first account."""
    pair = bound.endpoints["rotator"]
    common = {"endpoint_url": bound.url, "region_name": bound.endpoints["region"]}
    sts = boto3.client("sts", aws_access_key_id=pair["access_key_id"], aws_secret_access_key=pair["secret_access_key"], **common)
    given = sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNTS[0]}:role/keyroll", RoleSessionName="test")["Credentials"]
    return boto3.client("iam", region_name="us-east-1", endpoint_url=bound.url, aws_access_key_id=given["AccessKeyId"], aws_secret_access_key=given["SecretAccessKey"],
                        aws_session_token=given["SessionToken"])


def test_whole_life_over_two_accounts(tmp_path, kafka, redis_server, bound):
    with deployment.Deployment(tmp_path, kafka, redis_server, bound, aws_role_template="arn:aws:iam::{account}:role/keyroll") as made:
        made.topics_apply()
        made.worker()
        made.scheduler()
        made.wait_stage("current", 120)
        assert made.finish("current") == []


def test_nothing_beside_the_instances_users(bound):
    iam = clients(bound)
    own = next(row["user"] for row in bound.rows() if row["account"] == ACCOUNTS[0])
    assert iam.list_access_keys(UserName=own)["AccessKeyMetadata"]
    for call, arguments in [("create_access_key", {}), ("list_access_keys", {}), ("delete_access_key", {"AccessKeyId": "AKIA" + "A" * 16}),
                            ("update_access_key", {"AccessKeyId": "AKIA" + "A" * 16, "Status": "Inactive"})]:
        with pytest.raises(botocore.exceptions.ClientError) as refused:
            getattr(iam, call)(UserName="rotator", **arguments)
        assert refused.value.response["Error"]["Code"] == "AccessDenied", call
