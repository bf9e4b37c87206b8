#!/usr/bin/env python3
"""Checks the include lines: which folder may use which, and which one file may use an I/O library.

The rules are two tables. Standard library only; prints one line per breach, exit 1 if there is one.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

# Folder -> the folders of ours it may include from (itself always).
ARROWS = {
    "lib": set(),
    "schema": {"lib"},
    "worker": {"schema", "lib"},
    "producer": {"schema", "lib"},
}

# Header of a library that does I/O -> the files that may include it. Jansson and OpenSSL's hashes are free to all.
IO_HEADERS = {
    r"hiredis/.*": {"lib/redis.c"},
    r"librdkafka/.*": {"lib/kafka_in.c", "lib/kafka_out.c", "lib/kafka_follow.c", "lib/kafka_admin.c", "lib/kafka_conf.c", "lib/kafka_mock.c"},
    r"curl/.*": {"lib/http.c", "lib/http_handle.c", "lib/http_handle.h"},
    r"microhttpd\.h": {"lib/http_server.c"},
    r"expat\.h": {"lib/xml.c"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.MULTILINE)


def check_file(path, folder):
    """Yields the breaches of one file."""
    name = path.relative_to(ROOT).as_posix()
    for style, target in INCLUDE.findall(path.read_text(errors="replace")):
        above = target.split("/")[0]
        if style == '"' and "/" not in target:
            yield f'{name}: include "{target}" from the root, as "{folder}/{target}"'
        if target.startswith("../") or "/../" in target:
            yield f"{name}: {target} leaves its folder"
        if (above in ARROWS or above == "tests") and above != folder and above not in ARROWS[folder]:
            yield f"{name}: {folder} may not use {target}"
        for pattern, allowed in IO_HEADERS.items():
            if re.fullmatch(pattern, target) and name not in allowed:
                yield f"{name}: <{target}> is for {', '.join(sorted(allowed))} only"


def breaches():
    found = []
    for folder in ARROWS:
        files = sorted(path for suffix in ("*.c", "*.h", "*.inc", "*.def") for path in (ROOT / folder).rglob(suffix))
        if not files:
            found.append(f"{folder}/ holds no C file")
        for path in files:
            found += check_file(path, folder)
    return found


if __name__ == "__main__":
    complaints = breaches()
    print("\n".join(complaints) or "arrows: ok")
    sys.exit(1 if complaints else 0)
