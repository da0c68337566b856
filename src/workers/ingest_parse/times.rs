//! From the text of a stamp to a moment. The rules stand at the top of [`super`].

use super::row::Wrong;
use super::{Code, Field, Options, Stamp};
use crate::domain::interval::Interval;
use crate::domain::moment::{Moment, start_of_day};
use chrono::{MappedLocalTime, NaiveDate, NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;

/// Microseconds of one second.
const SECOND: i64 = 1_000_000;
const TOO_PRECISE: &str = "has digits below a microsecond";

/// Reads the stamps of one file.
pub(super) struct Times {
    zone: Option<Tz>,
    shift: Option<Interval>,
    /// The unit of the first Unix time. A file has one: if later rows seem to have another, then one of
    /// the two readings is wrong (milliseconds of early 1970 look like seconds).
    unit: Option<Unit>,
}

/// One stamp.
pub(super) struct Time {
    pub(super) moment: Moment,
    /// Whether its local time happened twice.
    pub(super) ambiguous: bool,
}

/// The unit of a Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// Whether whole numbers in a column of this name are Unix times: in one called a date they would be dates.
pub(super) fn may_be_unix(column: &str) -> bool {
    !["date", "datetime"].iter().any(|name| column.eq_ignore_ascii_case(name))
}

fn wrong(code: Code, text: &str, why: &str) -> Wrong {
    Wrong::value(Field::Time, code, text, why)
}

impl Times {
    pub(super) fn new(options: &Options) -> Self {
        let shift = options.interval.filter(|_| options.stamp == Some(Stamp::End));
        Self { zone: options.time_zone, shift, unit: None }
    }

    /// The moment that `text` stands for; `unix` allows a whole number.
    pub(super) fn read(&mut self, text: &str, unix: bool) -> Result<Time, Wrong> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let whole_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let time = if whole_number && unix {
            Time { moment: self.unix(text)?, ambiguous: false }
        } else {
            self.written(text)?
        };
        let Some(interval) = self.shift else { return Ok(time) };
        let end = interval.end_of(time.moment, self.zone.unwrap_or(Tz::UTC));
        let moment = end.ok_or_else(|| wrong(Code::NotATime, text, "is past the end of the calendar"))?;
        Ok(Time { moment, ..time })
    }

    fn unix(&mut self, text: &str) -> Result<Moment, Wrong> {
        if looks_like_a_date(text) {
            let why = "may be a date or a Unix time; write dates as YYYY-MM-DD";
            return Err(wrong(Code::AmbiguousUnixTime, text, why));
        }
        let not_a_time = || wrong(Code::NotATime, text, "is no Unix time within the calendar");
        let number: i64 = text.parse().map_err(|_| not_a_time())?;
        let unit = Unit::of(number);
        // Zero is the same moment in every unit.
        if number != 0 && *self.unit.get_or_insert(unit) != unit {
            let why = "is a Unix time in another unit than those before it";
            return Err(wrong(Code::AmbiguousUnixTime, text, why));
        }
        let micros = match unit {
            Unit::Seconds => number.checked_mul(SECOND),
            Unit::Milliseconds => number.checked_mul(1_000),
            Unit::Microseconds => Some(number),
            Unit::Nanoseconds if number % 1_000 != 0 => {
                return Err(wrong(Code::TimeTooPrecise, text, TOO_PRECISE));
            }
            Unit::Nanoseconds => Some(number / 1_000),
        };
        micros.map(Moment).filter(|moment| moment.utc().is_some()).ok_or_else(not_a_time)
    }

    fn written(&self, text: &str) -> Result<Time, Wrong> {
        const FORMS: &str = "is not a time (RFC 3339, YYYY-MM-DD HH:MM:SS or YYYY-MM-DD) or does not exist";
        let not_a_time = || wrong(Code::NotATime, text, FORMS);
        let (day, rest) = text.split_at_checked(10).ok_or_else(not_a_time)?;
        let day = date(day).ok_or_else(not_a_time)?;
        if rest.is_empty() {
            return self.day(day, text);
        }
        let clock = rest.strip_prefix(['T', 't', ' ']).ok_or_else(not_a_time)?;
        let (clock, offset) = clock.split_at(clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len()));
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2]).ok_or_else(not_a_time)?;
        let (micros, below) = micros_of(fraction).ok_or_else(not_a_time)?;
        if below.bytes().any(|digit| digit != b'0') {
            return Err(wrong(Code::TimeTooPrecise, text, TOO_PRECISE));
        }
        let local = day.and_hms_micro_opt(hour, minute, second, micros).ok_or_else(not_a_time)?;
        if offset.is_empty() {
            return self.local(local, text);
        }
        let ahead = offset_seconds(offset).ok_or_else(not_a_time)?;
        let moment = Moment(local.and_utc().timestamp_micros()).plus(-ahead * SECOND);
        Ok(Time { moment, ambiguous: false })
    }

    fn day(&self, day: NaiveDate, text: &str) -> Result<Time, Wrong> {
        let zone = self.zone.unwrap_or(Tz::UTC);
        let moment = start_of_day(day, zone);
        // A zone that changed sides of the date line skipped a whole day.
        if moment.day_in(zone) != Some(day) {
            return Err(wrong(Code::NonexistentLocalTime, text, &format!("does not exist in {zone}")));
        }
        Ok(Time { moment, ambiguous: false })
    }

    fn local(&self, local: NaiveDateTime, text: &str) -> Result<Time, Wrong> {
        let Some(zone) = self.zone else {
            return Err(wrong(
                Code::TimeWithoutZone,
                text,
                "has no time zone; name the zone of the file with the parameter `tz`",
            ));
        };
        match zone.from_local_datetime(&local) {
            MappedLocalTime::Single(at) => {
                Ok(Time { moment: Moment(at.timestamp_micros()), ambiguous: false })
            }
            MappedLocalTime::Ambiguous(first, _) => {
                Ok(Time { moment: Moment(first.timestamp_micros()), ambiguous: true })
            }
            MappedLocalTime::None => {
                let why = format!("does not exist in {zone}, whose clocks skip it");
                Err(wrong(Code::NonexistentLocalTime, text, &why))
            }
        }
    }
}

