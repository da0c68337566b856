//! The API over real connections, by noun.

#![cfg(test)]

mod assets;
mod auth;
mod bad_input;
mod difference;
mod explain;
mod health;
mod idempotency;
mod incremental;
mod markets;
mod over_time;
mod pnl;
mod portfolios;
mod positions;
mod prices;
mod script;
mod smoke;
mod transactions;
mod transcripts;
mod versions;
