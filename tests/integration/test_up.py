"""keyroll up: four children, minded; nothing of them outlives it."""
import fcntl
import os
import pty
import re
import signal
import stat
import subprocess
import termios
from pathlib import Path

import pytest

from support.processes import Process, clean_environment, wait_for
from support.programs import binary, write_settings
from support.sandbox import SandboxFleet

NAMES = {"broker": "--child=broker", "redis": "redis-server", "scheduler": "schedule", "worker": "keyroll-worker"}
STOP_ORDER = ["scheduler", "worker", "redis", "broker"]


def processes():
    """Yields (pid, parent, session, command line) of all processes."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(entry.name), int(fields[1]), int(fields[3]), line


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


class Up(Process):
    """One `keyroll up` on its own state directory."""

    def __init__(self, folder, fleet, **settings):
        folder = Path(folder)
        self.state = folder / "state"
        config = write_settings(folder / "up.conf", {"inventory": fleet.inventory, "lease_ttl": "6s", "lease_renew": "1s",
                                                     "mutate_timeout": "3s", **settings})
        super().__init__("up", [binary("keyroll"), "up", "--config", config, "--state-dir", self.state], folder,
                         clean_environment(**fleet.aws_environment()))

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self):
        self.spawn()
        wait_for("keyroll up to be ready", lambda: " ready: " in self.said(), 30, alive=self)
        return self

    def wait_said(self, text, timeout_s=30):
        wait_for(f"up to say {text!r}", lambda: text in self.said(), timeout_s, alive=self)

    def children(self):
        """Returns {name: (pid, session)}."""
        found = {}
        for pid, parent, session, line in processes():
            for name, word in NAMES.items():
                if parent == self.pid and word in line:
                    found[name] = (pid, session)
        return found

    def endpoint(self, name):
        text = (self.state / "endpoints.conf").read_text()
        return re.search(rf"^{name} = (.*)$", text, re.M).group(1)

    def stopped(self):
        """Returns the names in the order in which they were told to have stopped."""
        return re.findall(r"^\S+ (\w+) stopped \(exit status 0\)$", self.said(), re.M)

    def remains(self):
        return [line for pid, _, _, line in processes() if str(self.state) in line and pid != os.getpid()]


@pytest.fixture
def fleet(tmp_path):
    with SandboxFleet(tmp_path, 2) as made:
        yield made


@pytest.fixture
def up(short_folder, fleet):
    with Up(short_folder, fleet) as made:
        yield made


@pytest.fixture
def short_folder(tmp_path_factory):
    """A socket's path may have 107 bytes."""
    return tmp_path_factory.mktemp("up")


def test_starts_four_children_and_stops_them_in_order(up):
    up.start()
    children = up.children()
    assert set(children) == set(NAMES)
    assert all(session == pid for pid, session in children.values()), "each leads a session of its own"
    assert mode_of(up.state) == 0o700
    assert mode_of(up.state / "endpoints.conf") == 0o600
    assert mode_of(up.state / "escrow.key") == 0o600 and (up.state / "escrow.key").stat().st_size == 32
    assert "small fleets" in up.said() and "not for" in up.said()
    plan = subprocess.run([binary("keyroll"), "plan", "--json", "--state-dir", up.state], env=clean_environment(),
                          capture_output=True, text=True, timeout=30)
    assert plan.returncode == 0, plan.stderr
    up.signal(signal.SIGTERM)
    assert up.wait(30) == 0
    assert up.stopped() == STOP_ORDER
    assert not (up.state / "endpoints.conf").exists() and not up.remains()


def test_redis_data_and_escrow_key_survive(up):
    up.start()
    socket = up.endpoint("redis_url").removeprefix("unix://")
    key = (up.state / "escrow.key").read_bytes()
    subprocess.run(["redis-cli", "-s", socket, "set", "kr:test", "kept"], check=True, capture_output=True)
    up.signal(signal.SIGTERM)
    assert up.wait(30) == 0
    up.log.unlink()
    up.start()
    got = subprocess.run(["redis-cli", "-s", socket, "get", "kr:test"], check=True, capture_output=True, text=True)
    assert got.stdout.strip() == "kept"
    assert (up.state / "escrow.key").read_bytes() == key


