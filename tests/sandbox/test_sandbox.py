"""keyroll-sandbox against clients that are not ours: boto3 for AWS, requests for the instances.

Whether the sandbox behaves as the documented services do is checked with signers and parsers written by others.
Needs boto3, requests and pytest; KEYROLL_SANDBOX names the binary.
"""
import concurrent.futures
import contextlib
import csv
import datetime
import hashlib
import json
import os
from pathlib import Path
import signal
import socket
import stat
import subprocess
import time

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError
from botocore.parsers import ResponseParserError
import pytest
import requests

QUICK = "SANITIZED" not in os.environ  # a sanitized binary may be slow
ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("KEYROLL_SANDBOX", str(ROOT / "build/release/tests/sandbox/keyroll-sandbox"))
BENCH = Path(BINARY).with_name("keyroll-sandbox-bench")
NO_RETRIES = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, signature_version="v4")


class Sandbox:
    """One running sandbox. options: command line options, name -> value (True: no value)."""

    def __init__(self, folder, **options):
        self.folder = folder
        argv = [BINARY, "--endpoints-file", str(folder / "endpoints.json"), "--write-inventory", str(folder / "inventory"),
                "--die-with-parent"]
        for name, value in {"licences": 4, **options}.items():
            argv += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.line = self.process.stdout.readline()
        assert self.line.startswith("ready "), self.line
        self.endpoints = json.loads((folder / "endpoints.json").read_text())
        self.url = self.endpoints["url"] or self.endpoints["tls_url"]
        self.passwords = json.loads((folder / "inventory/credentials").read_text())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.process.stdout.close()
        return code

    def client(self, service, pair=None, region=None, url=None, **more):
        pair = pair or self.endpoints["admin"]
        region = region or ("us-east-1" if service == "iam" else "eu-west-1")
        config = NO_RETRIES.merge(Config(signature_version="s3v4")) if service == "s3" else NO_RETRIES
        return boto3.client(service, endpoint_url=url or self.url, region_name=region, config=config.merge(more.pop("config", Config())),
                            aws_access_key_id=pair["access_key_id"], aws_secret_access_key=pair["secret_access_key"],
                            aws_session_token=pair.get("session_token"), **more)

    def control(self, method, call, body=None, **params):
        answer = requests.request(method, f"{self.url}/_control/{call}", params=params, timeout=30,
                                  data=None if body is None else json.dumps(body))
        assert answer.ok, answer.text
        return answer.json()

    def book(self, licence="L000001"):
        return self.control("GET", "books", licence=licence)["licences"][licence]

    def totals(self):
        return self.control("GET", "books", summary=1)

    def new_key(self, licence="L000001"):
        made = self.client("iam").create_access_key(UserName=f"SynergistExpress-{licence}")["AccessKey"]
        return {"access_key_id": made["AccessKeyId"], "secret_access_key": made["SecretAccessKey"]}

    def stored(self, licence="L000001"):
        """The pair in the instance."""
        key_id = self.book(licence)["stored_key_id"]
        secret = next(k["secret"] for k in self.control("GET", "secrets")["keys"] if k["access_key_id"] == key_id)
        return {"access_key_id": key_id, "secret_access_key": secret}

    def instance(self, area="system", licence="L000001", api="jsonapi", how="multipart", login=True, **params):
        form = {**({**self.passwords[licence], "version": "4"} if login else {}), **params}
        form = {name: value for name, value in form.items() if value is not None}
        url = f"{self.url}/{licence}/{api}/{area}.{'json' if api.lower() == 'jsonapi' else 'xml'}"
        if how == "get":
            return requests.get(url, params=form, timeout=30)
        if how == "form":
            return requests.post(url, data=form, timeout=30)
        return requests.post(url, files={name: (None, value) for name, value in form.items()}, timeout=30)

    def write(self, pair, licence="L000001", **more):
        return self.instance(licence=licence, action="update", input=json.dumps({"data": [{
            "systemparameters_iamaccesskey": pair["access_key_id"], "systemparameters_iamsecretkey": pair["secret_access_key"], **more}]}))

    def read(self, licence="L000001"):
        return self.instance(licence=licence, style="modeldata", modelstructure="systemdetails")


@pytest.fixture
def start(tmp_path):
    """Starts sandboxes for a test; each has to end cleanly."""
    started = []

    def one(**options):
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Sandbox(folder, **options))
        return started[-1]
    yield one
    assert [each.stop() for each in started] == [0] * len(started)


@pytest.fixture
def sandbox(start):
    return start()


@contextlib.contextmanager
def refused(code, http=None):
    with pytest.raises(ClientError) as caught:
        yield caught
    assert caught.value.response["Error"]["Code"] == code
    if http:
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == http


def until(check, timeout_s=10):
    end = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


USER = "SynergistExpress-L000001"
BUCKET = "synergist-l000001"


# ---- keys --------------------------------------------------------------------------------------------------

def test_life_of_a_key(sandbox):
    iam = sandbox.client("iam")
    first = iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]
    assert [key["Status"] for key in first] == ["Active"]
    assert datetime.datetime.now(datetime.timezone.utc) - first[0]["CreateDate"] > datetime.timedelta(days=99)
    pair = sandbox.new_key()
    assert sandbox.client("sts", pair).get_caller_identity()["Arn"].endswith(f":user/synergist/{USER}")
    iam.update_access_key(UserName=USER, AccessKeyId=pair["access_key_id"], Status="Inactive")
    with refused("InvalidClientTokenId", 403):
        sandbox.client("sts", pair).get_caller_identity()
    with refused("InvalidAccessKeyId", 403):
        sandbox.client("s3", pair).list_objects_v2(Bucket=BUCKET)
    iam.update_access_key(UserName=USER, AccessKeyId=pair["access_key_id"], Status="Active")
    assert sandbox.client("s3", pair).list_objects_v2(Bucket=BUCKET)["KeyCount"] == 3
    iam.delete_access_key(UserName=USER, AccessKeyId=pair["access_key_id"])
    with refused("NoSuchEntity", 404):
        iam.delete_access_key(UserName=USER, AccessKeyId=pair["access_key_id"])
    assert [key["AccessKeyId"] for key in iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]] == [first[0]["AccessKeyId"]]
    history = [event["status"] for event in sandbox.book()["keys"][1]["history"]]
    assert history == ["Active", "Inactive", "Active", "Deleted"]


