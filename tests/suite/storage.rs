//! The tables, each family on both databases, and what the writer and the lock promise.
//!
//! What belongs in these tests is what the database could get wrong: order, uniqueness, what a snapshot sees.

#![cfg(test)]

mod access;
mod actions;
mod anchor_file;
mod assets;
mod audit;
mod audit_key;
mod audit_rows;
mod carry_over;
mod checkpoints;
mod closes;
mod currencies;
mod damage;
mod earlier;
mod feeds;
mod figures;
mod idempotency;
mod ingest_queue;
mod learned;
mod lock;
mod markets;
mod outbox;
mod paging;
mod portfolios;
mod positions;
mod price_sources;
mod price_store;
mod price_versions;
mod price_windows;
mod prices;
mod rates;
pub(crate) mod raw;
mod samples;
mod settling;
mod snapshot;
mod token_keys;
mod transactions;
mod users;
mod wal;
mod writer;
