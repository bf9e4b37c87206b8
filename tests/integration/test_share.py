"""Who gets how much of the work: the jobs' partitions, which the consumer group shares out."""
from support import deployment, sandbox
from support.processes import wait_for

WORKERS = 4


def shares(made):
    """Returns how many partitions of the jobs' topic each worker reads, {worker's id: count}."""
    found = {}
    for client, partitions in made.kafka.assignments(made.group):
        found[client] = found.get(client, 0) + sum(1 for topic, _ in partitions if topic == f"{made.name}.jobs")
    return found


def is_even(made, workers):
    """None when the jobs' partitions are shared among so many, as evenly as can be; else the shares."""
    now = shares(made)
    even = len(now) == workers and sum(now.values()) == 24 and max(now.values()) - min(now.values()) <= 1
    return None if even else now


def test_workers_that_come_and_go_share_the_jobs_evenly(tmp_path, kafka, redis_server):
    """One after the other, as they are scaled and upgraded. (Where they came all at once, the shares were even in any case.)"""
    with sandbox.SandboxFleet(tmp_path, 5) as small, deployment.Deployment(tmp_path, kafka, redis_server, small) as made:
        made.topics_apply()
        for _ in range(WORKERS):
            made.worker()
        wait_for("even shares of those that came", lambda: is_even(made, WORKERS) is None, 20, poll_s=0.5)
        for old in made.workers[:2]:
            made.worker()
            assert old.drain() == 0, old.tail()
        wait_for("even shares of those that stayed", lambda: is_even(made, WORKERS) is None, 20, poll_s=0.5)
        made.scheduler()
        made.wait_stage("current", 120)
        assert made.finish("current") == []
