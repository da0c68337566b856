//! `make bench`: each figure beside its limit, measured in the same run; medians of five rounds and their ratio.

mod fold;
mod prices;

use std::time::Duration;

/// Rounds of each measurement.
pub(crate) const ROUNDS: usize = 5;

/// The middle of several durations.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Writes one row of the table.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn row(what: &str, figure: &str, limit: &str, ratio: &str) {
    println!("{what:<58} {figure:>16} {limit:>24} {ratio:>10}");
}

#[tokio::main]
async fn main() {
    row("work", "figure", "limit", "ratio");
    fold::run();
    prices::run().await;
}
