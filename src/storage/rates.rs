//! Table `rates`: versions of exchange rates.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::Rates;
use crate::domain::ids::SourceKey;
use crate::domain::moment::Moment;
use crate::domain::price::Outcome;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use sqlx::QueryBuilder;
use std::collections::{BTreeSet, HashMap};

/// Versions written by one statement.
const ROWS: usize = 500;

/// One rate: one `base` is `rate` `quote`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct RatePoint {
    /// What one unit of
    pub base: Currency,
    /// is worth in this.
    pub quote: Currency,
    /// When.
    pub observed_at: Moment,
    /// Who says so.
    pub source: String,
    /// When this version was learned.
    pub recorded_at: Moment,
    /// How much.
    pub rate: Decimal,
}

/// Which part of the history is wanted.
#[derive(Debug, Clone, Copy)]
pub struct RateRange {
    /// One unit of
    pub base: Currency,
    /// in this.
    pub quote: Currency,
    /// From this moment,
    pub from: Moment,
    /// before this one,
    pub until: Moment,
    /// as known then.
    pub known_at: Moment,
    /// Rows wanted.
    pub limit: i64,
}

/// Every current rate at or before `until`, as known at `known_at`, in order of time; of two sources of one moment
/// the later recorded counts.
pub async fn all(tx: &mut Tx, until: Moment, known_at: Moment) -> Result<Rates, StorageError> {
    const SQL: &str = "SELECT r.base, r.quote, r.observed_at, s.name AS source, r.recorded_at, r.rate FROM rates r \
        JOIN price_sources s ON s.source_key = r.source_key \
        WHERE r.observed_at <= $1 AND r.recorded_at <= $2 AND NOT r.withdrawn AND NOT EXISTS (SELECT 1 FROM rates n \
            WHERE n.base = r.base AND n.quote = r.quote AND n.observed_at = r.observed_at \
            AND n.source_key = r.source_key AND n.recorded_at <= $2 AND n.seq > r.seq) \
        ORDER BY r.base, r.quote, r.observed_at, r.seq LIMIT 10000000";
    let points: Vec<RatePoint> =
        on!(tx, conn => sqlx::query_as(SQL).bind(until).bind(known_at).fetch_all(conn).await)?;
    let mut rates = Rates::default();
    for point in points {
        rates.add(point.base, point.quote, point.observed_at, point.rate);
    }
    Ok(rates)
}

