"""bash completion: made of the programs' own help, installed where bash-completion looks, and answering in a real bash."""
import os
import re
import subprocess
from pathlib import Path

import pytest
from support import completion
from support.processes import clean_environment
from support.programs import ROOT

SCRIPT = """
source "$1"
COMP_WORDS=("${@:2}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_keyroll_complete
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(*words, file=completion.FILE, cwd="/"):
    """Returns what bash offers for the last word; words are split at = as bash does."""
    done = subprocess.run(["bash", "--norc", "-c", SCRIPT, "bash", str(file), *words], env=clean_environment(), text=True, capture_output=True,
                          cwd=cwd, check=True)
    assert not done.stderr, done.stderr
    return sorted(done.stdout.split())


def test_it_is_what_the_programs_say():
    assert completion.FILE.read_text() == completion.text(), "run tests/support/completion.py --write"


def test_every_command_of_the_table_is_offered():
    table = re.findall(r'^    \{"([a-z]+)",', (ROOT / "producer" / "main.c").read_text(), re.MULTILINE)
    assert len(table) > 12
    assert complete("keyroll", "") == sorted([*table, "help", "--help", "--version"])
    assert complete("keyroll", "help", "") == sorted(table)


def test_every_flag_of_a_command_is_offered():
    """The flags that the code knows, command by command, not only those in the help."""
    count = 0
    for file in sorted((ROOT / "producer").glob("cmd_*.c")):
        code = file.read_text()
        for name, body in re.findall(r"^int cmd_([a-z]+)\(.*?\n\{(.*?)^\}", code, re.MULTILINE | re.DOTALL):
            flags = set(re.findall(r'\{(?:\.name = )?"(--[a-z-]+)"', body))
            assert flags <= set(complete("keyroll", name, "--")), name
            count += len(flags)
    assert count >= 15


@pytest.mark.parametrize("words, offered", [
    (["keyroll", "ro"], ["rotate"]),
    (["keyroll", "rotate", "--wa"], ["--wait"]),
    (["keyroll", "schedule", "--mo"], ["--mode="]),
    (["keyroll", "schedule", "--mode", "="], ["observe", "rotate"]),
    (["keyroll", "schedule", "--mode", "=", "ro"], ["rotate"]),
    (["keyroll", "schedule", "--log-level", "w"], ["warn"]),
    (["keyroll", "inventory", ""], ["check"]),
    (["keyroll", "topics", "a"], ["apply"]),
    (["keyroll", "nothing", "--"], []),
    (["keyroll", "status", "--max-age", "="], []),
    (["keyroll-worker", "--max-in"], ["--max-in-flight="]),
    (["/usr/bin/keyroll", "pa"], ["pause"]),
])
def test_offers(words, offered):
    assert complete(*words) == offered


def test_files_where_a_setting_is_one(tmp_path):
    (tmp_path / "inventory.csv").touch()
    assert complete("keyroll", "plan", "--inventory", "=", "inv", cwd=tmp_path) == ["inventory.csv"]
    assert complete("keyroll", "inventory", "check", "inv", cwd=tmp_path) == ["inventory.csv"]


def test_secrets_are_no_flags():
    assert not [word for word in complete("keyroll", "plan", "--") if word == "--redis-password="]
    assert "--redis-password-file=" in complete("keyroll", "plan", "--")


def test_it_is_installed(tmp_path):
    build = Path(os.environ.get("KEYROLL_BIN", ROOT / "build" / "release"))
    subprocess.run(["cmake", "--install", build, "--prefix", tmp_path], check=True, capture_output=True)
    for program in ("keyroll", "keyroll-worker"):
        file = tmp_path / "share" / "bash-completion" / "completions" / program
        assert complete(program, "--mo" if program == "keyroll-worker" else "ro", file=file) == \
            (["--mode="] if program == "keyroll-worker" else ["rotate"])
