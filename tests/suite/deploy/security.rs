//! `SECURITY.md`: each risk of the OWASP API Security Top 10 is answered by tests that there are.

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
