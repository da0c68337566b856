-- Batches of prices that are on disk and wait to be stored, and what became of those that were (src/workers/ingest_queue.rs).
-- A batch is stored and its state set in one commit. place is a number of the one sequence: the order they are stored in.
CREATE TABLE ingest_queue (
    place         BIGINT NOT NULL PRIMARY KEY,
    id            UUID NOT NULL UNIQUE,
    state         TEXT COLLATE "C" NOT NULL,
    actor         TEXT COLLATE "C" NOT NULL,
    row_count     BIGINT NOT NULL,
    bytes         BIGINT NOT NULL,
    tries         BIGINT NOT NULL,
    failure       TEXT COLLATE "C",
    queued_at     BIGINT NOT NULL,
    settled_at    BIGINT,
    report        TEXT COLLATE "C",
    -- The packed rows; none once they are stored.
    body          BYTEA
);
CREATE INDEX ingest_queue_by_state ON ingest_queue (state, place);
CREATE INDEX ingest_queue_by_age ON ingest_queue (settled_at);

-- How many batches there are of each kind, and how large those are that wait: kept with every change, so that nobody counts.
CREATE TABLE ingest_level (
    id            BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    waiting       BIGINT NOT NULL,
    waiting_bytes BIGINT NOT NULL,
    stored        BIGINT NOT NULL,
    dead          BIGINT NOT NULL
);
INSERT INTO ingest_level (id, waiting, waiting_bytes, stored, dead) VALUES (1, 0, 0, 0, 0);

-- Packed already: compressing it again costs time and gains nothing.
ALTER TABLE ingest_queue ALTER COLUMN body SET STORAGE EXTERNAL;
