"""Builds the image and unpacks it, without a Docker engine: mmdebstrap makes the base, Buildah (chroot isolation) the rest.

Everything lies in one folder: the base system (made once a month, for its security updates), Buildah's store with the
layers of earlier builds, what ccache keeps, the context (what git knows of the checkout, all times zero). Needs root.
What has to be fetched is fetched by prepare(), which provision.py calls before a suite's clock starts.
"""
import contextlib
import datetime
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import provision

ROOT = Path(__file__).resolve().parent.parent.parent
BASE = "localhost/debian:trixie"
TAG = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]  # checkouts share the store, not the names
NAME, TESTED, AGAIN, TOOLS, CLANG_TOOLS, CLANG = (f"localhost/keyroll{part}:{TAG}" for part in (
    "", "-tested", "-again", "-tools", "-clang-tools", "-clang"))
CLANG_FILE = "tests/image/Dockerfile.clang"
BASE_FILE = 'FROM scratch\nADD base.tar /\nCMD ["/bin/sh"]\n'
STORE_MAX_BYTES = 8 << 30  # older layers are never asked for again; a store above this begins anew
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}  # local images, nobody signs them


def run(argv, **options):
    """Runs a command. Returns its output; fails with the end of it."""
    done = subprocess.run([str(part) for part in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", **options)
    print(done.stdout[-4000:])
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} {argv[1]}: exit status {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def base_tar():
    """Returns Debian 13's minimal system, made once a month."""
    month = datetime.date.today().strftime("%Y-%m")

    def make(folder):
        provision.say(f"making Debian 13's base system in {folder}")
        folder.mkdir(parents=True)
        run(["mmdebstrap", "--variant=minbase", "--aptopt=Acquire::Retries \"5\"", "trixie", folder / "base.tar"],
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


def replace(path, text):
    """Writes a file of the shared folder: nobody sees half of it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.rename(path)


def prepare(folder):
    """Fetches all that the builds need from outside: the base system, the compilers' packages. Called before a suite's clock starts."""
    provision.say("fetching what the image is built with, unless it is there (some minutes, once)")
    with tempfile.TemporaryDirectory(prefix="keyroll-image-") as scratch, contextlib.redirect_stdout(io.StringIO()):
        builder = Builder(folder, scratch)
        builder.begin_anew_if_large()
        builder.base()
        builder.tools()


class Builder:
    """Buildah with a store of its own, which checkouts and runs share."""

    def __init__(self, folder, scratch):
        if os.geteuid() != 0:
            raise RuntimeError("building and unpacking the image needs root: it makes mounts")
        self.folder, self.scratch = Path(folder), Path(scratch)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.in_use = (self.folder / "in-use").open("w")  # as long as this lives
        fcntl.flock(self.in_use, fcntl.LOCK_SH)
        self.compiled = self.folder / "ccache"
        self.compiled.mkdir(exist_ok=True)
        self.policy = self.folder / "policy.json"
        replace(self.policy, json.dumps(POLICY))
        self.env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf")}
        self._choose_driver()
        self.revision = revision()
        self.context = self.scratch / "context"
        copy_context(self.context)

    def begin_anew_if_large(self):
        """Drops a store that has grown too large, unless another run uses it."""
        done = subprocess.run(["du", "-sxB1", self.folder / "graph"], text=True, capture_output=True)
        if not done.stdout or int(done.stdout.split()[0]) <= STORE_MAX_BYTES:
            return
        try:
            fcntl.flock(self.in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        subprocess.run(["buildah", "rm", "--all"], env=self.env, capture_output=True)  # what a killed run has left mounted
        shutil.rmtree(self.folder / "graph", ignore_errors=True)
        fcntl.flock(self.in_use, fcntl.LOCK_SH)

    def _choose_driver(self):
        """overlay where the file system carries it, else vfs (slower, larger)."""
        for driver in ("overlay", "vfs"):
            replace(self.folder / "storage.conf", f'[storage]\ndriver = "{driver}"\ngraphroot = "{self.folder}/graph"\n'
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

    def tools(self):
        """Puts the stages that fetch packages into the store, unless they are there: the compilers, and clang."""
        self.build(TOOLS, "--target", "tools")
        self.build(CLANG_TOOLS, "--target", "tools", file=CLANG_FILE, base=TOOLS)

    def build(self, name=NAME, *options, file="deploy/image/Dockerfile", base=BASE, compile_all=False):
        """Builds the Dockerfile as its head says, all times zero. Returns the digest of the image's configuration.

        compile_all: nothing that was compiled before is used; else ccache's folder serves all builds.

        The revision is set as a label, too: Buildah takes a LABEL's layer from its store though the argument in it is another one.
        """
        cache = [] if compile_all else ["--volume", f"{self.compiled}:/ccache", "--build-arg", "CCACHE_DIR=/ccache",
                                        "--build-arg", "CMAKE_C_COMPILER_LAUNCHER=ccache"]
        self.buildah("bud", "--layers", "--timestamp", "0", "--build-arg", f"BASE={base}", "--build-arg",
                     f"REVISION={self.revision}", "--label", f"org.opencontainers.image.revision={self.revision}", *cache,
                     *options, "-f", self.context / file, "-t", name, self.context)
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
