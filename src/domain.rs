//! What the service is about: pure values and functions, no clock, no I/O.

pub mod access;
pub mod adjustment;
pub mod asset;
pub mod audit;
pub mod batch;
pub mod candle;
pub mod corporate_action;
pub mod currency;
pub mod decimal;
pub mod fx;
#[cfg(test)]
pub(crate) mod hammer;
pub mod hexadecimal;
pub mod ids;
pub mod interval;
pub mod ledger;
pub mod market;
pub mod moment;
pub mod naming;
pub mod outbox;
pub mod pnl;
pub mod portfolio;
pub mod price;
pub mod price_block;
pub mod price_version;
pub mod statistics;
pub mod transaction;
