-- Splits, cash dividends and symbol changes, once per asset, applied to every holder. Rows are never changed; a void
-- is a row of its own. place orders actions of one moment. The table made before was never written to.
DROP TABLE corporate_actions;
CREATE TABLE corporate_actions (
    id            UUID NOT NULL PRIMARY KEY,
    seq           BIGINT NOT NULL UNIQUE,
    place         BIGINT NOT NULL,
    asset_key     BIGINT NOT NULL REFERENCES assets (asset_key),
    kind          TEXT COLLATE "C" NOT NULL,
    executed_at   BIGINT NOT NULL,
    whole_day     BOOLEAN NOT NULL,
    ratio_num     TEXT COLLATE "C",
    ratio_den     TEXT COLLATE "C",
    amount        TEXT COLLATE "C",
    tax           TEXT COLLATE "C" NOT NULL,
    currency      TEXT COLLATE "C",
    new_symbol    TEXT COLLATE "C",
    note          TEXT COLLATE "C" NOT NULL,
    metadata      TEXT COLLATE "C" NOT NULL,
    replaces      UUID,
    recorded_at   BIGINT NOT NULL
);
CREATE INDEX corporate_actions_by_asset ON corporate_actions (asset_key, executed_at, seq);
CREATE INDEX corporate_actions_by_symbol ON corporate_actions (new_symbol);

CREATE TABLE corporate_action_voids (
    action_id      UUID NOT NULL PRIMARY KEY REFERENCES corporate_actions (id),
    seq            BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL,
    replaced_by    UUID
);

-- The symbol an asset was created with, kept once it has had another.
CREATE TABLE first_symbols (
    asset_key     BIGINT NOT NULL PRIMARY KEY REFERENCES assets (asset_key),
    symbol        TEXT COLLATE "C" NOT NULL
);
CREATE INDEX first_symbols_by_symbol ON first_symbols (symbol);

-- Whether a source delivers split-adjusted prices, as known from recorded_at on; before the first row it does not.
-- price_sources holds what is known last.
CREATE TABLE price_source_versions (
    seq            BIGINT NOT NULL PRIMARY KEY,
    source_key     BIGINT NOT NULL REFERENCES price_sources (source_key),
    recorded_at    BIGINT NOT NULL,
    split_adjusted BOOLEAN NOT NULL
);
CREATE INDEX price_source_versions_by_source ON price_source_versions (source_key, recorded_at, seq);

-- Kept books know now whose units are whose under lot_scope global: they are folded anew.
UPDATE ledger_states SET stale = TRUE;
