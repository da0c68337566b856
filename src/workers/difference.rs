//! Why a figure is another one than it was: the facts learned in between, each with what it changed.
//!
//! The figures are computed as they were known after each commit that could have changed them; what one commit changed
//! is the difference to the one before. So the parts are the whole difference, exactly.

use crate::domain::decimal::Decimal;
use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::difference as less;
use crate::domain::pnl::report::{Report, Sums};
use crate::domain::portfolio::Portfolio;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::learned::{self, Fact, Learned, Window};
use crate::workers::bookkeeping::BookError;
use crate::workers::pnl_engine::{Ask, Folded, fold_past, value_past};
use std::collections::{BTreeMap, BTreeSet};

/// Most commits one question may look into.
pub const COMMITS_MAX: usize = 2_000;

/// Why a difference was not computed.
#[derive(Debug, thiserror::Error)]
pub enum DifferenceError {
    /// More was learned in between than one question looks into.
    #[error("more than {COMMITS_MAX} commits changed facts in between; ask for a shorter span")]
    TooMany,
    /// The figures could not be computed.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Figures by name, in base currency; `None` where a rate was missing.
pub type Figures = Vec<(&'static str, Option<Decimal>)>;

/// What one commit changed.
#[derive(Debug, Clone)]
pub struct Part {
    /// When it was learned.
    pub recorded_at: Moment,
    /// What.
    pub facts: Vec<Fact>,
    /// By how much each figure changed.
    pub change: Figures,
}

/// Two reports about one moment, as known at two, and what lies between them.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The figures as first known.
    pub before: Figures,
    /// The figures as known later.
    pub after: Figures,
    /// `after - before`.
    pub change: Figures,
    /// Commits that changed a figure, in order. Their changes add up to `change`.
    pub parts: Vec<Part>,
    /// Commits that changed facts but no figure.
    pub without_effect: usize,
}

fn figures(sums: &Sums) -> Figures {
    vec![
        ("realized_pnl", sums.realized_pnl.clone()),
        ("unrealized_pnl", sums.unrealized_pnl.clone()),
        ("total_pnl", sums.total_pnl()),
        ("total_gain", sums.total_gain()),
        ("income", sums.income.clone()),
        ("fees", sums.fees.clone()),
        ("taxes", sums.taxes.clone()),
        ("cash_fx_pnl", sums.cash_fx_pnl.clone()),
        ("cost_basis", sums.cost_basis.clone()),
        ("market_value", sums.market_value()),
        ("cash", sums.cash.clone()),
        ("net_contributions", sums.net_contributions.clone()),
        ("total_value", sums.total_value()),
    ]
}

fn change(after: &Figures, before: &Figures) -> Figures {
    let pairs = after.iter().zip(before);
    pairs.map(|((name, now), (_, then))| (*name, less(now.as_ref(), then.as_ref()))).collect()
}

/// Computes what was learned after `ask.known_at`, up to `until`, and what it changed in the figures `ask` is about.
/// `ask` must say both `as_of` and `known_at`.
///
/// # Errors
/// [`DifferenceError`].
pub async fn difference(
    tx: &mut Tx,
    portfolio: &Portfolio,
    ask: &Ask,
    until: Moment,
    now: Moment,
) -> Result<Difference, DifferenceError> {
    let known = |at: Moment| Ask { known_at: Some(at), ..ask.clone() };
    let start = ask.known_at.unwrap_or(Moment::MIN);
    let mut folded = fold_past(tx, portfolio, &known(start)).await?;
    let first = value_past(tx, portfolio, &folded.book, &known(start), now).await?.report;
    let last = fold_past(tx, portfolio, &known(until)).await?;
    let commits = commits(tx, portfolio, ask, (start, until), (&first, &[&folded, &last])).await?;
    let before = figures(&first.sums);
    let mut current = before.clone();
    let (mut parts, mut without_effect) = (Vec::new(), 0);
    for (recorded_at, facts) in commits {
        let ask = known(recorded_at);
        if facts.iter().any(|fact| !matches!(fact, Fact::Price { .. })) {
            folded = fold_past(tx, portfolio, &ask).await?;
        }
        let report = value_past(tx, portfolio, &folded.book, &ask, now).await?.report;
        let after = figures(&report.sums);
        let change = change(&after, &current);
        if change.iter().all(|(_, change)| change.as_ref().is_some_and(Decimal::is_zero)) {
            without_effect += 1;
        } else {
            parts.push(Part { recorded_at, facts, change });
        }
        current = after;
    }
    let end = value_past(tx, portfolio, &last.book, &known(until), now).await?.report;
    let after = figures(&end.sums);
    if after != current {
        // Something that no fact names; it must not be passed over.
        let change = change(&after, &current);
        parts.push(Part { recorded_at: until, facts: Vec::new(), change });
    }
    Ok(Difference { change: change(&after, &before), before, after, parts, without_effect })
}

/// The facts that may matter, by the commit that recorded them.
async fn commits(
    tx: &mut Tx,
    portfolio: &Portfolio,
    ask: &Ask,
    (after, until): (Moment, Moment),
    (first, books): (&Report, &[&Folded]),
) -> Result<BTreeMap<Moment, Vec<Fact>>, DifferenceError> {
    let as_of = ask.as_of.unwrap_or(Moment::MAX);
    let limit = i64::try_from(COMMITS_MAX * 10).unwrap_or(i64::MAX);
    let window = Window { as_of, after, until, limit };
    let held: BTreeSet<AssetKey> =
        books.iter().flat_map(|folded| folded.book.holdings.keys()).map(|key| key.asset).collect();
    let keys: Vec<AssetKey> = held.iter().copied().collect();
    let mut all = learned::entries(tx, portfolio.id, window).await?;
    all.extend(learned::actions(tx, &keys, window).await?);
    all.extend(learned::terms(tx, &keys, window).await?);
    all.extend(learned::sources(tx, window).await?);
    if ask.conventions.is_none() {
        all.extend(learned::conventions(tx, portfolio.id, window).await?);
    }
    if books.iter().any(|folded| folded.foreign) {
        all.extend(learned::rates(tx, window).await?);
    }
    for key in held {
        // A point about an earlier moment than that of the price in force cannot take its place.
        let used = first.items.iter().filter(|item| item.asset == key).filter_map(|item| item.price.as_ref());
        let quoted = used.filter(|price| price.basis == "quote").map(|price| price.observed_at).min();
        all.extend(learned::prices(tx, key, quoted.unwrap_or(Moment::MIN), window).await?);
    }
    let mut commits: BTreeMap<Moment, Vec<Fact>> = BTreeMap::new();
    for Learned { recorded_at, fact } in all {
        commits.entry(recorded_at).or_default().push(fact);
    }
    if commits.len() > COMMITS_MAX {
        return Err(DifferenceError::TooMany);
    }
    Ok(commits)
}
