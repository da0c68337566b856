//! Moments: 64-bit microseconds since 1970 UTC, and the day rules around them.

use chrono::{DateTime, Days, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};
use chrono_tz::{GapInfo, Tz};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Microseconds of one hour.
pub const HOUR: i64 = 3_600_000_000;
/// Microseconds of one day of 24 hours.
pub const DAY: i64 = 24 * HOUR;

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(pub i64);

/// Why a text is not a moment this service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// Not RFC 3339, or a day or time of day that does not exist.
    #[error("is not an RFC 3339 time or a date that exists")]
    NotATime,
    /// A time without a zone where one is required.
    #[error("has no time zone; write it as 2026-01-31T09:30:00Z or with an offset")]
    NoZone,
    /// Digits below a microsecond that are not zero.
    #[error("has more than six decimals of a second")]
    TooPrecise,
}

/// A time as it was written: a moment, or a whole day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A moment.
    Moment(Moment),
    /// A day without a time.
    Day(NaiveDate),
}

impl Moment {
    /// Before every fact.
    pub const MIN: Self = Self(i64::MIN);
    /// After every fact.
    pub const MAX: Self = Self(i64::MAX);

    /// Parses a full RFC 3339 time.
    ///
    /// # Errors
    /// [`MomentError::NoZone`] for a time without an offset, the others for what is no time at all.
    pub fn parse(text: &str) -> Result<Self, MomentError> {
        match parse_written(text)? {
            Written::Moment(moment) => Ok(moment),
            Written::Day(_) => Err(MomentError::NoZone),
        }
    }

    /// Parses RFC 3339; a time or date without a zone is taken as UTC (decision 10: price routes only).
    ///
    /// # Errors
    /// [`MomentError`] for what is no time.
    pub fn parse_utc_default(text: &str) -> Result<Self, MomentError> {
        match parse_written(text) {
            Ok(Written::Moment(moment)) => Ok(moment),
            Ok(Written::Day(day)) => Ok(start_of_day(day, Tz::UTC)),
            Err(MomentError::NoZone) => {
                let bare = text.replacen(' ', "T", 1);
                let naive = NaiveDateTime::parse_from_str(&bare, "%Y-%m-%dT%H:%M:%S%.f")
                    .or_else(|_| NaiveDateTime::parse_from_str(&bare, "%Y-%m-%dT%H:%M"))
                    .map_err(|_| MomentError::NotATime)?;
                checked(naive.and_utc())
            }
            Err(error) => Err(error),
        }
    }

    /// The moment as a calendar time, when the calendar reaches that far.
    pub fn utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.0)
    }

    /// The calendar day it falls on in `zone`.
    pub fn day_in(self, zone: Tz) -> Option<NaiveDate> {
        self.utc().map(|utc| utc.with_timezone(&zone).date_naive())
    }

    /// The calendar day that begins at this moment in `zone`. It is looked up at noon, so that a zone that was moved
    /// by a few hours since still gives the day that was meant.
    pub fn day_begun_in(self, zone: Tz) -> Option<NaiveDate> {
        self.plus(12 * HOUR).day_in(zone)
    }

    /// This moment moved by `micros`, held at the ends of the range.
    #[must_use]
    pub const fn plus(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

/// The first moment at which the clocks of `zone` show `local` or have gone past it.
pub fn first_moment(local: NaiveDateTime, zone: Tz) -> Option<Moment> {
    let moment = match zone.from_local_datetime(&local) {
        MappedLocalTime::Single(moment) | MappedLocalTime::Ambiguous(moment, _) => moment,
        MappedLocalTime::None => GapInfo::new(&local, &zone)?.end?,
    };
    Some(Moment(moment.timestamp_micros()))
}

/// The first moment of `day` in `zone`; where the clocks skip midnight, the first one that exists.
pub fn start_of_day(day: NaiveDate, zone: Tz) -> Moment {
    let midnight = day.and_time(NaiveTime::MIN);
    first_moment(midnight, zone).unwrap_or_else(|| Moment(midnight.and_utc().timestamp_micros()))
}

/// The last moment of `day` in `zone`.
pub fn end_of_day(day: NaiveDate, zone: Tz) -> Moment {
    match day.checked_add_days(Days::new(1)) {
        Some(next) => start_of_day(next, zone).plus(-1),
        None => Moment::MAX,
    }
}

/// Reads RFC 3339, or a bare `YYYY-MM-DD`.
///
/// # Errors
/// [`MomentError`] tells what is wrong with the text.
pub fn parse_written(text: &str) -> Result<Written, MomentError> {
    if let Some(moment) = parse_common(text.as_bytes()) {
        return Ok(Written::Moment(moment));
    }
    if !text.is_ascii() || text.len() < 10 || text.starts_with(['+', '-']) {
        return Err(MomentError::NotATime);
    }
    if text.len() == 10 {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| MomentError::NotATime)?;
        // Blanks in the place of digits are read, too.
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        return if plain { Ok(Written::Day(day)) } else { Err(MomentError::NotATime) };
    }
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => checked(time.to_utc()).map(Written::Moment),
        Err(_) if looks_local(text) => Err(MomentError::NoZone),
        Err(_) => Err(MomentError::NotATime),
    }
}

