//! Numbers and times as venues write them, read from their digits.
//!
//! A newcomer's mistake is to let JSON make a float of a price: `105944.20` is a token here, quoted or not, and never
//! anything else before it is a decimal.

use crate::domain::decimal::Decimal;
use crate::domain::moment::{Moment, Written, parse_written, start_of_day};
use chrono_tz::Tz;
use serde_json::value::RawValue;
use std::fmt;

/// Decimals of a second that are kept.
const MICROS: usize = 6;

/// Something that is not what the venue documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// A field that is not what it should be.
fn bad(field: &str, text: &str, rule: &str) -> Malformed {
    Malformed(format!("{field} `{}` {rule}", text.chars().take(40).collect::<String>()))
}

/// The text of a token, with or without quotes around it.
pub(super) fn bare(raw: &RawValue) -> &str {
    let token = raw.get().trim();
    token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(token)
}

/// A number token, quoted or not.
pub(super) fn decimal(field: &str, raw: &RawValue) -> Result<Decimal, Malformed> {
    decimal_of(field, bare(raw))
}

/// A number.
pub(super) fn decimal_of(field: &str, text: &str) -> Result<Decimal, Malformed> {
    Decimal::parse_input(text).map_err(|error| bad(field, text, &error.to_string()))
}

/// A whole number of milliseconds since 1970.
pub(super) fn millis(field: &str, value: i64) -> Result<Moment, Malformed> {
    value.checked_mul(1_000).map(Moment).ok_or_else(|| bad(field, &value.to_string(), "is no time"))
}

/// Seconds since 1970, with or without decimals; what is below a microsecond is cut off.
pub(super) fn seconds(field: &str, text: &str) -> Result<Moment, Malformed> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let micros = || {
        let whole: i64 = whole.parse().ok()?;
        let kept: String = fraction.chars().chain("000000".chars()).take(MICROS).collect();
        whole.checked_mul(1_000_000)?.checked_add(kept.parse().ok()?)
    };
    Some(())
        .filter(|()| digits(whole) && digits(fraction))
        .and_then(|()| micros())
        .map(Moment)
        .ok_or_else(|| bad(field, text, "is no number of seconds"))
}

/// RFC 3339 with any number of decimals; what is below a microsecond is cut off.
pub(super) fn rfc3339(field: &str, text: &str) -> Result<Moment, Malformed> {
    let refused = |error: &dyn fmt::Display| bad(field, text, &error.to_string());
    let Some((whole, rest)) = text.split_once('.') else {
        return Moment::parse(text).map_err(|error| refused(&error));
    };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, zone) = rest.split_at(end);
    let kept = fraction.get(..MICROS).unwrap_or(fraction);
    Moment::parse(&format!("{whole}.{kept}{zone}")).map_err(|error| refused(&error))
}

/// A day, as its first moment in UTC.
pub(super) fn date(field: &str, text: &str) -> Result<Moment, Malformed> {
    match parse_written(text) {
        Ok(Written::Day(day)) => Ok(start_of_day(day, Tz::UTC)),
        _ => Err(bad(field, text, "is no day")),
    }
}

/// A number cut to `places` decimals, half-even. Only for sources that widen binary floats and say how many decimals
/// they mean.
pub(super) fn rounded(field: &str, text: &str, places: usize) -> Result<Decimal, Malformed> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() <= places || fraction.contains(['e', 'E']) {
        return decimal_of(field, text);
    }
    let (kept, cut) = fraction.split_at(places);
    let down = decimal_of(field, &if places == 0 { whole.to_owned() } else { format!("{whole}.{kept}") })?;
    if !cut.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad(field, text, "is not a number"));
    }
    let last = if places == 0 { whole } else { kept }.bytes().last().unwrap_or(b'0');
    let odd = (last - b'0') % 2 == 1;
    let (first, others) = cut.split_at(1);
    let beyond = others.bytes().any(|byte| byte != b'0');
    let up = match first {
        "5" => beyond || odd,
        digit => digit > "5",
    };
    if !up {
        return Ok(down);
    }
    let step =
        Decimal::new(if text.starts_with('-') { -1 } else { 1 }, u32::try_from(places).unwrap_or_default());
    Ok(down + step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Moment {
        Moment::parse(text).unwrap()
    }

    #[test]
    fn a_number_is_its_digits_quoted_or_not() {
        for token in ["105944.20", "\"105944.20\""] {
            let raw: &RawValue = serde_json::from_str(token).unwrap();
            assert_eq!(decimal("price", raw).unwrap().to_string(), "105944.20");
        }
        for token in ["\"\"", "true", "null", "\"1,5\"", "[1]", "\"NaN\"", "1e40"] {
            let raw: &RawValue = serde_json::from_str(token).unwrap();
            assert!(decimal("price", raw).is_err(), "{token}");
        }
    }

    #[test]
    fn times_keep_microseconds_and_lose_what_is_below() {
        assert_eq!(seconds("t", "1762795433.9717445").unwrap(), shown("2025-11-10T17:23:53.971744Z"));
        assert_eq!(seconds("t", "1762795433").unwrap(), shown("2025-11-10T17:23:53Z"));
        assert_eq!(
            rfc3339("t", "2023-10-04T16:25:00.123456789Z").unwrap(),
            shown("2023-10-04T16:25:00.123456Z")
        );
        assert_eq!(rfc3339("t", "2023-10-04T16:25:00.5+02:00").unwrap(), shown("2023-10-04T14:25:00.5Z"));
        assert_eq!(millis("t", 1_672_515_782_136).unwrap(), shown("2022-12-31T19:43:02.136Z"));
        for text in ["", "x", "1.2.3", "-1", "99999999999999999999"] {
            assert!(seconds("t", text).is_err(), "{text}");
        }
        assert!(rfc3339("t", "2023-10-04").is_err() && rfc3339("t", "2023-02-30T00:00:00.1Z").is_err());
    }

    #[test]
    fn widened_floats_are_rounded_half_even_by_their_digits() {
        for (text, places, wanted) in [
            ("465.864013671875", 2, "465.86"),
            ("1.125", 2, "1.12"),
            ("1.135", 2, "1.14"),
            ("1.1250001", 2, "1.13"),
            ("-0.999", 2, "-1.00"),
            ("2.5", 0, "2"),
            ("7", 4, "7"),
        ] {
            assert_eq!(rounded("close", text, places).unwrap().to_string(), wanted, "{text}");
        }
        assert!(rounded("close", "1.12x", 2).is_err());
    }
}
