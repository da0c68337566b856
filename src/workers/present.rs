//! The present of portfolios, held in memory: a read does not look at what has not changed.
//!
//! A kept book is held as long as it is the same on disk, and beside it the portfolio's row, the prices, terms and rates
//! it is valued with and the ids of its open positions. Every commit notes in memory what it changed
//! ([`crate::storage::ticks`]), so that a read of the totals asks nobody while nothing has: not even the database. What
//! has changed is read again, and that alone.
//!
//! Of the totals only one thing depends on the moment of the read: which prices have become stale. So they are computed
//! again when the next one does, and not before.

use crate::domain::asset::Asset;
use crate::domain::fx::Rates;
use crate::domain::ids::{AssetKey, PortfolioId, PositionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{Book, HoldingKey};
use crate::domain::pnl::report::{Held, Priced, Report, Valuation, held, report, totals};
use crate::domain::portfolio::{Conventions, Portfolio};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::figures::{self, KeptBook};
use crate::storage::ticks::{Depends, Ticks};
use crate::storage::{portfolios, positions, prices, rates};
use crate::workers::bookkeeping::BookError;
use crate::workers::pnl_engine::{self, Ask, Figures, Issue};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Holdings held in memory, all portfolios together.
const HOLDINGS_MAX: usize = 1_000_000;

/// How far figures go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Holdings; their items may be without lots.
    Holdings,
    /// The same, with the ids of open positions as they were issued.
    Positions,
    /// Every lot.
    Lots,
}

/// The totals of a portfolio, and between which moments they are the same.
#[derive(Debug)]
pub struct Totals {
    /// Its row.
    pub portfolio: Portfolio,
    /// Its figures. Items carry no lots, and the ages of prices are those of the moment this was computed at.
    pub figures: Figures,
    /// The answer to whoever asked, as it was written: to be written once.
    pub written: OnceLock<Box<[u8]>>,
    from: Moment,
    until: Moment,
}

/// A kept book with everything that values it. All of it was true at one tick, and still is at `tick`.
#[derive(Debug)]
struct Present {
    version: i64,
    tick: AtomicU64,
    portfolio: Portfolio,
    conventions: Conventions,
    book: Arc<Book>,
    foreign: bool,
    sums: Arc<Vec<Held>>,
    open: Arc<BTreeMap<HoldingKey, PositionId>>,
    /// When the ids of open positions were issued, once somebody asked.
    issued: Mutex<Option<Arc<BTreeMap<PositionId, Issue>>>>,
    assets: Arc<BTreeMap<AssetKey, Asset>>,
    priced: Arc<BTreeMap<AssetKey, Priced>>,
    rates: Arc<Rates>,
    totals: Mutex<Option<Arc<Totals>>>,
}

impl Present {
    fn valuation(&self, now: Moment) -> Valuation<'_> {
        Valuation {
            base: self.portfolio.base_currency,
            assets: &self.priced,
            rates: &self.rates,
            at: Moment::MAX,
            age_at: now,
        }
    }

    fn figures_of(&self, report: Report) -> Figures {
        Figures {
            report,
            book: Arc::clone(&self.book),
            assets: Arc::clone(&self.assets),
            conventions: self.conventions.clone(),
            open: Arc::clone(&self.open),
            issued: self.issued.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            closed: HashMap::new(),
            kept: true,
            evidence: None,
        }
    }

    /// Figures as of `now`.
    fn figures(&self, detail: Detail, now: Moment) -> Figures {
        let with = self.valuation(now);
        self.figures_of(match detail {
            Detail::Lots => report(&self.book, with),
            Detail::Holdings | Detail::Positions => totals(&self.book, &self.sums, with),
        })
    }

    fn totals(&self, now: Moment) -> Arc<Totals> {
        let mut known = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| (known.from..=known.until).contains(&now)) {
            return Arc::clone(known);
        }
        let report = totals(&self.book, &self.sums, self.valuation(now));
        let (from, until) = self.same_prices_stale(&report, now);
        let (portfolio, written) = (self.portfolio.clone(), OnceLock::new());
        let found = Arc::new(Totals { portfolio, figures: self.figures_of(report), written, from, until });
        *known = Some(Arc::clone(&found));
        found
    }

    /// The first and the last moment at which the same prices are stale as at `now`.
    fn same_prices_stale(&self, report: &Report, now: Moment) -> (Moment, Moment) {
        let (mut from, mut until) = (Moment::MIN, Moment::MAX);
        for item in &report.items {
            let limit = self.priced.get(&item.asset).and_then(|priced| priced.terms.stale_after);
            let (Some(used), Some(limit)) = (&item.price, limit) else { continue };
            let last_fresh = Moment(used.observed_at.0.saturating_add(limit));
            if now > last_fresh {
                from = from.max(Moment(last_fresh.0.saturating_add(1)));
            } else {
                until = until.min(last_fresh);
            }
        }
        (from, until)
    }
}

