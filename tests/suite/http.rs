//! The API over real connections, by noun.

#![cfg(test)]

mod access;
mod actions;
mod assets;
mod audit;
mod auth;
mod backups;
mod bad_input;
mod candles;
mod difference;
mod digits;
mod explain;
mod feed_mappings;
mod file_faults;
mod health;
mod held;
mod idempotency;
mod incremental;
mod ingest_queue;
mod ledger_imports;
mod limits;
mod markets;
mod metrics;
mod one_or_many;
mod outbox;
mod over_time;
mod pnl;
mod portfolios;
mod positions;
mod price_batch;
mod price_stream;
mod prices;
mod rates;
mod record_files;
mod round_trip;
mod script;
mod seats;
mod smoke;
mod stored_cases;
mod transactions;
mod transcripts;
mod versions;
mod warnings;
