//! `[[feeds]]` of the configuration file, and the feeds that the environment of the earlier orchestrator asks for.

mod generic;

use crate::config::Environment;
use crate::config::keys::{KeyFault, Keys};
use crate::config::secret;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::workers::feeds::definition::{Channel, Definition, Kind, Pace, Pair, Place, Secret, Transport};
use crate::workers::feeds::kinds;
use crate::workers::outbound::address::Reach;
use crate::workers::outbound::target::Target;
use crate::workers::records;
use std::collections::BTreeSet;
use std::time::Duration;

/// Shortest time between two fetches.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// Shortest of the other times.
const TIME_MIN: Duration = Duration::from_millis(10);
/// What names of feeds and sources must be.
const NAME_RULE: &str = "must be 1 to 64 letters, digits, `.`, `_` or `-`, and begin with a letter or digit";
/// Most symbols of a feed.
const SYMBOLS_MAX: usize = 1_000;
/// Most requests a minute.
const BUDGET_MAX: u32 = 60_000;

/// Reads every `[[feeds]]`.
///
/// # Errors
/// [`KeyFault`] with the name of the feed, or its number, and the key.
pub(super) fn read(tables: Vec<toml::Table>, env: Environment<'_>) -> Result<Vec<Definition>, KeyFault> {
    let mut names = BTreeSet::new();
    let mut feeds = Vec::with_capacity(tables.len());
    for (number, table) in (1..).zip(tables) {
        let mut keys = Keys::new(format!("feeds[{number}]"), table);
        let name = keys
            .parsed("name", NAME_RULE, |name| records::checked_name(name).ok().map(str::to_owned))?
            .ok_or_else(|| keys.fault("name", "is missing"))?;
        if !names.insert(name.clone()) {
            return Err(keys.fault("name", format!("`{name}` is the name of another feed")));
        }
        keys.rename(format!("feeds.{name}"));
        feeds.push(feed(&name, keys, env)?);
    }
    Ok(feeds)
}

