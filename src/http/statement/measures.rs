//! Documents that are no ledger of checkpoints: returns, rates and statistics, and a ledger over a span of time.

use super::read::{self, Document, list, objects, time, wanted};
use super::{RefusedEvent, StatementView};
use crate::domain::decimal::{Decimal, DecimalError};
use crate::domain::moment::Written;
use crate::domain::pnl::attribution::Attribution;
use crate::domain::pnl::statement::{Refusal, Statement};
use crate::domain::statistics::day_count::DayCount;
use crate::domain::statistics::irr::{Flow, Irr, xirr};
use crate::domain::statistics::returns::{Returns, expectancy, win_rate};
use crate::domain::statistics::roi::{Investment, Roi, ValueAt};
use crate::domain::statistics::twr::{annualized, value_flow};
use crate::domain::statistics::{Ratio, Undefined};
use crate::http::conventions::ConventionsView;
use crate::http::error::{ApiError, Code};
use crate::http::fields::{Fields, Unknown};
use crate::http::wire::{Amount, Time};
use chrono::NaiveDate;
use chrono_tz::Tz;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Shown, json};

/// Most rows of a list of a document.
const ROWS_MAX: usize = 1_000_000;
/// Most days of a daily series: a hundred years.
const DAYS_MAX: i64 = 36_600;
/// Periods a year of a series of returns, unless the document says otherwise.
const PERIODS: i64 = 252;
/// Days of a year, unless the document says otherwise.
const YEAR: i64 = 365;
/// Longest text of a ratio.
const RATIO_MAX: usize = 64;

const PERIOD: [&str; 9] = [
    "initial_value",
    "final_value",
    "capital_gains",
    "realized_gains",
    "earnings",
    "fees",
    "taxes",
    "transfers",
    "currency_gains",
];
const ROI: [&str; 7] =
    ["value_begin", "cashflow", "value_end", "pnl", "irr_pct", "twr_pct", "twr_annual_pct"];
const RETURNS: [&str; 9] = [
    "annual_volatility",
    "period_volatility",
    "period_semi_deviation",
    "max_drawdown",
    "sharpe",
    "sortino",
    "cagr",
    "expectancy",
    "win_rate",
];
const TWR: [&str; 1] = ["twr_cumulative"];
const IRR: [&str; 1] = ["irr"];
const ANNUALIZED: [&str; 1] = ["annualized"];
const VALUE_FLOW: [&str; 2] = ["gain", "simple_return"];

/// Evaluates a document of one of these kinds.
///
/// # Errors
/// Every fault of the document, with its pointer.
pub(super) fn evaluate(kind: &str, fields: Fields<'_>) -> Result<StatementView, ApiError> {
    match kind {
        "period" => period(fields),
        "twr_daily" => twr_daily(fields),
        "irr" => irr(fields),
        "roi" => roi(fields),
        "returns" => returns(fields),
        "annualize" => annualize(fields),
        _ => value_flows(fields),
    }
}

/// One object of `results`, put together.
#[derive(Default)]
struct Row {
    values: Map<String, Shown>,
    reasons: Map<String, Shown>,
}

impl Row {
    fn put(&mut self, name: &str, value: Ratio) {
        let shown = match value {
            Ok(value) => json!(Amount(value)),
            Err(Undefined(reason)) => {
                self.reasons.insert(name.to_owned(), json!(reason));
                Shown::Null
            }
        };
        self.values.insert(name.to_owned(), shown);
    }

    fn roots(&mut self, irr: &Irr) {
        let roots: Vec<Amount> = irr.roots.iter().cloned().map(Amount).collect();
        self.values.insert("roots".to_owned(), json!(roots));
        if irr.ambiguous() {
            self.values.insert("ambiguous".to_owned(), json!(true));
        }
    }

    fn finish(mut self) -> Map<String, Shown> {
        if !self.reasons.is_empty() {
            self.values.insert("reasons".to_owned(), Shown::Object(self.reasons));
        }
        self.values
    }
}

fn view(results: Vec<Map<String, Shown>>) -> StatementView {
    StatementView { results, conventions: None, refused: Vec::new() }
}

