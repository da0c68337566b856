//! Reading a JSON object field by field: every fault is collected with its pointer, and a number is read from its
//! digits, never through a float.

use crate::domain::decimal::{Decimal, DecimalError};
use crate::domain::moment::{Moment, MomentError, Written, parse_written};
use crate::http::error::{ApiError, Code, FieldError};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::fmt;

/// Deepest nesting of a body.
const DEPTH_MAX: usize = 64;

/// Most members of an object whose members are read.
const MEMBERS_MAX: usize = 10_000;

/// What to do with a field nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Pass over it, as the earlier service did on its routes.
    Ignored,
    /// Refuse it.
    Refused,
}

/// The members of a JSON object, in order, each as its own text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    if members.len() == MEMBERS_MAX {
                        let detail = format!("an object has more than {MEMBERS_MAX} members");
                        return Err(serde::de::Error::custom(detail));
                    }
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Collect).map(Self)
    }
}

/// The fields of one object of a request body.
pub struct Fields<'a> {
    pointer: String,
    members: Vec<(String, &'a RawValue)>,
    /// Fields that were read, some of them more than once.
    read: Vec<&'static str>,
    errors: Vec<FieldError>,
}

fn wrong_type(pointer: &str, wanted: &str) -> FieldError {
    FieldError::at(pointer, "wrong_type", format!("must be {wanted}"))
}

/// Splits a body that is an array into its elements; an object is one element of its own.
///
/// # Errors
/// [`Code::MalformedJson`] for what is not JSON, [`Code::InvalidRequest`] for JSON of another type.
pub fn elements(body: &[u8]) -> Result<(Vec<&RawValue>, bool), ApiError> {
    let whole: &RawValue = parse(body)?;
    if whole.get().starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(whole.get()).map_err(|error| malformed(&error))?;
        return Ok((list, true));
    }
    Ok((vec![whole], false))
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::new(Code::MalformedJson, format!("the body is not JSON: {error}"))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::new(Code::MalformedJson, "the body is not UTF-8 text"))?;
    if depth(text) > DEPTH_MAX {
        return Err(ApiError::new(
            Code::MalformedJson,
            format!("the body is nested deeper than {DEPTH_MAX}"),
        ));
    }
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

