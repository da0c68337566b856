//! Candle lengths: the intervals a price point may carry, and where a candle ends.
//!
//! A newcomer's mistake is to add 24 hours for a day. Days, weeks and months are steps of the calendar in
//! a time zone: a day in New York may have 23 or 25 hours, and a month is no number of days. And the case
//! counts: `1m` is a minute, `1M` a month.

use crate::domain::moment::{DAY, HOUR, Moment, first_moment, start_of_day};
use crate::named_enum;
use chrono::{
    DateTime, Datelike as _, Days, Months, NaiveDateTime, NaiveTime, Offset as _, TimeDelta, TimeZone as _,
    Utc,
};
use chrono_tz::Tz;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Microseconds of one second.
const SECOND: i64 = 1_000_000;
/// Moments that the calendar has.
const CALENDAR: RangeInclusive<i64> =
    DateTime::<Utc>::MIN_UTC.timestamp_micros()..=DateTime::<Utc>::MAX_UTC.timestamp_micros();
/// Microseconds of one minute.
const MINUTE: i64 = 60 * SECOND;

named_enum! {
    /// The length of a candle. Declared, and so compared, from the shortest to the longest.
    Interval {
        /// A second.
        Second = "1s",
        /// A minute.
        Minute = "1m",
        /// 5 minutes.
        Minutes5 = "5m",
        /// 15 minutes.
        Minutes15 = "15m",
        /// 30 minutes.
        Minutes30 = "30m",
        /// An hour.
        Hour = "1h",
        /// 2 hours.
        Hours2 = "2h",
        /// 4 hours.
        Hours4 = "4h",
        /// 6 hours.
        Hours6 = "6h",
        /// 8 hours.
        Hours8 = "8h",
        /// 12 hours.
        Hours12 = "12h",
        /// A calendar day.
        Day = "1d",
        /// 7 calendar days.
        Week = "1w",
        /// A calendar month.
        Month = "1M",
    }
}

/// A text that names no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an interval: use one of {names} (`1m` is a minute, `1M` a month)", names = Interval::NAMES.join(", "))]
pub struct InvalidInterval(pub String);

/// How an interval moves a moment.
enum Step {
    Micros(i64),
    Days(u64),
    Months(u32),
}

impl Interval {
    /// Whether its candles stand for whole days, so that they are compared with other facts by date.
    pub fn is_daily_or_longer(self) -> bool {
        self >= Self::Day
    }

    /// The end of the candle that starts at `start`, which is the start of the next one. Days, weeks and
    /// months are counted on the calendar of `zone`; an end that its clocks skip is the first moment after
    /// the gap, an end that they show twice is the earlier one. The month after 31 January ends on the last
    /// day of February. `None` when the calendar does not reach that far.
    pub fn end_of(self, start: Moment, zone: Tz) -> Option<Moment> {
        let step = self.step();
        if let Step::Micros(micros) = step {
            return start.0.checked_add(micros).map(Moment);
        }
        let utc = start.utc()?.naive_utc();
        let local = utc.checked_add_offset(zone.offset_from_utc_datetime(&utc).fix())?;
        let end = match step {
            Step::Micros(_) => None,
            Step::Days(days) => local.checked_add_days(Days::new(days)),
            Step::Months(months) => local.checked_add_months(Months::new(months)),
        };
        first_moment(end?, zone)
    }

    /// The start of the candle that `moment` falls into, on the calendar and clocks of `zone`: days from their first
    /// moment, weeks from Monday, months from their first day; shorter ones where the clocks show a multiple of their
    /// length since midnight. So an hour that the clocks show twice is two candles, and one of four hours in which they
    /// change is an hour longer or shorter. `None` when the calendar does not reach that far.
    pub fn start_of(self, moment: Moment, zone: Tz) -> Option<Moment> {
        if let (Step::Micros(micros), Tz::UTC) = (self.step(), zone) {
            // Midnight of UTC is a multiple of all of them.
            return CALENDAR.contains(&moment.0).then(|| Moment(moment.0 - moment.0.rem_euclid(micros)));
        }
        let local = moment.utc()?.with_timezone(&zone).naive_local();
        let day = local.date();
        let start = match self.step() {
            Step::Micros(micros) => {
                let since_midnight =
                    local.signed_duration_since(day.and_time(NaiveTime::MIN)).num_microseconds()?;
                let start = local - TimeDelta::microseconds(since_midnight % micros);
                return last_moment(start, zone, moment);
            }
            Step::Days(1) => day,
            Step::Days(_) => day.checked_sub_days(Days::new(day.weekday().num_days_from_monday().into()))?,
            Step::Months(_) => day.with_day(1)?,
        };
        Some(start_of_day(start, zone))
    }

