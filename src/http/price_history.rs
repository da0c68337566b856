//! Price histories: pages of JSON, or all of it as it is read.

use crate::domain::adjustment::{Adjusted, Events, Observed};
use crate::domain::asset::Asset;
use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, PricePoint, Quote};
use crate::domain::price_version::Version;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead};
use crate::http::error::{ApiError, Code};
use crate::http::lines::{Lines, quoted};
use crate::http::prices::{COLUMNS, PriceView};
use crate::http::query::{HISTORY_ROWS, Query};
use crate::http::reading;
use crate::http::streams::{Chunks, StreamFormat, respond};
use crate::storage::database::{Database, Tx};
use crate::storage::error::StorageError;
use crate::storage::page::After;
use crate::storage::price_windows::{Points, Teller};
use crate::storage::prices::{self, PriceRange};
use crate::workers::adjusted_prices::{self, AdjustError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;

/// Points of an asset in the units they are asked for.
struct Adjustment {
    asset: Asset,
    what: Adjusted,
    events: Events,
}

impl Adjustment {
    /// What the points of a range are adjusted for; `first` is the earliest of them.
    async fn of(
        tx: &mut Tx,
        asset: Asset,
        range: &PriceRange,
        first: Option<&PricePoint>,
        what: Adjusted,
    ) -> Result<Self, ApiError> {
        let refused = |error: AdjustError| match error {
            AdjustError::MissingRate { .. } => ApiError::new(Code::MissingRate, error.to_string()),
            AdjustError::NothingLeft { .. } => ApiError::new(Code::NotAdjustable, error.to_string()),
            AdjustError::Storage(error) => error.into(),
        };
        let events = match first {
            Some(first) => adjusted_prices::events(tx, &asset, range, first, what).await.map_err(refused)?,
            None => Events::default(),
        };
        Ok(Self { asset, what, events })
    }

    /// A point as it is shown.
    fn view(&self, mut point: PricePoint) -> PriceView {
        if self.what != Adjusted::None {
            let seen = Observed { at: point.observed_at, interval: &point.interval };
            let (factor, splits) = self.events.factors(seen, point.split_adjusted, self.asset.market_zone);
            let price = |price: &Decimal| factor.of(price).normalized();
            let Bar { open, high, low, volume } = point.quote.bar();
            let bar = Bar {
                open: open.as_ref().map(price),
                high: high.as_ref().map(price),
                low: low.as_ref().map(price),
                volume: volume.as_ref().map(|volume| splits.inverse_of(volume).normalized()),
            };
            point.quote = Quote::new(price(&point.quote.price), bar);
        }
        PriceView::of(&self.asset.symbol, point)
    }
}

/// Writes a point as serde writes its view, whose line begins with `begin`.
fn write_line(lines: &mut Lines, begin: &str, teller: &Teller, version: &Version) {
    let Bar { open, high, low, volume } = version.quote.bar();
    lines.put(begin).number(Some(&version.quote.price));
    lines.put(",\"open\":").number(open.as_ref()).put(",\"high\":").number(high.as_ref());
    lines.put(",\"low\":").number(low.as_ref()).put(",\"volume\":").number(volume.as_ref());
    lines.put(",\"observed_at\":").moment(version.observed_at);
    lines.put(",\"source\":").name(&teller.source).put(",\"interval\":\"").put(teller.candle);
    lines.put("\",\"recorded_at\":").stamp(version.recorded_at).put("}\n");
}

/// What a line begins with.
fn line_begin(symbol: &str) -> String {
    format!("{{\"symbol\":{},\"price\":", quoted(symbol))
}

/// Points as records.
struct Records {
    db: Database,
    points: Points,
    adjustment: Adjustment,
    format: StreamFormat,
    line_begin: String,
    begun: bool,
    lines: Lines,
}

impl Chunks for Records {
    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        let Self { adjustment, lines, .. } = self;
        if !self.begun && self.format == StreamFormat::Csv {
            lines.row(COLUMNS.map(str::to_owned));
        }
        self.begun = true;
        while !lines.are_many() {
            let read = self.points.are_read();
            match self.points.take()? {
                Some((teller, version)) => match self.format {
                    StreamFormat::Ndjson if adjustment.what == Adjusted::None => {
                        write_line(lines, &self.line_begin, teller, &version);
                    }
                    StreamFormat::Ndjson => {
                        lines.record(&adjustment.view(teller.point(adjustment.asset.key, version)));
                    }
                    StreamFormat::Csv => {
                        lines.row(adjustment.view(teller.point(adjustment.asset.key, version)).cells());
                    }
                },
                None if read => break,
                None => self.points.read(&mut self.db.read().await?).await?,
            }
        }
        Ok(lines.take())
    }
}

