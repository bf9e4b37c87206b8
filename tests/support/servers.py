"""The real servers of the integration tests: Apache Kafka, Redis, moto. Each on free ports of 127.0.0.1, in its own folder.

start() returns when the server answers; start_all() starts several at once. kill() is SIGKILL, restart() keeps the data.
Nothing here outlives the tests (processes.Process).
"""
import base64
import contextlib
import os
import secrets
import subprocess
import sys
import time
import uuid
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
import redis
import redis.backoff
import redis.retry
import requests

from .processes import Process, clean_environment, free_port, port_open, wait_for


def start_all(*servers):
    """Starts servers side by side and returns them when all answer."""
    for server in servers:
        server.launch()
    for server in servers:
        server.wait_ready()
    return servers


class Server(Process):
    """A process with launch() (does not wait) and wait_ready()."""

    ready_timeout_s = 60

    def launch(self):
        return self.spawn()

    def ready(self):
        raise NotImplementedError

    def wait_ready(self):
        wait_for(f"{self.name} to answer", self.ready, self.ready_timeout_s, alive=self)
        return self

    def start(self):
        self.launch()
        return self.wait_ready()

    def restart(self, hard=False):
        """Stops (hard: kills) the server and starts it again on the same port and data."""
        if hard:
            self.kill()
        else:
            self.stop()
        return self.start()

    def __enter__(self):
        return self if self.running() else self.start()


class KafkaServer(Server):
    """Apache Kafka, one KRaft node that is broker and controller. Topics are not made by themselves."""

    LOG4J = """status = error
appender.file.type = File
appender.file.name = file
appender.file.fileName = {file}
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""

    def __init__(self, folder, name="kafka", **overrides):
        self.port, self.controller_port = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._admin = None
        self.cluster_id = "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]  # 22 characters, not a flag
        folder = Path(folder) / name
        self.properties = folder / "server.properties"
        jars = os.environ.get("KEYROLL_KAFKA_JARS")
        if not jars:
            raise RuntimeError("KEYROLL_KAFKA_JARS is not set: run the tests through tests/run")
        self.java = ["java", "-Xms96m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true",
                     f"-Dlog4j2.configurationFile={folder}/log4j2.properties", "-cp", f"{jars}/*"]
        super().__init__(name, self.java + ["kafka.Kafka", self.properties], folder, clean_environment())
        self.settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": folder / "data",
            "auto.create.topics.enable": "false",
            "num.partitions": 6,
            "offsets.topic.num.partitions": 1,
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "log.index.size.max.bytes": 65536,  # each index is made that long; 10 MB of zeros each slow down the search for leaks
            "group.min.session.timeout.ms": 1000,
            "broker.session.timeout.ms": 3000,  # a restarted broker is taken back after this long (default 9 s)
            "broker.heartbeat.interval.ms": 500,
            "controlled.shutdown.enable": "false",
            **overrides,
        }

    def launch(self):
        if not self.properties.exists():
            self.format()
        return super().launch()

    def format(self):
        (self.folder / "log4j2.properties").write_text(self.LOG4J.format(file=self.folder / "server.log"))
        self.properties.write_text("".join(f"{key}={value}\n" for key, value in self.settings.items()))
        done = subprocess.run(self.java + ["kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(self.properties)],
                              env=self.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"formatting Kafka's folder failed:\n{done.stdout}")

    def ready(self):
        if not port_open(self.port):
            return False
        try:
            return bool(self.admin().list_topics(timeout=5).brokers)
        except confluent_kafka.KafkaException:
            return False

    def admin(self):
        """One client for the whole life: its futures fail as soon as it is dropped."""
        if self._admin is None:
            self._admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    def topics(self):
        """Returns {topic: number of partitions} without Kafka's own."""
        listed = self.admin().list_topics(timeout=10).topics
        return {name: len(topic.partitions) for name, topic in listed.items() if not name.startswith("__")}

    def create_topics(self, partitions, *names, **config):
        new = [confluent_kafka.admin.NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
               for name in names]
        for future in self.admin().create_topics(new).values():
            future.result(30)

    def delete_topics(self, *names):
        if names:
            for future in self.admin().delete_topics(list(names)).values():
                future.result(30)

    def produce(self, topic, value, key=None, headers=None, partition=None):
        """Produces one message and returns its (partition, offset) when the broker has it."""
        reports = []
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 0,
                                             "message.max.bytes": 10000000, "log_level": 0})
        where = {} if partition is None else {"partition": partition}
        producer.produce(topic, value=value, key=key, headers=headers or {}, on_delivery=lambda *report: reports.append(report),
                         **where)
        producer.flush(30)
        error, message = reports[0]
        if error is not None:
            raise confluent_kafka.KafkaException(error)
        return message.partition(), message.offset()

    def _watermarks(self, consumer, topics):
        for topic in topics:
            for partition in range(self.topics().get(topic, 0)):
                where = confluent_kafka.TopicPartition(topic, partition)
                yield where, consumer.get_watermark_offsets(where, timeout=10)

    def _reader(self):
        return confluent_kafka.Consumer({"bootstrap.servers": self.bootstrap, "group.id": f"reader-{secrets.token_hex(4)}",
                                         "enable.auto.commit": False, "auto.offset.reset": "earliest",
                                         "enable.partition.eof": False, "log_level": 0})

    def messages(self, *topics, timeout_s=60):
        """Returns every message that stands in the topics now (all topics when none is named)."""
        topics = topics or tuple(self.topics())
        reader = self._reader()
        try:
            left, starts = {}, []
            for where, (low, high) in self._watermarks(reader, topics):
                if high > low:
                    left[(where.topic, where.partition)] = high
                    where.offset = low
                    starts.append(where)
            reader.assign(starts)
            found, end = [], time.monotonic() + timeout_s
            while left:
                batch = reader.consume(num_messages=1000, timeout=0.2)  # returns at once only with that many
                if time.monotonic() > end:
                    raise TimeoutError(f"not read within {timeout_s} s: {left}")
                for message in batch:
                    if message.error():
                        raise confluent_kafka.KafkaException(message.error())
                    place = (message.topic(), message.partition())
                    if message.offset() + 1 >= left.get(place, 0):
                        left.pop(place, None)
                    found.append(message)
            return found
        finally:
            reader.close()

    def lag(self, group):
        """Returns {(topic, partition): messages that the group has not committed}; partitions without a commit count in full."""
        request = confluent_kafka.ConsumerGroupTopicPartitions(group)
        answer = self.admin().list_consumer_group_offsets([request])[group].result(10)
        committed = {(one.topic, one.partition): one.offset for one in answer.topic_partitions}
        reader = self._reader()
        try:
            topics = {topic for topic, _ in committed}
            return {(where.topic, where.partition): high - max(committed.get((where.topic, where.partition), low), low)
                    for where, (low, high) in self._watermarks(reader, topics)}
        finally:
            reader.close()

    def assignments(self, group):
        """Returns [(client id, [(topic, partition)])] of the group's members. Each try has a client of its own: that of a whole life,
        having lived through restarts, has been seen to wait for an answer that never came."""
        def ask():
            admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
            found = admin.describe_consumer_groups([group], request_timeout=15)[group].result(20).members
            return [(one.client_id, [(place.topic, place.partition) for place in one.assignment.topic_partitions]) for one in found]

        for _ in range(2):
            with contextlib.suppress(confluent_kafka.KafkaException, TimeoutError):
                return ask()
        return ask()

    def members(self, group):
        """Returns how many clients are members of the group, by their ids: a worker is one, though it has two consumers."""
        return len({client for client, _ in self.assignments(group)})