fn depth(text: &str) -> usize {
    let (mut deepest, mut depth, mut quoted, mut escaped) = (0_usize, 0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A name as a part of a JSON Pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl<'a> Fields<'a> {
    /// The fields of a whole body.
    ///
    /// # Errors
    /// [`Code::MalformedJson`] for what is not JSON, [`Code::InvalidRequest`] for JSON that is no object.
    pub fn of_body(body: &'a [u8]) -> Result<Self, ApiError> {
        Self::of(parse(body)?, String::new()).map_err(|fault| ApiError::invalid(vec![fault]))
    }

    /// The fields of a part of a body that stands at `pointer`.
    ///
    /// # Errors
    /// The fault of what is no object, or has a name that is no text (`\ud800`).
    pub fn of(raw: &'a RawValue, pointer: String) -> Result<Self, FieldError> {
        if !raw.get().starts_with('{') {
            return Err(wrong_type(&pointer, "an object"));
        }
        let Members(members) = serde_json::from_str(raw.get()).map_err(|error| {
            FieldError::at(pointer.clone(), "malformed", format!("cannot be read: {error}"))
        })?;
        let mut errors = Vec::new();
        let mut names = BTreeSet::new();
        for (name, _) in &members {
            if !names.insert(name.as_str()) {
                errors.push(FieldError::at(
                    format!("{pointer}/{}", escaped(name)),
                    "repeated",
                    "is given more than once",
                ));
            }
        }
        Ok(Self { pointer, members, read: Vec::with_capacity(16), errors })
    }

    /// The pointer of a field.
    pub fn pointer(&self, name: &str) -> String {
        format!("{}/{}", self.pointer, escaped(name))
    }

    /// Notes a fault of a field.
    pub fn fault(&mut self, name: &str, code: &'static str, detail: impl Into<String>) {
        let pointer = self.pointer(name);
        // One fault for a field: what follows from the first is no news.
        if self.errors.iter().all(|error| error.pointer.as_deref() != Some(&*pointer)) {
            self.errors.push(FieldError::at(pointer, code, detail));
        }
    }

    /// Faults found so far.
    pub const fn fault_count(&self) -> usize {
        self.errors.len()
    }

    /// Whether a fault was found so far.
    pub fn is_faulty(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Notes a fault of each of these fields that is given as null: it can be changed, but not cleared.
    pub fn not_null(&mut self, names: &[&str]) {
        for name in names {
            if self.members.iter().any(|(member, raw)| member == name && raw.get() == "null") {
                self.fault(name, "required", "cannot be cleared");
            }
        }
    }

    /// Takes over faults found in a part of this object.
    pub fn adopt(&mut self, faults: Vec<FieldError>) {
        self.errors.extend(faults);
    }

    /// The text of a field's value; `None` when absent or null.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.read.push(name);
        let (_, raw) = self.members.iter().find(|(member, _)| member == name)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// Whether a field is given, also as null.
    pub fn has(&mut self, name: &'static str) -> bool {
        self.read.push(name);
        self.members.iter().any(|(member, _)| member == name)
    }

    fn required<T>(&mut self, name: &'static str, value: Option<T>) -> Option<T> {
        let faulty = self.errors.iter().any(|error| error.pointer.as_deref() == Some(&self.pointer(name)));
        if value.is_none() && !faulty {
            self.fault(name, "required", "is required");
        }
        value
    }

    /// An optional text.
    pub fn opt_text(&mut self, name: &'static str) -> Option<String> {
        let raw = self.raw(name)?;
        if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
            if !text.contains('\0') {
                return Some(text);
            }
            // PostgreSQL cannot keep it, so neither database does.
            self.fault(name, "control_character", "contains the character U+0000");
            return None;
        }
        let pointer = self.pointer(name);
        self.errors.push(wrong_type(&pointer, "a string"));
        None
    }

    /// A required text that is not blank and has at most `max` characters.
    pub fn text(&mut self, name: &'static str, max: usize) -> String {
        let text = self.opt_name(name, max);
        self.required(name, text).unwrap_or_default()
    }

    /// An optional text that is not blank, has at most `max` characters and no control characters.
    pub fn opt_name(&mut self, name: &'static str, max: usize) -> Option<String> {
        let text = self.opt_text(name)?;
        if text.trim().is_empty() {
            self.fault(name, "blank", "must not be blank");
        } else if text.chars().count() > max {
            self.fault(name, "too_long", format!("has more than {max} characters"));
        } else if text.chars().any(char::is_control) {
            self.fault(name, "control_character", "contains a control character");
        }
        Some(text)
    }

    /// An optional exact decimal: a string or a number token.
    pub fn opt_decimal(&mut self, name: &'static str) -> Option<Decimal> {
        let raw = self.raw(name)?.get();
        let parsed = if raw.starts_with('"') {
            serde_json::from_str::<String>(raw).map_err(|_| DecimalError::NotANumber).and_then(|text| {
                // A string is plain notation; exponents belong to JSON number tokens.
                if text.contains(['e', 'E']) {
                    Err(DecimalError::NotANumber)
                } else {
                    Decimal::parse_input(&text)
                }
            })
        } else if raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            Decimal::parse_input(raw)
        } else {
            let pointer = self.pointer(name);
            self.errors.push(wrong_type(&pointer, "a decimal: a string or a number"));
            return None;
        };
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                let code = match error {
                    DecimalError::NotANumber => "not_a_number",
                    DecimalError::TooManyDigits => "too_many_digits",
                };
                self.fault(name, code, error.to_string());
                None
            }
        }
    }

    /// A required exact decimal.
    pub fn decimal(&mut self, name: &'static str) -> Decimal {
        let value = self.opt_decimal(name);
        self.required(name, value).unwrap_or_default()
    }

    /// An optional moment; a bare day is given back as such.
    pub fn opt_time(&mut self, name: &'static str) -> Option<Written> {
        let text = self.opt_text(name)?;
        match parse_written(&text) {
            Ok(written) => Some(written),
            Err(error) => {
                let code = if error == MomentError::NoZone { "time_without_zone" } else { "not_a_time" };
                self.fault(name, code, error.to_string());
                None
            }
        }
    }

    /// An optional moment in which a time without a zone is UTC (decision 10).
    pub fn opt_utc(&mut self, name: &'static str) -> Option<Moment> {
        let text = self.opt_text(name)?;
        match Moment::parse_utc_default(&text) {
            Ok(moment) => Some(moment),
            Err(error) => {
                self.fault(name, "not_a_time", error.to_string());
                None
            }
        }
    }

    /// An optional true or false.
    pub fn opt_bool(&mut self, name: &'static str) -> Option<bool> {
        let raw = self.raw(name)?;
        let value = serde_json::from_str(raw.get()).ok();
        if value.is_none() {
            let pointer = self.pointer(name);
            self.errors.push(wrong_type(&pointer, "true or false"));
        }
        value
    }

    /// An optional value of any type that JSON text can be read as.
    pub fn opt_value<T: Deserialize<'a>>(&mut self, name: &'static str, wanted: &str) -> Option<T> {
        let raw = self.raw(name)?;
        let value = serde_json::from_str(raw.get()).ok();
        if value.is_none() {
            let pointer = self.pointer(name);
            self.errors.push(wrong_type(&pointer, wanted));
        }
        value
    }

    /// An optional name of an enumeration.
    pub fn opt_one_of<T>(
        &mut self,
        name: &'static str,
        names: &[&str],
        read: fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.opt_text(name)?;
        let value = read(&text);
        if value.is_none() {
            self.fault(name, "unknown_value", format!("must be one of {}", names.join(", ")));
        }
        value
    }

    /// An optional free JSON object, as text; `{}` when absent.
    pub fn metadata(&mut self) -> Option<String> {
        let raw = self.raw("metadata")?;
        if raw.get().starts_with('{') && raw.get().len() <= 65_536 {
            return Some(raw.get().to_owned());
        }
        let pointer = self.pointer("metadata");
        self.errors.push(wrong_type(&pointer, "an object of at most 64 KiB"));
        None
    }

    /// The faults found so far, unknown fields among them when they are refused.
    pub fn faults(mut self, unknown: Unknown) -> Vec<FieldError> {
        if unknown == Unknown::Refused {
            let strangers: Vec<String> = self
                .members
                .iter()
                .filter(|(name, _)| !self.read.contains(&name.as_str()))
                .map(|(name, _)| self.pointer(name))
                .collect();
            self.errors.extend(
                strangers
                    .into_iter()
                    .map(|at| FieldError::at(at, "unknown_field", "is not a field of this request")),
            );
        }
        self.errors
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] with every fault found.
    pub fn finish(self, unknown: Unknown) -> Result<(), ApiError> {
        let errors = self.faults(unknown);
        if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
    }
}