def test_quota_counts_inactive_keys_too(sandbox):
    pair = sandbox.new_key()
    sandbox.client("iam").update_access_key(UserName=USER, AccessKeyId=pair["access_key_id"], Status="Inactive")
    with refused("LimitExceeded", 409):
        sandbox.new_key()


def test_names(sandbox):
    iam = sandbox.client("iam")
    with refused("NoSuchEntity", 404):
        iam.list_access_keys(UserName="SynergistExpress-none")
    assert iam.get_user(UserName=USER.upper())["User"]["UserName"] == USER  # unique without regard to case
    assert [key["UserName"] for key in iam.list_access_keys()["AccessKeyMetadata"]] == ["keyroll-operator"]  # the caller's own
    empty = requests.Request("POST", sandbox.url, data={"Action": "ListAccessKeys", "Version": "2010-05-08", "UserName": ""})
    assert "keyroll-operator" in signed(sandbox, empty).text


def signed(sandbox, request, service="iam", region="us-east-1", pair=None, at=None, change=None):
    """Signs a request with botocore's signer and sends it; change(headers) may spoil it afterwards."""
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    pair = pair or sandbox.endpoints["admin"]
    prepared = request.prepare()
    raw = AWSRequest(method=prepared.method, url=prepared.url, data=prepared.body or b"",
                     headers={"Content-Type": prepared.headers["Content-Type"]} if "Content-Type" in prepared.headers else {})
    auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials(pair["access_key_id"], pair["secret_access_key"]), service, region)
    if at:
        import botocore.auth
        real = botocore.auth.get_current_datetime
        botocore.auth.get_current_datetime = lambda *a, **k: at.replace(tzinfo=None)
        try:
            auth.add_auth(raw)
        finally:
            botocore.auth.get_current_datetime = real
    else:
        auth.add_auth(raw)
    headers = dict(raw.headers)
    if change:
        change(headers)
    return requests.request(prepared.method, prepared.url, data=prepared.body, headers=headers, timeout=30,
                            allow_redirects=False)


def whoami(sandbox):
    return requests.Request("POST", sandbox.url + "/", data={"Action": "GetCallerIdentity", "Version": "2011-06-15"})


def code_of(answer):
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]


# ---- signatures --------------------------------------------------------------------------------------------

def test_wrong_secret_and_unknown_key(sandbox):
    admin = sandbox.endpoints["admin"]
    wrong = {**admin, "secret_access_key": "x" * 40}
    with refused("SignatureDoesNotMatch", 403):
        sandbox.client("iam", wrong).list_users()
    with refused("SignatureDoesNotMatch", 403):
        sandbox.client("s3", {**sandbox.stored(), "secret_access_key": "x" * 40}).list_objects_v2(Bucket=BUCKET)
    unknown = {**admin, "access_key_id": "AKIAAAAAAAAAAAAAAAAA"}
    with refused("InvalidClientTokenId", 403):
        sandbox.client("sts", unknown).get_caller_identity()
    with refused("InvalidAccessKeyId", 403):
        sandbox.client("s3", unknown).list_objects_v2(Bucket=BUCKET)


@pytest.mark.parametrize("minutes, code", [(0, ""), (4, ""), (-4, ""), (6, "SignatureDoesNotMatch"), (-6, "SignatureDoesNotMatch")])
def test_skew(sandbox, minutes, code):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    answer = signed(sandbox, whoami(sandbox), "sts", "eu-west-1", at=at)
    assert (answer.status_code, code_of(answer)) == (403 if code else 200, code)
    if code:
        assert ("not yet current" if minutes > 0 else "Signature expired") in answer.text


@pytest.mark.parametrize("minutes, code", [(14, ""), (-14, ""), (16, "RequestTimeTooSkewed"), (-16, "RequestTimeTooSkewed")])
def test_skew_of_s3(sandbox, minutes, code):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    answer = signed(sandbox, requests.Request("GET", f"{sandbox.url}/{BUCKET}?list-type=2&max-keys=1"), "s3", "eu-west-1",
                    sandbox.stored(), at)
    assert (answer.status_code, code_of(answer)) == (403 if code else 200, code)


def test_clock_offset_is_a_setting(sandbox):
    sandbox.control("POST", "settings", {"clock_offset_ms": 600000})
    answer = signed(sandbox, whoami(sandbox), "sts", "eu-west-1")
    assert code_of(answer) == "SignatureDoesNotMatch"
    from email.utils import parsedate_to_datetime
    ahead = parsedate_to_datetime(answer.headers["Date"]) - datetime.datetime.now(datetime.timezone.utc)
    assert 590 < ahead.total_seconds() < 610


def test_scope_and_form_of_the_signature(sandbox):
    answer = signed(sandbox, whoami(sandbox), "sts", "ap-south-1")
    assert code_of(answer) == "SignatureDoesNotMatch" and "valid region" in answer.text
    assert "correct service" in signed(sandbox, whoami(sandbox), "iam", "us-east-1").text
    assert code_of(requests.post(sandbox.url, data={"Action": "ListUsers", "Version": "2010-05-08"})) == "MissingAuthenticationToken"
    broken = signed(sandbox, whoami(sandbox), "sts", "eu-west-1", change=lambda h: h.update(Authorization="AWS4-HMAC-SHA256 Nothing"))
    assert (broken.status_code, code_of(broken)) == (400, "IncompleteSignature")
    spoilt = signed(sandbox, whoami(sandbox), "sts", "eu-west-1", change=lambda h: h.update({"X-Amz-Date": h["X-Amz-Date"].replace("Z", "z")}))
    assert spoilt.status_code in (400, 403)
    listing = requests.Request("GET", f"{sandbox.url}/{BUCKET}?list-type=2&prefix=a%2Fb&max-keys=1")
    assert signed(sandbox, listing, "s3", "eu-west-1", sandbox.stored()).status_code == 200
    wrong_region = signed(sandbox, listing, "s3", "us-east-1", sandbox.stored())
    assert (wrong_region.status_code, code_of(wrong_region)) == (400, "AuthorizationHeaderMalformed")
    assert "<Region>eu-west-1</Region>" in wrong_region.text
    no_hash = signed(sandbox, listing, "s3", "eu-west-1", sandbox.stored(), change=lambda h: h.pop("X-Amz-Content-SHA256"))
    assert no_hash.status_code == 400


