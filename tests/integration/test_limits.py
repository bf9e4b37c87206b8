"""A worker in a container's limits: 128 MiB of memory, a tenth of a processor; on a node whose clock is wrong."""
import contextlib
import os

import pytest

from support import cgroup, deployment, sandbox
from support.processes import wait_for

MEMORY = 128 << 20
AT_ONCE = 2000


def make_group(stack, **limits):
    """Returns a control group, or None (and says so) where this machine lets us make none."""
    try:
        return stack.enter_context(cgroup.Group(**limits))
    except cgroup.Unavailable as error:
        print(f"{error}; what the worker takes is measured all the same")
        return None


def started(made, group, **settings):
    worker = made.worker(start=False, **settings)
    worker.group = group
    return worker.start()


def test_memory(tmp_path, kafka, redis_server):
    """It takes 2,000 jobs at once, as many as it counted to fit, and stays below the limit."""
    with contextlib.ExitStack() as stack:
        group = make_group(stack, memory_bytes=MEMORY)
        fleet = stack.enter_context(sandbox.SandboxFleet(tmp_path, AT_ONCE + 100, latency_instance=200, latency_iam=5))
        made = stack.enter_context(deployment.Deployment(tmp_path, kafka, redis_server, fleet, overlap="1h", mutate_timeout="10s",
                                                         lease_ttl="15s", lease_renew="5s", lease_max_age="30m",
                                                         max_calls_per_host=1000, plan_publish_rate=0))
        made.topics_apply()
        made.scheduler()
        wait_for("all jobs to be published", lambda: len(made.kafka.messages(f"{made.name}.jobs")) >= len(fleet.names), 60)
        worker = started(made, group, max_in_flight=100000 if group else 1.25 * AT_ONCE)
        most = 0

        def all_written():
            nonlocal most
            most = max(most, worker.metrics()["keyroll_jobs_in_flight"])
            return fleet.summary()["rotated_licences"] == len(fleet.names)
        wait_for("every licence rotated", all_written, 240, poll_s=0.2, alive=worker)
        limit = worker.metrics()["keyroll_jobs_in_flight_limit"]
        print(f"{most:.0f} of at most {limit:.0f} jobs at once, peak {worker.peak_bytes() / (1 << 20):.0f} MiB of {MEMORY >> 20}")
        assert most >= AT_ONCE and worker.peak_bytes() < MEMORY
        if group:
            assert limit < 100000 and group.oom_kills() == 0
            assert any(line.get("event.action") == "in-flight-limited" for line in worker.logged())
        assert made.finish("overlap", idle=False) == []


# What a container sees where the machine has version 2: its own group is the root of the mount. The process goes on with its id.
AS_VERSION_2 = """set -e
mount -t tmpfs none /sys/fs/cgroup
echo "$1" >/sys/fs/cgroup/memory.max
mount --bind "$2" "/proc/$$/cgroup"
shift 2
exec "$@"
"""


def test_memory_limit_of_version_2(tmp_path, kafka, redis_server):
    """It is found where version 2 of the control groups has it. Nobody enforces it here: test_memory lets the kernel do that, with the
    version that the machine has."""
    (tmp_path / "cgroup").write_text("0::/\n")
    unshare = ["unshare", "--mount", "--propagation", "private"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    with sandbox.SandboxFleet(tmp_path, 10) as fleet, deployment.Deployment(tmp_path, kafka, redis_server, fleet) as made:
        made.topics_apply()
        worker = made.worker(start=False, max_in_flight=100000)
        worker.argv = unshare + ["sh", "-c", AS_VERSION_2, "sh", str(MEMORY), str(tmp_path / "cgroup"), *worker.argv]
        worker.start()
        made.scheduler()
        made.wait_stage("current", 120)
        limit = worker.metrics()["keyroll_jobs_in_flight_limit"]
        told = [line for line in worker.logged() if line.get("event.action") == "in-flight-limited"]
        print(f"at most {limit:.0f} jobs at once in {MEMORY >> 20} MiB")
        assert AT_ONCE <= limit < 100000 and len(told) == 1, told
        assert made.finish("current") == []


def test_a_tenth_of_a_processor(tmp_path, kafka, redis_server, full):
    """It is slower, but holds its leases: none runs out in its hands."""
    with contextlib.ExitStack() as stack:
        group = make_group(stack, cpus=0.1)
        fleet = stack.enter_context(sandbox.SandboxFleet(tmp_path, 1000 if full else 100, latency_instance=200))
        made = stack.enter_context(deployment.Deployment(tmp_path, kafka, redis_server, fleet, mutate_timeout="10s", lease_ttl="15s",
                                                         lease_renew="5s", lease_max_age="30m", session_timeout="10s", heartbeat="3s"))
        made.topics_apply()
        worker = made.worker(start=False)
        worker.group = group
        worker.spawn().wait_ready(60)
        made.scheduler()
        made.wait_stage("current", 600 if full else 240)
        lost = {name: value for name, value in worker.metrics().items()
                if name.startswith("keyroll_step_failures_total") and "LEASE_LOST" in name and value}
        print(f"{len(fleet.names)} licences rolled with {worker.cpu_s():.1f} s of processor time"
              + (f", throttled {group.throttled()} times" if group else ""))
        assert lost == {} and (not group or group.throttled() > 0)
        assert fleet.summary()["creates"] == len(fleet.names)
        assert made.finish("current") == []


@pytest.mark.parametrize("skew_s", [600, -600])
def test_a_node_whose_clock_is_wrong(tmp_path, kafka, redis_server, skew_s):
    """Ten minutes off AWS's: it takes five, so the first calls are refused, and their Date header corrects all others. (The
    clock that differs is the sandbox's; tests/chaos sets those of the processes themselves, whose leases then have to hold.)"""
    with sandbox.SandboxFleet(tmp_path, 30, clock_offset_ms=1000 * skew_s, new_key_delay_ms="50-300") as fleet, \
            deployment.Deployment(tmp_path, kafka, redis_server, fleet) as made:
        made.topics_apply()
        worker = made.worker()
        made.scheduler()
        made.wait_stage("current", 120)
        metrics = worker.metrics()
        refused = sum(seen["errors"] for name, seen in fleet.control("GET", "stats")["actions"].items() if name.startswith("iam."))
        print(f"{skew_s:+d} s: {refused:.0f} calls to IAM were refused, then none")
        assert refused <= len(fleet.names)  # those that were under way at once, before the first answer came
        assert not [name for name, value in metrics.items() if "LEASE_LOST" in name and value]
        assert fleet.summary()["creates"] == len(fleet.names)
        assert made.finish("current") == []
