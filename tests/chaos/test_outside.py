"""AWS and the instances: effects whose replies are lost, errors, throttling, connections closed, instances that are away."""
import time

MUTATIONS = ("CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey")


def rule(effect, probability, service="iam", **match):
    return {"match": {"service": service, "probability": probability, **match}, "effect": effect}


def lost_replies(probability):
    """Each call that changes something: done but unanswered, done but 500, or done after the caller has given up."""
    rules = []
    for action in MUTATIONS:
        for effect in ("effect-then-close", "effect-then-500", "delay-effect:4000"):  # mutate_timeout is 3 s
            rules.append(rule(effect, probability, action=action))
    for effect in ("effect-then-close", "effect-then-500", "delay-effect:4000"):
        rules.append(rule(effect, probability, service="instance", action="Update"))
    return rules


def test_effects_whose_reply_is_lost(chaos, full):
    """A create without an answer leaves a key whose secret nobody has: it is found, set Inactive and deleted."""
    hurt = chaos(create_doubt="6s").spread(60 if full else 10)
    hurt.fleet.fault(*lost_replies(0.1))
    hurt.start()
    hurt.wait_rotated(1)
    hurt.fleet.control("DELETE", "faults")
    hurt.end(dead_letters=True)
    assert hurt.fleet.summary()["creates"] > len(hurt.fleet.names), "the scenario did not happen"


def test_errors_before_the_effect(chaos, full):
    """Connections closed before and in the middle, 500 and 503, time-outs, spoilt bodies, on every service.

    A create of which nothing is known is waited for, 25 s: a licence that has four in a row is the last by minutes. It goes on
    without faults, so that the length of the test is not that of its bad luck.
    """
    hurt = chaos(read_timeout="3s").spread(60 if full else 10)
    rules = [rule(effect, 0.05, service=service) for service in ("iam", "sts", "s3", "instance")
             for effect in ("close-before", "refuse:ServiceUnavailable:503", "refuse:InternalFailure:500", "timeout:5000")]
    rules += [rule("bad-xml", 0.03, action="ListAccessKeys"), rule("stale-list:1500", 0.1, action="ListAccessKeys")]
    hurt.fleet.fault(*rules)
    hurt.start()
    hurt.wait_rotated(0.9)
    hurt.fleet.control("DELETE", "faults")
    hurt.end(dead_letters=True)


def test_throttling(chaos, full):
    """30 % of all calls to AWS are throttled, with and without being told for how long."""
    hurt = chaos().spread(60 if full else 10)
    hurt.fleet.fault(rule("throttle", 0.2), rule("retry-after:500", 0.1), rule("throttle", 0.3, service="s3"))
    hurt.start()
    hurt.end(dead_letters=True)


def test_instances_away(chaos, full):
    """Instances are down for a minute (scaled), lose what is written, and (full) refuse the login.

    A login that is refused at the write withdraws the new key, which waits until no late write can land: 90 s.
    """
    hurt = chaos().spread(60 if full else 10).start()
    hurt.wait_rotated(0.3)
    flags = ("down", "lose_writes", "login_refused" if full else "down")
    for index, name in enumerate(hurt.fleet.names):
        hurt.fleet.instance(name, **{flags[index % 3]: True})
    time.sleep(60 if full else 10)
    for index, name in enumerate(hurt.fleet.names):
        hurt.fleet.instance(name, **{flags[index % 3]: False})
    hurt.end(dead_letters=True)
