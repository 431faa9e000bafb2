# shellcheck shell=bash
# What the person at the terminal sees: numbered steps with their time, what was typed, and why it failed.
# shellcheck disable=SC2154,SC2034  # the parts set and use variables of each other

demo_started=$EPOCHREALTIME
step_number=0
step_title=''
declare -A took=() # <step's title>: seconds

say() { printf '      %s\n' "$*"; }

# Begins a step; the one before it is over.
step() {
    end_step
    step_number=$((step_number + 1))
    step_title=$1
    step_started=$EPOCHREALTIME
    printf '\n[%d] %s\n' "$step_number" "$step_title"
}

end_step() {
    [[ -n $step_title ]] || return 0
    took[$step_title]=$(seconds_since "$step_started")
    say "-- ${took[$step_title]} s"
    step_title=''
}

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# Says the command as a person would type it, and runs it with its output indented.
shown() { # <command...>
    say "\$ $(printf '%s ' "${@@Q}" | sed "s/'\([A-Za-z0-9_.:\/=-]*\)'/\1/g; s/ $//")"
    run indented "$@"
}

# Output is no terminal, so every program writes plain lines.
indented() { "$@" 2>&1 | sed 's/^/        /'; }

usage() {
    printf 'deploy/demo: %s\nhint: deploy/demo --help\n' "$1" >&2
    exit 2
}

# Ends the demo: what is wrong, and what to do.
fail() {
    printf '\ndeploy/demo: step %d (%s) failed: %s\n' "$step_number" "${step_title:-starting}" "$1" >&2
    [[ -z ${2:-} ]] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

# The last words of what may have to do with a failure.
guilty=(coordinator agent)
show_logs() {
    local name log
    for name in "${guilty[@]}"; do
        log=$folder/logs/$name.log
        [[ -s $log ]] || continue
        printf '\n---- the last lines of logs/%s.log\n' "$name" >&2
        tail -n 15 "$log" >&2
    done
    [[ $keep == yes ]] || printf '\nhint: with --keep everything is left for a look\n' >&2
}

# Fails because of a program whose log says more.
fail_with_log() { # <name of the log> <message>
    guilty=("$1")
    fail "$2"
}

how_to_talk_to_it() {
    printf '\nEverything is still running. Talk to it:\n\n'
    # shellcheck disable=SC2016  # for the person's own shell
    printf '    export PATH=%q:$PATH HOLDFAST_CONFIG=%q\n' "$bin_dir" "$HOLDFAST_CONFIG"
    printf '    holdfastctl status\n'
    printf '    holdfastctl restore %s --database shop --into shop_copy\n' "$source_name"
    printf '    holdfastctl --help\n\n'
    printf 'The databases: psql -h %q -p %s -U postgres shop\n' "$folder/postgres" "$postgres_port"
    printf 'Stop it and remove its folder: %q\n' "$folder/stop"
}
