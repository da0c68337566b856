//! Late entries and voids: only the rows of the assets they touch are folded anew, and only from their date on.
//!
//! What an entry does to one asset depends on the rows of that asset alone, and what it does to cash and contributions
//! is a sum, whatever the order. So the holdings of the touched assets are folded from the newest checkpoint before the
//! change, once as they were and once as they are now, and the sums change by the difference.

use super::naming::{Past, reassign_positions};
use super::{BookError, Lookup};
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::ledger::{changes_from, not_before};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{AccountState, Book, Context, LedgerError};
use crate::domain::portfolio::Portfolio;
use crate::domain::transaction::Transaction;
use crate::random::Random;
use crate::storage::checkpoints::{self, Checkpoint};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::figures::{self, Kept, KeptBook};
use crate::storage::{portfolios, transactions};
use crate::workers::ledger::{self, Ledger};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Rows between two checkpoints of an asset, at least; with many open lots, a quarter of their number.
const EVERY: u64 = 16;

/// A change of the past.
pub(super) struct Change<'a> {
    /// Entries that are in force now and were not.
    pub(super) added: &'a [Transaction],
    /// Entries that were in force and are not now.
    pub(super) removed: &'a [Transaction],
}

impl Change<'_> {
    fn rows(&self) -> impl Iterator<Item = &Transaction> {
        self.added.iter().chain(self.removed)
    }

    /// The assets it touches, each with the moment before which nothing about it changes.
    fn touched(&self) -> BTreeMap<AssetKey, Moment> {
        let mut touched: BTreeMap<AssetKey, Moment> = BTreeMap::new();
        for t in self.rows() {
            if let Some(asset) = t.asset {
                let from = touched.entry(asset).or_insert(Moment::MAX);
                *from = (*from).min(changes_from(t));
            }
        }
        touched
    }
}

/// Folds rows onto a book and returns the checkpoints passed on the way. `count` rows were folded before.
///
/// # Errors
/// The first row that cannot stand, with the rule it breaks.
pub(super) fn fold_with_checkpoints(
    book: &mut Book,
    rows: &[Transaction],
    ctx: Context<'_>,
    tolerated: &BTreeSet<AssetKey>,
    count: i64,
) -> Result<Vec<Checkpoint>, (TransactionId, LedgerError)> {
    let ends = ends(rows);
    let mut since: HashMap<AssetKey, u64> = HashMap::new();
    let mut passed = Vec::new();
    let first = u64::try_from(count).unwrap_or_default();
    for (index, t) in rows.iter().enumerate() {
        book.admit(t, ctx, tolerated).map_err(|error| (t.id, error))?;
        let Some(asset) = t.asset else { continue };
        // Single entries count too: one in so many of them leaves a checkpoint.
        let place = first + u64::try_from(index).unwrap_or_default() + 1;
        let run = since.entry(asset).or_insert(0);
        *run += 1;
        if *run < EVERY && !place.is_multiple_of(EVERY) {
            continue;
        }
        let own = book.holdings.iter().filter(|(key, _)| key.asset == asset);
        let lots: usize = own.map(|(_, holding)| holding.lots.0.len()).sum();
        let enough = EVERY.max(u64::try_from(lots).unwrap_or(u64::MAX) / 4);
        let due = *run >= enough || place.is_multiple_of(enough.next_power_of_two());
        if let Some(folded_to) = ends.get(index).copied().flatten().filter(|_| due) {
            passed.push(Checkpoint::of(book, asset, folded_to));
            *run = 0;
        }
    }
    Ok(passed)
}

/// For each row the moment up to which its asset is folded after it, if every later row of the asset is about a later
/// moment.
fn ends(rows: &[Transaction]) -> Vec<Option<Moment>> {
    let mut latest: HashMap<AssetKey, Moment> = HashMap::new();
    let mut folded: Vec<Option<Moment>> = Vec::with_capacity(rows.len());
    for t in rows {
        folded.push(t.asset.map(|asset| {
            let latest = latest.entry(asset).or_insert(Moment::MIN);
            *latest = (*latest).max(t.executed_at);
            *latest
        }));
    }
    let mut next: HashMap<AssetKey, Moment> = HashMap::new();
    for (t, folded_to) in rows.iter().zip(&mut folded).rev() {
        let Some(asset) = t.asset else { continue };
        let next = next.entry(asset).or_insert(Moment::MAX);
        *folded_to = folded_to.filter(|folded_to| *next > *folded_to);
        *next = (*next).min(not_before(t));
    }
    folded
}

/// Keeps checkpoints.
pub(super) async fn checkpoints_passed(
    tx: &mut Tx,
    portfolio: &Portfolio,
    passed: &[Checkpoint],
) -> Result<(), StorageError> {
    for checkpoint in passed {
        checkpoints::save(tx, portfolio.id, checkpoint).await?;
    }
    Ok(())
}

