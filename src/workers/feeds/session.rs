//! One stretch of a feed's work: what it hears is gathered, stored in groups, and then noted as reached.
//!
//! Prices go into the store first. Every half minute, and at the end, they go into the files of the source and only
//! then are the cursors moved on; so after a crash what may be missing from the files is asked for again, and is a
//! duplicate in the store.

mod storing;

use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::{DAY, Moment};
use crate::domain::price::Quote;
use crate::storage::database::Database;
use crate::storage::feeds as kept_feeds;
pub(super) use crate::storage::feeds::Cursor;
use crate::telemetry;
use crate::workers::feeds::definition::{Channel, Definition, Pair};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::status::Status;
use crate::workers::feeds::tape::{Taken, Tape, Trade};
use crate::workers::feeds::wire::{Candle, Event};
use crate::workers::feeds::{Context, Feed};
use crate::workers::intake::Counts;
use crate::workers::outbound::target::Target;
use crate::workers::outbound::{Outbound, Outgoing};
use crate::workers::rate_intake::PairRates;
use crate::workers::records::Record;
use chrono::NaiveDate;
use chrono_tz::Tz;
use reqwest::header::HeaderMap;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Points after which a group is stored at once.
pub(super) const GROUP: usize = 5_000;
/// Records after which the files are written early.
const UNSAVED: usize = 50_000;
/// Time after its end during which a candle may still change, in microseconds: clocks differ, and trades are late.
const GRACE: i64 = 2_000_000;
/// Candles asked for where nothing is known yet.
const CANDLES: i64 = 300;
/// How far back trades are asked for where nothing is known yet, in microseconds.
const TRADES: i64 = 300_000_000;
/// Characters of an answer that are repeated in an error.
const SAID: usize = 200;

/// A point by its name: symbol, candle length, moment.
type Key = (String, Option<Interval>, Moment);

/// What was heard and is not stored yet. A later version of a point takes the place of an earlier one.
#[derive(Debug, Default)]
struct Gathered {
    points: BTreeMap<Key, Quote>,
    rates: BTreeMap<String, PairRates>,
    reached: BTreeMap<String, Cursor>,
}

/// One stretch of work.
#[derive(Debug)]
pub(super) struct Session<'a> {
    feed: &'a Feed,
    context: &'a Context,
    outbound: &'a Outbound,
    stop: &'a CancellationToken,
    /// Longest time a question may wait until it may be asked.
    patience: Duration,
    /// From when on somebody wants to know, whatever was known.
    asked: Option<Moment>,
    gathered: Gathered,
    /// How far it got in the store,
    reached: BTreeMap<String, Cursor>,
    /// and, for sure, in the files too.
    kept: BTreeMap<String, Cursor>,
    tapes: BTreeMap<String, Tape>,
    running: BTreeMap<String, Candle>,
    lasts: BTreeMap<String, (Decimal, Decimal)>,
    unsaved: Vec<Record>,
    /// Symbols of which something is missing, after what,
    holes: BTreeMap<String, Option<Cursor>>,
    /// and those of them that were not asked for yet.
    fresh: Vec<String>,
    counts: Counts,
    span: Option<(Moment, Moment)>,
}

/// What a stretch of work came to.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    /// What became of its rows.
    pub counts: Counts,
    /// The first and the last moment it was told of.
    pub span: Option<(Moment, Moment)>,
}

