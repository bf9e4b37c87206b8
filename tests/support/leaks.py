"""Searches what a run left behind for secrets: files (logs, AOF, broker segments, core files), topics, metrics.

A secret is looked for raw (either half is enough, so a cut one is found too), percent-encoded in upper and lower hex, in
base64 and its URL form at the three alignments, in hex, and JSON- and XML-escaped. grep does the search: its fixed-string
matcher takes thousands of needles at once. Needles go to grep by a file of mode 0600, never by its command line.
"""
import base64
import html
import json
import os
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

HALF = 20     # an AWS secret has 40 characters
SHORTEST = 8  # anything shorter would be found by chance


def base64_forms(raw):
    """Yields what base64 makes of raw at each alignment, without the characters that also depend on its neighbours."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw)
        first = (0, 2, 3)[before]
        usable = (before + len(raw)) * 8 // 6  # characters wholly made of our bits
        text = text[first:usable]
        yield text
        yield text.translate(bytes.maketrans(b"+/", b"-_"))


def percent_forms(text):
    for safe in ("", "/", "+", "/+=", "/="):
        upper = urllib.parse.quote(text, safe=safe)
        yield upper.encode()
        yield lower_hex(upper)
        yield upper.replace("%", "%25").encode()


def lower_hex(quoted):
    first, *rest = quoted.split("%")
    return "%".join([first] + [part[:2].lower() + part[2:] for part in rest]).encode()


def forms(secret):
    """Returns the byte strings that would give the secret away. Longer ones that contain a shorter one are left out."""
    raw = secret if isinstance(secret, bytes) else secret.encode()
    if len(raw) < SHORTEST:
        raise ValueError("too short to be searched for")
    found = {raw, raw.hex().encode(), raw.hex().upper().encode(), *base64_forms(raw)}
    if len(raw) >= 2 * HALF:
        found |= {raw[:HALF], raw[-HALF:]}
    if isinstance(secret, str):
        quoted = json.dumps(secret)[1:-1]
        found |= {quoted.encode(), quoted.replace("/", "\\/").encode(), html.escape(secret).encode(), *percent_forms(secret)}
    found = {form for form in found if b"\n" not in form and b"\0" not in form and len(form) >= SHORTEST}
    return {form for form in found if not any(other != form and other in form for other in found)}


def search(paths, secrets, exclude=()):
    """Searches files and folders. Returns complaints "PATH: holds secret NAME"; never the secret itself.

    secrets: {name: str or bytes}. exclude: files and folders that hold them by right. A secret must not be empty.
    """
    names = {}
    for name, secret in secrets.items():
        for form in forms(secret):
            names[form] = name
    if not names:
        raise ValueError("no secret to search for")
    exclude = [Path(path).resolve() for path in exclude]
    files = [path for path in listed(paths) if not any(path == no or no in path.parents for no in exclude)]
    if not files:
        raise ValueError("no file to search in")
    handle, needles = tempfile.mkstemp(prefix="needles-")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(b"".join(form + b"\n" for form in names))
        complaints = set()
        for start in range(0, len(files), 500):
            done = subprocess.run(["grep", "-aHoFZ", "-f", needles, "--", *map(str, files[start:start + 500])],
                                  capture_output=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
            errors = [line for line in done.stderr.decode(errors="replace").splitlines() if not went_away(line)]
            if errors:
                raise RuntimeError("\n".join(errors[:20]))
            for line in done.stdout.split(b"\n"):
                file, nul, form = line.partition(b"\0")
                if nul:
                    complaints.add(f"{file.decode()}: holds secret {names.get(form, '?')}")
        return sorted(complaints)
    finally:
        os.unlink(needles)


def went_away(complaint):
    """True for grep's complaint about a file that its owner removed meanwhile: a broker clears away deleted topics."""
    return complaint.endswith(": No such file or directory")


def listed(paths):
    """Yields the plain files under paths."""
    for path in map(Path, paths):
        if path.is_file():
            yield path.resolve()
        for folder, _, names in os.walk(path):
            for name in names:
                file = Path(folder, name)
                if file.is_file() and not file.is_symlink():
                    yield file.resolve()


def dump_topics(kafka, path, *topics):
    """Writes every message of the topics (key, headers, value; decompressed) to path, one line each."""
    with open(path, "wb") as out:
        for message in kafka.messages(*topics):
            head = f"{message.topic()} {message.partition()} {message.offset()} ".encode()
            headers = b" ".join(f"{name}=".encode() + (value or b"") for name, value in message.headers() or [])
            out.write(head + (message.key() or b"") + b" " + headers + b" " + (message.value() or b"") + b"\n")
    return Path(path)


def dump_redis(client, path):
    """Writes every key with its value (strings, hashes, lists, sets, sorted sets) to path."""
    readers = {"string": client.get, "hash": client.hgetall, "list": lambda key: client.lrange(key, 0, -1),
               "set": client.smembers, "zset": lambda key: client.zrange(key, 0, -1, withscores=True)}
    with open(path, "w", errors="replace") as out:
        for key in client.scan_iter(count=1000):
            kind = client.type(key)
            out.write(f"{key} {readers[kind](key) if kind in readers else kind}\n")
    return Path(path)
