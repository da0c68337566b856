//! The API over real connections, by noun.

#![cfg(test)]

mod assets;
mod auth;
mod bad_input;
mod health;
mod idempotency;
mod incremental;
mod ledger_imports;
mod markets;
mod pnl;
mod portfolios;
mod positions;
mod prices;
mod rates;
mod round_trip;
mod script;
mod smoke;
mod transactions;
mod transcripts;
mod versions;
