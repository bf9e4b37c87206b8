"""Several things go wrong at once: a random subset of the faults of this folder, at random moments, over the whole life of a fleet.

The seed chooses the kinds, the moments and how long each lasts. Then the faults stop, and the books are held against the promises.
"""
import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
from support import servers
from support.tcp_proxy import TcpProxy
from test_outside import MUTATIONS, rule
from test_redis import at_proxy, out_of_memory, read_only

FULL = os.environ.get("KEYROLL_TEST_SIZE") == "full"
SERVICES = ("iam", "sts", "s3", "instance")


class Swarm:
    """The faults, each a generator that yields how many seconds it wants to wait; all run in this thread, which starts processes."""

    # What each holds meanwhile: two faults that hold the same thing do not come together.
    KINDS = {"kill": "", "freeze": "", "redis_killed": "redis", "flushed": "redis", "failover": "redis", "refused": "redis",
             "late": "late", "cut": "cut", "stalled": "stalled", "broker": "kafka", "topics": "kafka", "lost_replies": "lost_replies",
             "errors": "errors", "throttling": "throttling", "instances": "instances"}

    def __init__(self, hurt, kafka, redis_server, front, dice, folder):
        self.hurt, self.kafka, self.server, self.front, self.dice, self.folder = hurt, kafka, redis_server, front, dice, folder
        self.kinds = sorted(kind for kind in self.KINDS if dice.random() < 0.6) or ["kill"]
        self.rules, self.running, self.frozen, self.counts = {}, [], set(), {}
        self.servers = contextlib.ExitStack()
        self.began = self.end = time.monotonic()

    def live(self, seconds):
        """Begins a fault every now and then for so long, then lets those that are under way end."""
        self.began = following = time.monotonic()
        self.end = self.began + seconds
        while self.running or time.monotonic() < self.end:
            now = time.monotonic()
            if following <= now < self.end:
                held = {self.KINDS[kind] for _, kind, _ in self.running} - {""}
                self.begin(self.dice.choice([kind for kind in self.kinds if self.KINDS[kind] not in held] or ["kill"]))
                following = now + self.dice.uniform(0.4, 2.6)
            for one in [one for one in self.running if one[0] <= now]:
                self.running.remove(one)
                self.go_on(*one[1:])
            time.sleep(0.02)
        print(f"{time.monotonic() - self.began:.0f} s of faults: {self.counts}")

    def begin(self, kind):
        self.counts[kind] = self.counts.get(kind, 0) + 1
        totals = self.hurt.fleet.summary()
        done = ", ".join(f"{totals[name]} {name}" for name in ("creates", "writes", "updates", "deletes"))
        print(f"{time.strftime('%H:%M:%S', time.gmtime())} {kind} ({done})")
        self.go_on(kind, getattr(self, kind)())

    def go_on(self, kind, fault):
        with contextlib.suppress(StopIteration):
            self.running.append((time.monotonic() + next(fault), kind, fault))

    def kill(self):
        self.hurt.replace(self.dice.choice(self.hurt.workers() + self.hurt.schedulers()))
        yield 0

    def freeze(self):
        awake = [one for one in self.hurt.workers() + self.hurt.schedulers() if one not in self.frozen]
        if awake:
            one = self.dice.choice(awake)
            self.frozen.add(one)
            one.signal(signal.SIGSTOP)
            yield self.dice.uniform(1, 9)  # lease_ttl and session_timeout are 6 s
            one.signal(signal.SIGCONT)
            self.frozen.discard(one)

    def pause(self):
        """No lease is taken for lease_max_age after Redis was replaced; the next fault of its kind shall find work under way."""
        return 0 if time.monotonic() > self.end else 7 + self.dice.uniform(1, 6)

    def redis_killed(self):
        self.server.kill()
        yield self.dice.uniform(0, 2)
        self.server.start()
        yield self.pause()

    def flushed(self):
        self.server.client().flushall()
        yield self.pause()

    def failover(self):
        """The replica that takes over misses the last half second."""
        old = self.server
        with TcpProxy(old.port) as link:
            new = servers.RedisServer(self.folder, f"redis{self.counts['failover']}", repl_timeout=3600)
            self.servers.callback(new.stop)
            new.start()
            new.client().replicaof("127.0.0.1", link.port)  # not in its file: a restart would make it a replica again
            while new.client().info("replication")["master_link_status"] != "up":
                yield 0.1
            yield self.dice.uniform(0, 1)
            link.stalled = True
            yield 0.5
            old.kill()
            new.client().replicaof("NO", "ONE")
            self.server = self.hurt.installed.redis_server = new
            self.front.target = new.port
            self.front.drop_all()
            link.stalled = False
        yield self.pause()

    def refused(self):
        with self.dice.choice((out_of_memory, read_only))(self.server):
            yield self.dice.uniform(1, 8)

    def late(self):
        self.front.latency_s = self.dice.uniform(0.05, 0.8)
        yield self.dice.uniform(2, 6)
        self.front.latency_s = 0

    def cut(self):
        self.front.cut_bytes = (2000, 200000)
        self.front.drop_all()
        yield self.dice.uniform(2, 6)
        self.front.cut_bytes = None
        self.front.drop_all()

    def stalled(self):
        self.front.stalled = True
        yield self.dice.uniform(0.5, 7)
        self.front.stalled = False

    def broker(self):
        self.kafka.kill()
        yield self.dice.uniform(0, 3)
        self.kafka.launch()
        while not self.kafka.ready():
            yield 0.3

    def topics(self):
        topics = [f"{self.hurt.installed.name}.{name}" for name in ("jobs", "retry.1s", "retry.3s", "urgent")]
        topics = self.dice.sample(topics, self.dice.randint(1, len(topics)))
        self.kafka.delete_topics(*topics)
        while set(topics) & set(self.kafka.topics()):
            yield 0.1
        self.hurt.installed.topics_apply()

    def outside(self, kind, rules):
        self.rules[kind] = rules
        self.hurt.fleet.control("POST", "faults", [one for some in self.rules.values() for one in some], replace=1)
        yield self.dice.uniform(2, 8)
        del self.rules[kind]
        self.hurt.fleet.control("POST", "faults", [one for some in self.rules.values() for one in some], replace=1)

    def lost_replies(self):
        effects = ("effect-then-close", "effect-then-500", "delay-effect:4000")  # mutate_timeout is 3 s
        share = self.dice.choice((0.1, 0.3))
        return self.outside("lost_replies", [rule(effect, share, action=action) for action in MUTATIONS for effect in effects]
                            + [rule(effect, share, service="instance", action="Update") for effect in effects])

    def errors(self):
        effects = ("close-before", "refuse:ServiceUnavailable:503", "refuse:InternalFailure:500", "timeout:5000")
        share = self.dice.choice((0.05, 0.2))
        return self.outside("errors", [rule(effect, share, service=service) for service in SERVICES for effect in effects])

    def throttling(self):
        return self.outside("throttling", [rule("throttle", 0.3), rule("retry-after:500", 0.2), rule("throttle", 0.4, service="s3")])

    def instances(self):
        hurt = [name for name in self.hurt.fleet.names if self.dice.random() < 0.4]
        flag = self.dice.choice(("down", "lose_writes"))
        for name in hurt:
            self.hurt.fleet.instance(name, **{flag: True})
        yield self.dice.uniform(2, 10)
        for name in hurt:
            self.hurt.fleet.instance(name, **{flag: False})