fn one_of<T>(
    keys: &mut Keys,
    key: &str,
    names: &[&str],
    read: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, KeyFault> {
    let known = |name: &str| names.contains(&name).then(|| read(name)).flatten();
    keys.parsed(key, &format!("must be one of {}", names.join(", ")), known)
}

fn feed(name: &str, mut keys: Keys, env: Environment<'_>) -> Result<Definition, KeyFault> {
    let kind = one_of(&mut keys, "kind", Kind::NAMES, Kind::from_name)?
        .ok_or_else(|| keys.fault("kind", format!("is missing: one of {}", Kind::NAMES.join(", "))))?;
    if matches!(kind, Kind::HttpJson | Kind::HttpCsv | Kind::WsJson | Kind::File) {
        return generic::read(name, kind, keys, env);
    }
    let able = kinds::abilities(kind);
    let mut feed = kinds::usual(name, kind, Vec::new(), None);
    if let Some(transport) = one_of(&mut keys, "transport", Transport::NAMES, Transport::from_name)? {
        feed.transport = transport;
    }
    let channels = if feed.transport == Transport::Rest { able.asked } else { able.heard };
    let Some(usual) = channels.first().copied() else {
        return Err(keys.fault("transport", format!("{kind} cannot be listened to; use rest")));
    };
    let names: Vec<&str> = channels.iter().map(|channel| channel.name()).collect();
    feed.channel = one_of(&mut keys, "channel", &names, Channel::from_name)?.unwrap_or(usual);
    feed.interval = kinds::interval(&able, feed.channel);
    if feed.channel == Channel::Candles {
        let asked = one_of(&mut keys, "interval", able.intervals, Interval::from_name)?;
        feed.interval = asked.or(feed.interval);
    }
    let source =
        keys.parsed("source", NAME_RULE, |name| records::checked_name(name).ok().map(str::to_owned))?;
    feed.source = source.unwrap_or(feed.source);
    feed.enabled = keys.flag("enabled")?.unwrap_or(feed.enabled);
    feed.symbols = symbols(&mut keys, kind, feed.transport)?;
    feed.since =
        keys.parsed("since", "must be RFC 3339 or a date", |text| Moment::parse_utc_default(text).ok())?;
    pace(&mut keys, &mut feed.pace)?;
    feed.budget.per_minute = keys.whole("per_minute", BUDGET_MAX)?.unwrap_or(feed.budget.per_minute);
    feed.budget.burst = keys.whole("burst", BUDGET_MAX)?.unwrap_or(feed.budget.burst);
    place(&mut keys, &mut feed.place)?;
    feed.api_key = api_key(&mut keys, kind, env)?;
    let save_records = keys.flag("save_records")?;
    if save_records == Some(true) && feed.channel == Channel::Rates {
        return Err(keys.fault("save_records", "is for prices, and this feed delivers exchange rates"));
    }
    feed.save_records = save_records.unwrap_or_else(|| kinds::keeps_records(feed.channel));
    keys.finish()?;
    Ok(feed)
}

fn symbols(keys: &mut Keys, kind: Kind, transport: Transport) -> Result<Vec<Pair>, KeyFault> {
    let pairs = keys.pairs("symbols")?;
    if pairs.is_empty() && kind != Kind::Ecb {
        return Err(keys.fault("symbols", "is missing: a table of symbols here = symbols there"));
    }
    if pairs.len() > SYMBOLS_MAX {
        return Err(keys.fault("symbols", format!("has more than {SYMBOLS_MAX} symbols")));
    }
    let allowed = match (kind, transport) {
        (Kind::Kraken | Kind::KrakenV1, _) => "/._-",
        (Kind::Yahoo, _) => "=^._-",
        _ => "._-",
    };
    let mut seen = BTreeSet::new();
    let mut symbols = Vec::with_capacity(pairs.len());
    for (here, there) in pairs {
        let plain = |c: char| c.is_ascii_alphanumeric() || allowed.contains(c);
        let slashed = kind != Kind::Kraken && kind != Kind::KrakenV1
            || transport == Transport::Rest
            || there.contains('/');
        if !there.chars().all(plain) || !slashed {
            let rule = format!("`{there}` is no symbol of {kind}");
            let hint = if slashed { "" } else { ": write it as BTC/USD" };
            return Err(keys.fault("symbols", rule + hint));
        }
        let symbol = if kind == Kind::Ecb { here } else { here.to_uppercase() };
        if symbol.len() > 20 || !seen.insert(there.clone()) {
            return Err(keys.fault("symbols", format!("`{symbol}` is too long, or `{there}` is there twice")));
        }
        symbols.push(Pair { symbol, venue: there });
    }
    Ok(symbols)
}

fn pace(keys: &mut Keys, pace: &mut Pace) -> Result<(), KeyFault> {
    let times = [
        ("every", EVERY_MIN, &mut pace.every),
        ("jitter", Duration::ZERO, &mut pace.jitter),
        ("timeout", TIME_MIN, &mut pace.timeout),
        ("silence", TIME_MIN, &mut pace.silence),
        ("retry_min", TIME_MIN, &mut pace.retry_min),
        ("retry_max", TIME_MIN, &mut pace.retry_max),
        ("rest", TIME_MIN, &mut pace.rest),
    ];
    for (key, min, time) in times {
        *time = keys.duration(key, min)?.unwrap_or(*time);
    }
    pace.failures_max = keys.whole("failures_max", 1_000)?.unwrap_or(pace.failures_max);
    if pace.retry_min > pace.retry_max {
        return Err(keys.fault("retry_min", "must not be longer than retry_max"));
    }
    Ok(())
}

fn place(keys: &mut Keys, place: &mut Place) -> Result<(), KeyFault> {
    let urls = [
        ("base_url", ["https://", "http://"], &mut place.base_url),
        ("ws_url", ["wss://", "ws://"], &mut place.ws_url),
    ];
    for (key, schemes, url) in urls {
        let rule =
            format!("must be a URL that begins with {} and has no `?`, `#` or `@`", schemes.join(" or "));
        let read = |text: &str| {
            let fits =
                schemes.iter().any(|scheme| text.starts_with(scheme)) && !text.contains(['?', '#', '@']);
            Target::parse(text).ok().filter(|_| fits).map(|_| text.trim_end_matches('/').to_owned())
        };
        if let Some(text) = keys.parsed(key, &rule, read)? {
            *url = text;
        }
    }
    if keys.flag("allow_private")? == Some(true) {
        place.reach = Reach::Anywhere;
    }
    place.body_max = keys.size("max_body")?.unwrap_or(place.body_max);
    Ok(())
}

fn api_key(keys: &mut Keys, kind: Kind, env: Environment<'_>) -> Result<Option<Secret>, KeyFault> {
    let text = keys.text("api_key")?;
    match (text, kind) {
        (Some(text), Kind::Fred) => {
            secret::filled(&text, env).map(Some).map_err(|rule| keys.fault("api_key", rule))
        }
        (Some(_), _) => Err(keys.fault("api_key", format!("{kind} takes no key"))),
        (None, Kind::Fred) => Err(keys.fault("api_key", "is missing: \"${secret:FRED_API_KEY}\"")),
        (None, _) => Ok(None),
    }
}

/// What the environment of the earlier orchestrator asks for: `FRED_SERIES` with `FRED_API_KEY`, and `YFINANCE_TICKERS`.
/// These feeds run when they are asked to (`artifact ingest --source fred`), and not by themselves.
///
/// # Errors
/// [`KeyFault`] with the name of the variable.
pub(super) fn of_environment(env: Environment<'_>) -> Result<Vec<Definition>, KeyFault> {
    let asked = [("fred", Kind::Fred, "FRED_SERIES"), ("yahoo", Kind::Yahoo, "YFINANCE_TICKERS")];
    let mut feeds = Vec::new();
    for (name, kind, variable) in asked {
        let Some(list) = env(variable) else { continue };
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let pair = |name: &str| Pair { symbol: name.to_uppercase(), venue: name.to_owned() };
        let key = env("FRED_API_KEY").map(Secret::new).filter(|_| kind == Kind::Fred);
        if kind == Kind::Fred && key.is_none() {
            return Err(KeyFault {
                key: "FRED_API_KEY".to_owned(),
                rule: "is needed with FRED_SERIES".to_owned(),
            });
        }
        let feed = kinds::usual(name, kind, names.map(pair).collect(), key);
        feeds.push(Definition { enabled: false, of_environment: true, ..feed });
    }
    Ok(feeds)
}

#[cfg(test)]
mod tests;
