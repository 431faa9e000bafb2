//! What the stories' databases hold: everything that is easily lost on the way, and bulk that takes time.

use crate::postgres::Postgres;

/// The database with the awkward things.
pub const AWKWARD: &str = "orders";
/// Another one, whose name needs quoting everywhere.
pub const QUOTED: &str = "Größe d'été \"2\"";
/// One with nothing in it.
pub const EMPTY: &str = "empty";

const ROLES: &str = r#"
CREATE ROLE app_owner LOGIN PASSWORD 'md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa';
CREATE ROLE reporter NOLOGIN;
CREATE ROLE "Odd Role" NOLOGIN;
GRANT reporter TO app_owner;
ALTER ROLE app_owner SET statement_timeout = '5min';
"#;

const DATABASES: &str = r#"
CREATE DATABASE orders OWNER app_owner TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' CONNECTION LIMIT 40;
CREATE DATABASE "Größe d'été ""2""" OWNER "Odd Role";
CREATE DATABASE empty;
COMMENT ON DATABASE orders IS 'orders; ours since 2019 -- don''t lose';
REVOKE CONNECT ON DATABASE orders FROM PUBLIC;
GRANT CONNECT ON DATABASE orders TO app_owner, reporter;
ALTER DATABASE orders SET work_mem = '8MB';
ALTER DATABASE orders SET search_path = public, "Sales Dept";
ALTER ROLE app_owner IN DATABASE orders SET lock_timeout = '10s';
"#;

const TABLES: &str = r#"
CREATE SCHEMA "Sales Dept" AUTHORIZATION app_owner;
CREATE TYPE mood AS ENUM ('glad', 'so-so');
CREATE DOMAIN positive AS int CHECK (value > 0);
CREATE TABLE customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL, m mood DEFAULT 'glad',
    lower_name text GENERATED ALWAYS AS (lower(name)) STORED, n positive);
INSERT INTO customers (name, n) SELECT 'Customer ' || chr(192 + i % 60) || i, i FROM generate_series(1, 3000) i;
CREATE UNIQUE INDEX customers_lower ON customers (lower_name, id);
CREATE TABLE "Sales Dept"."Straße | ""quoted""" ("a b" int, "c;d" text, PRIMARY KEY ("a b"));
INSERT INTO "Sales Dept"."Straße | ""quoted""" VALUES (1, E'tab\t newline\n backslash\\ quote'' nul-like \\N'), (2, '\.'), (3, ''), (4, NULL), (5, '🐘');
CREATE TABLE lines (customer bigint REFERENCES customers, at timestamptz, amount numeric(12,2), body jsonb) PARTITION BY RANGE (at);
CREATE TABLE lines_2024 PARTITION OF lines FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE lines_2025 PARTITION OF lines FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
INSERT INTO lines SELECT 1 + i % 3000, '2024-01-01'::timestamptz + i * interval '20 minutes', i / 7.0, jsonb_build_object('i', i) FROM generate_series(1, 40000) i;
CREATE INDEX lines_at ON lines (at);
CREATE UNLOGGED TABLE cache (k text PRIMARY KEY, v bytea);
INSERT INTO cache SELECT 'k' || i, decode(md5(i::text), 'hex') FROM generate_series(1, 500) i;
CREATE TABLE specials (f float8, d date, t timestamptz, i interval, a int[], r int4range, b bit(5), ip inet, x xml);
INSERT INTO specials VALUES ('NaN', 'infinity', '-infinity', '1 mon -3 days', '{{1,2},{3,NULL}}', '[1,5)', B'10101', '::1/64', '<a>&amp;</a>'),
    ('-0', '4713-01-01 BC', '294276-01-01', '-178000000 years', '{}', 'empty', B'00000', '10.0.0.0/8', NULL);