/// The same for the pairs that have one of these units on either side: all that converting between them needs, because
/// a rate through a third unit has one of the two in each leg. Minor units are to be given as their major ones.
pub async fn touching(
    tx: &mut Tx,
    units: &[Currency],
    until: Moment,
    known_at: Moment,
) -> Result<Rates, StorageError> {
    let points: Vec<(Currency, Currency, Moment, Decimal)> = on!(tx, conn => {
        let mut query = QueryBuilder::new(
            "SELECT r.base, r.quote, r.observed_at, r.rate FROM rates r WHERE r.observed_at <= ");
        query.push_bind(until).push(" AND r.recorded_at <= ").push_bind(known_at);
        for (sides, end) in [(" AND (r.base IN (", ") OR "), ("r.quote IN (", "))")] {
            query.push(sides);
            let mut list = query.separated(", ");
            for unit in units {
                list.push_bind(*unit);
            }
            query.push(end);
        }
        query.push(" AND NOT r.withdrawn AND NOT EXISTS (SELECT 1 FROM rates n WHERE n.base = r.base \
            AND n.quote = r.quote AND n.observed_at = r.observed_at AND n.source_key = r.source_key \
            AND n.recorded_at <= ").push_bind(known_at);
        query.push(" AND n.seq > r.seq) ORDER BY r.base, r.quote, r.observed_at, r.seq LIMIT 10000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    let mut rates = Rates::default();
    for (base, quote, observed_at, rate) in points {
        rates.add(base, quote, observed_at, rate);
    }
    Ok(rates)
}

/// Every current rate between two of these currencies at or before `until`, as known at `known_at`; of two sources of
/// one moment the later recorded counts. A pair comes as one text: a row costs a driver more than a rate.
pub async fn between(
    tx: &mut Tx,
    currencies: &BTreeSet<Currency>,
    until: Moment,
    known_at: Moment,
) -> Result<Rates, StorageError> {
    let rows: Vec<(Currency, Currency, String)> = on!(tx, conn => {
        let mut query = QueryBuilder::new(
            "SELECT r.base, r.quote, string_agg(CAST(r.observed_at AS TEXT) || ' ' || CAST(r.seq AS TEXT) || ' ' || \
             r.rate, ',') AS points FROM rates r WHERE NOT r.withdrawn AND r.observed_at <= ");
        query.push_bind(until).push(" AND r.recorded_at <= ").push_bind(known_at);
        for column in ["base", "quote"] {
            query.push(" AND r.").push(column).push(" IN (");
            let mut list = query.separated(", ");
            for currency in currencies {
                list.push_bind(*currency);
            }
            query.push(")");
        }
        query.push(" AND NOT EXISTS (SELECT 1 FROM rates n WHERE n.base = r.base AND n.quote = r.quote \
            AND n.observed_at = r.observed_at AND n.source_key = r.source_key AND n.recorded_at <= ");
        query.push_bind(known_at);
        query.push(" AND n.seq > r.seq) GROUP BY r.base, r.quote ORDER BY r.base, r.quote LIMIT 1000000");
        query.build_query_as().fetch_all(conn).await
    })?;
    let mut rates = Rates::default();
    for (base, quote, points) in rows {
        let mut points: Vec<(Moment, i64, Decimal)> = points
            .split(',')
            .map(point)
            .collect::<Option<_>>()
            .ok_or_else(|| StorageError::Corrupt(format!("rates of {base} in {quote}")))?;
        points.sort_by_key(|(observed_at, seq, _)| (*observed_at, *seq));
        for (observed_at, _, rate) in points {
            rates.add(base, quote, observed_at, rate);
        }
    }
    Ok(rates)
}

/// `observed_at seq rate`.
fn point(text: &str) -> Option<(Moment, i64, Decimal)> {
    let mut parts = text.splitn(3, ' ');
    let observed_at = Moment(parts.next()?.parse().ok()?);
    Some((observed_at, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The newest rate of every pair at or before `moment`, as known at `known_at`: all that converting at that moment
/// needs.
pub async fn newest(tx: &mut Tx, moment: Moment, known_at: Moment) -> Result<Rates, StorageError> {
    const PAIRS: &str = "SELECT DISTINCT base, quote FROM rates ORDER BY base, quote LIMIT 100000";
    const NEWEST: &str = "SELECT r.observed_at, r.rate FROM rates r WHERE r.base = $1 AND r.quote = $2 \
        AND r.observed_at <= $3 AND r.recorded_at <= $4 AND NOT r.withdrawn AND NOT EXISTS (SELECT 1 FROM rates n \
            WHERE n.base = r.base AND n.quote = r.quote AND n.observed_at = r.observed_at \
            AND n.source_key = r.source_key AND n.recorded_at <= $4 AND n.seq > r.seq) \
        ORDER BY r.observed_at DESC, r.seq DESC LIMIT 1";
    let pairs: Vec<(Currency, Currency)> = on!(tx, conn => sqlx::query_as(PAIRS).fetch_all(conn).await)?;
    let mut rates = Rates::default();
    for (base, quote) in pairs {
        let point: Option<(Moment, Decimal)> = on!(tx, conn => sqlx::query_as(NEWEST)
            .bind(base).bind(quote).bind(moment).bind(known_at).fetch_optional(conn).await)?;
        if let Some((observed_at, rate)) = point {
            rates.add(base, quote, observed_at, rate);
        }
    }
    Ok(rates)
}

/// Current points of one pair, in order of time.
pub async fn history(tx: &mut Tx, range: RateRange) -> Result<Vec<RatePoint>, StorageError> {
    const SQL: &str = "SELECT r.base, r.quote, r.observed_at, s.name AS source, r.recorded_at, r.rate FROM rates r \
        JOIN price_sources s ON s.source_key = r.source_key \
        WHERE r.base = $1 AND r.quote = $2 AND r.observed_at >= $3 AND r.observed_at < $4 AND r.recorded_at <= $5 \
        AND NOT r.withdrawn AND NOT EXISTS (SELECT 1 FROM rates n \
            WHERE n.base = r.base AND n.quote = r.quote AND n.observed_at = r.observed_at \
            AND n.source_key = r.source_key AND n.recorded_at <= $5 AND n.seq > r.seq) \
        ORDER BY r.observed_at, r.seq LIMIT $6";
    on!(tx, conn => sqlx::query_as(SQL)
        .bind(range.base).bind(range.quote).bind(range.from).bind(range.until).bind(range.known_at).bind(range.limit)
        .fetch_all(conn).await)
}

/// Records a rate, unless it equals the current version.
pub async fn record(tx: &mut Tx, source: SourceKey, point: &RatePoint) -> Result<Outcome, StorageError> {
    const CURRENT: &str = "SELECT rate, withdrawn FROM rates WHERE base = $1 AND quote = $2 AND observed_at = $3 \
        AND source_key = $4 ORDER BY seq DESC LIMIT 1";
    const INSERT: &str = "INSERT INTO rates (base, quote, observed_at, source_key, seq, recorded_at, withdrawn, rate) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let current: Option<(Decimal, bool)> = on!(tx, conn => sqlx::query_as(CURRENT)
        .bind(point.base).bind(point.quote).bind(point.observed_at).bind(source).fetch_optional(conn).await)?;
    let outcome = match &current {
        Some((rate, false)) if *rate == point.rate => return Ok(Outcome::Duplicate),
        Some(_) => Outcome::Corrected,
        None => Outcome::Stored,
    };
    tx.touched.rates = true;
    let (seq, recorded_at) = (tx.next_seq()?, tx.recorded_at()?);
    on!(tx, conn => sqlx::query(INSERT)
        .bind(point.base).bind(point.quote).bind(point.observed_at).bind(source).bind(seq).bind(recorded_at)
        .bind(false).bind(&point.rate).execute(conn).await.map(drop))?;
    Ok(outcome)
}

/// Records rates of one pair and source in the order given, as [`record`] would one by one: of two with one moment the
/// later counts, and both are kept.
pub async fn record_many(
    tx: &mut Tx,
    source: SourceKey,
    (base, quote): (Currency, Currency),
    points: &[(Moment, Decimal)],
) -> Result<Vec<Outcome>, StorageError> {
    const VERSIONS: &str = "SELECT observed_at, withdrawn, rate FROM rates WHERE base = $1 AND quote = $2 \
        AND observed_at >= $3 AND observed_at <= $4 AND source_key = $5 ORDER BY observed_at, seq LIMIT 100000000";
    let (Some(from), Some(to)) = (points.iter().map(|p| p.0).min(), points.iter().map(|p| p.0).max()) else {
        return Ok(Vec::new());
    };
    let versions: Vec<(Moment, bool, Decimal)> = on!(tx, conn => sqlx::query_as(VERSIONS)
        .bind(base).bind(quote).bind(from).bind(to).bind(source).fetch_all(conn).await)?;
    let mut current: HashMap<Moment, Option<Decimal>> = versions
        .into_iter()
        .map(|(observed_at, withdrawn, rate)| (observed_at, (!withdrawn).then_some(rate)))
        .collect();
    let mut outcomes = Vec::with_capacity(points.len());
    let mut fresh: Vec<(i64, Moment, &Decimal)> = Vec::new();
    for (observed_at, rate) in points {
        let outcome = match current.get(observed_at) {
            Some(Some(known)) if known == rate => Outcome::Duplicate,
            Some(_) => Outcome::Corrected,
            None => Outcome::Stored,
        };
        if outcome != Outcome::Duplicate {
            fresh.push((tx.next_seq()?, *observed_at, rate));
            current.insert(*observed_at, Some(rate.clone()));
        }
        outcomes.push(outcome);
    }
    if !fresh.is_empty() {
        tx.touched.rates = true;
    }
    let recorded_at = tx.recorded_at()?;
    for rows in fresh.chunks(ROWS) {
        on!(tx, conn => {
            let mut query = QueryBuilder::new(
                "INSERT INTO rates (base, quote, observed_at, source_key, seq, recorded_at, withdrawn, rate) ");
            query.push_values(rows, |mut row, (seq, observed_at, rate)| {
                row.push_bind(base).push_bind(quote).push_bind(*observed_at).push_bind(source).push_bind(*seq)
                    .push_bind(recorded_at).push_bind(false).push_bind((*rate).clone());
            });
            query.build().execute(conn).await.map(drop)
        })?;
    }
    Ok(outcomes)
}
