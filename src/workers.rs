//! What runs beside the requests: imports, queues and jobs in the background.

pub mod actions;
pub mod bookkeeping;
pub mod difference;
pub mod history;
pub mod ingest_parse;
pub mod ledger;
pub mod pnl_engine;
