-- Counts changes of a kept book, so that what is held in memory can be told to be the one on disk.
ALTER TABLE ledger_states ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
