//! What runs beside the requests: imports, queues and jobs in the background.

pub mod actions;
pub mod adjusted_prices;
pub mod backup;
pub mod bookkeeping;
pub mod csv_records;
pub mod difference;
pub mod gauges;
pub mod history;
pub mod ingest_parse;
pub mod intake;
pub mod ledger;
pub mod ledger_parse;
pub mod listings;
pub mod outbound;
pub mod pnl_engine;
pub mod present;
pub mod quotes;
pub mod records;
pub mod rehearsal;
pub mod sealing;
pub mod values;
