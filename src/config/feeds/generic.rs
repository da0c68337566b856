//! Feeds with a mapping: `http_json`, `http_csv`, `ws_json` and `file`.

use super::{BUDGET_MAX, NAME_RULE, SYMBOLS_MAX, one_of, pace};
use crate::config::Environment;
use crate::config::keys::{KeyFault, Keys};
use crate::config::secret;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::workers::feeds::definition::{Channel, Definition, Kind, Pair, Secret};
use crate::workers::feeds::generic::{FileFormat, Folder, Generic, unknown_place};
use crate::workers::feeds::kinds;
use crate::workers::mapping::{Mapping, Select, SpecFault, Written};
use crate::workers::outbound::address::Reach;
use crate::workers::outbound::target::Target;
use crate::workers::records;
use reqwest::header::HeaderName;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Keys of the mapping.
const MAPPING: [&str; 7] = ["rows", "map", "ok", "error", "page", "delimiter", "text_errors"];

/// Reads a feed with a mapping.
///
/// # Errors
/// [`KeyFault`] names the key.
pub(super) fn read(
    name: &str,
    kind: Kind,
    mut keys: Keys,
    env: Environment<'_>,
) -> Result<Definition, KeyFault> {
    let mut feed = kinds::usual(name, kind, Vec::new(), None);
    feed.interval = one_of(&mut keys, "interval", Interval::NAMES, Interval::from_name)?;
    feed.channel = if feed.interval.is_some() { Channel::Candles } else { Channel::Prices };
    let source =
        keys.parsed("source", NAME_RULE, |name| records::checked_name(name).ok().map(str::to_owned))?;
    feed.source = source.unwrap_or(feed.source);
    feed.enabled = keys.flag("enabled")?.unwrap_or(feed.enabled);
    feed.symbols = symbols(&mut keys)?;
    feed.since =
        keys.parsed("since", "must be RFC 3339 or a date", |text| Moment::parse_utc_default(text).ok())?;
    pace(&mut keys, &mut feed.pace)?;
    feed.budget.per_minute = keys.whole("per_minute", BUDGET_MAX)?.unwrap_or(feed.budget.per_minute);
    feed.budget.burst = keys.whole("burst", BUDGET_MAX)?.unwrap_or(feed.budget.burst);
    feed.place.body_max = keys.size("max_body")?.unwrap_or(feed.place.body_max);
    if kind != Kind::File && keys.flag("allow_private")? == Some(true) {
        feed.place.reach = Reach::Anywhere;
    }
    feed.save_records = keys.flag("save_records")?.unwrap_or_else(|| kinds::keeps_records(feed.channel));
    let folder = if kind == Kind::File { Some(folder(&mut keys, &feed.symbols)?) } else { None };
    let written = match (kind, folder.as_ref().map(|folder| folder.format)) {
        (Kind::HttpCsv, _) | (_, Some(FileFormat::Csv)) => Written::Csv,
        _ => Written::Json,
    };
    let secret = keys.mentions("${secret:");
    let generic = Generic {
        mapping: mapping(&mut keys, written)?,
        url: if kind == Kind::File { Secret::new("") } else { url(&mut keys, kind, env)? },
        headers: if kind == Kind::File { Vec::new() } else { headers(&mut keys, env)? },
        subscribe: if kind == Kind::WsJson { template(&mut keys, "subscribe", env)? } else { None },
        ping: if kind == Kind::WsJson { keys.text("ping")? } else { None },
        select: if kind == Kind::WsJson { select(&mut keys)? } else { None },
        folder,
        secret,
    };
    feed.generic = Some(Arc::new(generic));
    keys.finish()?;
    Ok(feed)
}

fn symbols(keys: &mut Keys) -> Result<Vec<Pair>, KeyFault> {
    let pairs = keys.pairs("symbols")?;
    if pairs.is_empty() || pairs.len() > SYMBOLS_MAX {
        let rule = format!("must be a table of 1 to {SYMBOLS_MAX} symbols here = symbols there");
        return Err(keys.fault("symbols", rule));
    }
    let mut seen = BTreeSet::new();
    let mut symbols = Vec::with_capacity(pairs.len());
    for (here, venue) in pairs {
        let symbol = here.to_uppercase();
        if symbol.chars().count() > 20 || venue.len() > 200 || !seen.insert(venue.clone()) {
            return Err(keys.fault("symbols", format!("`{symbol}` is too long, or `{venue}` is there twice")));
        }
        symbols.push(Pair { symbol, venue });
    }
    Ok(symbols)
}