fn of_ledger(statement: &Statement, results: Vec<Map<String, Shown>>, refused: &[Refusal]) -> StatementView {
    StatementView {
        results,
        conventions: Some(ConventionsView::from(&statement.conventions)),
        refused: refused.iter().map(RefusedEvent::from).collect(),
    }
}

/// The names of what each checkpoint of `expect` wants. Without `expect`, one checkpoint that wants all.
fn checkpoints<'a, T: Default>(
    fields: &mut Fields<'a>,
    names: &'static [&'static str],
    known: fn(&str) -> bool,
    mut own: impl FnMut(&mut Fields<'a>) -> T,
) -> Vec<(T, Vec<String>)> {
    if !fields.has("expect") {
        return vec![(T::default(), names.iter().map(|name| (*name).to_owned()).collect())];
    }
    objects(fields, "expect", |inner, _| {
        let own = own(inner);
        Some((own, wanted(inner, known, names)))
    })
}

/// Checkpoints that say nothing but what they want.
fn plain(
    fields: &mut Fields<'_>,
    names: &'static [&'static str],
    known: fn(&str) -> bool,
) -> Vec<Vec<String>> {
    let asked = checkpoints(fields, names, known, |inner| {
        for remark in ["as_of", "asset", "account", "period", "from"] {
            inner.has(remark);
        }
    });
    asked.into_iter().map(|((), want)| want).collect()
}

/// A ratio or amount of a series: as an entered number, or with more decimals.
fn number(raw: &RawValue) -> Result<Decimal, &'static str> {
    let text = raw.get();
    let quoted: Option<String> = serde_json::from_str(text).ok();
    let plain = quoted.as_deref().unwrap_or(text);
    match Decimal::parse_input(plain) {
        Ok(value) => Ok(value),
        Err(DecimalError::TooManyDigits) if plain.len() <= RATIO_MAX => {
            plain.parse().map_err(|_| "has more digits than a ratio may have")
        }
        Err(DecimalError::TooManyDigits) => Err("has more digits than a ratio may have"),
        Err(DecimalError::NotANumber) => Err("must be a decimal number"),
    }
}

/// A list of numbers; nothing when it is absent.
fn numbers(fields: &mut Fields<'_>, name: &'static str) -> Vec<Decimal> {
    let rows = list(fields, name);
    if rows.len() > ROWS_MAX {
        fields.fault(name, "too_many", format!("has more than {ROWS_MAX} numbers"));
        return Vec::new();
    }
    let mut found = Vec::with_capacity(rows.len());
    for (index, raw) in rows.into_iter().enumerate() {
        match number(raw) {
            Ok(value) => found.push(value),
            Err(rule) => fields.fault(name, "not_a_number", format!("number {index} {rule}")),
        }
    }
    found
}

/// A number that may have more decimals than an amount.
fn opt_number(fields: &mut Fields<'_>, name: &'static str) -> Option<Decimal> {
    let raw = fields.raw(name)?;
    match number(raw) {
        Ok(value) => Some(value),
        Err(rule) => {
            fields.fault(name, "not_a_number", rule);
            None
        }
    }
}

fn required_number(fields: &mut Fields<'_>, name: &'static str) -> Decimal {
    if fields.raw(name).is_none() {
        fields.fault(name, "required", "is required");
    }
    opt_number(fields, name).unwrap_or_default()
}

fn day_of(written: Written) -> Option<NaiveDate> {
    match written {
        Written::Day(day) => Some(day),
        Written::Moment(moment) => moment.day_in(Tz::UTC),
    }
}

/// Dated amounts: `[{ts, amount}]`.
fn dated(fields: &mut Fields<'_>, name: &'static str, amount: &'static str) -> Vec<(NaiveDate, Decimal)> {
    if list(fields, name).len() > ROWS_MAX {
        fields.fault(name, "too_many", format!("has more than {ROWS_MAX} rows"));
        return Vec::new();
    }
    objects(fields, name, |inner, _| {
        let day = time(inner, "ts");
        let amount = required_number(inner, amount);
        Some((day.and_then(day_of)?, amount))
    })
}

fn flows(fields: &mut Fields<'_>) -> Vec<Flow> {
    dated(fields, "flows", "amount").into_iter().map(|(day, amount)| Flow { day, amount }).collect()
}

