//! Tells the program which commit and which compiler it is made of.
//!
//! A release asks git, unless `ARTIFACT_COMMIT` says it already (an image is built without the repository). Any other
//! build is `development`: it would be built anew at each commit only to say so. Nothing here fails a build.
//!
//! On Linux a release's line tables, which name the places of a panic, are packed: they are three quarters of the program.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=ARTIFACT_COMMIT");
    println!("cargo:rustc-env=ARTIFACT_COMMIT={}", commit());
    let rustc = told("RUSTC").and_then(|rustc| said(&rustc, &["--version"]));
    let version = rustc.as_deref().and_then(|text| text.split(' ').nth(1)).unwrap_or("unknown");
    println!("cargo:rustc-env=ARTIFACT_RUSTC={version}");
    if is_release() && told("CARGO_CFG_TARGET_OS").is_some_and(|system| system == "linux") {
        println!("cargo:rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
}

fn is_release() -> bool {
    told("PROFILE").is_some_and(|profile| profile == "release")
}

fn commit() -> String {
    if let Some(commit) = told("ARTIFACT_COMMIT") {
        return commit;
    }
    if !is_release() {
        return "development".to_owned();
    }
    for file in ["HEAD", "refs", "packed-refs"] {
        if let Some(path) = said("git", &["rev-parse", "--git-path", file]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    said("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

/// What cargo, or whoever builds, says by the environment.
#[expect(clippy::disallowed_methods, reason = "no configuration: the way cargo talks to a build script")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first line a program prints, if it runs and says something.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|out| out.status.success())?;
    let line = String::from_utf8(output.stdout).ok()?.lines().next()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}
