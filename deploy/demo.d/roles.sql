-- What stands outside of databases: a group, a role that owns things and has settings, and a name that needs quotes.
CREATE ROLE readers NOLOGIN;
CREATE ROLE shopkeeper LOGIN IN ROLE readers CONNECTION LIMIT 20;
CREATE ROLE "Frau Müller" NOLOGIN;
ALTER ROLE shopkeeper SET lock_timeout = '4s';

CREATE DATABASE shop OWNER shopkeeper TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8' CONNECTION LIMIT 50;
COMMENT ON DATABASE shop IS 'what the demo must not lose';
ALTER DATABASE shop SET statement_timeout = '10min';
ALTER ROLE shopkeeper IN DATABASE shop SET work_mem = '16MB';
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CONNECT ON DATABASE shop TO readers;

CREATE DATABASE "Bücher & ""Café""" OWNER "Frau Müller";
