//! The API over real connections, by noun.

#![cfg(test)]

mod assets;
mod auth;
mod bad_input;
mod health;
mod idempotency;
mod incremental;
mod markets;
mod pnl;
mod portfolios;
mod positions;
mod prices;
mod rates;
mod script;
mod smoke;
mod transactions;
mod transcripts;
mod versions;
