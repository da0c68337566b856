//! Candles of an asset, made of its ticks and finer candles, and the places where there are none.

use crate::domain::asset::Asset;
use crate::domain::candle::{Candle, Grid, Rollup, Run, Series};
use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Caller, PricesRead};
use crate::http::error::{ApiError, FieldError};
use crate::http::lines::Lines;
use crate::http::query::{HISTORY_ROWS, Query};
use crate::http::reading;
use crate::http::streams::{Ahead, Chunks, StreamFormat, respond};
use crate::http::wire::Time;
use crate::storage::assets;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::page::After;
use crate::storage::price_windows::{Bars, Teller};
use crate::storage::prices::{self, PriceRange};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use chrono_tz::Tz;
use serde::Serialize;
use std::cmp::Reverse;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most candles that `max_points` may ask for.
const POINTS_MAX: u32 = 100_000;
/// Columns of a table of candles.
const COLUMNS: [&str; 12] = [
    "start",
    "end",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "points",
    "source",
    "made_of",
    "missing_before",
    "complete",
];

/// A candle.
#[derive(Debug, Serialize, ToSchema)]
pub struct CandleView {
    /// Its first moment.
    start: Time,
    /// The first moment after it.
    end: Time,
    open: Decimal,
    high: Decimal,
    low: Decimal,
    close: Decimal,
    /// Units traded; `null` when one of its points does not say.
    volume: Option<Decimal>,
    /// Points it is made of.
    points: u64,
    /// The source that makes it: of several the first by the asset's priority.
    #[schema(example = "api")]
    source: String,
    /// What it is made of: `tick`, or candles of this length.
    #[schema(example = "1m")]
    made_of: String,
    /// Empty candles between the one before it in this answer and this one.
    missing_before: u64,
    /// Whether its time has passed; until then it may change with every point.
    complete: bool,
}

/// What a candle is made of, as it is shown.
fn made_of(series: &Series) -> &'static str {
    series.made_of.0.map_or("tick", Interval::name)
}

impl CandleView {
    fn of(candle: Candle, now: Moment) -> Self {
        let Candle { start, end, open, high, low, close, volume, points, series, missing_before } = candle;
        Self {
            start: Time(start),
            end: Time(end),
            open: open.normalized(),
            high: high.normalized(),
            low: low.normalized(),
            close: close.normalized(),
            volume: volume.map(|volume| volume.normalized()),
            points,
            made_of: made_of(&series).to_owned(),
            source: series.source.as_ref().to_owned(),
            missing_before,
            complete: end <= now,
        }
    }

    fn cells(self) -> [String; COLUMNS.len()] {
        [
            self.start.0.to_string(),
            self.end.0.to_string(),
            self.open.to_string(),
            self.high.to_string(),
            self.low.to_string(),
            self.close.to_string(),
            self.volume.map(|volume| volume.to_string()).unwrap_or_default(),
            self.points.to_string(),
            self.source,
            self.made_of,
            self.missing_before.to_string(),
            self.complete.to_string(),
        ]
    }
}

/// Candles of an asset.
#[derive(Debug, Serialize, ToSchema)]
pub struct CandlesView {
    success: bool,
    #[schema(example = "BTC-USD")]
    symbol: String,
    /// Length of the candles.
    #[schema(example = "1h")]
    interval: String,
    /// The length that was asked for, which `max_points` may have made longer.
    #[schema(example = "1m")]
    requested_interval: String,
    /// Whose days and clocks count.
    #[schema(example = "UTC")]
    time_zone: String,
    candles: Vec<CandleView>,
    /// Candles of sources that lie across the border of two of these, and so are in none.
    not_fitting: u64,
}

/// Makes candles of the points of an asset, window by window. The next one is read meanwhile.
struct Reader {
    windows: Ahead<Vec<(Series, Run)>>,
    rollup: Rollup,
    /// What was read last and is not in a candle yet.
    runs: Vec<(Series, Run)>,
    ended: bool,
}

impl Reader {
    /// The next candle.
    async fn next(&mut self) -> Result<Option<Candle>, StorageError> {
        loop {
            if let Some(candle) = self.rollup.next(&mut self.runs) {
                return Ok(Some(candle));
            }
            if self.ended {
                return Ok(self.rollup.finish());
            }
            let runs = self.windows.next().await?;
            self.ended = runs.is_none();
            self.runs = runs.unwrap_or_default();
        }
    }
}

/// Reads points of an asset window by window.
struct Windows {
    db: Database,
    bars: Bars,
    source_priority: Vec<String>,
}