/// The presents of the portfolios of one process.
#[derive(Debug, Default)]
pub struct Presents(Mutex<HashMap<PortfolioId, Arc<Present>>>);

impl Presents {
    fn get(&self, portfolio: PortfolioId) -> Option<Arc<Present>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&portfolio).map(Arc::clone)
    }

    fn keep(&self, present: &Arc<Present>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let id = present.portfolio.id;
        known.insert(id, Arc::clone(present));
        let held: usize = known.values().map(|present| present.sums.len()).sum();
        if held > HOLDINGS_MAX {
            // Whoever is asked for again comes back; this one is in use.
            known.retain(|known, _| *known == id);
        }
    }

    /// The totals of a portfolio from memory alone; `None` when it is not held, or something they depend on may have
    /// changed since.
    pub fn held_totals(&self, ticks: &Ticks, portfolio: PortfolioId, now: Moment) -> Option<Arc<Totals>> {
        let known = self.get(portfolio)?;
        let on = Depends { portfolio, assets: known.priced.keys().copied(), rates: known.foreign };
        let reached = ticks.unchanged(known.tick.load(Ordering::Acquire), on)?;
        known.tick.fetch_max(reached, Ordering::AcqRel);
        Some(known.totals(now))
    }

    /// The present totals of a portfolio, read where they are not held; `None` when its kept book is out of date, so
    /// that [`pnl_engine::figures`] has to be asked. `tx` reads.
    ///
    /// # Errors
    /// The database's.
    pub async fn totals(
        &self,
        tx: &mut Tx,
        portfolio: &Portfolio,
        now: Moment,
    ) -> Result<Option<Arc<Totals>>, StorageError> {
        Ok(self.present(tx, portfolio).await?.map(|present| present.totals(now)))
    }

    /// The figures of a portfolio, from memory where they are about the present and it is held. `tx` reads.
    ///
    /// # Errors
    /// As [`pnl_engine::figures`].
    pub async fn figures(
        &self,
        tx: &mut Tx,
        portfolio: &Portfolio,
        (ask, detail): (&Ask, Detail),
        now: Moment,
    ) -> Result<Figures, BookError> {
        if ask.is_present()
            && let Some(present) = self.present(tx, portfolio).await?
        {
            if detail == Detail::Positions {
                issue(tx, &present).await?;
            }
            return Ok(present.figures(detail, now));
        }
        pnl_engine::figures(tx, portfolio, ask, now).await
    }

    /// What is held of a portfolio, brought up to date; its book is that of the snapshot.
    async fn present(
        &self,
        tx: &mut Tx,
        portfolio: &Portfolio,
    ) -> Result<Option<Arc<Present>>, StorageError> {
        let Some(version) = figures::version(tx, portfolio.id).await? else { return Ok(None) };
        let present = match self.get(portfolio.id) {
            Some(known) if known.version == version => refreshed(tx, portfolio, known).await?,
            known => {
                let since = known.and_then(|known| {
                    let changed = tx.ticks().changed_in_book(portfolio.id, known.version, version)?;
                    Some((known, changed))
                });
                let found = match since {
                    Some((known, changed)) => advanced(tx, portfolio, version, (known, changed)).await?,
                    None => load(tx, portfolio, version).await?,
                };
                match found {
                    Some(present) => Arc::new(present),
                    None => return Ok(None),
                }
            }
        };
        self.keep(&present);
        Ok(Some(present))
    }
}