impl Unit {
    /// 10^10 seconds is the year 2286, 10^10 milliseconds is April 1970, and so on by thousands.
    const fn of(number: i64) -> Self {
        match number.unsigned_abs() {
            0..10_000_000_000 => Self::Seconds,
            10_000_000_000..10_000_000_000_000 => Self::Milliseconds,
            10_000_000_000_000..10_000_000_000_000_000 => Self::Microseconds,
            10_000_000_000_000_000.. => Self::Nanoseconds,
        }
    }
}

/// Whether a whole number reads as YYYY, YYYYMM, YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS of this or the last
/// century. As a Unix time all of these fall into the 1970s, so the reading would be wrong without a sign.
fn looks_like_a_date(text: &str) -> bool {
    if !matches!(text.len(), 4 | 6 | 8 | 12 | 14) {
        return false;
    }
    let part = |from: usize, to: usize, low: u32, high: u32| {
        let Some(part) = text.get(from..to) else { return true };
        part.parse().is_ok_and(|number: u32| (low..=high).contains(&number))
    };
    part(0, 4, 1900, 2099)
        && part(4, 6, 1, 12)
        && part(6, 8, 1, 31)
        && part(8, 10, 0, 23)
        && part(10, 12, 0, 59)
        && part(12, 14, 0, 59)
}

fn date(text: &str) -> Option<NaiveDate> {
    let [year, month, day] = numbers(text, '-', [4, 2, 2])?;
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)
}

/// Seconds that `Z` or `+HH:MM` is ahead of UTC.
fn offset_seconds(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let [hours, minutes] = numbers(text.get(1..)?, ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i64::from(hours * 3_600 + minutes * 60);
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

/// The digits after the point of a second: its microseconds, and the digits below them.
fn micros_of(fraction: &str) -> Option<(u32, &str)> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (micros, below) = fraction.split_at_checked(6).unwrap_or((fraction, ""));
    let unit = 10_u32.checked_pow(6_u32.checked_sub(u32::try_from(micros.len()).ok()?)?)?;
    Some((micros.parse::<u32>().ok()?.checked_mul(unit)?, below))
}

/// Numbers of exactly these widths with `separator` between them.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[u32; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}
