# bash completion for keyroll and keyroll-worker: commands, their flags, settings and values that are known.
# Made by tests/support/completion.py --write; do not edit.

declare -A _keyroll_commands=(
    [up]=""
    [schedule]="--once"
    [plan]="--all --at --days --json"
    [policy]="check diff --all --at --days --json"
    [rotate]="--wait --exposed"
    [status]="--json"
    [audit]="--json"
    [reveal]="--to"
    [confirm]=""
    [adopt]="--replaced --leave --current --force"
    [dead]="list show replay drop --reason --all --dry-run --json --closed --limit --pace --class --code --step --account --licence --older --younger"
    [pause]="--account --reason"
    [resume]="--account"
    [campaign]="start list show pause resume stop --name --all --filter --file --watch --reason --waves --pace --stop-at-failures --dry-run --json"
    [inventory]="check"
    [topics]="apply --dry-run --file"
    [escrow]="rekey --dry-run"
    [doctor]="--json"
    [version]="--json"
)
declare -A _keyroll_choices=(
    [s3_path_style]="auto true false"
    [mode]="observe rotate"
    [log_level]="error warn info debug"
)
_keyroll_settings="config brokers topic_prefix group session_timeout heartbeat retry_delays retry_cap max_attempts redis_url redis_password_file redis_prefix ca_file aws_region aws_profile aws_partition aws_endpoint aws_endpoint_iam aws_endpoint_sts aws_endpoint_s3 aws_role_template aws_external_id aws_session_name s3_path_style iam_calls_per_s iam_share user_template inventory inventory_discover discover_path discover_prefix discover_tag profiles_dir mode policy_file max_rotations_per_hour triggers_per_hour max_age max_age_jitter audit_interval tick plan_publish_rate overlap quarantine skew_limit create_doubt newcomer_wait settle_successes settle_interval settle_timeout retire_watch assisted_poll notify_command notify_url notify_url_file notify_interval escrow_key_file lease_ttl lease_renew lease_max_age mutate_timeout read_timeout max_in_flight max_calls_per_host urgent_share listen log_level worker_id state_dir drain_timeout"
_keyroll_files="config to file redis_password_file ca_file inventory profiles_dir policy_file notify_url_file escrow_key_file state_dir"
_keyroll_valued="account at code current days file filter leave licence limit name older pace reason replaced step stop_at_failures to waves younger"

# Prints what may follow --FLAG= or --FLAG; returns 1 when the flag takes no value.
_keyroll_value()
{
    local name=${1#--} cur=$2 IFS=$' \t\n'
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
        local IFS=$'\n'
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
