"""The programs' own AWS identity from a container endpoint (ECS, EKS Pod Identity) that behaves as documented."""
import datetime
import http.server
import json
import threading

import boto3
import pytest

from support import deployment, fleet

LIFE_S = 6


class Agent(http.server.ThreadingHTTPServer):
    """Gives a session that lives for LIFE_S, only for the token that the file holds now; each answer changes the token."""

    def __init__(self, token_file, session):
        super().__init__(("127.0.0.1", 0), Handler)
        self.token_file, self.session = token_file, session
        self.given, self.refused, self.lock = 0, 0, threading.Lock()
        self.renew()
        self.url = f"http://127.0.0.1:{self.server_port}/v1/credentials"

    def renew(self):
        self.token = f"pod-token-{self.given}"
        fresh = self.token_file.with_suffix(".new")
        fresh.write_text(self.token + "\n")
        fresh.rename(self.token_file)  # as the kubelet does it

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        with self.server.lock:
            if self.path != "/v1/credentials" or self.headers.get("Authorization") != self.server.token:
                self.server.refused += 1
                return self.answer(403, {"code": "AccessDenied", "message": "unauthorized"})
            self.server.given += 1
            self.server.renew()
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=LIFE_S)
        return self.answer(200, {"AccessKeyId": self.server.session["AccessKeyId"],
                                 "SecretAccessKey": self.server.session["SecretAccessKey"],
                                 "Token": self.server.session["SessionToken"], "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def small(tmp_path, moto):
    with fleet.MotoFleet(tmp_path, moto, 4, uses_per_s=5) as made:
        yield made


@pytest.fixture
def session(moto, small):
    """A session of a role with the programs' rights, from moto's STS."""
    moto.require_authorisation(False)
    setup = {"aws_access_key_id": "setup", "aws_secret_access_key": "setup", "endpoint_url": moto.url, "region_name": fleet.REGION}
    iam = boto3.client("iam", **setup)
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]}
    rights = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": fleet.shipped_actions("account-role"), "Resource": "*"}]}
    role = iam.create_role(RoleName="pod", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    iam.put_role_policy(RoleName="pod", PolicyName="own", PolicyDocument=json.dumps(rights))
    made = boto3.client("sts", **setup).assume_role(RoleArn=role["Arn"], RoleSessionName="pod")["Credentials"]
    moto.require_authorisation()
    return made


def test_container_endpoint(tmp_path, kafka, redis_server, small, session):
    """Rotations go on over many refreshes; each reads the token file anew; nothing is ever refused."""
    token_file = tmp_path / "token"
    with Agent(token_file, session) as agent, \
            deployment.Deployment(tmp_path, kafka, redis_server, small) as made:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del made.env[name]
        made.env.update(AWS_CONTAINER_CREDENTIALS_FULL_URI=agent.url, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=token_file)
        made.topics_apply()
        made.worker()
        made.scheduler()
        made.wait_stage("current", 120)
        assert made.finish("current") == []
        assert agent.given >= 2 and agent.refused == 0, (agent.given, agent.refused)
