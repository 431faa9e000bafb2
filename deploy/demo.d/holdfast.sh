# shellcheck shell=bash
# Holdfast itself: its programs, a coordinator, an agent beside the database server, and what an operator types.
# shellcheck disable=SC2154,SC2034  # the parts set and use variables of each other

source_name=demo-db
programs=(holdfast-coordinator holdfast-agent holdfastctl)

get_programs() {
    local program
    if [[ -z $bin_dir ]]; then
        say "cargo build --release (the first time takes minutes, later ones seconds)"
        (cd "$root" && run cargo build --release --locked \
            -p holdfast-coordinator -p holdfast-agent -p holdfast-ctl) || fail "the build failed"
        bin_dir=${CARGO_TARGET_DIR:-target}/release
        [[ $bin_dir == /* ]] || bin_dir=$root/$bin_dir
    fi
    for program in "${programs[@]}"; do
        [[ -x $bin_dir/$program ]] || fail "there is no $program in $bin_dir" "cargo build --release, or another --bin-dir"
    done
    PATH=$bin_dir:$PATH
    say "$(holdfastctl --version) in $bin_dir"
}

start_coordinator() {
    local port
    free_port port
    shown holdfast-coordinator init --dir coordinator --address "127.0.0.1:$port" --listen "127.0.0.1:$port" \
        || fail "the coordinator could not be made"
    start coordinator holdfast-coordinator serve --config coordinator/coordinator.toml
    export HOLDFAST_CONFIG=$folder/coordinator/operator/ctl.toml
    wait_for coordinator 30 holdfastctl status
    say "The coordinator answers on 127.0.0.1:$port"
}

join_agent() {
    cat >"$folder/agent/agent.toml" <<TOML
state = "$folder/agent/state"

[[source]]
name = "$source_name"
kind = "postgres"
host = "127.0.0.1"
port = $postgres_port
user = "holdfast"
password = { file = "postgres.password" }
TOML
    say '$ holdfastctl agent invite demo | holdfast-agent join --config agent/agent.toml'
    run invited 2>"$folder/logs/join.log" | sed 's/^/        /' || fail "the agent could not join"
}

# The token goes from one program to the other and is seen by nobody.
invited() {
    holdfastctl agent invite demo | holdfast-agent join --config agent/agent.toml
}

start_agent() {
    start agent holdfast-agent run --config agent/agent.toml
    wait_for agent 30 source_is_ready
    shown holdfastctl source list || fail "the source is not there"
}

source_is_ready() { holdfastctl source list | grep -q "$source_name.*ready"; }

vault_address() {
    if [[ $vault == s3 ]]; then echo "s3://$bucket/demo"; else echo "file://$folder/vault"; fi
}

# The kit goes into a file: it would print the secret that opens every backup.
add_vault() {
    local arguments=(main "$(vault_address)" --kit-out recovery-kit.txt)
    if [[ $vault == s3 ]]; then
        arguments+=(--endpoint "http://127.0.0.1:$s3_port" --credentials-file s3/credentials --role-arn "$role")
    fi
    shown holdfastctl vault add "${arguments[@]}" || fail "the vault could not be added"
}

back_up() {
    shown holdfastctl backup "$source_name" || fail "the backup did not succeed"
    shown holdfastctl snapshot list --source "$source_name" || fail "the snapshots cannot be listed"
}

restore() {
    shown holdfastctl restore "$source_name" --database "${databases[0]}" --database "${databases[1]}" --globals --yes \
        || fail "the restore did not succeed"
}
