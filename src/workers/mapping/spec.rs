//! A mapping out of the JSON form of its configuration; every key is checked, and a fault names it.

use super::times::TimeFormat;
use super::{Field, Good, Mapping, Paging, Place, RetryWhen, Select, Shape, SpecFault, Zone};
use crate::domain::decimal::Decimal;
use chrono_tz::Tz;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Fields of a row that are numbers.
const NUMBERS: [&str; 5] = ["open", "high", "low", "close", "volume"];
/// Most pages of one fetch, unless told otherwise.
const PAGES: u32 = 50;

/// How the bodies are written that a mapping reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// JSON.
    Json,
    /// CSV with a header.
    Csv,
}

impl Written {
    /// Keys of a feed's configuration that say nothing about what its bodies are like.
    pub const OTHERS: &[&str] = &[
        "name",
        "kind",
        "format",
        "enabled",
        "source",
        "interval",
        "since",
        "symbols",
        "url",
        "headers",
        "every",
        "jitter",
        "timeout",
        "silence",
        "retry_min",
        "retry_max",
        "rest",
        "failures_max",
        "per_minute",
        "burst",
        "max_body",
        "allow_private",
        "save_records",
        "subscribe",
        "ping",
        "select",
        "path",
        "pattern",
    ];

    /// How the bodies of a feed of this configuration are written.
    ///
    /// # Errors
    /// [`SpecFault`] for a kind that has no mapping.
    pub fn of(spec: &Value) -> Result<Self, SpecFault> {
        let text = |name: &str| spec.get(name).and_then(Value::as_str);
        match (text("kind"), text("format")) {
            (Some("http_json" | "ws_json"), _) | (Some("file"), Some("json" | "ndjson")) => Ok(Self::Json),
            (Some("http_csv"), _) | (Some("file"), Some("csv")) => Ok(Self::Csv),
            (Some("file"), _) => Err(fault("format", "must be csv, ndjson or json")),
            _ => Err(fault("kind", "must be http_json, http_csv, ws_json or file")),
        }
    }
}

/// A table of the configuration. What is not taken out of it is no key of it.
struct Section<'a> {
    path: String,
    left: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Section<'a> {
    fn of(path: &str, value: &'a Value) -> Result<Self, SpecFault> {
        let map = value.as_object().ok_or_else(|| fault(path, "must be a table"))?;
        Ok(Self::of_map(path, map))
    }

    fn of_map(path: &str, map: &'a Map<String, Value>) -> Self {
        let left = map.iter().map(|(key, value)| (key.as_str(), value)).collect();
        Self { path: path.to_owned(), left }
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn fault(&self, name: &str, rule: impl Into<String>) -> SpecFault {
        fault(self.key(name), rule)
    }

    fn take(&mut self, name: &str) -> Option<&'a Value> {
        self.left.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<&'a str>, SpecFault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.fault(name, "must be a text"))
    }

    fn flag(&mut self, name: &str) -> Result<bool, SpecFault> {
        let Some(value) = self.take(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.fault(name, "must be true or false"))
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, SpecFault> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let one = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        let list = if let Value::Array(list) = value {
            list.iter().map(one).collect()
        } else {
            one(value).map(|text| vec![text])
        };
        list.ok_or_else(|| self.fault(name, "must be a text or a list of texts"))
    }

    fn pointer(&mut self, name: &str) -> Result<Option<String>, SpecFault> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        checked_pointer(text).map(|text| Some(text.to_owned())).map_err(|rule| self.fault(name, rule))
    }

    fn section(&mut self, name: &str) -> Result<Option<Self>, SpecFault> {
        let Some(value) = self.take(name) else { return Ok(None) };
        Section::of(&self.key(name), value).map(Some)
    }

    fn finish(self, known: &[&str]) -> Result<(), SpecFault> {
        match self.left.keys().next() {
            Some(name) => Err(self.fault(name, format!("is not known; known are {}", known.join(", ")))),
            None => Ok(()),
        }
    }
}

fn fault(key: impl Into<String>, rule: impl Into<String>) -> SpecFault {
    SpecFault { key: key.into(), rule: rule.into() }
}

