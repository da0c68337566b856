//! Trying entries against a ledger without recording them: which of them it would refuse.

use crate::domain::ids::TransactionId;
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{Book, Context, LedgerError};
use crate::domain::portfolio::Portfolio;
use crate::domain::transaction::Transaction;
use crate::storage::database::Tx;
use crate::storage::{portfolios, transactions};
use crate::workers::bookkeeping::{BookError, Lookup};
use crate::workers::ledger::{self, Ledger};
use std::collections::HashSet;

/// Entries between two books that are kept to go back to: a refused entry leaves a book in no defined state.
const STRIDE: usize = 1_000;

/// Those of `own` that the ledger refuses, with the rule, when each refused one is left out. They may be recorded already
/// in this commit, or come after what is recorded.
///
/// # Errors
/// [`BookError::Refused`] when an entry recorded before could not stand any more.
pub async fn refused(
    tx: &mut Tx,
    portfolio: &Portfolio,
    own: &[Transaction],
) -> Result<Vec<(TransactionId, LedgerError)>, BookError> {
    let mut entries = transactions::in_force(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let recorded: HashSet<TransactionId> = entries.iter().map(|t| t.id).collect();
    let last = entries.iter().map(|t| t.place).max().unwrap_or_default();
    for (place, t) in (last + 1..).zip(own.iter().filter(|t| !recorded.contains(&t.id))) {
        entries.push(Transaction { place, ..t.clone() });
    }
    let ledger = ledger::of_entries(tx, portfolio, entries).await?;
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let lookup = Lookup::load(tx, portfolio, &ledger.rows, conventions, Moment::MAX).await?;
    let own: HashSet<TransactionId> = own.iter().map(|t| t.id).collect();
    sift(&ledger, lookup.context(), &own)
}

fn sift(
    ledger: &Ledger,
    ctx: Context<'_>,
    own: &HashSet<TransactionId>,
) -> Result<Vec<(TransactionId, LedgerError)>, BookError> {
    let (mut refused, mut out) = (Vec::new(), HashSet::new());
    let mut book = Book::default();
    let (mut kept, mut kept_at) = (Book::default(), 0);
    // What is recorded may have been put at odds with a rule by an action of its asset; what is new may not.
    let fold = |book: &mut Book, t: &Transaction| {
        if own.contains(&t.id) { book.apply(t, ctx) } else { book.admit(t, ctx, &ledger.tolerated) }
    };
    let failed =
        |t: &Transaction, error| BookError::Refused { transaction: t.id, own: own.contains(&t.id), error };
    for (at, t) in ledger.rows.iter().enumerate() {
        if at >= kept_at + STRIDE {
            // Who took part in what is of no use here, and would be copied each time.
            book.memberships.clear();
            book.closed.clear();
            (kept, kept_at) = (book.clone(), at);
        }
        let Err(error) = fold(&mut book, t) else { continue };
        if !own.contains(&t.id) {
            return Err(failed(t, error));
        }
        refused.push((t.id, error));
        out.insert(t.id);
        book = kept.clone();
        for t in ledger.rows.get(kept_at..at).unwrap_or_default().iter().filter(|t| !out.contains(&t.id)) {
            fold(&mut book, t).map_err(|error| failed(t, error))?;
        }
        (kept, kept_at) = (book.clone(), at + 1);
    }
    Ok(refused)
}
