-- One database as lines "what<TAB>its value", in a fixed order: every table's rows, and what belongs to a database
-- besides rows. Two databases with the same lines are equal.
SET search_path = '';
SET extra_float_digits = 3;
SET timezone = 'UTC';
SET row_security = off;

-- Rows: their number and the sum of their hashes, which knows no order. ONLY: partitions count for themselves.
SELECT format(E'SELECT %L || count(*) || '' rows, hash '' || coalesce(sum(hashtextextended(r::text, 42)::numeric), 0) FROM ONLY %I.%I r',
              format(E'table %I.%I\t', n.nspname, c.relname), n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY n.nspname, c.relname
\gexec

CREATE TEMPORARY VIEW own AS
    SELECT c.* FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema';

SELECT E'large object ' || oid || E'\t' || lomowner::regrole || ' ' || md5(lo_get(oid)) FROM pg_largeobject_metadata ORDER BY oid;
SELECT format(E'sequence %I.%I\t', schemaname, sequencename) || concat_ws(' ', last_value, start_value, increment_by, cycle)
    FROM pg_sequences ORDER BY schemaname, sequencename;
SELECT format(E'relation %s\t', oid::regclass) || concat_ws(' ', relkind, relpersistence, relowner::regrole, relrowsecurity,
    relforcerowsecurity, relacl, pg_get_expr(relpartbound, oid), obj_description(oid, 'pg_class'))
    FROM pg_temp.own WHERE relkind NOT IN ('i', 'I') ORDER BY oid::regclass::text;
SELECT format(E'column %s.%I\t', attrelid::regclass, attname) || concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity,
    attgenerated, attacl, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
    FROM pg_attribute JOIN pg_temp.own ON own.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attnum > 0 AND NOT attisdropped AND relkind NOT IN ('i', 'I') ORDER BY attrelid::regclass::text, attname;
SELECT format(E'index %s\t', indexrelid::regclass) || pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_temp.own ON own.oid = indexrelid
    ORDER BY indexrelid::regclass::text;
SELECT format(E'constraint %s %I\t', conrelid::regclass, conname) || pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_temp.own ON own.oid = conrelid
    ORDER BY conrelid::regclass::text, conname;
SELECT format(E'trigger %s %I\t', tgrelid::regclass, tgname) || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1;
SELECT format(E'policy %s %I\t', polrelid::regclass, polname) || pg_get_expr(polqual, polrelid) FROM pg_policy ORDER BY 1;
SELECT format(E'function %s\t', oid::regprocedure) || md5(prosrc) || ' ' || proowner::regrole FROM pg_proc
    WHERE pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
    -- What belongs to an extension comes with it, and is its new owner's.
    AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e') ORDER BY 1;
SELECT format(E'type %s\t', t.oid::regtype) || typtype::text || coalesce(string_agg(enumlabel, ',' ORDER BY enumsortorder), '') FROM pg_type t
    LEFT JOIN pg_enum ON enumtypid = t.oid WHERE typtype IN ('e', 'd') AND typnamespace = 'public'::regnamespace GROUP BY t.oid, typtype ORDER BY 1;
SELECT format(E'schema %I\t', nspname) || concat_ws(' ', nspowner::regrole, nspacl) FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY 1;
SELECT format(E'extension %I\t', extname) || extversion FROM pg_extension ORDER BY 1;
SELECT format(E'default privileges\t') || concat_ws(' ', defaclrole::regrole, defaclobjtype, defaclacl) FROM pg_default_acl ORDER BY 1;
SELECT format(E'statistics %I\t', stxname) || pg_get_statisticsobjdef(oid) FROM pg_statistic_ext ORDER BY 1;

-- The database itself, and its roles
SELECT E'database\t' || concat_ws(' ', datname, datdba::regrole, pg_encoding_to_char(encoding), datlocprovider, datcollate, datctype,
    datconnlimit, datacl, shobj_description(oid, 'pg_database')) FROM pg_database WHERE datname = current_database();
SELECT format(E'setting of %s\t', CASE setrole WHEN 0 THEN 'everybody' ELSE setrole::regrole::text END) || array_to_string(setconfig, ' ')
    FROM pg_db_role_setting WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND setrole::regrole::text NOT IN ('holdfast') ORDER BY 1;
SELECT format(E'role %I\t', rolname) || concat_ws(' ', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolconnlimit,
    (SELECT string_agg(roleid::regrole::text, ',' ORDER BY 1) FROM pg_auth_members WHERE member = r.oid)) FROM pg_roles r
    WHERE rolname !~ '^pg_' ORDER BY 1;
