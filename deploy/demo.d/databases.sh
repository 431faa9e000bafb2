# shellcheck shell=bash
# The two databases of the demo: filled, read as lines that can be compared, and dropped.
# shellcheck disable=SC2154,SC2034  # the parts set and use variables of each other

databases=(shop 'Bücher & "Café"')
demo_roles=(readers shopkeeper '"Frau Müller"')

fill_databases() {
    sql postgres <"$parts/roles.sql" || fail "the databases could not be made"
    sql shop <"$parts/shop.sql" >"$folder/logs/fill.log" || fail "the database shop could not be filled"
    sql "${databases[1]}" <"$parts/books.sql" || fail "the database ${databases[1]} could not be filled"
    run "$postgres_bin/pgbench" --initialize --init-steps=dtgvp --quiet --scale="$scale" --host="$folder/postgres" \
        --port="$postgres_port" --username=postgres "${databases[1]}" >"$folder/logs/pgbench.log" 2>&1 || fail_with_log pgbench "pgbench failed"
    local database
    for database in "${databases[@]}"; do
        say "$database: $(sql "$database" -c 'SELECT pg_size_pretty(pg_database_size(current_database()))'), $(facts_of "$database")"
    done
}

facts_of() { # <database>
    sql "$1" -c "SELECT format('%s tables, %s indexes, %s large objects', count(*) FILTER (WHERE relkind IN ('r', 'm')),
        count(*) FILTER (WHERE relkind = 'i'), (SELECT count(*) FROM pg_largeobject_metadata))
        FROM pg_class WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'"
}

# Reads every database into one file of lines each.
fingerprints() { # <folder>
    local number
    mkdir "$1"
    for number in "${!databases[@]}"; do
        run sql "${databases[$number]}" -f "$parts/fingerprint.sql" >"$1/$number" || fail "${databases[$number]} cannot be read"
        # A comparison of nothing would always be equal.
        grep -q $'^table .*[1-9][0-9]* rows' "$1/$number" || fail "${databases[$number]} has no rows to compare"
    done
}

drop_databases() {
    local database role
    for database in "${databases[@]}"; do
        say "DROP DATABASE $(quoted "$database")"
        sql postgres <<<"DROP DATABASE $(quoted "$database") WITH (FORCE)"
    done
    for role in "${demo_roles[@]}"; do
        say "DROP ROLE $role"
        sql postgres <<<"DROP ROLE $role"
    done
    [[ -z $(sql postgres -c "SELECT datname FROM pg_database WHERE datname NOT IN ('postgres', 'template0', 'template1')") ]] \
        || fail "the databases are still there"
}

quoted() { printf '"%s"' "${1//\"/\"\"}"; }

# Compares two folders of fingerprints; every difference is shown, and fails the demo.
compare() { # <before> <after>
    local number differ=no
    tables=0 rows=0 facts=0
    for number in "${!databases[@]}"; do
        if cmp -s "$1/$number" "$2/$number"; then
            say "${databases[$number]}: $(count_tables "$1/$number") tables with $(count_rows "$1/$number") rows, and" \
                "$(count_facts "$1/$number") facts about columns, indexes, owners, privileges: equal"
        else
            differ=yes
            say "${databases[$number]}: NOT equal (- before, + after):"
            diff "$1/$number" "$2/$number" | sed -n -e '/^[<>]/{s/^</-/; s/^>/+/; s/^/        /; p}' || true
        fi
        tables=$((tables + $(count_tables "$1/$number"))) rows=$((rows + $(count_rows "$1/$number")))
        facts=$((facts + $(count_facts "$1/$number")))
    done
    guilty=()
    [[ $differ == no ]] || fail "what came back is not what was there before"
}

count_tables() { grep -c '^table ' "$1"; }
count_rows() { awk -F '\t' '/^table / { sum += $2 } END { printf "%d", sum }' "$1"; }
count_facts() { grep -vc '^table ' "$1"; }

verdict() {
    printf '\nEQUAL: %d tables with %d rows and %d other facts of %d databases came back as they were.\n' \
        "$tables" "$rows" "$facts" "${#databases[@]}"
    printf 'Backup %s s, restore %s s; all of it %s s.\n' "${took['Back up']}" "${took['Restore']}" "$(seconds_since "$demo_started")"
}
