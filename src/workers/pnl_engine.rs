//! Reading figures: the kept book when the question is about now, a fold of the past when it is not.

use crate::domain::asset::Asset;
use crate::domain::fx::Rates;
use crate::domain::ids::{AssetKey, PositionId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{Book, HoldingKey};
use crate::domain::pnl::report::{Priced, Report, Valuation, report};
use crate::domain::portfolio::{Conventions, Portfolio};
use crate::domain::price::Mark;
use crate::domain::transaction::Transaction;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::{actions, assets, figures, portfolios, positions, prices, rates};
use crate::workers::bookkeeping::{BookError, Lookup};
use crate::workers::ledger;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Moment and knowledge a figure is asked for, and conventions it is asked under.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// Facts about moments up to this one; all when `None`.
    pub as_of: Option<Moment>,
    /// Facts learned up to this moment; all when `None`.
    pub known_at: Option<Moment>,
    /// Conventions in place of the portfolio's own.
    pub conventions: Option<Conventions>,
    /// Whether every part of every sum is wanted too.
    pub traced: bool,
}

impl Ask {
    /// Whether it is about the present, under the portfolio's own conventions.
    pub const fn is_present(&self) -> bool {
        self.as_of.is_none() && self.known_at.is_none() && self.conventions.is_none() && !self.traced
    }
}

/// What a traced fold looked at.
#[derive(Debug)]
pub struct LedgerEvidence {
    /// The entries, in order.
    pub ledger: Vec<Transaction>,
    /// The rates of the fold and of the valuation.
    pub rates: Rates,
    /// Moment whose rates convert present values.
    pub at: Moment,
}

/// The order in which a position's id was issued, when that was, and when what it stands for last changed.
#[derive(Debug, Clone, Copy)]
pub struct Issue {
    /// Order in which ids were issued.
    pub seq: i64,
    /// When.
    pub created_at: Moment,
    /// When what it stands for last changed.
    pub updated_at: Moment,
}

/// A valued book with what is needed to show it.
#[derive(Debug)]
pub struct Figures {
    /// The book.
    pub book: Arc<Book>,
    /// Its valuation.
    pub report: Report,
    /// Its assets.
    pub assets: Arc<BTreeMap<AssetKey, Asset>>,
    /// The conventions it was computed under.
    pub conventions: Conventions,
    /// Ids of its open positions.
    pub open: Arc<BTreeMap<HoldingKey, PositionId>>,
    /// When the ids of its open positions were issued; of a book held in memory only.
    pub issued: Option<Arc<BTreeMap<PositionId, Issue>>>,
    /// Ids of its closed positions: holding and ordinal. Filled for questions about the past only.
    pub closed: HashMap<(HoldingKey, u64), PositionId>,
    /// Whether they come from the kept book, which carries no closed positions.
    pub kept: bool,
    /// What the fold looked at, when the question was traced.
    pub evidence: Option<LedgerEvidence>,
}

/// Computes the figures of a portfolio. `now` is the moment of the read, for ages.
///
/// # Errors
/// The database's, and [`BookError::Refused`] when other conventions refuse a recorded transaction.
pub async fn figures(
    tx: &mut Tx,
    portfolio: &Portfolio,
    ask: &Ask,
    now: Moment,
) -> Result<Figures, BookError> {
    if ask.is_present()
        && let Some(kept) = figures::load(tx, portfolio.id, None).await?
        && !kept.kept.stale
    {
        let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
        let rates = if kept.kept.foreign_money || has_foreign(&kept.book, portfolio) {
            rates::newest(tx, Moment::MAX, Moment::MAX).await?
        } else {
            Rates::default()
        };
        let keys: Vec<AssetKey> = held_assets(&kept.book);
        let marks = prices::latest(tx, &keys).await?;
        let (assets, priced) = price_assets(tx, &kept.book, Moment::MAX, Moment::MAX, marks).await?;
        let with = Valuation {
            base: portfolio.base_currency,
            assets: &priced,
            rates: &rates,
            at: Moment::MAX,
            age_at: now,
        };
        let report = report(&kept.book, with);
        return Ok(Figures {
            report,
            book: Arc::new(kept.book),
            assets: Arc::new(assets),
            conventions,
            open: Arc::new(kept.open),
            issued: None,
            closed: HashMap::new(),
            kept: true,
            evidence: None,
        });
    }
    past_figures(tx, portfolio, ask, now).await
}