/// Folds what a change of the past touches. `false` when that cannot be told from the rest, and the whole ledger has
/// to be folded.
///
/// # Errors
/// [`BookError::Refused`] names the first transaction that cannot stand.
pub(super) async fn refold_from(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    change: &Change<'_>,
) -> Result<bool, BookError> {
    let touched = change.touched();
    let assets: Vec<AssetKey> = touched.keys().copied().collect();
    let Some(before) = figures::load(tx, portfolio.id, Some(&assets)).await? else { return Ok(false) };
    if before.kept.stale || !before.book.missing.is_empty() || !before.book.flags.is_empty() {
        return Ok(false);
    }
    for asset in change.removed.iter().filter_map(|t| t.asset) {
        if !transactions::any_in_force(tx, portfolio.id, asset).await? {
            // With its last entry the actions of the asset leave the ledger as well.
            return Ok(false);
        }
    }
    let (began, was, is_now) = load(tx, portfolio, &touched, change).await?;
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let every: Vec<Transaction> = is_now.rows.iter().chain(change.removed).cloned().collect();
    let lookup = Lookup::load(tx, portfolio, &every, conventions, Moment::MAX).await?;
    let mut old = began.clone();
    if was.rows.iter().any(|t| old.apply(t, lookup.context()).is_err()) || !old.missing.is_empty() {
        return Ok(false);
    }
    let mut book = began.clone();
    let folded = fold_with_checkpoints(&mut book, &is_now.rows, lookup.context(), &BTreeSet::new(), 0);
    let passed = match folded {
        Ok(passed) => passed,
        // What a corporate action put at odds with a rule is flagged where everything is folded.
        Err(_) if !is_now.tolerated.is_empty() => return Ok(false),
        Err((transaction, error)) => {
            let own = change.added.iter().any(|t| t.id == transaction);
            return Err(BookError::Refused { transaction, own, error });
        }
    };
    let Some(accounts) = changed(&before.book.accounts, &old.accounts, &book.accounts) else {
        return Ok(false);
    };
    book.accounts = accounts;
    let mut splits = before.book.splits.clone();
    splits.retain(|asset, _| !touched.contains_key(asset));
    splits.append(&mut book.splits);
    book.splits = splits;

    let mut rows: HashSet<TransactionId> = is_now.rows.iter().map(|t| t.id).collect();
    rows.extend(change.rows().map(|t| t.id));
    let rows: Vec<TransactionId> = rows.into_iter().collect();
    let past = Past::since(tx, portfolio, &assets, &began, &rows).await?;
    let open = reassign_positions(tx, random, portfolio, &mut book, &past).await?;
    for (asset, from) in &touched {
        checkpoints::forget_from(tx, portfolio.id, *asset, *from).await?;
    }
    checkpoints_passed(tx, portfolio, &passed).await?;
    let latest = change.added.iter().map(|t| t.executed_at).max();
    let count = |rows: &[Transaction]| i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let kept = Kept {
        last_at: latest.max(Some(before.kept.last_at)).unwrap_or(Moment::MIN),
        entries: before.kept.entries + count(change.added) - count(change.removed),
        foreign_money: lookup.is_foreign() || before.kept.foreign_money,
        stale: false,
    };
    figures::save(tx, portfolio.id, Some(&before), &KeptBook { kept, book, open }).await?;
    Ok(true)
}

/// The newest checkpoints before the change, as one book, and the rows that follow them, as they were and as they are.
async fn load(
    tx: &mut Tx,
    portfolio: &Portfolio,
    touched: &BTreeMap<AssetKey, Moment>,
    change: &Change<'_>,
) -> Result<(Book, Ledger, Ledger), StorageError> {
    let mut began = Book::default();
    let mut after = BTreeMap::new();
    for (asset, from) in touched {
        let checkpoint = checkpoints::newest_before(tx, portfolio.id, *asset, *from).await?;
        after.insert(*asset, checkpoint.as_ref().map_or(Moment::MIN, |checkpoint| checkpoint.folded_to));
        if let Some(mut checkpoint) = checkpoint {
            began.holdings.append(&mut checkpoint.book.holdings);
            began.splits.append(&mut checkpoint.book.splits);
        }
    }
    let (was, is_now) = ledger::after(tx, portfolio, &after, (change.added, change.removed)).await?;
    Ok((began, was, is_now))
}

/// The sums of every account after a change; `None` when they cannot be told from the sums before.
fn changed(
    were: &BTreeMap<String, AccountState>,
    old: &BTreeMap<String, AccountState>,
    new: &BTreeMap<String, AccountState>,
) -> Option<BTreeMap<String, AccountState>> {
    if old.keys().any(|name| !new.contains_key(name)) {
        return None;
    }
    let nothing = AccountState::default();
    let mut accounts = were.clone();
    for (name, come) in new {
        let gone = old.get(name).unwrap_or(&nothing);
        let now = were.get(name).unwrap_or(&nothing).changed(gone, come)?;
        accounts.insert(name.clone(), now);
    }
    Some(accounts)
}
