#!/usr/bin/env python3
"""memory.py PID: searches a process' memory for byte strings, read from stdin as lines NAME, tab, hexadecimal digits.

Prints NAME, tab, name of the mapping, tab, its VmFlags (proc(5)), once for each mapping that holds it; never the bytes.
Standard library only. Needs root when the process is not dumpable.
"""
import re
import sys

CHUNK = 16 << 20


def mappings(pid):
    """Yields (first, last, name, flags) of what can be read."""
    first = None
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
            if head:
                first, last = int(head.group(1), 16), int(head.group(2), 16)
                name, readable = head.group(4) or "anonymous", head.group(3)[0] == "r"
            elif line.startswith("VmFlags:") and readable and name not in ("[vvar]", "[vsyscall]"):
                yield first, last, name, line.split(":", 1)[1].strip()


def main():
    pid = int(sys.argv[1])
    needles = {bytes.fromhex(value): name for name, value in (line.rstrip("\n").split("\t") for line in sys.stdin)}
    pattern = re.compile(b"|".join(re.escape(needle) for needle in needles))
    overlap = max(map(len, needles))
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for first, last, name, flags in mappings(pid):
            found, at, before = set(), first, b""
            while at < last:
                try:
                    memory.seek(at)
                    bytes_read = memory.read(min(CHUNK, last - at))
                except OSError:
                    break  # a guard page, or gone meanwhile
                if not bytes_read:
                    break
                found |= {needles[hit] for hit in pattern.findall(before + bytes_read)}
                before = bytes_read[-overlap:]
                at += len(bytes_read)
            for one in sorted(found):
                print(f"{one}\t{name}\t{flags}")


if __name__ == "__main__":
    main()
