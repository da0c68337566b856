//! Corporate actions: what happens to an asset once, for everybody who holds it.
//!
//! A newcomer's mistake is to think of a portfolio's day: a day given here is a day of the asset's market.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{ActionId, AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::transaction::{Broken, Transaction, TransactionType};
use crate::named_enum;
use chrono::NaiveDate;
use chrono_tz::Tz;

named_enum! {
    /// Kind of corporate action.
    ActionType {
        /// New units for old, at unchanged total cost.
        Split = "split",
        /// Cash for every unit held just before.
        Dividend = "dividend",
        /// Another name for the same asset.
        SymbolChange = "symbol_change",
    }
}

impl ActionType {
    /// The kind of ledger entry that says the same in one ledger alone.
    pub const fn entry(self) -> Option<TransactionType> {
        match self {
            Self::Split => Some(TransactionType::Split),
            Self::Dividend => Some(TransactionType::Dividend),
            Self::SymbolChange => None,
        }
    }
}

/// One corporate action. Which fields a type uses is [`CorporateAction::check`]'s to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorporateAction {
    /// Its id.
    pub id: ActionId,
    /// The asset it happens to.
    pub asset: AssetKey,
    /// Order among actions of one moment: the sequence of entry, inherited by a replacement.
    pub place: i64,
    /// Kind of action.
    pub kind: ActionType,
    /// The moment it takes effect; of a dividend, the moment before which the units must be held.
    pub executed_at: Moment,
    /// Whether that moment was given as a day of the market.
    pub whole_day: bool,
    /// New units of a split, for `ratio_den` old ones.
    pub ratio_num: Option<Decimal>,
    /// Old units of a split.
    pub ratio_den: Option<Decimal>,
    /// Cash of a dividend for one unit, before tax.
    pub amount: Option<Decimal>,
    /// Tax kept back of it for one unit, not below zero.
    pub tax: Decimal,
    /// Currency of the dividend; the asset's settlement currency when it names none.
    pub currency: Option<Currency>,
    /// The symbol from then on.
    pub new_symbol: Option<String>,
}

impl CorporateAction {
    fn given(&self) -> [(&'static str, bool); 6] {
        [
            ("ratio_num", self.ratio_num.is_some()),
            ("ratio_den", self.ratio_den.is_some()),
            ("amount", self.amount.is_some()),
            ("tax", !self.tax.is_zero()),
            ("currency", self.currency.is_some()),
            ("new_symbol", self.new_symbol.is_some()),
        ]
    }

    /// Every rule the action breaks by itself.
    pub fn check(&self) -> Vec<Broken> {
        let (required, optional): (&[&str], &[&str]) = match self.kind {
            ActionType::Split => (&["ratio_num", "ratio_den"], &[]),
            ActionType::Dividend => (&["amount"], &["tax", "currency"]),
            ActionType::SymbolChange => (&["new_symbol"], &[]),
        };
        let mut broken = Vec::new();
        for (field, given) in self.given() {
            if !given && required.contains(&field) {
                let detail = "is required for this type of action";
                broken.push(Broken { field, code: "required", detail });
            }
            if given && !required.contains(&field) && !optional.contains(&field) {
                let detail = "is not used by this type of action";
                broken.push(Broken { field, code: "not_used", detail });
            }
        }
        let positive =
            [("ratio_num", &self.ratio_num), ("ratio_den", &self.ratio_den), ("amount", &self.amount)];
        for (field, value) in positive {
            if value.as_ref().is_some_and(|value| !value.is_positive()) {
                broken.push(Broken { field, code: "not_positive", detail: "must be greater than zero" });
            }
        }
        if self.tax.is_negative() {
            broken.push(Broken { field: "tax", code: "negative", detail: "must not be below zero" });
        } else if self.amount.as_ref().is_some_and(|amount| amount.is_positive() && self.tax > *amount) {
            broken.push(Broken {
                field: "tax",
                code: "too_large",
                detail: "must not be more than the amount",
            });
        }
        broken
    }

    /// The day it falls on in its market's zone.
    pub fn day(&self, market: Tz) -> Option<NaiveDate> {
        if self.whole_day { self.executed_at.day_begun_in(market) } else { self.executed_at.day_in(market) }
    }

    /// Whether another action on the same asset says what this one says: a split or a change of symbol of the same
    /// day, or a dividend of the same day and amount. Two dividends of different amounts may well fall on one day.
    pub fn repeats(&self, other: &Self, market: Tz) -> bool {
        self.asset == other.asset
            && self.kind == other.kind
            && self.day(market) == other.day(market)
            && (self.kind != ActionType::Dividend
                || (&self.amount, &self.tax, self.currency) == (&other.amount, &other.tax, other.currency))
    }

    /// The action as a row of a holder's ledger; `None` for one that moves neither units nor cash.
    pub fn as_entry(&self) -> Option<Transaction> {
        let kind = self.kind.entry()?;
        let mut t = Transaction::bare(TransactionId(self.id.0), kind, self.executed_at);
        t.asset_level = true;
        t.place = self.place;
        t.whole_day = self.whole_day;
        t.asset = Some(self.asset);
        t.ratio_num.clone_from(&self.ratio_num);
        t.ratio_den.clone_from(&self.ratio_den);
        t.amount.clone_from(&self.amount);
        t.tax.clone_from(&self.tax);
        t.currency = self.currency;
        Some(t)
    }
}

#[cfg(test)]
mod tests;
