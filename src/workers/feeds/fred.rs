//! FRED. A missing value is `"."` and is left out. Values are revised: the whole series is asked for each time, and what
//! is another value than before is a correction, so the store keeps the vintages as they were learned.

use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::Quote;
use crate::workers::feeds::definition::{Pair, Secret};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::Session;
use crate::workers::feeds::tokens::{self, Malformed};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Observations of a page.
const PAGE: usize = 100_000;
/// What stands where there is no value.
const MISSING: &str = ".";

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    observations: Option<Vec<Observation<'a>>>,
    error_message: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Observation<'a> {
    #[serde(borrow)]
    date: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// A page of observations.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Those with a value.
    pub(super) points: Vec<(Moment, Decimal)>,
    /// How many have none.
    pub(super) missing: usize,
}

/// The rows of `/fred/series/observations`.
///
/// # Errors
/// [`FeedError`], also for an error that came with status 200.
pub(super) fn observations(body: &[u8]) -> Result<Page, FeedError> {
    let answer: Answer<'_> = serde_json::from_slice(body).map_err(Malformed::from)?;
    let Some(rows) = answer.observations else {
        let said = answer.error_message.or(answer.message).unwrap_or_else(|| "no observations".to_owned());
        return Err(FeedError::refused(said));
    };
    let all = rows.len();
    let mut points = Vec::with_capacity(all);
    for row in rows {
        let text = tokens::bare(row.value);
        if text != MISSING {
            points.push((tokens::date("date", &row.date)?, tokens::decimal_of("value", text)?));
        }
    }
    Ok(Page { missing: all - points.len(), points })
}

/// Asks for one series, from the start or from what the configuration or the caller says.
///
/// # Errors
/// [`FeedError`].
pub(super) async fn fetch(session: &mut Session<'_>, pair: &Pair) -> Result<(), FeedError> {
    let key = session.definition().api_key.as_ref().map(Secret::expose).unwrap_or_default();
    let start = session.day_asked().map(|day| day.to_string());
    let limit = PAGE.to_string();
    let mut offset = 0;
    loop {
        let from = offset.to_string();
        let mut query = vec![
            ("series_id", pair.venue.as_str()),
            ("file_type", "json"),
            ("limit", limit.as_str()),
            ("offset", from.as_str()),
            ("api_key", key),
        ];
        query.extend(start.as_deref().map(|start| ("observation_start", start)));
        let page = observations(&session.get("/fred/series/observations", &query).await?)?;
        let count = page.points.len() + page.missing;
        session.missing(u64::try_from(page.missing).unwrap_or_default());
        for (at, value) in page.points {
            session.point(&pair.symbol, Some(Interval::Day), at, Quote::tick(value));
        }
        session.store().await?;
        offset += count;
        if count < PAGE {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
