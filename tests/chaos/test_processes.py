"""Workers and the scheduler are killed and frozen, again and again, while the fleet lives its life."""
import signal
import time

from support.processes import wait_for


def test_kills(chaos, dice, full):
    """SIGKILL of a random worker or of the scheduler every 1-3 s."""
    kills = 100 if full else 12
    hurt = chaos().spread(2 * kills).start()
    for _ in range(kills):
        time.sleep(dice.uniform(1, 3))  # a random moment is the point
        hurt.replace(dice.choice(hurt.workers() + hurt.schedulers()))
    hurt.end()


def test_freezes(chaos, dice, full):
    """SIGSTOP for longer than lease and session timeout, then SIGCONT: what the frozen process still wants to do must not land."""
    freezes = 20 if full else 3
    hurt = chaos().spread(10 * freezes).start()
    for _ in range(freezes):
        time.sleep(dice.uniform(0.5, 2))
        frozen = dice.choice(hurt.workers() + hurt.schedulers()[:1])
        frozen.signal(signal.SIGSTOP)
        time.sleep(8)  # lease_ttl and session_timeout are 6 s
        frozen.signal(signal.SIGCONT)
    hurt.end()


# What a user has who sets nothing: lease_ttl 15 s, lease_renew 5 s, session_timeout 8 s, heartbeat 2 s.
DEFAULTS = dict.fromkeys(("lease_ttl", "lease_renew", "lease_max_age", "mutate_timeout", "session_timeout", "heartbeat",
                          "settle_interval", "settle_timeout", "settle_successes"))
TTL_S, RENEW_S = 15, 5


def leases(client):
    """Returns {key: (token, seconds left)} of all leases now."""
    keys = list(client.scan_iter(match="kr:{*}:lease", count=1000))
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.hget(key, "token").pttl(key)
    found = pipe.execute()
    return {key: (found[2 * index], found[2 * index + 1] / 1000) for index, key in enumerate(keys) if found[2 * index]}


def takeovers(client, began):
    """Returns the seconds from `began`, when a worker died, until somebody else held each lease that the dead one had.

    The dead worker's leases are those that stand with their token and were not renewed for longer than the renewal takes.
    """
    held = leases(client)
    time.sleep(max(0, began + RENEW_S + 2 - time.monotonic()))  # by now the living have renewed theirs
    now, age = leases(client), time.monotonic() - began
    orphaned = {key: token for key, (token, _) in held.items() if now.get(key, ("", 0))[0] == token and now[key][1] <= TTL_S - age + 0.5}
    assert orphaned, "the worker held no lease when it died"
    taken = {}
    while len(taken) < len(orphaned):
        assert time.monotonic() - began < 120, f"{len(orphaned) - len(taken)} leases were not taken over in 120 s"
        now = leases(client)
        for key, token in orphaned.items():
            if key not in taken and key in now and now[key][0] != token:
                taken[key] = time.monotonic() - began
        time.sleep(0.1)
    return sorted(taken.values())


def test_time_to_take_over_with_default_settings(chaos, redis_server, full):
    """A worker is killed while it waits for new keys to be accepted; how long until another one goes on with its licences?"""
    delay_ms = "70000-75000" if full else "30000-35000"  # for two kills, for one
    hurt = chaos(world={"new_key_delay_ms": delay_ms}, max_attempts=30, **DEFAULTS).start()
    client = redis_server.client()
    samples = []
    for _ in range(2 if full else 1):
        wait_for("most licences in the middle of their rotation",
                 lambda: len(list(client.scan_iter(match="kr:{*}:journal", count=1000))) >= 0.7 * len(hurt.fleet.names), 120)
        dead = max(hurt.workers(), key=lambda one: one.metrics().get("keyroll_leases_held", 0))
        dead.sigkill()
        samples += takeovers(client, time.monotonic())
        hurt.installed.worker()
    samples.sort()
    p50, p99 = samples[len(samples) // 2], samples[min(len(samples) - 1, int(len(samples) * 0.99))]
    print(f"takeover of a killed worker's licence: p50 {p50:.1f} s, p99 {p99:.1f} s ({len(samples)} licences)")
    hurt.end()
    assert p99 < 20
