"""Encrypted and authenticated servers, each the real one: Redis over TLS, Kafka over TLS with SASL; and what is refused."""
import json

import confluent_kafka.admin
import pytest

from support import deployment, fleet, sandbox, servers, tls
from support.processes import free_port
from support.programs import Keyroll, Scheduler, Worker

SCRAM_SINCE = (2, 6, 1)
USER, PASSWORD = "keyroll", "s3cret of the broker"


def settings(folder, **more):
    row = fleet.Row("00001", "SynergistExpress-00001", "synergist-00001", "api", "password", url="https://127.0.0.1:1")
    inventory, _ = fleet.write_inventory(folder, [row])
    key = folder / "escrow.key"
    key.write_bytes(b"k" * 32)
    key.chmod(0o600)
    return {"brokers": f"127.0.0.1:{free_port()}", "redis_url": f"redis://127.0.0.1:{free_port()}", "inventory": inventory,
            "escrow_key_file": key, "state_dir": folder / "state", **more}


def librdkafka(folder):
    shown = Keyroll(folder, {}).run("version", "--json").json()["libraries"]["librdkafka"]
    return tuple(int(part) for part in shown.split("-")[0].split(".")[:3])


# ---- Redis ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return tls.Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def redis_with_tls(tmp_path, authority):
    certificate, key = authority.certificate("redis", hosts=["localhost"])
    port = free_port()
    with servers.RedisServer(tmp_path, tls_port=port, tls_cert_file=certificate, tls_key_file=key,
                             tls_ca_cert_file=authority.path, tls_auth_clients="no") as server:
        yield server, f"rediss://localhost:{port}", authority.path


def test_redis_over_tls(tmp_path, redis_with_tls):
    _, url, ca = redis_with_tls
    done = Keyroll(tmp_path, settings(tmp_path, redis_url=url, ca_file=ca)).run("status")
    assert done.status == 0, done


def test_redis_with_another_name_or_authority_is_refused(tmp_path, redis_with_tls):
    _, url, ca = redis_with_tls
    by_address = Keyroll(tmp_path, settings(tmp_path, redis_url=url.replace("localhost", "127.0.0.1"), ca_file=ca))
    done = by_address.run("status", check=False)
    assert done.status == 1 and "mismatch" in done.err, done
    unknown = Keyroll(tmp_path, settings(tmp_path, redis_url=url)).run("status", check=False)
    assert unknown.status == 1 and "certificate" in unknown.err, unknown


def test_redis_cluster_is_refused_at_start(tmp_path):
    with servers.RedisServer(tmp_path, cluster_enabled="yes", cluster_port=free_port()) as cluster:
        made = settings(tmp_path, redis_url=cluster.url)
        done = Keyroll(tmp_path, made).run("status", check=False)
        assert done.status != 0 and "Redis Cluster is not supported" in done.err and len(done.err.splitlines()) == 1, done
        for kind in (Worker, Scheduler):
            with kind(tmp_path / "logs", kind.__name__, made) as daemon:
                daemon.start(wait=False)
                assert daemon.wait(30) == 1, daemon.tail()
                said = [line for line in daemon.logged() if line.get("level", line.get("log.level")) == "error"]
                assert any("Cluster" in json.dumps(line) for line in said), daemon.tail()


