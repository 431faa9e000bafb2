# shellcheck shell=bash
# What a backup leaves in the vault, seen with the store's own eyes and with stock restic.
# shellcheck disable=SC2154,SC2034  # the parts set and use variables of each other

look_into_vault() {
    say "$(vault_address)/$source_name is a restic repository:"
    if [[ $vault == s3 ]]; then list_bucket; else list_folder; fi
    if ! command -v restic >/dev/null; then
        say "(restic is not installed; with it, as apt-get install restic gives it, its view would stand here)"
        return
    fi
    if ! command -v openssl >/dev/null; then
        say "(openssl is not installed; with it, restic's view would stand here)"
        return
    fi
    open_with_restic
    say "Stock restic opens it with the password that the recovery kit explains:"
    shown restic --no-lock --no-cache -r "$restic_repository" snapshots || fail "restic cannot list the snapshots"
    shown restic --no-lock --no-cache -r "$restic_repository" ls -l latest || fail "restic cannot list the files"
    shown restic --no-lock --no-cache -r "$restic_repository" check --read-data || fail "restic finds the repository damaged"
}

# One line for each folder of the repository: how many objects, how many bytes. An object whose versions are kept is a
# folder `name.versions` for this server, with one file for each version.
list_bucket() {
    local place=/buckets/$bucket/demo/$source_name name
    for name in config.versions keys data index snapshots; do
        printf 'fs.du %s/%s\nfs.tree %s/%s\n' "$place" "$name" "$place" "$name"
    done | run seaweedfs_shell 2>>logs/weed-shell.log | awk '
        /logical size:/ { sub(/.*logical size: */, ""); bytes = $1; n = split($2, path, "/"); name = path[n] }
        /^[0-9]+ directories, / { sub(/.versions$/, "", name); print name, $3, bytes }' | repository_lines
}

list_folder() {
    local name
    for name in config keys data index snapshots; do
        find "$folder/vault/$source_name/$name" -type f -printf '%s\n' 2>/dev/null \
            | awk -v name="$name" '{ bytes += $1 } END { print name, NR, bytes + 0 }'
    done | repository_lines
}

repository_lines() { # <name> <objects> <bytes> a line
    awk '
    BEGIN { what["config"] = "which repository this is"; what["keys"] = "the password opens this"
            what["data"] = "packs of encrypted, compressed pieces"; what["index"] = "which piece is in which pack"
            what["snapshots"] = "written last: it exists, so all of it is there" }
    { size = $3 < 10240 ? $3 " B" : $3 < 10485760 ? sprintf("%.0f KiB", $3 / 1024) : sprintf("%.0f MiB", $3 / 1048576)
      printf "        %-10s %3d object%s %9s   %s\n", $1, $2, $2 == 1 ? " " : "s", size, what[$1] }'
}

# The variables that restic needs, from the recovery kit and the store's credentials: as on the worst day.
open_with_restic() {
    local secret
    secret=$(sed -n 's/^secret: *//p' "$folder/recovery-kit.txt")
    RESTIC_PASSWORD=$(printf %s "holdfast/repository/v1/$source_name" | openssl dgst -r -sha256 -hmac "$secret" | cut -d' ' -f1)
    export RESTIC_PASSWORD
    restic_repository=$folder/vault/$source_name
    [[ $vault == s3 ]] || return 0
    AWS_ACCESS_KEY_ID=$(sed -n 's/^aws_access_key_id = //p' "$folder/s3/credentials")
    AWS_SECRET_ACCESS_KEY=$(sed -n 's/^aws_secret_access_key = //p' "$folder/s3/credentials")
    export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
    restic_repository=s3:http://127.0.0.1:$s3_port/$bucket/demo/$source_name
}
