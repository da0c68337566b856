//! Markets: where assets trade, and the clock they trade by.

use crate::domain::currency::Currency;
use crate::domain::ids::{MarketId, MarketKey};
use crate::domain::moment::Moment;
use crate::named_enum;
use chrono::NaiveTime;
use chrono_tz::Tz;

named_enum! {
    /// Kind of market.
    MarketType {
        /// Shares.
        StockExchange = "STOCK_EXCHANGE",
        /// Commodities.
        CommoditiesExchange = "COMMODITIES_EXCHANGE",
        /// Crypto units.
        CryptoExchange = "CRYPTO_EXCHANGE",
        /// Currencies.
        ForexMarket = "FOREX_MARKET",
        /// Futures and options.
        DerivativesExchange = "DERIVATIVES_EXCHANGE",
        /// Over the counter.
        Otc = "OTC",
    }
}

named_enum! {
    /// Whether a market trades now, as an operator or a feed last said.
    MarketStatus {
        /// Trading.
        Open = "OPEN",
        /// Not trading.
        Closed = "CLOSED",
        /// Before the opening.
        PreMarket = "PRE_MARKET",
        /// After the close.
        PostMarket = "POST_MARKET",
        /// Stopped by the market.
        Halted = "HALTED",
        /// Closed for a holiday.
        Holiday = "HOLIDAY",
    }
}

/// A market. `code` is upper-case and unique.
#[derive(Debug, Clone)]
pub struct Market {
    /// Key inside the database.
    pub key: MarketKey,
    /// Id for the outside.
    pub id: MarketId,
    /// 1 to 10 characters.
    pub code: String,
    /// Name for people.
    pub name: String,
    /// Kind of market.
    pub market_type: MarketType,
    /// Current status.
    pub status: MarketStatus,
    /// IANA time zone its days are counted in.
    pub time_zone: Tz,
    /// Usual currency of its assets.
    pub currency: Currency,
    /// Opening time of day in `time_zone`.
    pub opening_time: Option<NaiveTime>,
    /// Closing time of day in `time_zone`.
    pub closing_time: Option<NaiveTime>,
    /// Days it trades, 0 = Monday to 6 = Sunday.
    pub trading_days: Vec<u8>,
    /// Free JSON object, as text.
    pub metadata: String,
    /// Counts changes, from 1.
    pub version: i64,
    /// When it was recorded.
    pub created_at: Moment,
    /// When it was last changed.
    pub updated_at: Moment,
}