fn checked_pointer(text: &str) -> Result<&str, &'static str> {
    if !text.is_empty() && !text.starts_with('/') {
        return Err("must be a JSON Pointer (RFC 6901): empty, or beginning with /");
    }
    let mut after = text.split('~').skip(1);
    if after.any(|rest| !rest.starts_with(['0', '1'])) {
        return Err("must be a JSON Pointer (RFC 6901): ~ is written ~0, and / within a name ~1");
    }
    Ok(text)
}

impl Mapping {
    /// Reads the mapping of a feed: the keys `rows`, `map`, `ok`, `error`, `page`, `delimiter` and `text_errors` of its
    /// configuration. Of its other keys those in `others` are passed over.
    ///
    /// # Errors
    /// [`SpecFault`] names the key and the rule.
    pub fn read(spec: &Value, written: Written, others: &[&str]) -> Result<Self, SpecFault> {
        let mut top = Section::of("", spec).map_err(|_| fault("the mapping", "must be a table"))?;
        for name in others {
            top.take(name);
        }
        let zip = zipped(&mut top, written)?;
        let (shape, descends, zip) = zip;
        let mut map = top.section("map")?.ok_or_else(|| fault("map", "is missing"))?;
        let mut fields = Fields { written, zip };
        let (time, format, zone) = fields.time(&mut map, &shape)?;
        let close = fields.number(&mut map, "close")?.ok_or_else(|| map.fault("close", "is missing"))?;
        let [open, high, low, volume] =
            ["open", "high", "low", "volume"].map(|name| fields.number(&mut map, name));
        let symbol = fields.number(&mut map, "symbol")?;
        let mapping = Self {
            shape,
            descends,
            time,
            format,
            zone,
            symbol,
            close,
            open: open?,
            high: high?,
            low: low?,
            volume: volume?,
            nulls: map.texts("null")?,
            scale: scale(&mut map)?,
            invert: map.flag("invert")?,
            good: good(&mut top)?,
            messages: Vec::new(),
            retry_when: None,
            text_errors: top.texts("text_errors")?,
            paging: paging(&mut top)?,
        };
        map.finish(&["ts", "open", "high", "low", "close", "volume", "symbol", "null", "scale", "invert"])?;
        if let Some(name) = fields.zip.keys().next() {
            return Err(fault(format!("rows.zip.{name}"), "is not a field of map"));
        }
        let (messages, retry_when) = errors(&mut top)?;
        top.finish(&["rows", "map", "ok", "error", "page", "delimiter", "text_errors"])?;
        Ok(Self { messages, retry_when, ..mapping })
    }
}

impl Select {
    /// Reads which messages of a stream have rows: `pointer`, and the values it must have one of.
    ///
    /// # Errors
    /// [`SpecFault`].
    pub fn read(spec: &Value) -> Result<Self, SpecFault> {
        let mut select = Section::of("select", spec)?;
        let pointer = select.pointer("pointer")?.ok_or_else(|| select.fault("pointer", "is missing"))?;
        let any_of = select.texts("equals")?;
        if any_of.is_empty() {
            return Err(select.fault("equals", "is missing: a text or a list of texts"));
        }
        select.finish(&["pointer", "equals"])?;
        Ok(Self { pointer, any_of })
    }
}

type Zipped = BTreeMap<String, String>;

