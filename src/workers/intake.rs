//! Prices of many assets on their way into the store: one judgement and one recording for batches, streams, the queue
//! and feeds.
//!
//! What arrives is gathered in [`Rows`], which keeps a name once however many rows have it. [`judge`] parts it, as the
//! assets stand in the commit under way, into what can be recorded and what is refused, and [`Judged::record`] records
//! the former in the order it came. What is counted goes to the metrics by [`Tally::publish`], after the commit.

mod packed;

pub use packed::Packed;

use crate::domain::ids::SourceKey;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{FUTURE_MAX, InvalidQuote, Outcome, Quote};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::listings::Listing;
use crate::storage::prices::{self, Series};
use crate::telemetry;
use crate::workers::listings;
use std::collections::{BTreeMap, HashMap};
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};

/// Faults that are listed; all are counted.
pub const LISTED: usize = 100;

/// Whose series a row continues.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesName {
    /// Symbol of the asset, upper-case.
    pub symbol: String,
    /// Who says so.
    pub source: String,
    /// Candle length; none for ticks.
    pub interval: Option<Interval>,
}

impl SeriesName {
    fn candle(&self) -> &'static str {
        self.interval.map_or("", Interval::name)
    }
}

/// A row without its name.
#[derive(Debug, Clone)]
struct Row {
    name: usize,
    line: u64,
    observed_at: Moment,
    quote: Quote,
}

/// Rows in the order they came.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    names: Vec<SeriesName>,
    places: HashMap<SeriesName, usize>,
    entries: Vec<Row>,
}

impl Rows {
    /// Where a name stands, for rows that have it.
    pub fn name(&mut self, name: SeriesName) -> usize {
        if let Some(place) = self.places.get(&name) {
            return *place;
        }
        let place = self.names.len();
        self.names.push(name.clone());
        self.places.insert(name, place);
        place
    }

    /// Adds a row that has the name at `place`. `line` is where it stands in what was sent.
    pub fn push(&mut self, place: usize, line: u64, observed_at: Moment, quote: Quote) {
        self.entries.push(Row { name: place, line, observed_at, quote });
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the rows out and keeps the names, so that those who hold the place of one may go on using it.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let entries = std::mem::take(&mut self.entries);
        Self { names: self.names.clone(), places: HashMap::new(), entries }
    }

    /// The newest row of each asset: its symbol, moment and quote. Of two of one moment the later sent.
    pub fn newest(&self) -> BTreeMap<&str, (Moment, &Quote)> {
        let mut newest: BTreeMap<&str, (Moment, &Quote)> = BTreeMap::new();
        for row in &self.entries {
            let Some(name) = self.names.get(row.name) else { continue };
            let known = newest.entry(&name.symbol).or_insert((row.observed_at, &row.quote));
            if known.0 <= row.observed_at {
                *known = (row.observed_at, &row.quote);
            }
        }
        newest
    }

    /// Every row with its name, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &SeriesName, Moment, &Quote)> {
        self.entries
            .iter()
            .filter_map(|row| Some((row.line, self.names.get(row.name)?, row.observed_at, &row.quote)))
    }
}

/// Why a row is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Where it stands in what was sent.
    pub line: u64,
    /// Its field.
    pub field: &'static str,
    /// Stable code of the rule.
    pub code: &'static str,
    /// The rule, for people.
    pub detail: String,
}

impl From<&InvalidQuote> for Refused {
    /// The refusal of a row that breaks a rule of quotes; its line is 0.
    fn from(error: &InvalidQuote) -> Self {
        let (field, code) = match error {
            InvalidQuote::Negative { field } => (*field, "negative"),
            InvalidQuote::OutsideRange { field } => (*field, "outside_range"),
        };
        Self { line: 0, field, code, detail: error.to_string() }
    }
}

/// How many rows had which outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Points not seen before.
    pub stored: u64,
    /// Equal to what was known.
    pub duplicate: u64,
    /// Newer versions of points.
    pub corrected: u64,
    /// Refused.
    pub refused: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.corrected += other.corrected;
        self.refused += other.refused;
    }
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Stored => self.stored += 1,
            Outcome::Duplicate => self.duplicate += 1,
            Outcome::Corrected => self.corrected += 1,
        }
    }

    /// All of them.
    pub const fn all(self) -> u64 {
        self.stored + self.duplicate + self.corrected + self.refused
    }
}

/// Counts by source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(pub BTreeMap<String, Counts>);

impl Tally {
    /// Adds what became of points of one source.
    pub fn add(&mut self, source: &str, outcomes: &[Outcome]) {
        let counts = self.0.entry(source.to_owned()).or_default();
        for outcome in outcomes {
            counts.add(*outcome);
        }
    }

