//! Recording ledger entries: the entry, what the fold yields, and the positions it touches, in one transaction.
//!
//! An entry that comes last in time is applied to the kept book. A late one and a void fold the rows of their asset
//! anew from the newest checkpoint before their date (`late`). A changed rate, convention or term, and a corporate
//! action, fold the whole ledger. All ways give the same book, which tests hold.

mod late;
mod naming;

use crate::domain::asset::TermsHistory;
use crate::domain::currency::Currency;
use crate::domain::fx::Rates;
use crate::domain::ids::{ActionId, AssetId, AssetKey, TransactionId};
use crate::domain::ledger::not_before;
use crate::domain::moment::Moment;
use crate::domain::pnl::book::actions::Flag;
use crate::domain::pnl::book::{Book, Context, LedgerError};
use crate::domain::portfolio::{Conventions, Portfolio};
use crate::domain::transaction::Transaction;
use crate::random::{NoRandomness, Random};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::figures::{Kept, KeptBook};
use crate::storage::transactions::Entry;
use crate::storage::{assets, checkpoints, figures, portfolios, rates, transactions};
use crate::workers::ledger;
use late::{Change, checkpoints_passed, fold_with_checkpoints};
use naming::{Past, advance_positions, reassign_positions};
use std::collections::{BTreeSet, HashSet};

/// Distinct moments up to which rates are looked up one by one instead of loading their history.
const FEW_MOMENTS: usize = 4;

/// Why entries were not recorded.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// A rule of the ledger refuses one of them, or one already recorded that comes later.
    #[error("{error}")]
    Refused {
        /// The transaction that cannot stand.
        transaction: TransactionId,
        /// Whether it is one of those just sent in.
        own: bool,
        /// The rule.
        error: LedgerError,
    },
    /// An entry says what is recorded on the asset for every holder.
    #[error("the same is recorded on the asset as action {action}")]
    RepeatsAction {
        /// The entry.
        transaction: TransactionId,
        /// The asset.
        asset: AssetId,
        /// The action.
        action: ActionId,
    },
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// No randomness for a new id.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Records entries, all or none, and returns them as recorded.
///
/// # Errors
/// [`BookError::Refused`] names the transaction that cannot stand; everything is to be rolled back then.
/// [`BookError::RepeatsAction`] names the action of the asset that says the same.
pub async fn record(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    entries: Vec<Entry>,
) -> Result<Vec<Entry>, BookError> {
    if entries.is_empty() {
        return Ok(entries);
    }
    for entry in &entries {
        check_repeat(tx, portfolio, &entry.transaction, None).await?;
    }
    let recorded = transactions::insert_many(tx, entries).await?;
    let kept = figures::kept(tx, portfolio.id).await?;
    let comes_last = |kept: Kept| {
        !kept.stale && recorded.iter().all(|entry| not_before(&entry.transaction) >= kept.last_at)
    };
    let in_order = kept.is_none_or(comes_last);
    let added: Vec<Transaction> = recorded.iter().map(|entry| entry.transaction.clone()).collect();
    if in_order {
        append(tx, random, portfolio, &added).await?;
    } else if !late::refold_from(tx, random, portfolio, &Change { added: &added, removed: &[] }).await? {
        refold(tx, random, portfolio, &ids(&added)).await?;
    }
    portfolios::touch(tx, portfolio.id).await?;
    Ok(recorded)
}

/// Voids an entry, recording `replacement` in its place if there is one.
///
/// # Errors
/// [`BookError::Refused`] when a row that stays cannot stand without it.
pub async fn void(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    entry: &Entry,
    (reason, replacement): (&str, Option<Entry>),
) -> Result<Option<Entry>, BookError> {
    let replacement = match replacement {
        Some(mut new) => {
            check_repeat(tx, portfolio, &new.transaction, Some(&entry.transaction)).await?;
            new.replaces = Some(entry.transaction.id);
            new.transaction.place = entry.transaction.place;
            Some(transactions::insert(tx, new).await?)
        }
        None => None,
    };
    let replaced_by = replacement.as_ref().map(|new| new.transaction.id);
    transactions::void(tx, entry.transaction.id, reason, replaced_by).await?;
    let added: Vec<Transaction> = replacement.iter().map(|entry| entry.transaction.clone()).collect();
    let removed = [entry.transaction.clone()];
    if !late::refold_from(tx, random, portfolio, &Change { added: &added, removed: &removed }).await? {
        refold(tx, random, portfolio, &ids(&added)).await?;
    }
    portfolios::touch(tx, portfolio.id).await?;
    Ok(replacement)
}