/// Reads a kept book and what values it; `None` when it is out of date.
async fn load(tx: &mut Tx, portfolio: &Portfolio, version: i64) -> Result<Option<Present>, StorageError> {
    let tick = tx.tick();
    let kept = figures::load(tx, portfolio.id, None).await?.filter(|kept| !kept.kept.stale);
    let Some(KeptBook { kept, book, open }) = kept else { return Ok(None) };
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let foreign = kept.foreign_money || pnl_engine::has_foreign(&book, portfolio);
    let rates = present_rates(tx, foreign).await?;
    let marks = prices::latest(tx, &pnl_engine::held_assets(&book)).await?;
    let (assets, priced) = pnl_engine::price_assets(tx, &book, Moment::MAX, Moment::MAX, marks).await?;
    Ok(Some(Present {
        version,
        tick: AtomicU64::new(tick),
        portfolio: portfolio.clone(),
        conventions,
        foreign,
        sums: Arc::new(held(&book)),
        book: Arc::new(book),
        open: Arc::new(open),
        issued: Mutex::new(None),
        assets: Arc::new(assets),
        priced: Arc::new(priced),
        rates: Arc::new(rates),
        totals: Mutex::new(None),
    }))
}

/// Reads again the holdings that changed since an earlier version, and what values them; `None` when the kept book is
/// out of date. An id of a position may have changed without its holding, so those are asked for anew.
async fn advanced(
    tx: &mut Tx,
    portfolio: &Portfolio,
    version: i64,
    (known, changed): (Arc<Present>, BTreeSet<AssetKey>),
) -> Result<Option<Present>, StorageError> {
    let tick = tx.tick();
    let values = revalued(tx, &known).await?;
    let keys: Vec<AssetKey> = changed.iter().copied().collect();
    let kept = figures::load(tx, portfolio.id, Some(&keys)).await?.filter(|kept| !kept.kept.stale);
    let Some(KeptBook { kept, book: newer, open: opened }) = kept else { return Ok(None) };
    let mut book = Book::clone(&known.book);
    book.holdings.retain(|key, _| !changed.contains(&key.asset));
    book.holdings.extend(newer.holdings);
    (book.accounts, book.splits) = (newer.accounts, newer.splits);
    (book.missing, book.flags) = (newer.missing, newer.flags);
    let mut open = BTreeMap::clone(&known.open);
    open.retain(|key, _| !changed.contains(&key.asset));
    open.extend(opened);
    let foreign = kept.foreign_money || pnl_engine::has_foreign(&book, portfolio);
    let values = values
        .unwrap_or_else(|| (Arc::clone(&known.assets), Arc::clone(&known.priced), Arc::clone(&known.rates)));
    let (mut assets, mut priced, mut rates) = values;
    if foreign != known.foreign {
        rates = Arc::new(present_rates(tx, foreign).await?);
    }
    let marks = prices::latest(tx, &keys).await?;
    let read = pnl_engine::price_keys(tx, &keys, Moment::MAX, Moment::MAX, marks).await?;
    Arc::make_mut(&mut assets).extend(read.0);
    Arc::make_mut(&mut priced).extend(read.1);
    Ok(Some(Present {
        version,
        tick: AtomicU64::new(tick),
        portfolio: portfolio.clone(),
        conventions: portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?,
        foreign,
        sums: Arc::new(held(&book)),
        book: Arc::new(book),
        open: Arc::new(open),
        issued: Mutex::new(None),
        assets,
        priced,
        rates,
        totals: Mutex::new(None),
    }))
}