/// Where the rows are, whether they come newest first, and the arrays of `rows.zip`.
fn zipped(top: &mut Section<'_>, written: Written) -> Result<(Shape, bool, Zipped), SpecFault> {
    let delimiter = match top.text("delimiter")? {
        None => b',',
        Some("\t" | "\\t") => b'\t',
        Some(text) => match text.as_bytes() {
            [byte] if byte.is_ascii_punctuation() => *byte,
            _ => return Err(fault("delimiter", "must be one character such as , or ; or a tab")),
        },
    };
    let rows = match top.take("rows") {
        Some(Value::String(at)) => {
            let at = checked_pointer(at).map_err(|rule| fault("rows", rule))?;
            return match written {
                Written::Json => Ok((Shape::Json(Place::Rows(at.to_owned())), false, Zipped::new())),
                Written::Csv => Err(fault("rows", "is for JSON; the rows of CSV are its lines")),
            };
        }
        Some(value) => Some(Section::of("rows", value)?),
        None => None,
    };
    let Some(mut rows) = rows else {
        let shape = if written == Written::Csv {
            Shape::Csv(delimiter)
        } else {
            Shape::Json(Place::Rows(String::new()))
        };
        return Ok((shape, false, Zipped::new()));
    };
    let descends = match rows.text("order")? {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => return Err(rows.fault("order", "must be asc or desc")),
    };
    let (at, keys) = (rows.pointer("at")?, rows.text("keys")?);
    let mut zip = Zipped::new();
    if let Some(mut arrays) = rows.section("zip")? {
        let names: Vec<String> = arrays.left.keys().map(|name| (*name).to_owned()).collect();
        for name in names {
            let pointer =
                arrays.pointer(&name)?.ok_or_else(|| arrays.fault(&name, "must be a JSON Pointer"))?;
            zip.insert(name, pointer);
        }
    }
    let zips = !zip.is_empty();
    if written == Written::Csv && (at.is_some() || keys.is_some() || zips) {
        return Err(fault("rows", "takes only order for CSV; its rows are its lines"));
    }
    if zips && (at.is_some() || keys.is_some()) {
        return Err(rows.fault("zip", "stands alone: rows.at and rows.keys are for rows that are whole"));
    }
    let at = at.unwrap_or_default();
    let shape = match (written, keys) {
        (Written::Csv, _) => Shape::Csv(delimiter),
        (Written::Json, _) if zips => Shape::Json(Place::Zip),
        (Written::Json, None) => Shape::Json(Place::Rows(at)),
        (Written::Json, Some("time")) => Shape::Json(Place::Members(at)),
        (Written::Json, Some(_)) => return Err(rows.fault("keys", "must be time")),
    };
    rows.finish(&["at", "keys", "zip", "order"])?;
    Ok((shape, descends, zip))
}

/// Reads where fields are.
struct Fields {
    written: Written,
    zip: Zipped,
}

impl Fields {
    /// A place within a row, or the array that `rows.zip` names.
    fn place(&mut self, section: &mut Section<'_>, field: &str) -> Result<Option<String>, SpecFault> {
        let zipped = self.zip.remove(field);
        let Some(at) = section.text("at")? else { return Ok(zipped) };
        if zipped.is_some() {
            return Err(section.fault("at", "is told by rows.zip already"));
        }
        self.checked(at).map(Some).map_err(|rule| section.fault("at", rule))
    }

    fn checked(&self, at: &str) -> Result<String, &'static str> {
        match self.written {
            Written::Json => checked_pointer(at).map(str::to_owned),
            Written::Csv if at.is_empty() => Err("must be the name of a column"),
            Written::Csv => Ok(at.to_owned()),
        }
    }

    fn number(&mut self, map: &mut Section<'_>, name: &str) -> Result<Option<Field>, SpecFault> {
        let field = match map.take(name) {
            None => return Ok(self.zip.remove(name).map(|at| Field { at, optional: false })),
            Some(Value::String(at)) => {
                let at = self.checked(at).map_err(|rule| map.fault(name, rule))?;
                return Ok(Some(Field { at, optional: false }));
            }
            Some(value) => value,
        };
        let mut section = Section::of(&map.key(name), field)?;
        let at = self.place(&mut section, name)?.ok_or_else(|| section.fault("at", "is missing"))?;
        let optional = section.flag("optional")?;
        section.finish(&["at", "optional"])?;
        Ok(Some(Field { at, optional }))
    }

    fn time(
        &mut self,
        map: &mut Section<'_>,
        shape: &Shape,
    ) -> Result<(Option<Field>, TimeFormat, Zone), SpecFault> {
        let mut ts = map.section("ts")?.ok_or_else(|| map.fault("ts", "is missing"))?;
        let at = self.place(&mut ts, "ts")?;
        let by_key = matches!(shape, Shape::Json(Place::Members(_)));
        if by_key && at.is_some() {
            return Err(ts.fault("at", "is told by rows.keys already"));
        }
        if !by_key && at.is_none() {
            return Err(ts.fault("at", "is missing"));
        }
        let unit = ts.text("unit")?.ok_or_else(|| ts.fault("unit", "is missing"))?;
        let format = TimeFormat::named(unit).ok_or_else(|| ts.fault("unit", TimeFormat::RULE))?;
        let zone = match ts.take("tz") {
            None => Zone::Fixed(Tz::UTC),
            Some(Value::String(name)) => Zone::Fixed(
                name.parse().map_err(|_| ts.fault("tz", format!("`{name}` is no IANA time zone")))?,
            ),
            Some(value) => {
                let mut tz = Section::of(&ts.key("tz"), value)?;
                let from = tz.pointer("from")?.ok_or_else(|| tz.fault("from", "is missing"))?;
                tz.finish(&["from"])?;
                if self.written == Written::Csv {
                    return Err(ts.fault("tz", "must be the name of a zone: CSV has no place for one"));
                }
                Zone::From(from)
            }
        };
        ts.finish(&["at", "unit", "tz"])?;
        Ok((at.map(|at| Field { at, optional: false }), format, zone))
    }
}

