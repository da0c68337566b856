-- Keys: bound to single portfolios, last use, and what a rotation hands on. A secret's hash is keyed by a secret outside
-- the database (`hmac:<fingerprint>:<digits>`); plain hashes of before are rehashed when the data is opened.
ALTER TABLE api_keys ADD COLUMN lineage TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN portfolios TEXT COLLATE "C";
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;
UPDATE api_keys SET lineage = prefix;
CREATE INDEX api_keys_by_age ON api_keys (created_at, prefix);

-- People with a password. `valid_from`: tokens issued before are refused.
CREATE TABLE users (
    id            UUID NOT NULL PRIMARY KEY,
    name          TEXT COLLATE "C" NOT NULL UNIQUE,
    password_hash TEXT COLLATE "C" NOT NULL,
    owner_id      TEXT COLLATE "C" NOT NULL,
    scopes        TEXT COLLATE "C" NOT NULL,
    portfolios    TEXT COLLATE "C",
    status        TEXT COLLATE "C" NOT NULL,
    version       BIGINT NOT NULL,
    valid_from    BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

-- A login, until it is ended. Its refresh tokens follow one another; one that comes back a second time ends it.
CREATE TABLE sessions (
    id            UUID NOT NULL PRIMARY KEY,
    user_id       UUID NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    ended_at      BIGINT,
    end_reason    TEXT COLLATE "C"
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (ended_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    id            UUID NOT NULL PRIMARY KEY,
    session_id    UUID NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    secret_hash   TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    used_at       BIGINT
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

-- Keys that sign our own tokens. The private half is derived from the secret outside the database.
CREATE TABLE signing_keys (
    kid           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    public_key    TEXT COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    retired_at    BIGINT
);

-- Tokens of other issuers that are refused before they expire: one by its jti, or all of a sub issued until then.
CREATE TABLE token_revocations (
    issuer        TEXT COLLATE "C" NOT NULL,
    claim         TEXT COLLATE "C" NOT NULL,
    value         TEXT COLLATE "C" NOT NULL,
    revoked_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (issuer, claim, value)
);