/// Reads `YYYY-MM-DDTHH:MM:SSZ`, with up to six decimals, as feeds write it by the million; `None` for anything else,
/// right or wrong.
fn parse_common(text: &[u8]) -> Option<Moment> {
    let number = |from: usize, to: usize| -> Option<u32> {
        text.get(from..to)?
            .iter()
            .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| text.get(*at) != Some(mark)) {
        return None;
    }
    let micros = match text.get(19..)? {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if (1..=6).contains(&digits.len()) => {
            number(20, 20 + digits.len())? * 10_u32.pow(u32::try_from(6 - digits.len()).ok()?)
        }
        _ => return None,
    };
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let year = i32::try_from(number(0, 4)?).ok()?;
    let day = NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?;
    let days = i64::from(day.to_epoch_days());
    let seconds = i64::from(hour * 3_600 + minute * 60 + second);
    Some(Moment(days * DAY + seconds * 1_000_000 + i64::from(micros)))
}

fn looks_local(text: &str) -> bool {
    let bare = text.replacen(' ', "T", 1);
    NaiveDateTime::parse_from_str(&bare, "%Y-%m-%dT%H:%M:%S%.f").is_ok()
        || NaiveDateTime::parse_from_str(&bare, "%Y-%m-%dT%H:%M").is_ok()
}

fn checked(time: DateTime<Utc>) -> Result<Moment, MomentError> {
    if !time.timestamp_subsec_nanos().is_multiple_of(1_000) {
        return Err(MomentError::TooPrecise);
    }
    // An offset can lead out of the years that RFC 3339 writes.
    let written = (0..=9_999).contains(&chrono::Datelike::year(&time));
    if time.timestamp_subsec_nanos() >= 1_000_000_000 || !written {
        return Err(MomentError::NotATime);
    }
    Ok(Moment(time.timestamp_micros()))
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.text() {
            return f.write_str(str::from_utf8(&text).unwrap_or_default());
        }
        match self.utc() {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.6fZ")),
            None => write!(f, "{}us", self.0),
        }
    }
}

/// Days of 400 years, after which the calendar begins anew.
const DAYS_OF_400_YEARS: i64 = 146_097;
/// Days from 1 March of the year 0 to 1970.
const DAYS_TO_1970: i64 = 719_468;

