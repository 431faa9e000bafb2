# shellcheck shell=bash
# The servers that the demo plays with: PostgreSQL 15 and SeaweedFS, each on free loopback ports in the demo's folder.
# shellcheck disable=SC2154,SC2034  # the parts set and use variables of each other

postgres_bin=/usr/lib/postgresql/15/bin
bucket=backups
role=arn:aws:iam::000000000000:role/holdfast-runs

# In the foreground: ctrl-C reaches apt, which then ends by itself at a place of its own choice.
install_servers() {
    local wanted=(postgres-15) missing=()
    [[ $vault == file ]] || wanted+=(seaweedfs)
    "$root/tests/services/install" "${wanted[@]}" 2>&1 | sed 's/^/        /' \
        || fail "not every server is there" "the lines above say what is missing, and the command that gets it"
    [[ -n $bin_dir ]] || command -v cargo >/dev/null || missing+=("cargo (Rust): https://rustup.rs")
    [[ -n $bin_dir ]] || command -v cc >/dev/null || missing+=("a C compiler: apt-get install build-essential")
    ((${#missing[@]} == 0)) || fail "missing: $(printf '%s; ' "${missing[@]}")"
    say "PostgreSQL $("$postgres_bin/postgres" --version | awk '{ print $3 }') in $postgres_bin"
    [[ $vault == file ]] || say "SeaweedFS in $(weed)"
}

weed() { echo "$("$root/tests/services/cache-folder")/seaweedfs/weed"; }

# PostgreSQL refuses to run as root: as the package's own user then.
as_postgres=()
database_owner() {
    [[ $(id -u) == 0 ]] || return 0
    local user=postgres
    id "$user" >/dev/null 2>&1 || user=nobody
    as_postgres=(setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups)
    chown "$user:" "$folder/postgres"
}

start_postgres() {
    local password
    mkdir "$folder/postgres"
    database_owner
    free_port postgres_port
    # The socket's folder is open to its owner alone, so nobody else gets as far as `trust`.
    run "${as_postgres[@]}" "$postgres_bin/initdb" --no-sync --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 \
        --locale=C.UTF-8 --username=postgres --pgdata="$folder/postgres/data" >"$folder/logs/initdb.log" 2>&1 \
        || fail_with_log initdb "initdb failed"
    start postgres "${as_postgres[@]}" "$postgres_bin/postgres" -D "$folder/postgres/data" -p "$postgres_port" \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder/postgres" -c fsync=off -c max_wal_size=2GB
    wait_for postgres 30 sql postgres -c 'SELECT 1'
    say "PostgreSQL answers on 127.0.0.1:$postgres_port"
    # The role that the agent will use, with its password in a file for the agent alone.
    mkdir "$folder/agent"
    password=$(random_hex 16)
    printf '%s\n' "$password" >"$folder/agent/postgres.password"
    sql postgres <<<"CREATE ROLE holdfast SUPERUSER LOGIN PASSWORD '$password'"
}

# Runs the SQL on standard input; rows come out as lines, columns parted by |.
sql() { # <database> [psql's options...]
    local database=$1
    shift
    PGCONNECT_TIMEOUT=10 "$postgres_bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$folder/postgres" -p "$postgres_port" \
        -U postgres -d "$database" "$@"
}

# SeaweedFS with one key, and a token service that makes keys for single runs. It writes logs into TMPDIR.
start_seaweedfs() {
    local ports=() port
    mkdir -p "$folder/s3/data" "$folder/s3/tmp"
    write_s3_configuration
    for port in s3_port master_port filer_port; do free_port "$port"; done
    for _ in {1..6}; do
        free_port port
        ports+=("$port")
    done
    filer_grpc=${ports[0]} master_grpc=${ports[1]}
    start seaweedfs env TMPDIR="$folder/s3/tmp" "$(weed)" server -dir="$folder/s3/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
        -master.port="$master_port" -master.port.grpc="$master_grpc" -master.electionTimeout=1s \
        -master.heartbeatInterval=100ms -master.volumeSizeLimitMB=128 -master.telemetry=false \
        -volume.port="${ports[2]}" -volume.port.grpc="${ports[3]}" -volume.max=200 \
        -filer.port="$filer_port" -filer.port.grpc="$filer_grpc" \
        -s3 -s3.port="$s3_port" -s3.port.grpc="${ports[4]}" -s3.port.iceberg=0 -s3.port.lance=0 \
        -s3.config="$folder/s3/s3.json" -s3.iam.config="$folder/s3/iam.json"
    wait_for seaweedfs 60 answers "$s3_port"
    wait_for seaweedfs 60 make_bucket
    # With versions nothing that a backup wrote can be destroyed by writing over it.
    wait_for seaweedfs 30 keep_versions
    say "SeaweedFS answers on http://127.0.0.1:$s3_port; its bucket $bucket keeps versions"
}

write_s3_configuration() {
    local access_key secret_key signing_key
    access_key=$(random_hex 8) secret_key=$(random_hex 20) signing_key=$(random_hex 16 | base64)
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$access_key" "$secret_key" \
        >"$folder/s3/credentials"
    cat >"$folder/s3/s3.json" <<JSON
{"identities": [{"name": "admin", "credentials": [{"accessKey": "$access_key", "secretKey": "$secret_key"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
    cat >"$folder/s3/iam.json" <<JSON
{"sts": {"tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "demo", "signingKey": "$signing_key"},
 "policy": {"defaultEffect": "Deny", "storeType": "memory"}, "providers": [],
 "policies": [{"name": "Everything", "document": {"Version": "2012-10-17", "Statement": [
   {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]},
   {"Effect": "Allow", "Action": ["sts:ValidateSession"], "Resource": ["*"]}]}}],
 "roles": [{"roleName": "holdfast-runs", "roleArn": "$role", "attachedPolicies": ["Everything"],
   "trustPolicy": {"Version": "2012-10-17", "Statement": [
     {"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"]}]}}]}
JSON
}

# By the server's own door for files: buckets are folders there. Answers 201 when it was made.
make_bucket() {
    local answer
    exec 3<>"/dev/tcp/127.0.0.1/$filer_port" || return 1
    printf 'POST /buckets/%s/ HTTP/1.0\r\nContent-Length: 0\r\n\r\n' "$bucket" >&3
    read -r -t 10 answer <&3
    exec 3>&-
    [[ $answer == *" 201 "* ]]
}

keep_versions() { seaweedfs_shell <<<"s3.bucket.versioning -name $bucket -enable" 2>&1 | grep -q 'set to Enabled'; }

# The server's own command line: commands on standard input.
seaweedfs_shell() {
    TMPDIR=$folder/s3/tmp timeout 30 "$(weed)" shell -master="127.0.0.1:$master_port.$master_grpc" -filer="127.0.0.1:$filer_port.$filer_grpc"
}
