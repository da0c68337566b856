//! Artifact: markets, assets, prices and portfolios, with exact and reproducible profit and loss.
//!
//! Layers, arrows only to the left: `domain <- storage <- workers <- http, cli <- app`.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod http;
pub mod random;
pub mod storage;
pub mod telemetry;
pub mod workers;
