//! Recording ledger entries: the entry, what the fold yields, and the positions it touches, in one transaction.
//!
//! An entry that comes last in time is applied to the kept book; a late one, a void, and any entry after a rate
//! changed fold the ledger anew. Both ways give the same book, which a test holds.

use crate::domain::asset::TermsHistory;
use crate::domain::currency::Currency;
use crate::domain::fx::Rates;
use crate::domain::ids::{AssetKey, PositionId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{Book, Context, HoldingKey, LedgerError, fold};
use crate::domain::portfolio::{Conventions, Portfolio};
use crate::domain::transaction::Transaction;
use crate::random::{NoRandomness, Random};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::figures::{Kept, KeptBook};
use crate::storage::positions::{CLOSED, IssuedPosition, OPEN, UNUSED};
use crate::storage::transactions::Entry;
use crate::storage::{assets, figures, portfolios, positions, rates, transactions};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

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
pub async fn record(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    entries: Vec<Entry>,
) -> Result<Vec<Entry>, BookError> {
    let recorded = transactions::insert_many(tx, entries).await?;
    let kept = figures::kept(tx, portfolio.id).await?;
    let comes_last = |kept: Kept| {
        // At the moment of the last entry folded, only a split given as a day would belong before it.
        let after = (kept.last_at, true, i64::MIN);
        !kept.stale && recorded.iter().all(|entry| entry.transaction.order() > after)
    };
    let in_order = kept.is_none_or(comes_last);
    if in_order {
        append(tx, random, portfolio, &recorded).await?;
    } else {
        refold(tx, random, portfolio, &own_ids(&recorded)).await?;
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
            new.replaces = Some(entry.transaction.id);
            new.transaction.place = entry.transaction.place;
            Some(transactions::insert(tx, new).await?)
        }
        None => None,
    };
    let replaced_by = replacement.as_ref().map(|new| new.transaction.id);
    transactions::void(tx, entry.transaction.id, reason, replaced_by).await?;
    refold(tx, random, portfolio, &own_ids(replacement.as_slice())).await?;
    portfolios::touch(tx, portfolio.id).await?;
    Ok(replacement)
}

fn own_ids(entries: &[Entry]) -> Vec<TransactionId> {
    entries.iter().map(|entry| entry.transaction.id).collect()
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
    entries: &[Entry],
) -> Result<(), BookError> {
    let mut new: Vec<Transaction> = entries.iter().map(|entry| entry.transaction.clone()).collect();
    new.sort_by_key(Transaction::order);
    let touched: BTreeSet<AssetKey> = new.iter().filter_map(|t| t.asset).collect();
    let touched: Vec<AssetKey> = touched.into_iter().collect();
    let before = figures::load(tx, portfolio.id, Some(&touched)).await?;
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let lookup = Lookup::load(tx, portfolio, &new, conventions, Moment::MAX).await?;
    let mut book = before.as_ref().map(|kept| kept.book.clone()).unwrap_or_default();
    for t in &new {
        book.apply(t, lookup.context()).map_err(|error| BookError::Refused {
            transaction: t.id,
            own: true,
            error,
        })?;
    }
    let kept = before.as_ref().map(|before| before.kept);
    let last_at = new.last().map(|t| t.executed_at).max(kept.map(|kept| kept.last_at)).unwrap_or(Moment::MIN);
    let kept = Kept {
        last_at,
        entries: kept.map_or(0, |kept| kept.entries) + i64::try_from(new.len()).unwrap_or_default(),
        foreign_money: lookup.foreign || kept.is_some_and(|kept| kept.foreign_money),
        stale: false,
    };
    let open = advance_positions(tx, random, portfolio, before.as_ref(), &mut book).await?;
    figures::save(tx, portfolio.id, before.as_ref(), &KeptBook { kept, book, open }).await?;
    Ok(())
}

