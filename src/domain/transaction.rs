//! Ledger entries: what they may say, and the rules an entry keeps on its own.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::named_enum;
use serde::{Deserialize, Serialize};

named_enum! {
    /// Kind of ledger entry.
    TransactionType {
        /// Units bought for cash.
        Buy = "buy",
        /// Units sold for cash.
        Sell = "sell",
        /// Cash in from outside.
        Deposit = "deposit",
        /// Cash out to outside.
        Withdrawal = "withdrawal",
        /// Income of an asset.
        Dividend = "dividend",
        /// Income of cash; below zero, interest charged.
        Interest = "interest",
        /// A cost.
        Fee = "fee",
        /// A tax.
        Tax = "tax",
        /// New units for old, at unchanged total cost.
        Split = "split",
        /// Units in from outside, at the cost they bring.
        TransferIn = "transfer_in",
        /// Units out to outside, at the cost they take.
        TransferOut = "transfer_out",
        /// Units or cash from one account to another; lots keep cost and date.
        Transfer = "transfer",
        /// One currency for another.
        Fx = "fx",
    }
}

/// A lot a disposal names under specific identification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotPick {
    /// The transaction that opened the lot.
    pub transaction: TransactionId,
    /// Units taken from it.
    pub quantity: Decimal,
}

/// One ledger entry. Which fields a type uses is [`Transaction::check`]'s to say; money is in `currency`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its id.
    pub id: TransactionId,
    /// Order among entries of one moment: the sequence of entry, inherited by a replacement.
    pub place: i64,
    /// Kind of entry.
    pub kind: TransactionType,
    /// The moment it is about.
    pub executed_at: Moment,
    /// Whether that moment was given as a day.
    pub whole_day: bool,
    /// Account it touches.
    pub account: String,
    /// Receiving account of a `transfer`.
    pub to_account: Option<String>,
    /// Asset it touches.
    pub asset: Option<AssetKey>,
    /// Units, above zero.
    pub quantity: Option<Decimal>,
    /// Money per unit.
    pub price: Option<Decimal>,
    /// Used instead of quantity x price; before fee and tax.
    pub gross_total: Option<Decimal>,
    /// Fee, not below zero.
    pub fee: Decimal,
    /// Tax, not below zero.
    pub tax: Decimal,
    /// Commission taken in the asset itself.
    pub fee_asset_quantity: Decimal,
    /// Currency of its money.
    pub currency: Option<Currency>,
    /// Base currency per unit of `currency`, agreed on this trade; cash then moves in base currency.
    pub fx_rate: Option<Decimal>,
    /// Money moved.
    pub amount: Option<Decimal>,
    /// Money received by an `fx`.
    pub to_amount: Option<Decimal>,
    /// Currency received by an `fx`.
    pub to_currency: Option<Currency>,
    /// New units of a split, for `ratio_den` old ones.
    pub ratio_num: Option<Decimal>,
    /// Old units of a split.
    pub ratio_den: Option<Decimal>,
    /// Lots a disposal names: a sale, a delivery, or a purchase that covers a short position.
    pub lots: Vec<LotPick>,
    /// Whether it may open a short position although the portfolio rejects overselling.
    pub opens_short: bool,
    /// Whether it stands for a corporate action, which is recorded on the asset for every holder: then `id` is the
    /// action's, `amount` and `tax` of a dividend are per unit held, and `account` says nothing.
    pub asset_level: bool,
}

/// A rule an entry breaks: the field, a stable code, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Name of the field on the wire.
    pub field: &'static str,
    /// Stable code of the rule.
    pub code: &'static str,
    /// The rule, for people.
    pub detail: &'static str,
}

