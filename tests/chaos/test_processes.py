"""Workers and the scheduler are killed and frozen, again and again, while the fleet lives its life."""
import signal
import time


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