    /// What became of points of one source.
    pub fn of(source: &str, outcomes: &[Outcome]) -> Self {
        let mut tally = Self::default();
        tally.add(source, outcomes);
        tally
    }

    /// Refused points of one source.
    pub fn refused(source: &str, refused: usize) -> Self {
        let refused = u64::try_from(refused).unwrap_or(u64::MAX);
        Self(BTreeMap::from([(source.to_owned(), Counts { refused, ..Counts::default() })]))
    }

    /// The same with what was refused before its source was known.
    #[must_use]
    pub fn with_unreadable(mut self, messages: usize) -> Self {
        let refused = u64::try_from(messages).unwrap_or(u64::MAX);
        self.0.entry(telemetry::sources::UNKNOWN.to_owned()).or_default().refused += refused;
        self
    }

    /// Of all sources together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.0.values().for_each(|counts| total += *counts);
        total
    }

    /// Adds them to the metrics. To be called once the commit is made.
    pub fn publish(&self) {
        for (source, counts) in &self.0 {
            let known = counts.all() > counts.refused;
            let label = telemetry::sources::label(source, known);
            let outcomes = [
                (Outcome::Stored.name(), counts.stored),
                (Outcome::Duplicate.name(), counts.duplicate),
                (Outcome::Corrected.name(), counts.corrected),
                ("refused", counts.refused),
            ];
            for (outcome, count) in outcomes.into_iter().filter(|(_, count)| *count > 0) {
                count_messages(label.clone(), outcome, count);
            }
        }
    }
}

fn count_messages(source: String, outcome: &'static str, count: u64) {
    metrics::counter!(telemetry::INGEST_MESSAGES, "source" => source, "outcome" => outcome).increment(count);
}

/// Adds what was refused before its source was known to the metrics.
pub fn count_unreadable(messages: u64) {
    if messages > 0 {
        count_messages(telemetry::sources::UNKNOWN.to_owned(), "refused", messages);
    }
}

/// Adds a withdrawn point to the metrics.
pub fn count_withdrawn(source: &str) {
    count_messages(telemetry::sources::label(source, true), "withdrawn", 1);
}

/// Carries what is counted inside a commit to where the commit is known to be made.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<Tally>>);

impl Meter {
    /// Notes what was counted.
    pub fn note(&self, tally: Tally) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tally;
    }

    /// Adds it to the metrics, once.
    pub fn publish(&self) {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).publish();
    }
}

/// An asset as a row needs it.
#[derive(Debug, Clone)]
struct Target {
    listing: Arc<Listing>,
    /// Whether a price below zero is accepted: `None` when that has changed with time.
    negative: Option<bool>,
}

impl Target {
    fn of(listing: Arc<Listing>) -> Self {
        let negative = listing.terms.only(listing.asset.key).map(|terms| terms.allows_negative_price);
        Self { listing, negative }
    }

    /// Why a row of it is refused, if it is.
    fn fault(&self, row: &Row, latest: Moment) -> Option<Refused> {
        if row.observed_at > latest {
            let detail = "lies more than 24 h ahead of the clock".to_owned();
            return Some(Refused { line: 0, field: "timestamp", code: "in_the_future", detail });
        }
        let then = || self.listing.terms.at(self.listing.asset.key, row.observed_at);
        let negative =
            self.negative.unwrap_or_else(|| then().is_some_and(|terms| terms.allows_negative_price));
        row.quote.check(negative).err().as_ref().map(Refused::from)
    }
}

/// The rows of one series that can be recorded.
#[derive(Debug)]
struct Run {
    name: usize,
    target: Target,
    lines: Vec<u64>,
    points: Vec<(Moment, Quote)>,
}

/// Rows parted into what can be recorded and what is refused.
#[derive(Debug)]
pub struct Judged {
    names: Vec<SeriesName>,
    runs: Vec<Run>,
    /// The refused ones, in order.
    pub refused: Vec<Refused>,
    refused_of: Vec<u64>,
}

