CREATE TABLE price_sources (
    source_key     BIGINT NOT NULL PRIMARY KEY,
    name           TEXT COLLATE "C" NOT NULL UNIQUE,
    split_adjusted BOOLEAN NOT NULL,
    recorded_at    BIGINT NOT NULL
);

-- Versions of price points. A point is (asset, observed_at, source, interval); its current version has the greatest
-- seq; a withdrawn version hides it. Nothing is overwritten.
CREATE TABLE prices (
    asset_key     BIGINT NOT NULL REFERENCES assets (asset_key),
    observed_at   BIGINT NOT NULL,
    source_key    BIGINT NOT NULL REFERENCES price_sources (source_key),
    candle        TEXT COLLATE "C" NOT NULL,
    seq           BIGINT NOT NULL,
    recorded_at   BIGINT NOT NULL,
    withdrawn     BOOLEAN NOT NULL,
    price         TEXT COLLATE "C" NOT NULL,
    open          TEXT COLLATE "C",
    high          TEXT COLLATE "C",
    low           TEXT COLLATE "C",
    volume        TEXT COLLATE "C",
    PRIMARY KEY (asset_key, observed_at, source_key, candle, seq)
);

-- The price that values each asset when nothing bounds the reading: kept with every write to prices.
CREATE TABLE latest_prices (
    asset_key     BIGINT NOT NULL PRIMARY KEY REFERENCES assets (asset_key),
    observed_at   BIGINT NOT NULL,
    source_key    BIGINT NOT NULL REFERENCES price_sources (source_key),
    candle        TEXT COLLATE "C" NOT NULL,
    recorded_at   BIGINT NOT NULL,
    price         TEXT COLLATE "C" NOT NULL
);

-- Versions of exchange rates: one base is rate quote.
CREATE TABLE rates (
    base          TEXT COLLATE "C" NOT NULL,
    quote         TEXT COLLATE "C" NOT NULL,
    observed_at   BIGINT NOT NULL,
    source_key    BIGINT NOT NULL REFERENCES price_sources (source_key),
    seq           BIGINT NOT NULL,
    recorded_at   BIGINT NOT NULL,
    withdrawn     BOOLEAN NOT NULL,
    rate          TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (base, quote, observed_at, source_key, seq)
);
