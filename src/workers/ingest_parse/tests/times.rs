use super::{Code, Options, Stamp, parsed, refusals};
use crate::domain::interval::Interval;
use crate::workers::ingest_parse::Parsed;
use chrono_tz::Tz;

fn in_zone(zone: Tz) -> Options {
    Options { time_zone: Some(zone), ..Options::default() }
}

fn read(column: &str, stamps: &[&str], options: &Options) -> Parsed {
    parsed(&format!("{column},price\n{},1\n", stamps.join(",1\n")), options)
}

/// The time that `stamp` is read as, or the code of its refusal.
fn time(column: &str, stamp: &str, options: &Options) -> Result<String, Code> {
    let file = read(column, &[stamp], options);
    match file.refused.first() {
        Some(refusal) => Err(refusal.code),
        None => Ok(file.rows[0].observed_at.to_string()),
    }
}

fn utc(stamp: &str) -> Result<String, Code> {
    time("ts", stamp, &Options::default())
}

/// A moment, in the shape of [`time`]'s answer.
#[expect(clippy::unnecessary_wraps, reason = "compared with an answer that may be a refusal")]
fn at(text: &str) -> Result<String, Code> {
    Ok(text.to_owned())
}

#[test]
fn a_time_with_a_zone_is_that_moment_whatever_the_zone_of_the_file() {
    for options in [Options::default(), in_zone(Tz::Asia__Tokyo)] {
        let read = |stamp| time("ts", stamp, &options);
        assert_eq!(read("2026-01-31T23:30:00.5-05:30"), at("2026-02-01T05:00:00.500000Z"));
        assert_eq!(read("2026-01-31 09:30:00z"), at("2026-01-31T09:30:00.000000Z"));
        assert_eq!(read("0001-01-01T00:00:00+00:01"), at("0000-12-31T23:59:00.000000Z"));
    }
}

#[test]
fn a_time_without_a_zone_needs_one_from_the_options() {
    assert_eq!(utc("2026-01-31T09:30:00"), Err(Code::TimeWithoutZone));
    let file = read("ts", &["2026-01-31 09:30:00"], &Options::default());
    assert_eq!(
        file.refused[0].to_string(),
        "line 2: time `2026-01-31 09:30:00` has no time zone; name the zone of the file with the parameter `tz`"
    );
    let zone = in_zone(Tz::America__New_York);
    assert_eq!(time("ts", "2026-01-31T09:30:00", &zone), at("2026-01-31T14:30:00.000000Z"));
    assert_eq!(time("ts", "2026-07-31 09:30:00.000001", &zone), at("2026-07-31T13:30:00.000001Z"));
}

#[test]
fn the_hour_that_is_skipped_in_spring_is_refused() {
    let zone = in_zone(Tz::America__New_York);
    assert_eq!(time("ts", "2026-03-08T01:59:59", &zone), at("2026-03-08T06:59:59.000000Z"));
    assert_eq!(time("ts", "2026-03-08T02:00:00", &zone), Err(Code::NonexistentLocalTime));
    assert_eq!(time("ts", "2026-03-08T02:59:59.999999", &zone), Err(Code::NonexistentLocalTime));
    assert_eq!(time("ts", "2026-03-08T03:00:00", &zone), at("2026-03-08T07:00:00.000000Z"));
}

#[test]
fn the_hour_that_comes_twice_in_autumn_is_its_first_passing_and_counted() {
    let zone = in_zone(Tz::America__New_York);
    let file = read("ts", &["2026-11-01T00:30:00", "2026-11-01T01:30:00", "2026-11-01T02:30:00"], &zone);
    let times: Vec<String> = file.rows.iter().map(|row| row.observed_at.to_string()).collect();
    assert_eq!(
        times,
        ["2026-11-01T04:30:00.000000Z", "2026-11-01T05:30:00.000000Z", "2026-11-01T07:30:00.000000Z"]
    );
    assert_eq!(file.ambiguous_times, 1);
    let refused = parsed("ts,price\n2026-11-01T01:30:00,x\n", &zone);
    assert_eq!(refused.ambiguous_times, 0);
}

#[test]
fn a_bare_date_is_the_first_moment_of_its_day() {
    assert_eq!(utc("2026-01-31"), at("2026-01-31T00:00:00.000000Z"));
    assert_eq!(time("ts", "2026-07-01", &in_zone(Tz::America__New_York)), at("2026-07-01T04:00:00.000000Z"));
    // Havana skips midnight on that day; Samoa skipped the day.
    let havana = in_zone(Tz::America__Havana);
    assert_eq!(time("date", "2026-03-08", &havana), at("2026-03-08T05:00:00.000000Z"));
    assert_eq!(time("date", "2026-03-08T00:00:00", &havana), Err(Code::NonexistentLocalTime));
    assert_eq!(time("date", "2011-12-30", &in_zone(Tz::Pacific__Apia)), Err(Code::NonexistentLocalTime));
}

