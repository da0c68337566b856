use super::*;
use crate::workers::backup::manifest::{ArchiveFile, Engine, FORMAT, Manifest};

fn at(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

fn kept(number: u128, created_at: Moment, reason: Reason, sound: Option<bool>) -> Kept {
    let archive = ArchiveFile { name: format!("{number}"), bytes: 1, sha256: String::new() };
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        id: Uuid::from_u128(number),
        number: None,
        created_at,
        reason,
        app_version: "1".to_owned(),
        engine: Engine::Sqlite,
        schema: 1,
        last_commit: created_at,
        encrypted: false,
        contents: None,
        archive: Some(archive.clone()),
    };
    Kept { manifest, archive, verified_at: sound.map(|_| created_at), sound, once_sound: sound == Some(true) }
}

/// One a day at half past two, for so many days.
fn nightly(days: u16) -> Vec<Kept> {
    let first = at("2026-01-01T02:30:00Z");
    (0..days)
        .map(|day| kept(day.into(), first.plus(i64::from(day) * DAY), Reason::Scheduled, Some(true)))
        .collect()
}

/// What is left of a list after every backup in it was followed by a clean-up.
fn left(keep: Keep, all: Vec<Kept>) -> Vec<Kept> {
    let mut there: Vec<Kept> = Vec::new();
    for one in all {
        there.push(one);
        let gone = keep.superfluous(&there);
        there.retain(|one| !gone.contains(&one.manifest.id));
    }
    there
}

#[test]
fn a_schedule_comes_at_its_times_and_makes_up_for_a_missed_one() {
    let schedule = Schedule::parse("30 2 * * *").unwrap();
    let (before, after) = (at("2026-03-01T02:29:59Z"), at("2026-03-01T02:30:00Z"));
    assert_eq!(schedule.next(before), Some(after));
    assert_eq!(schedule.next(after), Some(at("2026-03-02T02:30:00Z")));
    assert!(!schedule.is_due(at("2026-02-28T02:30:00Z"), before));
    assert!(schedule.is_due(at("2026-02-28T02:30:00Z"), after));
    // The service was down over the night.
    assert!(schedule.is_due(at("2026-02-27T02:30:00Z"), at("2026-02-28T11:00:00Z")));
    for nonsense in ["", "daily at two", "61 2 * * *", "0 0 30 2 *"] {
        assert!(Schedule::parse(nonsense).is_none(), "{nonsense}");
    }
}

#[test]
fn of_two_years_seven_days_four_weeks_and_twelve_months_are_left() {
    let left = left(Keep::default(), nightly(730));
    let days: Vec<String> =
        left.iter().map(|one| one.manifest.created_at.to_string().chars().take(10).collect()).collect();
    // By hand: the last is 2027-12-31, a Friday. Ends of months, Sundays of the weeks before, and seven days.
    let months =
        ["01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30"];
    let rest = ["12-12", "12-19", "12-25", "12-26", "12-27", "12-28", "12-29", "12-30", "12-31"];
    let wanted: Vec<String> = months.iter().chain(&rest).map(|day| format!("2027-{day}")).collect();
    assert_eq!(days, wanted);
}

#[test]
fn the_last_good_one_never_goes() {
    let start = at("2026-01-01T00:00:00Z");
    let none = Keep { daily: 0, weekly: 0, monthly: 0 };
    // One that was found sound, then only such that were not.
    let all: Vec<Kept> = (0..40_u16)
        .map(|day| {
            let sound = Some(day == 3);
            kept(day.into(), start.plus(i64::from(day) * DAY), Reason::Scheduled, sound)
        })
        .collect();
    let there = left(none, all);
    assert!(there.iter().any(|one| one.manifest.id == Uuid::from_u128(3)));
    assert_eq!(there.last().unwrap().manifest.id, Uuid::from_u128(39), "nor does the newest");
    // None was looked at: the newest stays.
    let unseen: Vec<Kept> = (0..9_u16)
        .map(|day| kept(day.into(), start.plus(i64::from(day) * DAY), Reason::Manual, None))
        .collect();
    assert_eq!(left(none, unseen).last().unwrap().manifest.id, Uuid::from_u128(8));
}

#[test]
fn one_of_a_time_to_come_goes_in_its_turn() {
    // By hand, while the clock ran a year ahead; then one each night.
    let ahead = kept(800, at("2027-01-01T12:00:00Z"), Reason::Manual, None);
    let mut all = nightly(3);
    all.push(ahead);
    let later = at("2026-01-04T02:30:00Z");
    all.extend((0..60_u16).map(|day| {
        kept(1_000 + u128::from(day), later.plus(i64::from(day) * DAY), Reason::Scheduled, Some(true))
    }));
    let there = left(Keep { monthly: 0, ..Keep::default() }, all);
    // Four weeks later no place is its own; that it was taken by hand counts for a day.
    assert!(there.iter().all(|one| one.manifest.id != Uuid::from_u128(800)), "it stays until its time comes");
    assert_eq!(there.last().unwrap().manifest.id, Uuid::from_u128(1_059));
}

#[test]
fn one_that_was_once_sound_is_kept_whatever_a_later_drill_says_and_takes_no_place() {
    let start = at("2026-01-01T02:30:00Z");
    let all = || {
        let mut all: Vec<Kept> = nightly(4);
        // The two that were sound are marked by a drill that went wrong; one beside them was never sound.
        for one in &mut all[1..3] {
            one.sound = Some(false);
        }
        (all[3].sound, all[3].once_sound) = (Some(false), false);
        // A day of two: the older one is good, the newer one was once sound.
        all.insert(1, kept(90, start.plus(DAY - HOUR), Reason::Scheduled, None));
        all.push(kept(91, start.plus(9 * DAY), Reason::Scheduled, None));
        all
    };
    assert_eq!(Keep::default().superfluous(&all()), [Uuid::from_u128(3)]);
    // Nor does the last one that was ever sound go, where next to nothing is kept, nor the last that is.
    let none = Keep { daily: 0, weekly: 0, monthly: 0 };
    assert_eq!(none.superfluous(&all()), [90, 1, 3].map(Uuid::from_u128));
    let without_a_sound_one = all().split_off(1);
    assert_eq!(none.superfluous(&without_a_sound_one), [90, 1, 3].map(Uuid::from_u128));
}

#[test]
fn within_a_day_of_the_newest_only_scheduled_ones_go_and_one_an_hour_stays() {
    let start = at("2026-05-01T10:00:00Z");
    let minute = HOUR / 60;
    let mut all = vec![
        kept(900, start.plus(1), Reason::BeforeMigration, None),
        kept(901, start.plus(2), Reason::Manual, None),
    ];
    all.extend((0..24_u16).map(|five| {
        kept(five.into(), start.plus(i64::from(five) * 5 * minute + 3), Reason::Scheduled, None)
    }));
    let there: Vec<u128> = left(Keep::default(), all).iter().map(|one| one.manifest.id.as_u128()).collect();
    // Ten o'clock ends with the twelfth of them, eleven with the last.
    assert_eq!(there, [900, 901, 11, 23]);
}
