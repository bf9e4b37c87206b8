"""Redis dies, forgets, refuses and stutters."""
import contextlib
import os
import struct
import time
from pathlib import Path

import pytest
import redis

from support import servers
from support.processes import wait_for
from support.tcp_proxy import TcpProxy


def at_proxy(server, proxy):
    """The settings of an installation that reaches this Redis through the proxy."""
    return {"redis_url": f"redis://127.0.0.1:{proxy.port}", "redis_password": server.password}


def test_kill_and_restart_with_aof(chaos, redis_server, full):
    """SIGKILL: the AOF brings everything back, so nobody is asked.

    Redis hands the AOF to the kernel before it answers. What goes missing is what it put off while a slow fsync was under way:
    an intent among that, and a worker that takes the lease before the scheduler has put it back, would be needed.
    """
    hurt = chaos().spread(60 if full else 10).start()
    for part in (0.1, 0.3, 0.5, 0.7, 0.9) if full else (0.2, 0.6):
        hurt.wait_rotated(part)
        redis_server.restart(hard=True)
    hurt.end()


def test_promoted_replica_without_the_last_writes(chaos, tmp_path, redis_server, dice, full):
    """The primary dies, the replica that takes over misses the last 500 ms of writes (asynchronous replication)."""
    with TcpProxy(redis_server.port) as front, TcpProxy(redis_server.port) as link:
        replica = servers.RedisServer(tmp_path, "replica", replicaof=f"127.0.0.1 {link.port}", repl_timeout=3600)
        with replica:
            wait_for("the replica in step", lambda: replica.client().info("replication")["master_link_status"] == "up", 20)
            hurt = chaos(**at_proxy(redis_server, front)).spread(40 if full else 10).start()
            hurt.wait_rotated(0.4)
            link.stalled = True
            time.sleep(0.5)  # the loss that the scenario asks for
            under_way = hurt.under_way(redis_server.client())
            redis_server.kill()
            replica.client().replicaof("NO", "ONE")
            front.target = replica.port
            front.drop_all()
            link.stalled = False
            hurt.installed.redis_server = replica
            asked_only_of(under_way, hurt.end(may_ask=True), hurt)


def asked_only_of(under_way, rest, hurt):
    """Only licences of which Redis lost something may ask, and few of them.

    tests/sim/README.md, "Which histories still leave a second key": an intent or the first record must be lost, and a worker must come
    before the scheduler has put it back. At full size none was seen.
    """
    assert all(name in under_way or one["user"].lower() in under_way for name, one in rest.asking.items()), rest
    assert len(rest.asking) <= len(hurt.fleet.names) // 20, rest


def test_flushed(chaos, redis_server, full):
    """FLUSHALL in the middle: leases, journals, records, sealed pairs, all gone while calls are under way."""
    hurt = chaos().spread(60 if full else 10).start()
    under_way = set()
    for part in (0.2, 0.5, 0.8) if full else (0.5,):
        hurt.wait_rotated(part)
        under_way |= hurt.under_way(redis_server.client())
        redis_server.client().flushall()
    asked_only_of(under_way, hurt.end(may_ask=True), hurt)


@contextlib.contextmanager
def out_of_memory(server):
    server.client().config_set("maxmemory", "1mb")
    yield redis.exceptions.OutOfMemoryError
    server.client().config_set("maxmemory", "0")


@contextlib.contextmanager
def read_only(server):
    """A replica of nobody, as after a failover that this server lost; then it is promoted again."""
    server.client().replicaof("127.0.0.1", servers.free_port())
    yield redis.exceptions.ReadOnlyError
    server.client().replicaof("NO", "ONE")


