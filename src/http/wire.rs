//! How values look on the wire, and the schemas that say so.

use crate::domain::currency::Currency;
use crate::domain::decimal::{Decimal, Plain};
use crate::domain::ids::{
    ActionId, AssetId, BatchId, MarketId, PortfolioId, PositionId, PostId, TransactionId,
};
use crate::domain::moment::Moment;
use serde::{Serialize, Serializer};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A moment as RFC 3339 UTC with six digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Moment);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A computed figure: plain notation, without trailing zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount(pub Decimal);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.small().and_then(|(mantissa, scale)| Plain::trimmed(mantissa, scale)) {
            Some(plain) => serializer.serialize_str(plain.text()),
            None => serializer.collect_str(&self.0.normalized()),
        }
    }
}

/// A figure that may be unknown.
pub fn amount(value: Option<&Decimal>) -> Option<Amount> {
    value.cloned().map(Amount)
}

/// A free JSON object, kept and given back to the letter.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Metadata(pub Box<RawValue>);

impl Metadata {
    /// Stored text as JSON; text that is none becomes an empty object.
    pub fn of(text: &str) -> Self {
        Self(RawValue::from_string(text.to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned()))
    }
}

fn text(pattern: &str, example: &str, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some(pattern))
        .examples([json!(example)])
        .description(Some(description))
        .build()
        .into()
}

const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
const DECIMAL: &str = "^-?[0-9]+(\\.[0-9]+)?$";

macro_rules! schemas {
    ($($name:ty, $called:literal => $schema:expr;)+) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema
            }
        }
        impl ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed($called)
            }
        }
    )+};
}

schemas! {
    Time, "Time" => text(
        "^-?[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z$",
        "2026-01-31T09:30:00.000000Z",
        "RFC 3339 in UTC with six digits.",
    );
    Amount, "Amount" => text(DECIMAL, "1234.5", "An exact computed decimal in plain notation.");
    Decimal, "Decimal" => text(DECIMAL, "2050.10", "An exact decimal in plain notation, digits as they were given.");
    Currency, "Currency" => text("^[A-Za-z0-9]{2,10}$", "USD", "ISO 4217, a metal, a crypto unit or a minor unit such as GBp.");
    MarketId, "MarketId" => text(UUID, "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11", "A UUID.");
    AssetId, "AssetId" => text(UUID, "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e12", "A UUID.");
    BatchId, "BatchId" => text(UUID, "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e17", "A UUIDv7.");
    PortfolioId, "PortfolioId" => text(UUID, "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e13", "A UUIDv7.");
    PositionId, "PositionId" => text(UUID, "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e14", "A UUIDv7.");
    PostId, "PostId" => text(UUID, "0198c1d2-7c7a-8b1e-9a55-3f2b8d0c4e18", "A UUID.");
    ActionId, "ActionId" => text(UUID, "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e16", "A UUIDv7.");
    TransactionId, "TransactionId" => text(UUID, "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e15", "A UUIDv7.");
    Metadata, "Metadata" => ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Object))
        .examples([json!({})])
        .description(Some("A free JSON object, given back to the letter."))
        .build()
        .into();
}

macro_rules! enum_schemas {
    ($($name:path, $called:literal;)+) => {$(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let first = <$name>::NAMES.first().copied().unwrap_or_default();
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .enum_values(Some(<$name>::NAMES.iter().copied()))
                    .examples([json!(first)])
                    .build()
                    .into()
            }
        }
        impl ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed($called)
            }
        }
    )+};
}

enum_schemas! {
    crate::domain::market::MarketType, "MarketType";
    crate::domain::market::MarketStatus, "MarketStatus";
    crate::domain::asset::AssetType, "AssetType";
    crate::domain::asset::AssetStatus, "AssetStatus";
    crate::domain::batch::BatchState, "BatchState";
    crate::domain::access::UserStatus, "UserStatus";
    crate::domain::outbox::PostState, "PostState";
    crate::domain::portfolio::PortfolioStatus, "PortfolioStatus";
    crate::http::history::Every, "HistoryInterval";
    crate::domain::portfolio::CostBasis, "CostBasis";
    crate::domain::portfolio::LotScope, "LotScope";
    crate::domain::portfolio::FeeMode, "FeeMode";
    crate::domain::portfolio::TaxMode, "TaxMode";
    crate::domain::portfolio::ShortMode, "ShortMode";
    crate::domain::transaction::TransactionType, "TransactionType";
    crate::domain::corporate_action::ActionType, "ActionType";
    crate::domain::adjustment::Adjusted, "Adjusted";
    crate::domain::pnl::holding::Side, "PositionType";
    crate::domain::pnl::trace::DisposalKind, "DisposalKind";
    crate::domain::price::Outcome, "PriceOutcome";
    crate::http::positions::PositionStatus, "PositionStatus";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_written_plain_and_without_trailing_zeros() {
        for (text, shown) in [
            ("0", "0"),
            ("0.00", "0"),
            ("-0.000", "0"),
            ("5", "5"),
            ("100", "100"),
            ("100.50", "100.5"),
            ("-0.05", "-0.05"),
            ("0.1000", "0.1"),
            ("-12.0", "-12"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775808.10", "9223372036854775808.1"),
            (
                "0.0000000000000000000000000000000000000000000120",
                "0.000000000000000000000000000000000000000000012",
            ),
            ("1234567890123456789012345678901234567890.500", "1234567890123456789012345678901234567890.5"),
        ] {
            let figure = Amount(text.parse().unwrap());
            assert_eq!(serde_json::to_string(&figure).unwrap(), format!("\"{shown}\""), "{text}");
        }
        for n in 0..20_000_i64 {
            let value = Decimal::new(i128::from(n * 7_919 - 50_000_000), u32::try_from(n % 41).unwrap());
            let shown = serde_json::to_string(&Amount(value.clone())).unwrap();
            assert_eq!(shown, format!("\"{}\"", value.normalized()));
        }
    }
}
