//! A portfolio over time: its value day by day, the returns of a span, and where the change of its value came from. One
//! fold of the ledger, one reading of the prices, whatever is asked of them.

use crate::domain::asset::{Asset, TermsHistory};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::Rates;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::{Moment, end_of_day};
use crate::domain::pnl::amounts::{difference, sum};
use crate::domain::pnl::attribution::{Attribution, Period};
use crate::domain::pnl::book::{Book, Context, LedgerError, SplitEvent};
use crate::domain::pnl::curve::lots::LotKey;
use crate::domain::pnl::curve::{Course, Gap, Level, Quoted, Step, Stop, Walk, unit_prices};
use crate::domain::pnl::report::{Priced, Valuation};
use crate::domain::portfolio::{Conventions, Portfolio};
use crate::domain::price::Mark;
use crate::domain::statistics::Ratio;
use crate::domain::statistics::performance::{Gauge, Moved, Performance};
use crate::domain::transaction::Transaction;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::transactions::EntryFilter;
use crate::storage::{actions, assets, closes, portfolios, rates, transactions};
use crate::workers::bookkeeping::BookError;
use crate::workers::ledger::{self, Ledger};
use chrono::NaiveDate;
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// Days of a span, as known at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The day at whose end it begins; the day before the first entry when `None`.
    pub from: Option<NaiveDate>,
    /// The day at whose end it ends.
    pub to: NaiveDate,
    /// Facts learned up to this moment; all when `None`.
    pub known_at: Option<Moment>,
    /// Whether the days between the first and the last are wanted.
    pub every_day: bool,
}

/// A portfolio ready to be walked through, day by day.
#[derive(Debug)]
pub struct Loaded {
    /// Its currency.
    pub base: Currency,
    /// The zone of its days.
    pub zone: Tz,
    /// The days, ascending; the first is the one at whose end the span begins.
    pub days: Vec<NaiveDate>,
    /// The conventions it is folded under.
    pub conventions: Conventions,
    /// Its assets.
    pub assets: BTreeMap<AssetKey, Asset>,
    ends: Vec<Moment>,
    ledger: Ledger,
    terms: TermsHistory,
    rates: Rates,
    quoted: BTreeMap<AssetKey, Quoted>,
}

/// One day of a portfolio.
#[derive(Debug)]
pub struct DayPoint {
    /// The day.
    pub day: NaiveDate,
    /// What it ended with, and what moved on it.
    pub stop: Stop,
    /// Value less net contributions.
    pub gain: Option<Decimal>,
    /// The time-weighted return since the first day.
    pub time_weighted_return: Ratio,
    /// How far wealth that grows by it lies below its peak since the first day.
    pub drawdown: Ratio,
}

/// What a part of a portfolio is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// An account by name.
    Account(String),
    /// An asset.
    Asset(AssetKey),
    /// A lot.
    Lot(LotKey),
}

/// The returns of a span, of the whole and of its parts.
#[derive(Debug)]
pub struct SpanReturns {
    /// The whole.
    pub whole: Performance,
    /// Its parts.
    pub parts: Vec<(Part, Performance)>,
    /// What was missing on which day.
    pub gaps: Vec<(NaiveDate, Gap)>,
}

/// An asset that returns are held against.
#[derive(Debug)]
pub struct Benchmark {
    /// The asset.
    pub asset: Asset,
    quoted: Quoted,
    splits: Vec<SplitEvent>,
}

/// Loads what the days of a span need. `also` are currencies that figures are shown in beside the portfolio's.
///
/// # Errors
/// The database's.
pub async fn load(
    tx: &mut Tx,
    portfolio: &Portfolio,
    span: Span,
    conventions: Option<Conventions>,
    also: &[Currency],
) -> Result<Loaded, StorageError> {
    let zone = portfolio.time_zone;
    let (until, known_at) = (end_of_day(span.to, zone), span.known_at.unwrap_or(Moment::MAX));
    let conventions = match conventions {
        Some(conventions) => conventions,
        None => portfolios::conventions(tx, portfolio.id, until, known_at).await?,
    };
    let ledger = ledger::load(tx, portfolio, until, known_at).await?;
    let days = days_of(&span, &ledger.rows, zone);
    let ends: Vec<Moment> = days.iter().map(|day| end_of_day(*day, zone)).collect();
    let keys: Vec<AssetKey> =
        ledger.rows.iter().filter_map(|t| t.asset).collect::<BTreeSet<_>>().into_iter().collect();
    let terms = assets::terms(tx, &keys, known_at).await?;
    let mut closes = closes::closes(tx, &keys, &terms, &ends, known_at).await?;
    let mut symbols = actions::symbols(tx, &keys, until, known_at).await?;
    let (mut known, mut quoted) = (BTreeMap::new(), BTreeMap::new());
    for mut asset in assets::by_keys(tx, &keys).await? {
        if let Some(symbol) = symbols.remove(&asset.key) {
            asset.symbol = symbol;
        }
        let closes = closes.remove(&asset.key).unwrap_or_default();
        quoted.insert(asset.key, Quoted { zone: asset.market_zone, closes });
        known.insert(asset.key, asset);
    }
    let base = portfolio.base_currency;
    let mut currencies: BTreeSet<Currency> =
        terms.settlements().chain(also.iter().copied()).chain([base]).collect();
    for t in &ledger.rows {
        currencies.extend([t.currency, t.to_currency].into_iter().flatten());
    }
    let begun = ledger.rows.iter().map(|t| t.executed_at).chain(ends.first().copied()).min();
    let rates = rates_of(tx, &currencies, begun.unwrap_or(until), until, known_at).await?;
    Ok(Loaded { base, zone, days, conventions, assets: known, ends, ledger, terms, rates, quoted })
}

