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
use crate::storage::prices::{self, Recorded, Series};
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

/// Rows of one name, in the order they came.
#[derive(Debug, Clone, Default)]
struct Points {
    lines: Vec<u64>,
    points: Vec<(Moment, Quote)>,
}

impl Points {
    fn with_room(room: usize) -> Self {
        Self { lines: Vec::with_capacity(room), points: Vec::with_capacity(room) }
    }

    fn push(&mut self, line: u64, observed_at: Moment, quote: Quote) {
        self.lines.push(line);
        self.points.push((observed_at, quote));
    }

    fn into_iter(self) -> impl Iterator<Item = (u64, (Moment, Quote))> {
        self.lines.into_iter().zip(self.points)
    }
}

/// Rows by their names; each says on which line it came, and lines ascend.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    names: Vec<Arc<SeriesName>>,
    places: HashMap<Arc<SeriesName>, usize>,
    /// The rows of each name.
    runs: Vec<Points>,
    count: usize,
}

impl Rows {
    /// Where a name stands, for rows that have it.
    pub fn name(&mut self, name: SeriesName) -> usize {
        if let Some(place) = self.places.get(&name) {
            return *place;
        }
        let (place, name) = (self.names.len(), Arc::new(name));
        self.names.push(Arc::clone(&name));
        self.places.insert(name, place);
        self.runs.push(Points::default());
        place
    }

    /// Adds a row that has the name at `place`. `line` is where it stands in what was sent.
    pub fn push(&mut self, place: usize, line: u64, observed_at: Moment, quote: Quote) {
        if let Some(run) = self.runs.get_mut(place) {
            run.push(line, observed_at, quote);
            self.count += 1;
        }
    }

    /// How many rows there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes the rows out and keeps the names, so that those who hold the place of one may go on using it.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let runs = self.runs.iter_mut().map(std::mem::take).collect();
        let count = std::mem::take(&mut self.count);
        Self { names: self.names.clone(), places: HashMap::new(), runs, count }
    }

    /// Every row with its name, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &SeriesName, Moment, &Quote)> {
        let runs = self.names.iter().zip(&self.runs);
        let mut rows: Vec<_> = runs
            .flat_map(|(name, run)| {
                let rows = run.lines.iter().zip(&run.points);
                rows.map(move |(line, (at, quote))| (*line, name.as_ref(), *at, quote))
            })
            .collect();
        rows.sort_by_key(|(line, ..)| *line);
        rows.into_iter()
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

    /// Counts of some outcomes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            counts.add(*outcome);
        }
        counts
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
    pub fn add(&mut self, source: &str, counts: Counts) {
        match self.0.get_mut(source) {
            Some(known) => *known += counts,
            None => drop(self.0.insert(source.to_owned(), counts)),
        }
    }

    /// What became of points of one source.
    pub fn of(source: &str, outcomes: &[Outcome]) -> Self {
        let mut tally = Self::default();
        tally.add(source, Counts::of(outcomes));
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
    fn fault(&self, observed_at: Moment, quote: &Quote, latest: Moment) -> Option<Refused> {
        if observed_at > latest {
            let detail = "lies more than 24 h ahead of the clock".to_owned();
            return Some(Refused { line: 0, field: "timestamp", code: "in_the_future", detail });
        }
        let then = || self.listing.terms.at(self.listing.asset.key, observed_at);
        let negative =
            self.negative.unwrap_or_else(|| then().is_some_and(|terms| terms.allows_negative_price));
        quote.check(negative).err().as_ref().map(Refused::from)
    }

    /// Those of its rows that can be recorded; the others are added to `refused`.
    fn judge(&self, rows: Points, latest: Moment, refused: &mut Vec<Refused>) -> Points {
        if rows.points.iter().all(|(at, quote)| *at <= latest && quote.is_always_valid()) {
            return rows;
        }
        let mut good = Points::with_room(rows.lines.len());
        for (line, (observed_at, quote)) in rows.into_iter() {
            match self.fault(observed_at, &quote, latest) {
                None => good.push(line, observed_at, quote),
                Some(fault) => refused.push(Refused { line, ..fault }),
            }
        }
        good
    }
}

/// The rows of one series that can be recorded.
#[derive(Debug)]
struct Run {
    name: usize,
    target: Target,
    rows: Points,
}

