#!/usr/bin/env python3
"""The lint suite: builds without a warning by gcc and clang, and rules that a machine can check on the source.

Each check is one test. Standard library only. With arguments: only the checks whose name contains one of them.
"""
import json
import os
import py_compile
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import check_arrows
import junit

ROOT = check_arrows.ROOT
BUILD = Path(os.environ.get("KEYROLL_BUILD", ROOT / "build"))
MAX_LINES = 1200
PROGRAMS = ("keyroll", "keyroll-worker")

# Folder prefixes -> (pattern, why). Patterns see the code without its comments and strings.
BANNED = [
    (("lib/", "schema/", "worker/", "producer/"), r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|system|popen)\s*\(",
     "unbounded or shell: use the bounded form"),
    (("lib/", "schema/", "worker/", "producer/"), r"\b(sleep|usleep|nanosleep|clock_nanosleep)\s*\(",
     "no sleep where an event belongs: use a timer of the loop"),
    (("lib/aws", "schema/", "worker/", "producer/"), r"\bjson_loadb\s*\(", "jansson hides that memory is short: use json_read()"),
    (("worker/", "producer/"), r"\bjson_loads\s*\(", "jansson hides that memory is short: use json_read()"),
    (("lib/", "schema/", "worker/"), r"\bexit\s*\(", "only a program's main and its commands may end it"),
    (("lib/", "schema/", "worker/", "producer/"), r"^\s*typedef\s+struct\b[^(]*$", "no typedef for structs"),
]
# What no file of the project may say. Put together here, so that this file does not say it either.
FORBIDDEN = ["/wo" + "rk/main", "/wo" + "rk/shared", "/tm" + "p/kr", "FIX" + "ME", "X" + "XX:", "HA" + "CK:", "<<<<" + "<<< "]
SECRET_FLAG = re.compile(r"--([a-z0-9-]*(?:password|passphrase|secret|token|credential|private-key|escrow-key)[a-z0-9-]*)")
SECRET_FLAG_FINE = re.compile(r"-(file|path|dir|name|id|url)$|^show-|^no-")


def tracked(*suffixes):
    """Lists the files git knows, or would add, by suffix."""
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, capture_output=True,
                             check=True).stdout.split("\n")
    names = [name for name in listing if name and (ROOT / name).is_file()]
    return [name for name in names if not suffixes or name.endswith(suffixes)]


def sources():
    return [name for name in tracked(".c", ".h") if name.startswith(("lib/", "schema/", "producer/", "worker/", "tests/"))]


def without_comments(text, strings=True):
    """Blanks comments (and strings), keeping line numbers."""
    def blank(match):
        found = match.group(0)
        if found[0] in "\"'" and not strings:
            return found
        return re.sub(r"[^\n]", " ", found)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.DOTALL)


def lines_matching(names, pattern, why, prepare=lambda text: text):
    for name in names:
        text = prepare((ROOT / name).read_text(errors="replace"))
        for number, line in enumerate(text.split("\n"), 1):
            if re.search(pattern, line):
                yield f"{name}:{number}: {line.strip()[:100]}: {why}"


def build(preset):
    done = subprocess.run([ROOT / "tests/support/build", preset], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return []
    telling = [line for line in done.stdout.split("\n") if re.search(r"error|warning|FAILED", line)]
    return (telling or done.stdout.split("\n"))[:40]


def format_check():
    names = sources()
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *names], cwd=ROOT, text=True, capture_output=True)
    files = sorted({line.split(":")[0] for line in done.stderr.split("\n") if ": error: " in line})
    return [f"{file}: clang-format would change it" for file in files] or ([done.stderr] if done.returncode else [])


def banned_calls():
    found = []
    for folders, pattern, why in BANNED:
        names = [name for name in sources() if name.startswith(folders) and not name.endswith("/main.c")]
        found += lines_matching(names, pattern, why, without_comments)
    return found


def forbidden_words():
    pattern = "|".join(re.escape(word) for word in FORBIDDEN)
    names = [name for name in tracked() if b"\0" not in (ROOT / name).read_bytes()[:4096]]
    return lines_matching(names, pattern, "has no place in the project")