def test_error_envelopes(sandbox):
    """IAM and STS put RequestId beside Error, S3 puts it inside a bare Error; HEAD has no body."""
    from xml.etree import ElementTree
    answer = requests.post(sandbox.url, data={"Action": "ListUsers", "Version": "2010-05-08"})
    root = ElementTree.fromstring(answer.text)
    assert [child.tag.rpartition("}")[2] for child in root] == ["Error", "RequestId"] and root.tag.endswith("}ErrorResponse")
    root = ElementTree.fromstring(requests.get(f"{sandbox.url}/{BUCKET}").text)
    assert root.tag == "Error" and root.find("RequestId") is not None and root.find("HostId") is not None
    head = requests.head(f"{sandbox.url}/{BUCKET}")
    assert (head.status_code, head.content) == (403, b"")


# ---- propagation -------------------------------------------------------------------------------------------

def test_new_keys_take_a_while(start):
    sandbox = start(new_key_delay_ms="300-600")
    sts = sandbox.client("sts", sandbox.new_key())
    began = time.monotonic()
    with refused("InvalidClientTokenId", 403):
        sts.get_caller_identity()

    def works():
        with contextlib.suppress(ClientError):
            return sts.get_caller_identity()
    until(works)
    assert 0.25 < time.monotonic() - began < 3


def test_status_changes_take_a_while(start):
    sandbox = start(status_delay_ms="400-500")
    pair = sandbox.new_key()
    sts, iam = sandbox.client("sts", pair), sandbox.client("iam")
    iam.delete_access_key(UserName=USER, AccessKeyId=pair["access_key_id"])
    sts.get_caller_identity()

    def fails():
        try:
            sts.get_caller_identity()
        except ClientError as error:
            return error.response["Error"]["Code"] == "InvalidClientTokenId"
    until(fails)


def test_flapping(start):
    sandbox = start(flap_ms=5000)
    sts = sandbox.client("sts", sandbox.new_key())
    seen = set()
    for _ in range(60):
        try:
            seen.add(bool(sts.get_caller_identity()))
        except ClientError:
            seen.add(False)
    assert seen == {True, False}


def test_lists_lag(start):
    sandbox = start(list_lag_ms="700-700")
    iam = sandbox.client("iam")
    pair = sandbox.new_key()

    def listed():
        return pair["access_key_id"] in [key["AccessKeyId"] for key in iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]]
    assert not listed()
    until(listed)


# ---- other IAM calls ---------------------------------------------------------------------------------------

def test_paging(start):
    sandbox = start(licences=250, accounts=1, short_pages=0.5)
    iam = sandbox.client("iam")
    pages = list(iam.get_paginator("list_users").paginate(PathPrefix="/synergist/", PaginationConfig={"PageSize": 40}))
    names = [user["UserName"] for page in pages for user in page["Users"]]
    assert len(names) == len(set(names)) == 250
    assert any(len(page["Users"]) < 40 and page["IsTruncated"] for page in pages)
    assert not any("Tags" in user for page in pages for user in page["Users"])
    details = [user for page in iam.get_paginator("get_account_authorization_details").paginate(Filter=["User"])
               for user in page["UserDetailList"]]
    tags = {user["UserName"]: {tag["Key"]: tag["Value"] for tag in user.get("Tags", [])} for user in details}
    assert tags["SynergistExpress-L000007"]["synergist:licence"] == "L000007"
    assert [tag["Key"] for tag in iam.list_user_tags(UserName=USER)["Tags"]] == [
        "synergist:bucket", "synergist:credentials", "synergist:instance", "synergist:licence", "synergist:profile", "synergist:region",
        "synergist:time-zone"]
    with refused("ValidationError", 400):
        iam.list_users(Marker="nonsense")
    assert iam.get_account_summary()["SummaryMap"]["AccessKeysPerUserQuota"] == 2


def test_last_used(sandbox):
    iam, pair = sandbox.client("iam"), sandbox.new_key()
    used = iam.get_access_key_last_used(AccessKeyId=pair["access_key_id"])
    assert used["UserName"] == USER
    assert used["AccessKeyLastUsed"] == {"ServiceName": "N/A", "Region": "N/A"}
    sandbox.client("sts", pair).get_caller_identity()
    used = iam.get_access_key_last_used(AccessKeyId=pair["access_key_id"])["AccessKeyLastUsed"]
    assert (used["ServiceName"], used["Region"]) == ("sts", "eu-west-1") and used["LastUsedDate"]
    with refused("AccessDenied", 403):
        iam.get_access_key_last_used(AccessKeyId="AKIAAAAAAAAAAAAAAAAA")


def test_credential_report(start):
    sandbox = start(report_ms=400, report_life_ms=1500)
    iam = sandbox.client("iam")
    with refused("ReportNotPresent", 410):
        iam.get_credential_report()
    assert iam.generate_credential_report()["State"] == "STARTED"
    assert iam.generate_credential_report()["State"] == "INPROGRESS"
    with refused("ReportInProgress", 404):
        iam.get_credential_report()
    until(lambda: iam.generate_credential_report()["State"] == "COMPLETE")
    report = iam.get_credential_report()
    assert not report["Content"].endswith(b"\n")
    rows = list(csv.DictReader(report["Content"].decode().split("\n")))
    assert rows[0]["user"] == "<root_account>" and len(rows) == 7
    row = next(row for row in rows if row["user"] == USER)
    assert (row["access_key_1_active"], row["access_key_2_active"], row["access_key_2_last_rotated"]) == ("true", "false", "N/A")
    assert sandbox.book()["stored_key_id"] not in report["Content"].decode()
    sandbox.new_key()
    assert iam.get_credential_report()["Content"] == report["Content"]  # the same bytes while it lives

    def expired():
        try:
            iam.get_credential_report()
        except ClientError as error:
            return error.response["Error"]["Code"] == "ReportExpired"
    until(expired)
    assert iam.generate_credential_report()["State"] == "STARTED"


def test_throttling(start):
    sandbox = start(iam_rate=5)
    iam, seen = sandbox.client("iam"), []
    for _ in range(12):
        try:
            iam.list_users()
            seen.append("")
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
            seen.append(f"{error.response['Error']['Code']}: {error.response['Error']['Message']}")
    assert seen[:5] == [""] * 5 and "Throttling: Rate exceeded" in seen
    sandbox.client("sts").get_caller_identity()  # another bucket
    iam.update_access_key(UserName=USER, AccessKeyId=sandbox.book()["stored_key_id"], Status="Active")  # writes have their own
    assert sandbox.totals()["throttled"] > 0


