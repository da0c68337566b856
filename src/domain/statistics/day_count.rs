//! Day counts: how many years lie between two days, computed in binary floating point.
//!
//! Definitions: ISDA 2006 Definitions, section 4.16 (the actual and the 30/360 families); `NL` leaves every
//! 29 February out. The names are those of pyxirr, whose tests the cases come from.
#![expect(clippy::float_arithmetic, reason = "a year fraction is a ratio without a unit")]

use crate::domain::decimal::Decimal;
use crate::domain::statistics::float;
use crate::named_enum;
use chrono::{Datelike as _, NaiveDate};

named_enum! {
    /// How days are turned into years.
    DayCount {
        /// Days by 365: the default.
        Actual365 = "act/365F",
        /// Days by 365.25.
        Actual36525 = "act/365.25",
        /// Days by 364.
        Actual364 = "act/364",
        /// Days by 360.
        Actual360 = "act/360",
        /// Days in leap years by 366, the others by 365.
        ActualActual = "act/act",
        /// Months of 30 days; a day 31 counts as 30, the later one only after a first of 30.
        Thirty360 = "30/360",
        /// Months of 30 days; a day 31 counts as 30.
        ThirtyE360 = "30E/360",
        /// Months of 30 days; a later day 31 counts as the first of the next month.
        ThirtyEPlus360 = "30E+/360",
        /// Months of 30 days; a day 31 and the last of February count as 30.
        ThirtyEIsda360 = "30E/360 ISDA",
        /// Months of 30 days; the last of February counts as 30 under the American rule.
        ThirtyU360 = "30U/360",
        /// Days but 29 February, by 365.
        NoLeap365 = "NL/365",
        /// Days but 29 February, by 360.
        NoLeap360 = "NL/360",
    }
}

impl DayCount {
    /// The day count a text names, whatever its case; the common other names are known.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        let text = text.replace("actual", "act");
        Some(match text.as_str() {
            "act/365f" | "act/365 fixed" | "a/365f" | "a/365 fixed" | "act/365" | "english" => {
                Self::Actual365
            }
            "act/365.25" | "a/365.25" => Self::Actual36525,
            "act/364" | "a/364" => Self::Actual364,
            "act/360" | "a/360" | "french" => Self::Actual360,
            "act/act" | "act/act isda" => Self::ActualActual,
            "30/360" | "30/360 isda" | "bond basis" => Self::Thirty360,
            "30e/360" | "30/360 isma" | "eurobond basis" => Self::ThirtyE360,
            "30e+/360" => Self::ThirtyEPlus360,
            "30e/360 isda" | "30e/360 german" | "german" => Self::ThirtyEIsda360,
            "30u/360" | "30us/360" | "30/360 us" | "30/360 sia" => Self::ThirtyU360,
            "nl/365" | "nl365" => Self::NoLeap365,
            "nl/360" | "nl360" => Self::NoLeap360,
            _ => return None,
        })
    }

    /// Years from `from` to `to`, which is not earlier.
    pub fn years(self, from: NaiveDate, to: NaiveDate) -> f64 {
        let actual = || float(&Decimal::from(to.signed_duration_since(from).num_days()));
        let thirty = |first: u32, last: u32| f64::from(thirty_days(from, to, first, last)) / 360.0;
        let (first, last) = (from.day().min(30), to.day().min(30));
        match self {
            Self::Actual365 => actual() / 365.0,
            Self::Actual36525 => actual() / 365.25,
            Self::Actual364 => actual() / 364.0,
            Self::Actual360 => actual() / 360.0,
            Self::ActualActual => actual_actual(from, to),
            Self::Thirty360 => thirty(first, if first == 30 { last } else { to.day() }),
            Self::ThirtyE360 => thirty(first, last),
            Self::ThirtyEPlus360 => match to.succ_opt().filter(|_| to.day() == 31) {
                Some(next) => f64::from(thirty_days(from, next, first, next.day())) / 360.0,
                None => thirty(first, to.day()),
            },
            Self::ThirtyEIsda360 => {
                let ended = |day: NaiveDate, plain| if is_end_of_february(day) { 30 } else { plain };
                thirty(ended(from, first), ended(to, last))
            }
            Self::ThirtyU360 => {
                let first = if is_end_of_february(from) { 30 } else { first };
                let both = is_end_of_february(from) && is_end_of_february(to);
                thirty(
                    first,
                    if both {
                        30
                    } else if first == 30 {
                        last
                    } else {
                        to.day()
                    },
                )
            }
            Self::NoLeap365 => (actual() - f64::from(leap_days(from, to))) / 365.0,
            Self::NoLeap360 => (actual() - f64::from(leap_days(from, to))) / 360.0,
        }
    }
}

fn thirty_days(from: NaiveDate, to: NaiveDate, first: u32, last: u32) -> i32 {
    let of = |day: NaiveDate, number: u32| {
        360 * day.year() + 30 * i32::try_from(day.month()).unwrap_or(0) + i32::try_from(number).unwrap_or(0)
    };
    of(to, last) - of(from, first)
}

fn is_end_of_february(day: NaiveDate) -> bool {
    day.month() == 2 && day.succ_opt().is_some_and(|next| next.month() == 3)
}

