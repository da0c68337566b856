-- Prices to be posted on to another instance (src/workers/outbox.rs), at most one of an asset that may have been sent
-- without an answer, and one that waits behind it. A post and the prices it tells of are one commit; place is a number
-- of the one sequence.
CREATE TABLE outbox_posts (
    place         INTEGER NOT NULL PRIMARY KEY,
    -- Also its Idempotency-Key.
    id            BLOB NOT NULL UNIQUE,
    asset_key     INTEGER NOT NULL REFERENCES assets (asset_key),
    symbol        TEXT NOT NULL,
    observed_at   INTEGER NOT NULL,
    body          TEXT NOT NULL,
    state         TEXT NOT NULL,
    -- Whether a sending of it may be under way still: nothing newer of the asset goes ahead of it then.
    unanswered    INTEGER NOT NULL CHECK (unanswered IN (0, 1)),
    tries         INTEGER NOT NULL,
    due_at        INTEGER NOT NULL,
    status        INTEGER,
    failure       TEXT,
    queued_at     INTEGER NOT NULL,
    settled_at    INTEGER
) STRICT;
CREATE INDEX outbox_posts_by_due ON outbox_posts (state, due_at, place);
CREATE INDEX outbox_posts_by_asset ON outbox_posts (asset_key, state);

-- What the other instance was told last of each asset.
CREATE TABLE outbox_delivered (
    asset_key     INTEGER NOT NULL PRIMARY KEY REFERENCES assets (asset_key),
    destination   TEXT NOT NULL,
    observed_at   INTEGER NOT NULL,
    body          TEXT NOT NULL,
    delivered_at  INTEGER NOT NULL
) STRICT;

-- How many posts there are, and how many had which end since the beginning: kept with every change.
CREATE TABLE outbox_level (
    id            INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    waiting       INTEGER NOT NULL,
    dead          INTEGER NOT NULL,
    delivered     INTEGER NOT NULL,
    superseded    INTEGER NOT NULL,
    refused       INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_level (id, waiting, dead, delivered, superseded, refused) VALUES (1, 0, 0, 0, 0, 0);