impl<'a> Session<'a> {
    /// Takes up where the feed stopped.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn begin(
        feed: &'a Feed,
        context: &'a Context,
        stop: &'a CancellationToken,
        patience: Duration,
        asked: Option<Moment>,
    ) -> Result<Self, FeedError> {
        let outbound = feed.outbound().await?;
        let definition = &feed.definition;
        let series = series_of(definition);
        let cursors = kept_feeds::cursors(&mut context.db.read().await?, &definition.name, &series).await?;
        let kept: BTreeMap<String, Cursor> = cursors.into_iter().collect();
        let tape = |(symbol, cursor): (&String, &Cursor)| (symbol.clone(), Tape::after(cursor.number));
        let tapes = kept.iter().map(tape).collect();
        Ok(Self {
            feed,
            context,
            outbound,
            stop,
            patience,
            asked,
            gathered: Gathered::default(),
            reached: kept.clone(),
            kept,
            tapes,
            running: BTreeMap::new(),
            lasts: BTreeMap::new(),
            unsaved: Vec::new(),
            holes: BTreeMap::new(),
            fresh: Vec::new(),
            counts: Counts::default(),
            span: None,
        })
    }

    /// What the feed is.
    pub(super) fn definition(&self) -> &'a Definition {
        &self.feed.definition
    }

    /// What the clock says.
    pub(super) fn now(&self) -> Moment {
        self.context.clock.now()
    }

    /// The store.
    pub(super) fn database(&self) -> &'a Database {
        &self.context.db
    }

    /// The way out.
    pub(super) fn outbound(&self) -> &'a Outbound {
        self.outbound
    }

    /// From where on a symbol is to be asked for.
    pub(super) fn since(&self, symbol: &str) -> Cursor {
        let from = |observed_at| Cursor { observed_at, number: None };
        let hole = || self.holes.get(symbol).copied().flatten();
        let kept = || self.kept.get(symbol).copied();
        let configured = || self.definition().since.map(from);
        let back = || match (self.definition().channel, self.definition().interval) {
            (Channel::Candles, Some(interval)) => interval.shortest().saturating_mul(CANDLES),
            (Channel::Observations, _) => self.now().0,
            (Channel::Rates, _) => DAY,
            _ => TRADES,
        };
        self.asked
            .map(from)
            .or_else(hole)
            .or_else(kept)
            .or_else(configured)
            .unwrap_or_else(|| from(self.now().plus(-back())))
    }

    /// The day from which on a series that is revised is asked for again; none is its beginning.
    pub(super) fn day_asked(&self) -> Option<NaiveDate> {
        self.asked.or(self.definition().since).and_then(|since| since.day_in(Tz::UTC))
    }

    /// Notes that the venue is there.
    pub(super) fn connected(&self) {
        self.good();
        self.feed.connected(true);
    }

    /// Notes that the venue gives what it was asked for.
    pub(super) fn works(&self) {
        self.good();
        self.feed.works();
    }

    fn good(&self) {
        let now = self.now();
        self.status(|status| status.good_at = Some(now));
    }

    /// Changes what is known of the feed.
    pub(super) fn status(&self, change: impl FnOnce(&mut Status)) {
        self.feed.change(change);
    }

    /// Notes something worth knowing.
    pub(super) fn note(&self, text: &str) {
        self.status(|status| status.note = Some(text.to_owned()));
    }

    /// Whether it is time to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks for a page, when it may, and returns the body of a good answer.
    ///
    /// # Errors
    /// [`FeedError`], also for an answer of another status than 200.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Vec<u8>, FeedError> {
        let definition = self.definition();
        let url = format!("{}{path}", definition.place.base_url);
        let target =
            Target::parse(&url).map_err(|error| FeedError::Malformed(format!("base_url {error}")))?;
        let target = query.iter().fold(target, |target, (name, value)| target.with_parameter(name, value));
        self.ask(&target, HeaderMap::new()).await
    }

    /// Asks for what a URL stands for, when it may, and returns the body of a good answer.
    ///
    /// # Errors
    /// [`FeedError`], also for an answer of another status than 200.
    pub(super) async fn ask(&self, target: &Target, headers: HeaderMap) -> Result<Vec<u8>, FeedError> {
        let definition = self.definition();
        let wait = self.feed.turn(self.patience)?;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.stop.cancelled() => return Err(FeedError::Stopped),
        }
        let outgoing = Outgoing::get(target.clone(), definition.pace.timeout, definition.place.body_max);
        let outgoing = Outgoing { headers, ..outgoing };
        let answer = tokio::select! {
            answer = self.outbound.send(&outgoing) => answer?,
            () = self.stop.cancelled() => return Err(FeedError::Stopped),
        };
        self.heard();
        if answer.status.is_success() {
            self.good();
            return Ok(answer.body);
        }
        let mut said: String = String::from_utf8_lossy(&answer.body).chars().take(SAID).collect();
        if let Some(key) = &definition.api_key {
            said = said.replace(key.expose(), "***");
        }
        if definition.generic.as_deref().is_some_and(super::generic::Generic::has_secrets) {
            // What was sent may come back.
            said.clear();
        }
        let retry_after = answer.retry_after(self.now().0.div_euclid(1_000_000));
        let (place, status) = (target.to_string(), answer.status.as_u16());
        Err(FeedError::Answered { place, status, said: said.trim().to_owned(), retry_after })
    }

    /// Notes a sign of life.
    pub(super) fn heard(&self) {
        let now = self.now();
        self.status(|status| {
            status.messages += 1;
            status.last_message_at = Some(now);
        });
        let seconds = Duration::from_micros(u64::try_from(now.0).unwrap_or_default()).as_secs_f64();
        metrics::gauge!(telemetry::FEED_LAST_MESSAGE, "source" => self.definition().source.clone())
            .set(seconds);
    }

    /// Notes that a moment was told of; `number` is that of its first trade.
    fn reach(&mut self, symbol: &str, observed_at: Moment, number: Option<u64>) {
        let cursor = Cursor { observed_at, number };
        let known = self.gathered.reached.entry(symbol.to_owned()).or_insert(cursor);
        if known.observed_at <= observed_at {
            *known = cursor;
        }
        let (first, last) = self.span.unwrap_or((observed_at, observed_at));
        self.span = Some((first.min(observed_at), last.max(observed_at)));
    }

    /// Takes up a point.
    pub(super) fn point(&mut self, symbol: &str, interval: Option<Interval>, at: Moment, quote: Quote) {
        self.gathered.points.insert((symbol.to_owned(), interval, at), quote);
        self.reach(symbol, at, None);
    }

    /// Takes up those candles of an answer that are finished.
    pub(super) fn candles(&mut self, pair: &Pair, candles: Vec<Candle>) {
        let Some(interval) = self.definition().interval else { return };
        let latest = self.now().plus(-GRACE);
        let mut unfinished = 0;
        for Candle { start, quote } in candles {
            if interval.end_of(start, Tz::UTC).is_none_or(|end| end > latest) {
                unfinished += 1;
                continue;
            }
            self.point(&pair.symbol, Some(interval), start, quote);
        }
        self.status(|status| status.unfinished += unfinished);
    }

    /// Takes up trades of an answer, which has them all.
    pub(super) fn fetched_trades(&mut self, pair: &Pair, trades: Vec<Trade>) {
        for trade in trades {
            self.trade(&pair.symbol, trade);
        }
    }

    /// Takes up a trade; whether trades before it are missing.
    fn trade(&mut self, symbol: &str, trade: Trade) -> bool {
        let at = trade.at;
        let tape = self.tapes.entry(symbol.to_owned()).or_default();
        match tape.take(trade) {
            Taken::Repeated => {
                self.status(|status| status.repeated += 1);
                false
            }
            Taken::Point { quote, missed } => {
                let number = tape.first_of(at);
                self.gathered.points.insert((symbol.to_owned(), None, at), quote);
                self.reach(symbol, at, number);
                missed
            }
        }
    }

    /// How far it got with a symbol, stored or not.
    fn cursor(&self, symbol: &str) -> Option<Cursor> {
        self.gathered.reached.get(symbol).or_else(|| self.reached.get(symbol)).copied()
    }

    /// Takes up rates of one currency against the base of the feed.
    pub(super) fn rates(&mut self, code: &str, points: Vec<(Moment, Decimal)>) {
        for (at, _) in &points {
            self.reach(code, *at, None);
        }
        self.gathered.rates.entry(code.to_owned()).or_default().extend(points);
    }

    /// Counts values that are missing by the rule of the source.
    pub(super) fn missing(&self, count: u64) {
        self.status(|status| status.missing += count);
    }

    /// Takes up what a frame said.
    ///
    /// # Errors
    /// A refusal, or the announced end of the connection.
    pub(super) fn hear(&mut self, event: Event) -> Result<(), FeedError> {
        if !matches!(event, Event::Refused(_) | Event::Ending | Event::Alive) {
            self.works();
        }
        match event {
            Event::Trade(venue, trade) => {
                let Some(symbol) = self.definition().symbol_of(&venue) else { return Ok(()) };
                let before = self.cursor(symbol);
                if self.trade(symbol, trade) && self.definition().channel != Channel::Ticker {
                    self.hole(symbol, before);
                }
            }
            Event::Last(venue, price, size) => {
                let Some(symbol) = self.definition().symbol_of(&venue) else { return Ok(()) };
                let last = (price, size);
                // A frame comes for every change of bid and ask too; the last trade is the same then.
                if self.lasts.get(symbol) != Some(&last) {
                    let (at, quote) = (self.now(), Quote::tick(last.0.clone()));
                    self.lasts.insert(symbol.to_owned(), last);
                    self.point(symbol, None, at, quote);
                }
            }
            Event::Finished(venue, candle) => {
                let Some(symbol) = self.definition().symbol_of(&venue) else { return Ok(()) };
                self.finished(symbol, candle);
            }
            Event::Running(venue, candle) => {
                let Some(symbol) = self.definition().symbol_of(&venue) else { return Ok(()) };
                self.runs(symbol, candle);
            }
            Event::Point(venue, Candle { start, quote }) => {
                let Some(symbol) = self.definition().symbol_of(&venue) else { return Ok(()) };
                self.point(symbol, None, start, quote);
            }
            Event::Unfinished => self.status(|status| status.unfinished += 1),
            Event::Refused(said) => return Err(FeedError::refused(said)),
            Event::Ending => return Err(FeedError::Closed("the venue asked to reconnect".to_owned())),
            Event::Subscribed | Event::Alive => {}
        }
        Ok(())
    }

    /// Takes up a candle as it stands: the one before it is finished when it begins.
    fn runs(&mut self, symbol: &str, candle: Candle) {
        self.status(|status| status.unfinished += 1);
        let Some(before) = self.running.remove(symbol) else {
            self.running.insert(symbol.to_owned(), candle);
            return;
        };
        // A late frame of a candle that is over changes nothing.
        let later = if before.start > candle.start { before.clone() } else { candle.clone() };
        self.running.insert(symbol.to_owned(), later);
        if before.start < candle.start {
            self.finished(symbol, before);
        }
    }

    fn finished(&mut self, symbol: &str, candle: Candle) {
        let (before, interval) = (self.cursor(symbol), self.definition().interval);
        let due =
            before.zip(interval).and_then(|(last, interval)| interval.end_of(last.observed_at, Tz::UTC));
        if due.is_some_and(|due| candle.start > due) {
            self.hole(symbol, before);
        }
        self.point(symbol, interval, candle.start, candle.quote);
    }

    /// Notes that something is missing after `before`.
    fn hole(&mut self, symbol: &str, before: Option<Cursor>) {
        if let Entry::Vacant(hole) = self.holes.entry(symbol.to_owned()) {
            hole.insert(before);
            self.fresh.push(symbol.to_owned());
            self.status(|status| status.gaps += 1);
        }
    }

    /// Symbols of which something is missing.
    pub(super) fn holes(&self) -> Vec<Pair> {
        let is_missing = |pair: &&Pair| self.holes.contains_key(&pair.symbol);
        self.definition().symbols.iter().filter(is_missing).cloned().collect()
    }

    /// Symbols of which something is missing since the last question.
    pub(super) fn fresh_holes(&mut self) -> Vec<Pair> {
        let fresh = std::mem::take(&mut self.fresh);
        self.definition().symbols.iter().filter(|pair| fresh.contains(&pair.symbol)).cloned().collect()
    }

    /// Notes that nothing of a symbol is missing any more.
    pub(super) fn filled(&mut self, symbol: &str) {
        self.holes.remove(symbol);
    }

    /// Notes that what is missing of a symbol was asked for in vain.
    pub(super) fn still_missing(&mut self, symbol: &str, error: &FeedError) {
        self.holes.entry(symbol.to_owned()).or_default();
        let now = self.now();
        self.feed.heed(error, now);
        let detail = format!("what was missed of {symbol} is still missing: {error}");
        tracing::warn!(feed.name = self.definition().name, "{detail}");
        self.status(|status| status.last_error = Some((now, detail)));
    }

    /// Points that are gathered.
    pub(super) fn gathered(&self) -> usize {
        self.gathered.points.len() + self.gathered.rates.len()
    }

    /// What it came to.
    pub(super) fn outcomes(&self) -> Outcomes {
        Outcomes { counts: self.counts, span: self.span }
    }
}

/// What cursors are kept for: a feed that is configured to deliver something else begins anew.
fn series_of(definition: &Definition) -> String {
    let candle = definition.interval.map_or("", Interval::name);
    format!("{} {} {candle}", definition.source, definition.channel).trim_end().to_owned()
}