/// Read an asset's price history
///
/// In order of time; current versions as known at `known_at`. Prices are as they were recorded, unless `adjusted` asks
/// for prices in the units of today. With `format` every point of the span is written as it is read; else there are
/// pages.
#[utoipa::path(get, path = "/prices", operation_id = "list_prices", tag = "prices",
    params(
        ("symbol" = String, Query, description = "Symbol or id of the asset"),
        ("from" = Option<String>, Query, description = "From this moment or day"),
        ("to" = Option<String>, Query, description = "Up to this moment, not included, or through this day"),
        ("source" = Option<String>, Query, description = "Only points of this source"),
        ("interval" = Option<String>, Query, description = "Only candles of this length; `tick` for points without one"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("adjusted" = Option<Adjusted>, Query, description = "none (default), splits, or all: splits and dividends"),
        ("format" = Option<String>, Query, description = "ndjson or csv; JSON by pages when absent"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 10000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before"),
    ),
    responses((status = 200, description = "Price points",
        content(([PriceView] = "application/json"), (PriceView = "application/x-ndjson"), (String = "text/csv")))))]
pub async fn list_prices(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let symbol = query.required("symbol");
    let from = query.from("from", Tz::UTC).unwrap_or(Moment::MIN);
    let until = query.before("to", Tz::UTC).unwrap_or(Moment::MAX);
    let (source, interval) = (query.text("source"), query.text("interval"));
    if interval.as_deref().is_some_and(|name| name != "tick" && Interval::from_name(name).is_none()) {
        let detail = format!("must be tick or one of {}", Interval::NAMES.join(", "));
        query.fault("interval", "unknown_value", detail);
    }
    let format = query.one_of("format", StreamFormat::NAMES, StreamFormat::from_name);
    let limit = query.limit(HISTORY_ROWS);
    let after = query.cursor("prices");
    if format.is_some() {
        query.no_pages();
    }
    let what = query.one_of("adjusted", Adjusted::NAMES, Adjusted::from_name).unwrap_or(Adjusted::None);
    let known_at = reading::known_at(&app, &mut query).await?.unwrap_or(Moment::MAX);
    query.finish()?;
    let mut tx = app.db.read().await?;
    let asset = reading::asset(&mut tx, &symbol).await?;
    let range = PriceRange {
        asset: asset.key,
        source,
        interval: interval.map(|name| if name == "tick" { String::new() } else { name }),
        from,
        until,
        known_at,
        after: after.and_then(|after| Some((Moment(after.value.parse().ok()?), after.key))),
        limit: if format.is_some() { 1 } else { limit },
    };
    let points = prices::history(&mut tx, &range).await?;
    let first = points.first().map(|(_, point)| point);
    let adjustment = Adjustment::of(&mut tx, asset, &range, first, what).await?;
    drop(tx);
    if let Some(format) = format {
        let name = format!("prices-{}", adjustment.asset.id);
        let (db, line_begin) = (app.db.clone(), line_begin(&adjustment.asset.symbol));
        let (points, lines) = (Points::new(range), Lines::default());
        let records = Records { db, points, adjustment, format, line_begin, begun: false, lines };
        return Ok(respond(records, format, &name));
    }
    let full = i64::try_from(points.len()).is_ok_and(|count| count == limit);
    let next = points
        .last()
        .filter(|_| full)
        .map(|(seq, point)| After { value: point.observed_at.0.to_string(), key: *seq });
    let link = next.map(|after| query.next_link("prices", &after)).unwrap_or_default();
    let views: Vec<PriceView> = points.into_iter().map(|(_, point)| adjustment.view(point)).collect();
    Ok((link, Json(views)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AssetKey;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = Decimal> {
        prop_oneof![
            (-10_000_i128..10_000, 0_u32..5).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
            (any::<i128>(), 0_u32..45).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale)),
            (any::<i128>(), any::<i128>()).prop_map(|(a, b)| Decimal::new(a, 9) * Decimal::new(b, 9)),
        ]
    }

    proptest! {
        #[test]
        fn a_line_is_written_as_its_view_is(
            points in prop::collection::vec(
                ((any::<i64>(), 0_i64..9_000_000_000_000_000), number(), prop::array::uniform4(prop::option::of(number()))), 1..5,
            ),
            (symbol, source) in (any::<String>(), prop_oneof![Just("api".to_owned()), any::<String>()]),
            candle in prop::sample::select(vec!["", "1m", "1M"]),
        ) {
            let teller = Teller { source: source.into(), split_adjusted: false, candle };
            let (mut lines, mut expected) = (Lines::default(), String::new());
            for ((observed_at, recorded_at), price, [open, high, low, volume]) in points {
                let version = Version {
                    observed_at: Moment(observed_at), seq: 1, recorded_at: Moment(recorded_at), ended_at: Moment::MAX,
                    withdrawn: false, quote: Quote::new(price, Bar { open, high, low, volume }),
                };
                write_line(&mut lines, &line_begin(&symbol), &teller, &version);
                let view = PriceView::of(&symbol, teller.point(AssetKey(1), version));
                expected += &serde_json::to_string(&view).unwrap();
                expected.push('\n');
            }
            prop_assert_eq!(lines.take().unwrap(), expected.as_bytes());
        }
    }
}