/// Rows parted into what can be recorded and what is refused.
#[derive(Debug)]
pub struct Judged {
    names: Vec<Arc<SeriesName>>,
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
    let Rows { names, runs: all, .. } = rows;
    let named = names.iter().zip(&all).filter(|(_, rows)| !rows.lines.is_empty());
    let mut symbols: Vec<&str> = named.map(|(name, _)| name.symbol.as_str()).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let listings = listings::of_commit(tx, &symbols).await?;
    let (mut runs, mut refused) = (Vec::with_capacity(all.len()), Vec::new());
    let mut refused_of = vec![0_u64; names.len()];
    let latest = now.plus(FUTURE_MAX);
    let each = names.iter().zip(all).zip(&mut refused_of).enumerate();
    for (place, ((name, rows), refused_here)) in each.filter(|(_, ((_, rows), _))| !rows.lines.is_empty()) {
        let before = refused.len();
        if let Some(listing) = listings.get(&name.symbol) {
            let target = Target::of(Arc::clone(listing));
            let rows = target.judge(rows, latest, &mut refused);
            if !rows.lines.is_empty() {
                runs.push(Run { name: place, target, rows });
            }
        } else {
            refused.extend(rows.lines.into_iter().map(|line| Refused { line, ..unknown(name) }));
        }
        *refused_here = u64::try_from(refused.len() - before).unwrap_or(u64::MAX);
    }
    refused.sort_by_key(|refused: &Refused| refused.line);
    merge_same(&names, &mut runs);
    Ok(Judged { names, runs, refused, refused_of })
}

/// Two symbols may name one asset, its present and a former one: then their rows are one run, in the order they came.
fn merge_same(names: &[Arc<SeriesName>], runs: &mut Vec<Run>) {
    let key = |run: &Run| {
        let name = names.get(run.name);
        name.map(|name| (run.target.listing.asset.key, name.source.as_str(), name.candle()))
    };
    runs.sort_by(|one, other| key(one).cmp(&key(other)));
    let mut merged: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs.drain(..) {
        match merged.last_mut().filter(|last| key(last) == key(&run)) {
            Some(last) => {
                let old = std::mem::take(&mut last.rows);
                let mut both: Vec<_> = old.into_iter().chain(run.rows.into_iter()).collect();
                both.sort_by_key(|(line, _)| *line);
                (last.rows.lines, last.rows.points) = both.into_iter().unzip();
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
#[derive(Debug)]
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

    /// Records what is good of the rows: how many of which source had which outcome, refused ones included.
    ///
    /// # Errors
    /// The database's.
    pub async fn record(self, tx: &mut Tx) -> Result<Tally, StorageError> {
        self.record_runs(tx, |_, _| {}).await
    }

    /// The same, with the outcome of each row.
    ///
    /// # Errors
    /// The database's.
    pub async fn record_each(self, tx: &mut Tx) -> Result<Taken, StorageError> {
        let mut outcomes = Vec::new();
        let told = |lines: Vec<u64>, recorded: Recorded| match recorded {
            Recorded::New => outcomes.extend(lines.into_iter().map(|line| (line, Outcome::Stored))),
            Recorded::Each(each) => outcomes.extend(lines.into_iter().zip(each)),
        };
        let tally = self.record_runs(tx, told).await?;
        Ok(Taken { tally, outcomes })
    }

    /// Records what is good of the rows, and tells what became of each run.
    async fn record_runs(
        self,
        tx: &mut Tx,
        mut told: impl FnMut(Vec<u64>, Recorded),
    ) -> Result<Tally, StorageError> {
        let mut tally = self.refusals();
        let Self { names, runs, .. } = self;
        let mut sources: HashMap<&str, SourceKey> = HashMap::new();
        for Run { name, target, rows } in runs {
            let Some(name) = names.get(name) else { continue };
            let source = match sources.get(name.source.as_str()) {
                Some(key) => *key,
                None => prices::source(tx, &name.source).await?,
            };
            sources.insert(&name.source, source);
            let series = Series {
                asset: target.listing.asset.key,
                source,
                interval: name.candle(),
                source_priority: target.listing.priority(),
            };
            let recorded = prices::record_run(tx, series, rows.points).await?;
            let counts = match &recorded {
                Recorded::New => Counts {
                    stored: u64::try_from(rows.lines.len()).unwrap_or(u64::MAX),
                    ..Counts::default()
                },
                Recorded::Each(outcomes) => Counts::of(outcomes),
            };
            tally.add(&name.source, counts);
            told(rows.lines, recorded);
        }
        Ok(tally)
    }
}
