//! Which id a position has, through everything that changes the past.

use super::BookError;
use crate::domain::ids::{AssetKey, PositionId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{Book, HoldingKey, Memberships};
use crate::domain::pnl::holding::Holding;
use crate::domain::portfolio::Portfolio;
use crate::random::Random;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::figures::KeptBook;
use crate::storage::positions::{CLOSED, IssuedPosition, OPEN, UNUSED};
use crate::storage::{positions, transactions};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Gives ids to positions that opened, and closes those that ended, after entries that came last.
pub(super) async fn advance_positions(
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

/// What is known of ids before the past changed.
pub(super) struct Past {
    /// Ids issued, in order.
    issued: Vec<IssuedPosition>,
    /// Memberships ever recorded, by age of the id.
    ever: Vec<(TransactionId, PositionId, bool)>,
    /// How holdings stood where the fold began.
    began: BTreeMap<HoldingKey, Began>,
}

/// How a holding stood where the fold began.
struct Began {
    /// Positions it had had.
    cycles: u64,
    /// The one that was open, and since when.
    open: Option<(u64, Moment)>,
}

impl Past {
    /// All that is known: the ledger is folded from its beginning.
    pub(super) async fn whole(tx: &mut Tx, portfolio: &Portfolio) -> Result<Self, StorageError> {
        Ok(Self {
            issued: positions::issued(tx, portfolio.id).await?,
            ever: positions::every_member(tx, portfolio.id).await?,
            began: BTreeMap::new(),
        })
    }

    /// What is known of some assets, whose rows are folded onto `began`; `rows` are those that are folded, or were.
    pub(super) async fn since(
        tx: &mut Tx,
        portfolio: &Portfolio,
        assets: &[AssetKey],
        began: &Book,
        rows: &[TransactionId],
    ) -> Result<Self, StorageError> {
        let stood = |(key, holding): (&HoldingKey, &Holding)| {
            let open = holding.cycle.as_ref().map(|cycle| (cycle.ordinal, cycle.opened_at));
            (key.clone(), Began { cycles: holding.cycles, open })
        };
        Ok(Self {
            issued: positions::issued_for(tx, portfolio.id, assets).await?,
            ever: positions::every_member_among(tx, portfolio.id, rows).await?,
            began: began.holdings.iter().map(stood).collect(),
        })
    }

    /// Whether a position had ended where the fold began: nothing about it changes.
    fn ended_before(&self, position: &IssuedPosition) -> bool {
        let ordinal = position.ordinal.and_then(|ordinal| u64::try_from(ordinal).ok());
        let (Some(ordinal), Some(began)) = (ordinal, self.began.get(&position.holding)) else { return false };
        ordinal <= began.cycles && began.open.is_none_or(|(open, _)| open != ordinal)
    }

    /// Positions that were open where the fold began, oldest first.
    fn open_before(&self) -> Vec<(HoldingKey, u64)> {
        let mut open: Vec<(Moment, HoldingKey, u64)> = self
            .began
            .iter()
            .filter_map(|(key, began)| began.open.map(|(ordinal, at)| (at, key.clone(), ordinal)))
            .collect();
        open.sort();
        open.into_iter().map(|(_, key, ordinal)| (key, ordinal)).collect()
    }
}

/// Decides which id each position has after the past changed: in order of time, each keeps the oldest id that one
/// of its transactions ever had and no other position took, else it gets a new one. An id left over names the
/// position that holds its transactions now.
///
/// A transaction that takes part in several positions, because it crosses zero or moves units between accounts,
/// counts for the last of them only, and for one it opens: else the earlier one would take the older id of the later
/// one, and the two would swap ids at each fold.
///
/// A position that was open where the fold began keeps what its earlier transactions gave it: its own id counts as one
/// that its transactions had.
pub(super) async fn reassign_positions(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    book: &mut Book,
    past: &Past,
) -> Result<BTreeMap<HoldingKey, PositionId>, BookError> {
    let mut had: HashMap<TransactionId, Vec<PositionId>> = HashMap::new();
    for (transaction, position, _) in &past.ever {
        had.entry(*transaction).or_default().push(*position);
    }
    inherit_from_replaced(tx, portfolio, &mut had).await?;
    let by_id: HashMap<PositionId, &IssuedPosition> =
        past.issued.iter().map(|position| (position.id, position)).collect();
    let age = |id: &PositionId| by_id.get(id).map_or(i64::MAX, |position| position.issued_seq);
    let standing = |at: &(HoldingKey, u64)| {
        let is_it = |p: &&IssuedPosition| p.holding == at.0 && p.ordinal == i64::try_from(at.1).ok();
        past.issued.iter().find(is_it).map(|position| position.id)
    };

    let mut order = past.open_before();
    let continued = order.len();
    let members = in_order(std::mem::take(&mut book.memberships), &mut order);
    let mut closed: HashMap<(HoldingKey, u64), _> = std::mem::take(&mut book.closed)
        .into_iter()
        .map(|(key, cycle)| ((key, cycle.ordinal), cycle))
        .collect();

    let ended = past.issued.iter().filter(|position| past.ended_before(position));
    let mut taken: HashSet<PositionId> = ended.map(|position| position.id).collect();
    let mut now: Vec<(TransactionId, PositionId)> = Vec::new();
    let mut open = BTreeMap::new();
    let mut last: HashMap<TransactionId, usize> = HashMap::new();
    for (index, at) in order.iter().enumerate() {
        last.extend(members.get(at).into_iter().flatten().map(|transaction| (*transaction, index)));
    }
    for (index, at) in order.iter().enumerate() {
        let own = members.get(at).map(Vec::as_slice).unwrap_or_default();
        let begins = index >= continued;
        let counts =
            own.iter().enumerate().filter(|(n, t)| (begins && *n == 0) || last.get(t) == Some(&index));
        let ids = counts.filter_map(|(_, t)| had.get(t)).flatten().copied();
        let ids = ids.chain(standing(at).filter(|_| !begins));
        let oldest = ids.filter(|id| !taken.contains(id)).min_by_key(age);
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
        taken.insert(id);
        now.extend(own.iter().map(|transaction| (*transaction, id)));
    }
    retire_unused(tx, past, &taken, &now).await?;
    record_members(tx, portfolio, &past.ever, &now).await?;
    Ok(open)
}

/// The transactions of each position. Positions not in `order` yet are added to it in order of time.
fn in_order(
    memberships: Memberships,
    order: &mut Vec<(HoldingKey, u64)>,
) -> HashMap<(HoldingKey, u64), Vec<TransactionId>> {
    let mut members: HashMap<(HoldingKey, u64), Vec<TransactionId>> =
        order.iter().map(|at| (at.clone(), Vec::new())).collect();
    for member in memberships {
        let at = (member.holding, member.cycle);
        if !members.contains_key(&at) {
            order.push(at.clone());
        }
        members.entry(at).or_default().push(member.transaction);
    }
    members
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
    past: &Past,
    taken: &HashSet<PositionId>,
    now: &[(TransactionId, PositionId)],
) -> Result<(), StorageError> {
    let mut had: HashMap<PositionId, HashSet<TransactionId>> = HashMap::new();
    for (transaction, position, _) in past.ever.iter().filter(|(_, id, _)| !taken.contains(id)) {
        had.entry(*position).or_default().insert(*transaction);
    }
    for position in past.issued.iter().filter(|position| !taken.contains(&position.id)) {
        let own = had.get(&position.id);
        let holds = |transaction: &TransactionId| own.is_some_and(|own| own.contains(transaction));
        let successor = now.iter().find(|(transaction, _)| holds(transaction)).map(|(_, id)| *id);
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
