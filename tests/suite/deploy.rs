//! What lies under `deploy/`: looked at with the programs of those it is for.

#![cfg(test)]

mod documents;
pub(crate) mod expressions;
mod image;
mod install;
mod security;
mod units;
mod watching;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A file of the repository.
fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs a program to its end. One that is not there is a failure: `make needs` installs it.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.output().unwrap_or_else(|error| panic!("{program}: {error}; `make needs` installs it"))
}

/// What a program said that must have succeeded.
#[track_caller]
fn said(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let both = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let both = both.concat();
    assert!(output.status.success(), "{program} {arguments:?}: {both}");
    both
}

#[test]
fn scripts_have_no_fault_that_shellcheck_knows() {
    let mut scripts = Vec::new();
    for folder in ["scripts", "deploy"] {
        for entry in std::fs::read_dir(file(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "sh") {
                scripts.push(path.display().to_string());
            }
        }
    }
    assert!(scripts.len() >= 3, "{scripts:?}");
    let mut arguments = vec!["--severity=warning"];
    arguments.extend(scripts.iter().map(String::as_str));
    said("shellcheck", &arguments);
}
