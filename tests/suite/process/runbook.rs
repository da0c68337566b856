//! `docs/RESTORE.md`, followed to the letter on a destroyed database.

use super::machine::{Machine, blocks};
use super::{Api, OPEN, PATIENCE, Place, signal};
use crate::on_both;
use artifact::clock::Clock;
use artifact::storage::database::Location;

/// A machine whose service is started as the tests start it.
fn machine(place: &Place) -> Machine {
    let database = match &place.location {
        Location::Directory(_) => String::new(),
        Location::Postgres { url, .. } => format!("--database-url '{url}'"),
    };
    let data = place.data().display().to_string();
    let serve =
        format!("'{}' serve {} --data '{data}' {database}", env!("CARGO_BIN_EXE_artifact"), OPEN.join(" "));
    let configuration = place.file("installed.toml", "");
    let paths = vec![
        ("/var/lib/artifact".to_owned(), data),
        ("/etc/artifact/artifact.toml".to_owned(), configuration),
    ];
    Machine::new(&place.folder().join("tools"), &serve, place.folder(), paths)
}

/// The answers about the sample's money, byte for byte.
pub(super) async fn money(api: &Api, known_at: &str) -> Vec<String> {
    let mut said = Vec::new();
    for portfolio in api.every("/portfolios?limit=100").await {
        let id = portfolio["id"].as_str().unwrap();
        let reply = api.get(&format!("/portfolios/{id}/pnl?known_at={known_at}&by=lot")).await;
        reply.expect(200);
        said.push(String::from_utf8(reply.body.to_vec()).unwrap());
    }
    assert!(!said.is_empty());
    said
}

on_both! {
    async fn the_runbook_brings_a_destroyed_database_back(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        let service = place.serve(&OPEN);
        let known_at = Clock::system().now().to_string();
        let before = money(&service.api, &known_at).await;
        place.run(&["backup", "create"]).ok();
        crate::process::backup::destroy(&place).await;
        let machine = machine(&place);
        machine.runs(service.child.id());
        // One shell for all lines, as somebody who copies them has one.
        let lines = blocks("docs/RESTORE.md", "The database is lost or damaged: get it back").concat();
        assert!(lines.len() >= 6, "{lines:?}");
        let script = machine.script(&lines);
        let url = match &place.location {
            Location::Postgres { url, .. } => vec![("ARTIFACT_DATABASE_URL", url.as_str())],
            Location::Directory(_) => Vec::new(),
        };
        // The service that is stopped has this process as its parent, which has to notice its end.
        let reaper = std::thread::spawn(move || service.end(PATIENCE));
        let output = machine.run(&script, place.folder(), &url);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{out}\n{err}");
        assert!(out.contains("restored artifact-") && out.trim().ends_with("healthy"), "{out}");
        reaper.join().unwrap();

        let (pid, log) = (machine.pid(), machine.said());
        let address = log.split("http://").nth(1).unwrap().split_whitespace().next().unwrap();
        let api = Api { address: address.parse().unwrap(), key: None };
        let after = money(&api, &known_at).await;
        signal("TERM", pid);
        assert_eq!(after, before);
    }
}