# ---- Kafka ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure_kafka(tmp_path_factory, authority):
    """Apache Kafka with a SASL_SSL listener beside the plain one; the certificate is for localhost. Yields (address, CA)."""
    tmp_path = tmp_path_factory.mktemp("kafka")
    certificate, key = authority.certificate("kafka", hosts=["localhost"])
    keystore = tmp_path / "kafka-keystore.pem"
    keystore.write_text(key.read_text() + certificate.read_text())
    port, module = free_port(), "org.apache.kafka.common.security"
    server = servers.KafkaServer(tmp_path, name="secure")
    server.settings.update({
        "listeners": server.settings["listeners"] + f",SECURE://127.0.0.1:{port}",
        "advertised.listeners": server.settings["advertised.listeners"] + f",SECURE://localhost:{port}",
        "listener.security.protocol.map": server.settings["listener.security.protocol.map"] + ",SECURE:SASL_SSL",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.secure.plain.sasl.jaas.config":
            f'{module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
        "listener.name.secure.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": keystore,
    })
    with server:
        credential = confluent_kafka.admin.UserScramCredentialUpsertion(
            USER, confluent_kafka.admin.ScramCredentialInfo(confluent_kafka.admin.ScramMechanism.SCRAM_SHA_512, 4096),
            PASSWORD.encode())
        for future in server.admin().alter_user_scram_credentials([credential]).values():
            future.result(30)
        yield server, f"localhost:{port}", authority.path


def secure(address, authority, mechanism, password=PASSWORD):
    return {"brokers": address, "kafka.security.protocol": "SASL_SSL", "kafka.sasl.mechanism": mechanism,
            "kafka.sasl.username": USER, "kafka.sasl.password": password, "kafka.ssl.ca.location": authority}


def test_kafka_over_tls_with_sasl(tmp_path, secure_kafka):
    """Topics are made over the secure listener: with SCRAM where this librdkafka can, with PLAIN everywhere."""
    server, address, authority = secure_kafka
    mechanisms = ["PLAIN"] + (["SCRAM-SHA-512"] if librdkafka(tmp_path) >= SCRAM_SINCE else [])
    for mechanism in mechanisms:
        prefix = mechanism.lower()
        made = settings(tmp_path, topic_prefix=prefix, **secure(address, authority, mechanism))
        Keyroll(tmp_path, made).run("topics apply")
        assert f"{prefix}.jobs" in server.topics()
        wrong = Keyroll(tmp_path, {**made, "kafka.sasl.password": "another"}).run("topics apply", check=False)
        assert wrong.status != 0 and "another" not in wrong.err + wrong.out, wrong
    by_address = settings(tmp_path, **secure(address.replace("localhost", "127.0.0.1"), authority, "PLAIN"))
    refused = Keyroll(tmp_path, by_address).run("topics apply", check=False)
    assert refused.status != 0, "the certificate's name is checked"


def test_a_fleet_is_rolled_over_tls(tmp_path, secure_kafka, redis_with_tls):
    """Worker and scheduler, from the first look to the last old key deleted, with nothing but encrypted connections to both servers."""
    server, address, ca = secure_kafka
    redis_server, url, _ = redis_with_tls
    mechanism = "SCRAM-SHA-512" if librdkafka(tmp_path) >= SCRAM_SINCE else "PLAIN"
    with sandbox.SandboxFleet(tmp_path, 5) as small, \
            deployment.Deployment(tmp_path, server, redis_server, small, redis_url=url, ca_file=ca,
                                  **secure(address, ca, mechanism)) as made:
        made.topics_apply()
        made.worker()
        made.scheduler()
        made.wait_stage("current", 120)
        assert made.finish("current") == []


def test_scram_is_refused_where_librdkafka_cannot(tmp_path):
    made = settings(tmp_path, **{"kafka.security.protocol": "SASL_SSL", "kafka.sasl.mechanism": "SCRAM-SHA-512",
                                 "kafka.sasl.username": USER, "kafka.sasl.password": PASSWORD})
    shown = Keyroll(tmp_path, made).run("version", check=False)
    too_old = librdkafka(tmp_path) < SCRAM_SINCE
    assert ("SCRAM needs librdkafka 2.6.1" in shown.out) == too_old, shown
    if not too_old:
        return
    for kind in (Worker, Scheduler):
        with kind(tmp_path / "logs", kind.__name__, made) as daemon:
            daemon.start(wait=False)
            assert daemon.wait(30) in (1, 2), daemon.tail()
            assert "SCRAM needs librdkafka 2.6.1" in daemon.log.read_text()
            assert PASSWORD not in daemon.log.read_text()