/// The day before the first entry of a portfolio.
///
/// # Errors
/// The database's.
pub async fn eve_of_first_entry(
    tx: &mut Tx,
    portfolio: &Portfolio,
    span: Span,
) -> Result<Option<NaiveDate>, StorageError> {
    let (until, known_at) = (end_of_day(span.to, portfolio.time_zone), span.known_at.unwrap_or(Moment::MAX));
    let filter = EntryFilter {
        kind: None,
        account: None,
        asset: None,
        external_id: None,
        from: Moment::MIN,
        as_of: until,
        known_at,
        voided: false,
        after: None,
        limit: 1,
    };
    let first = transactions::list(tx, portfolio.id, &filter).await?;
    let day = first.first().and_then(|entry| entry.transaction.executed_at.day_in(portfolio.time_zone));
    Ok(day.and_then(|day| day.pred_opt()))
}

fn days_of(span: &Span, rows: &[Transaction], zone: Tz) -> Vec<NaiveDate> {
    // An asset may have been split long before the portfolio held it.
    let own = || rows.iter().filter(|t| !t.asset_level).map(|t| t.executed_at).min();
    let first = || own().and_then(|at| at.day_in(zone));
    let eve = || first().and_then(|day| day.pred_opt());
    let from = span.from.or_else(eve).unwrap_or(span.to).min(span.to);
    if span.every_day {
        return from.iter_days().take_while(|day| *day <= span.to).collect();
    }
    vec![from, span.to]
}

/// The rates that converting between these currencies needs from `earliest` on: those among them, the euro and the
/// dollar. A rate once known stays known, so where these do for every pair at the earliest moment they do throughout;
/// else a pair may go through any other currency, and all rates are read.
async fn rates_of(
    tx: &mut Tx,
    currencies: &BTreeSet<Currency>,
    earliest: Moment,
    until: Moment,
    known_at: Moment,
) -> Result<Rates, StorageError> {
    if currencies.len() < 2 {
        return Ok(Rates::default());
    }
    let via = ["EUR", "USD"].into_iter().filter_map(Currency::from_code);
    let needed: BTreeSet<Currency> =
        currencies.iter().map(|currency| currency.major().0).chain(via).collect();
    let rates = rates::between(tx, &needed, until, known_at).await?;
    let known = |from: Currency| {
        let mut others = currencies.iter();
        others.all(|to| rates.rate(from, *to, earliest).is_some())
    };
    if currencies.iter().all(|from| known(*from)) { Ok(rates) } else { rates::all(tx, until, known_at).await }
}

