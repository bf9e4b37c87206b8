"""Hardening of the processes and programs: no core dumps, no secrets in memory at rest, no TLS keys, linker's protections,
systemd's sandboxing."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import deployment, sandbox
from support.processes import wait_for
from support.programs import ROOT, binary

PROGRAMS = ("keyroll", "keyroll-worker")


def as_root(*argv, **options):
    """Runs a command as root: reading another process' memory needs it once that process has hardened itself."""
    before = [] if os.geteuid() == 0 else ["sudo", "-n"]
    return subprocess.run([*before, *map(str, argv)], check=True, capture_output=True, **options).stdout


def hits_in_memory(pid, needles):
    """Searches the memory of a process. needles: {name: bytes}. Returns [(name, mapping, flags)], once per mapping."""
    given = "".join(f"{name}\t{value.hex()}\n" for name, value in needles.items())
    found = as_root(sys.executable, Path(__file__).parent.parent / "support" / "memory.py", pid, input=given.encode())
    return [tuple(line.split("\t")) for line in found.decode().splitlines()]


@pytest.fixture
def fleet(tmp_path):
    with sandbox.SandboxFleet(tmp_path, 40, use_interval_ms=1000) as one:
        yield one


@pytest.fixture
def installed(tmp_path, kafka, redis_server, fleet):
    with deployment.Deployment(tmp_path, kafka, redis_server, fleet) as one:
        one.topics_apply()
        yield one


def halves(secret):
    """Both halves of a secret: a copy that was cut is one too."""
    raw = secret.encode()
    return {"first half": raw[:20], "second half": raw[-20:]} if len(raw) >= 40 else {"whole": raw}


def test_a_worker_at_rest_holds_no_secret_of_a_rotation(installed, fleet):
    """Every secret that AWS gave out is looked for in the worker's memory. What it needs all the time (its own pair, the
    instances' logins) may only be where it is locked and left out of dumps, or in the environment that it was given."""
    worker, scheduler = installed.worker(), installed.scheduler()
    installed.wait_stage("current", 120)
    assert fleet.summary()["rotated_licences"] == len(fleet.names)
    wait_for("the worker to be at rest", lambda: not list(
        installed.redis_server.client().scan_iter(match="kr:{*}:lease")), 30)
    known = fleet.secrets()
    assert len([name for name in known if "Synergist" in name]) >= 2 * len(fleet.names)
    for process in (worker, scheduler):
        needles = {f"{name}, {half}": value for name, secret in known.items() for half, value in halves(secret).items()}
        needles["control"] = process.settings["topic_prefix"].encode()  # the search itself works
        found = hits_in_memory(process.process.pid, needles)
        assert any(name == "control" for name, _, _ in found)
        loose = [one for one in found if one[0] != "control" and "dd" not in one[2].split()]
        of_rotations = [one for one in found if "Synergist" in one[0]]
        assert of_rotations == [], f"{process.name} holds secrets of rotations at rest"
        in_environment = [one for one in loose if one[1] == "[stack]" and "keyroll-rotator" in one[0]]
        assert len(in_environment) == 2 and loose == in_environment, f"{process.name} holds secrets outside locked memory"
    assert installed.finish("current") == []


def test_no_core_dumps_no_tracing_no_tls_keys(tmp_path, kafka, redis_server, fleet):
    keys = tmp_path / "tls-keys"
    with deployment.Deployment(tmp_path, kafka, redis_server, fleet) as one:
        one.env["SSLKEYLOGFILE"] = str(keys)
        one.topics_apply()
        for process in (one.worker(), one.scheduler()):
            pid = process.process.pid
            limits = as_root("cat", f"/proc/{pid}/limits").decode()
            assert re.search(r"Max core file size +0 +0", limits), limits
            assert Path(f"/proc/{pid}").stat().st_uid == 0  # owned by root: not dumpable, not traceable by its own user
            assert "CoreDumping:\t0" in as_root("cat", f"/proc/{pid}/status").decode()
            process.signal(6)  # SIGABRT
            assert process.wait(30) != 0
        assert not list(tmp_path.rglob("core*"))
        assert not keys.exists()


def readelf(program, *flags):
    return subprocess.run(["readelf", *flags, binary(program)], check=True, text=True, capture_output=True).stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_are_linked_with_all_protections(program):
    assert re.search(r"Type: +DYN \(Position-Independent Executable", readelf(program, "-h")), "PIE"
    headers = readelf(program, "-lW")
    assert "GNU_RELRO" in headers
    assert re.search(r"GNU_STACK +\S+ +\S+ +\S+ +\S+ +\S+ +RW ", headers), "no executable stack"
    dynamic = readelf(program, "-dW")
    assert re.search(r"FLAGS.*(BIND_NOW|NOW)", dynamic), "full RELRO"
    assert "TEXTREL" not in dynamic and "RPATH" not in dynamic and "RUNPATH" not in dynamic
    imports = readelf(program, "--dyn-syms", "-W")
    assert "__stack_chk_fail" in imports, "stack protector"
    fortified = set(re.findall(r"__(\w+)_chk@", imports))
    assert {"snprintf", "vsnprintf", "memcpy"} & fortified, f"fortified: {sorted(fortified)}"


SERVICES = {"keyroll-worker.service": 1.5, "keyroll-scheduler.service": 1.5}  # systemd's exposure level, 10 is worst


@pytest.mark.parametrize("unit", SERVICES)
def test_systemd_units_are_sandboxed(unit, tmp_path):
    path = ROOT / "deploy" / "systemd" / unit
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={int(SERVICES[unit] * 10)}", path],
                          text=True, capture_output=True, env={**os.environ, "SYSTEMD_PAGER": "", "LC_ALL": "C"})
    figure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    print(f"{unit}: exposure {figure.group(1) if figure else done.stdout + done.stderr}")
    assert figure and float(figure.group(1)) <= SERVICES[unit], done.stdout
    assert done.returncode == 0
    text = path.read_text()
    for program in PROGRAMS:  # verify wants the programs where the unit says they are
        text = text.replace(f"/usr/bin/{program} ", f"{binary(program)} ")
    copy = tmp_path / unit
    copy.write_text(text)
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], text=True, capture_output=True)
    assert verified.returncode == 0 and unit not in verified.stderr, verified.stderr
