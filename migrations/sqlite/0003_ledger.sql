CREATE TABLE portfolios (
    id              BLOB NOT NULL PRIMARY KEY,
    seq             INTEGER NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    description     TEXT NOT NULL,
    status          TEXT NOT NULL,
    owner_id        TEXT NOT NULL,
    base_currency   TEXT NOT NULL,
    initial_capital TEXT NOT NULL,
    time_zone       TEXT NOT NULL,
    opened_at       INTEGER NOT NULL,
    metadata        TEXT NOT NULL,
    version         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

-- What a portfolio was called and where it stood, as known from recorded_at on: a read of the past shows it as it was.
CREATE TABLE portfolio_versions (
    seq           INTEGER NOT NULL PRIMARY KEY,
    portfolio_id  BLOB NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    recorded_at   INTEGER NOT NULL,
    version       INTEGER NOT NULL,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL,
    status        TEXT NOT NULL,
    metadata      TEXT NOT NULL
) STRICT;
CREATE INDEX portfolio_versions_by_portfolio ON portfolio_versions (portfolio_id, recorded_at, seq);

-- Conventions of a portfolio: a row applies from effective_at on, as known from recorded_at on.
CREATE TABLE portfolio_conventions (
    seq           INTEGER NOT NULL PRIMARY KEY,
    portfolio_id  BLOB NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    effective_at  INTEGER NOT NULL,
    recorded_at   INTEGER NOT NULL,
    conventions   TEXT NOT NULL
) STRICT;
CREATE INDEX portfolio_conventions_by_portfolio ON portfolio_conventions (portfolio_id, effective_at, seq);

-- The ledger. Rows are never changed; a void is a row of its own. place orders entries of one moment.
CREATE TABLE transactions (
    id                 BLOB NOT NULL PRIMARY KEY,
    portfolio_id       BLOB NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    seq                INTEGER NOT NULL UNIQUE,
    place              INTEGER NOT NULL,
    kind               TEXT NOT NULL,
    executed_at        INTEGER NOT NULL,
    whole_day          INTEGER NOT NULL CHECK (whole_day IN (0, 1)),
    account            TEXT NOT NULL,
    to_account         TEXT,
    asset_key          INTEGER REFERENCES assets (asset_key),
    quantity           TEXT,
    price              TEXT,
    gross_total        TEXT,
    fee                TEXT NOT NULL,
    tax                TEXT NOT NULL,
    fee_asset_quantity TEXT NOT NULL,
    currency           TEXT,
    fx_rate            TEXT,
    amount             TEXT,
    to_amount          TEXT,
    to_currency        TEXT,
    ratio_num          TEXT,
    ratio_den          TEXT,
    lots               TEXT,
    opens_short        INTEGER NOT NULL CHECK (opens_short IN (0, 1)),
    external_id        TEXT,
    note               TEXT NOT NULL,
    metadata           TEXT NOT NULL,
    replaces           BLOB,
    recorded_at        INTEGER NOT NULL
) STRICT;
CREATE INDEX transactions_in_order ON transactions (portfolio_id, executed_at, place, seq);
CREATE INDEX transactions_by_external_id ON transactions (portfolio_id, external_id);
CREATE INDEX transactions_by_asset ON transactions (asset_key);

CREATE TABLE transaction_voids (
    transaction_id BLOB NOT NULL PRIMARY KEY REFERENCES transactions (id) ON DELETE CASCADE,
    seq            INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    replaced_by    BLOB
) STRICT;
