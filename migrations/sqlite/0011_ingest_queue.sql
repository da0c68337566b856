-- Batches of prices that are on disk and wait to be stored, and what became of those that were (src/workers/ingest_queue.rs).
-- A batch is stored and its state set in one commit. place is a number of the one sequence: the order they are stored in.
CREATE TABLE ingest_queue (
    place         INTEGER NOT NULL PRIMARY KEY,
    id            BLOB NOT NULL UNIQUE,
    state         TEXT NOT NULL,
    actor         TEXT NOT NULL,
    row_count     INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    tries         INTEGER NOT NULL,
    failure       TEXT,
    queued_at     INTEGER NOT NULL,
    settled_at    INTEGER,
    report        TEXT,
    -- The packed rows; none once they are stored.
    body          BLOB
) STRICT;
CREATE INDEX ingest_queue_by_state ON ingest_queue (state, place);
CREATE INDEX ingest_queue_by_age ON ingest_queue (settled_at);

-- How many batches there are of each kind, and how large those are that wait: kept with every change, so that nobody counts.
CREATE TABLE ingest_level (
    id            INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    waiting       INTEGER NOT NULL,
    waiting_bytes INTEGER NOT NULL,
    stored        INTEGER NOT NULL,
    dead          INTEGER NOT NULL
) STRICT;
INSERT INTO ingest_level (id, waiting, waiting_bytes, stored, dead) VALUES (1, 0, 0, 0, 0);
