//! How the columns and values of a foreign ledger stand for ours.

use crate::domain::transaction::TransactionType;
use crate::named_enum;
use chrono_tz::Tz;
use std::collections::BTreeMap;

named_enum! {
    /// A field of a ledger entry, by its name on the wire.
    LedgerField {
        /// The id the row had where it comes from.
        Id = "id",
        /// Kind of entry.
        Type = "type",
        /// When.
        ExecutedAt = "executed_at",
        /// Account.
        Account = "account",
        /// Receiving account.
        ToAccount = "to_account",
        /// Asset.
        Symbol = "symbol",
        /// Units.
        Quantity = "quantity",
        /// Money per unit.
        Price = "price",
        /// Money before costs.
        GrossTotal = "gross_total",
        /// Fee.
        Fee = "fee",
        /// Tax.
        Tax = "tax",
        /// Commission taken in the asset.
        FeeAssetQuantity = "fee_asset_quantity",
        /// Currency of the money.
        Currency = "currency",
        /// Base currency per unit of that.
        FxRate = "fx_rate",
        /// Money moved.
        Amount = "amount",
        /// Money received.
        ToAmount = "to_amount",
        /// Its currency.
        ToCurrency = "to_currency",
        /// New units for one old.
        Ratio = "ratio",
        /// New units.
        RatioNum = "ratio_num",
        /// Old units.
        RatioDen = "ratio_den",
        /// Lots a disposal names.
        Lots = "lots",
        /// Whether a sale may open a short position.
        OpensShort = "opens_short",
        /// The sender's own id.
        ExternalId = "external_id",
        /// Free text.
        Note = "note",
        /// Free JSON object.
        Metadata = "metadata",
    }
}

/// How a field is written in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Json,
    FreeText,
    Name,
    Flag,
    Time,
}

impl LedgerField {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Quantity
            | Self::Price
            | Self::GrossTotal
            | Self::Fee
            | Self::Tax
            | Self::FeeAssetQuantity
            | Self::FxRate
            | Self::Amount
            | Self::ToAmount
            | Self::Ratio
            | Self::RatioNum
            | Self::RatioDen => Kind::Number,
            Self::Lots | Self::Metadata => Kind::Json,
            Self::Account | Self::ToAccount | Self::ExternalId | Self::Note | Self::Id | Self::Symbol => {
                Kind::FreeText
            }
            Self::Type | Self::Currency | Self::ToCurrency => Kind::Name,
            Self::OpensShort => Kind::Flag,
            Self::ExecutedAt => Kind::Time,
        }
    }

    /// Other names of its column, in lower case without blanks and signs.
    pub(super) const fn synonyms(self) -> &'static [&'static str] {
        match self {
            Self::Type => &["action", "side", "transactiontype", "activity", "activitytype"],
            Self::ExecutedAt => &[
                "date",
                "datetime",
                "time",
                "timestamp",
                "tradedate",
                "transactiondate",
                "executiondate",
                "executiontime",
            ],
            Self::Account => &["accountname", "accountid"],
            Self::Symbol => &["ticker", "code", "asset", "instrument"],
            Self::Quantity => &["qty", "units", "shares", "numberofshares"],
            Self::Price => &["unitprice", "pricepershare", "shareprice"],
            Self::GrossTotal => &["gross", "grossamount"],
            Self::Fee => &["fees", "commission", "commissions"],
            Self::Tax => &["taxes", "withholdingtax"],
            Self::Currency => &["ccy"],
            Self::FxRate => &["exchangerate"],
            Self::ExternalId => {
                &["transactionid", "tradeid", "orderid", "executionid", "reference", "referenceid"]
            }
            Self::Note => &["notes", "comment", "comments", "description", "memo"],
            Self::Id
            | Self::ToAccount
            | Self::FeeAssetQuantity
            | Self::Amount
            | Self::ToAmount
            | Self::ToCurrency
            | Self::Ratio
            | Self::RatioNum
            | Self::RatioDen
            | Self::Lots
            | Self::OpensShort
            | Self::Metadata => &[],
        }
    }

    /// Every field.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.iter().filter_map(|name| Self::from_name(name))
    }
}

/// What of a foreign file stands for what of ours. The default leaves everything to the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Columns of a field, joined by a blank; none leaves the field out although a column has its name.
    pub columns: BTreeMap<LedgerField, Vec<String>>,
    /// The value of a field in every row.
    pub constants: BTreeMap<LedgerField, String>,
    /// What values of a field stand for; `None` is no value, of `type` that the row is passed over.
    pub values: BTreeMap<LedgerField, BTreeMap<String, Option<String>>>,
    /// Fields that entries of a type do not take although the file has a value.
    pub leave_out: BTreeMap<TransactionType, Vec<LedgerField>>,
    /// How times are written, in the notation of strftime.
    pub date_format: Option<String>,
    /// The zone of times without one.
    pub time_zone: Option<Tz>,
    /// Whether a comma separates decimals.
    pub decimal_comma: bool,
    /// What separates groups of three digits.
    pub thousands: Option<char>,
    /// Whether the sign of a quantity or amount tells which way it went.
    pub signed: bool,
    /// What separates cells.
    pub delimiter: Option<u8>,
    /// Whether the file begins with the newest row; `None` looks at its times.
    pub newest_first: Option<bool>,
}

impl Mapping {
    /// Whether it says anything that only a file with columns can have.
    pub(super) fn is_about_columns(&self) -> bool {
        let other = Self { values: self.values.clone(), newest_first: self.newest_first, ..Self::default() };
        *self != other
    }

    /// What a value stands for: `None` when it is mapped to nothing.
    pub(super) fn value(&self, field: LedgerField, text: &str) -> Option<String> {
        match self.values.get(&field).and_then(|values| values.get(text)) {
            Some(mapped) => mapped.clone(),
            None => Some(text.to_owned()),
        }
    }
}

/// Whether a text is a time format that can be read by.
pub fn is_date_format(format: &str) -> bool {
    !format.is_empty()
        && chrono::format::StrftimeItems::new(format).all(|item| !matches!(item, chrono::format::Item::Error))
}