# ---- who may what ------------------------------------------------------------------------------------------

POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["iam:*AccessKey*", "iam:GetUser"], "Resource": "arn:aws:iam::*:user/synergist/SynergistExpress-*"},
    {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "arn:aws:iam::*:role/keyroll-rotator"},
    {"Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"},
    {"Effect": "Deny", "Action": "iam:DeleteAccessKey", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/synergist:licence": "L000003"}}},
]}


def assumed(sandbox, account=0, pair=None, **more):
    arn = sandbox.endpoints["accounts"][account]["role_arn"]
    given = sandbox.client("sts", pair).assume_role(RoleArn=arn, RoleSessionName="test-1", **more)["Credentials"]
    return {"access_key_id": given["AccessKeyId"], "secret_access_key": given["SecretAccessKey"], "session_token": given["SessionToken"]}


def test_policy_is_enforced(start, tmp_path):
    (tmp_path / "policy.json").write_text(json.dumps(POLICY))
    sandbox = start(policy=tmp_path / "policy.json")
    for pair in (sandbox.endpoints["rotator"], assumed(sandbox, pair=sandbox.endpoints["rotator"])):
        iam = sandbox.client("iam", pair)
        key = iam.create_access_key(UserName=USER)["AccessKey"]["AccessKeyId"]
        iam.delete_access_key(UserName=USER, AccessKeyId=key)
        iam.list_users()
        with refused("AccessDenied", 403):
            iam.create_access_key(UserName="keyroll-rotator")
        with refused("AccessDenied", 403):
            iam.list_access_keys(UserName="SynergistExpress-none")  # no path, so another ARN
        with refused("AccessDenied", 403):
            iam.get_account_summary()
        with refused("AccessDenied", 403) as caught:
            iam.delete_access_key(UserName="SynergistExpress-L000003", AccessKeyId=sandbox.book("L000003")["stored_key_id"])
        assert "explicit deny" in caught.value.response["Error"]["Message"]
        with refused("AccessDenied", 403):
            sandbox.client("s3", pair).list_objects_v2(Bucket=BUCKET)


def test_policy_with_unknown_parts_is_refused_at_start(tmp_path):
    bad = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"DateLessThan": {"aws:CurrentTime": "2030-01-01"}}}]}
    (tmp_path / "policy.json").write_text(json.dumps(bad))
    done = subprocess.run([BINARY, "--policy", tmp_path / "policy.json"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "unknown condition operator" in done.stderr


def test_assume_role(start):
    sandbox = start(accounts=3, external_id="ext-1234")
    with refused("AccessDenied", 403):
        assumed(sandbox, 1)
    pair = assumed(sandbox, 1, ExternalId="ext-1234")
    account = sandbox.endpoints["accounts"][1]["id"]
    me = sandbox.client("sts", pair).get_caller_identity()
    assert (me["Account"], me["Arn"]) == (account, f"arn:aws:sts::{account}:assumed-role/keyroll-rotator/test-1")
    iam = sandbox.client("iam", pair)
    assert iam.list_access_keys(UserName="SynergistExpress-L000002")["AccessKeyMetadata"]
    with refused("NoSuchEntity", 404):
        iam.list_access_keys(UserName=USER)  # lives in another account
    with refused("ValidationError", 400):
        iam.list_access_keys()  # a session has no user name of its own
    with refused("InvalidClientTokenId", 403):
        sandbox.client("iam", {**pair, "session_token": "other"}).list_users()
    with refused("AccessDenied", 403):
        sandbox.client("sts", sandbox.stored()).assume_role(RoleArn=sandbox.endpoints["accounts"][0]["role_arn"], RoleSessionName="xx",
                                                            ExternalId="ext-1234")
    sandbox.control("POST", "settings", {"clock-offset-ms": 3700000})
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3700)
    request = requests.Request("POST", sandbox.url + "/", data={"Action": "ListUsers", "Version": "2010-05-08"})
    late = signed(sandbox, request, pair=pair, at=at, change=lambda h: h.update({"X-Amz-Security-Token": pair["session_token"]}))
    assert (late.status_code, code_of(late)) == (403, "ExpiredToken")


def test_web_identity(start, tmp_path):
    (tmp_path / "token").write_text("header.payload.signature\n")
    sandbox = start(web_token_file=tmp_path / "token")
    from botocore import UNSIGNED
    sts = boto3.client("sts", endpoint_url=sandbox.url, region_name="eu-west-1", config=Config(signature_version=UNSIGNED))
    arn = sandbox.endpoints["accounts"][0]["role_arn"]
    given = sts.assume_role_with_web_identity(RoleArn=arn, RoleSessionName="pod", WebIdentityToken="header.payload.signature")["Credentials"]
    pair = {"access_key_id": given["AccessKeyId"], "secret_access_key": given["SecretAccessKey"], "session_token": given["SessionToken"]}
    assert sandbox.client("iam", pair).list_users()["Users"]
    with refused("InvalidIdentityToken", 400):
        sts.assume_role_with_web_identity(RoleArn=arn, RoleSessionName="pod", WebIdentityToken="wrong")


def test_instance_users_have_their_bucket_only(sandbox):
    pair = sandbox.stored()
    sandbox.client("sts", pair).get_caller_identity()
    assert sandbox.client("s3", pair).list_objects_v2(Bucket=BUCKET, MaxKeys=1)["IsTruncated"]
    with refused("AccessDenied", 403):
        sandbox.client("s3", pair).list_objects_v2(Bucket="synergist-l000002")
    with refused("AccessDenied", 403):
        sandbox.client("iam", pair).list_access_keys(UserName=USER)
    with refused("AccessDenied", 403):
        sandbox.client("iam", pair).list_access_keys()
    with refused("NoSuchBucket", 404):
        sandbox.client("s3", pair).list_objects_v2(Bucket="synergist-none")


# ---- S3 ----------------------------------------------------------------------------------------------------

def test_objects(sandbox):
    s3 = sandbox.client("s3", sandbox.stored())
    for key in ("plain.txt", "a b/ü=+&%.txt", "x//y"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"hello")
        assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"hello"
        assert s3.head_object(Bucket=BUCKET, Key=key)["ContentLength"] == 5
    keys = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, PaginationConfig={"PageSize": 2})
            for o in page["Contents"]]
    assert sorted(keys) == keys and set(keys) >= {"plain.txt", "a b/ü=+&%.txt", "x//y", "attachment_1.txt"}
    s3.delete_object(Bucket=BUCKET, Key="plain.txt")
    with refused("NoSuchKey", 404):
        s3.get_object(Bucket=BUCKET, Key="plain.txt")
    s3.head_bucket(Bucket=BUCKET)


