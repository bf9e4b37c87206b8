"""Turns a counterexample of spin into a readable history: one line per step, who did it, and what it changed."""
import re
import subprocess
from pathlib import Path

MODEL = Path(__file__).resolve().parent / "rotation.pml"
STEP = re.compile(r"^\s*\d+:\s+proc\s+\d+ \((\S+?):\d+\) \S+:(\d+) \(state \d+\)\s*(.*)$")
VALUE = re.compile(r"^\s+(\w+(?:\[\d\])?(?:\.\w+)?) = (\d+)$")
JOURNAL = ["none", "intent", "doubt", "doubt, Inactive", "created", "set", "withdraw", "undo", "deactivate", "reactivate",
           "delete"]
PERSON = ["nobody", "unexplained key", "drifted", "key touched by others", "doubtful newcomer", "stuck",
          "retire or reap without proof"]
CALLS = ["none", "CreateAccessKey", "set Inactive", "set Active", "DeleteAccessKey", "write to the instance"]


def keys(mask):
    return "{" + " ".join(f"K{k}" for k in range(1, 8) if int(mask) >> k & 1) + "}"


def key(k):
    return f"K{k}" if int(k) else "none"


SHOWN = {
    "act": ("AWS Active", keys), "ina": ("AWS Inactive", keys), "foreign": ("stranger's", keys),
    "used": ("used by the stranger", keys), "inst": ("INSTANCE holds", key),
    "r.cur": ("record current", key), "r.ret": ("record retire", keys), "r.reap": ("record reap", keys),
    "r.kept": ("kept pair", str), "r.st": ("PERSON ASKED", lambda v: PERSON[int(v)]),
    "r.js": ("journal", lambda v: JOURNAL[int(v)]), "r.jn": ("journal key_new", key), "r.jo": ("journal key_old", key),
    "r.sealed": ("journal sealed", str), "r.lease": ("lease", lambda v: f"worker {v}" if int(v) else "free"),
    "ev.js": ("events journal", lambda v: JOURNAL[int(v)]), "ev.cur": ("events current", key),
    "faults": ("FAULT, left", str), "late_op[0]": ("UNDER WAY 1", lambda v: CALLS[int(v)]),
    "late_op[1]": ("UNDER WAY 2", lambda v: CALLS[int(v)]), "late_key[0]": ("of 1", key), "late_key[1]": ("of 2", key),
    "orphan_key": ("ORPHAN to delete", key), "holdoff": ("hold-off", str),
}


def rows():
    """Line number -> name of the row (the nearest label above it)."""
    names, name = {}, ""
    for number, line in enumerate(MODEL.read_text().splitlines(), 1):
        if line.startswith(("proctype", "init")):
            name = ""
        label = re.match(r"^(\w+):", line)
        if label and label.group(1) != "none":
            name = label.group(1).replace("end_", "")
        names[number] = name
    return names


def cause(line_text):
    """A step of the world, in words: the comment or guard of its line."""
    for word, text in (("lands(0)", "call 1 lands"), ("lands(1)", "call 2 lands"), ("free_slot_of(0)", "call 1 comes to nothing"),
                       ("free_slot_of(1)", "call 2 comes to nothing"), ("FAILOVER", "Redis fails over: its last write is lost"),
                       ("FLUSH", "Redis loses everything"), ("inst = bak", "the instance is restored"),
                       ("foreign | B", "a stranger makes a key"), ("k = 1", "a stranger touches a key"),
                       ("producer/survey", "scheduler puts back what the events say"), ("used |", "the stranger uses its key"),
                       ("faults = 0", "faults stop"), ("timeout", "nothing is left to do"), ("orphan_key = 0", "R14: orphan")):
        if word in line_text:
            return text
    return "time passes"


def replay(trail, defines, folder):
    done = subprocess.run(["spin", "-t", "-p", "-g", "-w", *defines, "-k", str(trail), str(MODEL)], cwd=folder, text=True,
                          capture_output=True)
    return done.stdout.splitlines()


def tell(trail, defines, folder):
    """Returns the lines of the history. trail: pan's file; defines: the -D options the model was made with."""
    row_of, text, story = rows(), MODEL.read_text().splitlines(), []
    before, now, who, place, first = {}, {}, None, None, 0

    def flush():
        changed = []
        for name, (label, show) in SHOWN.items():
            if now.get(name) != before.get(name) and name in now:
                changed.append(f"{label} {show(now[name])}")
        if who and who[0] != ":init:" and (changed or before == {}):
            actor = f"worker {who[1]}: {place}" if who[0] == "worker" else cause(text[first - 1])
            story.append(f"{actor:<34} {'; '.join(changed)}")
        before.clear()
        before.update(now)

    for line in replay(trail, defines, folder):
        step, value = STEP.match(line), VALUE.match(line)
        if value:
            now[value.group(1)] = value.group(2)
        elif step:
            number = int(step.group(2))
            actor = (step.group(1), re.search(r"proc\s+(\d+)", line).group(1))
            here = row_of[number] or (place if actor == who else "")
            if actor != who or here != place or (actor[0] == "world" and "timeout" in text[number - 1]) or \
                    (actor[0] == "world" and text[number - 1].lstrip().startswith(":: atomic")):
                flush()
                who, place, first = actor, here, number
        elif "failed" in line or "violated" in line:
            story.append(line.strip())
    flush()
    return story


if __name__ == "__main__":
    import sys
    print("\n".join(tell(sys.argv[1], sys.argv[2:], ".")))
