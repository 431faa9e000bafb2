-- Beside the tables of pgbench: a schema and a table whose names need quotes everywhere.
CREATE SCHEMA "Frau Müllers Regal" AUTHORIZATION "Frau Müller";
CREATE TABLE "Frau Müllers Regal"."Bücher; -- alle" ("Titel ""kurz""" text, "select" int, PRIMARY KEY ("Titel ""kurz""", "select"));
INSERT INTO "Frau Müllers Regal"."Bücher; -- alle" SELECT 'Über ' || repeat(chr(945 + i % 24), 5 + i % 9), i FROM generate_series(1, 3000) i;
ALTER TABLE "Frau Müllers Regal"."Bücher; -- alle" OWNER TO "Frau Müller";