/// Refuses an entry that repeats an action of its asset. `original` is the entry it takes the place of.
async fn check_repeat(
    tx: &mut Tx,
    portfolio: &Portfolio,
    t: &Transaction,
    original: Option<&Transaction>,
) -> Result<(), BookError> {
    match ledger::repeated(tx, portfolio, t, original).await? {
        Some((asset, action)) => Err(BookError::RepeatsAction { transaction: t.id, asset, action }),
        None => Ok(()),
    }
}

fn ids(transactions: &[Transaction]) -> Vec<TransactionId> {
    transactions.iter().map(|t| t.id).collect()
}

/// Everything a fold looks up, for one set of transactions.
#[derive(Debug)]
pub struct Lookup {
    base: Currency,
    conventions: Conventions,
    terms: TermsHistory,
    rates: Rates,
    foreign: bool,
}

impl Lookup {
    /// Loads what folding `transactions` of `portfolio` needs, as known at `known_at`.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn load(
        tx: &mut Tx,
        portfolio: &Portfolio,
        transactions: &[Transaction],
        conventions: Conventions,
        known_at: Moment,
    ) -> Result<Self, StorageError> {
        let keys: BTreeSet<AssetKey> = transactions.iter().filter_map(|t| t.asset).collect();
        let terms = assets::terms(tx, &keys.into_iter().collect::<Vec<_>>(), known_at).await?;
        let base = portfolio.base_currency;
        let foreign = transactions.iter().any(|t| is_foreign(t, base, &terms));
        let units = units_of(transactions, base, &terms);
        let moments: BTreeSet<Moment> = transactions.iter().map(|t| t.executed_at).collect();
        let rates = match (foreign, moments.last()) {
            (true, Some(last)) if moments.len() > FEW_MOMENTS => {
                rates::touching(tx, &units, *last, known_at).await?
            }
            (true, Some(_)) => {
                let mut rates = Rates::default();
                for moment in moments {
                    rates.extend(rates::newest(tx, moment, known_at).await?);
                }
                rates
            }
            _ => Rates::default(),
        };
        Ok(Self { base, conventions, terms, rates, foreign })
    }

    /// Whether money other than base currency moves.
    pub const fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// The terms it loaded.
    pub const fn terms(&self) -> &TermsHistory {
        &self.terms
    }

    /// The rates it loaded.
    pub fn into_rates(self) -> Rates {
        self.rates
    }

    /// The same, for the fold.
    pub const fn context(&self) -> Context<'_> {
        Context { base: self.base, conventions: &self.conventions, terms: &self.terms, rates: &self.rates }
    }
}

fn is_foreign(t: &Transaction, base: Currency, terms: &TermsHistory) -> bool {
    let settles = t.asset.and_then(|asset| terms.at(asset, t.executed_at)).map(|terms| terms.settlement);
    [t.currency, t.to_currency, settles].into_iter().flatten().any(|currency| currency != base)
}

/// The major units of every currency that these transactions convert between.
fn units_of(transactions: &[Transaction], base: Currency, terms: &TermsHistory) -> Vec<Currency> {
    let settles = |t: &Transaction| Some(terms.at(t.asset?, t.executed_at)?.settlement);
    let named = transactions.iter().flat_map(|t| [t.currency, t.to_currency, settles(t)]).flatten();
    let units: BTreeSet<Currency> = named.chain([base]).map(|currency| currency.major().0).collect();
    units.into_iter().collect()
}

