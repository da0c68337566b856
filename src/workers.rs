//! What runs beside the requests: imports, queues and jobs in the background.

pub mod bookkeeping;
pub mod csv_records;
pub mod ingest_parse;
pub mod ledger_parse;
pub mod pnl_engine;
pub mod rehearsal;