fn scale(map: &mut Section<'_>) -> Result<BTreeMap<String, Decimal>, SpecFault> {
    let Some(mut section) = map.section("scale")? else { return Ok(BTreeMap::new()) };
    let mut scale = BTreeMap::new();
    for name in NUMBERS {
        if let Some(text) = section.text(name)? {
            let factor =
                Decimal::parse_input(text).map_err(|error| section.fault(name, error.to_string()))?;
            if factor.is_zero() {
                return Err(section.fault(name, "must not be 0"));
            }
            scale.insert(name.to_owned(), factor);
        }
    }
    section.finish(&NUMBERS)?;
    Ok(scale)
}

fn good(top: &mut Section<'_>) -> Result<Option<Good>, SpecFault> {
    let Some(mut ok) = top.section("ok")? else { return Ok(None) };
    let pointer = ok.pointer("pointer")?.ok_or_else(|| ok.fault("pointer", "is missing"))?;
    let equals = ok.texts("equals")?;
    let [equals] = equals.as_slice() else { return Err(ok.fault("equals", "must be one text")) };
    let equals = equals.clone();
    ok.finish(&["pointer", "equals"])?;
    Ok(Some(Good { pointer, equals }))
}

fn errors(top: &mut Section<'_>) -> Result<(Vec<String>, Option<RetryWhen>), SpecFault> {
    let Some(mut error) = top.section("error")? else { return Ok((Vec::new(), None)) };
    let messages = error.texts("message")?;
    let unique: BTreeSet<&String> = messages.iter().collect();
    if messages.is_empty() || unique.len() != messages.len() {
        return Err(error.fault("message", "must be a JSON Pointer or a list of different ones"));
    }
    for pointer in &messages {
        checked_pointer(pointer).map_err(|rule| error.fault("message", rule))?;
    }
    let retry_when = match error.section("retry_when")? {
        None => None,
        Some(mut when) => {
            let pointer = when.pointer("pointer")?.ok_or_else(|| when.fault("pointer", "is missing"))?;
            let any_of = when.texts("in")?;
            if any_of.is_empty() {
                return Err(when.fault("in", "is missing: a list of values"));
            }
            when.finish(&["pointer", "in"])?;
            Some(RetryWhen { pointer, any_of })
        }
    };
    error.finish(&["message", "retry_when"])?;
    Ok((messages, retry_when))
}

fn paging(top: &mut Section<'_>) -> Result<Option<Paging>, SpecFault> {
    let Some(mut page) = top.section("page")? else { return Ok(None) };
    let next = page.pointer("next")?.ok_or_else(|| page.fault("next", "is missing"))?;
    let param = page.text("param")?.filter(|param| !param.is_empty());
    let param = param.ok_or_else(|| page.fault("param", "is missing"))?.to_owned();
    let max = match page.take("max") {
        None => PAGES,
        Some(value) => {
            let max = value
                .as_u64()
                .and_then(|max| u32::try_from(max).ok())
                .filter(|max| (1..=10_000).contains(max));
            max.ok_or_else(|| page.fault("max", "must be a whole number from 1 to 10000"))?
        }
    };
    page.finish(&["next", "param", "max"])?;
    Ok(Some(Paging { next, param, max }))
}
