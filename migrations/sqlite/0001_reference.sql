-- The last stamp and sequence given out: every commit takes the next of each (docs/ARCHITECTURE.md, "Two times").
CREATE TABLE commit_stamp (
    id            INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    last          INTEGER NOT NULL,
    seq           INTEGER NOT NULL
) STRICT;
INSERT INTO commit_stamp (id, last, seq) VALUES (1, 0, 0);

-- Units of money an operator added to the built-in ones.
CREATE TABLE currencies (
    code          TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL,
    minor_units   INTEGER NOT NULL CHECK (minor_units BETWEEN 0 AND 18),
    recorded_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE markets (
    market_key    INTEGER NOT NULL PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE,
    code          TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    market_type   TEXT NOT NULL,
    status        TEXT NOT NULL,
    time_zone     TEXT NOT NULL,
    currency      TEXT NOT NULL,
    opening_time  TEXT,
    closing_time  TEXT,
    trading_days  TEXT NOT NULL,
    metadata      TEXT NOT NULL,
    version       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE assets (
    asset_key     INTEGER NOT NULL PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE,
    symbol        TEXT NOT NULL UNIQUE,
    name          TEXT NOT NULL,
    asset_type    TEXT NOT NULL,
    status        TEXT NOT NULL,
    market_key    INTEGER NOT NULL REFERENCES markets (market_key),
    currency      TEXT NOT NULL,
    metadata      TEXT NOT NULL,
    version       INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX assets_by_market ON assets (market_key);

-- Attributes of an asset that enter a figure. A row applies from effective_at on, as known from recorded_at on;
-- of rows with one effective_at the later recorded wins.
CREATE TABLE asset_terms (
    seq                   INTEGER NOT NULL PRIMARY KEY,
    asset_key             INTEGER NOT NULL REFERENCES assets (asset_key),
    effective_at          INTEGER NOT NULL,
    recorded_at           INTEGER NOT NULL,
    multiplier            TEXT NOT NULL,
    inverse               INTEGER NOT NULL CHECK (inverse IN (0, 1)),
    margined              INTEGER NOT NULL CHECK (margined IN (0, 1)),
    settlement            TEXT NOT NULL,
    allows_negative_price INTEGER NOT NULL CHECK (allows_negative_price IN (0, 1)),
    stale_after           INTEGER,
    source_priority       TEXT NOT NULL
) STRICT;
CREATE INDEX asset_terms_by_asset ON asset_terms (asset_key, effective_at, seq);

-- Splits, cash dividends and symbol changes, once per asset, applied to every holder.
CREATE TABLE corporate_actions (
    seq           INTEGER NOT NULL PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE,
    asset_key     INTEGER NOT NULL REFERENCES assets (asset_key),
    action_type   TEXT NOT NULL,
    executed_at   INTEGER NOT NULL,
    whole_day     INTEGER NOT NULL CHECK (whole_day IN (0, 1)),
    ratio_num     TEXT,
    ratio_den     TEXT,
    amount        TEXT,
    currency      TEXT,
    new_symbol    TEXT,
    recorded_at   INTEGER NOT NULL,
    voids         BLOB
) STRICT;
CREATE INDEX corporate_actions_by_asset ON corporate_actions (asset_key, executed_at, seq);