impl Chunks<Vec<(Series, Run)>> for Windows {
    async fn next(&mut self) -> Result<Option<Vec<(Series, Run)>>, StorageError> {
        if self.bars.are_read() {
            return Ok(None);
        }
        let runs = self.bars.read(&mut self.db.read().await?).await?;
        Ok(Some(runs.into_iter().map(|(teller, run)| (self.series(&teller), run)).collect()))
    }
}

impl Windows {
    fn series(&self, teller: &Teller) -> Series {
        let rank = self.source_priority.iter().position(|source| **source == *teller.source);
        Series {
            rank: rank.unwrap_or(usize::MAX),
            source: Arc::clone(&teller.source),
            made_of: Reverse(Interval::from_name(teller.candle)),
        }
    }
}

/// Writes a candle as serde writes its view.
fn write_line(lines: &mut Lines, candle: &Candle, now: Moment) {
    let Candle { start, end, open, high, low, close, volume, points, series, missing_before } = candle;
    lines.put("{\"start\":").moment(*start).put(",\"end\":").moment(*end);
    lines.put(",\"open\":").figure(Some(open)).put(",\"high\":").figure(Some(high));
    lines.put(",\"low\":").figure(Some(low)).put(",\"close\":").figure(Some(close));
    lines.put(",\"volume\":").figure(volume.as_ref()).put(",\"points\":").count(*points);
    lines.put(",\"source\":").name(&series.source).put(",\"made_of\":\"").put(made_of(series));
    lines.put("\",\"missing_before\":").count(*missing_before);
    lines.put(if *end <= now { ",\"complete\":true}\n" } else { ",\"complete\":false}\n" });
}

/// Candles as records.
struct Records {
    reader: Reader,
    now: Moment,
    format: StreamFormat,
    begun: bool,
    lines: Lines,
}

impl Chunks for Records {
    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        if !self.begun && self.format == StreamFormat::Csv {
            self.lines.row(COLUMNS.map(str::to_owned));
        }
        self.begun = true;
        while !self.lines.are_many()
            && let Some(candle) = self.reader.next().await?
        {
            match self.format {
                StreamFormat::Csv => self.lines.row(CandleView::of(candle, self.now).cells()),
                StreamFormat::Ndjson => write_line(&mut self.lines, &candle, self.now),
            }
        }
        Ok(self.lines.take())
    }
}

/// What is asked for.
struct Asked {
    grid: Grid,
    from: Option<Moment>,
    until: Option<Moment>,
    source: Option<String>,
    known_at: Moment,
    /// Candles that end later are not complete.
    now: Moment,
}

impl Asked {
    async fn of_query(app: &AppState, query: &mut Query) -> Result<Self, ApiError> {
        if query.text("interval").is_none() {
            query.fault("interval", "required", "is required");
        }
        let interval = query.one_of("interval", Interval::NAMES, Interval::from_name);
        let zone = query.text("tz").map(|name| name.parse::<Tz>());
        if matches!(zone, Some(Err(_))) {
            query.fault("tz", "unknown_time_zone", "is not an IANA time zone, such as America/New_York");
        }
        let zone = zone.and_then(Result::ok).unwrap_or(Tz::UTC);
        let (from, until) = (query.from("from", zone), query.before("to", zone));
        let source = query.text("source");
        let known_at = reading::known_at(app, query).await?;
        Ok(Self {
            grid: Grid { interval: interval.unwrap_or(Interval::Day), zone },
            from,
            until,
            source,
            known_at: known_at.unwrap_or(Moment::MAX),
            now: known_at.unwrap_or_else(|| app.clock.now()),
        })
    }

    /// The points wanted: whole candles from the one of `from` through the one before `to`.
    fn range(&self, asset: &Asset) -> PriceRange {
        let Grid { interval, zone } = self.grid;
        let last = self.until.and_then(|until| interval.start_of(until.plus(-1), zone));
        PriceRange {
            asset: asset.key,
            source: self.source.clone(),
            interval: None,
            from: self.from.and_then(|from| interval.start_of(from, zone)).unwrap_or(Moment::MIN),
            until: last.and_then(|start| interval.next_start(start, zone)).unwrap_or(Moment::MAX),
            known_at: self.known_at,
            after: None,
            limit: 0,
        }
    }

    /// The candles of an asset, or those from `from` on.
    async fn reader(&self, app: &AppState, asset: &Asset, from: Option<Moment>) -> Result<Reader, ApiError> {
        let mut tx = app.db.read().await?;
        let terms = assets::terms(&mut tx, &[asset.key], self.known_at).await?;
        let range = self.range(asset);
        let windows = Windows {
            db: app.db.clone(),
            bars: Bars::new(PriceRange { from: from.unwrap_or(range.from), ..range }),
            source_priority: terms
                .at(asset.key, Moment::MAX)
                .map(|terms| terms.source_priority.clone())
                .unwrap_or_default(),
        };
        let rollup = Rollup::new(self.grid);
        Ok(Reader { windows: Ahead::of(windows), rollup, runs: Vec::new(), ended: false })
    }