/// Year, month and day of a day counted from 1970. Years are counted from March, so that a leap day ends one: see Howard
/// Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
const fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let (era, day) = (days.div_euclid(DAYS_OF_400_YEARS), days.rem_euclid(DAYS_OF_400_YEARS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

impl Moment {
    /// How a moment of a year of four digits is written. Every answer is full of moments: this asks no calendar.
    pub fn text(self) -> Option<[u8; 27]> {
        let (year, month, day) = civil(self.0.div_euclid(DAY));
        if !(0..=9_999).contains(&year) {
            return None;
        }
        let micros = self.0.rem_euclid(DAY);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let [y1, y2, y3, y4, _, m1, m2, _, d1, d2, _, rest @ ..] = &mut text;
        let [h1, h2, _, n1, n2, _, s1, s2, _, f1, f2, f3, f4, f5, f6, _] = rest;
        let pairs = [
            ([y1, y2], year / 100),
            ([y3, y4], year % 100),
            ([m1, m2], month),
            ([d1, d2], day),
            ([h1, h2], micros / HOUR),
            ([n1, n2], micros / 60_000_000 % 60),
            ([s1, s2], micros / 1_000_000 % 60),
            ([f1, f2], micros / 10_000 % 100),
            ([f3, f4], micros / 100 % 100),
            ([f5, f6], micros % 100),
        ];
        for ([tens, ones], pair) in pairs {
            let pair = u8::try_from(pair).ok()?;
            (*tens, *ones) = (b'0' + pair / 10, b'0' + pair % 10);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_with_six_digits_and_read_back() {
        let moment = Moment::parse("2026-01-31T09:30:00.5+01:00").unwrap();
        assert_eq!(moment.to_string(), "2026-01-31T08:30:00.500000Z");
        assert_eq!(Moment::parse(&moment.to_string()), Ok(moment));
        assert_eq!(Moment::parse("1833-01-01T00:00:00Z").unwrap().to_string(), "1833-01-01T00:00:00.000000Z");
    }

    #[test]
    fn every_moment_is_written_as_its_pattern_says() {
        let edges = [
            "0000-01-01T00:00:00Z",
            "0999-12-31T23:59:59.999999Z",
            "1969-12-31T23:59:59.000001Z",
            "9999-12-31T23:59:59.999999Z",
        ];
        let edges = edges.map(|text| Moment::parse(text).unwrap());
        let many = (0..5_000_i64).map(|n| Moment(n * 7_919_000_003_457 - 9_000_000_000_000_000));
        for moment in edges.into_iter().chain(many) {
            let pattern = moment.utc().unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            assert_eq!(moment.to_string(), pattern);
            // Without asking a calendar, too.
            assert_eq!(moment.text().as_ref().map(<[u8; 27]>::as_slice), Some(pattern.as_bytes()));
        }
        // Every day of 800 years, and the borders of what has four digits.
        for day in (-300_000..300_000).chain([-719_529, -719_528, 2_932_896, 2_932_897]) {
            let moment = Moment(day * DAY + (day * 7_919).rem_euclid(DAY));
            let pattern = moment.utc().unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            assert_eq!(moment.to_string(), pattern);
        }
        for moment in [Moment::MIN, Moment::MAX] {
            assert_eq!(moment.to_string(), format!("{}us", moment.0));
        }
        let far = Moment(300_000_000_000_000_000);
        assert_eq!(far.to_string(), "+11476-08-15T05:20:00.000000Z");
    }

    #[test]
    fn impossible_and_zoneless_times_are_refused() {
        assert_eq!(Moment::parse("2026-02-30T00:00:00Z"), Err(MomentError::NotATime));
        assert_eq!(parse_written("2026-02-30"), Err(MomentError::NotATime));
        assert_eq!(Moment::parse("2026-01-31T09:30:00"), Err(MomentError::NoZone));
        assert_eq!(Moment::parse("not-a-time"), Err(MomentError::NotATime));
        assert_eq!(Moment::parse("2026-01-31T09:30:00.1234567Z"), Err(MomentError::TooPrecise));
        assert_eq!(Moment::parse("2026-01-31T23:59:60Z"), Err(MomentError::NotATime));
    }

    #[test]
    fn what_is_too_short_or_has_a_sign_is_no_time_and_not_one_that_lacks_its_zone() {
        for text in ["1-1-1T1:1", "-026-01-31", "+026-01-31", "-026-01-31T09:30", "2026-1-1", ""] {
            assert_eq!(parse_written(text), Err(MomentError::NotATime), "{text}");
        }
        assert_eq!(parse_written("2026-01-31T09:30"), Err(MomentError::NoZone));
    }

    #[test]
    fn what_has_nothing_odd_is_read_without_asking_a_calendar() {
        for text in ["2026-01-31T09:30:00Z", "2026-01-31T23:59:59Z", "2026-01-31T00:00:00.000001Z"] {
            assert_eq!(parse_common(text.as_bytes()), Moment::parse(text).ok(), "{text}");
        }
        for text in ["2026-01-31T24:00:00Z", "2026-01-31T23:60:00Z", "2026-01-31T23:59:60Z"] {
            assert_eq!(parse_common(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_day_that_begins_elsewhere_is_the_day_that_was_meant() {
        for zone in [Tz::Asia__Tokyo, Tz::America__New_York, Tz::UTC] {
            let day = NaiveDate::from_ymd_opt(2026, 3, 10).unwrap();
            assert_eq!(start_of_day(day, zone).day_begun_in(Tz::UTC), Some(day), "{zone}");
        }
    }

    #[test]
    fn the_common_way_of_writing_is_read_as_any_other() {
        let texts = [
            "2026-01-31T09:30:00Z",
            "1969-12-31T23:59:59.999999Z",
            "0000-01-01T00:00:00.1Z",
            "9999-12-31T23:59:59.000001Z",
            "2024-02-29T12:00:00.12345Z",
            "2023-02-29T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T23:60:00Z",
            "2026-01-31T23:59:60Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-31T09:30:00.Z",
            "2026-01-31T09:30:00.1234567Z",
            "2026-01-31T09:30:00+00:00",
            "2026-01-31T09:3 :00Z",
            "+026-01-31T09:30:00Z",
        ];
        for text in texts {
            let common = parse_common(text.as_bytes());
            let other = DateTime::parse_from_rfc3339(text).ok().and_then(|time| checked(time.to_utc()).ok());
            assert!(common.is_none() || common == other, "{text}: {common:?}, {other:?}");
            let read = Moment::parse(text).ok();
            assert_eq!(read, other, "{text}");
        }
        assert_eq!(parse_common(b"2026-01-31T09:30:00.5Z"), Some(Moment(1_769_851_800_500_000)));
    }

    #[test]
    fn a_zoneless_price_time_is_utc() {
        assert_eq!(Moment::parse_utc_default("2026-01-31T09:30:00"), Moment::parse("2026-01-31T09:30:00Z"));
        assert_eq!(Moment::parse_utc_default("2026-01-31"), Moment::parse("2026-01-31T00:00:00Z"));
    }

    #[test]
    fn a_day_follows_its_zone_through_summer_time() {
        let zone = Tz::America__New_York;
        let day = NaiveDate::from_ymd_opt(2026, 3, 8).unwrap();
        assert_eq!(end_of_day(day, zone).0 - start_of_day(day, zone).0 + 1, 23 * HOUR);
        // In Havana the clocks skip midnight itself on that day.
        let skipped = start_of_day(day, Tz::America__Havana);
        assert_eq!(skipped.to_string(), "2026-03-08T05:00:00.000000Z");
    }

    #[test]
    fn however_odd_a_time_is_what_it_is_read_as_is_read_again_from_how_it_is_written() {
        let examples = [
            "2026-01-31T09:30:00.5+01:00",
            "2026-01-31",
            "2025-12-31T23:59:59.999999Z",
            // In UTC these lie in years that cannot be written.
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00+01:00",
        ];
        crate::domain::hammer::hammer(&examples, |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Ok(moment) = Moment::parse_utc_default(text) {
                assert_eq!(Moment::parse(&moment.to_string()), Ok(moment), "{text:?}");
            }
            if let Ok(Written::Day(day)) = parse_written(text) {
                assert_eq!(day.to_string(), text);
            }
        });
    }
}