/// Passes over what kinds without a ledger may say about themselves, and returns a text under `conventions`.
fn convention(fields: &mut Fields<'_>, name: &str) -> Option<String> {
    for remark in ["base_currency", "cost_basis", "period"] {
        fields.has(remark);
    }
    let given: Option<Map<String, Shown>> = fields.opt_value("conventions", "an object");
    let stated = given?.remove(name)?;
    Some(stated.as_str().map_or_else(|| stated.to_string(), str::to_owned))
}

fn irr(mut fields: Fields<'_>) -> Result<StatementView, ApiError> {
    let stated = convention(&mut fields, "day_count");
    let day_count = stated.and_then(|text| DayCount::from_text(&text)).unwrap_or(DayCount::Actual365);
    let flows = flows(&mut fields);
    let asked = plain(&mut fields, &IRR, |name| IRR.contains(&name));
    read::finish(fields)?;
    let irr = xirr(&flows, day_count);
    let row = |want: Vec<String>| {
        let mut row = Row::default();
        for name in &want {
            row.put(name, irr.rate.clone());
        }
        row.roots(&irr);
        row.finish()
    };
    Ok(view(asked.into_iter().map(row).collect()))
}

fn roi(mut fields: Fields<'_>) -> Result<StatementView, ApiError> {
    convention(&mut fields, "");
    let flows = flows(&mut fields);
    let valuations = dated(&mut fields, "valuations", "value");
    let valuations = valuations.into_iter().map(|(day, value)| ValueAt { day, value }).collect();
    let asked = checkpoints(&mut fields, &ROI, |name| ROI.contains(&name), span);
    if asked.iter().any(|(period, _)| period.is_none()) && !fields.is_faulty() {
        fields.fault("expect", "required", "needs a period in every checkpoint");
    }
    read::finish(fields)?;
    let investment = Investment::new(flows, valuations);
    let row = |(period, want): (Option<(NaiveDate, NaiveDate)>, Vec<String>)| {
        let mut row = Row::default();
        let Some((start, end)) = period else { return row.finish() };
        let roi = investment.roi(start, end);
        for name in &want {
            let value = match name.as_str() {
                "value_begin" => Ok(roi.value_begin.clone()),
                "cashflow" => Ok(roi.cashflow.clone()),
                "value_end" => Ok(roi.value_end.clone()),
                "pnl" => Ok(roi.pnl.clone()),
                "irr_pct" => Roi::percent(&roi.irr.rate),
                "twr_pct" => Roi::percent(&roi.twr),
                _ => Roi::percent(&roi.twr_annual),
            };
            row.put(name, value);
        }
        if roi.irr.ambiguous() {
            row.roots(&roi.irr);
        }
        row.finish()
    };
    Ok(view(asked.into_iter().map(row).collect()))
}

/// `period: {start, end}` as days.
fn span(fields: &mut Fields<'_>) -> Option<(NaiveDate, NaiveDate)> {
    let (start, end) = written_span(fields)?;
    let (start, end) = (day_of(start)?, day_of(end)?);
    if end < start {
        fields.fault("period", "ends_before_start", "ends before it starts");
    }
    Some((start, end))
}

/// `period: {start, end}` as it was written.
fn written_span(fields: &mut Fields<'_>) -> Option<(Written, Written)> {
    let raw = fields.raw("period")?;
    let pointer = fields.pointer("period");
    match Fields::of(raw, pointer) {
        Ok(mut inner) => {
            let (start, end) = (time(&mut inner, "start"), time(&mut inner, "end"));
            let faults = inner.faults(Unknown::Refused);
            fields.adopt(faults);
            Some((start?, end?))
        }
        Err(fault) => {
            fields.adopt(vec![fault]);
            None
        }
    }
}

