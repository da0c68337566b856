//! The HTTP API: parse, ask the rule, one transaction, answer. Everything with a status code is here.

pub mod access_change;
pub mod actions;
pub mod assets;
pub mod attribution;
pub mod audit;
pub mod auth;
pub mod backups;
pub mod candles;
pub mod client_address;
pub mod connections;
pub mod conventions;
pub mod credentials;
pub mod currencies;
pub mod dead_letters;
pub mod difference;
pub mod digest;
pub mod docs;
pub mod drafts;
pub mod entrance;
pub mod error;
pub mod explain;
pub mod export_prices;
pub mod export_records;
pub mod exports;
pub mod feed_mappings;
pub mod feeds;
pub mod fields;
pub mod fx;
pub mod gains;
pub mod guard;
pub mod health;
pub mod history;
pub mod import_reports;
pub mod imports;
pub mod ingest_queue;
pub mod keys;
pub mod layers;
pub mod ledger_imports;
pub mod limits;
pub mod lines;
pub mod login;
pub mod login_sessions;
pub mod loopback;
pub mod mappings;
pub mod markets;
pub mod masked;
pub mod meters;
pub mod metrics;
pub mod openapi;
pub mod outbox;
pub mod packing;
pub mod performance;
pub mod pnl;
pub mod portfolios;
pub mod position_trades;
pub mod positions;
pub mod posted;
pub mod price_batch;
pub mod price_history;
pub mod price_rows;
pub mod price_sources;
pub mod price_stream;
pub mod price_withdrawal;
pub mod prices;
pub mod query;
pub mod rate_imports;
pub mod reading;
pub mod recheck;
pub mod record_files;
pub mod recording;
pub mod returns;
pub mod rights;
pub mod router;
pub mod seats;
pub mod second_factor;
pub mod security;
pub mod several;
pub mod signing_keys;
pub mod statement;
pub mod strangers;
pub mod streams;
pub mod tagged;
pub mod tls;
pub mod transactions;
pub mod users;
pub mod values;
pub mod visit;
pub mod wire;

use crate::clock::Clock;
use crate::http::auth::Access;
use crate::http::guard::Guard;
use crate::http::health::Limits;
use crate::http::price_stream::Admission;
use crate::http::seats::Seats;
use crate::random::Random;
use crate::storage::database::Database;
use crate::workers::audit_trail::AuditTrail;
use crate::workers::backup::Backups;
use crate::workers::feeds::Feeds;
use crate::workers::gate::Gate;
use crate::workers::ingest_queue::Queue;
use crate::workers::present::Presents;
use crate::workers::records::RecordFiles;
use crate::workers::refusals::Refusals;
use crate::workers::vitals::Vitals;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What every handler can reach. Each layer and handler of each request holds it, so it is one pointer.
pub type AppState = Arc<Service>;

/// The parts of the service.
#[derive(Debug, Clone)]
pub struct Service {
    /// The database.
    pub db: Database,
    /// Present books held in memory.
    pub presents: Arc<Presents>,
    /// Records of sources, in files.
    pub records: Arc<RecordFiles>,
    /// What is done for the audit trail outside the database.
    pub trail: Arc<AuditTrail>,
    /// Refused callers, on their way to the audit trail.
    pub refusals: Arc<Refusals>,
    /// Streams of prices that are open.
    pub streams: Arc<Admission>,
    /// Room in memory for bodies.
    pub seats: Arc<Seats>,
    /// Batches that wait to be stored.
    pub queue: Arc<Queue>,
    /// Feeds that are configured.
    pub feeds: Arc<Feeds>,
    /// Backups, and what is known of the last one.
    pub backups: Arc<Backups>,
    /// The time.
    pub clock: Clock,
    /// Randomness for new ids.
    pub random: Random,
    /// Who may come in without a key.
    pub access: Access,
    /// Who may come in with one, and what guards the door.
    pub gate: Arc<Gate>,
    /// Set when the service is stopping: it is live but no longer ready.
    pub draining: Arc<AtomicBool>,
    /// What is asked of every request before its route.
    pub guard: Arc<Guard>,
    /// From when on the service counts as unwell.
    pub limits: Arc<Limits>,
    /// Whether the pages and the document that describe the service are served.
    pub described: bool,
    /// The look at the database that everybody who asks shares.
    pub vitals: Arc<Vitals>,
}
