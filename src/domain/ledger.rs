//! The order of a ledger, and the corporate actions of its assets in it.
//!
//! What is given as a day is compared with a split or dividend given as a day by date: the action comes first on its
//! day. So an entry of that day which begins earlier, because the portfolio's zone is east of the market's, is folded
//! right after the action. Everything else goes by moment, then by place; at one moment an action comes first, a
//! dividend before a split, because it is paid on the units held just before.

use crate::domain::corporate_action::CorporateAction;
use crate::domain::ids::AssetKey;
use crate::domain::moment::{HOUR, Moment};
use crate::domain::transaction::{Transaction, TransactionType};
use chrono::NaiveDate;
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};

/// Zones in which the days of a ledger are counted.
#[derive(Debug, Clone, Copy)]
pub struct Zones<'a> {
    /// The portfolio's: the days of its entries, splits apart.
    pub portfolio: Tz,
    /// The zones of the assets' markets: the days of splits and of corporate actions; UTC where there is none.
    pub markets: &'a BTreeMap<AssetKey, Tz>,
}

impl Zones<'_> {
    fn market(&self, asset: Option<AssetKey>) -> Tz {
        asset.and_then(|asset| self.markets.get(&asset)).copied().unwrap_or(Tz::UTC)
    }

    /// The day of a ledger row: the one it was given as, else the one its moment falls on in the market's zone.
    pub fn day_of(&self, t: &Transaction) -> Option<NaiveDate> {
        let market = self.market(t.asset);
        if !t.whole_day {
            t.executed_at.day_in(market)
        } else if t.asset_level || t.kind == TransactionType::Split {
            t.executed_at.day_begun_in(market)
        } else {
            t.executed_at.day_in(self.portfolio)
        }
    }
}

/// Whether an entry may stand for a corporate action in one ledger.
pub const fn stands_for_action(kind: TransactionType) -> bool {
    matches!(kind, TransactionType::Split | TransactionType::Dividend)
}

/// A moment before which the entry surely does not stand in any ledger that holds only earlier ones: entries of one day
/// come after a split of that day, in whatever zone it begins.
pub fn not_before(t: &Transaction) -> Moment {
    let day_split = t.whole_day && t.kind == TransactionType::Split;
    if day_split { t.executed_at.plus(-27 * HOUR) } else { t.executed_at }
}

/// A moment before which nothing about its asset changes when the entry comes or goes: the action it stands for, on the
/// same day of the market, begins to count when it goes.
pub fn changes_from(t: &Transaction) -> Moment {
    if stands_for_action(t.kind) { t.executed_at.plus(-27 * HOUR) } else { not_before(t) }
}

/// Lays the actions of a ledger's assets between its entries and puts all of them in order. A ledger with a split or
/// dividend of its own for an asset and day keeps its own: the asset's actions of that type and day are left out.
pub fn merge(entries: Vec<Transaction>, actions: &[CorporateAction], zones: Zones<'_>) -> Vec<Transaction> {
    let own: BTreeSet<_> = entries
        .iter()
        .filter(|t| t.asset.is_some() && stands_for_action(t.kind))
        .map(|t| (t.asset, t.kind, zones.day_of(t)))
        .collect();
    let mut ledger = entries;
    let rows = actions.iter().filter_map(CorporateAction::as_entry);
    ledger.extend(rows.filter(|t| !own.contains(&(t.asset, t.kind, zones.day_of(t)))));
    let mut days: BTreeMap<AssetKey, Vec<(NaiveDate, Moment)>> = BTreeMap::new();
    for t in ledger.iter().filter(|t| t.whole_day && rank(t) < ENTRY) {
        if let (Some(asset), Some(day)) = (t.asset, zones.day_of(t)) {
            days.entry(asset).or_default().push((day, t.executed_at));
        }
    }
    ledger.sort_by_cached_key(|t| (stands_at(t, &days, zones), rank(t), t.place));
    ledger
}

/// Rank of an ordinary entry among rows of one moment.
const ENTRY: u8 = 2;

fn rank(t: &Transaction) -> u8 {
    let is_split = t.kind == TransactionType::Split;
    if t.asset_level && !is_split {
        0
    } else if is_split && (t.asset_level || t.whole_day) {
        1
    } else {
        ENTRY
    }
}

/// The moment a row is folded at: its own, or that of an action of its day, or of a day before, that begins later.
fn stands_at(
    t: &Transaction,
    days: &BTreeMap<AssetKey, Vec<(NaiveDate, Moment)>>,
    zones: Zones<'_>,
) -> Moment {
    let actions = t.asset.filter(|_| t.whole_day && rank(t) == ENTRY).and_then(|asset| days.get(&asset));
    let (Some(actions), Some(day)) = (actions, zones.day_of(t)) else { return t.executed_at };
    let begun = actions.iter().filter(|(of, _)| *of <= day).map(|(_, at)| *at);
    begun.fold(t.executed_at, Moment::max)
}

#[cfg(test)]
mod tests;
