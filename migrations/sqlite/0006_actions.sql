-- Splits, cash dividends and symbol changes, once per asset, applied to every holder. Rows are never changed; a void
-- is a row of its own. place orders actions of one moment. The table made before was never written to.
DROP TABLE corporate_actions;
CREATE TABLE corporate_actions (
    id            BLOB NOT NULL PRIMARY KEY,
    seq           INTEGER NOT NULL UNIQUE,
    place         INTEGER NOT NULL,
    asset_key     INTEGER NOT NULL REFERENCES assets (asset_key),
    kind          TEXT NOT NULL,
    executed_at   INTEGER NOT NULL,
    whole_day     INTEGER NOT NULL CHECK (whole_day IN (0, 1)),
    ratio_num     TEXT,
    ratio_den     TEXT,
    amount        TEXT,
    tax           TEXT NOT NULL,
    currency      TEXT,
    new_symbol    TEXT,
    note          TEXT NOT NULL,
    metadata      TEXT NOT NULL,
    replaces      BLOB,
    recorded_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX corporate_actions_by_asset ON corporate_actions (asset_key, executed_at, seq);
CREATE INDEX corporate_actions_by_symbol ON corporate_actions (new_symbol);

CREATE TABLE corporate_action_voids (
    action_id      BLOB NOT NULL PRIMARY KEY REFERENCES corporate_actions (id),
    seq            INTEGER NOT NULL,
    recorded_at    INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    replaced_by    BLOB
) STRICT;

-- The symbol an asset was created with, kept once it has had another.
CREATE TABLE first_symbols (
    asset_key     INTEGER NOT NULL PRIMARY KEY REFERENCES assets (asset_key),
    symbol        TEXT NOT NULL
) STRICT;
CREATE INDEX first_symbols_by_symbol ON first_symbols (symbol);

-- Whether a source delivers split-adjusted prices, as known from recorded_at on; before the first row it does not.
-- price_sources holds what is known last.
CREATE TABLE price_source_versions (
    seq            INTEGER NOT NULL PRIMARY KEY,
    source_key     INTEGER NOT NULL REFERENCES price_sources (source_key),
    recorded_at    INTEGER NOT NULL,
    split_adjusted INTEGER NOT NULL CHECK (split_adjusted IN (0, 1))
) STRICT;
CREATE INDEX price_source_versions_by_source ON price_source_versions (source_key, recorded_at, seq);

-- Kept books know now whose units are whose under lot_scope global: they are folded anew.
UPDATE ledger_states SET stale = 1;
