-- What somebody wanted of a feed, over its configuration.
CREATE TABLE feeds (
    name          TEXT NOT NULL PRIMARY KEY,
    running       INTEGER NOT NULL CHECK (running IN (0, 1)),
    wanted_at     INTEGER NOT NULL,
    wanted_by     TEXT NOT NULL
) STRICT;

-- How far a feed got with each symbol of what it delivers: everything before was stored.
CREATE TABLE feed_cursors (
    feed          TEXT NOT NULL,
    series        TEXT NOT NULL,
    symbol        TEXT NOT NULL,
    observed_at   INTEGER NOT NULL,
    number        INTEGER,
    PRIMARY KEY (feed, series, symbol)
) STRICT;
