//! The reference rates of the European Central Bank: units of each currency for one euro, on its working days. Nothing is
//! filled in: on a weekend the rate of the last working day holds, and tells its age.

use crate::domain::decimal::Decimal;
use crate::domain::moment::{DAY, Moment};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::Session;
use crate::workers::feeds::tokens::{self, Malformed};
use crate::workers::rate_intake::PairRates;
use std::collections::BTreeMap;

/// Days of the file of a quarter.
const QUARTER: i64 = 85 * DAY;
/// Days within which the file of the last day is enough.
const LATEST: i64 = DAY;

/// The value of an attribute of a tag.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tag.split_once(&format!(" {name}="))?;
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    rest.get(1..)?.split(quote).next()
}

/// The rates of a file, by currency. The rates of a day are dated at its beginning in UTC.
///
/// # Errors
/// [`Malformed`].
pub(super) fn rates(body: &[u8]) -> Result<BTreeMap<String, PairRates>, Malformed> {
    let text = std::str::from_utf8(body).map_err(|_| Malformed("not UTF-8".to_owned()))?;
    let mut found: BTreeMap<String, PairRates> = BTreeMap::new();
    let mut day: Option<Moment> = None;
    for part in text.split("<Cube").skip(1) {
        let tag = part.split('>').next().unwrap_or_default();
        if let Some(time) = attribute(tag, "time") {
            day = Some(tokens::date("time", time)?);
        }
        let (Some(code), Some(rate)) = (attribute(tag, "currency"), attribute(tag, "rate")) else { continue };
        let at = day.ok_or_else(|| Malformed("a rate before its day".to_owned()))?;
        let rate: Decimal = tokens::decimal_of("rate", rate)?;
        if !rate.is_positive() {
            return Err(Malformed(format!("the rate of {code} is not above zero")));
        }
        found.entry(code.to_owned()).or_default().push((at, rate));
    }
    if found.is_empty() {
        return Err(Malformed("a file without rates".to_owned()));
    }
    Ok(found)
}

/// Asks for the shortest file that has everything since, and takes the currencies that are wanted; all, if none is named.
///
/// # Errors
/// [`FeedError`].
pub(super) async fn fetch(session: &mut Session<'_>) -> Result<(), FeedError> {
    let definition = session.definition();
    let codes = definition.symbols.iter().map(|pair| pair.symbol.as_str());
    let oldest = codes.map(|code| session.since(code)).min_by_key(|cursor| cursor.observed_at);
    let since = oldest.unwrap_or_else(|| session.since("USD")).observed_at;
    let age = session.now().0.saturating_sub(since.0);
    let file = match age {
        _ if age <= LATEST => "eurofxref-daily.xml",
        _ if age <= QUARTER => "eurofxref-hist-90d.xml",
        _ => "eurofxref-hist.xml",
    };
    let body = session.get(&format!("/stats/eurofxref/{file}"), &[]).await?;
    for (code, points) in rates(&body)? {
        let symbol = match definition.symbol_of(&code) {
            Some(symbol) => symbol.to_owned(),
            None if definition.symbols.is_empty() => code,
            None => continue,
        };
        session.rates(&symbol, points.into_iter().filter(|(at, _)| *at >= since.plus(-DAY)).collect());
    }
    session.store().await
}

#[cfg(test)]
mod tests;