    /// Lengthens the interval until there are at most so many candles.
    async fn fit(&mut self, app: &AppState, asset: &Asset, most: u32) -> Result<(), ApiError> {
        let range = PriceRange { limit: 1, ..self.range(asset) };
        let mut tx = app.db.read().await?;
        let first = prices::history(&mut tx, &range).await?;
        let Some((_, first)) = first.into_iter().next() else { return Ok(()) };
        let mut last = prices::newest(&mut tx, &range, false, &[]).await?;
        last.extend(prices::newest(&mut tx, &range, true, &[]).await?);
        drop(tx);
        let last = last.iter().map(|point| point.observed_at).max().unwrap_or(first.observed_at);
        let span = last.0.saturating_sub(first.observed_at.0);
        let requested = self.grid.interval;
        let all = Interval::NAMES.iter().filter_map(|name| Interval::from_name(name));
        for interval in all.filter(|interval| *interval >= requested) {
            self.grid.interval = interval;
            // So many there can be; where that is too many, as many as there are.
            if span / interval.shortest() + 2 <= i64::from(most) || self.are_few(app, asset, most).await? {
                return Ok(());
            }
        }
        let detail = "is less than there are months with points; give a shorter span";
        Err(ApiError::invalid(vec![FieldError::parameter("max_points", "out_of_range", detail)]))
    }

    /// Whether there are at most so many candles.
    async fn are_few(&self, app: &AppState, asset: &Asset, most: u32) -> Result<bool, ApiError> {
        let mut reader = self.reader(app, asset, None).await?;
        for _ in 0..most {
            if reader.next().await?.is_none() {
                return Ok(true);
            }
        }
        Ok(reader.next().await?.is_none())
    }
}

/// Read candles of an asset
///
/// Made of ticks and finer candles, as known at `known_at`. Days, weeks (from Monday) and months are those of `tz`, and
/// shorter candles begin where its clocks show a multiple of their length. Prices are as they were recorded. With
/// `format` every candle of the span is written as it is made; else there are pages.
#[utoipa::path(get, path = "/assets/{asset}/candles", operation_id = "list_candles", tag = "prices",
    params(("asset" = String, Path, description = "Symbol or id"),
        ("interval" = String, Query, description = "Length: 1s, 1m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 8h, 12h, 1d, 1w or 1M; `1m` is a minute, `1M` a month"),
        ("from" = Option<String>, Query, description = "From the candle of this moment or day"),
        ("to" = Option<String>, Query, description = "Up to this moment, not included, or through this day"),
        ("tz" = Option<String>, Query, description = "IANA time zone; UTC when absent"),
        ("source" = Option<String>, Query, description = "Of points of this source only"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("max_points" = Option<u32>, Query, description = "At most so many candles: a longer interval is taken where there would be more"),
        ("format" = Option<String>, Query, description = "ndjson or csv; JSON by pages when absent"),
        ("limit" = Option<i64>, Query, description = "Candles wanted, at most 10000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Candles in order of time",
        content((CandlesView = "application/json"), (CandleView = "application/x-ndjson"), (String = "text/csv")))))]
pub async fn list_candles(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    Path(symbol): Path<String>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let mut asked = Asked::of_query(&app, &mut query).await?;
    let most = query.whole("max_points", POINTS_MAX);
    let format = query.one_of("format", StreamFormat::NAMES, StreamFormat::from_name);
    let limit = usize::try_from(query.limit(HISTORY_ROWS)).unwrap_or(usize::MAX);
    let after = query.cursor("candles");
    if format.is_some() {
        query.no_pages();
    }
    query.finish()?;
    let mut tx = app.db.read().await?;
    let asset = reading::asset(&mut tx, &symbol).await?;
    drop(tx);
    let requested = asked.grid.interval;
    if let Some(most) = most {
        asked.fit(&app, &asset, most).await?;
    }
    let from = after.and_then(|after| Some(Moment(after.value.parse().ok()?)));
    let mut reader = asked.reader(&app, &asset, from).await?;
    // A page goes on from the end of the last candle of the one before.
    reader.rollup = from.map_or(Rollup::new(asked.grid), |end| Rollup::after(asked.grid, end));
    if let Some(format) = format {
        let name = format!("candles-{}", asset.id);
        return Ok(respond(
            Records { reader, now: asked.now, format, begun: false, lines: Lines::default() },
            format,
            &name,
        ));
    }
    let mut candles: Vec<CandleView> = Vec::new();
    let (mut more, mut not_fitting) = (None, 0);
    while let Some(candle) = reader.next().await? {
        if let Some(last) = candles.last().filter(|_| candles.len() == limit) {
            more = Some(After { value: last.end.0.0.to_string(), key: 0 });
            break;
        }
        // Up to the end of this candle: what comes after it is counted on the page it belongs to.
        not_fitting = reader.rollup.not_fitting();
        candles.push(CandleView::of(candle, asked.now));
    }
    if more.is_none() {
        not_fitting = reader.rollup.not_fitting();
    }
    let link = more.map(|after| query.next_link("candles", &after)).unwrap_or_default();
    let view = CandlesView {
        success: true,
        symbol: asset.symbol,
        interval: asked.grid.interval.name().to_owned(),
        requested_interval: requested.name().to_owned(),
        time_zone: asked.grid.zone.name().to_owned(),
        candles,
        not_fitting,
    };
    Ok((link, Json(view)).into_response())
}