    /// The start of the candle after the one that starts at `start`: its end. `start` is one of [`Self::start_of`].
    pub fn next_start(self, start: Moment, zone: Tz) -> Option<Moment> {
        let Step::Micros(micros) = self.step() else {
            return self.start_of(self.end_of(start, zone)?.plus(HOUR), zone);
        };
        // One step on the clock, unless they are set back meanwhile: then the hour that they show again comes first.
        let stepped = self.start_of(start.plus(micros), zone)?;
        if stepped > start {
            return Some(stepped);
        }
        let local = start.utc()?.with_timezone(&zone).naive_local();
        first_moment(local.checked_add_signed(TimeDelta::microseconds(micros))?, zone)
    }

    /// Microseconds that its candles have at least, but for days on which clocks change.
    pub const fn shortest(self) -> i64 {
        match self.step() {
            Step::Micros(micros) => micros,
            Step::Days(1) => DAY,
            Step::Days(_) => 7 * DAY,
            Step::Months(_) => 28 * DAY,
        }
    }

    const fn step(self) -> Step {
        match self {
            Self::Second => Step::Micros(SECOND),
            Self::Minute => Step::Micros(MINUTE),
            Self::Minutes5 => Step::Micros(5 * MINUTE),
            Self::Minutes15 => Step::Micros(15 * MINUTE),
            Self::Minutes30 => Step::Micros(30 * MINUTE),
            Self::Hour => Step::Micros(HOUR),
            Self::Hours2 => Step::Micros(2 * HOUR),
            Self::Hours4 => Step::Micros(4 * HOUR),
            Self::Hours6 => Step::Micros(6 * HOUR),
            Self::Hours8 => Step::Micros(8 * HOUR),
            Self::Hours12 => Step::Micros(12 * HOUR),
            Self::Day => Step::Days(1),
            Self::Week => Step::Days(7),
            Self::Month => Step::Months(1),
        }
    }
}

/// The last moment up to `until` at which the clocks of `zone` show `local`; the first after it where they skip it.
fn last_moment(local: NaiveDateTime, zone: Tz, until: Moment) -> Option<Moment> {
    let again = zone.from_local_datetime(&local).latest().map(|again| Moment(again.timestamp_micros()));
    again.filter(|again| *again <= until).or_else(|| first_moment(local, zone))
}

impl FromStr for Interval {
    type Err = InvalidInterval;