CREATE TABLE secured (owner_name text, note text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE secured FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON secured USING (owner_name = current_user);
INSERT INTO secured SELECT CASE WHEN i % 2 = 0 THEN 'app_owner' ELSE 'nobody' END, 'note ' || i FROM generate_series(1, 200) i;
ALTER TABLE secured OWNER TO app_owner;
GRANT SELECT (owner_name) ON secured TO reporter;
ALTER DEFAULT PRIVILEGES FOR ROLE app_owner GRANT SELECT ON TABLES TO reporter;
CREATE MATERIALIZED VIEW totals AS SELECT customer, sum(amount) AS total FROM lines GROUP BY customer;
CREATE UNIQUE INDEX totals_customer ON totals (customer);
CREATE VIEW late AS SELECT * FROM lines WHERE at > '2025-01-01';
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.note := NEW.note || '!'; RETURN NEW; END$$;
CREATE TRIGGER touched BEFORE UPDATE ON secured FOR EACH ROW EXECUTE FUNCTION touch();
CREATE SEQUENCE odd_numbers INCREMENT 2 START 77;
SELECT nextval('odd_numbers'), nextval('odd_numbers');
COMMENT ON TABLE customers IS 'who pays';
CREATE STATISTICS lines_dependent (dependencies) ON customer, at FROM lines;
SELECT lo_from_bytea(90001, convert_to(repeat('large object ', 50000), 'UTF8'));
SELECT lo_from_bytea(90002, ''::bytea);
ALTER LARGE OBJECT 90001 OWNER TO app_owner;
GRANT SELECT ON LARGE OBJECT 90001 TO reporter;
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'hstore') THEN CREATE EXTENSION hstore; END IF;
  EXECUTE (SELECT 'CREATE TABLE wide (' || string_agg('column_' || i || ' int DEFAULT ' || i, ', ') || ')' FROM generate_series(1, 200) i);
  INSERT INTO wide DEFAULT VALUES; INSERT INTO wide DEFAULT VALUES;
  IF current_setting('server_version_num')::int >= 150000 THEN
    EXECUTE 'CREATE TABLE unique_nulls (a int UNIQUE NULLS NOT DISTINCT)';
  END IF;
END $$;
"#;

const QUOTED_TABLES: &str = r#"
CREATE TABLE "Ünïcode" (id int PRIMARY KEY, "select" text);
INSERT INTO "Ünïcode" SELECT i, repeat(chr(945 + i % 20), 30) FROM generate_series(1, 5000) i;
ALTER TABLE "Ünïcode" OWNER TO "Odd Role";
"#;

/// Fills a server with three databases of awkward data.
pub fn fill(postgres: &Postgres) {
    postgres.sql("postgres", ROLES);
    // CREATE DATABASE does not run inside of what -f sends as one transaction, which psql does not do.
    postgres.sql("postgres", DATABASES);
    postgres.sql(AWKWARD, TABLES);
    postgres.sql(QUOTED, QUOTED_TABLES);
}

/// The database `orders` with `rows` rows of 200 bytes that compress to half: a backup through a slow store lasts.
pub fn fill_bulk(postgres: &Postgres, rows: u32) {
    postgres.sql(
        "postgres",
        "CREATE ROLE app_owner LOGIN; CREATE ROLE reporter NOLOGIN;",
    );
    postgres.sql("postgres", "CREATE DATABASE orders OWNER app_owner");
    let columns = (1..=6)
        .map(|_| "md5(random()::text)")
        .collect::<Vec<_>>()
        .join(" || ");
    postgres.sql(
        AWKWARD,
        &format!(
            "CREATE TABLE bulk (id int PRIMARY KEY, body text);
             INSERT INTO bulk SELECT i, {columns} FROM generate_series(1, {rows}) i;
             CREATE TABLE small (id serial PRIMARY KEY, word text); INSERT INTO small (word) VALUES ('one'), ('two');
             ALTER TABLE bulk OWNER TO app_owner; ANALYZE;"
        ),
    );
}

/// Disaster: every database goes, clients or not.
pub fn drop_all(postgres: &Postgres) {
    for name in postgres.databases() {
        let quoted = name.replace('"', "\"\"");
        postgres.sql(
            "postgres",
            &format!("DROP DATABASE \"{quoted}\" WITH (FORCE)"),
        );
    }
}
