//! Which transactions took part in which positions.

use super::HoldingKey;
use crate::domain::ids::TransactionId;
use std::collections::BTreeMap;

/// Which transaction took part in which position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The holding.
    pub holding: HoldingKey,
    /// The position's ordinal in it.
    pub cycle: u64,
    /// The transaction.
    pub transaction: TransactionId,
}

/// One position with its transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Members {
    holding: HoldingKey,
    cycle: u64,
    transactions: Vec<TransactionId>,
}

/// The positions of a fold, each with its transactions: positions in the order in which they began, transactions in
/// the order of the fold.
#[derive(Debug, Clone, Default)]
pub struct Memberships {
    positions: Vec<Members>,
    /// Where the newest position of each holding stands among them.
    newest: BTreeMap<HoldingKey, usize>,
}

impl Memberships {
    /// Adds transactions of a position.
    pub fn note(
        &mut self,
        holding: &HoldingKey,
        cycle: u64,
        transactions: impl IntoIterator<Item = TransactionId>,
    ) {
        let newest = self.newest.get(holding).and_then(|index| self.positions.get_mut(*index));
        if let Some(newest) = newest.filter(|newest| newest.cycle == cycle) {
            newest.transactions.extend(transactions);
            return;
        }
        self.newest.insert(holding.clone(), self.positions.len());
        let transactions = transactions.into_iter().collect();
        self.positions.push(Members { holding: holding.clone(), cycle, transactions });
    }

    /// Moves everything of another fold behind what is here.
    pub fn append(&mut self, other: &mut Self) {
        for Members { holding, cycle, transactions } in std::mem::take(other).positions {
            self.note(&holding, cycle, transactions);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.positions.iter().map(|position| position.transactions.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl PartialEq for Memberships {
    fn eq(&self, other: &Self) -> bool {
        self.positions == other.positions
    }
}

impl Eq for Memberships {}

impl IntoIterator for Memberships {
    type Item = Membership;
    type IntoIter = Box<dyn Iterator<Item = Membership> + Send>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.positions.into_iter().flat_map(|Members { holding, cycle, transactions }| {
            let of = move |transaction| Membership { holding: holding.clone(), cycle, transaction };
            transactions.into_iter().map(of)
        }))
    }
}
