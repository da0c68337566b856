//! The mapping of a foreign ledger file, as it is sent: a JSON document in the query.

use crate::domain::transaction::TransactionType;
use crate::http::error::FieldError;
use crate::http::fields::{Fields, Unknown};
use crate::http::query::{MAPPING, Query};
use crate::workers::ledger_parse::mapping::{LedgerField, Mapping, is_date_format};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Reads the parameter `mapping`; its faults are collected in `query`.
pub fn of_query(query: &mut Query) -> Mapping {
    let Some(text) = query.text(MAPPING) else { return Mapping::default() };
    match Fields::of_body(text.as_bytes()) {
        Ok(mut fields) => {
            let mapping = read(&mut fields);
            query.adopt(MAPPING, fields.faults(Unknown::Refused));
            mapping
        }
        Err(error) => {
            query.fault(MAPPING, "malformed_json", error.detail.replace("the body", "the mapping"));
            Mapping::default()
        }
    }
}

fn read(fields: &mut Fields<'_>) -> Mapping {
    let time_zone = fields.opt_text("time_zone").and_then(|name| {
        let zone = name.parse().ok();
        if zone.is_none() {
            fields.fault("time_zone", "unknown_zone", "must be the IANA name of a time zone");
        }
        zone
    });
    let date_format = fields.opt_text("date_format");
    if date_format.as_deref().is_some_and(|format| !is_date_format(format)) {
        fields.fault("date_format", "malformed", "must be a time in the notation of strftime, e.g. %d.%m.%Y");
    }
    let thousands = one_of_chars(fields, "thousands", &['.', ',', ' ', '\'', '_']);
    let decimal_comma = fields.opt_bool("decimal_comma").unwrap_or_default();
    if thousands == Some(if decimal_comma { ',' } else { '.' }) {
        fields.fault("thousands", "contradicts", "separates the decimals already");
    }
    let delimiter = one_of_chars(fields, "delimiter", &[',', ';', '\t', '|']);
    Mapping {
        columns: by_field(fields, "columns", "names of columns", |raw| {
            let raw = raw.get();
            if raw == "null" {
                return Some(Vec::new());
            }
            serde_json::from_str(raw).ok().or_else(|| Some(vec![serde_json::from_str(raw).ok()?]))
        }),
        constants: by_field(fields, "constants", "texts", |raw| serde_json::from_str(raw.get()).ok()),
        values: by_field(fields, "values", "objects of texts", |raw| serde_json::from_str(raw.get()).ok()),
        leave_out: leave_out(fields),
        date_format,
        time_zone,
        decimal_comma,
        thousands,
        signed: fields.opt_bool("signed").unwrap_or_default(),
        delimiter: delimiter.and_then(|c| u8::try_from(c).ok()),
        newest_first: fields.opt_bool("newest_first"),
    }
}

fn one_of_chars(fields: &mut Fields<'_>, name: &'static str, allowed: &[char]) -> Option<char> {
    let text = fields.opt_text(name)?;
    let mut chars = text.chars();
    let first = chars.next().filter(|c| allowed.contains(c) && chars.next().is_none());
    if first.is_none() {
        let shown: Vec<String> = allowed.iter().map(|c| format!("`{}`", c.escape_debug())).collect();
        fields.fault(name, "unknown_value", format!("must be one of {}", shown.join(" ")));
    }
    first
}

/// The object at `name`, whose keys are fields of an entry.
fn by_field<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    wanted: &str,
    value: impl Fn(&RawValue) -> Option<T>,
) -> BTreeMap<LedgerField, T> {
    let mut found = BTreeMap::new();
    let Some(raw) = fields.raw(name) else { return found };
    let mut inner = match Fields::of(raw, fields.pointer(name)) {
        Ok(inner) => inner,
        Err(fault) => {
            fields.adopt(vec![fault]);
            return found;
        }
    };
    for known in LedgerField::NAMES {
        let null = RawValue::NULL;
        let given = if inner.has(known) { Some(inner.raw(known).unwrap_or(null)) } else { None };
        let Some((field, raw)) = LedgerField::from_name(known).zip(given) else { continue };
        match value(raw) {
            Some(value) => {
                found.insert(field, value);
            }
            None => inner.fault(known, "wrong_type", format!("must be {wanted}")),
        }
    }
    fields.adopt(inner.faults(Unknown::Refused));
    found
}

/// The object at `leave_out`, whose keys are types of entries.
fn leave_out(fields: &mut Fields<'_>) -> BTreeMap<TransactionType, Vec<LedgerField>> {
    let given: BTreeMap<String, Vec<String>> =
        fields.opt_value("leave_out", "lists of fields by type").unwrap_or_default();
    let mut read = BTreeMap::new();
    let mut faults = Vec::new();
    for (kind, names) in given {
        let at = format!("{}/{kind}", fields.pointer("leave_out"));
        let Some(kind) = TransactionType::from_name(&kind) else {
            let detail = format!("must be one of {}", TransactionType::NAMES.join(", "));
            faults.push(FieldError::at(at, "unknown_field", detail));
            continue;
        };
        let left: Vec<LedgerField> = names.iter().filter_map(|name| LedgerField::from_name(name)).collect();
        if left.len() < names.len() {
            let detail = format!("must be fields: {}", LedgerField::NAMES.join(", "));
            faults.push(FieldError::at(at, "unknown_value", detail));
        }
        read.insert(kind, left);
    }
    fields.adopt(faults);
    read
}
