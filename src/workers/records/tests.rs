//! Merging, order, and a stop after every step.

use super::*;

/// A folder of its own, gone when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let place = std::env::temp_dir().join(format!("artifact-records-{}-{name}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        Self(place)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        open(&self.0, "desk").unwrap().0.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn texts(&self) -> Vec<String> {
        let bytes = self.bytes();
        let rows: Vec<&RawValue> = serde_json::from_slice(&bytes).unwrap();
        rows.into_iter().map(|row| row.get().to_owned()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn record(at: &str, symbol: &str, price: &str) -> Record {
    Record {
        observed_at: Moment::parse(at).unwrap(),
        symbol: symbol.to_owned(),
        interval: "1d".to_owned(),
        quote: Quote::tick(price.parse().unwrap()),
    }
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

#[test]
fn a_day_more_keeps_the_days_before_and_a_correction_takes_its_place() {
    let place = Place::new("merge");
    let (first, second) =
        (record("2026-01-06T00:00:00Z", "GOLD", "2011.50"), record("2026-01-05T00:00:00Z", "GOLD", "2010"));
    write(&place.0, "desk", &[first, second], id(1)).unwrap();
    let wide = "0.1234567890123456789012345678";
    let corrected = record("2026-01-05T00:00:00Z", "GOLD", wide);
    let other = record("2026-01-05T00:00:00Z", "BTC\"USD", "7");
    let manifest = write(&place.0, "desk", &[other, corrected], id(2)).unwrap();
    assert_eq!(
        place.texts(),
        [
            r#"{"timestamp":"2026-01-05T00:00:00.000000Z","ticker":"BTC\"USD","interval":"1d","close":7}"#
                .to_owned(),
            format!(
                r#"{{"timestamp":"2026-01-05T00:00:00.000000Z","ticker":"GOLD","interval":"1d","close":{wide}}}"#
            ),
            r#"{"timestamp":"2026-01-06T00:00:00.000000Z","ticker":"GOLD","interval":"1d","close":2011.50}"#
                .to_owned(),
        ]
    );
    assert_eq!((manifest.count, manifest.write_id), (3, id(2)));
    assert_eq!(manifest.last_ingest_timestamp.as_deref(), Some("2026-01-06T00:00:00.000000Z"));
    assert_eq!(super::manifest(&place.0, "desk").unwrap(), manifest);
    assert_eq!(sources(&place.0).unwrap(), ["desk"]);
}

#[test]
fn what_the_earlier_service_wrote_stays_digit_by_digit() {
    let place = Place::new("earlier");
    fs::create_dir_all(place.0.join("desk")).unwrap();
    let earlier = r#"[{"timestamp": "2026-01-02T00:00:00", "ticker": "GOLD", "open": 1.10, "close": null},{"timestamp": 1767225600.5, "series_id": "DGS10", "value": 4.20}]"#;
    fs::write(place.0.join("desk").join(RECORDS), earlier).unwrap();
    fs::write(place.0.join("desk").join(MANIFEST), r#"{"last_ingest_timestamp": 1767225600.5}"#).unwrap();
    let described = manifest(&place.0, "desk").unwrap();
    assert_eq!(
        (described.count, described.write_id, described.sha256),
        (2, Uuid::nil(), hash(earlier.as_bytes()))
    );
    write(&place.0, "desk", &[record("2026-01-03T00:00:00Z", "GOLD", "3")], id(1)).unwrap();
    let texts = place.texts();
    assert_eq!(texts[0], r#"{"timestamp": 1767225600.5, "series_id": "DGS10", "value": 4.20}"#);
    assert_eq!(
        texts[1],
        r#"{"timestamp": "2026-01-02T00:00:00", "ticker": "GOLD", "open": 1.10, "close": null}"#
    );
    assert_eq!(texts.len(), 3);
}

#[test]
fn a_file_that_is_no_list_of_records_is_left_alone() {
    for bad in [
        "{",
        "{}",
        r#"[{"ticker":"A"}]"#,
        r#"[{"timestamp":"never"}]"#,
        r#"[{"timestamp":"2026-01-01","close":NaN}]"#,
    ] {
        let place = Place::new("bad");
        fs::create_dir_all(place.0.join("desk")).unwrap();
        fs::write(place.0.join("desk").join(RECORDS), bad).unwrap();
        let error =
            write(&place.0, "desk", &[record("2026-01-03T00:00:00Z", "GOLD", "3")], id(1)).unwrap_err();
        assert!(matches!(error, RecordsError::Unreadable { .. }), "{bad}: {error}");
        assert_eq!(fs::read_to_string(place.0.join("desk").join(RECORDS)).unwrap(), bad);
    }
}

#[test]
fn a_file_that_its_manifest_does_not_describe_is_damaged_and_neither_read_nor_written_to() {
    type Damage = fn(Vec<u8>) -> Vec<u8>;
    let torn = |bytes: Vec<u8>| bytes[..bytes.len() / 2].to_vec();
    let edited = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(":1}", ":7}").into_bytes();
    let other = |_: Vec<u8>| b"not JSON at all".to_vec();
    let emptied = |_: Vec<u8>| Vec::new();
    let ways: [(&str, Damage); 4] =
        [("torn", torn), ("edited", edited), ("other", other), ("emptied", emptied)];
    for (what, damage) in ways {
        let place = Place::new(&format!("damaged-{what}"));
        let days = [record("2026-01-02T00:00:00Z", "GOLD", "1"), record("2026-01-03T00:00:00Z", "GOLD", "2")];
        write(&place.0, "desk", &days, id(1)).unwrap();
        let file = place.0.join("desk").join(RECORDS);
        let good = fs::read(&file).unwrap();
        let bad = damage(good.clone());
        assert_ne!(bad, good);
        fs::write(&file, &bad).unwrap();
        let read = open(&place.0, "desk").unwrap_err();
        let described = manifest(&place.0, "desk").unwrap_err();
        let written = write(&place.0, "desk", &days, id(2)).unwrap_err();
        for error in [read, described, written] {
            assert!(matches!(error, RecordsError::Damaged { .. }), "{what}: {error}");
            let said = error.to_string();
            let path = place.0.display().to_string();
            assert!(said.contains("`records.json` of the source `desk`") && !said.contains(&path), "{said}");
        }
        assert_eq!(fs::read(&file).unwrap(), bad, "{what}");
        // Taken as it is, if it is a list of records, or made anew.
        fs::remove_file(place.0.join("desk").join(MANIFEST)).unwrap();
        assert_eq!(open(&place.0, "desk").is_ok(), what == "edited", "{what}");
        fs::remove_file(&file).unwrap();
        write(&place.0, "desk", &days, id(3)).unwrap();
        assert_eq!(fs::read(&file).unwrap(), good, "{what}");
    }
}

#[test]
fn a_copy_is_a_pair_whatever_a_write_has_come_to() {
    for steps in 0..=3 {
        let place = Place::new(&format!("copied-{steps}"));
        write(&place.0, "desk", &[record("2026-01-02T00:00:00Z", "GOLD", "1")], id(1)).unwrap();
        let more = record("2026-01-03T00:00:00Z", "GOLD", "2");
        let new = Kept::from([(more.key(), more.text())]);
        let pending = Pending::merged(&place.0.join("desk"), "desk", &new, id(2)).unwrap();
        for step in &Pending::steps()[..steps] {
            step(&pending).unwrap();
        }
        let aside = place.0.join("aside");
        copy(&place.0, "desk", &aside).unwrap();
        let copied = fs::read(aside.join("desk").join(RECORDS)).unwrap();
        let text = fs::read(aside.join("desk").join(MANIFEST)).unwrap();
        assert_eq!(serde_json::from_slice::<Manifest>(&text).unwrap().sha256, hash(&copied), "{steps} steps");
        assert!(!aside.join("desk").join(NEXT).exists(), "{steps} steps");
    }
}

#[test]
fn names_that_are_paths_are_refused() {
    let long = "x".repeat(65);
    for name in ["", "..", "../x", "a/b", "/etc", ".hidden", "-x", "a b", "a\0", "é", long.as_str()] {
        assert!(matches!(checked_name(name), Err(RecordsError::Name)), "{name:?}");
    }
    assert!(checked_name("coinbase.v2_1-m").is_ok());
}

#[test]
fn a_stop_after_any_step_leaves_a_valid_pair() {
    // Before the records are written beside the others, after that, and after each step that follows.
    for done in 0..=Pending::steps().len() + 1 {
        let place = Place::new(&format!("stop{done}"));
        let before = write(&place.0, "desk", &[record("2026-01-05T00:00:00Z", "GOLD", "1")], id(1)).unwrap();
        let folder = place.0.join("desk");
        let new = record("2026-01-06T00:00:00Z", "GOLD", "2");
        let new = Kept::from([(new.key(), new.text())]);
        let mut wanted = before;
        if done > 0 {
            let pending = Pending::merged(&folder, "desk", &new, id(2)).unwrap();
            for step in Pending::steps().into_iter().take(done - 1) {
                step(&pending).unwrap();
            }
            // Before the records took their place nothing has happened, afterwards all of it.
            wanted = if done < 3 { wanted } else { pending.described };
        }
        let described = manifest(&place.0, "desk").unwrap();
        assert_eq!(
            (&described, hash(&place.bytes())),
            (&wanted, wanted.sha256.clone()),
            "after {done} steps"
        );
        // The next write goes on from there, and leaves nothing behind.
        let after = write(&place.0, "desk", &[record("2026-01-07T00:00:00Z", "GOLD", "3")], id(3)).unwrap();
        assert_eq!(after.count, wanted.count + 1);
        let mut files: Vec<_> =
            fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        files.sort_unstable();
        assert_eq!(files, [MANIFEST, RECORDS], "after {done} steps");
    }
}

#[test]
fn a_file_is_merged_line_by_line_as_if_it_were_in_memory() {
    use proptest::prelude::*;
    let place = Place::new("lines");
    proptest!(ProptestConfig::with_cases(40), |(writes in proptest::collection::vec(
        proptest::collection::vec((1_u32..29, 0_usize..3, 0_u32..9), 0..12), 1..5))| {
        let folder = place.0.join("desk");
        if folder.exists() {
            fs::remove_dir_all(&folder).unwrap();
        }
        let mut model = Kept::new();
        for (round, rows) in (1..).zip(writes) {
            let records: Vec<Record> = rows.iter().map(|(day, symbol, price)| {
                let symbol = ["GOLD", "B\"\nT\u{2028},", "]"][*symbol];
                record(&format!("2026-01-{day:02}T00:00:00Z"), symbol, &price.to_string())
            }).collect();
            let described = write(&place.0, "desk", &records, id(round)).unwrap();
            model.extend(records.iter().map(|record| (record.key(), record.text())));
            let texts: Vec<String> = model.values().cloned().collect();
            prop_assert_eq!(place.texts(), texts);
            prop_assert_eq!((described.count, described.sha256), (u64::try_from(model.len()).unwrap(), hash(&place.bytes())));
            prop_assert_eq!(described.last, model.keys().next_back().map(|(at, _, _)| at.to_string()));
        }
    });
}
