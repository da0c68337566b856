//! Profit and loss: a fold over the ledger into a [`book::Book`], and its valuation into a [`report::Report`].
//!
//! Everything here is a pure function of transactions, terms, rates, prices and conventions. Formulae,
//! their sources and a worked example: `docs/PNL.md`. Amounts are exact; a share of a cost is rounded once
//! and the rest is what remains, so nothing appears or vanishes.

pub mod amounts;
pub mod attribution;
pub mod book;
pub mod curve;
pub mod explain;
pub mod holding;
pub mod lots;
pub mod report;
pub mod statement;
pub mod tax;
pub mod trace;
