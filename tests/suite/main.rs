//! One integration binary: the service as its users meet it.

mod architecture;
mod deploy;
mod explained;
mod feeds;
mod fickle;
mod http;
mod measures;
mod migrations;
mod openapi;
mod pnl_exact;
mod pnl_golden;
mod pnl_laws;
mod process;
mod statements;
mod statistics;
mod storage;
mod support;
mod twins;
