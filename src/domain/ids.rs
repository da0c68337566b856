//! Names of things: UUIDs for the outside, small integer keys for rows that repeat a billion times.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! outside_id {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id a text names, when it is one at all.
            pub fn parse(text: &str) -> Option<Self> {
                Uuid::parse_str(text).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.as_hyphenated(), f)
            }
        }
    )*};
}

outside_id! {
    /// A market, outside the service.
    MarketId
    /// An asset, outside the service.
    AssetId
    /// A batch of prices in the queue.
    BatchId
    /// A portfolio.
    PortfolioId
    /// One corporate action of an asset.
    ActionId
    /// One ledger entry.
    TransactionId
    /// One position, from flat to flat.
    PositionId
    /// A price that is posted on, and its idempotency key there.
    PostId
}

macro_rules! row_key {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);
    )*};
}

row_key! {
    /// A market's key inside one database.
    MarketKey
    /// An asset's key inside one database.
    AssetKey
    /// A price source's key inside one database.
    SourceKey
}
