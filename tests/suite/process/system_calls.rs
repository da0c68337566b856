//! The system calls of a service at work are among those its unit lets through.

use super::{PATIENCE, Place, Service, ended, signal};
use crate::support::Backend;
use serde_json::json;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};

/// The calls of a group as systemd knows them, groups in it taken apart.
fn group(name: &str) -> BTreeSet<String> {
    let output =
        Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", name]).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let mut calls = BTreeSet::new();
    for line in String::from_utf8(output.stdout).unwrap().lines().map(str::trim) {
        match line {
            _ if line.is_empty() || line.starts_with('#') || line == name => {}
            _ if line.starts_with('@') => calls.extend(group(line)),
            _ => {
                calls.insert(line.to_owned());
            }
        }
    }
    calls
}

/// What the unit of the service lets through.
fn let_through() -> BTreeSet<String> {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd/artifact.service");
    let unit = std::fs::read_to_string(unit).unwrap();
    let mut calls = BTreeSet::new();
    for filter in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        match filter.strip_prefix('~') {
            Some(not) => not.split(' ').map(group).for_each(|some| calls.retain(|call| !some.contains(call))),
            None => filter.split(' ').map(group).for_each(|some| calls.extend(some)),
        }
    }
    calls
}

/// The calls in a record of `strace -f`: `PID name(..`.
fn made(record: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit(' ').next()?;
        name.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            .then(|| name.to_owned())
    };
    record.lines().filter_map(name).filter(|name| !name.is_empty()).collect()
}

/// The process under strace: it outlives a strace that is killed.
struct Traced(u32);

impl Drop for Traced {
    fn drop(&mut self) {
        let kill = format!("kill -KILL {} 2>/dev/null || true", self.0);
        Command::new("/bin/sh").args(["-c", &kill]).status().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_at_work_makes_no_call_that_its_unit_refuses() {
    let place = Place::new(Backend::Sqlite).await;
    let record = place.folder().join("calls");
    let data = place.data().display().to_string();
    let mut command = Command::new("strace");
    command
        .args(["--follow-forks", "--quiet=all", "--seccomp-bpf", "--output"])
        .arg(&record)
        .args([
            env!("CARGO_BIN_EXE_artifact"),
            "serve",
            "--data",
            &data,
            "--open-loopback",
            "--listen",
            "127.0.0.1:0",
        ])
        .env_clear()
        .env("ARTIFACT_METRICS__LISTEN", "127.0.0.1:0")
        .current_dir(place.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut service = Service::start(command);
    // strace passes nothing on: the service is its child, and is ended by its own id.
    let children = format!("/proc/{0}/task/{0}/children", service.child.id());
    let traced = Traced(std::fs::read_to_string(children).unwrap().trim().parse().unwrap());
    let portfolio = json!({ "name": "book", "owner_id": "o", "initial_capital": "1000" });
    let made_portfolio = service.api.post("/portfolios", &portfolio).await.expect(201);
    let market = json!({ "code": "X", "name": "X", "market_type": "OTC", "timezone": "UTC" });
    service.api.post("/markets", &market).await.expect(201);
    let asset = json!({ "symbol": "A", "name": "A", "asset_type": "STOCK", "market_code": "X" });
    service.api.post("/assets", &asset).await.expect(201);
    for price in 1..50 {
        service.api.post("/prices", &json!({ "symbol": "A", "price": price })).await.expect(200);
    }
    let id = made_portfolio["id"].as_str().unwrap();
    for path in [&format!("/portfolios/{id}/pnl"), "/metrics", "/health", "/openapi.json"] {
        assert_eq!(service.api.get(path).await.status, 200, "{path}");
    }
    signal("TERM", traced.0);
    ended(&mut service.child, PATIENCE).expect("an end");
    // Its id may be another's by now.
    std::mem::forget(traced);
    let calls = made(&std::fs::read_to_string(&record).unwrap());
    for sure in ["fsync", "epoll_wait", "accept4", "statx"] {
        assert!(calls.contains(sure), "{sure} was not seen: {calls:?}");
    }
    let allowed = let_through();
    assert!(
        allowed.contains("read") && !allowed.contains("mount") && !allowed.contains("setuid"),
        "{allowed:?}"
    );
    // As root SQLite gives new files to the owner of the database; the unit does not run as root.
    let refused: Vec<&String> =
        calls.iter().filter(|call| !allowed.contains(*call) && *call != "fchown").collect();
    assert!(refused.is_empty(), "the unit refuses {refused:?}");
}
