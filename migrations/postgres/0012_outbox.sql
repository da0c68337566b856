-- Prices to be posted on to another instance (src/workers/outbox.rs), at most one of an asset that may have been sent
-- without an answer, and one that waits behind it. A post and the prices it tells of are one commit; place is a number
-- of the one sequence.
CREATE TABLE outbox_posts (
    place         BIGINT NOT NULL PRIMARY KEY,
    -- Also its Idempotency-Key.
    id            UUID NOT NULL UNIQUE,
    asset_key     BIGINT NOT NULL REFERENCES assets (asset_key),
    symbol        TEXT COLLATE "C" NOT NULL,
    observed_at   BIGINT NOT NULL,
    body          TEXT COLLATE "C" NOT NULL,
    state         TEXT COLLATE "C" NOT NULL,
    -- Whether a sending of it may be under way still: nothing newer of the asset goes ahead of it then.
    unanswered    BOOLEAN NOT NULL,
    tries         BIGINT NOT NULL,
    due_at        BIGINT NOT NULL,
    status        BIGINT,
    failure       TEXT COLLATE "C",
    queued_at     BIGINT NOT NULL,
    settled_at    BIGINT
);
CREATE INDEX outbox_posts_by_due ON outbox_posts (state, due_at, place);
CREATE INDEX outbox_posts_by_asset ON outbox_posts (asset_key, state);

-- What the other instance was told last of each asset.
CREATE TABLE outbox_delivered (
    asset_key     BIGINT NOT NULL PRIMARY KEY REFERENCES assets (asset_key),
    destination   TEXT COLLATE "C" NOT NULL,
    observed_at   BIGINT NOT NULL,
    body          TEXT COLLATE "C" NOT NULL,
    delivered_at  BIGINT NOT NULL
);

-- How many posts there are, and how many had which end since the beginning: kept with every change.
CREATE TABLE outbox_level (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    waiting       BIGINT NOT NULL,
    dead          BIGINT NOT NULL,
    delivered     BIGINT NOT NULL,
    superseded    BIGINT NOT NULL,
    refused       BIGINT NOT NULL
);
INSERT INTO outbox_level (id, waiting, dead, delivered, superseded, refused) VALUES (1, 0, 0, 0, 0, 0);
