"""A Kubernetes cluster of one real node in private network, mount and pid namespaces, on a machine without a container engine.

etcd, API server, controllers, scheduler, containerd, kubelet, kube-proxy and CoreDNS; box/ has the scripts. No port, mount, rule or process
of it is seen outside, and all of it ends with the process that started it. Only cgroups stay: stop() removes them, and so does the
next start. Needs root and what tests/support/provision.py calls "cluster".
"""
import contextlib
import os
import subprocess
import time
from pathlib import Path

from support.processes import clean_environment
from support.servers import Server

SCRIPTS = Path(__file__).resolve().parent / "box"
HIERARCHIES = Path("/sys/fs/cgroup")


def remove_groups(pattern, gone):
    """Removes the (empty) cgroups of that name pattern for which gone(name) holds. Returns those that stay."""
    left = []
    for top in sorted(HIERARCHIES.glob(f"*/{pattern}")) + sorted(HIERARCHIES.glob(pattern)):
        if not gone(top.name):
            continue
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        if top.exists():
            left.append(top)
    return left


class Box(Server):
    """folder: data, logs and kubeconfigs. images: docker archives that the node has from the start."""

    ready_timeout_s = 600  # a busy machine; alone it takes 10 s

    def __init__(self, folder, images=()):
        self.box = Path(folder) / "box"
        self.box_group = f"keyroll-box-{os.getpid()}"
        env = clean_environment(B=self.box, GROUP=self.box_group, IMAGES=" ".join(map(str, images)),
                                KEYROLL_KUBERNETES=os.environ["KEYROLL_KUBERNETES"])
        argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", SCRIPTS / "inside.sh"]
        super().__init__("cluster", argv, self.box / "log", env)

    def launch(self):
        remove_groups("keyroll-box-*", lambda name: not Path("/proc", name.rpartition("-")[2]).exists() or name == self.box_group)
        return super().launch()

    def ready(self):
        return (self.box / "ready").exists()

    def command(self, *argv):
        """Returns the command line that runs argv inside, with kubectl and the administrator's kubeconfig."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return ["nsenter", "-t", children[0], "-n", "-m", "-p", f"--wd={os.getcwd()}", "env",
                f"PATH={os.environ['KEYROLL_KUBERNETES']}:{os.environ['PATH']}", f"KUBECONFIG={self.box}/admin.kubeconfig",
                f"KEYROLL_BOX={self.box}", f"KEYROLL_BOX_GROUP={self.box_group}", *map(str, argv)]

    def run(self, *argv):
        return subprocess.run(self.command(*argv), stdin=subprocess.DEVNULL).returncode

    def stop(self, timeout_s=20):
        """Kills the first process, and with it all others. Returns what is left of the cgroups."""
        self.kill()
        end = time.monotonic() + timeout_s
        while left := remove_groups(self.box_group, lambda name: True):
            if time.monotonic() > end:
                break
            time.sleep(0.1)  # the kernel empties them a moment after the last process
        made = self.box / "made"
        for folder in reversed(made.read_text().split() if made.exists() else []):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        return left