def test_presigned_by_boto3(sandbox):
    s3 = sandbox.client("s3", sandbox.stored())
    put = s3.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "p/q r.txt"}, ExpiresIn=60)
    assert requests.put(put, data=b"data").status_code == 200
    get = s3.generate_presigned_url("get_object", {"Bucket": BUCKET, "Key": "p/q r.txt"}, ExpiresIn=60)
    assert requests.get(get).content == b"data"
    assert code_of(requests.get(get + "x")) == "SignatureDoesNotMatch"
    assert code_of(requests.put(get, data=b"")) == "SignatureDoesNotMatch"
    sandbox.control("POST", "settings", {"clock-offset-ms": 61000})
    late = requests.get(get)
    assert (late.status_code, code_of(late)) == (403, "AccessDenied") and "expired" in late.text


def test_virtual_hosts(sandbox):
    port = sandbox.endpoints["port"]
    query = "list-type=2&max-keys=1"

    def ask(host, path, region="eu-west-1"):
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        raw = AWSRequest("GET", f"http://{host}:{port}{path}?{query}")
        pair = sandbox.stored()
        S3SigV4Auth(Credentials(pair["access_key_id"], pair["secret_access_key"]), "s3", region).add_auth(raw)
        return requests.get(f"{sandbox.url}{path}?{query}", headers={**dict(raw.headers), "Host": f"{host}:{port}"}, allow_redirects=False)
    assert ask(f"{BUCKET}.s3.eu-west-1.localhost", "/").status_code == 200
    assert ask(f"{BUCKET}.s3.localhost", "/").status_code == 200
    assert ask("s3.eu-west-1.amazonaws.com", f"/{BUCKET}").status_code == 200
    wrong = ask(f"{BUCKET}.s3.us-west-2.localhost", "/", "us-west-2")
    assert (wrong.status_code, wrong.headers["x-amz-bucket-region"]) == (301, "eu-west-1")


# ---- instances ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["multipart", "form", "get"])
def test_version(sandbox, how):
    answer = sandbox.instance(how=how, action="version").json()
    assert answer["success"] is True and answer["errorcode"] == 0
    assert answer["data"][0]["variable_apiversion"] == "4" and len(answer["data"][0]["uuid"]) == 32


def test_log_in(sandbox):
    def error(**params):
        answer = sandbox.instance(action="version", **params)
        assert answer.status_code == 404
        return answer.text.partition('ErrorID="')[2][:6]
    assert error(login=False) == "404001"
    assert error(password="wrong") == "404002"
    assert error(user="somebody") == "404002"
    hashed = hashlib.sha512(sandbox.passwords["L000001"]["password"].encode()).hexdigest()
    assert sandbox.instance(action="version", password=None, sha512password=hashed).json()["success"]
    assert error(password=None, sha512password=hashed.upper()) == "404002"
    assert error(version=None) == "404004"
    sandbox.control("POST", "instance", {"licence": "L000001", "set": {"disabled": True}})
    assert error() == "404003"
    assert "404500" in sandbox.instance(licence="L000002", action="companylist").text
    assert sandbox.instance("nothing", licence="L000002").status_code == 404


def test_case_does_not_matter(sandbox):
    form = {**{name.upper(): value for name, value in sandbox.passwords["L000001"].items()}, "Version": "4", "ACTION": "Version"}
    assert requests.post(f"{sandbox.url}/l000001/jsonAPI/System.JSON", data=form).json()["success"]
    assert requests.post(sandbox.url + "/JSONAPI/system.json", data=form, headers={"Host": "l000001.i.localhost"}).json()["success"]


def test_write_and_read_back(sandbox):
    pair = sandbox.new_key()
    uuid = sandbox.instance(action="version").json()["data"][0]["uuid"]
    before = sandbox.read().json()["data"][0]
    written = sandbox.write(pair, uuid=uuid).json()
    assert written["success"] and written["warningmessage"] == "" and pair["access_key_id"] not in json.dumps(written)
    after = sandbox.read().json()["data"][0]
    assert after["systemparameters_iamaccesskey"] == pair["access_key_id"]
    assert after["systemparameters_iamsecretkey"] == "********"
    assert after["systemparametersrecordversionnumber"] == before["systemparametersrecordversionnumber"] + 1
    stale = sandbox.write(pair, systemparametersrecordversionnumber=before["systemparametersrecordversionnumber"])
    assert stale.status_code == 404
    assert sandbox.book()["stored_pair_matches"] and sandbox.instance(action="testaws").json()["success"]


def test_secrets_survive_the_wire(sandbox):
    """Plus, slash and blank in a secret come through multipart, form and XML unharmed."""
    secret = "a+b/c=d&e<f> g"
    for how in ("multipart", "form"):
        sandbox.instance(how=how, action="update", input=json.dumps({"data": [{
            "systemparameters_iamaccesskey": "AKIAAAAAAAAAAAAAAAAA", "systemparameters_iamsecretkey": secret + how}]}))
    xml = f"<data><systemparameters_iamsecretkey>{secret.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}</systemparameters_iamsecretkey></data>"
    answer = sandbox.instance(api="xmlapi", action="update", input=xml)
    assert "<SuccessText>data processed successfully.</SuccessText>" in answer.text
    assert sandbox.book()["stored_key_id"] == "AKIAAAAAAAAAAAAAAAAA"  # only the changed field was sent


def test_identifier_alone_deletes(sandbox):
    uuid = sandbox.instance(action="version").json()["data"][0]["uuid"]
    assert sandbox.instance(action="update", input=json.dumps({"data": [{"uuid": uuid}]})).json()["success"]
    assert sandbox.book()["stored_key_id"] is None
    assert sandbox.read().json()["data"][0]["systemparameters_iamaccesskey"] == ""


