"""Fleets for the integration tests: users, keys and buckets in AWS, instances that use them, inventory and credentials."""
import concurrent.futures
import csv
import datetime
import json
import os
from dataclasses import dataclass
from pathlib import Path

import boto3
import botocore.config

from . import ledger
from .synergist import Instances

ACCOUNT, REGION = "123456789012", "eu-west-1"
COLUMNS = ("licence", "account", "user", "bucket", "region", "instance_url", "time_zone", "policy", "profile", "credentials")
IAM_POLICIES = Path(__file__).resolve().parents[2] / "deploy" / "iam"


def shipped_policy(*names, accounts):
    """Returns the statements of deploy/iam/NAME.json as one policy, with ACCOUNT replaced by each of the accounts."""
    statements = []
    for name in names:
        for statement in json.loads((IAM_POLICIES / f"{name}.json").read_text())["Statement"]:
            resources = [statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"]
            filled = [text.replace("ACCOUNT", account) for text in resources for account in accounts]
            statements.append({**statement, "Resource": sorted(set(filled))})
    return {"Version": "2012-10-17", "Statement": statements}


def shipped_actions(name):
    """Returns the actions of a shipped policy. moto scopes no resource of IAM, so there its resource is opened."""
    return sorted({action for statement in shipped_policy(name, accounts=[ACCOUNT])["Statement"] for action in statement["Action"]})


@dataclass
class Row:
    """One licence of a fleet."""
    licence: str
    user: str
    bucket: str
    login: str
    password: str
    first_key: str = ""
    first_secret: str = ""
    profile: str = "default"
    url: str = ""


def noon_zone():
    """Returns a time zone in which it is about noon: far from the hours in which instances are left alone."""
    behind = datetime.datetime.now(datetime.timezone.utc).hour - 12
    return "UTC" if behind == 0 else f"Etc/GMT{behind:+d}"  # its sign is turned round: Etc/GMT+3 is three hours behind


def write_inventory(folder, rows, account=ACCOUNT, region=REGION, policy=""):
    """Writes inventory.csv and credentials.json (mode 0600). Returns their paths."""
    folder = Path(folder)
    credentials = folder / "credentials.json"
    credentials.touch(0o600)
    credentials.write_text(json.dumps({row.licence: {"user": row.login, "password": row.password} for row in rows}))
    inventory = folder / "inventory.csv"
    with inventory.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([row.licence, account, row.user, row.bucket, region, row.url, noon_zone(), policy, row.profile,
                             f"file:{credentials}#{row.licence}"])
    return inventory, credentials


class MotoFleet:
    """count licences in moto, with Python instances. Use as a context; the instances end with it.

    keyroll_pair: the programs' own long-term key, limited by a policy to what they need. instances: support.synergist.Instances.
    """

    def __init__(self, folder, moto, count, uses_per_s=20, tls=None, key_age_days=100, **instance_settings):
        self.folder, self.moto = Path(folder), moto
        setup = {"aws_access_key_id": "setup", "aws_secret_access_key": "setup", "endpoint_url": moto.url, "region_name": REGION,
                 "config": botocore.config.Config(max_pool_connections=4, retries={"max_attempts": 5})}
        self.iam, self.s3 = boto3.client("iam", **setup), boto3.client("s3", **setup)
        self.names = [f"{index + 1:05d}" for index in range(count)]
        self.rows = {name: Row(name, f"SynergistExpress-{name}", f"synergist-{name}", f"api-{name}", f"pass/word+{name}")
                     for name in self.names}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(self._make, self.rows.values()))
        self.keyroll_pair = self._make_keyroll()
        self.auditor_pair = self._make_user("auditor", ["iam:ListAccessKeys", "iam:ListUsers"])
        moto.backdate(key_age_days)
        moto.require_authorisation()
        self.iam = self.client("iam", self.auditor_pair)  # the set-up keys are refused from here on
        licences = {row.licence: {"user": row.login, "password": row.password, "bucket": row.bucket, "region": REGION,
                                  "key_id": row.first_key, "secret": row.first_secret, **instance_settings}
                    for row in self.rows.values()}
        self.instances = Instances(self.folder, licences, moto.url, tls=tls, uses_per_s=uses_per_s)
        for row in self.rows.values():
            row.url = self.instances.instance_url(row.licence)
        self.inventory, self.credentials = write_inventory(self.folder, list(self.rows.values()))

    def client(self, service, pair):
        return boto3.client(service, endpoint_url=self.moto.url, region_name=REGION, aws_access_key_id=pair[0],
                            aws_secret_access_key=pair[1])

    def _make_user(self, name, actions, resources="*"):
        self.iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": resources}]}
        self.iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def _make_keyroll(self):
        return self._make_user("keyroll", shipped_actions("account-role"))

    def _make(self, row):
        self.s3.create_bucket(Bucket=row.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.s3.put_object(Bucket=row.bucket, Key="drawing_1.pdf", Body=b"a drawing")
        row.first_key, row.first_secret = self._make_user(
            row.user, ["s3:ListBucket", "s3:GetObject", "s3:PutObject"],
            [f"arn:aws:s3:::{row.bucket}", f"arn:aws:s3:::{row.bucket}/*"])

    def __enter__(self):
        self.instances.start()
        return self

    def __exit__(self, *exc):
        self.instances.stop()

    def aws_environment(self):
        """The programs' own AWS identity and endpoints."""
        return {"AWS_ENDPOINT_URL": self.moto.url, "AWS_REGION": REGION, "AWS_ACCESS_KEY_ID": self.keyroll_pair[0],
                "AWS_SECRET_ACCESS_KEY": self.keyroll_pair[1]}

    def secrets(self):
        """Returns {name: secret} of all that must not leak: pairs, logins, the programs' own key."""
        return {**self.instances.secrets(), "keyroll's own": self.keyroll_pair[1]}

    def holders(self):
        """Returns the files and folders which hold secrets by right."""
        return [self.credentials, self.instances.config, *self.folder.glob("*.key")]

    def books(self):
        """Yields the ledger's rows of the fleet; each costs a call to moto."""
        return ledger.books_of_moto(self.iam, self.instances,
                                    {row.licence: (row.user, row.first_key) for row in self.rows.values()})


def escrow_key(folder):
    """Makes an escrow key file: 32 random bytes, mode 0600."""
    path = Path(folder) / "escrow.key"
    path.touch(0o600)
    path.write_bytes(os.urandom(32))
    return path


