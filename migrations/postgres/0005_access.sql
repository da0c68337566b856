-- API keys. The secret is shown once; only its SHA-256 is kept.
CREATE TABLE api_keys (
    id            UUID NOT NULL PRIMARY KEY,
    prefix        TEXT COLLATE "C" NOT NULL UNIQUE,
    secret_hash   TEXT COLLATE "C" NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    owner_id      TEXT COLLATE "C" NOT NULL,
    scopes        TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    revoked_at    BIGINT
);

-- Answers to requests that carried an Idempotency-Key, written with the effect they answer for.
CREATE TABLE idempotency_keys (
    actor         TEXT COLLATE "C" NOT NULL,
    route         TEXT COLLATE "C" NOT NULL,
    idempotency_key TEXT COLLATE "C" NOT NULL,
    request_hash  TEXT COLLATE "C" NOT NULL,
    status        BIGINT NOT NULL,
    location      TEXT COLLATE "C",
    body          TEXT COLLATE "C" NOT NULL,
    recorded_at   BIGINT NOT NULL,
    PRIMARY KEY (actor, route, idempotency_key)
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (recorded_at);