fn returns(mut fields: Fields<'_>) -> Result<StatementView, ApiError> {
    let stated = convention(&mut fields, "periods_per_year");
    let periods = stated.and_then(|text| Decimal::parse_input(&text).ok()).filter(Decimal::is_positive);
    let periods = periods.unwrap_or_else(|| Decimal::from(PERIODS));
    let cumulative = fields.has("cumulative");
    if cumulative && fields.has("returns") {
        fields.fault("cumulative", "contradicts", "is given in place of returns, not beside them");
    }
    let series = numbers(&mut fields, if cumulative { "cumulative" } else { "returns" });
    let trades = numbers(&mut fields, "trade_pnls");
    let asked = plain(&mut fields, &RETURNS, |name| RETURNS.contains(&name));
    read::finish(fields)?;
    let series = if cumulative { Returns::of_cumulative(&series) } else { Ok(Returns::of(&series)) };
    let statistic = |name: &str| -> Ratio {
        match name {
            "expectancy" => return expectancy(&trades),
            "win_rate" => return win_rate(&trades),
            _ => {}
        }
        let series = series.as_ref().map_err(|reason| *reason)?;
        match name {
            "annual_volatility" => series.annual_volatility(&periods),
            "period_volatility" => series.period_volatility(),
            "period_semi_deviation" => series.period_semi_deviation(),
            "max_drawdown" => series.max_drawdown().map(|fall| fall.fraction),
            "sharpe" => series.sharpe(&periods),
            "sortino" => series.sortino(&periods),
            _ => series.cagr(&periods),
        }
    };
    let row = |want: Vec<String>| {
        let mut row = Row::default();
        for name in &want {
            row.put(name, statistic(name));
        }
        row.finish()
    };
    Ok(view(asked.into_iter().map(row).collect()))
}

fn annualize(mut fields: Fields<'_>) -> Result<StatementView, ApiError> {
    let stated = convention(&mut fields, "year");
    let year = stated.and_then(|text| Decimal::parse_input(&text).ok()).filter(Decimal::is_positive);
    let year = year.unwrap_or_else(|| Decimal::from(YEAR));
    let days = required_number(&mut fields, "days");
    let period_return = required_number(&mut fields, "period_return");
    let asked = plain(&mut fields, &ANNUALIZED, |name| ANNUALIZED.contains(&name));
    read::finish(fields)?;
    let row = |want: Vec<String>| {
        let mut row = Row::default();
        for name in &want {
            row.put(name, annualized(&period_return, &days, &year));
        }
        row.finish()
    };
    Ok(view(asked.into_iter().map(row).collect()))
}

fn value_flows(mut fields: Fields<'_>) -> Result<StatementView, ApiError> {
    convention(&mut fields, "");
    let raw = fields.raw("values_in");
    let pointer = fields.pointer("values_in");
    let mut given = [Decimal::ZERO, Decimal::ZERO, Decimal::ZERO];
    match raw.map(|raw| Fields::of(raw, pointer)) {
        Some(Ok(mut inner)) => {
            given = ["start", "end", "net_flow"].map(|name| inner.decimal(name));
            let faults = inner.faults(Unknown::Refused);
            fields.adopt(faults);
        }
        Some(Err(fault)) => fields.adopt(vec![fault]),
        None => fields.fault("values_in", "required", "is required"),
    }
    let asked = plain(&mut fields, &VALUE_FLOW, |name| VALUE_FLOW.contains(&name));
    read::finish(fields)?;
    let [start, end, net_flow] = given;
    let flow = value_flow(&start, &end, &net_flow);
    let row = |want: Vec<String>| {
        let mut row = Row::default();
        for name in &want {
            let gain = name == "gain";
            row.put(name, if gain { Ok(flow.gain.clone()) } else { flow.simple_return.clone() });
        }
        row.finish()
    };
    Ok(view(asked.into_iter().map(row).collect()))
}

/// What a checkpoint of a ledger over time says beside what it wants.
#[derive(Default)]
struct Until {
    as_of: Option<Written>,
    zone: Option<Tz>,
    period: Option<(Written, Written)>,
}

fn until(fields: &mut Fields<'_>) -> Until {
    Until {
        as_of: fields.opt_time("as_of"),
        zone: read::opt_zone(fields, "timezone"),
        period: written_span(fields),
    }
}

/// The ledger of a document over time, the span it names, and its checkpoints with what they want.
struct OverTime {
    document: Option<Document>,
    whole: Option<(Written, Written)>,
    asked: Vec<(Until, Vec<String>)>,
}