/// Applies entries that come last in time to the kept book.
async fn append(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    added: &[Transaction],
) -> Result<(), BookError> {
    let new = added.to_vec();
    let touched: BTreeSet<AssetKey> = new.iter().filter_map(|t| t.asset).collect();
    let touched: Vec<AssetKey> = touched.into_iter().collect();
    let before = figures::load(tx, portfolio.id, Some(&touched)).await?;
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let mut book = before.as_ref().map(|kept| kept.book.clone()).unwrap_or_default();
    let new = ledger::entering(tx, portfolio, &book, new).await?;
    let lookup = Lookup::load(tx, portfolio, &new.rows, conventions, Moment::MAX).await?;
    let count = before.as_ref().map_or(0, |before| before.kept.entries);
    let folded = fold_with_checkpoints(&mut book, &new.rows, lookup.context(), &BTreeSet::new(), count);
    let passed =
        folded.map_err(|(transaction, error)| BookError::Refused { transaction, own: true, error })?;
    let kept = before.as_ref().map(|before| before.kept);
    if kept.is_some_and(|kept| new.rows.iter().any(|t| not_before(t) <= kept.last_at)) {
        // At the moment of the last row there may be a checkpoint that these rows belong before.
        for asset in &touched {
            checkpoints::forget_from(tx, portfolio.id, *asset, kept.map_or(Moment::MIN, |kept| kept.last_at))
                .await?;
        }
    }
    checkpoints_passed(tx, portfolio, &passed).await?;
    let last_at = new
        .rows
        .iter()
        .map(|t| t.executed_at)
        .max()
        .max(kept.map(|kept| kept.last_at))
        .unwrap_or(Moment::MIN);
    let kept = Kept {
        last_at,
        entries: kept.map_or(0, |kept| kept.entries) + new.entries(),
        foreign_money: lookup.foreign || kept.is_some_and(|kept| kept.foreign_money),
        stale: false,
    };
    let open = advance_positions(tx, random, portfolio, before.as_ref(), &mut book).await?;
    figures::save(tx, portfolio.id, before.as_ref(), &KeptBook { kept, book, open }).await?;
    Ok(())
}

/// Folds a portfolio's whole ledger anew and keeps what comes out. `own` are entries just sent in.
///
/// # Errors
/// [`BookError::Refused`] names the first transaction that cannot stand.
pub async fn refold(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    own: &[TransactionId],
) -> Result<(), BookError> {
    fold_anew(tx, random, portfolio, Some(own)).await
}

/// The same after a corporate action was recorded or voided: what it puts at odds with a rule is flagged.
///
/// # Errors
/// The database's; [`BookError::Refused`] for a row of an asset that has no actions.
pub async fn refold_after_action(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
) -> Result<(), BookError> {
    fold_anew(tx, random, portfolio, None).await
}

/// With `own`, entries just sent in, a row that was not flagged before must not need to be.
async fn fold_anew(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    own: Option<&[TransactionId]>,
) -> Result<(), BookError> {
    let ledger = ledger::load(tx, portfolio, Moment::MAX, Moment::MAX).await?;
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let lookup = Lookup::load(tx, portfolio, &ledger.rows, conventions, Moment::MAX).await?;
    let refused = |(transaction, error)| {
        let own = own.is_some_and(|own| own.contains(&transaction));
        BookError::Refused { transaction, own, error }
    };
    let mut book = Book::default();
    let folded = fold_with_checkpoints(&mut book, &ledger.rows, lookup.context(), &ledger.tolerated, 0);
    let passed = folded.map_err(refused)?;
    let before = figures::load(tx, portfolio.id, None).await?;
    if own.is_some()
        && let Some(flag) = newly_flagged(before.as_ref(), &book)
    {
        return Err(refused((flag.transaction, flag.error.clone())));
    }
    checkpoints::forget_all(tx, portfolio.id).await?;
    checkpoints_passed(tx, portfolio, &passed).await?;
    let past = Past::whole(tx, portfolio).await?;
    let open = reassign_positions(tx, random, portfolio, &mut book, &past).await?;
    let kept = Kept {
        last_at: ledger.rows.iter().map(|t| t.executed_at).max().unwrap_or(Moment::MIN),
        entries: ledger.entries(),
        foreign_money: lookup.foreign,
        stale: false,
    };
    figures::save(tx, portfolio.id, before.as_ref(), &KeptBook { kept, book, open }).await?;
    Ok(())
}

/// The first flag of a book that was not there before.
fn newly_flagged<'b>(before: Option<&KeptBook>, book: &'b Book) -> Option<&'b Flag> {
    let known: HashSet<TransactionId> =
        before.iter().flat_map(|kept| &kept.book.flags).map(|flag| flag.transaction).collect();
    book.flags.iter().find(|flag| !known.contains(&flag.transaction))
}
