"""Runs rendered pods as processes, the way a kubelet starts a container: command, environment, mounts, user and rights of the pod's spec.

What a Secret or ConfigMap volume looks like is copied from the kubelet: files owned by root and by the fsGroup, mode defaultMode,
behind a symbolic link ..data. The root file system holds only libraries and the two programs and is read-only; the process runs
as runAsUser without capabilities, with no new privileges. Not done: images, limits, network policies, probes (the test asks itself).
"""
import base64
import os
from pathlib import Path

from .processes import Process, clean_environment
from .programs import binary

# The programs are not in /usr/bin on this machine, and /usr is bound read-only.
OURS = {"/usr/bin/keyroll": "keyroll", "/usr/bin/keyroll-worker": "keyroll-worker"}


class Pod(Process):
    """bwrap stays in front of the program: signals go to the program itself, as a kubelet sends them; its exit status is bwrap's."""

    def signal(self, number):
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                stat, program = Path("/proc", entry, "stat").read_text(), Path("/proc", entry, "cmdline").read_bytes().split(b"\0")[0]
            except OSError:
                continue
            session = int(stat[stat.rindex(")") + 2:].split()[3])
            if session == self.pid and program.startswith(b"/opt/"):
                os.kill(int(entry), number)
                return
        raise ProcessLookupError(self.name)


class Cluster:
    """Holds Secrets and ConfigMaps: objects as rendered, and those that a test adds. folder: where volumes are made."""

    def __init__(self, folder, objects=()):
        self.folder = Path(folder)
        self.objects = {(one["kind"], one["metadata"]["name"]): one for one in objects}

    def add_secret(self, name, **data):
        """data: bytes or text by key; `__` in a key stands for a dot."""
        self.objects["Secret", name] = {"data": {key.replace("__", "."): base64.b64encode(
            value if isinstance(value, bytes) else value.encode()).decode() for key, value in data.items()}}

    def content(self, kind, name):
        """Returns {key: bytes}; a missing one is an error, as in a cluster."""
        one = self.objects[kind, name]
        if kind == "Secret":
            return {key: base64.b64decode(value) for key, value in one["data"].items()}
        return {key: value.encode() for key, value in one["data"].items()}

    def volume(self, pod, volume, group):
        """Makes one volume of a pod. Returns its folder."""
        folder = self.folder / pod / volume["name"]
        folder.mkdir(parents=True)
        if "emptyDir" in volume:
            os.chown(folder, 0, group)
            folder.chmod(0o2777)
            return folder
        kind, source = ("Secret", volume["secret"]) if "secret" in volume else ("ConfigMap", volume["configMap"])
        data = self.content(kind, source.get("secretName") or source["name"])
        if "items" in source:
            data = {item["path"]: data[item["key"]] for item in source["items"]}
        (folder / "..1").mkdir()
        (folder / "..data").symlink_to("..1")
        for key, value in data.items():
            file = folder / "..1" / key
            file.write_bytes(value)
            os.chown(file, 0, group)
            # The kubelet gives the group what it needs to read, on top of the mode.
            file.chmod(source.get("defaultMode", 0o644) | 0o440)
            (folder / key).symlink_to(f"..data/{key}")
        return folder

    def environment(self, pod, entries):
        made = {}
        for entry in entries:
            if "value" in entry:
                made[entry["name"]] = entry["value"]
            elif "secretKeyRef" in entry["valueFrom"]:
                ref = entry["valueFrom"]["secretKeyRef"]
                made[entry["name"]] = self.content("Secret", ref["name"])[ref["key"]].decode()
            else:
                assert entry["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
                made[entry["name"]] = pod
        return made

    def process(self, pod, spec):
        """Returns the pod's one container as a Pod that is not started."""
        assert os.geteuid() == 0, "pods are run as another user, which only root may do"
        container, = spec["containers"]
        security, own = spec["securityContext"], container["securityContext"]
        assert own["readOnlyRootFilesystem"] and own["capabilities"] == {"drop": ["ALL"]} and not own["allowPrivilegeEscalation"]
        volumes = {one["name"]: self.volume(pod, one, security["fsGroup"]) for one in spec["volumes"]}
        argv = ["bwrap", "--die-with-parent", "--proc", "/proc", "--dev", "/dev", "--ro-bind", "/usr", "/usr",
                "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
                "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_SETPCAP"]
        for folder in ("/etc", "/opt", "/run", "/run/keyroll", "/run/keyroll/logins"):  # else bwrap makes them for root alone
            argv += ["--perms", "0755", "--dir", folder]
        for mount in container["volumeMounts"]:
            argv += ["--ro-bind" if mount.get("readOnly") else "--bind", volumes[mount["name"]], mount["mountPath"]]
        argv += ["--ro-bind", "/etc/ssl", "/etc/ssl"]
        program, *arguments = container["command"]
        argv += ["--ro-bind", binary(OURS[program]), f"/opt/{OURS[program]}", "--remount-ro", "/",
                 "setpriv", f"--reuid={security['runAsUser']}", f"--regid={security['runAsGroup']}", f"--groups={security['fsGroup']}",
                 "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", f"/opt/{OURS[program]}", *arguments]
        env = {**clean_environment(), **self.environment(pod, container.get("env", []))}
        env.pop("HOME", None)
        return Pod(pod, argv, self.folder / pod / "log", env)