/// Gives ids to positions that opened, and closes those that ended, after entries that came last.
async fn advance_positions(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    before: Option<&KeptBook>,
    book: &mut Book,
) -> Result<BTreeMap<HoldingKey, PositionId>, BookError> {
    let mut open = before.map(|kept| kept.open.clone()).unwrap_or_default();
    let mut ids: HashMap<(HoldingKey, u64), PositionId> = HashMap::new();
    for (key, id) in &open {
        let cycle = before.and_then(|kept| kept.book.holdings.get(key)).and_then(|h| h.cycle.as_ref());
        if let Some(cycle) = cycle {
            ids.insert((key.clone(), cycle.ordinal), *id);
        }
    }
    let mut members = Vec::with_capacity(book.memberships.len());
    for member in std::mem::take(&mut book.memberships) {
        let at = (member.holding.clone(), member.cycle);
        let id = if let Some(id) = ids.get(&at) {
            *id
        } else {
            let id = PositionId(random.uuid_v7(tx.recorded_at()?)?);
            positions::save(tx, fresh_position(portfolio, id, &at)).await?;
            ids.insert(at, id);
            id
        };
        members.push((member.transaction, id));
    }
    positions::add_members(tx, portfolio.id, &members).await?;
    for (key, cycle) in std::mem::take(&mut book.closed) {
        if let Some(id) = ids.get(&(key.clone(), cycle.ordinal))
            && let Some(mut position) = positions::find(tx, portfolio.id, *id).await?
        {
            CLOSED.clone_into(&mut position.status);
            position.closed = Some(cycle);
            positions::save(tx, position).await?;
        }
        open.remove(&key);
    }
    for (key, holding) in &book.holdings {
        match holding.cycle.as_ref().and_then(|cycle| ids.get(&(key.clone(), cycle.ordinal))) {
            Some(id) => open.insert(key.clone(), *id),
            None => open.remove(key),
        };
    }
    Ok(open)
}

