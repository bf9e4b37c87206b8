"""One container of the image by runc: read-only root, user 65532, no capability, no new privileges, the host's network."""
import json
import os
import secrets
import shutil
import subprocess
from pathlib import Path

import requests

from .processes import Process, clean_environment, free_port, wait_for
from .programs import write_settings

UID = 65532
NAMESPACES = ("pid", "ipc", "uts", "mount")
PATHS_HIDDEN = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]


def configuration(root, argv, settings_folder):
    """The runtime's configuration (OCI runtime-spec 1.0, config.md)."""
    def mount(target, kind, source, *options):
        return {"destination": target, "type": kind, "source": source, "options": list(options)}
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False, "user": {"uid": UID, "gid": UID}, "args": argv, "cwd": "/", "noNewPrivileges": True,
            "env": ["PATH=/usr/bin", "HOME=/home/keyroll", "AWS_EC2_METADATA_DISABLED=true"],
            "capabilities": {name: [] for name in ("bounding", "effective", "inheritable", "permitted", "ambient")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 4096}, {"type": "RLIMIT_CORE", "hard": 0, "soft": 0}],
        },
        "root": {"path": str(root), "readonly": True},
        "hostname": "keyroll",
        "mounts": [
            mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
            mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            mount("/tmp", "tmpfs", "tmpfs", "nosuid", "nodev", "noexec", "mode=1777", "size=16m"),
            mount("/etc/keyroll", "bind", str(settings_folder), "bind", "ro"),
        ],
        "linux": {"namespaces": [{"type": name} for name in NAMESPACES], "maskedPaths": PATHS_HIDDEN,
                  "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]},
    }


class Container(Process):
    """Runs one program of the unpacked image with settings that name servers which are not there."""

    def __init__(self, folder, root, argv):
        self.id = f"keyroll-{secrets.token_hex(4)}"
        self.port = free_port()
        bundle = Path(folder) / self.id
        settings = bundle / "settings"
        write_settings(settings / "keyroll.conf", {"brokers": "127.0.0.1:1", "redis_url": "redis://127.0.0.1:1", "mode": "observe",
                                                   "listen": f"127.0.0.1:{self.port}", "escrow_key_file": "/etc/keyroll/escrow.key"})
        (settings / "escrow.key").write_bytes(os.urandom(32))
        for path in (settings, *settings.iterdir()):
            os.chown(path, UID, UID)
            path.chmod(0o700 if path.is_dir() else 0o600)
        (bundle / "config.json").write_text(json.dumps(configuration(root, argv, settings)))
        self.runc = [shutil.which("runc") or "runc", "--root", str(bundle / "state")]
        super().__init__(self.id, [*self.runc, "run", "--bundle", bundle, self.id], bundle, clean_environment())

    def get(self, path):
        """Returns the status of an HTTP request to the program, None when there is no answer."""
        try:
            return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=5).status_code
        except requests.RequestException:
            return None

    def state(self):
        done = subprocess.run([*self.runc, "state", self.id], text=True, capture_output=True)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def proc_status(self):
        """Returns the fields of /proc/PID/status of the container's first process, as the host sees it."""
        lines = Path(f"/proc/{self.state()['pid']}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def root_is_read_only(self):
        lines = Path(f"/proc/{self.state()['pid']}/mountinfo").read_text().splitlines()
        return any(line.split()[4] == "/" and "ro" in line.split()[5].split(",") for line in lines)

    def terminate(self):
        self.signal(15)
        return self.wait(60)

    def output(self):
        return self.log.read_text(errors="replace")

    def __enter__(self):
        self.spawn()
        wait_for("the program in the container", lambda: self.get("/healthz") is not None, 20, alive=self)
        return self

    def __exit__(self, *exc):
        subprocess.run([*self.runc, "delete", "--force", self.id], capture_output=True)
        self.kill()