/// Days of each year by the length of that year.
fn actual_actual(from: NaiveDate, to: NaiveDate) -> f64 {
    let of = |day: NaiveDate| {
        let length = if day.leap_year() { 366.0 } else { 365.0 };
        f64::from(day.year()) + f64::from(day.ordinal0()) / length
    };
    of(to) - of(from)
}

/// How many times 29 February lies after `from` and not after `to`.
fn leap_days(from: NaiveDate, to: NaiveDate) -> i32 {
    let until = |day: NaiveDate| {
        let past = (day.month(), day.day()) >= (2, 29);
        let year = day.year() - i32::from(!past);
        year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400)
    };
    until(to) - until(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days and conventions with the years between them, from the worked examples of deltaquants.com
    /// ("Day count conventions").
    #[test]
    fn years_are_those_of_the_published_examples() {
        type Example = (&'static str, &'static str, [(&'static str, f64); 8]);
        let examples: [Example; 4] = [
            (
                "2007-12-28",
                "2008-02-28",
                [
                    ("act/act", 4.0 / 365.0 + 58.0 / 366.0),
                    ("Act/365F", 62.0 / 365.0),
                    ("Act/360", 62.0 / 360.0),
                    ("NL/365", 62.0 / 365.0),
                    ("30/360", 60.0 / 360.0),
                    ("30E/360", 60.0 / 360.0),
                    ("30E+/360", 60.0 / 360.0),
                    ("30E/360 ISDA", 60.0 / 360.0),
                ],
            ),
            (
                "2007-12-28",
                "2008-02-29",
                [
                    ("Act/Act", 4.0 / 365.0 + 59.0 / 366.0),
                    ("actual/365 fixed", 63.0 / 365.0),
                    ("Act/360", 63.0 / 360.0),
                    ("NL/365", 62.0 / 365.0),
                    ("30/360 US", 61.0 / 360.0),
                    ("30E/360", 61.0 / 360.0),
                    ("30E+/360", 61.0 / 360.0),
                    ("30E/360 German", 62.0 / 360.0),
                ],
            ),
            (
                "2007-10-31",
                "2008-11-30",
                [
                    ("Act/Act", 62.0 / 365.0 + 334.0 / 366.0),
                    ("Act/365F", 396.0 / 365.0),
                    ("NL/360", 395.0 / 360.0),
                    ("NL/365", 395.0 / 365.0),
                    ("30/360 ISDA", 390.0 / 360.0),
                    ("30E/360", 390.0 / 360.0),
                    ("30E+/360", 390.0 / 360.0),
                    ("30U/360", 390.0 / 360.0),
                ],
            ),
            (
                "2008-02-01",
                "2009-05-31",
                [
                    ("Act/Act", 335.0 / 366.0 + 150.0 / 365.0),
                    ("Act/364", 485.0 / 364.0),
                    ("Act/365.25", 485.0 / 365.25),
                    ("NL/365", 484.0 / 365.0),
                    ("30/360", 480.0 / 360.0),
                    ("30E/360", 479.0 / 360.0),
                    ("30E+/360", 480.0 / 360.0),
                    ("30E/360 ISDA", 479.0 / 360.0),
                ],
            ),
        ];
        for (from, to, expected) in examples {
            for (name, years) in expected {
                let got =
                    DayCount::from_text(name).unwrap().years(from.parse().unwrap(), to.parse().unwrap());
                assert!((got - years).abs() < 1e-12, "{name} {from} {to}: {got} for {years}");
            }
        }
    }

    /// From the documentation of `XLeratorDB`'s DAYS360: days under 30U/360 and 30E/360.
    #[test]
    fn thirty_day_months_follow_the_published_table() {
        let rows = [
            ("2007-01-15", "2007-01-31", 16, 15),
            ("2007-01-31", "2007-02-28", 28, 28),
            ("2007-02-28", "2007-03-31", 30, 32),
            ("2007-02-26", "2008-02-29", 363, 363),
            ("2008-02-29", "2009-02-28", 360, 359),
            ("2008-02-29", "2008-03-30", 30, 31),
            ("2007-02-28", "2007-03-05", 5, 7),
        ];
        for (from, to, us, european) in rows {
            let (from, to): (NaiveDate, NaiveDate) = (from.parse().unwrap(), to.parse().unwrap());
            assert!((DayCount::ThirtyU360.years(from, to) * 360.0 - f64::from(us)).abs() < 1e-9);
            assert!((DayCount::ThirtyE360.years(from, to) * 360.0 - f64::from(european)).abs() < 1e-9);
        }
    }

    #[test]
    fn every_name_is_found_again() {
        for name in DayCount::NAMES {
            assert_eq!(DayCount::from_text(name).map(DayCount::name), Some(*name));
        }
        assert_eq!(DayCount::from_text("lunar"), None);
    }

    #[test]
    fn a_century_has_a_leap_day_every_fourth_time() {
        let days = |from: &str, to: &str| leap_days(from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(days("1896-02-28", "1896-02-29"), 1);
        assert_eq!(days("1896-02-29", "1904-02-28"), 0);
        assert_eq!(days("1896-02-29", "1904-02-29"), 1);
        assert_eq!(days("1996-02-29", "2004-02-29"), 2);
        // 97 in 400 years.
        assert_eq!(days("1700-01-01", "2100-01-01"), 97);
    }
}