impl Loaded {
    fn course(&self) -> Course<'_> {
        Course {
            ledger: &self.ledger.rows,
            tolerated: &self.ledger.tolerated,
            ctx: Context {
                base: self.base,
                conventions: &self.conventions,
                terms: &self.terms,
                rates: &self.rates,
            },
            ends: &self.ends,
            assets: &self.quoted,
        }
    }

    /// Walks through the days, telling apart what `level` says.
    pub fn walk(&self, level: Level) -> Walk<'_> {
        Walk::begin(self.course(), level)
    }

    /// The end of a day of the span.
    fn end_of(&self, place: usize) -> Moment {
        self.ends.get(place).copied().unwrap_or(Moment::MAX)
    }

    /// An amount of the base currency in another one, at the end of a day of the span.
    pub fn convert(&self, amount: &Decimal, to: Currency, place: usize) -> Option<Decimal> {
        self.rates.convert(amount, self.base, to, self.end_of(place))
    }

    /// Every day of the span.
    ///
    /// # Errors
    /// [`BookError::Refused`] when other conventions refuse a recorded transaction.
    pub fn history(&self) -> Result<Vec<DayPoint>, BookError> {
        let mut walk = self.walk(Level::Portfolio);
        let mut points = Vec::with_capacity(self.days.len());
        let mut gauge: Option<Gauge> = None;
        for day in &self.days {
            let Some(stop) = walk.advance().map_err(refused)? else { break };
            let gauge = match gauge.as_mut() {
                Some(gauge) => {
                    gauge.add(*day, moved(&stop.whole));
                    gauge
                }
                None => gauge.insert(Gauge::begin(*day, stop.whole.value.clone())),
            };
            points.push(DayPoint {
                day: *day,
                gain: difference(stop.whole.value.as_ref(), stop.contributions.as_ref()),
                time_weighted_return: gauge.time_weighted(),
                drawdown: gauge.drawdown(),
                stop,
            });
        }
        Ok(points)
    }

    /// The returns of the span, and of the parts that `level` tells apart.
    ///
    /// # Errors
    /// [`BookError::Refused`] when other conventions refuse a recorded transaction.
    pub fn returns(&self, level: Level, annualize: bool) -> Result<SpanReturns, BookError> {
        let first = self.days.first().copied().unwrap_or_default();
        let mut walk = self.walk(level);
        let mut whole: Option<Gauge> = None;
        let mut parts: BTreeMap<Part, Gauge> = BTreeMap::new();
        let mut gaps = Vec::new();
        for day in &self.days {
            let Some(stop) = walk.advance().map_err(refused)? else { break };
            gaps.extend(stop.gaps.iter().map(|gap| (*day, *gap)));
            let begins = whole.is_none();
            match whole.as_mut() {
                Some(whole) => whole.add(*day, moved(&stop.whole)),
                None => whole = Some(Gauge::begin(*day, stop.whole.value.clone())),
            }
            let accounts = walk.accounts().iter().filter(|_| level == Level::Account);
            let accounts = accounts.map(|(name, step)| (Part::Account(name.clone()), step));
            let assets = walk.assets().iter().map(|(key, step)| (Part::Asset(*key), step));
            for (part, step) in accounts.chain(assets) {
                if begins {
                    parts.insert(part, Gauge::begin(*day, step.value.clone()));
                } else {
                    let gauge = parts.entry(part).or_insert_with(|| Gauge::begin(first, Some(Decimal::ZERO)));
                    gauge.add(*day, moved(step));
                }
            }
        }
        for (key, told) in walk.lots() {
            if let Some(gauge) = self.lot(told) {
                parts.insert(Part::Lot(*key), gauge);
            }
        }
        let whole = whole.unwrap_or_else(|| Gauge::begin(first, Some(Decimal::ZERO)));
        let parts = parts.into_iter().map(|(part, gauge)| (part, gauge.finish(annualize))).collect();
        Ok(SpanReturns { whole: whole.finish(annualize), parts, gaps })
    }

    /// A lot from what was told of it; `None` when it was closed before the span begins.
    fn lot(&self, told: &[(usize, Step)]) -> Option<Gauge> {
        let first = self.days.first().copied()?;
        let start = told.first().filter(|(place, _)| *place == 0);
        let begun = start.map_or(Some(Decimal::ZERO), |(_, step)| step.value.clone());
        let later = told.iter().filter(|(place, _)| *place > 0);
        later.clone().next()?;
        let mut gauge = Gauge::begin(first, begun);
        for (place, step) in later {
            gauge.add(self.days.get(*place).copied()?, moved(step));
        }
        Some(gauge)
    }

    /// Where the change of the value over the span came from.
    ///
    /// # Errors
    /// [`BookError::Refused`] when other conventions refuse a recorded transaction.
    pub fn attribution(&self) -> Result<Attribution, BookError> {
        let course = self.course();
        let (begin, end) = (0, self.ends.len().saturating_sub(1));
        let start = self.end_of(begin);
        let mut rows = course.ledger.iter().peekable();
        let mut book = Book::default();
        while let Some(t) = rows.next_if(|t| t.executed_at <= start) {
            book.admit(t, course.ctx, course.tolerated).map_err(|error| refused((t.id, error)))?;
        }
        let priced = self.priced(begin);
        let mut period = Period::begin(&book, self.valuation(&priced, begin));
        for t in rows {
            let folded = period.apply(t, course.ctx, course.tolerated, false);
            folded.map_err(|error| refused((t.id, error)))?;
        }
        let priced = self.priced(end);
        Ok(period.attribute(self.valuation(&priced, end)))
    }

    fn valuation<'a>(&'a self, assets: &'a BTreeMap<AssetKey, Priced>, place: usize) -> Valuation<'a> {
        let at = self.end_of(place);
        Valuation { base: self.base, assets, rates: &self.rates, at, age_at: at }
    }

    fn priced(&self, place: usize) -> BTreeMap<AssetKey, Priced> {
        let mut priced = BTreeMap::new();
        for (key, quoted) in &self.quoted {
            let close = quoted.closes.iter().rfind(|close| close.slot <= place);
            if let Some(terms) = self.terms.at(*key, self.end_of(place)) {
                let mark = close.map(Mark::from);
                priced.insert(*key, Priced { terms: terms.clone(), zone: quoted.zone, mark });
            }
        }
        priced
    }

    /// What a unit of a benchmark was worth in base currency at the end of each day that has a price and a rate.
    pub fn worth_of(&self, benchmark: &Benchmark) -> BTreeMap<NaiveDate, Decimal> {
        let prices = unit_prices(&benchmark.quoted, &benchmark.splits, self.days.len());
        let days = self.days.iter().zip(prices).enumerate();
        let worth = days.filter_map(|(place, (day, price))| {
            let worth =
                self.rates.convert(&price?, benchmark.asset.currency, self.base, self.end_of(place))?;
            Some((*day, worth))
        });
        worth.collect()
    }

    /// Loads the prices of a benchmark for the days of the span.
    ///
    /// # Errors
    /// The database's.
    pub async fn benchmark(
        &self,
        tx: &mut Tx,
        asset: Asset,
        known_at: Option<Moment>,
    ) -> Result<Benchmark, StorageError> {
        let known_at = known_at.unwrap_or(Moment::MAX);
        let keys = [asset.key];
        let terms = assets::terms(tx, &keys, known_at).await?;
        let mut closes = closes::closes(tx, &keys, &terms, &self.ends, known_at).await?;
        let until = self.ends.last().copied().unwrap_or(Moment::MIN);
        let known = actions::known(tx, &keys, known_at).await?;
        let in_force = known.into_iter().filter(|row| row.in_force(known_at)).map(|row| row.action);
        let splits = in_force.filter(|action| action.executed_at <= until).filter_map(|action| {
            Some(SplitEvent {
                at: action.executed_at,
                whole_day: action.whole_day,
                numerator: action.ratio_num?,
                denominator: action.ratio_den?,
            })
        });
        let closes = closes.remove(&asset.key).unwrap_or_default();
        let quoted = Quoted { zone: asset.market_zone, closes };
        Ok(Benchmark { quoted, splits: splits.collect(), asset })
    }
}

