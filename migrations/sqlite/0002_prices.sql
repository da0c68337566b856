CREATE TABLE price_sources (
    source_key     INTEGER NOT NULL PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    split_adjusted INTEGER NOT NULL CHECK (split_adjusted IN (0, 1)),
    recorded_at    INTEGER NOT NULL
) STRICT;

-- Versions of price points. A point is (asset, observed_at, source, interval); its current version has the greatest
-- seq; a withdrawn version hides it. Nothing is overwritten.
CREATE TABLE prices (
    asset_key     INTEGER NOT NULL REFERENCES assets (asset_key),
    observed_at   INTEGER NOT NULL,
    source_key    INTEGER NOT NULL REFERENCES price_sources (source_key),
    candle        TEXT NOT NULL,
    seq           INTEGER NOT NULL,
    recorded_at   INTEGER NOT NULL,
    withdrawn     INTEGER NOT NULL CHECK (withdrawn IN (0, 1)),
    price         TEXT NOT NULL,
    open          TEXT,
    high          TEXT,
    low           TEXT,
    volume        TEXT,
    PRIMARY KEY (asset_key, observed_at, source_key, candle, seq)
) STRICT, WITHOUT ROWID;

-- The price that values each asset when nothing bounds the reading: kept with every write to prices.
CREATE TABLE latest_prices (
    asset_key     INTEGER NOT NULL PRIMARY KEY REFERENCES assets (asset_key),
    observed_at   INTEGER NOT NULL,
    source_key    INTEGER NOT NULL REFERENCES price_sources (source_key),
    candle        TEXT NOT NULL,
    recorded_at   INTEGER NOT NULL,
    price         TEXT NOT NULL
) STRICT;

-- Versions of exchange rates: one base is rate quote.
CREATE TABLE rates (
    base          TEXT NOT NULL,
    quote         TEXT NOT NULL,
    observed_at   INTEGER NOT NULL,
    source_key    INTEGER NOT NULL REFERENCES price_sources (source_key),
    seq           INTEGER NOT NULL,
    recorded_at   INTEGER NOT NULL,
    withdrawn     INTEGER NOT NULL CHECK (withdrawn IN (0, 1)),
    rate          TEXT NOT NULL,
    PRIMARY KEY (base, quote, observed_at, source_key, seq)
) STRICT, WITHOUT ROWID;
