"""Many instances on one host: what it sees of several workers, on real Kafka and Redis."""
from support import deployment, sandbox
from support.processes import wait_for


def test_a_host_has_so_many_calls_of_all_workers_together(tmp_path, kafka, redis_server):
    """max_calls_per_host is shared: with every instance on one host and two workers, never more calls are under way there,
    as the host itself sees it. A worker that dies gives its part back."""
    most, takes_ms = 4, 300
    with sandbox.SandboxFleet(tmp_path, 24, latency_instance=takes_ms) as fleet, deployment.Deployment(
            tmp_path, kafka, redis_server, fleet, overlap="1h", max_calls_per_host=most, lease_max_age="1m") as installed:
        installed.topics_apply()
        first, second = installed.worker(), installed.worker()

        def parts():
            return [worker.metrics()["keyroll_host_calls_limit"] for worker in (first, second) if worker.running()]
        wait_for("each to have its part", lambda: parts() == [most / 2, most / 2], 30, poll_s=0.2)
        installed.scheduler()
        fleet.wait_rotated(len(fleet.names), 120)
        calls = sorted(call["at_ms"] for name in fleet.names
                       for call in fleet.control("GET", "requests", licence=name)["log"] if call["service"] == "instance")
        # One under way has at most so many of those that began while it took: itself and most - 1 others.
        at_once = max(sum(begun <= other < begun + takes_ms - 10 for other in calls) for begun in calls)
        print(f"{len(calls)} calls of {takes_ms} ms by two workers, at most {at_once} at once of {most}")
        assert most / 2 <= at_once <= most
        second.kill()
        wait_for("the other to have it all", lambda: parts() == [most], 30, poll_s=0.5)
        assert installed.finish("overlap") == []