def test_the_terminals_ctrl_c_reaches_up_alone(up):
    terminal, inside = pty.openpty()
    with up.log.open("ab") as out:
        def take_terminal():
            os.setsid()
            fcntl.ioctl(inside, termios.TIOCSCTTY, 0)
        up.process = subprocess.Popen(up.argv, stdin=inside, stdout=out, stderr=out, env=up.env, cwd=up.cwd,
                                      preexec_fn=take_terminal)
    os.close(inside)
    wait_for("keyroll up to be ready", lambda: " ready: " in up.said(), 30, alive=up)
    os.write(terminal, b"\x03")
    assert up.wait(30) == 0
    os.close(terminal)
    assert up.stopped() == STOP_ORDER
    said = (up.state / "redis.log").read_text()
    assert "Received SIGTERM" in said and "SIGINT" not in said


@pytest.mark.parametrize("name", ["redis", "scheduler", "worker"])
def test_a_killed_child_comes_back(up, name):
    up.start()
    before = up.children()
    os.kill(before[name][0], signal.SIGKILL)
    up.wait_said(f"{name} runs again")
    after = up.children()
    assert after.pop(name) != before.pop(name)
    assert after == before, "the others went on"
    assert "signal 9" in up.said()


def test_a_killed_broker_gets_a_new_address_and_new_clients(up):
    up.start()
    before, address = up.children(), up.endpoint("brokers")
    os.kill(before["broker"][0], signal.SIGKILL)
    up.wait_said("worker runs again")
    up.wait_said("scheduler runs again")
    after = up.children()
    assert up.endpoint("brokers") != address
    assert after["redis"] == before["redis"]
    assert all(after[name] != before[name] for name in ("broker", "scheduler", "worker"))


def test_nothing_outlives_a_killed_up(up):
    up.start()
    children = up.children()
    up.signal(signal.SIGKILL)
    up.process.wait()
    wait_for("all to be gone", lambda: not {pid for pid, _ in children.values()} & {row[0] for row in processes()}, 10)
    assert not up.remains()
    assert (up.state / "endpoints.conf").exists()
    up.log.unlink()
    up.start()  # what it left behind does not disturb
    up.signal(signal.SIGTERM)
    assert up.wait(30) == 0


def test_nothing_outlives_an_up_killed_at_any_time_of_its_start(up):
    for ms in range(0, 400, 50):
        up.spawn()
        try:
            up.process.wait(ms / 1000)
        except subprocess.TimeoutExpired:
            up.process.kill()
        up.process.wait()
        wait_for("all to be gone", lambda: not up.remains(), 10)


def test_a_second_up_refuses(up, short_folder):
    up.start()
    second = subprocess.run(up.argv, env=up.env, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert f"another keyroll up (pid {up.pid}) works in {up.state}" in second.stderr
    assert up.running() and set(up.children()) == set(NAMES)


def refusal(folder, fleet, env=None, **settings):
    """Returns exit status and text of an `up` that must not come to run."""
    one = Up(folder, fleet, **settings)
    done = subprocess.run(one.argv, env={**one.env, **(env or {})}, capture_output=True, text=True, timeout=60)
    assert not one.remains()
    return done.returncode, done.stdout + done.stderr


def test_what_it_refuses(short_folder, fleet):
    status, text = refusal(short_folder, fleet, brokers="127.0.0.1:9092")
    assert status == 2 and "brokers is set" in text
    status, text = refusal(short_folder, fleet, inventory=None)
    assert status == 2 and "no inventory" in text
    status, text = refusal(short_folder, fleet, env={"PATH": str(short_folder)})
    assert status == 1 and "redis-server is not in PATH" in text
    status, text = refusal(short_folder, fleet, profiles_dir=short_folder / "nowhere")
    assert status == 2 and "refuses its settings" in text
    open_folder = short_folder / "open"
    open_folder.mkdir(mode=0o755)
    one = Up(short_folder, fleet)
    done = subprocess.run([*one.argv[:-1], str(open_folder)], env=one.env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1 and "must be yours alone" in done.stderr
