//! Where metrics are kept in memory, and how Prometheus reads them.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;

/// Commit the program is made of; `development` when it is no release.
pub const COMMIT: &str = env!("ARTIFACT_COMMIT");
/// Version of the compiler.
pub const RUSTC: &str = env!("ARTIFACT_RUSTC");
/// What was compiled in of what could be left out: nothing can be.
pub const FEATURES: &str = "none";
/// Type of what [`render`] gives.
pub const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of histograms in seconds.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds for what mostly takes less than a millisecond.
const SHORT: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// Bounds for jobs that run beside the service.
const LONG: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];
/// Bounds for how many did something together.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to keep metrics; what was counted before is lost. A second time changes nothing.
pub fn start() {
    recorder();
}

/// Everything kept, as text for Prometheus.
pub fn render() -> String {
    recorder().render()
}

/// Sorts what histograms have been told, so that it does not pile up between two readings. To be called every few
/// seconds.
pub fn tidy() {
    recorder().run_upkeep();
}

/// A count as a value of a gauge.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a gauge is a float; 53 bits are enough to watch"
)]
pub const fn value(count: u64) -> f64 {
    count as f64
}

fn recorder() -> &'static PrometheusHandle {
    RECORDER.get_or_init(|| {
        let recorder = with_bounds(PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        if let Err(error) = metrics::set_global_recorder(recorder) {
            tracing::error!(%error, "metrics are kept by somebody else");
        }
        super::describe();
        metrics_process::Collector::default().describe();
        let version = env!("CARGO_PKG_VERSION");
        let labels = [("version", version), ("commit", COMMIT), ("rustc", RUSTC), ("features", FEATURES)];
        metrics::gauge!(super::BUILD, &labels).set(1.0);
        handle
    })
}

/// With bounds of its own a histogram can be added up over several processes; without, it would be a summary.
fn with_bounds(builder: PrometheusBuilder) -> PrometheusBuilder {
    let bounds = [
        (Matcher::Full(super::PNL_SECONDS.to_owned()), SHORT),
        (Matcher::Full(super::DB_WAIT_SECONDS.to_owned()), SHORT),
        (Matcher::Full(super::WRITER_COMMIT_WRITES.to_owned()), COUNTS),
        (Matcher::Prefix("backup_".to_owned()), LONG),
        (Matcher::Suffix("_seconds".to_owned()), SECONDS),
    ];
    let set = |builder: PrometheusBuilder, (matcher, bounds)| builder.set_buckets_for_metric(matcher, bounds);
    // Only a list without a bound is refused.
    bounds.into_iter().try_fold(builder, set).unwrap_or_default()
}