/// Parts rows into what can be recorded and what is refused, as the assets stand. Nothing dated more than
/// [`FUTURE_MAX`] after `now` is taken.
///
/// # Errors
/// The database's.
pub async fn judge(tx: &mut Tx, rows: Rows, now: Moment) -> Result<Judged, StorageError> {
    let Rows { names, entries, .. } = rows;
    let mut symbols: Vec<&str> = names.iter().map(|name| name.symbol.as_str()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let listings = listings::of_commit(tx, &symbols).await?;
    let target = |name: &SeriesName| listings.get(&name.symbol).map(|found| Target::of(Arc::clone(found)));
    let by_name: Vec<Option<Target>> = names.iter().map(target).collect();
    let mut counts = vec![0_usize; names.len()];
    for row in &entries {
        counts.get_mut(row.name).into_iter().for_each(|count| *count += 1);
    }
    let mut runs: Vec<Option<Run>> = Vec::with_capacity(names.len());
    runs.resize_with(names.len(), || None);
    let (mut refused, mut refused_of) = (Vec::new(), vec![0_u64; names.len()]);
    let latest = now.plus(FUTURE_MAX);
    for row in entries {
        let Some(name) = names.get(row.name) else { continue };
        let verdict = match by_name.get(row.name).and_then(Option::as_ref) {
            Some(target) => target.fault(&row, latest).map_or(Ok(target), Err),
            None => Err(unknown(name)),
        };
        match verdict {
            Ok(target) => {
                let Some(run) = runs.get_mut(row.name) else { continue };
                let room = counts.get(row.name).copied().unwrap_or_default();
                let run = run.get_or_insert_with(|| Run {
                    name: row.name,
                    target: target.clone(),
                    lines: Vec::with_capacity(room),
                    points: Vec::with_capacity(room),
                });
                run.lines.push(row.line);
                run.points.push((row.observed_at, row.quote));
            }
            Err(fault) => {
                refused_of.get_mut(row.name).into_iter().for_each(|count| *count += 1);
                refused.push(Refused { line: row.line, ..fault });
            }
        }
    }
    let mut runs: Vec<Run> = runs.into_iter().flatten().collect();
    merge_same(&names, &mut runs);
    Ok(Judged { names, runs, refused, refused_of })
}

/// Two symbols may name one asset, its present and a former one: then their rows are one run, in the order they came.
fn merge_same(names: &[SeriesName], runs: &mut Vec<Run>) {
    let key = |run: &Run| {
        names.get(run.name).map(|name| (run.target.listing.asset.key, name.source.as_str(), name.candle()))
    };
    runs.sort_by_cached_key(|run| key(run).map(|(asset, source, candle)| (asset, source.to_owned(), candle)));
    let mut merged: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs.drain(..) {
        match merged.last_mut().filter(|last| key(last) == key(&run)) {
            Some(last) => {
                let old = last.lines.drain(..).zip(last.points.drain(..));
                let mut both: Vec<_> = old.chain(run.lines.into_iter().zip(run.points)).collect();
                both.sort_by_key(|(line, _)| *line);
                (last.lines, last.points) = both.into_iter().unzip();
            }
            None => merged.push(run),
        }
    }
    *runs = merged;
}

fn unknown(name: &SeriesName) -> Refused {
    let detail = format!("`{}` is not a known symbol", name.symbol);
    Refused { line: 0, field: "symbol", code: "unknown_symbol", detail }
}

/// What became of rows that could be recorded.
#[derive(Debug, Default)]
pub struct Taken {
    /// How many of which source had which outcome, refused ones included.
    pub tally: Tally,
    /// The outcome of each recorded row by line; not in order.
    pub outcomes: Vec<(u64, Outcome)>,
}

impl Judged {
    /// How many rows of which source are refused.
    pub fn refusals(&self) -> Tally {
        let mut tally = Tally::default();
        for (name, refused) in self.names.iter().zip(&self.refused_of).filter(|(_, refused)| **refused > 0) {
            tally.0.entry(name.source.clone()).or_default().refused += refused;
        }
        tally
    }

    /// Records what is good of the rows.
    ///
    /// # Errors
    /// The database's.
    pub async fn record(self, tx: &mut Tx) -> Result<Taken, StorageError> {
        let mut taken = Taken { tally: self.refusals(), outcomes: Vec::new() };
        let mut sources: HashMap<&str, SourceKey> = HashMap::new();
        for run in &self.runs {
            let Some(name) = self.names.get(run.name) else { continue };
            let source = match sources.get(name.source.as_str()) {
                Some(key) => *key,
                None => prices::source(tx, &name.source).await?,
            };
            sources.insert(&name.source, source);
            let series = Series {
                asset: run.target.listing.asset.key,
                source,
                interval: name.candle(),
                source_priority: run.target.listing.priority(),
            };
            let outcomes = prices::record(tx, series, &run.points).await?;
            taken.tally.add(&name.source, &outcomes);
            taken.outcomes.extend(run.lines.iter().copied().zip(outcomes));
        }
        Ok(taken)
    }
}
