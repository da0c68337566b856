//! Times as providers write them.

use crate::domain::moment::{Moment, Written, parse_written, start_of_day};
use crate::named_enum;
use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;

named_enum! {
    /// How a time is written, unless by a format of its own.
    TimeUnit {
        /// Seconds since 1970.
        Seconds = "s",
        /// Milliseconds since 1970.
        Millis = "ms",
        /// Microseconds since 1970.
        Micros = "us",
        /// Nanoseconds since 1970; what is below a microsecond is cut off.
        Nanos = "ns",
        /// RFC 3339.
        Rfc3339 = "rfc3339",
        /// `YYYY-MM-DD`: the first moment of that day.
        Date = "date",
    }
}

/// How times of a mapping are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TimeFormat {
    Unit(TimeUnit),
    /// As `strftime` has it.
    Own(String),
}

impl TimeFormat {
    /// The rule of a unit.
    pub(super) const RULE: &'static str =
        "must be s, ms, us, ns, rfc3339, date, or `fmt:` and a format such as fmt:%Y-%m-%d %H:%M";

    /// Reads the name of a unit, or a format.
    pub(super) fn named(text: &str) -> Option<Self> {
        if let Some(own) = text.strip_prefix("fmt:") {
            let known = !own.is_empty() && StrftimeItems::new(own).all(|item| !matches!(item, Item::Error));
            return known.then(|| Self::Own(own.to_owned()));
        }
        TimeUnit::from_name(text).map(Self::Unit)
    }

    /// The moment a text says, in `zone` when it says none.
    pub(super) fn read(&self, text: &str, zone: Tz) -> Result<Moment, String> {
        match self {
            Self::Unit(TimeUnit::Seconds) => number(text, 6),
            Self::Unit(TimeUnit::Millis) => number(text, 3),
            Self::Unit(TimeUnit::Micros) => number(text, 0),
            Self::Unit(TimeUnit::Nanos) => number(text, -3),
            Self::Unit(TimeUnit::Rfc3339) => {
                let at = DateTime::parse_from_rfc3339(text);
                at.map(|at| Moment(at.timestamp_micros())).map_err(|_| format!("`{text}` is not RFC 3339"))
            }
            Self::Unit(TimeUnit::Date) => match parse_written(text) {
                Ok(Written::Day(day)) => Ok(start_of_day(day, zone)),
                Ok(Written::Moment(_)) | Err(_) => Err(format!("`{text}` is not a day such as 2026-01-31")),
            },
            Self::Own(format) => own(text, format, zone),
        }
    }
}

/// A time that the clocks of `zone` skip is refused; of one that they show twice it is the first.
fn own(text: &str, format: &str, zone: Tz) -> Result<Moment, String> {
    if let Ok(at) = DateTime::parse_from_str(text, format) {
        return Ok(Moment(at.timestamp_micros()));
    }
    if let Ok(local) = NaiveDateTime::parse_from_str(text, format) {
        let shown = zone.from_local_datetime(&local).earliest();
        let moment = shown.map(|at| Moment(at.timestamp_micros()));
        return moment.ok_or_else(|| format!("`{text}` does not exist in {zone}, whose clocks skip it"));
    }
    let day = NaiveDate::parse_from_str(text, format);
    day.map(|day| start_of_day(day, zone)).map_err(|_| format!("`{text}` is not `{format}`"))
}

/// A count since 1970 with so many decimals to a microsecond, from its digits.
fn number(text: &str, decimals: i32) -> Result<Moment, String> {
    let bad = || format!("`{text}` is not a plain number of units since 1970");
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 20 || !plain(whole) || !plain(fraction) {
        return Err(bad());
    }
    let whole: i128 = whole.parse().map_err(|_| bad())?;
    let micros = match usize::try_from(decimals) {
        Ok(decimals) => {
            let kept: String = fraction.chars().chain("000000".chars()).take(decimals).collect();
            let ten = 10_i128.pow(u32::try_from(decimals).unwrap_or_default());
            whole * ten + kept.parse::<i128>().unwrap_or_default()
        }
        Err(_) => whole.div_euclid(10_i128.pow(decimals.unsigned_abs())),
    };
    i64::try_from(micros * sign).ok().map(Moment).filter(|at| at.utc().is_some()).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(unit: &str, text: &str, zone: Tz) -> Result<String, String> {
        TimeFormat::named(unit).unwrap().read(text, zone).map(|at| at.to_string())
    }

    #[test]
    fn times_are_read_from_their_digits() {
        for (unit, text, wanted) in [
            ("s", "1762795433.9717445", "2025-11-10T17:23:53.971744Z"),
            ("s", "1591514160", "2020-06-07T07:16:00.000000Z"),
            ("s", "-1", "1969-12-31T23:59:59.000000Z"),
            ("ms", "1499040000000", "2017-07-03T00:00:00.000000Z"),
            ("us", "1499040000000001", "2017-07-03T00:00:00.000001Z"),
            ("ns", "1499040000000001999", "2017-07-03T00:00:00.000001Z"),
            ("rfc3339", "2023-10-06T17:35:55.440295Z", "2023-10-06T17:35:55.440295Z"),
            ("rfc3339", "2023-10-06T17:35:55+02:00", "2023-10-06T15:35:55.000000Z"),
            ("date", "2024-11-01", "2024-11-01T00:00:00.000000Z"),
            ("fmt:%Y-%m-%d %H:%M", "2024-11-01 09:30", "2024-11-01T09:30:00.000000Z"),
            ("fmt:%d.%m.%Y", "01.11.2024", "2024-11-01T00:00:00.000000Z"),
            ("fmt:%Y%m%d %H%M%S %z", "20241101 093000 -0400", "2024-11-01T13:30:00.000000Z"),
        ] {
            assert_eq!(read(unit, text, Tz::UTC).as_deref(), Ok(wanted), "{unit} {text}");
        }
        let new_york: Tz = "America/New_York".parse().unwrap();
        assert_eq!(read("date", "2024-07-01", new_york).as_deref(), Ok("2024-07-01T04:00:00.000000Z"));
        assert_eq!(
            read("fmt:%Y-%m-%d %H:%M:%S", "2024-01-02 09:30:00", new_york).as_deref(),
            Ok("2024-01-02T14:30:00.000000Z")
        );
    }

    #[test]
    fn a_time_that_clocks_skip_is_refused_and_one_they_show_twice_is_the_first() {
        let unit = "fmt:%Y-%m-%d %H:%M";
        let read = |text: &str| read(unit, text, Tz::Europe__Berlin);
        for (text, wanted) in [
            ("2026-03-29 01:59", "2026-03-29T00:59:00.000000Z"),
            ("2026-03-29 03:00", "2026-03-29T01:00:00.000000Z"),
            ("2026-10-25 02:30", "2026-10-25T00:30:00.000000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(wanted));
        }
        for text in ["2026-03-29 02:00", "2026-03-29 02:59"] {
            assert!(read(text).unwrap_err().contains("clocks skip it"), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for (unit, text) in [
            ("s", ""),
            ("s", "1e9"),
            ("s", "1.2.3"),
            ("s", "99999999999999999999"),
            ("ms", "x"),
            ("date", "2024-02-30"),
            ("date", "2024-01-01T00:00:00Z"),
            ("rfc3339", "2024-01-01 00:00:00"),
            ("fmt:%Y-%m-%d", "2024-13-01"),
        ] {
            assert!(read(unit, text, Tz::UTC).is_err(), "{unit} {text}");
        }
        assert_eq!(TimeFormat::named("fmt:%Q"), None);
        assert_eq!(TimeFormat::named("seconds"), None);
    }
}
