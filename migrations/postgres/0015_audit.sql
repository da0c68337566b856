-- The audit trail (docs/AUDIT.md): one row per mutation, and per commit and caller for prices; refused callers too. Each row
-- carries the HMAC-SHA-256 of its values and of the row before it, so it is added at the end or not at all.
CREATE TABLE audit_rows (
    seq           BIGINT NOT NULL PRIMARY KEY,
    recorded_at   BIGINT NOT NULL,
    actor         TEXT COLLATE "C" NOT NULL,
    actor_kind    TEXT COLLATE "C" NOT NULL,
    key_prefix    TEXT COLLATE "C",
    address       TEXT COLLATE "C",
    action        TEXT COLLATE "C" NOT NULL,
    object_type   TEXT COLLATE "C" NOT NULL,
    object_id     TEXT COLLATE "C",
    outcome       TEXT COLLATE "C" NOT NULL,
    code          TEXT COLLATE "C",
    request_id    TEXT COLLATE "C",
    before_json   TEXT COLLATE "C",
    after_json    TEXT COLLATE "C",
    hash          BYTEA NOT NULL
);
CREATE INDEX audit_rows_by_time ON audit_rows (recorded_at, seq);
CREATE INDEX audit_rows_by_actor ON audit_rows (actor, seq);
CREATE INDEX audit_rows_by_object ON audit_rows (object_id, seq);
CREATE INDEX audit_rows_by_request ON audit_rows (request_id, seq);

CREATE FUNCTION audit_rows_stand() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of the audit trail are not changed or removed';
END $$;
CREATE TRIGGER audit_rows_are_not_changed BEFORE UPDATE OR DELETE ON audit_rows
    FOR EACH ROW EXECUTE FUNCTION audit_rows_stand();
CREATE TRIGGER audit_rows_are_not_emptied BEFORE TRUNCATE ON audit_rows
    FOR EACH STATEMENT EXECUTE FUNCTION audit_rows_stand();

CREATE FUNCTION audit_rows_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next BIGINT;
BEGIN
    EXECUTE format('SELECT COALESCE(MAX(seq), 0) + 1 FROM %I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO next;
    IF NEW.seq <> next THEN
        RAISE EXCEPTION 'rows of the audit trail are added at its end';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER audit_rows_are_added_at_the_end BEFORE INSERT ON audit_rows
    FOR EACH ROW EXECUTE FUNCTION audit_rows_end();