fn over_time(fields: &mut Fields<'_>, names: &'static [&'static str], known: fn(&str) -> bool) -> OverTime {
    let whole = written_span(fields);
    let asked = checkpoints(fields, names, known, until);
    OverTime { document: read::ledger(fields, false), whole, asked }
}

fn period(mut fields: Fields<'_>) -> Result<StatementView, ApiError> {
    let OverTime { document, whole, asked } = over_time(&mut fields, &PERIOD, |name| PERIOD.contains(&name));
    if whole.is_none() && asked.iter().any(|(until, _)| until.period.is_none()) && !fields.is_faulty() {
        fields.fault("period", "required", "is required: {start, end}");
    }
    read::finish(fields)?;
    let document =
        document.ok_or_else(|| ApiError::new(Code::Internal, "a faultless document was not read"))?;
    let statement = &document.statement;
    let (mut results, mut refused) = (Vec::new(), Vec::new());
    for (until, want) in asked {
        let zone = until.zone.unwrap_or(document.zone);
        let Some((start, end)) = until.period.or(whole) else { continue };
        let begin = read::last_moment(start, zone);
        let end = read::last_moment(until.as_of.unwrap_or(end), zone);
        let (attribution, passed_over) = statement.attribute(begin, end.max(begin), document.cash_ignored);
        if passed_over.len() > refused.len() {
            refused = passed_over;
        }
        results.push(attributed(&attribution, &want, statement));
    }
    Ok(of_ledger(statement, results, &refused))
}

fn attributed(attribution: &Attribution, want: &[String], statement: &Statement) -> Map<String, Shown> {
    let mut row = Row::default();
    for name in want {
        let value = match name.as_str() {
            "initial_value" => &attribution.initial_value,
            "final_value" => &attribution.final_value,
            "capital_gains" => &attribution.whole.capital_gains,
            "realized_gains" => &attribution.whole.realized_gains,
            "earnings" => &attribution.whole.earnings,
            "fees" => &attribution.whole.fees,
            "taxes" => &attribution.whole.taxes,
            "transfers" => &attribution.transfers,
            _ => &attribution.currency_gains,
        };
        row.put(name, value.clone().ok_or(Undefined("a price or rate is missing")));
    }
    let mut row = row.finish();
    let prices = attribution.unpriced.iter().filter_map(|key| statement.assets.get(key));
    let prices = prices.map(|asset| json!({"price": asset.name}));
    let rates = attribution.missing.iter();
    let rates = rates.map(|rate| json!({"from": rate.from, "to": rate.to, "at": Time(rate.at)}));
    let missing: Vec<Shown> = prices.chain(rates).collect();
    if !missing.is_empty() {
        row.insert("missing".to_owned(), Shown::Array(missing));
    }
    row
}

fn twr_daily(mut fields: Fields<'_>) -> Result<StatementView, ApiError> {
    let OverTime { document, whole, asked } = over_time(&mut fields, &TWR, |name| TWR.contains(&name));
    let days: Vec<Option<NaiveDate>> =
        asked.iter().map(|(until, _)| until.as_of.or(whole.map(|(_, end)| end)).and_then(day_of)).collect();
    if days.iter().any(Option::is_none) && !fields.is_faulty() {
        fields.fault("period", "required", "is required where a checkpoint has no as_of");
    }
    let start = whole.and_then(|(start, _)| day_of(start));
    let first = document.as_ref().and_then(|document| document.statement.transactions.first());
    let first = start.or_else(|| first.and_then(|t| t.executed_at.day_in(Tz::UTC)));
    let last = days.iter().flatten().max().copied();
    if let (Some(first), Some(last)) = (first, last)
        && last.signed_duration_since(first).num_days() > DAYS_MAX
    {
        fields.fault("period", "too_long", format!("is longer than {DAYS_MAX} days"));
    }
    read::finish(fields)?;
    let document =
        document.ok_or_else(|| ApiError::new(Code::Internal, "a faultless document was not read"))?;
    let statement = &document.statement;
    let last = last.unwrap_or_default();
    let (chain, refused) = statement.time_weighted(start, last, document.zone, document.cash_ignored);
    let results = asked.into_iter().zip(days).map(|((_, want), day)| {
        let mut row = Row::default();
        let on = chain.iter().find(|(of, _)| Some(*of) == day);
        let value = on.map_or(Err(Undefined("the day lies before the period")), |(_, c)| c.cumulative());
        for name in &want {
            row.put(name, value.clone());
        }
        row.finish()
    });
    let results = results.collect();
    Ok(of_ledger(statement, results, &refused))
}