/// Reads when the ids of open positions were issued, unless that is known.
async fn issue(tx: &mut Tx, present: &Present) -> Result<(), StorageError> {
    if present.issued.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        return Ok(());
    }
    let open = positions::list(tx, present.portfolio.id, Some(positions::OPEN), 0, i64::MAX).await?;
    let issue = |p: positions::IssuedPosition| {
        (p.id, Issue { seq: p.issued_seq, created_at: p.created_at, updated_at: p.updated_at })
    };
    let issued = Arc::new(open.into_iter().map(issue).collect());
    *present.issued.lock().unwrap_or_else(PoisonError::into_inner) = Some(issued);
    Ok(())
}

async fn present_rates(tx: &mut Tx, foreign: bool) -> Result<Rates, StorageError> {
    if foreign { rates::newest(tx, Moment::MAX, Moment::MAX).await } else { Ok(Rates::default()) }
}

/// What values a book.
type Values = (Arc<BTreeMap<AssetKey, Asset>>, Arc<BTreeMap<AssetKey, Priced>>, Arc<Rates>);

/// What values a held book as of a snapshot: what changed since it was read is read again. `None` when nothing has.
async fn revalued(tx: &mut Tx, known: &Present) -> Result<Option<Values>, StorageError> {
    let since = known.tick.load(Ordering::Acquire);
    let changed = tx.ticks().changed(known.priced.keys().copied(), since);
    let rates_changed = known.foreign && tx.ticks().rates_changed(since);
    if !rates_changed && changed.as_ref().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let (mut assets, mut priced) = (Arc::clone(&known.assets), Arc::clone(&known.priced));
    match changed {
        Some(changed) if changed.is_empty() => {}
        Some(changed) => {
            let marks = prices::latest(tx, &changed).await?;
            let read = pnl_engine::price_keys(tx, &changed, Moment::MAX, Moment::MAX, marks).await?;
            Arc::make_mut(&mut assets).extend(read.0);
            Arc::make_mut(&mut priced).extend(read.1);
        }
        None => {
            let marks = prices::latest(tx, &pnl_engine::held_assets(&known.book)).await?;
            let read = pnl_engine::price_assets(tx, &known.book, Moment::MAX, Moment::MAX, marks).await?;
            (assets, priced) = (Arc::new(read.0), Arc::new(read.1));
        }
    }
    let rates = if rates_changed {
        Arc::new(present_rates(tx, known.foreign).await?)
    } else {
        Arc::clone(&known.rates)
    };
    Ok(Some((assets, priced, rates)))
}

/// What is held of a book that is the same, with what changed beside it.
async fn refreshed(
    tx: &mut Tx,
    portfolio: &Portfolio,
    known: Arc<Present>,
) -> Result<Arc<Present>, StorageError> {
    let tick = tx.tick();
    let row = &known.portfolio;
    let same_row = (row.version, row.updated_at) == (portfolio.version, portfolio.updated_at);
    let values = match revalued(tx, &known).await? {
        None if same_row => {
            known.tick.fetch_max(tick, Ordering::AcqRel);
            return Ok(known);
        }
        None => (Arc::clone(&known.assets), Arc::clone(&known.priced), Arc::clone(&known.rates)),
        Some(values) => values,
    };
    let (assets, priced, rates) = values;
    Ok(Arc::new(Present {
        version: known.version,
        tick: AtomicU64::new(tick),
        portfolio: portfolio.clone(),
        conventions: known.conventions.clone(),
        book: Arc::clone(&known.book),
        foreign: known.foreign,
        sums: Arc::clone(&known.sums),
        open: Arc::clone(&known.open),
        issued: Mutex::new(known.issued.lock().unwrap_or_else(PoisonError::into_inner).clone()),
        assets,
        priced,
        rates,
        totals: Mutex::new(None),
    }))
}
