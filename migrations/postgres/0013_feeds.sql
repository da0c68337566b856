-- What somebody wanted of a feed, over its configuration.
CREATE TABLE feeds (
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    running       BOOLEAN NOT NULL,
    wanted_at     BIGINT NOT NULL,
    wanted_by     TEXT COLLATE "C" NOT NULL
);

-- How far a feed got with each symbol of what it delivers: everything before was stored.
CREATE TABLE feed_cursors (
    feed          TEXT COLLATE "C" NOT NULL,
    series        TEXT COLLATE "C" NOT NULL,
    symbol        TEXT COLLATE "C" NOT NULL,
    observed_at   BIGINT NOT NULL,
    number        BIGINT,
    PRIMARY KEY (feed, series, symbol)
);