def test_presigned_by_the_instance(sandbox):
    row = sandbox.instance("attachments", attachmentid="2").json()["data"][0]
    key_id = sandbox.book()["stored_key_id"]
    assert f"X-Amz-Credential={key_id}%2F" in row["attachmentS3UrlGet"] and "X-Amz-Expires=86400" in row["attachmentS3UrlGet"]
    assert requests.get(row["attachmentS3UrlGet"]).text == "attachment 2 of L000001\n"
    assert requests.put(row["attachmentS3UrlPut"], data=b"new").status_code == 200
    assert requests.get(row["attachmentS3UrlGet"]).content == b"new"
    assert len(sandbox.instance("attachments").json()["data"]) == 3
    assert sandbox.instance("attachments", attachmentid="99").json()["data"] == []
    sandbox.client("iam").delete_access_key(UserName=USER, AccessKeyId=key_id)
    assert code_of(requests.get(row["attachmentS3UrlGet"])) == "InvalidAccessKeyId"
    until(lambda: sandbox.totals()["presign_breaks"] == 1)


@pytest.mark.parametrize("style, http, start_of_body", [
    ("xml", 404, '<?xml version="1.0" encoding="UTF-8"?>\n<Responses><Error ErrorID="404500"><ErrorText>invalid action x'),
    ("oldxml", 404, '<?xml version="1.0" encoding="UTF-8"?>\n<Errors><Error><ErrorID>404500</ErrorID>'),
    ("json", 404, '{"responsecode":0,'), ("json200", 200, '{"responsecode":0,'), ("html", 404, "<!DOCTYPE html>")])
def test_error_styles(sandbox, style, http, start_of_body):
    sandbox.control("POST", "instance", {"licence": "L000001", "set": {"error_style": style}})
    answer = sandbox.instance(action="x")
    assert answer.status_code == http and answer.text.startswith(start_of_body)


def test_flags(sandbox):
    def flags(licence="L000001", **flags):
        sandbox.control("POST", "instance", {"licence": licence, "set": flags})
    old, pair = sandbox.book()["stored_key_id"], sandbox.new_key()
    flags(write=False)
    assert "404500" in sandbox.write(pair).text and sandbox.book()["stored_key_id"] == old
    flags(write=True, lose_writes=True)
    assert sandbox.write(pair).json()["success"] and sandbox.book()["stored_key_id"] == old
    flags(lose_writes=False, show_old_ms=400)
    assert sandbox.write(pair).json()["success"] and sandbox.book()["stored_key_id"] == pair["access_key_id"]
    shown = lambda: sandbox.read().json()["data"][0]["systemparameters_iamaccesskey"]
    assert shown() == old
    until(lambda: shown() == pair["access_key_id"])
    flags(readback=False, test=False, presigned=False, show_old_ms=0)
    assert sandbox.read().status_code == 404 and sandbox.instance(action="testaws").status_code == 404
    assert sandbox.instance("attachments", attachmentid="1").json()["data"][0]["attachmentS3UrlGet"] == ""
    flags(readback=True, apply_delay_ms=300)
    sandbox.control("POST", "instance", {"licence": "L000001", "key": "restore-previous"})
    assert shown() == old
    sandbox.write(pair)
    assert shown() == old
    until(lambda: shown() == pair["access_key_id"])
    flags(login_refused=True)
    assert "404002" in sandbox.read().text
    flags(login_refused=False, mixed_case=True)
    assert sandbox.read().json()["Success"] is True
    flags(down=True)
    with pytest.raises(requests.ConnectionError):
        sandbox.read()
    flags(licence="L000002", slow_ms=300)
    began = time.monotonic()
    sandbox.instance(licence="L000002", action="version")
    assert time.monotonic() - began >= 0.3


# ---- books -------------------------------------------------------------------------------------------------

def test_books_of_a_rotation(start):
    sandbox = start(use_interval_ms=50, presign_life_ms=300)
    until(lambda: sandbox.totals()["instances_ok"] == 4)
    old, pair = sandbox.book()["stored_key_id"], sandbox.new_key()
    assert sandbox.book()["orphan_keys"] == [pair["access_key_id"]] and sandbox.totals()["orphan_keys"] == 1
    sandbox.write(pair)
    until(lambda: sandbox.book()["rotated"] == 1)
    book = sandbox.book()
    assert (book["orphan_keys"], book["predecessor_keys"]) == ([], [old]) and book["stored_history"] == [old, pair["access_key_id"]]
    time.sleep(0.4)  # the presigned URLs of the old key run out
    iam = sandbox.client("iam")
    iam.update_access_key(UserName=USER, AccessKeyId=old, Status="Inactive")
    iam.delete_access_key(UserName=USER, AccessKeyId=old)
    time.sleep(0.2)
    totals = sandbox.totals()
    assert {name: totals[name] for name in ("outages", "presign_breaks", "rotated", "creates", "updates", "deletes", "writes")} == {
        "outages": 0, "presign_breaks": 0, "rotated": 1, "creates": 1, "updates": 1, "deletes": 1, "writes": 1}
    counts = sandbox.control("GET", "requests", licence="L000001")
    assert counts["counts"]["iam.CreateAccessKey"] == 1 and counts["log"][-1]["action"] == "DeleteAccessKey"


def test_outage_and_presign_break(start):
    sandbox = start(use_interval_ms=50)
    until(lambda: sandbox.totals()["instances_ok"] == 4)
    key_id = sandbox.book()["stored_key_id"]
    iam = sandbox.client("iam")
    iam.update_access_key(UserName=USER, AccessKeyId=key_id, Status="Inactive")
    until(lambda: sandbox.book()["failing"])
    iam.update_access_key(UserName=USER, AccessKeyId=key_id, Status="Active")
    until(lambda: not sandbox.book()["failing"])
    totals = sandbox.totals()
    assert (totals["outages"], totals["presign_breaks"]) == (1, 1) and totals["outage_ms"] > 0 and totals["refused_uses"] >= 1


def test_wrong_secret_in_the_instance_is_an_outage(start):
    sandbox = start(use_interval_ms=50)
    until(lambda: sandbox.totals()["instances_ok"] == 4)
    sandbox.write({**sandbox.new_key(), "secret_access_key": "x" * 40})
    until(lambda: sandbox.book()["outages"] == 1)
    assert not sandbox.book()["stored_pair_matches"]
    assert "SignatureDoesNotMatch" in sandbox.instance(action="testaws").text