    fn from_str(text: &str) -> Result<Self, InvalidInterval> {
        Self::from_name(text).ok_or_else(|| InvalidInterval(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(interval: &str, start: &str, zone: Tz) -> String {
        let interval: Interval = interval.parse().unwrap();
        interval.end_of(Moment::parse(start).unwrap(), zone).unwrap().to_string()
    }

    #[test]
    fn the_case_of_a_name_tells_a_minute_from_a_month() {
        assert_eq!("1m".parse(), Ok(Interval::Minute));
        assert_eq!("1M".parse(), Ok(Interval::Month));
        for name in Interval::NAMES {
            assert_eq!(name.parse::<Interval>().unwrap().to_string(), *name);
        }
        for text in ["", "1D", "3m", "60m", "1 d", "d"] {
            assert_eq!(text.parse::<Interval>(), Err(InvalidInterval(text.to_owned())));
        }
        let message = "1D".parse::<Interval>().unwrap_err().to_string();
        assert!(message.starts_with("`1D` is not an interval: use one of 1s, 1m, 5m"), "{message}");
    }

    #[test]
    fn longer_intervals_compare_greater() {
        let all: Vec<Interval> = Interval::NAMES.iter().map(|name| name.parse().unwrap()).collect();
        let ends: Vec<Moment> = all.iter().map(|i| i.end_of(Moment(0), Tz::UTC).unwrap()).collect();
        assert!(all.is_sorted() && ends.is_sorted());
        let daily: Vec<&str> = all.iter().filter(|i| i.is_daily_or_longer()).map(|i| i.name()).collect();
        assert_eq!(daily, ["1d", "1w", "1M"]);
    }

    #[test]
    fn a_day_has_23_or_25_hours_where_the_clocks_change_and_hours_stay_hours() {
        let zone = Tz::America__New_York;
        assert_eq!(end("1d", "2026-03-08T00:00:00-05:00", zone), "2026-03-09T04:00:00.000000Z");
        assert_eq!(end("1d", "2026-11-01T00:00:00-04:00", zone), "2026-11-02T05:00:00.000000Z");
        assert_eq!(end("12h", "2026-03-08T00:00:00-05:00", zone), "2026-03-08T17:00:00.000000Z");
        assert_eq!(end("1d", "2026-03-08T00:00:00Z", Tz::UTC), "2026-03-09T00:00:00.000000Z");
        assert_eq!(end("1w", "2026-03-02T00:00:00-05:00", zone), "2026-03-09T04:00:00.000000Z");
    }

    #[test]
    fn an_end_that_the_clocks_skip_is_the_first_moment_after_the_gap() {
        // Havana skips midnight of 2026-03-08, and Samoa skipped the whole of 2011-12-30.
        assert_eq!(
            end("1d", "2026-03-07T00:00:00-05:00", Tz::America__Havana),
            "2026-03-08T05:00:00.000000Z"
        );
        assert_eq!(end("1d", "2011-12-29T00:00:00-10:00", Tz::Pacific__Apia), "2011-12-30T10:00:00.000000Z");
    }

    #[test]
    fn an_end_that_the_clocks_show_twice_is_the_earlier_one() {
        let zone = Tz::America__New_York;
        assert_eq!(end("1d", "2026-10-31T01:30:00-04:00", zone), "2026-11-01T05:30:00.000000Z");
    }

    #[test]
    fn a_month_ends_with_the_calendar_month() {
        assert_eq!(end("1M", "2026-02-01T00:00:00Z", Tz::UTC), "2026-03-01T00:00:00.000000Z");
        assert_eq!(end("1M", "2028-01-31T00:00:00Z", Tz::UTC), "2028-02-29T00:00:00.000000Z");
        assert_eq!(end("1M", "1833-12-01T00:00:00Z", Tz::UTC), "1834-01-01T00:00:00.000000Z");
        assert_eq!(
            end("1M", "2026-03-01T00:00:00-05:00", Tz::America__New_York),
            "2026-04-01T04:00:00.000000Z"
        );
    }

    fn start(interval: &str, moment: &str, zone: Tz) -> String {
        let interval: Interval = interval.parse().unwrap();
        interval.start_of(Moment::parse(moment).unwrap(), zone).unwrap().to_string()
    }

    #[test]
    fn candles_begin_with_the_day_the_monday_and_the_month_of_their_zone() {
        let (tokyo, new_york) = (Tz::Asia__Tokyo, Tz::America__New_York);
        assert_eq!(start("1d", "2026-05-20T16:00:00Z", tokyo), "2026-05-20T15:00:00.000000Z");
        assert_eq!(start("1w", "2026-05-20T16:00:00Z", Tz::UTC), "2026-05-18T00:00:00.000000Z");
        assert_eq!(start("1M", "2026-06-01T03:00:00Z", new_york), "2026-05-01T04:00:00.000000Z");
        assert_eq!(start("4h", "2026-05-20T15:59:00Z", new_york), "2026-05-20T12:00:00.000000Z");
        assert_eq!(start("1h", "2026-05-20T15:59:00Z", Tz::Asia__Kolkata), "2026-05-20T15:30:00.000000Z");
    }

    #[test]
    fn where_clocks_change_hours_come_twice_or_not_at_all() {
        let zone = Tz::America__New_York;
        let starts = |interval: &str, first: &str, count: usize| -> Vec<String> {
            let interval: Interval = interval.parse().unwrap();
            let first = interval.start_of(Moment::parse(first).unwrap(), zone).unwrap();
            let next = |start: &Moment| interval.next_start(*start, zone);
            std::iter::successors(Some(first), next)
                .take(count)
                .map(|start| start.to_string()[11..16].to_owned())
                .collect()
        };
        // 1 November 2026: 02:00 EDT (06:00Z) is 01:00 EST.
        assert_eq!(starts("1h", "2026-11-01T04:00:00Z", 4), ["04:00", "05:00", "06:00", "07:00"]);
        assert_eq!(starts("4h", "2026-11-01T04:00:00Z", 3), ["04:00", "09:00", "13:00"]);
        // 8 March 2026: 02:00 EST (07:00Z) is 03:00 EDT.
        assert_eq!(starts("1h", "2026-03-08T06:00:00Z", 3), ["06:00", "07:00", "08:00"]);
        assert_eq!(starts("2h", "2026-03-08T05:00:00Z", 4), ["05:00", "07:00", "08:00", "10:00"]);
        assert_eq!(starts("1d", "2026-03-08T05:00:00Z", 2), ["05:00", "04:00"]);
    }

    proptest::proptest! {
        /// Zones that have kept the time of Greenwich are told by the general rule, UTC by a shorter one.
        #[test]
        fn candles_of_utc_are_those_of_a_zone_that_never_differed(
            micros in proptest::prop_oneof![
                proptest::prelude::any::<i64>(), -8_400_000_000_000_000_000_i64..8_300_000_000_000_000_000,
                -10_000_000_000_000_000_i64..10_000_000_000_000_000,
            ],
            name in 0..Interval::NAMES.len(),
        ) {
            let interval = Interval::NAMES[name].parse::<Interval>().unwrap();
            let (own, general) = (Tz::UTC, Tz::Etc__GMT);
            let start = interval.start_of(Moment(micros), own);
            proptest::prop_assert_eq!(start, interval.start_of(Moment(micros), general));
            if let Some(start) = start {
                proptest::prop_assert_eq!(interval.next_start(start, own), interval.next_start(start, general));
            }
        }

        /// Whatever the zone, candles follow each other without a gap or an overlap.
        #[test]
        fn candles_cover_all_of_time(
            seconds in -2_000_000_000_i64..4_000_000_000, zone in 0..chrono_tz::TZ_VARIANTS.len(), name in 0..Interval::NAMES.len(),
        ) {
            let (zone, interval) = (chrono_tz::TZ_VARIANTS[zone], Interval::NAMES[name].parse::<Interval>().unwrap());
            let moment = Moment(seconds * 1_000_000);
            let start = interval.start_of(moment, zone).unwrap();
            let next = interval.next_start(start, zone).unwrap();
            proptest::prop_assert!(start <= moment && moment < next, "{start} {moment} {next} {zone} {interval}");
            for inside in [start, next.plus(-1), Moment(start.0 + (next.0 - start.0) / 3)] {
                proptest::prop_assert_eq!(interval.start_of(inside, zone), Some(start), "{} {}", zone, interval);
            }
            proptest::prop_assert_eq!(interval.start_of(next, zone), Some(next), "{} {}", zone, interval);
        }
    }

    #[test]
    fn past_the_end_of_the_calendar_there_is_no_end() {
        assert_eq!(Interval::Second.end_of(Moment::MAX, Tz::UTC), None);
        for interval in [Interval::Day, Interval::Month] {
            assert_eq!(interval.end_of(Moment::MAX, Tz::UTC), None);
            let last = Moment(DateTime::<Utc>::MAX_UTC.timestamp_micros());
            assert_eq!(interval.end_of(last, Tz::Asia__Tokyo), None);
        }
    }

    #[test]
    fn no_candle_is_shorter_than_its_interval_says_but_where_clocks_change() {
        let day = 86_400_000_000_i64;
        let shortest = [
            ("1s", 1_000_000),
            ("1m", 60_000_000),
            ("4h", 14_400_000_000),
            ("12h", day / 2),
            ("1d", day),
            ("1w", 7 * day),
            // February.
            ("1M", 28 * day),
        ];
        for (name, micros) in shortest {
            let interval: Interval = name.parse().unwrap();
            assert_eq!(interval.shortest(), micros, "{name}");
            let start = interval.start_of(Moment::parse("2026-02-10T12:00:00Z").unwrap(), Tz::UTC).unwrap();
            assert_eq!(interval.next_start(start, Tz::UTC).unwrap().0 - start.0, micros, "{name}");
        }
    }
}
