"""Builds the image and unpacks it, without a Docker engine: mmdebstrap makes the base, Buildah (chroot isolation) the rest.

Everything lies in one folder: the base system (made once a month, for its security updates), Buildah's store with the
layers of earlier builds, the context (what git knows of the checkout, all times zero). Needs root.
"""
import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import provision
from .programs import ROOT

BASE = "localhost/debian:trixie"
TAG = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]  # checkouts share the store, not the names
NAME, AGAIN, TOOLS, CLANG = (f"localhost/keyroll{part}:{TAG}" for part in ("", "-again", "-tools", "-clang"))
BASE_FILE = 'FROM scratch\nADD base.tar /\nCMD ["/bin/sh"]\n'
STORE_MAX_BYTES = 8 << 30  # older layers are never asked for again; a store above this begins anew
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}  # local images, nobody signs them


def run(argv, **options):
    """Runs a command. Returns its output; fails with the end of it."""
    done = subprocess.run([str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    print(done.stdout[-20000:])
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} {argv[1]}: exit status {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def base_tar():
    """Returns Debian 13's minimal system, made once a month."""
    month = datetime.date.today().strftime("%Y-%m")

    def make(folder):
        provision.say(f"making Debian 13's base system in {folder}")
        folder.mkdir(parents=True)
        run(["mmdebstrap", "--variant=minbase", "trixie", folder / "base.tar"],
            env={**os.environ, "SOURCE_DATE_EPOCH": "0"})
    return provision.cached("debian13", f"minbase {month}".encode(), make) / "base.tar"


def copy_context(folder):
    """Copies what git knows, or would add, of the checkout: what a fresh clone of the next commit holds."""
    listing = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in sorted(name for name in listing.decode().split("\0") if name):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
            os.utime(target, (0, 0))


def revision():
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True, capture_output=True)
    return done.stdout.strip() or "unknown"


class Builder:
    """Buildah with a store of its own."""

    def __init__(self, folder, scratch):
        self.folder, self.scratch = Path(folder), Path(scratch)
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._size() > STORE_MAX_BYTES:
            shutil.rmtree(self.folder / "graph", ignore_errors=True)
        self.policy = self.folder / "policy.json"
        self.policy.write_text(json.dumps(POLICY))
        self.env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf")}
        self._choose_driver()
        self.revision = revision()
        self.context = self.scratch / "context"
        copy_context(self.context)

    def _size(self):
        done = subprocess.run(["du", "-sxB1", self.folder], text=True, capture_output=True)
        return int(done.stdout.split()[0]) if done.stdout else 0

    def _choose_driver(self):
        """overlay where the file system carries it, else vfs (slower, larger)."""
        for driver in ("overlay", "vfs"):
            (self.folder / "storage.conf").write_text(f'[storage]\ndriver = "{driver}"\ngraphroot = "{self.folder}/graph"\n'
                                                      f'runroot = "{self.folder}/run"\n')
            if subprocess.run(["buildah", "info"], env=self.env, capture_output=True).returncode == 0:
                return
        raise RuntimeError("Buildah's storage works with neither overlay nor vfs here")

    def buildah(self, command, *arguments):
        with_policy = ["--signature-policy", self.policy] if command in ("bud", "from", "push") else []
        return run(["buildah", command, *with_policy, *arguments], env=self.env, cwd=self.scratch)

    def base(self):
        """Puts the base system into the store, unless it is there."""
        tar = base_tar()
        mark = self.folder / "base"
        stamp = f"{tar} {tar.stat().st_mtime_ns}"
        there = subprocess.run(["buildah", "inspect", "--type", "image", BASE], env=self.env, capture_output=True).returncode == 0
        if there and mark.exists() and mark.read_text() == stamp:
            return
        (tar.parent / "Dockerfile").write_text(BASE_FILE)
        self.buildah("bud", "-f", tar.parent / "Dockerfile", "-t", BASE, tar.parent)
        mark.write_text(stamp)

    def build(self, name=NAME, *options, file="deploy/image/Dockerfile", base=BASE):
        """Builds the Dockerfile as its head says, all times zero. Returns the digest of the image's configuration."""
        self.buildah("bud", "--layers", "--timestamp", "0", "--build-arg", f"BASE={base}", "--build-arg",
                     f"REVISION={self.revision}", *options, "-f", self.context / file, "-t", name, self.context)
        return self.digest(name)

    def digest(self, name=NAME):
        return self.inspect(name)["FromImageID"]

    def inspect(self, name=NAME):
        return json.loads(self.buildah("inspect", "--type", "image", name))

    def layers(self, name=NAME):
        return self.inspect(name)["OCIv1"]["rootfs"]["diff_ids"]

    def mount(self, name=NAME):
        """Returns (container, folder) of the unpacked image. release() ends it."""
        container = self.buildah("from", "--pull-never", name).strip().splitlines()[-1]
        return container, Path(self.buildah("mount", container).strip().splitlines()[-1])

    def release(self, container):
        subprocess.run(["buildah", "rm", container], env=self.env, capture_output=True)

    def archive(self, path, name=NAME):
        """Writes the image as an OCI archive."""
        Path(path).unlink(missing_ok=True)
        self.buildah("push", name, f"oci-archive:{path}:keyroll:test")
        return Path(path)

    def docker_archive(self, path, name):
        """Writes the image, with its name, in the form of `docker save`."""
        Path(path).unlink(missing_ok=True)
        self.buildah("push", name, f"docker-archive:{path}:{name}")
        return Path(path)


def wrappers(folder, root):
    """Makes keyroll and keyroll-worker in the folder: each becomes the program of the unpacked image (confined.py)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for program in ("keyroll", "keyroll-worker"):
        path = folder / program
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{Path(__file__).with_name("confined.py")}" "{root}" '
                        f'/usr/bin/{program} "$@"\n')
        path.chmod(0o755)
    return folder