def test_odd_starts(start):
    mix = "expired=1,inactive=1,two-keys=1,inactive-second=1,none=1,no-readback=1,assisted=1,html-errors=1,mixed-case=1"
    sandbox = start(licences=10, mix=mix, use_interval_ms=50)
    until(lambda: sandbox.totals()["uses"] > 30)
    books = sandbox.control("GET", "books")["licences"]
    by_kind = {book["kind"]: book for book in books.values()}
    alive = {kind: sorted(key["status"] for key in book["keys"] if key["status"] != "Deleted") for kind, book in by_kind.items()}
    assert alive["expired"] == [] and by_kind["expired"]["stored_key_id"]
    assert alive["inactive"] == ["Inactive"] and alive["two-keys"] == ["Active", "Active"]
    assert alive["inactive-second"] == ["Active", "Inactive"] and alive["none"] == [] and by_kind["none"]["stored_key_id"] is None
    totals = sandbox.totals()
    assert (totals["outages"], totals["instances_never_accepted"], totals["unexplained_keys"]) == (0, 3, 2)  # the two seconds
    rows = {row["licence"]: row for row in csv.DictReader((sandbox.folder / "inventory/inventory.csv").open())}
    profiles = {books[name]["kind"]: row["profile"] for name, row in rows.items()}
    assert (profiles["no-readback"], profiles["assisted"], profiles["plain"]) == ("no-readback", "assisted", "default")
    assert rows["L000010"]["credentials"] == f"file:{(sandbox.folder / 'inventory/credentials').resolve()}#L000010"
    for name in ("endpoints.json", "inventory/credentials"):
        assert stat.S_IMODE((sandbox.folder / name).stat().st_mode) == 0o600


def test_strangers_and_people(sandbox):
    made = sandbox.control("POST", "stranger", {"licence": "L000001", "op": "create"})
    assert sandbox.book()["unexplained_keys"] == [made["access_key_id"]]
    sandbox.control("POST", "stranger", {"licence": "L000001", "op": "deactivate", "access_key_id": made["access_key_id"]})
    sandbox.control("POST", "stranger", {"licence": "L000001", "op": "delete"})
    assert sandbox.book()["keys"][1]["history"][-1] == {**sandbox.book()["keys"][1]["history"][-1], "status": "Deleted", "by": "stranger"}
    sandbox.control("POST", "stranger", {"licence": "L000002", "op": "create", "store": True})
    assert len(sandbox.book("L000002")["stored_history"]) == 2
    pair = sandbox.new_key()
    sandbox.control("POST", "instance", {"licence": "L000001", "set": {"write": False}})
    sandbox.control("POST", "paste", {"licence": "L000001", "access_key_id": pair["access_key_id"], "secret": pair["secret_access_key"]})
    assert sandbox.book()["stored_pair_matches"]
    added = sandbox.control("POST", "licences", {"count": 2, "kind": "two-keys"})
    assert [one["licence"] for one in added] == ["L000005", "L000006"] and len(sandbox.book("L000006")["keys"]) == 2
    sandbox.control("POST", "inventory", {"dir": str(sandbox.folder / "more")})
    assert "L000006" in (sandbox.folder / "more/inventory.csv").read_text()
    assert json.loads((sandbox.folder / "more/credentials").read_text())["L000006"]["password"] == added[1]["password"]


def test_secrets_and_stats(sandbox):
    pair = sandbox.new_key()
    given = sandbox.control("GET", "secrets")
    assert pair["secret_access_key"] in [key["secret"] for key in given["keys"]]
    assert sandbox.passwords["L000001"]["password"] in given["passwords"]
    stats = sandbox.control("GET", "stats")
    assert stats["classes"]["iam"]["requests"] == 1 and stats["actions"]["iam.CreateAccessKey"]["errors"] == 0
    assert stats["cpu_user_s"] >= 0 and stats["max_rss_kib"] > 1000


def test_seed_repeats(start):
    ids = [[book["stored_key_id"] for book in start(seed=seed).control("GET", "books")["licences"].values()] for seed in (7, 7, 8)]
    assert ids[0] == ids[1] != ids[2]


# ---- faults ------------------------------------------------------------------------------------------------

def fault(sandbox, effect, count=1, **match):
    sandbox.control("POST", "faults", [{"match": match, "effect": effect, "count": count}], replace=1)


def test_faults_without_effect(sandbox):
    iam = sandbox.client("iam")
    for effect, code, http in (("refuse:ServiceFailure:500", "ServiceFailure", 500), ("throttle", "Throttling", 400),
                               ("retry-after:1500", "Throttling", 400), ("refuse:AccessDenied:403", "AccessDenied", 403)):
        fault(sandbox, effect, action="CreateAccessKey")
        with refused(code, http) as caught:
            iam.create_access_key(UserName=USER)
        if effect.startswith("retry"):
            assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amz-retry-after"] == "1500"
    fault(sandbox, "close-before", action="CreateAccessKey")
    with pytest.raises(ConnectionClosedError):
        iam.create_access_key(UserName=USER)
    fault(sandbox, "timeout:300", action="CreateAccessKey")
    began = time.monotonic()
    with pytest.raises(ConnectionClosedError):
        iam.create_access_key(UserName=USER)
    assert time.monotonic() - began >= 0.29
    assert len(sandbox.book()["keys"]) == 1
    fault(sandbox, "redirect:http://127.0.0.1:1/", service="s3")
    answer = signed(sandbox, requests.Request("GET", f"{sandbox.url}/{BUCKET}?list-type=2"), "s3", "eu-west-1", sandbox.stored())
    assert (answer.status_code, answer.headers["Location"]) == (307, "http://127.0.0.1:1/")
    assert sandbox.control("GET", "faults")[0]["hits"] == 1


@pytest.mark.parametrize("effect, error", [("effect-then-close", ConnectionClosedError), ("effect-then-500", ClientError),
                                           ("delay-effect:300", ConnectionClosedError), ("close-then-effect:300", ConnectionClosedError),
                                           ("bad-xml", ResponseParserError)])
def test_faults_with_effect(sandbox, effect, error):
    fault(sandbox, effect, action="CreateAccessKey", user=USER)
    with pytest.raises(error):
        sandbox.client("iam").create_access_key(UserName=USER)
    until(lambda: len(sandbox.book()["keys"]) == 2)
    assert len(sandbox.book()["orphan_keys"]) == 1


def test_late_effect_outlives_its_client(sandbox):
    fault(sandbox, "delay-effect:500", action="CreateAccessKey")
    iam = sandbox.client("iam", config=Config(read_timeout=0.1))
    with pytest.raises(Exception, match="[Tt]imeout|timed out"):
        iam.create_access_key(UserName=USER)
    assert len(sandbox.book()["keys"]) == 1
    until(lambda: len(sandbox.book()["keys"]) == 2)


