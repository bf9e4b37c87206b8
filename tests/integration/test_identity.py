"""The programs' own AWS identity from a container endpoint (ECS, EKS Pod Identity) and from EC2's instance metadata
service, each a server that behaves as documented."""
import datetime
import http.server
import json
import threading

import boto3
import pytest

from support import deployment, fleet

LIFE_S = 6


class Server(http.server.ThreadingHTTPServer):
    def __init__(self, handler, session):
        super().__init__(("127.0.0.1", 0), handler)
        self.session = session
        self.given, self.refused, self.lock = 0, 0, threading.Lock()

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()


class Agent(Server):
    """Gives a session that lives for LIFE_S, only for the token that the file holds now; each answer changes the token."""

    def __init__(self, token_file, session):
        super().__init__(AgentHandler, session)
        self.token_file = token_file
        self.renew()
        self.url = f"http://127.0.0.1:{self.server_port}/v1/credentials"

    def renew(self):
        self.token = f"pod-token-{self.given}"
        fresh = self.token_file.with_suffix(".new")
        fresh.write_text(self.token + "\n")
        fresh.rename(self.token_file)  # as the kubelet does it


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def credentials(self):
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=LIFE_S)
        return {"AccessKeyId": self.server.session["AccessKeyId"], "SecretAccessKey": self.server.session["SecretAccessKey"],
                "Token": self.server.session["SessionToken"], "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def answer(self, status, body, content_type="application/json", headers=()):
        text = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", content_type), ("Content-Length", str(len(text))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)


class AgentHandler(Handler):
    def do_GET(self):
        with self.server.lock:
            if self.path != "/v1/credentials" or self.headers.get("Authorization") != self.server.token:
                self.server.refused += 1
                return self.answer(403, {"code": "AccessDenied", "message": "unauthorized"})
            self.server.given += 1
            self.server.renew()
        return self.answer(200, self.credentials())


class Metadata(Server):
    """The instance metadata service, version 2 only (HttpTokens=required), of an instance with the role "pod". A session
    token serves for one round of credentials, then it is unknown, as after a restart of the service. With hop_limit 1
    the answers to a PUT die on their way into the container."""

    ROLE = "pod"

    def __init__(self, session, hop_limit=2):
        super().__init__(MetadataHandler, session)
        self.hop_limit, self.token, self.without_token, self.tokens, self.silent = hop_limit, None, 0, 0, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __exit__(self, *exc):
        self.silent.set()
        super().__exit__(*exc)


class MetadataHandler(Handler):
    def text(self, status, body, **headers):
        return self.answer(status, body, "text/plain", headers.items())

    def do_PUT(self):
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != "/latest/api/token" or not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            return self.text(400, "")
        if "X-Forwarded-For" in self.headers:
            return self.text(403, "")
        with self.server.lock:
            self.server.tokens += 1
            if self.server.hop_limit < 2:
                self.close_connection = True
                return self.server.silent.wait(30)
            self.server.token = f"AQAAA{self.server.tokens}=="
        return self.text(200, self.server.token, **{"X-aws-ec2-metadata-token-ttl-seconds": ttl})

    def do_GET(self):
        folder = "/latest/meta-data/iam/security-credentials/"
        token = self.headers.get("X-aws-ec2-metadata-token")
        with self.server.lock:
            self.server.without_token += token is None
            if token is None or token != self.server.token:
                self.server.refused += 1
                return self.text(401, "")
            if self.path == folder:
                return self.text(200, self.server.ROLE)
            if self.path != folder + self.server.ROLE:
                return self.text(404, "")
            self.server.given += 1
            self.server.token = None
        return self.answer(200, {"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
                                 **self.credentials()}, "text/plain")


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


def by_metadata(made, server):
    """Without any other identity. made: a deployment or one's commands."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del made.env[name]
    made.env.update(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=server.url)
    made.keyroll.__init__(made.folder, made.settings, **made.env)


def test_instance_metadata(tmp_path, kafka, redis_server, small, session):
    """Rotations go on over many refreshes; a token that is refused is replaced; nothing is asked without one."""
    with Metadata(session) as server, deployment.Deployment(tmp_path, kafka, redis_server, small) as made:
        by_metadata(made, server)
        made.topics_apply()
        worker = made.worker()
        made.scheduler()
        made.wait_stage("current", 120)
        assert made.finish("current") == []
        assert any(line.get("event.action") == "start" and "instance metadata" in str(line) for line in worker.logged())
        assert server.given >= 3 and server.refused >= 1 and server.tokens >= server.refused, vars(server)
        assert server.without_token == 0


@pytest.mark.parametrize("disabled", [False, True])
def test_no_instance_metadata(tmp_path, kafka, redis_server, small, session, disabled):
    """A hop limit of 1 is told as what it is, soon; switched off, the service is not asked at all."""
    with Metadata(session, hop_limit=1) as server, deployment.Deployment(tmp_path, kafka, redis_server, small) as made:
        by_metadata(made, server)
        made.topics_apply()
        if disabled:
            made.env.update(AWS_EC2_METADATA_DISABLED="true")
            made.keyroll.__init__(made.folder, made.settings, **made.env)
        done = made.keyroll.run("doctor", check=False)
        assert done.status == 3, done
        assert ("AWS_EC2_METADATA_DISABLED" if disabled else "hop limit must be 2") in done.out + done.err, done
        assert (server.tokens > 0) == (not disabled) and server.without_token == 0