fn moved(step: &Step) -> Moved {
    Moved { value: step.value.clone(), inflow: step.inflow.clone(), outflow: step.outflow.clone() }
}

fn refused((transaction, error): (TransactionId, LedgerError)) -> BookError {
    BookError::Refused { transaction, own: false, error }
}

/// The returns of several portfolios together, in one currency. Values and flows of a day are converted at the rates of
/// its end. All must have been loaded for the same days and with rates of that currency.
///
/// # Errors
/// [`BookError::Refused`] when other conventions refuse a recorded transaction.
pub fn together(loaded: &[Loaded], currency: Currency, annualize: bool) -> Result<SpanReturns, BookError> {
    let days = loaded.first().map(|one| one.days.clone()).unwrap_or_default();
    let mut walks: Vec<(&Loaded, Walk<'_>)> =
        loaded.iter().map(|one| (one, one.walk(Level::Portfolio))).collect();
    let first = days.first().copied().unwrap_or_default();
    let mut gauge: Option<Gauge> = None;
    let mut gaps = Vec::new();
    for (place, day) in days.iter().enumerate() {
        let mut whole = moved(&Step::NOTHING);
        for (one, walk) in &mut walks {
            let Some(stop) = walk.advance().map_err(refused)? else { continue };
            gaps.extend(stop.gaps.iter().map(|gap| (*day, *gap)));
            let shown = |amount: &Option<Decimal>| {
                amount.as_ref().and_then(|amount| one.convert(amount, currency, place))
            };
            let day_end = &stop.whole;
            if day_end.value.is_some() && shown(&day_end.value).is_none() {
                gaps.push((*day, Gap::Rate(one.base)));
            }
            whole.value = sum(whole.value.as_ref(), shown(&day_end.value).as_ref());
            whole.inflow = sum(whole.inflow.as_ref(), shown(&day_end.inflow).as_ref());
            whole.outflow = sum(whole.outflow.as_ref(), shown(&day_end.outflow).as_ref());
        }
        match gauge.as_mut() {
            Some(gauge) => gauge.add(*day, whole),
            None => gauge = Some(Gauge::begin(*day, whole.value)),
        }
    }
    gaps.sort_unstable();
    gaps.dedup();
    let gauge = gauge.unwrap_or_else(|| Gauge::begin(first, Some(Decimal::ZERO)));
    Ok(SpanReturns { whole: gauge.finish(annualize), parts: Vec::new(), gaps })
}
