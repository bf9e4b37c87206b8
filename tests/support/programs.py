"""The programs under test as child processes: keyroll, keyroll-worker, keyroll-sandbox.

Programs are found under KEYROLL_BIN (default build/release). Settings go into a file of mode 0600, as an operator would
write it; an environment of nothing but what the test gives keeps the caller's own settings out.
"""
import json
import os
import signal
import subprocess
from pathlib import Path

import requests

from .processes import Process, clean_environment, free_port, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = {"keyroll": "producer", "keyroll-worker": "worker", "keyroll-sandbox": "tests/sandbox", "keyroll-scaled": "tests/sim"}


def binary(name):
    """Returns the path of a built program; "next/NAME" is the one that writes the next minor version (tests/next)."""
    base = Path(os.environ.get("KEYROLL_BIN", ROOT / "build" / "release"))
    folders = ("tests",) if name.startswith("next/") else (".", FOLDERS[name], "bin")
    for folder in folders:
        path = base / folder / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"{name} is not built under {base}; run tests/support/build release")


def write_settings(path, settings):
    """Writes `key = value` lines, mode 0600. None leaves the setting out."""
    text = "".join(f"{key} = {value}\n" for key, value in settings.items() if value is not None)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    path.write_text(text)
    return path


class Daemon(Process):
    """A keyroll process that runs on: settings in NAME.conf, log in NAME.log, probes and metrics on a port of its own."""

    program, subcommand = None, ()

    def __init__(self, folder, name, settings, version="", **env):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {**settings, "listen": f"127.0.0.1:{self.port}"}
        self.config = write_settings(Path(folder) / f"{name}.conf", self.settings)
        super().__init__(name, [binary(version + self.program), *self.subcommand, "--config", self.config], folder,
                         clean_environment(**env))

    def get(self, path):
        return requests.get(self.url + path, timeout=10)

    def ready(self):
        try:
            return self.get("/readyz").status_code == 200
        except requests.RequestException:
            return False

    def start(self, wait=True):
        self.spawn()
        return self.wait_ready() if wait else self

    def wait_ready(self, timeout_s=30):
        wait_for(f"{self.name} to be ready", self.ready, timeout_s, alive=self)
        return self

    def metrics(self):
        """Returns {"name{labels}": value} of /metrics."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line and not line.startswith("#")]
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}

    def sigterm(self):
        self.signal(signal.SIGTERM)

    def sigkill(self):
        """As the kernel's out-of-memory killer does it."""
        self.kill()

    def drain(self, timeout_s=60):
        """SIGTERM, then waits for the end. Returns the exit status; raises TimeoutError."""
        self.sigterm()
        return self.wait(timeout_s)

    def logged(self):
        """Returns the JSON lines of the log; a line that is not JSON comes as {"text": line}."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"text": line})
        return found


class Worker(Daemon):
    program = "keyroll-worker"


class Scheduler(Daemon):
    program, subcommand = "keyroll", ("schedule",)


class Result:
    """How a command ended."""

    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"exit status {self.status}\n--- stdout\n{self.out[-3000:]}\n--- stderr\n{self.err[-3000:]}"


class Keyroll:
    """The operator's commands: run("status", "--json") and so on, with one settings file."""

    def __init__(self, folder, settings, **env):
        self.folder = Path(folder)
        self.config = write_settings(self.folder / "keyroll.conf", settings)
        self.env = clean_environment(**env)

    def run(self, command, *arguments, timeout_s=60, check=True):
        """Runs `keyroll COMMAND --config FILE ARGUMENTS`. check: fail unless the exit status is 0."""
        argv = [binary("keyroll"), *command.split(), "--config", self.config, *arguments]
        done = subprocess.run([str(part) for part in argv], env=self.env, cwd=self.folder, text=True, timeout=timeout_s,
                              stdin=subprocess.DEVNULL, capture_output=True)
        result = Result(done)
        with (self.folder / "commands.log").open("a") as log:
            log.write(f"$ keyroll {command} {' '.join(map(str, arguments))}\n{result}\n")
        if check and result.status != 0:
            raise AssertionError(f"keyroll {command} {' '.join(map(str, arguments))}: {result}")
        return result

    def status(self, *licences):
        """Returns what `keyroll status --json` prints."""
        return self.run("status", *licences, "--json").json()
