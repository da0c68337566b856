//! What a feed is: who is asked for what, how often, and within which limits. Made by `config::feeds`, never changed.

use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::named_enum;
use crate::workers::feeds::generic::Generic;
use crate::workers::outbound::address::Reach;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

named_enum! {
    /// Whose wire format a feed speaks.
    Kind {
        /// Binance spot.
        Binance = "binance",
        /// Coinbase Exchange.
        Coinbase = "coinbase",
        /// Kraken spot: REST, and version 2 of its WebSocket.
        Kraken = "kraken",
        /// Kraken spot: REST, and version 1 of its WebSocket, which is frozen.
        KrakenV1 = "kraken_v1",
        /// FRED, the series of the Federal Reserve Bank of St. Louis.
        Fred = "fred",
        /// Yahoo's chart, which is unofficial.
        Yahoo = "yahoo",
        /// The reference rates of the European Central Bank.
        Ecb = "ecb",
        /// JSON over HTTP, told by a mapping.
        HttpJson = "http_json",
        /// CSV over HTTP, told by a mapping.
        HttpCsv = "http_csv",
        /// JSON over a WebSocket, told by a mapping.
        WsJson = "ws_json",
        /// Files in a folder, told by a mapping.
        File = "file",
    }
}

named_enum! {
    /// What a feed delivers.
    Channel {
        /// Every trade, as ticks.
        Trades = "trades",
        /// Trades gathered by the venue, as ticks.
        AggTrades = "agg_trades",
        /// The last price as the venue sums it up, as ticks.
        Ticker = "ticker",
        /// Finished candles.
        Candles = "candles",
        /// Observations of a series, one a day or more seldom.
        Observations = "observations",
        /// Exchange rates.
        Rates = "rates",
        /// Prices with their times, as ticks.
        Prices = "prices",
    }
}

named_enum! {
    /// How a feed is reached.
    Transport {
        /// Asked again and again.
        Rest = "rest",
        /// Listened to; what is missed is asked for.
        Websocket = "websocket",
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one request it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One asset, as this service and as the venue calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Symbol here, upper-case; of rates, the code of a currency.
    pub symbol: String,
    /// Symbol there.
    pub venue: String,
}

/// When a feed works, waits and gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Time between two fetches.
    pub every: Duration,
    /// Added to it, at most, by chance: so that many feeds do not ask at once.
    pub jitter: Duration,
    /// Longest time of one request, or of opening a connection.
    pub timeout: Duration,
    /// Longest time without a frame before a connection is taken for dead.
    pub silence: Duration,
    /// Wait after a first failure; doubled after each further one,
    pub retry_min: Duration,
    /// up to this.
    pub retry_max: Duration,
    /// Failures in a row after which the circuit opens: the feed then rests for `rest` before it tries once.
    pub failures_max: u32,
    /// How long it rests.
    pub rest: Duration,
}

/// How many requests a feed may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Requests a minute.
    pub per_minute: u32,
    /// Requests at once after a pause.
    pub burst: u32,
}

/// Where a feed goes, and what it accepts from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where requests go, without a `/` at the end.
    pub base_url: String,
    /// Where the connection goes, without a `/` at the end.
    pub ws_url: String,
    /// How far: private and loopback addresses only where the configuration allows them.
    pub reach: Reach,
    /// Longest answer or frame, in bytes.
    pub body_max: usize,
}

/// A feed, as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Name it is steered by.
    pub name: String,
    /// Wire format.
    pub kind: Kind,
    /// Source of what it delivers.
    pub source: String,
    /// Whether it runs when nobody has said anything.
    pub enabled: bool,
    /// How it is reached.
    pub transport: Transport,
    /// What it delivers.
    pub channel: Channel,
    /// Length of its candles; none for ticks.
    pub interval: Option<Interval>,
    /// Its assets.
    pub symbols: Vec<Pair>,
    /// From when on, where nothing is known yet.
    pub since: Option<Moment>,
    /// When it works.
    pub pace: Pace,
    /// How many requests it may make.
    pub budget: Budget,
    /// Where it goes.
    pub place: Place,
    /// What it shows to be let in.
    pub api_key: Option<Secret>,
    /// Whether the environment asks for it, and no file.
    pub of_environment: bool,
    /// Whether it keeps the files of its source.
    pub save_records: bool,
    /// Its mapping and what goes with it, of a kind that is told by one.
    pub generic: Option<Arc<Generic>>,
}

impl Definition {
    /// The symbol here of a symbol there.
    pub fn symbol_of(&self, venue: &str) -> Option<&str> {
        self.symbols.iter().find(|pair| pair.venue == venue).map(|pair| pair.symbol.as_str())
    }

    /// Longest time until something good is to come: a frame before silence counts as a broken connection, or the answer to
    /// the next fetch.
    pub fn expected_within(&self) -> Duration {
        let pace = &self.pace;
        match self.transport {
            Transport::Websocket => pace.silence,
            Transport::Rest => pace.every.saturating_add(pace.jitter).saturating_add(pace.timeout),
        }
    }

    /// What whoever runs the feed must know about the data's licence.
    pub const fn licence(&self) -> &'static str {
        match self.kind {
            Kind::Binance => "Binance's terms of use: own use; no redistribution of market data",
            Kind::Coinbase => "Coinbase's market data terms: own use; no redistribution",
            Kind::Kraken | Kind::KrakenV1 => "Kraken's terms of service: own use; no redistribution",
            Kind::Fred => {
                "FRED's terms of use: series keep the copyright of their owners; not endorsed or certified by the bank"
            }
            Kind::Yahoo => {
                "unofficial interface; Yahoo gives no licence to redistribute, and none for professional use: \
                 whoever switches it on answers for that"
            }
            Kind::HttpJson | Kind::HttpCsv | Kind::WsJson | Kind::File => {
                "whatever the provider's terms say: whoever configures it answers for that"
            }
            Kind::Ecb => "free reuse with the source named; rates are for information only",
        }
    }
}
