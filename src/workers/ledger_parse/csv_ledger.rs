//! Rows of a CSV ledger: columns by their names or by a mapping, cells in the notation the mapping tells.

use super::cells::Cells;
use super::mapping::{Kind, LedgerField, Mapping};
use super::{LedgerFileError, LedgerFormat, LedgerRow, ParsedLedger, RowFault};
use crate::domain::moment::{Moment, MomentError, Written, parse_written};
use crate::domain::transaction::TransactionType;
use crate::workers::csv_records::{Records, Start};
use chrono::{DateTime, MappedLocalTime, NaiveDate, NaiveDateTime, TimeZone as _, Timelike as _};
use csv::StringRecord;
use std::collections::BTreeMap;

/// First characters for which an exported cell of free text gets an apostrophe, because spreadsheets would take it for a
/// formula; and the apostrophe itself, so that taking it away again is never in doubt.
pub const GUARDED: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\''];

/// Reads `text` after its byte order mark.
pub(super) fn parse(text: &str, mapping: &Mapping) -> Result<ParsedLedger, LedgerFileError> {
    let mut records = Records::new(text, mapping.delimiter);
    let mut record = StringRecord::new();
    let Some(start) = records.next(&mut record)? else { return Err(LedgerFileError::Empty) };
    if !start.well_quoted {
        return Err(LedgerFileError::MalformedHeader { line: start.line });
    }
    let header: Vec<String> = record.iter().map(|name| name.trim().to_owned()).collect();
    let columns = choose(&header, mapping)?;
    let used: Vec<usize> = columns.values().flatten().copied().collect();
    let names = |places: &[usize]| -> Vec<String> {
        places.iter().filter_map(|at| header.get(*at)).cloned().collect()
    };
    let unused = header.iter().enumerate().filter(|(at, name)| !used.contains(at) && !name.is_empty());
    let mut parsed = ParsedLedger {
        columns: columns.iter().map(|(field, places)| (*field, names(places))).collect(),
        unused_columns: unused.map(|(_, name)| name.clone()).collect(),
        ..ParsedLedger::empty(LedgerFormat::Csv)
    };
    while let Some(start) = records.next(&mut record)? {
        let cells =
            check_shape(&record, &start, header.len()).and_then(|()| read(&record, &columns, mapping));
        let row = match cells {
            Ok(Some((id, json))) => LedgerRow { row: start.line, id, fields: Ok(json) },
            Ok(None) => {
                parsed.passed_over += 1;
                continue;
            }
            Err(faults) => LedgerRow { row: start.line, id: None, fields: Err(faults) },
        };
        parsed.rows.push(row);
        parsed.check_size()?;
    }
    Ok(parsed)
}

/// Letters and digits of a name, in lower case.
fn squashed(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn listed<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    let shown = |name: &String| format!("`{}`", name.chars().take(40).collect::<String>());
    names.into_iter().take(60).map(shown).collect::<Vec<_>>().join(", ")
}

/// The columns each field is read from.
fn choose(
    header: &[String],
    mapping: &Mapping,
) -> Result<BTreeMap<LedgerField, Vec<usize>>, LedgerFileError> {
    let mut chosen: BTreeMap<LedgerField, Vec<usize>> = BTreeMap::new();
    for (field, names) in &mapping.columns {
        let mut places = Vec::with_capacity(names.len());
        for wanted in names {
            let at = header.iter().position(|name| name == wanted);
            let at = at.or_else(|| header.iter().position(|name| name.eq_ignore_ascii_case(wanted.trim())));
            places.push(at.ok_or_else(|| LedgerFileError::UnknownColumn {
                field: *field,
                wanted: wanted.chars().take(40).collect(),
                columns: listed(header),
            })?);
        }
        chosen.insert(*field, places);
    }
    let taken: Vec<usize> = chosen.values().flatten().copied().collect();
    let open = LedgerField::all()
        .filter(|field| !mapping.columns.contains_key(field) && !mapping.constants.contains_key(field));
    for field in open {
        let own = squashed(field.name());
        let free: Vec<(usize, String)> = header
            .iter()
            .map(|name| squashed(name))
            .enumerate()
            .filter(|(at, _)| !taken.contains(at))
            .collect();
        let that = |wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
            free.iter().filter(|(_, name)| wanted(name)).map(|(at, _)| *at).collect()
        };
        let mut found = that(&|name| name == own);
        if found.is_empty() {
            found = that(&|name| field.synonyms().contains(&name));
        }
        if found.len() > 1 {
            let columns = listed(found.iter().filter_map(|at| header.get(*at)));
            return Err(LedgerFileError::AmbiguousColumns { field, columns });
        }
        if !found.is_empty() {
            chosen.insert(field, found);
        }
    }
    chosen.retain(|_, places| !places.is_empty());
    let given = |field| chosen.contains_key(&field) || mapping.constants.contains_key(&field);
    let typed = given(LedgerField::Type) || mapping.signed;
    for (field, given) in
        [(LedgerField::ExecutedAt, given(LedgerField::ExecutedAt)), (LedgerField::Type, typed)]
    {
        if !given {
            return Err(LedgerFileError::NoColumn { field, columns: listed(header) });
        }
    }
    Ok(chosen)
}