@contextlib.contextmanager
def misconfigured(server):
    """A snapshot could not be written: Redis refuses all writes until one succeeds."""
    client = server.client()
    obstacle = server.folder / "dump.rdb"
    obstacle.mkdir()
    (obstacle / "full").touch()
    client.config_set("save", "86400 1000000000")
    client.bgsave()
    wait_for("the snapshot to fail", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 20)
    yield redis.exceptions.ResponseError
    (obstacle / "full").unlink()
    obstacle.rmdir()
    client.bgsave()
    wait_for("a snapshot", lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", 20)
    client.config_set("save", "")


def test_refused_writes(chaos, redis_server, full):
    hurt = chaos().spread(60 if full else 20).start()
    causes = (out_of_memory, read_only, misconfigured)
    for index, cause in enumerate(causes):
        hurt.wait_rotated((index + 0.3) / len(causes))
        with cause(redis_server) as refusal:
            with pytest.raises(refusal):
                redis_server.client().set("probe", "1")
            time.sleep(15 if full else 3)  # shorter and longer than the lease (6 s)
    hurt.end()


class SetRedis(servers.RedisServer):
    """Its wall clock is set (tests/unit/set_time.c: libfaketime and its allocator do not bear one another); its timers go on."""

    def __init__(self, folder):
        super().__init__(folder)
        library = Path(os.environ.get("KEYROLL_BIN", "build/release"), "tests", "unit", "libset_time.so").resolve()
        assert library.exists(), f"{library} is missing"
        self.offset = self.folder / "clock"
        self.jump(0)
        self.env = {**self.env, "LD_PRELOAD": str(library), "KEYROLL_SET_TIME_BY": str(self.offset)}

    def jump(self, seconds):
        """From now on it is so much ahead of the real time."""
        with open(self.offset, "r+b" if self.offset.exists() else "wb") as out:  # in place: the server has it mapped
            out.write(struct.pack("=q", seconds * 1000000))

    def ahead_s(self):
        return self.client().time()[0] - time.time()


def test_clock_of_redis_is_set(chaos, tmp_path, full):
    """An hour back: the leases of the dead would last an hour longer. And forwards again: all end under their holders.

    It is never ahead of the true time here: what is noted then waits by as much longer (worker/steps.c), so does the test.
    """
    with SetRedis(tmp_path / "set") as server:
        hurt = chaos(redis=server).spread(60 if full else 10).start()
        for part, ahead_s in ((0.2, -3600), (0.6, 0)):
            hurt.wait_rotated(part)
            server.jump(ahead_s)
            assert abs(server.ahead_s() - ahead_s) < 5, "the scenario did not happen"
            hurt.replace(hurt.workers()[0])  # and its leases are left
        hurt.end(dead_letters=True)  # nobody is asked: what AWS tells the time of is held against AWS's clock


def held(server):
    return len(list(server.client().scan_iter(match="kr:{*}:lease", count=1000)))


def test_clock_of_redis_goes_ahead(chaos, tmp_path, full):
    """Every lease ends at once, under its living holder, while others wait for it; and again, and back.

    Whoever gets such a lease waits until its holder must know (worker/steps.c: predecessor_ms()); that no two act at once at any
    row of any saga is tests/saga/test_redis_clock.c. Ahead by more than a lease lasts: by an hour, waits noted meanwhile would end
    an hour later.
    """
    with SetRedis(tmp_path / "set") as server:
        hurt = chaos(redis=server).spread(60 if full else 10).start()
        for part, ahead_s in ((0.2, 10), (0.4, 20), (0.6, 0), (0.8, 10)) if full else ((0.3, 7), (0.7, 0)):
            hurt.wait_rotated(part)
            wait_for("leases", lambda: held(server), 30)
            server.jump(ahead_s)
            assert abs(server.ahead_s() - ahead_s) < 5, "the scenario did not happen"
            hurt.installed.worker(start=False).spawn()  # the group rebalances: messages of work under way come to others
            hurt.workers()[0].drain()
        hurt.end(dead_letters=True)


@pytest.mark.parametrize("how", ["cut at random bytes", "two seconds late"])
def test_connection(chaos, redis_server, full, how):
    with TcpProxy(redis_server.port) as front:
        hurt = chaos(**at_proxy(redis_server, front)).spread(60 if full else 15)
        if how == "two seconds late":
            hurt.start()
            hurt.wait_rotated(0.1)
            front.latency_s = 1  # there and back again
            hurt.end()
            return
        front.cut_bytes = (2000, 5000 * len(hurt.fleet.names))  # one look at the whole fleet is a good part of that
        hurt.start()
        hurt.wait_rotated(0.9)
        front.cut_bytes = None
        hurt.end()
        assert front.cuts >= 10, "the scenario did not happen"


def test_only_what_was_seen_is_replaced(redis_server):
    """schema/lua/restore_newer.lua on a real Redis: versions that moved on and a lease that is held win."""
    client = redis_server.client()
    replace = client.register_script((Path(__file__).resolve().parents[2] / "schema" / "lua" / "restore_newer.lua").read_text())
    keys = [f"kr:{{a/u}}:{name}" for name in ("lease", "journal", "record", "exposed")]

    def put(record_version, journal_version, pair="", journal="J2"):
        return replace(keys, ["R2", journal, "set", "900", record_version, journal_version, pair, "AKIAEXPOSED"])
    client.hset(keys[2], mapping={"version": 3, "doc": "R1", "fence": 5})
    client.hset(keys[1], mapping={"version": 4, "doc": "J1", "sealed": "pair"})
    assert put(2, 4) == 0 and put(3, 5) == 0 and client.hget(keys[2], "doc") == "R1"
    client.hset(keys[0], "token", "somebody")
    assert put(3, 4) == 0 and client.hget(keys[1], "doc") == "J1"
    client.delete(keys[0])
    assert put(3, 4, pair="1") == 1
    assert client.hgetall(keys[2]) == {"version": "4", "doc": "R2", "fence": "900", "opid": "restore"}
    assert client.hget(keys[1], "sealed") == "pair" and client.hget(keys[1], "version") == "5"
    assert put(4, 5) == 1 and client.hget(keys[1], "sealed") is None
    assert client.smembers(keys[3]) == {"AKIAEXPOSED"}