/// A stretch of time without candles.
#[derive(Debug, Serialize, ToSchema)]
pub struct GapView {
    /// The end of the last candle before it.
    from: Time,
    /// The start of the first candle after it.
    to: Time,
    /// Candles that are missing.
    missing: u64,
}

/// Read where candles of an asset are missing
///
/// Between the first candle and the last of the span, of all that is recorded, or of one source. Nights, weekends and
/// holidays of a market are gaps like others.
#[utoipa::path(get, path = "/assets/{asset}/gaps", operation_id = "list_gaps", tag = "prices",
    params(("asset" = String, Path, description = "Symbol or id"),
        ("interval" = String, Query, description = "Length of the candles that are looked for, as of candles"),
        ("from" = Option<String>, Query, description = "From the candle of this moment or day"),
        ("to" = Option<String>, Query, description = "Up to this moment, not included, or through this day"),
        ("tz" = Option<String>, Query, description = "IANA time zone; UTC when absent"),
        ("source" = Option<String>, Query, description = "Of points of this source only"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("limit" = Option<i64>, Query, description = "Gaps wanted, at most 10000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before")),
    responses((status = 200, description = "Gaps in order of time", body = [GapView])))]
pub async fn list_gaps(
    State(app): State<AppState>,
    _: Caller<PricesRead>,
    Path(symbol): Path<String>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let asked = Asked::of_query(&app, &mut query).await?;
    let limit = usize::try_from(query.limit(HISTORY_ROWS)).unwrap_or(usize::MAX);
    let after = query.cursor("gaps");
    query.finish()?;
    let mut tx = app.db.read().await?;
    let asset = reading::asset(&mut tx, &symbol).await?;
    drop(tx);
    let from = after.and_then(|after| Some(Moment(after.value.parse().ok()?)));
    let mut reader = asked.reader(&app, &asset, from).await?;
    let mut gaps = Vec::new();
    let mut more = None;
    let mut before: Option<Candle> = None;
    while let Some(candle) = reader.next().await? {
        if let Some(before) = before.filter(|_| candle.missing_before > 0) {
            if gaps.len() == limit {
                // The next page begins with the candle before the gap.
                more = Some(After { value: before.start.0.to_string(), key: 0 });
                break;
            }
            gaps.push(GapView {
                from: Time(before.end),
                to: Time(candle.start),
                missing: candle.missing_before,
            });
        }
        before = Some(candle);
    }
    let link = more.map(|after| query.next_link("gaps", &after)).unwrap_or_default();
    Ok((link, Json(gaps)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
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
            moments in prop::collection::vec(prop_oneof![any::<i64>(), 0_i64..9_000_000_000_000_000], 3),
            numbers in prop::collection::vec((prop::array::uniform4(number()), prop::option::of(number())), 1..5),
            (points, missing_before) in (any::<u64>(), 0_u64..3),
            source in prop_oneof![Just("api".to_owned()), any::<String>()],
            made_of in prop::option::of(0..Interval::NAMES.len()),
        ) {
            let series = Series {
                rank: 0, source: source.into(),
                made_of: Reverse(made_of.and_then(|name| Interval::from_name(Interval::NAMES[name]))),
            };
            let (mut lines, mut expected) = (Lines::default(), String::new());
            let [start, end, now] = [0, 1, 2].map(|n| Moment(moments[n]));
            for ([open, high, low, close], volume) in numbers {
                let candle = Candle {
                    start, end, open, high, low, close, volume, points, series: series.clone(), missing_before,
                };
                write_line(&mut lines, &candle, now);
                expected += &serde_json::to_string(&CandleView::of(candle, now)).unwrap();
                expected.push('\n');
            }
            prop_assert_eq!(lines.take().unwrap(), expected.as_bytes());
        }
    }
}