def test_slow_and_endless_replies(sandbox):
    fault(sandbox, "slow:300", service="iam")
    began = time.monotonic()
    sandbox.client("iam").list_users()
    assert time.monotonic() - began >= 0.3
    fault(sandbox, "endless-body", service="instance")
    with requests.post(f"{sandbox.url}/L000001/jsonapi/system.json", stream=True, timeout=5) as answer:
        got = sum(len(part) for _, part in zip(range(200), answer.iter_content(65536)))
    assert got > 1000000


def test_stale_list(sandbox):
    pair = sandbox.new_key()
    fault(sandbox, "stale-list", action="ListAccessKeys")
    iam = sandbox.client("iam")
    lists = [[key["AccessKeyId"] for key in iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]] for _ in range(2)]
    assert [pair["access_key_id"] in ids for ids in lists] == [False, True]


def test_rules_choose(sandbox):
    """nth, count, licence and probability."""
    fault(sandbox, "throttle", count=1, action="ListAccessKeys", nth=2)
    iam, seen = sandbox.client("iam"), []
    for _ in range(4):
        try:
            iam.list_access_keys(UserName=USER)
            seen.append(True)
        except ClientError:
            seen.append(False)
    assert seen == [True, False, True, True]
    fault(sandbox, "refuse:404500:404", count=-1, licence="L000002", op="Version")
    assert sandbox.instance(action="version").ok and not sandbox.instance(licence="L000002", action="version").ok
    fault(sandbox, "throttle", count=-1, service="sts", probability=0.5)
    hits = 0
    for _ in range(100):
        hits += not signed(sandbox, whoami(sandbox), "sts", "eu-west-1").ok
    assert 20 < hits < 80
    answer = requests.post(f"{sandbox.url}/_control/faults", data=json.dumps([{"effect": "explode"}]))
    assert (answer.status_code, answer.json()["error"]) == (400, "unknown effect")
    sandbox.control("DELETE", "faults")
    assert sandbox.control("GET", "faults") == []


# ---- server ------------------------------------------------------------------------------------------------

def test_latency_and_many_at_once(start):
    """Waiting requests do not wait for each other: 300 with 500 ms each end together."""
    sandbox = start(latency_instance=500, jitter_instance=50)
    form = {**sandbox.passwords["L000001"], "version": "4", "action": "version"}

    def ask(_):
        return requests.post(f"{sandbox.url}/L000001/jsonapi/system.json", data=form, timeout=30).status_code
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(300) as pool:
        assert set(pool.map(ask, range(300))) == {200}
    took = time.monotonic() - began
    assert took >= 0.5
    assert took < 10  # not 150 s


def test_any_loopback(start):
    sandbox = start(any_loopback=True)
    port = sandbox.endpoints["port"]
    for address in ("127.0.0.1", "127.1.2.3"):
        assert requests.get(f"http://{address}:{port}/_control/settings").ok
    outside = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            outside = [probe.getsockname()[0]]
        except OSError:
            pass  # a machine without another address
    for address in outside:
        if not address.startswith("127."):
            with pytest.raises(requests.ConnectionError):
                requests.get(f"http://{address}:{port}/_control/settings", timeout=5)


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=sandbox", "-addext",
                    "subjectAltName=DNS:localhost,DNS:*.i.localhost,IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
                   check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("plain", [True, False])
def test_tls(start, tmp_path, plain):
    cert, key = certificate(tmp_path)
    sandbox = start(tls_listen="127.0.0.1:0", tls_cert=cert, tls_key=key, **({} if plain else {"listen": "none"}))
    url = sandbox.endpoints["tls_url"]
    assert url in sandbox.line and (sandbox.endpoints["url"] is not None) == plain
    session = requests.Session()
    session.verify, session.trust_env = str(cert), False
    for _ in range(3):
        assert session.get(f"{url}/_control/settings").ok
    sts = sandbox.client("sts", url=url, verify=str(cert))
    assert sts.get_caller_identity()["Account"] == "100000000001"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{url}/_control/settings")
    form = {**sandbox.passwords["L000001"], "version": "4", "attachmentid": "1"}
    row = session.post(f"{url}/L000001/jsonapi/attachments.json", data=form).json()["data"][0]
    assert row["attachmentS3UrlGet"].startswith(url) and session.get(row["attachmentS3UrlGet"]).ok
    session.post(f"{url}/_control/settings", data=json.dumps({"latency-sts": 200}))
    assert sts.get_caller_identity()["Account"]
    session.close()


def test_quit(tmp_path):
    sandbox = Sandbox(tmp_path)
    sandbox.control("POST", "quit")
    assert sandbox.process.wait(20) == 0
    sandbox.process.stdout.close()
    with pytest.raises((EndpointConnectionError, ClientError)):
        sandbox.client("iam").list_users()


def test_dies_with_its_parent(tmp_path):
    script = f"'{BINARY}' --die-with-parent --endpoints-file '{tmp_path}/e.json' & wait"
    parent = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    parent.stdout.readline()
    pid = json.loads((tmp_path / "e.json").read_text())["pid"]
    parent.kill()
    parent.wait()
    parent.stdout.close()

    def gone():
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True
    until(gone)


@pytest.mark.parametrize("argv, code, text", [
    (["--help"], 0, "--licences"), (["--what"], 2, "unrecognized option"), (["--mix", "odd=1"], 2, "bad value"),
    (["--licences", "10000", "--accounts", "1"], 2, "too few accounts"), (["--iam-rate", "x"], 2, "bad value"),
    (["extra"], 2, "unexpected argument"), (["--listen", "nowhere"], 1, "cannot listen")])
def test_command_line(argv, code, text):
    done = subprocess.run([BINARY, *argv], capture_output=True, text=True, timeout=20)
    assert done.returncode == code and text in (done.stderr if code else done.stdout)


def test_bench(start):
    """The figure itself belongs to a quiet machine; here only that every signed answer is good and cheap."""
    sandbox = start(licences=200)
    done = subprocess.run([BENCH, "--endpoints", sandbox.folder / "endpoints.json", "--seconds", "1"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    print(figures)
    assert figures["errors"] == 0 and figures["per_cpu_s"] > (10000 if QUICK else 1000)
