//! The present totals of portfolios, without reading what has not changed.
//!
//! A kept book is held in memory as long as its version on disk is the same, and beside it the prices and terms it was
//! valued with, as long as none of them changed. A read of a portfolio's totals then asks the database for one row and
//! values the holdings; it costs the same after ten transactions and after a million.

use crate::domain::asset::Asset;
use crate::domain::fx::Rates;
use crate::domain::ids::{AssetKey, PortfolioId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::Book;
use crate::domain::pnl::report::{Held, Priced, Valuation, held, totals};
use crate::domain::portfolio::{Conventions, Portfolio};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::figures::{self, KeptBook};
use crate::storage::portfolios;
use crate::storage::{prices, rates};
use crate::workers::bookkeeping::BookError;
use crate::workers::pnl_engine::{self, Ask, Figures};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Holdings held in memory, all portfolios together.
const HOLDINGS_MAX: usize = 1_000_000;

/// A kept book with everything that values it.
#[derive(Debug, Clone)]
struct Present {
    version: i64,
    /// The tick at which prices, terms and rates were read.
    tick: u64,
    kept: Arc<KeptBook>,
    sums: Arc<Vec<Held>>,
    conventions: Conventions,
    assets: Arc<BTreeMap<AssetKey, Asset>>,
    priced: Arc<BTreeMap<AssetKey, Priced>>,
    rates: Arc<Rates>,
}

/// The present books of one process.
#[derive(Debug, Default)]
pub struct Presents(Mutex<HashMap<PortfolioId, Present>>);

impl Presents {
    fn get(&self, portfolio: PortfolioId) -> Option<Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&portfolio).cloned()
    }

    fn keep(&self, portfolio: PortfolioId, present: Present) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(portfolio, present);
        let held: usize = known.values().map(|present| present.sums.len()).sum();
        if held > HOLDINGS_MAX {
            // Whoever is asked for again comes back; this one is in use.
            known.retain(|id, _| *id == portfolio);
        }
    }

    /// The totals of a portfolio: `report.items` carry no lots, and positions are not named.
    ///
    /// # Errors
    /// As [`pnl_engine::figures`].
    pub async fn totals(
        &self,
        tx: &mut Tx,
        portfolio: &Portfolio,
        ask: &Ask,
        now: Moment,
    ) -> Result<Figures, BookError> {
        let version = figures::version(tx, portfolio.id).await?.filter(|_| ask.is_present());
        let Some(version) = version else { return pnl_engine::figures(tx, portfolio, ask, now).await };
        let known = self.get(portfolio.id).filter(|known| known.version == version);
        let present = match known {
            Some(known) => refreshed(tx, portfolio, known).await?,
            None => match load(tx, portfolio, version).await? {
                Some(present) => present,
                None => return pnl_engine::figures(tx, portfolio, ask, now).await,
            },
        };
        let with = Valuation {
            base: portfolio.base_currency,
            assets: &present.priced,
            rates: &present.rates,
            at: Moment::MAX,
            age_at: now,
        };
        let report = totals(&present.kept.book, &present.sums, with);
        let figures = Figures {
            report,
            // What the totals show of the book itself.
            book: Arc::new(Book { flags: present.kept.book.flags.clone(), ..Book::default() }),
            assets: Arc::clone(&present.assets),
            conventions: present.conventions.clone(),
            open: BTreeMap::new(),
            closed: HashMap::new(),
            kept: true,
            evidence: None,
        };
        self.keep(portfolio.id, present);
        Ok(figures)
    }
}

/// Reads a kept book and what values it; `None` when it is out of date.
async fn load(tx: &mut Tx, portfolio: &Portfolio, version: i64) -> Result<Option<Present>, StorageError> {
    let tick = tx.tick();
    let Some(kept) = figures::load(tx, portfolio.id, None).await?.filter(|kept| !kept.kept.stale) else {
        return Ok(None);
    };
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let rates = present_rates(tx, portfolio, &kept).await?;
    let marks = prices::latest(tx, &pnl_engine::held_assets(&kept.book)).await?;
    let (assets, priced) = pnl_engine::price_assets(tx, &kept.book, Moment::MAX, Moment::MAX, marks).await?;
    let sums = held(&kept.book);
    Ok(Some(Present {
        version,
        tick,
        kept: Arc::new(kept),
        sums: Arc::new(sums),
        conventions,
        assets: Arc::new(assets),
        priced: Arc::new(priced),
        rates: Arc::new(rates),
    }))
}

async fn present_rates(tx: &mut Tx, portfolio: &Portfolio, kept: &KeptBook) -> Result<Rates, StorageError> {
    if kept.kept.foreign_money || pnl_engine::has_foreign(&kept.book, portfolio) {
        rates::newest(tx, Moment::MAX, Moment::MAX).await
    } else {
        Ok(Rates::default())
    }
}

/// Reads again what changed since it was read.
async fn refreshed(tx: &mut Tx, portfolio: &Portfolio, mut known: Present) -> Result<Present, StorageError> {
    let (tick, since) = (tx.tick(), known.tick);
    let changed = tx.ticks().changed(known.priced.keys().copied(), since);
    let rates_changed = tx.ticks().rates_changed(since);
    if rates_changed {
        known.rates = Arc::new(present_rates(tx, portfolio, &known.kept).await?);
    }
    match changed {
        Some(changed) if changed.is_empty() => {}
        Some(changed) => {
            let marks = prices::latest(tx, &changed).await?;
            let (assets, priced) =
                pnl_engine::price_keys(tx, &changed, Moment::MAX, Moment::MAX, marks).await?;
            Arc::make_mut(&mut known.assets).extend(assets);
            Arc::make_mut(&mut known.priced).extend(priced);
        }
        None => {
            let marks = prices::latest(tx, &pnl_engine::held_assets(&known.kept.book)).await?;
            let (assets, priced) =
                pnl_engine::price_assets(tx, &known.kept.book, Moment::MAX, Moment::MAX, marks).await?;
            (known.assets, known.priced) = (Arc::new(assets), Arc::new(priced));
        }
    }
    known.tick = tick;
    Ok(known)
}
