# Sourced: waits for a command to succeed, or ends the script.
wait_for() { # WHAT COMMAND...: a busy machine may take minutes
    what=$1 && shift
    for _ in $(seq 1500); do
        "$@" > /dev/null 2>&1 && return
        sleep 0.2
    done
    echo "$what: not there after 5 minutes" >&2
    exit 1
}
