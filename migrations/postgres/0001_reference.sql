-- The last stamp and sequence given out: every commit takes the next of each (docs/ARCHITECTURE.md, "Two times").
CREATE TABLE commit_stamp (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    last          BIGINT NOT NULL,
    seq           BIGINT NOT NULL
);
INSERT INTO commit_stamp (id, last, seq) VALUES (1, 0, 0);

-- Units of money an operator added to the built-in ones.
CREATE TABLE currencies (
    code          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name          TEXT COLLATE "C" NOT NULL,
    minor_units   BIGINT NOT NULL CHECK (minor_units BETWEEN 0 AND 18),
    recorded_at   BIGINT NOT NULL
);

CREATE TABLE markets (
    market_key    BIGINT NOT NULL PRIMARY KEY,
    id            UUID NOT NULL UNIQUE,
    code          TEXT COLLATE "C" NOT NULL UNIQUE,
    name          TEXT COLLATE "C" NOT NULL,
    market_type   TEXT COLLATE "C" NOT NULL,
    status        TEXT COLLATE "C" NOT NULL,
    time_zone     TEXT COLLATE "C" NOT NULL,
    currency      TEXT COLLATE "C" NOT NULL,
    opening_time  TEXT COLLATE "C",
    closing_time  TEXT COLLATE "C",
    trading_days  TEXT COLLATE "C" NOT NULL,
    metadata      TEXT COLLATE "C" NOT NULL,
    version       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

CREATE TABLE assets (
    asset_key     BIGINT NOT NULL PRIMARY KEY,
    id            UUID NOT NULL UNIQUE,
    symbol        TEXT COLLATE "C" NOT NULL UNIQUE,
    name          TEXT COLLATE "C" NOT NULL,
    asset_type    TEXT COLLATE "C" NOT NULL,
    status        TEXT COLLATE "C" NOT NULL,
    market_key    BIGINT NOT NULL REFERENCES markets (market_key),
    currency      TEXT COLLATE "C" NOT NULL,
    metadata      TEXT COLLATE "C" NOT NULL,
    version       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX assets_by_market ON assets (market_key);

-- Attributes of an asset that enter a figure. A row applies from effective_at on, as known from recorded_at on;
-- of rows with one effective_at the later recorded wins.
CREATE TABLE asset_terms (
    seq                   BIGINT NOT NULL PRIMARY KEY,
    asset_key             BIGINT NOT NULL REFERENCES assets (asset_key),
    effective_at          BIGINT NOT NULL,
    recorded_at           BIGINT NOT NULL,
    multiplier            TEXT COLLATE "C" NOT NULL,
    inverse               BOOLEAN NOT NULL,
    margined              BOOLEAN NOT NULL,
    settlement            TEXT COLLATE "C" NOT NULL,
    allows_negative_price BOOLEAN NOT NULL,
    stale_after           BIGINT,
    source_priority       TEXT COLLATE "C" NOT NULL
);
CREATE INDEX asset_terms_by_asset ON asset_terms (asset_key, effective_at, seq);

-- Splits, cash dividends and symbol changes, once per asset, applied to every holder.
CREATE TABLE corporate_actions (
    seq           BIGINT NOT NULL PRIMARY KEY,
    id            UUID NOT NULL UNIQUE,
    asset_key     BIGINT NOT NULL REFERENCES assets (asset_key),
    action_type   TEXT COLLATE "C" NOT NULL,
    executed_at   BIGINT NOT NULL,
    whole_day     BOOLEAN NOT NULL,
    ratio_num     TEXT COLLATE "C",
    ratio_den     TEXT COLLATE "C",
    amount        TEXT COLLATE "C",
    currency      TEXT COLLATE "C",
    new_symbol    TEXT COLLATE "C",
    recorded_at   BIGINT NOT NULL,
    voids         UUID
);
CREATE INDEX corporate_actions_by_asset ON corporate_actions (asset_key, executed_at, seq);
