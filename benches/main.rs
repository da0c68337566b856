//! `make bench`: each figure beside its limit or a peer, taken in turn inside every round of the same run; medians and
//! ratios. `cargo bench -- fold reads` runs those parts alone. `docs/BENCHMARKS.md` tells what each line measures.

mod audit;
mod blocks;
mod bulk;
mod client;
mod fold;
mod ledgers;
mod limits;
mod portfolios;
mod processes;
mod reading;
mod serving;
mod statistics;
mod traffic;

use std::time::{Duration, Instant};

/// Rounds of each measurement.
pub(crate) const ROUNDS: usize = 5;

/// The middle of several durations.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// How long some work takes.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    std::hint::black_box(work());
    started.elapsed()
}

/// A duration as many times another, with two decimals.
pub(crate) fn times(figure: Duration, beside: Duration) -> String {
    let hundredths = figure.as_nanos() * 100 / beside.as_nanos().max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A duration with three significant digits or so.
pub(crate) fn shown(time: Duration) -> String {
    let micros = time.as_micros();
    match micros {
        0..10 => format!("{} ns", time.as_nanos()),
        10..10_000 => format!("{micros} us"),
        10_000..10_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

/// Load of the machine over the last minute, where the system tells it.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// One row of the table.
pub(crate) struct Row<'a> {
    /// What was measured.
    pub(crate) work: &'a str,
    /// How long it took, or how many there were.
    pub(crate) figure: String,
    /// What it is held against, and how long that took.
    pub(crate) beside: String,
    /// The first by the second, or the second by the first, as the goal has it.
    pub(crate) ratio: String,
    /// What is asked for.
    pub(crate) goal: &'a str,
}

impl Row<'_> {
    #[expect(clippy::print_stdout, reason = "the table is what this program is for")]
    pub(crate) fn print(&self) {
        let Row { work, figure, beside, ratio, goal } = self;
        println!("{work:<62} {figure:>10}  {beside:<40} {ratio:>8}  {goal:<16} {:>5}", load());
    }
}

fn title() {
    let title = Row {
        work: "work",
        figure: "figure".to_owned(),
        beside: "beside".to_owned(),
        ratio: "ratio".to_owned(),
        goal: "goal",
    };
    title.print();
}

/// Does what a process of a measurement is for: `bare BYTES`, or `load ADDRESS KEY CONNECTIONS REQUESTS WHAT`.
fn child() -> bool {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bare", bytes] => many().block_on(processes::serve_bare(bytes.parse().unwrap_or_default())),
        ["load", address, key, connections, requests, what] => {
            let (Ok(address), Ok(connections), Ok(requests)) =
                (address.parse(), connections.parse(), requests.parse())
            else {
                return false;
            };
            let work = traffic::Work { connections, requests, what: (*what).to_owned() };
            one().block_on(traffic::run(address, key, work));
        }
        _ => return false,
    }
    true
}

/// A thread for each core.
#[expect(clippy::expect_used, reason = "nothing can be measured without")]
fn many() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// This thread alone.
#[expect(clippy::expect_used, reason = "nothing can be measured without")]
fn one() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn main() {
    if !child() {
        many().block_on(measure());
    }
}

async fn measure() {
    // cargo passes `--bench`; other arguments name parts.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with('-')).collect();
    let runs = |part: &str| wanted.is_empty() || wanted.iter().any(|named| named == part);
    title();
    if runs("fold") {
        fold::run();
    }
    if runs("statistics") {
        statistics::run();
    }
    if runs("ledgers") {
        ledgers::run().await;
    }
    if runs("blocks") {
        blocks::run().await;
    }
    if runs("history") {
        ledgers::run_history().await;
    }
    if runs("audit") {
        audit::run().await;
    }
    if runs("serving") {
        serving::run().await;
    }
    if runs("bulk") {
        bulk::run().await;
    }
    if runs("reading") {
        reading::run().await;
    }
    if runs("growth") {
        bulk::run_growth().await;
    }
}
