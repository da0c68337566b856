-- Two roles for a database of PostgreSQL. The one that owns the schema changes it at an upgrade, restores and tries
-- backups; the one that serves reads and writes rows, and can add to the audit trail but neither change nor remove what
-- stands there. Run by the owner, after `artifact migrate` and after each restore:
--
--   psql --set=service=artifact --file=deploy/postgres/roles.sql "$OWNER_URL"
--
-- docs/OPERATIONS.md, "PostgreSQL".
\set ON_ERROR_STOP on
BEGIN;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO :"service";
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO :"service";
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO :"service";
-- What the next version brings.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"service";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO :"service";
-- What is not rewritten, not even by the program.
REVOKE UPDATE, DELETE ON audit_rows FROM :"service";
REVOKE INSERT, UPDATE, DELETE ON _sqlx_migrations FROM :"service";
COMMIT;
