//! How values of the domain are kept in columns: the same in both databases.
//!
//! Decimals are text in both, written with the digits they came with: one codec, the same bytes, and no engine that
//! could add them up in floating point. Moments and keys are 64-bit integers, ids are 16 bytes or `UUID`.

use crate::domain::access::UserStatus;
use crate::domain::asset::{AssetStatus, AssetType};
use crate::domain::batch::BatchState;
use crate::domain::corporate_action::ActionType;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{
    ActionId, AssetId, AssetKey, BatchId, MarketId, MarketKey, PortfolioId, PositionId, PostId, SourceKey,
    TransactionId,
};
use crate::domain::market::{MarketStatus, MarketType};
use crate::domain::moment::Moment;
use crate::domain::outbox::PostState;
use crate::domain::portfolio::PortfolioStatus;
use crate::domain::transaction::TransactionType;
use crate::storage::error::StorageError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Database, Decode, Encode, Type};

macro_rules! column {
    ($inner:ty, $($name:ty => $write:expr, $read:expr;)+) => {$(
        impl<DB: Database> Type<DB> for $name
        where
            $inner: Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <$inner as Type<DB>>::type_info()
            }
            fn compatible(ty: &DB::TypeInfo) -> bool {
                <$inner as Type<DB>>::compatible(ty)
            }
        }

        impl<'q, DB: Database> Encode<'q, DB> for $name
        where
            $inner: Encode<'q, DB>,
        {
            fn encode_by_ref(&self, buffer: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
                let write: fn(&$name) -> $inner = $write;
                write(self).encode(buffer)
            }
        }

        impl<'r, DB: Database> Decode<'r, DB> for $name
        where
            $inner: Decode<'r, DB>,
        {
            fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
                let read: fn($inner) -> Result<$name, BoxDynError> = $read;
                read(<$inner as Decode<'r, DB>>::decode(value)?)
            }
        }
    )+};
}

fn unknown<T>(value: Option<T>, text: &str) -> Result<T, BoxDynError> {
    value.ok_or_else(|| format!("unknown value `{text}`").into())
}

column! { String,
    Decimal => |value| value.to_string(), |text| Ok(text.parse()?);
    Currency => |value| value.code().to_owned(), |text| unknown(Self::from_code(&text), &text);
    MarketType => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    MarketStatus => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    AssetType => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    AssetStatus => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    PostState => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    PortfolioStatus => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    ActionType => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    BatchState => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    UserStatus => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
    TransactionType => |value| value.name().to_owned(), |text| unknown(Self::from_name(&text), &text);
}

column! { i64,
    Moment => |value| value.0, |value| Ok(Self(value));
    MarketKey => |value| value.0, |value| Ok(Self(value));
    AssetKey => |value| value.0, |value| Ok(Self(value));
    SourceKey => |value| value.0, |value| Ok(Self(value));
}

column! { uuid::Uuid,
    MarketId => |value| value.0, |value| Ok(Self(value));
    AssetId => |value| value.0, |value| Ok(Self(value));
    BatchId => |value| value.0, |value| Ok(Self(value));
    PortfolioId => |value| value.0, |value| Ok(Self(value));
    ActionId => |value| value.0, |value| Ok(Self(value));
    TransactionId => |value| value.0, |value| Ok(Self(value));
    PositionId => |value| value.0, |value| Ok(Self(value));
    PostId => |value| value.0, |value| Ok(Self(value));
}

/// A structured value as column text.
pub(super) fn to_json<T: Serialize>(value: &T) -> Result<String, StorageError> {
    serde_json::to_string(value).map_err(|error| StorageError::Corrupt(error.to_string()))
}

/// A structured value from column text.
pub(super) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StorageError> {
    serde_json::from_str(text).map_err(|error| StorageError::Corrupt(error.to_string()))
}

/// An IANA zone from column text.
pub(super) fn zone(text: &str) -> Result<chrono_tz::Tz, StorageError> {
    text.parse().map_err(|_| StorageError::Corrupt(format!("time zone `{text}`")))
}