def secrets_as_flags():
    """Reads the programs' own --help: no flag takes a secret, a file with it at most."""
    for program in PROGRAMS:
        found = [path for path in sorted((BUILD / "dev").rglob(program)) if path.is_file() and os.access(path, os.X_OK)]
        if not found:
            yield f"{program}: not built"
            continue
        shown = subprocess.run([found[0], "--help"], text=True, capture_output=True, timeout=20)
        if shown.returncode != 0 or not shown.stdout:
            yield f"{program} --help: exit status {shown.returncode}, {len(shown.stdout)} bytes on stdout"
        for flag in sorted(set(SECRET_FLAG.findall(shown.stdout))):
            if not SECRET_FLAG_FINE.search(flag):
                yield f"{program}: --{flag} would put a secret on the command line"


def man_page():
    """keyroll(1) is what the program itself says of its commands; man takes all pages without a complaint."""
    made = subprocess.run([BUILD / "dev/producer/keyroll", "help", "--man"], text=True, capture_output=True, timeout=20).stdout
    if made != (ROOT / "deploy/man/keyroll.1").read_text():
        yield "deploy/man/keyroll.1 differs: build/dev/producer/keyroll help --man > deploy/man/keyroll.1"
    for page in tracked(".1", ".5"):
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", ROOT / page], text=True, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
        if done.returncode != 0 or done.stderr:
            yield f"{page}: {done.stderr.strip()[:300]}"


def file_length():
    for name in sources() + tracked(".py"):
        lines = (ROOT / name).read_text(errors="replace").count("\n")
        if lines > MAX_LINES:
            yield f"{name}: {lines} lines, at most {MAX_LINES}"


def scripts():
    """Splits the tracked files into shell and Python ones, by suffix or first line."""
    shell, python = [], []
    for name in tracked():
        with open(ROOT / name, "rb") as file:
            first = file.readline(200)
        if name.endswith(".py") or (first.startswith(b"#!") and b"python" in first):
            python.append(name)
        elif name.endswith(".sh") or (first.startswith(b"#!") and re.search(rb"\b(ba|da)?sh\b", first)):
            shell.append(name)
    return shell, python


def shell_syntax():
    for name in scripts()[0]:
        done = subprocess.run(["bash", "-n", name], cwd=ROOT, text=True, capture_output=True)
        if done.returncode != 0:
            yield done.stderr.strip()


def python_syntax():
    with tempfile.TemporaryDirectory() as scratch:
        for name in scripts()[1]:
            try:
                py_compile.compile(str(ROOT / name), cfile=os.path.join(scratch, "out.pyc"), doraise=True)
            except py_compile.PyCompileError as error:
                yield f"{name}: {error.msg.strip()}"


def data_files():
    for name in tracked(".json", ".xml"):
        if "/bad/" in name or "/corpus/" in name or "/data/" in name:
            continue  # meant to be broken, or published as they are
        try:
            if name.endswith(".json"):
                json.loads((ROOT / name).read_text())
            else:
                ElementTree.parse(ROOT / name)
        except (ValueError, ElementTree.ParseError) as error:
            yield f"{name}: {error}"


CHECKS = [
    ("build with gcc, debug", build, "dev"),
    ("build with gcc, optimised", build, "release"),
    ("build with clang", build, "clang"),
    ("clang-format", format_check),
    ("include arrows and I/O libraries", check_arrows.breaches),
    ("banned calls", banned_calls),
    ("forbidden words", forbidden_words),
    ("no secret as a flag", secrets_as_flags),
    ("man pages", man_page),
    ("file length", file_length),
    ("shell syntax", shell_syntax),
    ("Python syntax", python_syntax),
    ("JSON and XML files", data_files),
]


def main():
    report = junit.Report("lint")
    for name, function, *arguments in CHECKS:
        if not sys.argv[1:] or any(part in name for part in sys.argv[1:]):
            report.check(name, function, *arguments)
    return report.save()


if __name__ == "__main__":
    sys.exit(main())
