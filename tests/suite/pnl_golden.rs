//! Golden ledgers: `tests/golden/*.toml` say what a ledger amounts to, and where that number comes from.
//!
//! The form of the files is told in `tests/golden/README.md`. `tests/golden/outside.py` computes every figure
//! again, in fractions and without a line of this engine. [`cases`] runs the truth cases of other systems.

#![cfg(test)]

mod cases;
mod compact;
mod figures;
mod ledger;

use compact::File;
use std::collections::BTreeSet;
use std::fs;

/// The golden files, in order of name: (file name, what it holds).
fn files() -> Vec<(String, File)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let file = toml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, file)
        })
        .collect()
}

#[test]
fn every_golden_ledger_amounts_to_what_its_source_says() {
    let mut wrong = Vec::new();
    for (name, file) in files() {
        for scenario in &file.scenario {
            let complaints = scenario.parse().complaints(&|_| None);
            wrong.extend(
                complaints.into_iter().map(|complaint| format!("{name} {}: {complaint}", scenario.id)),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_golden_ledger_has_a_name_of_its_own_and_names_its_source() {
    let mut names = BTreeSet::new();
    for (name, file) in files() {
        assert!(!file.scenario.is_empty(), "{name} holds nothing");
        for scenario in &file.scenario {
            assert!(names.insert(scenario.id.clone()), "{name}: {} is there twice", scenario.id);
            assert!(
                scenario.source.len() > 20,
                "{name}: {} does not say where its figures come from",
                scenario.id
            );
        }
    }
    assert!(names.len() >= 25, "only {} scenarios", names.len());
}

/// A harness that cannot fail proves nothing.
#[test]
fn a_wrong_figure_is_told() {
    let text = r#"
        [[scenario]]
        id = "planted"
        source = "nobody: these figures are wrong on purpose"
        base = "USD"
        ledger = "2024-01-01 buy 10 ACME @ 100"
        expect = "2024-01-02 ACME: quantity=11 cost_basis=1000 realized_pnl=none lots=10@101"
    "#;
    let file: File = toml::from_str(text).unwrap();
    let complaints = file.scenario[0].parse().complaints(&|_| None);
    assert_eq!(complaints.len(), 3, "{complaints:?}");
}
