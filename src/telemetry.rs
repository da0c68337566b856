//! The log, on standard error, for people or as JSON; and the metrics, by name.
//!
//! A new metric is one line of the table below, and is counted where it happens: `metrics::counter!(NAME, ..)`. Labels
//! hold routes, sources, outcomes and other words of which there are few; never an id, a symbol, a key or a path.

pub mod journal;
pub mod recorder;
pub mod sources;

use tracing_subscriber::EnvFilter;

/// Declares each metric once: its kind, its constant, its name and what it tells. A `zeroed` counter has no labels and
/// is shown from the start, so that its first event is an increase; with a label of which all words are known, each of its
/// series is.
macro_rules! table {
    ($($kind:ident $name:ident = $text:literal, $help:literal $(, $label:literal in [$($word:literal),+])?;)+) => {
        $(#[doc = $help] pub const $name: &str = $text;)+

        /// Every name.
        pub const METRICS: &[&str] = &[$($text),+];

        fn describe() {
            $(table!(@ $kind $name $help);)+
            $($($(metrics::counter!($name, $label => $word).absolute(0);)+)?)+
        }
    };
    (@ zeroed $name:ident $help:literal) => {
        metrics::describe_counter!($name, $help);
        metrics::counter!($name).absolute(0);
    };
    (@ counter $name:ident $help:literal) => { metrics::describe_counter!($name, $help); };
    (@ gauge $name:ident $help:literal) => { metrics::describe_gauge!($name, $help); };
    (@ histogram $name:ident $help:literal) => { metrics::describe_histogram!($name, $help); };
}

table! {
    // Requests.
    counter HTTP_REQUESTS = "http_requests_total", "Requests by method, route template and status; 499 when the caller went away first.";
    histogram HTTP_REQUEST_SECONDS = "http_request_duration_seconds", "Time from a request's head to its answer's head, by method and route template.";
    gauge HTTP_IN_FLIGHT = "http_requests_in_flight", "Requests that are being answered.";
    counter HTTP_TURNED_AWAY = "http_requests_turned_away_total", "Requests refused before their route, by reason: the rate limit that was used up, or concurrency.",
        "reason" in ["key", "address", "heavy", "anonymous", "refused", "concurrency"];
    gauge HTTP_CONNECTIONS = "http_connections", "Connections from the network that are open.";
    counter HTTP_CONNECTIONS_ENDED = "http_connections_ended_total", "Connections ended for the sake of others, by reason: idle, slow body, slow answer, or a full house.",
        "reason" in ["idle", "slow_body", "slow_answer", "full"];
    // What is computed.
    histogram PNL_SECONDS = "pnl_compute_seconds", "Time to compute the profit and loss that was asked for, by kind: present or past.";
    // What is recorded.
    counter INGEST_MESSAGES = "ingest_messages_total", "Rows of prices and rates, by source and outcome: stored, duplicate, corrected, refused or withdrawn.";
    gauge INGEST_QUEUE_DEPTH = "ingest_queue_depth", "Batches that wait in the queue to be stored.";
    gauge INGEST_QUEUE_BYTES = "ingest_queue_bytes", "Size of the packed rows of the batches that wait in the queue.";
    counter INGEST_QUEUE_BATCHES = "ingest_queue_batches_total", "Batches that left the queue, by outcome: stored or dead.",
        "outcome" in ["stored", "dead"];
    gauge INGEST_QUEUE_OLDEST = "ingest_queue_oldest_seconds", "Age of the batch that has waited longest in the queue.";
    gauge INGEST_DEAD_LETTERS = "ingest_dead_letters", "Batches of the queue that could not be stored.";
    gauge INGEST_LAG = "ingest_lag_seconds", "From the newest moment of a feed's last group to its commit, by source.";
    gauge FEED_CONNECTED = "feed_connected", "1 while a feed is connected, or its last fetch succeeded, by source.";
    gauge FEED_LAST_MESSAGE = "feed_last_message_timestamp_seconds", "When anything came from a feed last, by source.";
    gauge FEED_WANTED = "feed_wanted", "1 while somebody wants a feed to run, by source.";
    gauge FEED_STALE = "feed_stale", "1 while a feed that is wanted has given nothing good for twice as long as it may take, by source.";
    counter FEED_RECONNECTS = "feed_reconnects_total", "Connections of feeds after their first, by source.";
    gauge PRICE_STALENESS = "price_staleness_seconds", "Age of the oldest newest price of an active asset, by asset type.";
    // What is posted on to another instance.
    gauge OUTBOX_DEPTH = "outbox_depth", "Prices that wait to be posted on.";
    gauge OUTBOX_OLDEST = "outbox_oldest_seconds", "Age of the price that has waited longest to be posted on.";
    gauge OUTBOX_DEAD_LETTERS = "outbox_dead_letters", "Prices the other instance refused.";
    counter OUTBOX_POSTS = "outbox_posts_total", "Prices that were to be posted on, by outcome: delivered, superseded or refused.";
    // The database.
    gauge WRITER_QUEUE = "writer_queue_depth", "Writes that wait for the one writer.";
    histogram WRITER_COMMIT_SECONDS = "writer_commit_seconds", "Time from the beginning of a commit until it is on disk.";
    histogram WRITER_COMMIT_WRITES = "writer_commit_writes", "Writes that shared a commit.";
    zeroed WRITER_COMMIT_FAILURES = "writer_commit_failures_total", "Commits that failed; their writes were refused.";
    gauge DB_CONNECTIONS = "db_pool_connections", "Connections that read, by state: idle or used.";
    histogram DB_WAIT_SECONDS = "db_pool_wait_seconds", "Time until a read had its connection.";
    gauge DATABASE_BYTES = "db_size_bytes", "Size of the SQLite database without its write-ahead log.";
    gauge WAL_BYTES = "sqlite_wal_bytes", "Size of SQLite's write-ahead log.";
    histogram CHECKPOINT_SECONDS = "sqlite_checkpoint_seconds", "Time to take SQLite's write-ahead log up into the database, beside the commits.";
    gauge DISK_FREE = "data_disk_free_bytes", "What is free, to this user, on the file system of the data directory.";
    gauge DISK_SIZE = "data_disk_size_bytes", "Size of the file system of the data directory.";
    // Backups.
    gauge BACKUP_LAST_SUCCESS = "backup_last_success_timestamp_seconds", "When the newest backup was taken, in seconds since 1970.";
    gauge BACKUP_LAST_VERIFIED = "backup_last_verified_timestamp_seconds", "When a backup was last restored into a scratch place and found sound, in seconds since 1970.";
    gauge BACKUP_SIZE = "backup_size_bytes", "Size of the newest backup.";
    zeroed BACKUP_FAILURES = "backup_failures_total", "Backups that could not be taken.";
    zeroed BACKUP_VERIFY_FAILURES = "backup_verify_failures_total", "Drills that found a backup not sound, or could not be gone through with.";
    // The audit trail.
    zeroed AUDIT_ROWS = "audit_rows_total", "Rows written to the audit trail.";
    zeroed AUDIT_WRITE_FAILURES = "audit_write_failures_total", "Commits with rows of the audit trail that failed, and anchors that could not be written.";
    gauge AUDIT_ANCHORED = "audit_anchor_last_timestamp_seconds", "When the audit trail was last seen to be anchored to its end; at the start, when its last anchor was written, or else when the database was made.";
    gauge AUDIT_VERIFIED = "audit_verify_last_timestamp_seconds", "When the audit trail was last verified.";
    gauge AUDIT_WHOLE = "audit_verify_whole", "1 when the last verification found nothing wrong, else 0.";
    // The process.
    gauge RUNTIME_WORKERS = "tokio_workers", "Threads that run tasks.";
    gauge RUNTIME_BUSY = "tokio_workers_busy_seconds", "Time those threads were busy since the start, all together.";
    gauge RUNTIME_TASKS = "tokio_tasks", "Tasks that are alive.";
    gauge RUNTIME_QUEUE = "tokio_queue_depth", "Tasks that wait in the queue all threads share.";
    gauge CLOCK_BEHIND = "clock_behind", "1 while stamps are ahead of the clock, which was set back.";
    gauge CLOCK_AHEAD = "clock_ahead", "1 while the clock has run an hour ahead and is not followed.";
    gauge SERVICE_START = "service_start_timestamp_seconds", "When the service opened its data, in seconds since 1970.";
    gauge DATA_START = "data_start_timestamp_seconds", "When the database was made, in seconds since 1970; a restart changes nothing about it.";
    // Who comes in.
    gauge CERTIFICATE_EXPIRY = "tls_certificate_expiry_timestamp_seconds", "When the certificate in use ends, in seconds since 1970; not there without TLS of its own.";
    counter AUTH_FAILURES = "auth_failures_total", "Credentials and logins that were refused, by kind: none, API key, token, scope, login, throttled login, refresh or reused refresh.",
        "kind" in ["none", "api_key", "token", "scope", "login", "login_throttled", "refresh", "refresh_reused"];
    zeroed LOGINS = "auth_logins_total", "Logins with a password.";
    gauge BUILD = "build_info", "1, with version, commit, compiler and features.";
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log with a filter such as `info` or `artifact=debug`. Called once, before anything is logged.
pub fn start(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(journal::Stderr);
    let started = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    if let Err(error) = started {
        tracing::warn!(%error, "the log was started before");
    }
}
