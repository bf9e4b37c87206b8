"""Installs what a suite needs: Debian packages, a Python venv, the jars of Apache Kafka. Standard library only.

Packages come from whatever mirrors the machine's apt, pip and Maven are set up for; nothing here names one. The venv and
the jars live in KEYROLL_CACHE (default: $XDG_CACHE_HOME/keyroll or ~/.cache/keyroll) under a hash of their list, so a
changed list makes a new one and a second run installs nothing.
"""
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent

PACKAGES = {
    "build": "gcc libc6-dev clang cmake ninja-build pkg-config git libssl-dev libcurl4-openssl-dev librdkafka-dev "
             "libjansson-dev libhiredis-dev libuv1-dev libmicrohttpd-dev libexpat1-dev libcmocka-dev liblua5.1-0-dev openssl",
    "lint": "clang-format",
    "valgrind": "valgrind",
    "fuzz": "libclang-rt-{clang}-dev llvm",
    "venv": "python3 python3-venv ca-certificates",
    "redis": "redis-server redis-tools",
    "kafka": "default-jre-headless maven",
}
PROVIDED_BY = {"default-jre-headless": "java", "maven": "mvn"}  # any package with this command will do

# Debian starts a service as it installs it. This keeps redis from starting (unless the machine has a policy of its own)
# and from coming up at the next boot; it touches nothing when redis-server was there before.
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
    if [ "$package" = redis-server ] && [ -d /run/systemd/system ]; then
        systemctl disable --now redis-server.service
    fi
done
"""


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


def kafka_jars():
    """Returns the folder with Apache Kafka's jars."""
    pom = SUPPORT / "kafka" / "pom.xml"

    def make(folder):
        say(f"fetching Apache Kafka into {folder}")
        folder.mkdir(parents=True)
        run_logged(["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={folder}/libs"],
                   "fetching Apache Kafka")
    return cached("kafka", pom.read_bytes(), make) / "libs"


def provide(needs):
    """Installs what `needs` names (keys of PACKAGES). Returns the environment variables through which suites find it."""
    install_packages(missing_packages(needs))
    env = {}
    if "venv" in needs:
        python = venv()
        env.update(KEYROLL_PYTHON=str(python), PYTEST=f"{shlex.quote(str(python))} -m pytest")
    if "kafka" in needs:
        env["KEYROLL_KAFKA_JARS"] = str(kafka_jars())
    return env


if __name__ == "__main__":
    for variable, value in provide(set(PACKAGES)).items():
        print(f"export {variable}={shlex.quote(value)}")