/// Fields a type of entry takes beside the common ones, and which of them it cannot do without.
struct Shape {
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const fn shape(kind: TransactionType) -> Shape {
    use TransactionType as T;
    match kind {
        T::Buy | T::Sell => Shape {
            required: &["asset", "quantity"],
            optional: &[
                "price",
                "gross_total",
                "fee",
                "tax",
                "fee_asset_quantity",
                "currency",
                "fx_rate",
                "lots",
            ],
        },
        T::Deposit | T::Withdrawal => {
            Shape { required: &["amount"], optional: &["currency", "fee", "fx_rate"] }
        }
        T::Dividend => {
            Shape { required: &["asset", "amount"], optional: &["currency", "fee", "tax", "fx_rate"] }
        }
        T::Interest => Shape { required: &["amount"], optional: &["currency", "fee", "tax", "fx_rate"] },
        T::Fee | T::Tax => Shape { required: &["amount"], optional: &["asset", "currency", "fx_rate"] },
        T::Split => Shape { required: &["asset", "ratio_num", "ratio_den"], optional: &[] },
        T::TransferIn => Shape {
            required: &["asset", "quantity"],
            optional: &["price", "gross_total", "fee", "tax", "currency", "fx_rate"],
        },
        T::TransferOut => Shape {
            required: &["asset", "quantity"],
            optional: &["fee", "tax", "currency", "fx_rate", "lots"],
        },
        T::Transfer => Shape {
            required: &["to_account"],
            optional: &["asset", "quantity", "amount", "currency", "fee", "lots"],
        },
        T::Fx => Shape { required: &["amount", "currency", "to_amount", "to_currency"], optional: &["fee"] },
    }
}

impl TransactionType {
    /// Whether entries of this type take a field, by its name in the ledger (`asset`, `quantity`, `currency`, ...).
    pub fn takes(self, field: &str) -> bool {
        let shape = shape(self);
        shape.required.contains(&field) || shape.optional.contains(&field)
    }
}

impl Transaction {
    fn given(&self) -> [(&'static str, bool); 16] {
        [
            ("asset", self.asset.is_some()),
            ("quantity", self.quantity.is_some()),
            ("price", self.price.is_some()),
            ("gross_total", self.gross_total.is_some()),
            ("fee", !self.fee.is_zero()),
            ("tax", !self.tax.is_zero()),
            ("fee_asset_quantity", !self.fee_asset_quantity.is_zero()),
            ("currency", self.currency.is_some()),
            ("fx_rate", self.fx_rate.is_some()),
            ("amount", self.amount.is_some()),
            ("to_amount", self.to_amount.is_some()),
            ("to_currency", self.to_currency.is_some()),
            ("ratio_num", self.ratio_num.is_some()),
            ("ratio_den", self.ratio_den.is_some()),
            ("to_account", self.to_account.is_some()),
            ("lots", !self.lots.is_empty()),
        ]
    }

    /// Where it stands in the fold: by moment, then by place. A split given as a day comes before every other entry of
    /// that day's first moment.
    pub fn order(&self) -> (Moment, bool, i64) {
        let day_split = self.whole_day && self.kind == TransactionType::Split;
        (self.executed_at, !day_split, self.place)
    }

    /// Every rule the entry breaks by itself, without looking at the ledger.
    pub fn check(&self, allows_negative_price: bool) -> Vec<Broken> {
        let mut broken = Vec::new();
        let shape = shape(self.kind);
        for (field, given) in self.given() {
            if !given && shape.required.contains(&field) {
                broken.push(Broken {
                    field,
                    code: "required",
                    detail: "is required for this type of transaction",
                });
            }
            if given && !shape.required.contains(&field) && !shape.optional.contains(&field) {
                broken.push(Broken {
                    field,
                    code: "not_used",
                    detail: "is not used by this type of transaction",
                });
            }
        }
        self.check_numbers(allows_negative_price, &mut broken);
        self.check_combinations(&mut broken);
        broken
    }

    fn check_numbers(&self, allows_negative_price: bool, broken: &mut Vec<Broken>) {
        let positive = [
            ("quantity", self.quantity.as_ref()),
            ("to_amount", self.to_amount.as_ref()),
            ("ratio_num", self.ratio_num.as_ref()),
            ("ratio_den", self.ratio_den.as_ref()),
            ("fx_rate", self.fx_rate.as_ref()),
        ];
        for (field, value) in positive {
            if value.is_some_and(|v| !v.is_positive()) {
                broken.push(Broken { field, code: "not_positive", detail: "must be greater than zero" });
            }
        }
        let not_negative =
            [("fee", &self.fee), ("tax", &self.tax), ("fee_asset_quantity", &self.fee_asset_quantity)];
        for (field, value) in not_negative {
            if value.is_negative() {
                broken.push(Broken { field, code: "negative", detail: "must not be below zero" });
            }
        }
        for (field, value) in [("price", self.price.as_ref()), ("gross_total", self.gross_total.as_ref())] {
            if !allows_negative_price && value.is_some_and(Decimal::is_negative) {
                broken.push(Broken {
                    field,
                    code: "negative",
                    detail: "must not be below zero for this asset",
                });
            }
        }
        let signed = matches!(self.kind, TransactionType::Dividend | TransactionType::Interest);
        let bad_amount = |amount: &Decimal| if signed { amount.is_zero() } else { !amount.is_positive() };
        if self.amount.as_ref().is_some_and(bad_amount) {
            let detail = if signed { "must not be zero" } else { "must be greater than zero" };
            broken.push(Broken { field: "amount", code: "not_positive", detail });
        }
        if self.lots.iter().any(|pick| !pick.quantity.is_positive()) {
            broken.push(Broken {
                field: "lots",
                code: "not_positive",
                detail: "each quantity must be greater than zero",
            });
        }
    }

    fn check_combinations(&self, broken: &mut Vec<Broken>) {
        use TransactionType as T;
        if matches!(self.kind, T::Buy | T::Sell | T::TransferIn) {
            match (&self.price, &self.gross_total) {
                (None, None) => broken.push(Broken {
                    field: "price",
                    code: "required",
                    detail: "is required, or gross_total in its place",
                }),
                (Some(_), Some(_)) => broken.push(Broken {
                    field: "gross_total",
                    code: "not_used",
                    detail: "is used in place of price; give one of the two",
                }),
                _ => {}
            }
        }
        if self.kind == T::Buy && self.quantity.as_ref().is_some_and(|q| *q <= self.fee_asset_quantity) {
            broken.push(Broken {
                field: "fee_asset_quantity",
                code: "too_large",
                detail: "must be less than the quantity bought",
            });
        }
        if self.kind == T::Transfer {
            let units = self.asset.is_some() && self.quantity.is_some() && self.amount.is_none();
            let cash = self.asset.is_none() && self.quantity.is_none() && self.amount.is_some();
            if !units && !cash {
                broken.push(Broken {
                    field: "asset",
                    code: "required",
                    detail: "a transfer moves either an asset and a quantity, or an amount",
                });
            }
            if self.to_account.as_ref() == Some(&self.account) {
                broken.push(Broken {
                    field: "to_account",
                    code: "same_account",
                    detail: "must differ from account",
                });
            }
        }
        if self.kind == T::Fx && self.to_currency == self.currency {
            broken.push(Broken {
                field: "to_currency",
                code: "same_currency",
                detail: "must differ from currency",
            });
        }
    }
}

/// An entry with every field unset: what builders start from.
impl Transaction {
    /// A bare entry of one kind in the main account.
    pub fn bare(id: TransactionId, kind: TransactionType, executed_at: Moment) -> Self {
        Self {
            id,
            place: 0,
            kind,
            executed_at,
            whole_day: false,
            account: super::portfolio::MAIN_ACCOUNT.to_owned(),
            to_account: None,
            asset: None,
            quantity: None,
            price: None,
            gross_total: None,
            fee: Decimal::ZERO,
            tax: Decimal::ZERO,
            fee_asset_quantity: Decimal::ZERO,
            currency: None,
            fx_rate: None,
            amount: None,
            to_amount: None,
            to_currency: None,
            ratio_num: None,
            ratio_den: None,
            lots: Vec::new(),
            opens_short: false,
            asset_level: false,
        }
    }
}

#[cfg(test)]
mod tests;
