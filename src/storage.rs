//! The only SQL. Functions over a transaction, one file per family of tables; every statement is one text for
//! both databases.
//!
//! A newcomer's mistake is to write outside [`writer`]: there is one writer, it stamps what it commits, and an
//! answer is sent only after its commit.

pub mod access;
pub mod actions;
pub mod anchor_file;
pub mod assets;
pub mod audit;
pub mod audit_key;
pub mod audit_rows;
mod carry_over;
pub mod checkpoints;
pub mod closes;
pub mod columns;
pub mod currencies;
pub mod database;
pub mod earlier;
pub mod error;
pub mod feeds;
pub mod figures;
pub mod idempotency;
pub mod ingest_queue;
pub mod learned;
pub mod listings;
pub mod markets;
pub mod migrate;
pub mod newest;
pub mod opening;
pub mod outbox;
pub mod page;
mod password_request;
mod pending;
pub mod portfolios;
pub mod positions;
pub mod presence;
mod price_blocks;
mod price_series;
pub mod price_sources;
pub mod price_windows;
pub mod prices;
pub mod rates;
mod recall;
pub mod refusal;
pub mod sealing;
pub mod second_factors;
pub mod series;
pub mod snapshot;
pub mod ticks;
pub mod token_keys;
pub mod transactions;
pub mod usage;
pub mod users;
mod wal;
pub mod writer;