fn check_shape(record: &StringRecord, start: &Start, cells: usize) -> Result<(), Vec<RowFault>> {
    if !start.well_quoted {
        let lines =
            format!("quotation marks are misplaced or unclosed from here to line {}", start.last_line);
        return Err(vec![RowFault::row("malformed_quotes", lines)]);
    }
    if record.len() != cells {
        let counts = format!("the row has {} cells, the header {cells}", record.len());
        return Err(vec![RowFault::row("wrong_cell_count", counts)]);
    }
    Ok(())
}

/// A row's own id and its entry as JSON; `None` when its type is passed over.
fn read(
    record: &StringRecord,
    columns: &BTreeMap<LedgerField, Vec<usize>>,
    mapping: &Mapping,
) -> Result<Option<(Option<String>, String)>, Vec<RowFault>> {
    let mut cells = Cells::default();
    let mut faults = Vec::new();
    let constants = mapping.constants.iter().map(|(field, text)| (*field, text.clone()));
    let joined = columns.iter().map(|(field, places)| {
        let parts: Vec<&str> = places.iter().filter_map(|at| record.get(*at)).collect();
        (*field, parts.join(" "))
    });
    for (field, text) in constants.chain(joined) {
        let plain = if field.kind() == Kind::FreeText && field != LedgerField::Symbol {
            unguarded(&text)
        } else {
            unguarded(text.trim())
        };
        let Some(mapped) = mapping.value(field, plain.trim()).filter(|mapped| !mapped.is_empty()) else {
            if field == LedgerField::Type && !plain.trim().is_empty() {
                return Ok(None);
            }
            continue;
        };
        // What the mapping leaves as it is keeps its blanks.
        let text = if mapped == plain.trim() { plain.to_owned() } else { mapped };
        match written(field, &text, mapping) {
            Ok(text) => cells.set(field, text),
            Err(fault) => faults.push(fault),
        }
    }
    if !cells.0.contains_key(&LedgerField::ExecutedAt)
        && faults.iter().all(|fault| fault.field.as_deref() != Some(LedgerField::ExecutedAt.name()))
    {
        faults.push(RowFault::at(LedgerField::ExecutedAt.name(), "required", "is required"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    if mapping.signed {
        cells.settle_signs();
    }
    let kind = cells.0.get(&LedgerField::Type).and_then(|name| TransactionType::from_name(name));
    for field in kind.and_then(|kind| mapping.leave_out.get(&kind)).into_iter().flatten() {
        cells.0.remove(field);
    }
    cells.complete().map_err(|fault| vec![fault])?;
    let id = cells.0.remove(&LedgerField::Id);
    Ok(Some((id, cells.into_json()?)))
}

/// Free text without the apostrophe that an export puts before what a spreadsheet would take for a formula.
fn unguarded(text: &str) -> &str {
    match text.strip_prefix('\'') {
        Some(rest) if rest.starts_with(GUARDED) => rest,
        _ => text,
    }
}

/// A cell in the notation of an entry.
fn written(field: LedgerField, text: &str, mapping: &Mapping) -> Result<String, RowFault> {
    match field.kind() {
        Kind::Number => number(field, text, mapping),
        Kind::Time => time(text, mapping),
        Kind::Name if field == LedgerField::Type => Ok(type_name(text)),
        Kind::Json | Kind::FreeText | Kind::Name | Kind::Flag => Ok(text.to_owned()),
    }
}

/// The type a word stands for; an unknown one is left to the rules of the entry.
fn type_name(text: &str) -> String {
    if TransactionType::from_name(text).is_some() {
        return text.to_owned();
    }
    let name = text.to_lowercase().replace([' ', '-'], "_");
    match name.as_str() {
        "bought" | "purchase" => "buy".to_owned(),
        "sold" | "sale" => "sell".to_owned(),
        "withdraw" => "withdrawal".to_owned(),
        "div" | "dividends" => "dividend".to_owned(),
        "fees" | "commission" => "fee".to_owned(),
        "taxes" => "tax".to_owned(),
        "stock_split" => "split".to_owned(),
        _ => name,
    }
}

/// A number with a point for its decimals and nothing between its digits.
fn number(field: LedgerField, text: &str, mapping: &Mapping) -> Result<String, RowFault> {
    let wrong = |why: &str| Err(RowFault::at(field.name(), "not_a_number", why));
    let sign = if text.starts_with('-') { "-" } else { "" };
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text.starts_with('+') && !mapping.signed {
        return wrong("has a plus sign; `signed` in the mapping allows it");
    }
    let point = if mapping.decimal_comma { ',' } else { '.' };
    let (whole, decimals) = digits.split_once(point).unwrap_or((digits, ""));
    if mapping.decimal_comma && mapping.thousands != Some('.') && digits.contains('.') {
        return wrong("has a point although the mapping has `decimal_comma`");
    }
    if !mapping.decimal_comma && mapping.thousands != Some(',') && digits.contains(',') {
        return wrong("has a comma; `decimal_comma` or `thousands` in the mapping says what it is");
    }
    let whole = match mapping.thousands {
        Some(separator) => {
            let is_separator = |c: char| c == separator || (separator == ' ' && c.is_whitespace());
            let groups: Vec<&str> = whole.split(is_separator).collect();
            let first = groups.first().map_or(0, |group| group.len());
            let even = groups.iter().skip(1).all(|group| group.len() == 3);
            if groups.len() > 1 && !(even && (1..=3).contains(&first)) {
                return wrong("has digits that are not in groups of three");
            }
            groups.concat()
        }
        None => whole.to_owned(),
    };
    let point = if digits.contains(point) { "." } else { "" };
    Ok(format!("{sign}{whole}{point}{decimals}"))
}

fn not_a_time(detail: String) -> RowFault {
    RowFault::at(LedgerField::ExecutedAt.name(), "not_a_time", detail)
}

/// A time in RFC 3339, or a day.
fn time(text: &str, mapping: &Mapping) -> Result<String, RowFault> {
    let Some(format) = &mapping.date_format else {
        return match parse_written(text) {
            Ok(Written::Day(day)) => Ok(day.to_string()),
            Ok(Written::Moment(moment)) => Ok(moment.to_string()),
            Err(MomentError::NoZone) => {
                let bare = text.replacen(' ', "T", 1);
                let naive = NaiveDateTime::parse_from_str(&bare, "%Y-%m-%dT%H:%M:%S%.f")
                    .or_else(|_| NaiveDateTime::parse_from_str(&bare, "%Y-%m-%dT%H:%M"));
                local(naive.map_err(|error| not_a_time(error.to_string()))?, mapping)
            }
            Err(error) => Err(not_a_time(format!("{error}; name its `date_format` in the mapping"))),
        };
    };
    if let Ok(moment) = DateTime::parse_from_str(text, format) {
        return micros(moment.to_utc().timestamp_micros(), moment.nanosecond());
    }
    if let Ok(naive) = NaiveDateTime::parse_from_str(text, format) {
        return local(naive, mapping);
    }
    match NaiveDate::parse_from_str(text, format) {
        Ok(day) => Ok(day.to_string()),
        Err(_) => Err(not_a_time(format!("is not written as the mapping's `date_format` {format}"))),
    }
}

fn micros(moment: i64, nanosecond: u32) -> Result<String, RowFault> {
    if !nanosecond.is_multiple_of(1_000) || nanosecond >= 1_000_000_000 {
        return Err(not_a_time(MomentError::TooPrecise.to_string()));
    }
    Ok(Moment(moment).to_string())
}

/// A time on the clocks of the mapping's zone; one that they show twice is its first passing.
fn local(naive: NaiveDateTime, mapping: &Mapping) -> Result<String, RowFault> {
    let name = LedgerField::ExecutedAt.name();
    let Some(zone) = mapping.time_zone else {
        let detail = "has no time zone; name the zone of the file as `time_zone` in the mapping";
        return Err(RowFault::at(name, "time_without_zone", detail));
    };
    match zone.from_local_datetime(&naive) {
        MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => {
            micros(at.timestamp_micros(), naive.nanosecond())
        }
        MappedLocalTime::None => {
            let detail = format!("does not exist in {zone}, whose clocks skip it");
            Err(RowFault::at(name, "nonexistent_local_time", detail))
        }
    }
}