fn fresh_position(
    portfolio: &Portfolio,
    id: PositionId,
    (holding, cycle): &(HoldingKey, u64),
) -> IssuedPosition {
    IssuedPosition {
        id,
        portfolio: portfolio.id,
        issued_seq: 0,
        holding: holding.clone(),
        ordinal: i64::try_from(*cycle).ok(),
        status: OPEN.to_owned(),
        successor: None,
        closed: None,
        created_at: Moment(0),
        updated_at: Moment(0),
    }
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
    let ledger = transactions::in_force(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let conventions = portfolios::conventions(tx, portfolio.id, Moment::MAX, Moment::MAX).await?;
    let lookup = Lookup::load(tx, portfolio, &ledger, conventions, Moment::MAX).await?;
    let mut book = fold(&ledger, lookup.context()).map_err(|(transaction, error)| BookError::Refused {
        transaction,
        own: own.contains(&transaction),
        error,
    })?;
    let before = figures::load(tx, portfolio.id, None).await?;
    let open = reassign_positions(tx, random, portfolio, &mut book).await?;
    let kept = Kept {
        last_at: ledger.last().map_or(Moment::MIN, |t| t.executed_at),
        entries: i64::try_from(ledger.len()).unwrap_or(i64::MAX),
        foreign_money: lookup.foreign,
        stale: false,
    };
    figures::save(tx, portfolio.id, before.as_ref(), &KeptBook { kept, book, open }).await?;
    Ok(())
}

/// Decides which id each position has after the past changed: in order of time, each keeps the oldest id that one
/// of its transactions ever had and no other position took, else it gets a new one. An id left over names the
/// position that holds its transactions now.
///
/// A transaction that takes part in several positions, because it crosses zero or moves units between accounts,
/// counts for the last of them only, and for one it opens: else the earlier one would take the older id of the later
/// one, and the two would swap ids at each fold.
async fn reassign_positions(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    book: &mut Book,
) -> Result<BTreeMap<HoldingKey, PositionId>, BookError> {
    let ever = positions::every_member(tx, portfolio.id).await?;
    let mut had: HashMap<TransactionId, Vec<PositionId>> = HashMap::new();
    for (transaction, position, _) in &ever {
        had.entry(*transaction).or_default().push(*position);
    }
    inherit_from_replaced(tx, portfolio, &mut had).await?;
    let issued = positions::issued(tx, portfolio.id).await?;
    let by_id: HashMap<PositionId, &IssuedPosition> =
        issued.iter().map(|position| (position.id, position)).collect();
    let age = |id: &PositionId| by_id.get(id).map_or(i64::MAX, |position| position.issued_seq);

    // Positions in order of time, each with its transactions.
    let memberships = std::mem::take(&mut book.memberships);
    let mut order: Vec<(HoldingKey, u64)> = Vec::new();
    let mut members: HashMap<(HoldingKey, u64), Vec<TransactionId>> = HashMap::new();
    for member in memberships {
        let at = (member.holding, member.cycle);
        if !members.contains_key(&at) {
            order.push(at.clone());
        }
        members.entry(at).or_default().push(member.transaction);
    }
    let mut closed: HashMap<(HoldingKey, u64), _> = std::mem::take(&mut book.closed)
        .into_iter()
        .map(|(key, cycle)| ((key, cycle.ordinal), cycle))
        .collect();

    let mut taken: HashMap<PositionId, (HoldingKey, u64)> = HashMap::new();
    let mut now: Vec<(TransactionId, PositionId)> = Vec::new();
    let mut open = BTreeMap::new();
    let mut last: HashMap<TransactionId, usize> = HashMap::new();
    for (index, at) in order.iter().enumerate() {
        last.extend(members.get(at).into_iter().flatten().map(|transaction| (*transaction, index)));
    }
    for (index, at) in order.iter().enumerate() {
        let own = members.get(at).map(Vec::as_slice).unwrap_or_default();
        let counts = own.iter().enumerate().filter(|(n, t)| *n == 0 || last.get(t) == Some(&index));
        let ids = counts.filter_map(|(_, t)| had.get(t)).flatten();
        let candidates = ids.filter(|id| !taken.contains_key(id));
        let oldest = candidates.min_by_key(|id| age(id)).copied();
        let known = oldest.and_then(|id| by_id.get(&id).copied());
        let id = match known {
            Some(known) => known.id,
            None => PositionId(random.uuid_v7(tx.recorded_at()?)?),
        };
        let mut position = fresh_position(portfolio, id, at);
        position.closed = closed.remove(at);
        if position.closed.is_some() {
            CLOSED.clone_into(&mut position.status);
        } else {
            open.insert(at.0.clone(), id);
        }
        match known {
            Some(known) if stands_for_the_same(known, &position) => {}
            Some(known) => {
                let (issued_seq, created_at) = (known.issued_seq, known.created_at);
                positions::save(tx, IssuedPosition { issued_seq, created_at, ..position }).await?;
            }
            None => drop(positions::save(tx, position).await?),
        }
        taken.insert(id, at.clone());
        now.extend(own.iter().map(|transaction| (*transaction, id)));
    }
    retire_unused(tx, &issued, &taken, &ever, &now).await?;
    record_members(tx, portfolio, &ever, &now).await?;
    Ok(open)
}

/// Whether an id still stands for what it stood for.
fn stands_for_the_same(known: &IssuedPosition, now: &IssuedPosition) -> bool {
    known.holding == now.holding
        && known.ordinal == now.ordinal
        && known.status == now.status
        && known.closed == now.closed
        && known.successor.is_none()
}

/// A replacement inherits the ids of the entry it replaced, through any number of replacements.
async fn inherit_from_replaced(
    tx: &mut Tx,
    portfolio: &Portfolio,
    had: &mut HashMap<TransactionId, Vec<PositionId>>,
) -> Result<(), StorageError> {
    for (new, old) in transactions::replacements(tx, portfolio.id).await? {
        let inherited = had.get(&old).cloned().unwrap_or_default();
        had.entry(new).or_default().extend(inherited);
    }
    Ok(())
}

/// Marks ids that no position has any more, each naming the one that holds its transactions now.
async fn retire_unused(
    tx: &mut Tx,
    issued: &[IssuedPosition],
    taken: &HashMap<PositionId, (HoldingKey, u64)>,
    ever: &[(TransactionId, PositionId, bool)],
    now: &[(TransactionId, PositionId)],
) -> Result<(), StorageError> {
    for position in issued.iter().filter(|position| !taken.contains_key(&position.id)) {
        let own: HashSet<TransactionId> = ever
            .iter()
            .filter(|(_, id, _)| *id == position.id)
            .map(|(transaction, _, _)| *transaction)
            .collect();
        let successor = now.iter().find(|(transaction, _)| own.contains(transaction)).map(|(_, id)| *id);
        if position.status == UNUSED && (successor.is_none() || successor == position.successor) {
            continue;
        }
        let retired = IssuedPosition {
            ordinal: None,
            status: UNUSED.to_owned(),
            successor: successor.or(position.successor),
            closed: None,
            ..position.clone()
        };
        positions::save(tx, retired).await?;
    }
    Ok(())
}

/// Ends memberships that no longer hold and records those that are new.
async fn record_members(
    tx: &mut Tx,
    portfolio: &Portfolio,
    ever: &[(TransactionId, PositionId, bool)],
    now: &[(TransactionId, PositionId)],
) -> Result<(), StorageError> {
    let before: HashSet<(TransactionId, PositionId)> =
        ever.iter().filter(|(_, _, in_force)| *in_force).map(|(t, p, _)| (*t, *p)).collect();
    let after: HashSet<(TransactionId, PositionId)> = now.iter().copied().collect();
    for (transaction, position) in ever.iter().map(|(t, p, _)| (*t, *p)) {
        if before.contains(&(transaction, position)) && !after.contains(&(transaction, position)) {
            positions::end_member(tx, transaction, position).await?;
        }
    }
    let new: Vec<_> = now.iter().filter(|pair| !before.contains(pair)).copied().collect();
    positions::add_members(tx, portfolio.id, &new).await
}
