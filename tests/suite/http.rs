//! The API over real connections, by noun.

mod assets;
mod bad_input;
mod markets;
mod portfolios;
mod positions;
mod prices;
mod smoke;
mod transactions;
mod transcripts;
