#!/usr/bin/env python3
"""Makes deploy/completion/keyroll.bash of the programs' own help: completion.py --write. A test compares.

Commands and their flags come from `keyroll help`, settings from the sample file, which a unit test compares with the table.
"""
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support import chart_files  # noqa: E402
from support.processes import clean_environment  # noqa: E402
from support.programs import ROOT, binary  # noqa: E402

FILE = ROOT / "deploy" / "completion" / "keyroll.bash"

HEAD = """\
# bash completion for keyroll and keyroll-worker: commands, their flags, settings and values that are known.
# Made by tests/support/completion.py --write; do not edit.

"""
BODY = """
# Prints what may follow --FLAG= or --FLAG; returns 1 when the flag takes no value.
_keyroll_value()
{
    local name=${1#--} cur=$2 IFS=$' \\t\\n'
    name=${name//-/_}
    if [[ ${_keyroll_choices[$name]+x} ]]; then
        compgen -W "${_keyroll_choices[$name]}" -- "$cur"
    elif [[ " $_keyroll_files " == *" $name "* ]]; then
        compgen -f -- "$cur"
    elif [[ " $_keyroll_settings $_keyroll_valued " != *" $name "* ]]; then
        return 1
    fi
}

_keyroll_complete()
{
    local cur=${COMP_WORDS[COMP_CWORD]} flag= command= words=
    if [[ $cur == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 1]} cur=
    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == --* && $cur != -* ]]; then
        flag=${COMP_WORDS[COMP_CWORD - 1]}
    fi
    COMPREPLY=()
    if [[ $flag == --* ]]; then
        local IFS=$'\\n'
        if words=$(_keyroll_value "$flag" "$cur"); then
            COMPREPLY=($words)
            return
        fi
        unset IFS
    fi
    if [[ ${COMP_WORDS[0]##*/} == keyroll ]]; then
        command=${COMP_WORDS[1]}
        if ((COMP_CWORD == 1)); then
            COMPREPLY=($(compgen -W "${!_keyroll_commands[*]} help --help --version" -- "$cur"))
            return
        fi
        if [[ $command == help ]]; then
            COMPREPLY=($(compgen -W "${!_keyroll_commands[*]}" -- "$cur"))
            return
        fi
        [[ ${_keyroll_commands[$command]+x} ]] || return
        words=${_keyroll_commands[$command]}
    fi
    if [[ $cur == -* ]]; then
        local name
        for name in $_keyroll_settings; do words+=" --${name//_/-}="; done
        COMPREPLY=($(compgen -W "$words --help" -- "$cur"))
        [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
        return
    fi
    local word plain=
    for word in $words; do [[ $word == -* ]] || plain+=" $word"; done
    ((COMP_CWORD == 2)) && COMPREPLY=($(compgen -W "$plain" -- "$cur"))
    [[ $command == inventory && $COMP_CWORD -gt 2 ]] && COMPREPLY=($(compgen -f -- "$cur"))
}

complete -F _keyroll_complete keyroll keyroll-worker
"""


def told(*words):
    return subprocess.run([binary("keyroll"), *words], env=clean_environment(), text=True, capture_output=True, check=True).stdout


def commands():
    """Returns {command: (second words and flags, flags that take a value)}."""
    listing = told("help").split("commands:\n")[1].split("\n\n")[0]
    found = {}
    own = {row["name"].replace("_", "-") for row in chart_files.sample_settings()}
    for name in re.findall(r"^  ([a-z]+) ", listing, re.MULTILINE):
        text_of = told("help", name).split("\nSettings, in rising order")[0]
        arguments = text_of.splitlines()[0].removeprefix(f"usage: keyroll {name} ").removesuffix("[SETTINGS]")
        flags = {}
        for flag, value in re.findall(r"(--[a-z][a-z-]*)(?:[ =]([A-Z]+))?", text_of):
            if flag[2:] not in own and flag != "--help":
                flags[flag] = flags.get(flag) or value
        words = re.findall(r"(?:^|\| )([a-z]+)\b", arguments)
        found[name] = (words + list(flags), [flag for flag, value in flags.items() if value])
    return found


def text():
    """Returns the completion file."""
    known, rows = commands(), chart_files.sample_settings()
    names = ["config"] + [row["name"] for row in rows if row["type"] != "secret"]
    files = ["config", "to", "file"] + [row["name"] for row in rows if row["type"] == "path" or row["name"] == "escrow_key_file"]
    valued = sorted({flag[2:].replace("-", "_") for _, flags in known.values() for flag in flags})
    lines = ["declare -A _keyroll_commands=("]
    for name, (flags, _) in known.items():
        lines.append(f'    [{name}]="{" ".join(flags)}"')
    lines += [")", "declare -A _keyroll_choices=("]
    lines += [f'    [{row["name"]}]="{row["type"].replace("|", " ")}"' for row in rows if "|" in row["type"]]
    lines += [")", f'_keyroll_settings="{" ".join(names)}"', f'_keyroll_files="{" ".join(files)}"',
              f'_keyroll_valued="{" ".join(valued)}"']
    return HEAD + "\n".join(lines) + "\n" + BODY


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())
