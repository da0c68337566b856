-- Keys: bound to single portfolios, last use, and what a rotation hands on. A secret's hash is keyed by a secret outside
-- the database (`hmac:<fingerprint>:<digits>`); plain hashes of before are rehashed when the data is opened.
ALTER TABLE api_keys ADD COLUMN lineage TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN portfolios TEXT;
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
UPDATE api_keys SET lineage = prefix;
CREATE INDEX api_keys_by_age ON api_keys (created_at, prefix);

-- People with a password. `valid_from`: tokens issued before are refused.
CREATE TABLE users (
    id            BLOB NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    owner_id      TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    portfolios    TEXT,
    status        TEXT NOT NULL,
    version       INTEGER NOT NULL,
    valid_from    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;

-- A login, until it is ended. Its refresh tokens follow one another; one that comes back a second time ends it.
CREATE TABLE sessions (
    id            BLOB NOT NULL PRIMARY KEY,
    user_id       BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    end_reason    TEXT
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (ended_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    id            BLOB NOT NULL PRIMARY KEY,
    session_id    BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    secret_hash   TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    used_at       INTEGER
) STRICT;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);

-- Keys that sign our own tokens. The private half is derived from the secret outside the database.
CREATE TABLE signing_keys (
    kid           TEXT NOT NULL PRIMARY KEY,
    public_key    TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    retired_at    INTEGER
) STRICT;

-- Tokens of other issuers that are refused before they expire: one by its jti, or all of a sub issued until then.
CREATE TABLE token_revocations (
    issuer        TEXT NOT NULL,
    claim         TEXT NOT NULL,
    value         TEXT NOT NULL,
    revoked_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    PRIMARY KEY (issuer, claim, value)
) STRICT;