#[test]
fn days_before_1970_are_read() {
    assert_eq!(utc("1833-01-01"), at("1833-01-01T00:00:00.000000Z"));
    let file = read("date", &["1969-12-31T23:59:59.999999Z"], &Options::default());
    assert_eq!(file.rows[0].observed_at.0, -1);
    assert_eq!(utc("-252322200"), at("1962-01-02T14:30:00.000000Z"));
}

#[test]
fn impossible_and_sloppy_times_are_refused() {
    for stamp in [
        "2026-02-30",
        "2025-02-29",
        "2026-13-01",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:59:60Z",
        "2026-01-31T09:30:00+24:00",
        "2026-01-31T09:30:00+01",
        "2026-01-31T09:30:00.Z",
        "2026-01-31T09:30:00 UTC",
        "2026-01-31T09:30Z",
        "2026-1-31",
        "31/01/2026",
        "2026-01-31T",
        "２026-01-31",
        "yesterday",
        "99999999999999999999",
    ] {
        assert_eq!(utc(stamp), Err(Code::NotATime), "{stamp}");
    }
    assert_eq!(utc(""), Err(Code::Missing));
}

#[test]
fn digits_below_a_microsecond_are_refused_unless_they_are_zeros() {
    assert_eq!(utc("2026-01-31T09:30:00.123456000Z"), at("2026-01-31T09:30:00.123456Z"));
    assert_eq!(utc("2026-01-31T09:30:00.1234567Z"), Err(Code::TimeTooPrecise));
    assert_eq!(utc("2026-01-31T09:30:00.000000000000001Z"), Err(Code::TimeTooPrecise));
    assert_eq!(utc("1769851800123456000"), at("2026-01-31T09:30:00.123456Z"));
    assert_eq!(utc("1769851800123456001"), Err(Code::TimeTooPrecise));
}

#[test]
fn the_size_of_a_unix_time_tells_its_unit() {
    for stamp in ["1769851800", "1769851800000", "1769851800000000", "1769851800000000000"] {
        assert_eq!(utc(stamp), at("2026-01-31T09:30:00.000000Z"), "{stamp}");
    }
    assert_eq!(utc("0"), at("1970-01-01T00:00:00.000000Z"));
    assert_eq!(utc("9999999999"), at("2286-11-20T17:46:39.000000Z"));
    assert_eq!(utc("10000000000"), at("1970-04-26T17:46:40.000000Z"));
    assert_eq!(utc("-10000000000"), at("1969-09-07T06:13:20.000000Z"));
    assert_eq!(utc("9223372036854775000"), at("2262-04-11T23:47:16.854775Z"));
}

#[test]
fn a_file_keeps_one_unit_of_unix_times() {
    // The third row is 1970-01-02 in milliseconds, and looks like the year 1972 in seconds.
    let file = read("time", &["1769851800000", "0", "86400000", "1769851860000"], &Options::default());
    assert_eq!(refusals(&file), [(4, Code::AmbiguousUnixTime)]);
    assert_eq!(file.rows.len(), 3);
}

#[test]
fn a_whole_number_that_reads_as_a_date_is_no_unix_time() {
    for stamp in ["2018", "201803", "20180305", "201803051230", "20180305123000"] {
        assert_eq!(utc(stamp), Err(Code::AmbiguousUnixTime), "{stamp}");
    }
    // No such month, day or year: Unix times after all.
    for stamp in ["20181305", "20180335", "18000101", "201803052530"] {
        assert!(utc(stamp).is_ok(), "{stamp}");
    }
    for column in ["date", "Datetime"] {
        assert_eq!(time(column, "1769851800", &Options::default()), Err(Code::NotATime));
    }
}

#[test]
fn the_end_of_a_daily_candle_follows_the_clocks_of_the_zone() {
    let ends = |time_zone, interval| Options {
        stamp: Some(Stamp::End),
        interval: Some(interval),
        time_zone,
        ..Options::default()
    };
    let new_york = Some(Tz::America__New_York);
    assert_eq!(time("ts", "2026-03-08", &ends(new_york, Interval::Day)), at("2026-03-09T04:00:00.000000Z"));
    assert_eq!(time("ts", "2026-03-08", &ends(None, Interval::Day)), at("2026-03-09T00:00:00.000000Z"));
    assert_eq!(
        time("ts", "2026-03-08T01:00:00", &ends(new_york, Interval::Hour)),
        at("2026-03-08T07:00:00.000000Z")
    );
    let last = "9999-12-31T23:59:59Z";
    assert_eq!(time("ts", last, &ends(None, Interval::Day)), at("+10000-01-01T23:59:59.000000Z"));
}
