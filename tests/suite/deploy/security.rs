//! `SECURITY.md` and `docs/ASVS.md`: each risk of the OWASP API Security Top 10 is answered by tests that there are, and
//! each requirement of the ASVS by what there is.

use super::{file, text};
use std::collections::BTreeSet;
use std::path::Path;

/// The names of all functions in the Rust files below a folder.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            for rest in std::fs::read_to_string(&path).unwrap().split("fn ").skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.insert(rest[..end].to_owned());
            }
        }
    }
}

#[test]
fn every_risk_of_the_owasp_list_is_answered_by_tests_that_exist() {
    let mut known = BTreeSet::new();
    functions(&file("src"), &mut known);
    functions(&file("tests/suite"), &mut known);
    let page = text("SECURITY.md");
    for number in 1..=10 {
        let mark = format!("| API{number}:2023 ");
        let row =
            page.lines().find(|line| line.starts_with(&mark)).unwrap_or_else(|| panic!("no row {mark}"));
        let tests: Vec<&str> =
            row.trim_end_matches('|').rsplit('|').next().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(tests.len() >= 2, "{mark} is answered by {tests:?}");
        for test in tests {
            assert!(known.contains(test), "{mark}: there is no test `{test}`");
        }
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_requirement_of_the_asvs_is_answered_counted_and_shown_by_what_is_there() {
    let mut known = BTreeSet::new();
    functions(&file("src"), &mut known);
    functions(&file("tests/suite"), &mut known);
    let page = text("docs/ASVS.md");
    let mut counts = [[0; 3]; 2];
    let mut numbers = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).splitn(5, '|').map(str::trim).collect();
        let [number, level, _, answer, why] = cells[..] else { continue };
        if number.split('.').filter(|part| part.parse::<u32>().is_ok()).count() != 3 {
            continue;
        }
        assert!(numbers.insert(number.to_owned()), "{number} is there twice");
        let of_level = &mut counts[usize::from(level != "1")];
        let place = ["yes", "n.a.", "**no**"].iter().position(|known| *known == answer);
        of_level[place.unwrap_or_else(|| panic!("{number}: {answer}"))] += 1;
        assert!(why.len() > 5, "{number} has no reason");
        for name in quoted(why) {
            let plain =
                |allowed: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || allowed.contains(c));
            let folder = name.split('/').next().unwrap_or_default();
            let there = match folder {
                "src" | "docs" | "deploy" | "tests" | "scripts" if plain("/._-") => file(name).exists(),
                "http" | "process" | "storage" if plain("/._") => {
                    file(&format!("tests/suite/{name}")).exists()
                }
                _ if plain("_") && name.matches('_').count() >= 3 => known.contains(name),
                _ => true,
            };
            assert!(there, "{number}: there is no `{name}`");
        }
    }
    // Version 5.0.0 of the standard has so many.
    assert_eq!(counts.map(|of_level| of_level.iter().sum::<u32>()), [70, 183]);
    for (level, [yes, not, no]) in ["1", "2"].iter().zip(counts) {
        let wanted = format!("| {level} | {yes} | {not} | {no} | {} |", yes + not + no);
        assert!(page.lines().any(|line| line == wanted), "the table has no line {wanted}");
    }
}