/// A ledger of the past, folded.
#[derive(Debug)]
pub struct Folded {
    /// The book.
    pub book: Book,
    /// Its entries, in order.
    pub ledger: Vec<Transaction>,
    /// The rates of the fold.
    pub rates: Rates,
    /// The conventions it was folded under.
    pub conventions: Conventions,
    /// Whether money other than base currency moved.
    pub foreign: bool,
}

/// Folds the ledger a question is about.
///
/// # Errors
/// The database's, and [`BookError::Refused`] when other conventions refuse a recorded transaction.
pub async fn fold_past(tx: &mut Tx, portfolio: &Portfolio, ask: &Ask) -> Result<Folded, BookError> {
    let (as_of, known_at) = (ask.as_of.unwrap_or(Moment::MAX), ask.known_at.unwrap_or(Moment::MAX));
    let conventions = match &ask.conventions {
        Some(conventions) => conventions.clone(),
        None => portfolios::conventions(tx, portfolio.id, as_of, known_at).await?,
    };
    let ledger = ledger::load(tx, portfolio, as_of, known_at).await?;
    let lookup = Lookup::load(tx, portfolio, &ledger.rows, conventions.clone(), known_at).await?;
    let empty = if ask.traced { Book::traced() } else { Book::default() };
    let folded = ledger.fold_onto(empty, lookup.context());
    let book =
        folded.map_err(|(transaction, error)| BookError::Refused { transaction, own: false, error })?;
    let foreign = lookup.is_foreign() || has_foreign(&book, portfolio);
    Ok(Folded { book, ledger: ledger.rows, rates: lookup.into_rates(), conventions, foreign })
}

/// A valuation, and what it looked at.
#[derive(Debug)]
pub struct Valued {
    /// The valuation.
    pub report: Report,
    /// Assets of the book.
    pub assets: BTreeMap<AssetKey, Asset>,
    /// The newest rates at its moment.
    pub rates: Rates,
}

/// Values a book of the past with the prices and rates a question is about. `now` is the moment of the read.
///
/// # Errors
/// The database's.
pub async fn value_past(
    tx: &mut Tx,
    portfolio: &Portfolio,
    book: &Book,
    ask: &Ask,
    now: Moment,
) -> Result<Valued, StorageError> {
    let (as_of, known_at) = (ask.as_of.unwrap_or(Moment::MAX), ask.known_at.unwrap_or(Moment::MAX));
    let rates = rates::newest(tx, as_of, known_at).await?;
    let keys = held_assets(book);
    let terms = assets::terms(tx, &keys, known_at).await?;
    let priority = |key: AssetKey| terms.at(key, as_of).map(|terms| terms.source_priority.clone());
    let of: Vec<_> = keys.iter().map(|key| (*key, priority(*key).unwrap_or_default())).collect();
    let points = prices::at_many(tx, &of, as_of, known_at).await?;
    let marks = points.into_iter().map(|(key, point)| (key, Mark::from(point))).collect();
    let (assets, priced) = price_assets(tx, book, as_of, known_at, marks).await?;
    let age_at = ask.as_of.or(ask.known_at).unwrap_or(now);
    let with = Valuation { base: portfolio.base_currency, assets: &priced, rates: &rates, at: as_of, age_at };
    Ok(Valued { report: report(book, with), assets, rates })
}

async fn past_figures(
    tx: &mut Tx,
    portfolio: &Portfolio,
    ask: &Ask,
    now: Moment,
) -> Result<Figures, BookError> {
    let Folded { mut book, ledger, rates, conventions, .. } = fold_past(tx, portfolio, ask).await?;
    let valued = value_past(tx, portfolio, &book, ask, now).await?;
    let members = positions::members(tx, portfolio.id, ask.known_at.unwrap_or(Moment::MAX)).await?;
    let (open, closed) = name_positions(&mut book, &members);
    let evidence = ask.traced.then(|| {
        let mut all = rates;
        all.extend(valued.rates);
        LedgerEvidence { ledger, rates: all, at: ask.as_of.unwrap_or(Moment::MAX) }
    });
    let Valued { report, assets, .. } = valued;
    let (book, assets, open) = (Arc::new(book), Arc::new(assets), Arc::new(open));
    Ok(Figures { report, book, assets, conventions, open, issued: None, closed, kept: false, evidence })
}

