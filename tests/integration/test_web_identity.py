"""Our own identity by web identity (IRSA): the sandbox's STS checks the token, the programs read its file anew."""
import os

import pytest

from support import deployment, sandbox


@pytest.fixture
def fleet(tmp_path):
    token = tmp_path / "token"
    token.write_text("header.payload.signature-one")
    with sandbox.SandboxFleet(tmp_path, 10, web_token_file=token, new_key_delay_ms="50-300") as made:
        made.token = token
        yield made


def test_whole_life_as_a_web_identity(tmp_path, kafka, redis_server, fleet):
    with deployment.Deployment(tmp_path, kafka, redis_server, fleet) as made:
        role = fleet.endpoints["accounts"][0]["role_arn"]
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del made.env[name]
        made.env.update(AWS_WEB_IDENTITY_TOKEN_FILE=str(fleet.token), AWS_ROLE_ARN=role, AWS_ROLE_SESSION_NAME="keyroll-test")
        made.keyroll.__init__(made.folder, made.settings, **made.env)
        made.topics_apply()
        worker = made.worker()
        made.scheduler()
        made.wait_stage("current", 90)
        assert any(line.get("event.action") == "start" and "web identity" in str(line) for line in worker.logged()), worker.tail()
        fleet.holders = lambda held=fleet.holders(): [*held, fleet.token]
        assert made.finish("current") == []


def test_a_refused_token_is_told(tmp_path, kafka, redis_server, fleet):
    with deployment.Deployment(tmp_path, kafka, redis_server, fleet) as made:
        wrong = tmp_path / "wrong"
        wrong.write_text("header.payload.of-somebody-else")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del made.env[name]
        made.env.update(AWS_WEB_IDENTITY_TOKEN_FILE=str(wrong), AWS_ROLE_ARN=fleet.endpoints["accounts"][0]["role_arn"])
        made.keyroll.__init__(made.folder, made.settings, **made.env)
        done = made.keyroll.run("audit", fleet.names[0], check=False)
        assert done.status != 0 and "identity" in (done.out + done.err).lower(), done
        assert "of-somebody-else" not in done.out + done.err
        assert fleet.summary()["creates"] == 0 and os.path.exists(fleet.token)
