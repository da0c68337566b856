-- The audit trail (docs/AUDIT.md): one row per mutation, and per commit and caller for prices; refused callers too. Each row
-- carries the HMAC-SHA-256 of its values and of the row before it, so it is added at the end or not at all.
CREATE TABLE audit_rows (
    seq           INTEGER NOT NULL PRIMARY KEY,
    recorded_at   INTEGER NOT NULL,
    actor         TEXT NOT NULL,
    actor_kind    TEXT NOT NULL,
    key_prefix    TEXT,
    address       TEXT,
    action        TEXT NOT NULL,
    object_type   TEXT NOT NULL,
    object_id     TEXT,
    outcome       TEXT NOT NULL,
    code          TEXT,
    request_id    TEXT,
    before_json   TEXT,
    after_json    TEXT,
    hash          BLOB NOT NULL
) STRICT;
CREATE INDEX audit_rows_by_time ON audit_rows (recorded_at, seq);
CREATE INDEX audit_rows_by_actor ON audit_rows (actor, seq);
CREATE INDEX audit_rows_by_object ON audit_rows (object_id, seq);
CREATE INDEX audit_rows_by_request ON audit_rows (request_id, seq);

CREATE TRIGGER audit_rows_are_not_changed BEFORE UPDATE ON audit_rows
BEGIN
    SELECT RAISE(ABORT, 'rows of the audit trail are not changed');
END;
CREATE TRIGGER audit_rows_are_not_removed BEFORE DELETE ON audit_rows
BEGIN
    SELECT RAISE(ABORT, 'rows of the audit trail are not removed');
END;
CREATE TRIGGER audit_rows_are_added_at_the_end BEFORE INSERT ON audit_rows
WHEN NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM audit_rows)
BEGIN
    SELECT RAISE(ABORT, 'rows of the audit trail are added at its end');
END;
