//! What must be equal before and after: every table's rows, and what belongs to a database besides rows.

use std::collections::BTreeMap;

use crate::postgres::Postgres;

/// Facts of one database by name. Two are equal when a restore brought everything back.
pub type Fingerprint = BTreeMap<String, String>;

/// One line for each relation with rows: name, count, sum of the rows' hashes (which knows no order).
const ROWS: &str = "SELECT format('SELECT %L || count(*) || '' rows '' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM ONLY %I.%I t;',
       format('table %I.%I|', n.nspname, c.relname), n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
\\gexec
";

/// Everything about objects that a dump carries: one line each, in an order of its own.
const OBJECTS: &str = r"
SELECT 'column ' || attrelid::regclass || '.' || attname || '|' || concat(format_type(atttypid, atttypmod), attnotnull, attgenerated, attidentity)
  FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
  WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r','p','v','m','f') AND nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema';
SELECT 'index ' || indexrelid::regclass || '|' || pg_get_indexdef(indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = indrelid
  JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname NOT LIKE 'pg\_%';
SELECT 'constraint ' || conrelid::regclass || '.' || conname || '|' || pg_get_constraintdef(c.oid) FROM pg_constraint c
  JOIN pg_namespace n ON n.oid = connamespace WHERE conrelid <> 0 AND nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema';
SELECT 'trigger ' || tgrelid::regclass || '.' || tgname || '|' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal;
SELECT 'policy ' || polrelid::regclass || '.' || polname || '|' || pg_get_expr(polqual, polrelid) FROM pg_policy;
SELECT 'relation ' || c.oid::regclass || '|' || concat(relkind, relpersistence, relrowsecurity, relforcerowsecurity, relacl, pg_get_userbyid(relowner), pg_get_expr(relpartbound, c.oid))
  FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema';
SELECT 'function ' || p.oid::regprocedure || '|' || md5(prosrc) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
  WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema';
SELECT 'sequence ' || schemaname || '.' || sequencename || '|' || coalesce(last_value::text, '') FROM pg_sequences;
SELECT 'large object ' || m.oid || '|' || md5(lo_get(m.oid)) || pg_get_userbyid(lomowner) FROM pg_largeobject_metadata m;
SELECT 'extension ' || extname || '|' || extversion FROM pg_extension;
SELECT 'comment ' || objoid::regclass || '.' || objsubid || '|' || description FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid >= 16384;
SELECT 'subscription ' || subname || '|' || array_to_string(subpublications, ',') FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database());
";

/// What belongs to the database itself and is lost by a careless rename.
const PROPERTIES: &str = r"
SELECT 'encoding|' || pg_encoding_to_char(encoding) || ' ' || datcollate || ' ' || datctype FROM pg_database WHERE datname = current_database();
SELECT 'owner|' || pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database();
SELECT 'privileges|' || coalesce((SELECT string_agg(item::text, ' ' ORDER BY item::text) FROM unnest(datacl) item), '') FROM pg_database WHERE datname = current_database();
SELECT 'connection limit|' || datconnlimit FROM pg_database WHERE datname = current_database();
SELECT 'tablespace|' || spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = current_database();
SELECT 'database comment|' || coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database WHERE datname = current_database();
SELECT 'settings of ' || coalesce(r.rolname, 'all') || '|' || array_to_string(setconfig, ' ') FROM pg_db_role_setting s
  LEFT JOIN pg_roles r ON r.oid = setrole WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database());
";

/// Reads a database's rows, objects and properties.
#[must_use]
pub fn database(postgres: &Postgres, name: &str) -> Fingerprint {
    let all = format!("SET row_security = off;\n{ROWS}{OBJECTS}{PROPERTIES}");
    facts(&postgres.sql(name, &all))
}

/// Rows alone: for a copy that has another name and so other properties.
#[must_use]
pub fn rows(postgres: &Postgres, name: &str) -> Fingerprint {
    facts(&postgres.sql(name, ROWS))
}

/// Every database's fingerprint, but for the safety copies that a restore leaves.
#[must_use]
pub fn server(postgres: &Postgres) -> BTreeMap<String, Fingerprint> {
    let names = postgres
        .databases()
        .into_iter()
        .filter(|name| !name.contains("_before_"));
    names
        .map(|name| {
            let print = database(postgres, &name);
            (name, print)
        })
        .collect()
}

fn facts(lines: &str) -> Fingerprint {
    let facts = lines.lines().filter_map(|line| line.split_once('|'));
    facts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Panics with the differences, one a line, when the two are not equal.
pub fn assert_equal(what: &str, before: &Fingerprint, after: &Fingerprint) {
    assert!(!before.is_empty(), "{what}: nothing was read before");
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differences: Vec<String> = names
        .into_iter()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| {
            format!(
                "  {name}: {:?} became {:?}",
                before.get(name),
                after.get(name)
            )
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{what} differs:\n{}",
        differences.join("\n")
    );
}
