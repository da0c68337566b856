//! What each kind of feed can do, and does unless told otherwise.

use crate::domain::interval::Interval;
use crate::workers::feeds::definition::{
    Budget, Channel, Definition, Kind, Pace, Pair, Place, Secret, Transport,
};
use crate::workers::outbound::address::Reach;
use std::time::Duration;

/// What a kind can do, and does unless told otherwise.
pub struct Abilities {
    /// Where it is asked.
    pub base_url: &'static str,
    /// Where it is listened to; empty where that is not possible.
    pub ws_url: &'static str,
    /// What it delivers when it is asked, the first unless told otherwise;
    pub asked: &'static [Channel],
    /// and when it is listened to: none is not possible.
    pub heard: &'static [Channel],
    /// Lengths of its candles, the usual one first.
    pub intervals: &'static [&'static str],
    /// Time between two fetches.
    pub every: Duration,
    /// Requests it is asked at most.
    pub budget: Budget,
    /// Longest answer, in bytes.
    pub body_max: usize,
}

const EXCHANGE: Duration = Duration::from_mins(1);
const SELDOM: Duration = Duration::from_hours(6);
const MIB: usize = 1 << 20;

/// What most kinds have in common.
const USUAL: Abilities = Abilities {
    base_url: "",
    ws_url: "",
    asked: &[],
    heard: &[],
    intervals: &[],
    every: EXCHANGE,
    budget: Budget { per_minute: 60, burst: 5 },
    body_max: 8 * MIB,
};

const BINANCE: Abilities = Abilities {
    base_url: "https://data-api.binance.vision",
    ws_url: "wss://data-stream.binance.vision",
    asked: &[Channel::Candles, Channel::Trades, Channel::AggTrades],
    heard: &[Channel::Candles, Channel::Trades, Channel::AggTrades],
    intervals: &["1m", "1s", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w", "1M"],
    budget: Budget { per_minute: 240, burst: 20 },
    ..USUAL
};

const COINBASE: Abilities = Abilities {
    base_url: "https://api.exchange.coinbase.com",
    ws_url: "wss://ws-feed.exchange.coinbase.com",
    asked: &[Channel::Candles, Channel::Trades],
    heard: &[Channel::Trades, Channel::Ticker],
    intervals: &["1m", "5m", "15m", "1h", "6h", "1d"],
    budget: Budget { per_minute: 300, burst: 10 },
    ..USUAL
};

const KRAKEN: Abilities = Abilities {
    base_url: "https://api.kraken.com",
    ws_url: "wss://ws.kraken.com/v2",
    asked: &[Channel::Candles, Channel::Trades],
    heard: &[Channel::Candles, Channel::Trades],
    intervals: &["1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w"],
    budget: Budget { per_minute: 60, burst: 2 },
    ..USUAL
};

const KRAKEN_V1: Abilities = Abilities {
    ws_url: "wss://ws.kraken.com",
    asked: &[Channel::Trades],
    heard: &[Channel::Trades, Channel::Ticker],
    intervals: &[],
    ..KRAKEN
};

const FRED: Abilities = Abilities {
    base_url: "https://api.stlouisfed.org",
    asked: &[Channel::Observations],
    intervals: &["1d"],
    every: SELDOM,
    budget: Budget { per_minute: 60, burst: 10 },
    body_max: 32 * MIB,
    ..USUAL
};

const YAHOO: Abilities = Abilities {
    base_url: "https://query2.finance.yahoo.com",
    asked: &[Channel::Candles],
    intervals: &["1d", "1m", "5m", "15m", "30m", "1h", "1w", "1M"],
    every: SELDOM,
    budget: Budget { per_minute: 20, burst: 2 },
    ..USUAL
};

const ECB: Abilities = Abilities {
    base_url: "https://www.ecb.europa.eu",
    asked: &[Channel::Rates],
    every: Duration::from_hours(1),
    budget: Budget { per_minute: 20, burst: 5 },
    body_max: 64 * MIB,
    ..USUAL
};

const GENERIC: Abilities =
    Abilities { asked: &[Channel::Prices, Channel::Candles], body_max: 4 * MIB, ..USUAL };

const STREAM: Abilities =
    Abilities { asked: &[], heard: &[Channel::Prices, Channel::Candles], body_max: MIB, ..GENERIC };

/// A folder is looked at often: that costs nobody anything.
const FOLDER: Abilities = Abilities { every: Duration::from_secs(2), body_max: 64 * MIB, ..GENERIC };

/// What a kind can do.
pub const fn abilities(kind: Kind) -> Abilities {
    match kind {
        Kind::Binance => BINANCE,
        Kind::Coinbase => COINBASE,
        Kind::Kraken => KRAKEN,
        Kind::KrakenV1 => KRAKEN_V1,
        Kind::Fred => FRED,
        Kind::Yahoo => YAHOO,
        Kind::Ecb => ECB,
        Kind::HttpJson | Kind::HttpCsv => GENERIC,
        Kind::WsJson => STREAM,
        Kind::File => FOLDER,
    }
}

/// The usual feed of a kind.
pub fn usual(name: &str, kind: Kind, symbols: Vec<Pair>, api_key: Option<Secret>) -> Definition {
    let able = abilities(kind);
    let transport = if able.heard.is_empty() { Transport::Rest } else { Transport::Websocket };
    let channels = if able.heard.is_empty() { able.asked } else { able.heard };
    let channel = channels.first().copied().unwrap_or(Channel::Candles);
    Definition {
        name: name.to_owned(),
        kind,
        source: name.to_owned(),
        enabled: kind != Kind::Yahoo,
        transport,
        channel,
        interval: interval(&able, channel),
        symbols,
        since: None,
        pace: Pace {
            every: able.every,
            jitter: if able.every < EXCHANGE { Duration::ZERO } else { Duration::from_secs(5) },
            timeout: Duration::from_secs(20),
            silence: Duration::from_mins(1),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_mins(1),
            failures_max: 8,
            rest: Duration::from_mins(10),
        },
        budget: able.budget,
        place: Place {
            base_url: able.base_url.to_owned(),
            ws_url: able.ws_url.to_owned(),
            reach: Reach::Public,
            body_max: able.body_max,
        },
        api_key,
        of_environment: false,
        save_records: keeps_records(channel),
        generic: None,
    }
}

/// The usual length of candles; none where there are none.
pub fn interval(able: &Abilities, channel: Channel) -> Option<Interval> {
    match channel {
        Channel::Candles | Channel::Observations => {
            able.intervals.first().copied().and_then(Interval::from_name)
        }
        Channel::Trades | Channel::AggTrades | Channel::Ticker | Channel::Rates | Channel::Prices => None,
    }
}

/// Whether files are kept of what a channel delivers. They are written whole: of every trade, that would be too much.
pub const fn keeps_records(channel: Channel) -> bool {
    match channel {
        Channel::Candles | Channel::Observations => true,
        Channel::Trades | Channel::AggTrades | Channel::Ticker | Channel::Rates | Channel::Prices => false,
    }
}