/// Whether money of some holding is not in base currency.
pub fn has_foreign(book: &Book, portfolio: &Portfolio) -> bool {
    book.holdings.values().any(|holding| holding.currency != portfolio.base_currency)
}

/// Assets with an open position.
pub fn held_assets(book: &Book) -> Vec<AssetKey> {
    let mut keys: Vec<AssetKey> = book
        .holdings
        .iter()
        .filter(|(_, holding)| holding.cycle.is_some())
        .map(|(key, _)| key.asset)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Assets by key, and what values them.
pub type PricedAssets = (BTreeMap<AssetKey, Asset>, BTreeMap<AssetKey, Priced>);

/// The assets of a book with these prices, and their terms at a moment as known at another.
///
/// # Errors
/// The database's.
pub async fn price_assets(
    tx: &mut Tx,
    book: &Book,
    as_of: Moment,
    known_at: Moment,
    marks: BTreeMap<AssetKey, Mark>,
) -> Result<PricedAssets, StorageError> {
    let mut keys: Vec<AssetKey> = book.holdings.keys().map(|key| key.asset).collect();
    keys.sort_unstable();
    keys.dedup();
    price_keys(tx, &keys, as_of, known_at, marks).await
}

/// The same of some assets.
///
/// # Errors
/// The database's.
pub async fn price_keys(
    tx: &mut Tx,
    keys: &[AssetKey],
    as_of: Moment,
    known_at: Moment,
    mut marks: BTreeMap<AssetKey, Mark>,
) -> Result<PricedAssets, StorageError> {
    let terms = assets::terms(tx, keys, known_at).await?;
    let mut known = BTreeMap::new();
    let mut priced = BTreeMap::new();
    // A figure of the past names its assets as they were called then.
    let past = as_of != Moment::MAX || known_at != Moment::MAX;
    let mut symbols = if past { actions::symbols(tx, keys, as_of, known_at).await? } else { BTreeMap::new() };
    for mut asset in assets::by_keys(tx, keys).await? {
        if let Some(symbol) = symbols.remove(&asset.key) {
            asset.symbol = symbol;
        }
        if let Some(terms) = terms.at(asset.key, as_of) {
            let one =
                Priced { terms: terms.clone(), zone: asset.market_zone, mark: marks.remove(&asset.key) };
            priced.insert(asset.key, one);
        }
        known.insert(asset.key, asset);
    }
    Ok((known, priced))
}

/// Finds the id each position of a past book had: the one that most of its transactions had and no earlier position
/// took, of several the oldest. A transaction that crossed zero had the ids of two positions.
fn name_positions(
    book: &mut Book,
    members: &[(TransactionId, PositionId)],
) -> (BTreeMap<HoldingKey, PositionId>, HashMap<(HoldingKey, u64), PositionId>) {
    let mut rank: HashMap<PositionId, usize> = HashMap::new();
    let mut had: HashMap<TransactionId, Vec<PositionId>> = HashMap::new();
    for (transaction, position) in members {
        let next = rank.len();
        rank.entry(*position).or_insert(next);
        had.entry(*transaction).or_default().push(*position);
    }
    let mut order: Vec<(HoldingKey, u64)> = Vec::new();
    let mut best: HashMap<(HoldingKey, u64), HashMap<PositionId, usize>> = HashMap::new();
    for member in std::mem::take(&mut book.memberships) {
        let at = (member.holding, member.cycle);
        if !best.contains_key(&at) {
            order.push(at.clone());
        }
        let votes = best.entry(at).or_default();
        for id in had.get(&member.transaction).into_iter().flatten() {
            *votes.entry(*id).or_default() += 1;
        }
    }
    let mut named: HashMap<(HoldingKey, u64), PositionId> = HashMap::new();
    let mut taken = std::collections::HashSet::new();
    for at in order {
        let ids = best.remove(&at).unwrap_or_default();
        let free = ids.into_iter().filter(|(id, _)| !taken.contains(id));
        if let Some((id, _)) =
            free.min_by_key(|(id, votes)| (std::cmp::Reverse(*votes), rank.get(id).copied()))
        {
            taken.insert(id);
            named.insert(at, id);
        }
    }
    let mut open = BTreeMap::new();
    for (key, holding) in &book.holdings {
        if let Some(cycle) = &holding.cycle
            && let Some(id) = named.remove(&(key.clone(), cycle.ordinal))
        {
            open.insert(key.clone(), id);
        }
    }
    (open, named)
}
