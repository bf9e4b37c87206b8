#!/usr/bin/env python3
"""confined.py ROOT PROGRAM ARGUMENTS...: becomes a program of an unpacked image, as an orchestrator would run it.

The program sees ROOT as a read-only root, user 65532, no capability, no new privileges, and the host's network. What the
tests share with it is bound in: the folder of temporary files and the files of name resolution. It keeps this process's
id, so that the tests' signals reach the program itself. Needs root (it makes mounts in a namespace of its own).
"""
import ctypes
import os
import platform
import signal
import sys
import tempfile

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
UID = 65532

libc = ctypes.CDLL(None, use_errno=True)


def call(name, *arguments):
    made = [argument.encode() if isinstance(argument, str) else argument for argument in arguments]
    if getattr(libc, name)(*made) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def bind(source, target, flags=0):
    call("mount", source, target, None, MS_BIND | MS_REC, None)
    if flags:
        call("mount", None, target, None, MS_REMOUNT | MS_BIND | flags, None)


def enter(root):
    """Makes root the root of a mount namespace of our own: all read-only but the folder of temporary files."""
    shared = os.path.realpath(os.environ.get("KEYROLL_SHARED", tempfile.gettempdir()))
    call("unshare", CLONE_NEWNS)
    call("mount", None, "/", None, MS_REC | MS_PRIVATE, None)
    os.makedirs(root + shared, exist_ok=True)
    for file in ("resolv.conf", "hosts"):
        open(f"{root}/etc/{file}", "a").close()
    bind(root, root, MS_RDONLY | MS_NOSUID | MS_NODEV)
    for folder in ("/proc", "/dev"):
        bind(folder, root + folder)
    for file in ("/etc/resolv.conf", "/etc/hosts"):
        bind(file, root + file, MS_RDONLY)
    bind(shared, root + shared)
    os.chdir(root)
    if libc.syscall(PIVOT_ROOT[platform.machine()], b".", b".") != 0:
        raise OSError(ctypes.get_errno(), "pivot_root")
    call("umount2", ".", MNT_DETACH)
    os.chdir("/")


def drop():
    """Gives up everything: capabilities for good, then the user."""
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    maps = ("setgroups", "deny"), ("uid_map", f"{UID} {os.geteuid()} 1"), ("gid_map", f"{UID} {os.getegid()} 1")
    call("unshare", CLONE_NEWUSER)
    for name, text in maps:
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main():
    root, program = os.path.realpath(sys.argv[1]), sys.argv[2]
    folder = os.getcwd()
    enter(root)
    drop()
    if os.path.isdir(folder):
        os.chdir(folder)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.execv(program, sys.argv[2:])


if __name__ == "__main__":
    main()
