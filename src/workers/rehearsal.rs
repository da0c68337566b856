//! Trying entries against a ledger without recording them: which of them it would refuse.

use crate::domain::ids::TransactionId;
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{Book, LedgerError};
use crate::domain::portfolio::Portfolio;
use crate::domain::transaction::Transaction;
use crate::storage::database::Tx;
use crate::storage::{portfolios, transactions};
use crate::workers::bookkeeping::{BookError, Lookup};
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
    let mut ledger = transactions::in_force(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let recorded: HashSet<TransactionId> = ledger.iter().map(|t| t.id).collect();
    let last = ledger.iter().map(|t| t.place).max().unwrap_or_default();
    for (place, t) in (last + 1..).zip(own.iter().filter(|t| !recorded.contains(&t.id))) {
        ledger.push(Transaction { place, ..t.clone() });
    }
    ledger.sort_by_key(Transaction::order);
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let lookup = Lookup::load(tx, portfolio, &ledger, conventions, Moment::MAX).await?;
    let own: HashSet<TransactionId> = own.iter().map(|t| t.id).collect();
    sift(&ledger, &lookup, &own)
}

fn sift(
    ledger: &[Transaction],
    lookup: &Lookup,
    own: &HashSet<TransactionId>,
) -> Result<Vec<(TransactionId, LedgerError)>, BookError> {
    let (mut refused, mut out) = (Vec::new(), HashSet::new());
    let mut book = Book::default();
    let (mut kept, mut kept_at) = (Book::default(), 0);
    for (at, t) in ledger.iter().enumerate() {
        if at >= kept_at + STRIDE {
            // Who took part in what is of no use here, and would be copied each time.
            book.memberships.clear();
            book.closed.clear();
            (kept, kept_at) = (book.clone(), at);
        }
        let Err(error) = book.apply(t, lookup.context()) else { continue };
        if !own.contains(&t.id) {
            return Err(BookError::Refused { transaction: t.id, own: false, error });
        }
        refused.push((t.id, error));
        out.insert(t.id);
        book = kept.clone();
        for t in ledger.get(kept_at..at).unwrap_or_default().iter().filter(|t| !out.contains(&t.id)) {
            let again = book.apply(t, lookup.context());
            again.map_err(|error| BookError::Refused { transaction: t.id, own: false, error })?;
        }
        (kept, kept_at) = (book.clone(), at + 1);
    }
    Ok(refused)
}
