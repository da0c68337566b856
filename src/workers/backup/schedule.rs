//! When backups are taken and verified, and which of them are kept.

use super::kept::Kept;
use super::manifest::Reason;
use crate::domain::moment::{DAY, HOUR, Moment};
use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use croner::Cron;
use std::collections::BTreeSet;
use std::str::FromStr as _;
use uuid::Uuid;

/// A cron expression, in UTC.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    text: String,
}

impl Schedule {
    /// Reads an expression of five or six parts; `None` when it is none or never comes.
    pub fn parse(text: &str) -> Option<Self> {
        let schedule = Self { cron: Cron::from_str(text).ok()?, text: text.to_owned() };
        schedule.next(Moment(0)).map(|_| schedule)
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The first time after `at`.
    pub fn next(&self, at: Moment) -> Option<Moment> {
        let at: DateTime<Utc> = DateTime::from_timestamp_micros(at.0)?;
        let next = self.cron.find_next_occurrence(&at, false).ok()?;
        Some(Moment(next.timestamp_micros()))
    }

    /// Whether a time has come between the last deed and now: also one that was missed while nobody was there.
    pub fn is_due(&self, last: Moment, now: Moment) -> bool {
        self.next(last).is_some_and(|next| next <= now)
    }
}

/// How many backups are kept: the newest of so many days, weeks and months that have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Days.
    pub daily: u32,
    /// Weeks, from Monday.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
}

impl Default for Keep {
    fn default() -> Self {
        Self { daily: 7, weekly: 4, monthly: 12 }
    }
}

/// A day, week or month, by two numbers.
type Period = fn(Moment) -> (i32, u32);

fn day(at: Moment) -> NaiveDate {
    DateTime::from_timestamp_micros(at.0).map(|at| at.date_naive()).unwrap_or_default()
}

impl Keep {
    /// Of so many days, weeks and months the newest of `some`, which come the newest first.
    fn of_periods(&self, some: &[&Kept]) -> BTreeSet<Uuid> {
        let periods: [(u32, Period); 3] = [
            (self.daily, |at| (day(at).year(), day(at).ordinal())),
            (self.weekly, |at| (day(at).iso_week().year(), day(at).iso_week().week())),
            (self.monthly, |at| (day(at).year(), day(at).month())),
        ];
        let mut wanted: BTreeSet<Uuid> = BTreeSet::new();
        for (count, period) in periods {
            let mut seen = BTreeSet::new();
            for one in some {
                let is_newest = seen.insert(period(one.manifest.created_at));
                if is_newest && seen.len() <= usize::try_from(count).unwrap_or(usize::MAX) {
                    wanted.insert(one.manifest.id);
                }
            }
        }
        wanted
    }

    /// Ids of those of `kept` (the oldest first) that may go.
    ///
    /// Never the newest one, nor the newest that is sound, nor the newest that was once found sound, nor, while none was,
    /// the newest that was not found unsound. One that was once found sound is kept as if nobody had looked again: what a
    /// later drill found may be a mistake, and takes no place from the others either. Within a day of the newest one, only
    /// scheduled ones go, and of each hour one stays.
    pub fn superfluous(&self, kept: &[Kept]) -> Vec<Uuid> {
        let usable: Vec<&Kept> = kept.iter().rev().filter(|one| one.sound != Some(false)).collect();
        let proven: Vec<&Kept> =
            kept.iter().rev().filter(|one| one.sound != Some(false) || one.once_sound).collect();
        let mut wanted = self.of_periods(&usable);
        wanted.extend(self.of_periods(&proven));
        let newest = kept.last().map_or(Moment::MIN, |one| one.manifest.created_at);
        let mut hours = BTreeSet::new();
        // On either side: one of a time to come is of a clock that ran ahead.
        let near = |at: Moment| at > newest.plus(-DAY) && at < newest.plus(DAY);
        for one in kept.iter().rev().filter(|one| near(one.manifest.created_at)) {
            let hour = one.manifest.created_at.0.div_euclid(HOUR);
            if one.manifest.reason != Reason::Scheduled || hours.insert(hour) {
                wanted.insert(one.manifest.id);
            }
        }
        let sound = usable.iter().find(|one| one.sound == Some(true));
        let once = proven.iter().find(|one| one.once_sound || one.sound == Some(true));
        let any = usable.first().filter(|_| sound.is_none());
        wanted.extend([sound, once, any].into_iter().flatten().map(|one| one.manifest.id));
        kept.iter().map(|one| one.manifest.id).filter(|id| !wanted.contains(id)).collect()
    }
}

#[cfg(test)]
mod tests;
