//! Units of systemd: they are well formed, and let a process do little.

use super::{file, run, said, text};
use crate::support::Scratch;
use std::collections::BTreeMap;
use std::fs;

/// Most a unit may be exposed, in tenths: a server that fetches, a server that does not, what needs no network.
const FETCHING: u32 = 15;
const LOOPBACK: u32 = 10;
const OFFLINE: u32 = 5;

/// The units, by name.
fn units() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(file("deploy/systemd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = text(&format!("deploy/systemd/{name}"));
        found.insert(name, text);
    }
    found
}

/// The units as files that start a program of this machine: none of ours is installed here.
fn laid_out() -> Scratch {
    let scratch = Scratch::new();
    for (name, text) in units() {
        let text = text.replace("/usr/local/bin/artifact", env!("CARGO_BIN_EXE_artifact"));
        fs::write(scratch.0.join(name), text).unwrap();
    }
    scratch
}

/// Whether a unit is at most so exposed, and what was said of it.
fn is_at_most(scratch: &Scratch, name: &str, tenths: u32) -> (bool, String) {
    let unit = scratch.0.join(name).display().to_string();
    let threshold = format!("--threshold={tenths}");
    let output = run("systemd-analyze", &["security", "--offline=true", "--no-pager", &threshold, &unit]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("Overall exposure level"), "{name}: {text} {errors}");
    (output.status.success(), text.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn every_unit_is_well_formed() {
    let scratch = laid_out();
    let names = units();
    let paths: Vec<String> = names
        .keys()
        .filter(|name| std::path::Path::new(name).extension().is_none_or(|kind| kind != "conf"))
        .map(|name| scratch.0.join(name).display().to_string())
        .collect();
    assert!(paths.len() >= 9, "{paths:?}");
    let mut arguments = vec!["verify", "--man=no", "--recursive-errors=no"];
    arguments.extend(paths.iter().map(String::as_str));
    let complaints = said("systemd-analyze", &arguments);
    assert_eq!(complaints, "", "systemd-analyze verify");
    // A unit with a fault is told: the check can fail.
    let wrong = scratch.0.join("wrong.service");
    fs::write(&wrong, "[Service]\nType=notify\nExecStart=/nowhere/at/all\n").unwrap();
    let output = run("systemd-analyze", &["verify", "--man=no", &wrong.display().to_string()]);
    assert!(!output.status.success() || !output.stderr.is_empty());
}

#[test]
fn no_unit_is_more_exposed_than_it_may_be() {
    let scratch = laid_out();
    let server = fs::read_to_string(scratch.0.join("artifact.service")).unwrap();
    let loopback = format!("{server}\n{}", text("deploy/systemd/loopback-only.conf"));
    fs::write(scratch.0.join("loopback.service"), loopback).unwrap();
    let services: Vec<String> = units().into_keys().filter(|name| name.ends_with(".service")).collect();
    for name in &services {
        let most = match name.as_str() {
            "artifact.service" => FETCHING,
            _ => OFFLINE,
        };
        let (well, said) = is_at_most(&scratch, name, most);
        assert!(well, "{said}");
    }
    let (well, said) = is_at_most(&scratch, "loopback.service", LOOPBACK);
    assert!(well, "{said}");
    // A line less, and the threshold says so.
    fs::write(scratch.0.join("open.service"), server.replace("SystemCallFilter", "#")).unwrap();
    assert!(!is_at_most(&scratch, "open.service", FETCHING).0);
}

#[test]
fn the_service_is_watched_and_its_secrets_are_files() {
    let service = text("deploy/systemd/artifact.service");
    for line in ["Type=notify", "WatchdogSec=30s", "LimitCORE=0", "User=artifact", "StateDirectory=artifact"]
    {
        assert!(service.lines().any(|found| found == line), "{line}");
    }
    for (name, unit) in units() {
        for line in unit.lines() {
            let secret = line.starts_with("LoadCredential=") && line != "LoadCredential=";
            let at_home = line.contains(":/etc/artifact/credentials/");
            assert!(!secret || at_home, "{name}: {line}");
            // The environment of a process can be read by others.
            assert!(
                !line.starts_with("EnvironmentFile") && !line.starts_with("SetCredential="),
                "{name}: {line}"
            );
        }
        // With the drop-in for secrets that are kept encrypted, each secret of the unit is lent from its encrypted file.
        let encrypted = text("deploy/systemd/00-encrypted-credentials.conf");
        let lent = unit.lines().filter_map(|line| line.strip_prefix("LoadCredential="));
        for line in lent.filter(|_| name.ends_with(".service")) {
            assert!(
                encrypted.contains(&format!("LoadCredentialEncrypted={line}.encrypted\n")),
                "{name}: {line}"
            );
        }
        if std::path::Path::new(&name).extension().is_some_and(|kind| kind == "timer") {
            assert!(unit.contains("Persistent=yes"), "{name} does not catch up");
        }
    }
}