def quick_profile(folder, fleet):
    """The default profile, but that a late write lands within seconds: what was offered and lost waits for so long twice."""
    folder.mkdir()
    shipped = json.loads((Path(__file__).resolve().parents[2] / "deploy" / "profiles" / "default.json").read_text())
    quick = {**shipped, "name": "quick", "timeouts_ms": {**shipped["timeouts_ms"], "write": 4000}, "write_life_ms": 6000}
    (folder / "quick.json").write_text(json.dumps(quick))
    fleet.write_inventory([{**row, "profile": "quick"} for row in fleet.rows()])


@pytest.mark.parametrize("dice", (9, 1, 4, 7, 8) if FULL else (9,), indirect=True)
def test_several_at_once(chaos, tmp_path, kafka, redis_server, dice):
    seconds = 40 if FULL else 16
    with TcpProxy(redis_server.port) as front:
        # What AWS or an instance was sent may land for 4 s (lost_replies); that is what skew_limit is for.
        hurt = chaos(**at_proxy(redis_server, front), profiles_dir=tmp_path / "profiles", read_timeout="3s", skew_limit="5s",
                     create_doubt="3s", lease_max_age="7s").spread(0.8 * seconds)
        quick_profile(tmp_path / "profiles", hurt.fleet)
        hurt.start()
        swarm = Swarm(hurt, kafka, redis_server, front, dice, tmp_path)
        hurt.wait_rotated(0.03)
        print(f"kinds: {', '.join(swarm.kinds)}")
        with swarm.servers:
            swarm.live(seconds)
            began = time.monotonic()
            rest = hurt.end(may_ask=True, dead_letters=True, made_anew="topics" in swarm.counts)
            print(f"at rest after {time.monotonic() - began:.0f} s more: {rest}")