fn mapping(keys: &mut Keys, written: Written) -> Result<Mapping, KeyFault> {
    let mut spec = Map::new();
    for name in MAPPING {
        if let Some(value) = json(keys, name)? {
            spec.insert(name.to_owned(), value);
        }
    }
    Mapping::read(&Value::Object(spec), written, &[])
        .map_err(|SpecFault { key, rule }| keys.fault(&key, rule))
}

fn json(keys: &mut Keys, name: &str) -> Result<Option<Value>, KeyFault> {
    let Some(value) = keys.take(name) else { return Ok(None) };
    serde_json::to_value(value).map(Some).map_err(|_| keys.fault(name, "has a value of no use here"))
}

fn select(keys: &mut Keys) -> Result<Option<Select>, KeyFault> {
    let Some(value) = json(keys, "select")? else { return Ok(None) };
    Select::read(&value).map(Some).map_err(|SpecFault { key, rule }| keys.fault(&key, rule))
}

/// A text that may name secrets and places.
fn template(keys: &mut Keys, name: &str, env: Environment<'_>) -> Result<Option<Secret>, KeyFault> {
    let Some(text) = keys.text(name)? else { return Ok(None) };
    let filled = text_or_secret(&text, env).map_err(|rule| keys.fault(name, rule))?;
    match unknown_place(filled.expose()) {
        Some(place) => Err(keys.fault(name, format!("has {{{place}}}, which stands for nothing"))),
        None => Ok(Some(filled)),
    }
}

fn text_or_secret(text: &str, env: Environment<'_>) -> Result<Secret, String> {
    if text.contains("${") { secret::filled(text, env) } else { Ok(Secret::new(text)) }
}

fn url(keys: &mut Keys, kind: Kind, env: Environment<'_>) -> Result<Secret, KeyFault> {
    let url = template(keys, "url", env)?.ok_or_else(|| keys.fault("url", "is missing"))?;
    let listens = kind == Kind::WsJson;
    let tried = url.expose().replace(['{', '}'], "");
    if Target::parse(&tried).ok().is_none_or(|target| target.is_web_socket() != listens) {
        let schemes = if listens { "ws:// or wss://" } else { "http:// or https://" };
        return Err(keys.fault("url", format!("must be a URL that begins with {schemes}")));
    }
    Ok(url)
}

fn headers(keys: &mut Keys, env: Environment<'_>) -> Result<Vec<(HeaderName, Secret)>, KeyFault> {
    let mut headers = Vec::new();
    for (name, value) in keys.pairs("headers")? {
        let key = format!("headers.{name}");
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| keys.fault(&key, "is no name of a header"))?;
        let value = text_or_secret(&value, env).map_err(|rule| keys.fault(&key, rule))?;
        if reqwest::header::HeaderValue::from_str(value.expose()).is_err() {
            return Err(keys.fault(&key, "has characters no header may have"));
        }
        headers.push((header, value));
    }
    Ok(headers)
}

fn folder(keys: &mut Keys, symbols: &[Pair]) -> Result<Folder, KeyFault> {
    let path = keys.text("path")?.map(PathBuf::from);
    let path = path.ok_or_else(|| keys.fault("path", "is missing: the folder to watch"))?;
    let format = one_of(keys, "format", FileFormat::NAMES, FileFormat::from_name)?;
    let format = format.ok_or_else(|| {
        keys.fault("format", format!("is missing: one of {}", FileFormat::NAMES.join(", ")))
    })?;
    let pattern = keys.text("pattern")?.unwrap_or_else(|| format!("*.{format}"));
    if pattern.contains('/')
        || symbols.iter().any(|pair| pattern.contains("{symbol}") && pair.venue.contains('/'))
    {
        return Err(keys.fault("pattern", "must be the name of files within the folder, without /"));
    }
    Ok(Folder { path, pattern, format })
}
