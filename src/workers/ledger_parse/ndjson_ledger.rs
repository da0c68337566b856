//! Rows of NDJSON as the service exports it: `kind` tells entries from what else is in an export.

use super::cells::quoted;
use super::mapping::{LedgerField, Mapping};
use super::{AssetProfile, LedgerFileError, LedgerFormat, LedgerRow, ParsedLedger, RowFault};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::fmt::Write as _;

/// The longest line that is read.
const LINE_BYTES: usize = 256 * 1024;
/// Kinds of records that are no entries.
const OTHER_KINDS: [&str; 8] = ["portfolio", "action", "lot", "pnl", "pnl_item", "price", "rate", "end"];
/// Fields of an exported entry that the service gives itself.
const GIVEN: [&str; 2] = ["kind", "recorded_at"];

/// Most members of an object.
const MEMBERS_MAX: usize = 10_000;

/// The members of an object as they are written: repeated keys are kept, so that they can be refused.
pub(super) struct Object<'t>(pub(super) Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() == MEMBERS_MAX {
                        return Err(serde::de::Error::custom("an object has too many members"));
                    }
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Object<'_> {
    /// A member that is a JSON string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let (_, raw) = self.0.iter().find(|(key, _)| key == name)?;
        serde_json::from_str(raw.get()).ok()
    }
}

/// Reads `text` after its byte order mark.
pub(super) fn parse(text: &str, mapping: &Mapping) -> Result<ParsedLedger, LedgerFileError> {
    let mut parsed = ParsedLedger::empty(LedgerFormat::Ndjson);
    for (row, line) in (1..).zip(text.split('\n')) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        parsed.check_size()?;
        if line.len() > LINE_BYTES {
            let detail = format!("the line has {} bytes, more than {LINE_BYTES}", line.len());
            refuse(&mut parsed, row, RowFault::row("line_too_long", detail));
            continue;
        }
        let object: Object<'_> = match serde_json::from_str(line) {
            Ok(object) => object,
            Err(error) => {
                let detail = format!("the line is not one JSON object (column {})", error.column());
                refuse(&mut parsed, row, RowFault::row("malformed_json", detail));
                continue;
            }
        };
        match object.text("kind").as_deref() {
            Some("asset") => {
                parsed.passed_over += 1;
                parsed.profiles.extend(profile(&object, line));
            }
            Some(kind) if OTHER_KINDS.contains(&kind) => parsed.passed_over += 1,
            None | Some("transaction") => take(&mut parsed, row, &object, mapping),
            Some(kind) => {
                let kind: String = kind.chars().take(40).collect();
                let detail = format!("`{kind}` is no kind of record of an export");
                refuse(&mut parsed, row, RowFault::at("kind", "unknown_value", detail));
            }
        }
    }
    Ok(parsed)
}

fn refuse(parsed: &mut ParsedLedger, row: u64, fault: RowFault) {
    parsed.rows.push(LedgerRow { row, id: None, fields: Err(vec![fault]) });
}

fn profile(object: &Object<'_>, line: &str) -> Option<AssetProfile> {
    Some(AssetProfile {
        symbol: object.text("symbol")?,
        name: object.text("name"),
        asset_type: object.text("asset_type"),
        currency: object.text("currency"),
        exported: Some(line.trim().to_owned()),
    })
}

fn take(parsed: &mut ParsedLedger, row: u64, object: &Object<'_>, mapping: &Mapping) {
    let mut json = String::from("{");
    for (name, raw) in &object.0 {
        if GIVEN.contains(&name.as_str()) || name == "id" {
            continue;
        }
        let mut value = raw.get().to_owned();
        if let Some(field) = LedgerField::from_name(name)
            && mapping.values.contains_key(&field)
            && let Ok(text) = serde_json::from_str::<String>(raw.get())
        {
            match mapping.value(field, &text) {
                Some(mapped) => value = quoted(&mapped),
                None if field == LedgerField::Type => {
                    parsed.passed_over += 1;
                    return;
                }
                None => continue,
            }
        }
        let comma = if json.len() > 1 { "," } else { "" };
        // Writing to a string cannot fail.
        write!(json, "{comma}{}:{value}", quoted(name)).unwrap_or_default();
    }
    json.push('}');
    parsed.rows.push(LedgerRow { row, id: object.text("id"), fields: Ok(json) });
}
