-- Versions of price points in blocks of columns (src/domain/price_block.rs): a point is (asset, source, candle length,
-- observed_at), its current version has the greatest seq, a withdrawn version hides it. Nothing learned is overwritten.

-- As they were recorded: a commit adds a block, of several series or one.
CREATE TABLE fresh_prices (
    block_id          BIGINT NOT NULL PRIMARY KEY,
    first_asset       BIGINT NOT NULL,
    last_asset        BIGINT NOT NULL,
    first_at          BIGINT NOT NULL,
    last_at           BIGINT NOT NULL,
    first_recorded_at BIGINT NOT NULL,
    last_recorded_at  BIGINT NOT NULL,
    points            BIGINT NOT NULL,
    body              BYTEA NOT NULL
);

-- Sorted out: one series a block. Blocks of current versions of one series do not overlap in time; superseded and
-- withdrawn versions, each with the moment it ended, have blocks of their own.
CREATE TABLE sealed_prices (
    block_id          BIGINT NOT NULL PRIMARY KEY,
    asset_key         BIGINT NOT NULL REFERENCES assets (asset_key),
    source_key        BIGINT NOT NULL REFERENCES price_sources (source_key),
    candle            TEXT COLLATE "C" NOT NULL,
    superseded        BOOLEAN NOT NULL,
    first_at          BIGINT NOT NULL,
    last_at           BIGINT NOT NULL,
    first_recorded_at BIGINT NOT NULL,
    last_recorded_at  BIGINT NOT NULL,
    last_ended_at     BIGINT NOT NULL,
    points            BIGINT NOT NULL,
    body              BYTEA NOT NULL
);
CREATE INDEX sealed_prices_by_series ON sealed_prices (asset_key, source_key, candle, superseded, first_at, last_at);

-- How far sealing has come: of fresh blocks up to upto_block, what is about assets before asset_key, and about
-- asset_key up to observed_at, is in sealed blocks already and counts no more. Between two rounds upto_block is 0, and
-- observed_at names a block that is gone.
CREATE TABLE price_sealing (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    upto_block    BIGINT NOT NULL,
    asset_key     BIGINT NOT NULL,
    observed_at   BIGINT NOT NULL
);
INSERT INTO price_sealing (id, upto_block, asset_key, observed_at) VALUES (1, 0, 0, 0);

-- Packed already: compressing it again costs time and gains nothing.
ALTER TABLE fresh_prices ALTER COLUMN body SET STORAGE EXTERNAL;
ALTER TABLE sealed_prices ALTER COLUMN body SET STORAGE EXTERNAL;