class RedisServer(Server):
    """redis-server with AOF (fsync each second), without eviction; a TCP port of 127.0.0.1, or a unix socket."""

    ready_timeout_s = 20

    def __init__(self, folder, name="redis", unix=False, password=None, **overrides):
        folder = Path(folder) / name
        folder.mkdir(parents=True, exist_ok=True)
        self.port = 0 if unix else free_port()
        self.socket = folder / "redis.sock" if unix else None
        self.password = password
        self.url = f"unix://{self.socket}" if unix else f"redis://127.0.0.1:{self.port}"
        self.aof = folder / "appendonlydir"
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": folder, "appendonly": "yes", "appendfsync": "everysec",
                    "maxmemory-policy": "noeviction", "save": '""', "daemonize": "no", "protected-mode": "yes", **overrides}
        if unix:
            settings["unixsocket"] = self.socket
        if password:
            settings["requirepass"] = password
        config = folder / "redis.conf"
        config.touch(0o600)
        config.write_text("".join(f"{key.replace('_', '-')} {value}\n" for key, value in settings.items()))
        super().__init__(name, ["redis-server", config], folder, clean_environment())

    def client(self, **options):
        """A client that does not retry; options override, for example password."""
        where = {"unix_socket_path": str(self.socket)} if self.socket else {"host": "127.0.0.1", "port": self.port}
        never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        return redis.Redis(**{"password": self.password, "decode_responses": True, "retry": never, **where, **options})

    def ready(self):
        try:
            return self.client(socket_timeout=2).ping()
        except redis.exceptions.RedisError:  # not up yet, or loading
            return False


class Moto(Server):
    """moto as an AWS that is not ours. Set up with boto3 while its authorisation is off, then call require_authorisation()."""

    ready_timeout_s = 60

    def __init__(self, folder, name="moto"):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        argv = [sys.executable, Path(__file__).with_name("moto_server.py"), self.port]
        super().__init__(name, argv, Path(folder) / name, clean_environment(MOTO_IAM_LOAD_MANAGED_POLICIES="false"))

    def ready(self):
        try:
            return requests.get(f"{self.url}/moto-api/data.json", timeout=5).ok
        except requests.RequestException:
            return False

    def require_authorisation(self, on=True):
        """On: every further call needs a known key, a good signature and a policy that allows it."""
        requests.post(f"{self.url}/moto-api/reset-auth", data=b"0" if on else b"inf", timeout=10).raise_for_status()

    def backdate(self, days):
        """Makes every key that exists older by so many days."""
        requests.post(f"{self.url}/_backdate?{days}", timeout=10).raise_for_status()
