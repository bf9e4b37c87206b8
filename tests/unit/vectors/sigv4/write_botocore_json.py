"""Writes botocore.json: requests as keyroll sends them, signed by botocore. Needs botocore; run by hand when the list changes."""

import datetime
import json
import pathlib
from unittest import mock

import botocore
from botocore import auth, awsrequest, credentials

KEY = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
FORM = "application/x-www-form-urlencoded; charset=utf-8"
CASES = [
    ("iam", "us-east-1", "POST", "https://iam.amazonaws.com/", "Action=ListAccessKeys&Version=2010-05-08&UserName=SynergistExpress-1%40a", None),
    ("iam", "us-east-1", "POST", "https://iam.amazonaws.com/", "Action=CreateAccessKey&Version=2010-05-08&UserName=a%2Bb%3D", "tok/en+1=="),
    ("iam", "cn-north-1", "POST", "https://iam.cn-north-1.amazonaws.com.cn/", "Action=GetUser&Version=2010-05-08&UserName=x", None),
    ("sts", "eu-west-1", "POST", "https://sts.eu-west-1.amazonaws.com/", "Action=GetCallerIdentity&Version=2011-06-15", None),
    ("sts", "eu-west-1", "POST", "http://127.0.0.1:5000/", "Action=GetCallerIdentity&Version=2011-06-15", "t"),
    ("lambda", "us-east-2", "GET", "https://lambda.us-east-2.amazonaws.com/2015-03-31/functions/arn%3Aaws%3Alambda/x//y/../z?b=2&a=1&a=%2F", "", None),
    ("s3", "eu-central-1", "GET", "https://bucket.s3.eu-central-1.amazonaws.com/?list-type=2&max-keys=1&prefix=", "", None),
    ("s3", "eu-central-1", "GET", "https://bucket.s3.eu-central-1.amazonaws.com/?prefix=a%2Fb%20c~&max-keys=1&list-type=2", "", "tok"),
    ("s3", "us-east-1", "GET", "http://localhost:9000/my-bucket?list-type=2&max-keys=1", "", None),
    ("s3", "us-east-1", "PUT", "https://bucket.s3.amazonaws.com/a%3Db/c%20d//e/./f", "some bytes", None),
]
STAMPS = ["2026-11-23T08:53:00", "2015-08-30T12:36:00", "2024-02-29T23:59:59"]


def sign(case, stamp):
    service, region, method, url, body, token = case
    headers = {"Content-Type": FORM} if service in ("iam", "sts") else {}
    request = awsrequest.AWSRequest(method=method, url=url, data=body.encode(), headers=headers)
    when = datetime.datetime.fromisoformat(stamp)
    signer = auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth
    with mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: when, create=True):
        request.context["payload_signing_enabled"] = True
        signer(credentials.Credentials(*KEY, token), service, region).add_auth(request)
    got = dict(request.headers.items())
    assert when.strftime("%Y%m%dT%H%M%SZ") == got["X-Amz-Date"], got
    return {
        "service": service, "region": region, "method": method, "url": url, "body": body, "token": token,
        "content_type": headers.get("Content-Type"), "time": stamp + "Z", "key_id": KEY[0], "secret": KEY[1],
        "authorization": got["Authorization"], "content_sha256": got.get("X-Amz-Content-SHA256"),
    }


out = [sign(c, s) for c in CASES for s in STAMPS]
path = pathlib.Path(__file__).with_name("botocore.json")
path.write_text(json.dumps({"botocore": botocore.__version__, "cases": out}, indent=1) + "\n")
print(len(out), "cases by botocore", botocore.__version__)
