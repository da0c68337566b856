-- API keys. The secret is shown once; only its SHA-256 is kept.
CREATE TABLE api_keys (
    id            BLOB NOT NULL PRIMARY KEY,
    prefix        TEXT NOT NULL UNIQUE,
    secret_hash   TEXT NOT NULL,
    name          TEXT NOT NULL,
    owner_id      TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    revoked_at    INTEGER
) STRICT;

-- Answers to requests that carried an Idempotency-Key, written with the effect they answer for.
CREATE TABLE idempotency_keys (
    actor         TEXT NOT NULL,
    route         TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    request_hash  TEXT NOT NULL,
    status        INTEGER NOT NULL,
    location      TEXT,
    body          TEXT NOT NULL,
    recorded_at   INTEGER NOT NULL,
    PRIMARY KEY (actor, route, idempotency_key)
) STRICT;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (recorded_at);
