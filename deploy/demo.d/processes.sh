# shellcheck shell=bash
# The demo's folder and processes. What is started carries the folder's name in its environment: by that `stop` finds
# all of it again, whatever happened in between, and nothing else.
# shellcheck disable=SC2154,SC2034  # the parts set and use variables of each other

folder=''
finished=no
declare -A pid_of=() # <name>: process of a server

# Makes the demo's own folder. Other users may pass through it: PostgreSQL does not run as root.
open_folder() {
    umask 077
    folder=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-demo.XXXXXX")
    chmod 711 "$folder"
    cd "$folder" || exit 1
    mkdir logs
    install -m 700 "$parts/stop" stop
    trap 'interrupted 130' INT
    trap 'interrupted 143' TERM
    trap 'interrupted 129' HUP
    trap 'leave $?' EXIT
    printf 'Holdfast demo: PostgreSQL to %s and back, on this machine alone.\n' \
        "$([[ $vault == s3 ]] && echo 'an S3 server' || echo 'a folder')"
    printf 'Folder: %s\n' "$folder"
}

# Settings of the person's own shell must not lead the demo to their real servers.
forget_environment() {
    local name
    for name in $(compgen -e); do
        case $name in
            PG* | AWS_* | RESTIC_* | HOLDFAST_ACCESS_KEY_ID | HOLDFAST_SECRET_ACCESS_KEY | HOLDFAST_SESSION_TOKEN | HOLDFAST_CONFIG)
                unset "$name" ;;
        esac
    done
    export LC_ALL=C.UTF-8
}

# Runs a command that may take long so that ctrl-C is answered at once: bash waits for `wait`, not for the command.
run() { # <command...>
    HOLDFAST_DEMO_FOLDER=$folder "$@" &
    wait $!
}

# Starts a server in a session of its own, with its output in logs/<name>.log.
start() { # <name> <command...>
    local name=$1
    shift
    HOLDFAST_DEMO_FOLDER=$folder setsid "$@" </dev/null >"$folder/logs/$name.log" 2>&1 &
    pid_of[$name]=$!
    disown
}

# Waits until a server answers; fails when it ends instead, or takes too long.
wait_for() { # <name> <seconds> <command that succeeds when it answers...>
    local name=$1 deadline=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        [[ -d /proc/${pid_of[$name]} ]] || fail_with_log "$name" "$name has ended instead of answering"
        ((SECONDS < deadline)) || fail_with_log "$name" "$name does not answer"
        sleep 0.1 &
        wait $!
    done
}

# A port that nobody listens on, below those that the kernel gives to outgoing connections. Never the same twice.
declare -A given_ports=()
free_port() { # <variable that gets it>
    local candidate
    for _ in {1..200}; do
        candidate=$((20000 + RANDOM % 12000))
        [[ -z ${given_ports[$candidate]:-} ]] || continue
        if ! answers "$candidate"; then
            given_ports[$candidate]=1
            printf -v "$1" '%d' "$candidate"
            return
        fi
    done
    fail "found no free port"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

random_hex() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

interrupted() { # <exit code>
    trap '' INT TERM HUP
    printf '\ninterrupted: stopping what was started\n' >&2
    exit "$1"
}

# However the demo ends: nothing is left running, unless it was asked to keep it.
leave() { # <exit code>
    trap '' INT TERM HUP
    trap - EXIT
    if [[ $finished == yes && $keep == yes ]]; then exit 0; fi
    local code=$1
    # Whatever a failed command answered: the demo has failed.
    case $code in
        0 | 129 | 130 | 143) ;;
        *)
            code=1
            show_logs ;;
    esac
    if ((code == 1)) && [[ $keep == yes ]]; then
        printf '\nLeft as it is, for a look: %s   (stop it: %s/stop)\n' "$folder" "$folder" >&2
        exit 1
    fi
    # bash tells of every job that is killed; what `stop` itself has to say still comes through.
    exec 4>&2 2>/dev/null
    "$folder/stop" 2>&4 || exit 1
    exit "$code"
}
