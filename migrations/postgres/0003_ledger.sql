CREATE TABLE portfolios (
    id              UUID NOT NULL PRIMARY KEY,
    seq             BIGINT NOT NULL UNIQUE,
    name            TEXT COLLATE "C" NOT NULL,
    description     TEXT COLLATE "C" NOT NULL,
    status          TEXT COLLATE "C" NOT NULL,
    owner_id        TEXT COLLATE "C" NOT NULL,
    base_currency   TEXT COLLATE "C" NOT NULL,
    initial_capital TEXT COLLATE "C" NOT NULL,
    time_zone       TEXT COLLATE "C" NOT NULL,
    opened_at       BIGINT NOT NULL,
    metadata        TEXT COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);

-- What a portfolio was called and where it stood, as known from recorded_at on: a read of the past shows it as it was.
CREATE TABLE portfolio_versions (
    seq           BIGINT NOT NULL PRIMARY KEY,
    portfolio_id  UUID NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    recorded_at   BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    name          TEXT COLLATE "C" NOT NULL,
    description   TEXT COLLATE "C" NOT NULL,
    status        TEXT COLLATE "C" NOT NULL,
    metadata      TEXT COLLATE "C" NOT NULL
);
CREATE INDEX portfolio_versions_by_portfolio ON portfolio_versions (portfolio_id, recorded_at, seq);

-- Conventions of a portfolio: a row applies from effective_at on, as known from recorded_at on.
CREATE TABLE portfolio_conventions (
    seq           BIGINT NOT NULL PRIMARY KEY,
    portfolio_id  UUID NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    effective_at  BIGINT NOT NULL,
    recorded_at   BIGINT NOT NULL,
    conventions   TEXT COLLATE "C" NOT NULL
);
CREATE INDEX portfolio_conventions_by_portfolio ON portfolio_conventions (portfolio_id, effective_at, seq);

-- The ledger. Rows are never changed; a void is a row of its own. place orders entries of one moment.
CREATE TABLE transactions (
    id                 UUID NOT NULL PRIMARY KEY,
    portfolio_id       UUID NOT NULL REFERENCES portfolios (id) ON DELETE CASCADE,
    seq                BIGINT NOT NULL UNIQUE,
    place              BIGINT NOT NULL,
    kind               TEXT COLLATE "C" NOT NULL,
    executed_at        BIGINT NOT NULL,
    whole_day          BOOLEAN NOT NULL,
    account            TEXT COLLATE "C" NOT NULL,
    to_account         TEXT COLLATE "C",
    asset_key          BIGINT REFERENCES assets (asset_key),
    quantity           TEXT COLLATE "C",
    price              TEXT COLLATE "C",
    gross_total        TEXT COLLATE "C",
    fee                TEXT COLLATE "C" NOT NULL,
    tax                TEXT COLLATE "C" NOT NULL,
    fee_asset_quantity TEXT COLLATE "C" NOT NULL,
    currency           TEXT COLLATE "C",
    fx_rate            TEXT COLLATE "C",
    amount             TEXT COLLATE "C",
    to_amount          TEXT COLLATE "C",
    to_currency        TEXT COLLATE "C",
    ratio_num          TEXT COLLATE "C",
    ratio_den          TEXT COLLATE "C",
    lots               TEXT COLLATE "C",
    opens_short        BOOLEAN NOT NULL,
    external_id        TEXT COLLATE "C",
    note               TEXT COLLATE "C" NOT NULL,
    metadata           TEXT COLLATE "C" NOT NULL,
    replaces           UUID,
    recorded_at        BIGINT NOT NULL
);
CREATE INDEX transactions_in_order ON transactions (portfolio_id, executed_at, place, seq);
CREATE INDEX transactions_by_external_id ON transactions (portfolio_id, external_id);
CREATE INDEX transactions_by_asset ON transactions (asset_key);

CREATE TABLE transaction_voids (
    transaction_id UUID NOT NULL PRIMARY KEY REFERENCES transactions (id) ON DELETE CASCADE,
    seq            BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL,
    replaced_by    UUID
);
