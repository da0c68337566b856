//! `docs/RESTORE.md`, followed to the letter on a destroyed database.

use super::{Api, OPEN, PATIENCE, Place, signal};
use crate::on_both;
use artifact::clock::Clock;
use artifact::storage::database::Location;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The lines of every block of commands, in order.
fn commands() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RESTORE.md")).unwrap();
    let (mut lines, mut inside) = (Vec::new(), false);
    for line in text.lines() {
        match (line, inside) {
            ("```sh", false) => inside = true,
            ("```", true) => inside = false,
            (line, true) => lines.push(line.to_owned()),
            _ => {}
        }
    }
    assert!(lines.len() >= 7 && !inside, "{lines:?}");
    lines
}

/// A `systemctl` that knows one unit: the service, started as the tests start it.
fn unit(place: &Place, tools: &Path) {
    let database = match &place.location {
        Location::Directory(_) => String::new(),
        Location::Postgres { url, .. } => format!("--database-url '{url}'"),
    };
    let script = format!(
        "#!/bin/sh\nset -e\ncase \"$1 $2\" in\n\
         'stop artifact') kill \"$(cat '{pid}')\"; while kill -0 \"$(cat '{pid}')\" 2>/dev/null; do sleep 0.05; done ;;\n\
         'start artifact') '{binary}' serve {flags} --data '{data}' {database} >'{out}' 2>&1 & echo $! >'{pid}'\n\
         while ! grep -q listening '{out}'; do kill -0 \"$(cat '{pid}')\"; sleep 0.05; done ;;\n\
         *) echo \"systemctl $*\" >&2; exit 1 ;;\nesac\n",
        pid = tools.join("pid").display(),
        out = tools.join("out").display(),
        binary = env!("CARGO_BIN_EXE_artifact"),
        flags = OPEN.join(" "),
        data = place.data().display(),
    );
    let path = tools.join("systemctl");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The answers about the sample's money, byte for byte.
async fn money(api: &Api, known_at: &str) -> Vec<String> {
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
        let tools = place.folder().join("tools");
        std::fs::create_dir_all(&tools).unwrap();
        unit(&place, &tools);
        std::fs::write(tools.join("pid"), service.child.id().to_string()).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_artifact"), tools.join("artifact")).unwrap();

        // One shell for all lines, so that what one exports the next ones see.
        let data = place.data().display().to_string();
        let lines: Vec<String> =
            commands().iter().map(|line| line.replace("/var/lib/artifact", &data)).collect();
        let script = lines.join("\n");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-e", "-c", &script]).current_dir(place.folder()).env_clear();
        shell.env("PATH", format!("{}:/usr/bin:/bin", tools.display())).env("TMPDIR", place.folder());
        if let Location::Postgres { url, .. } = &place.location {
            shell.env("ARTIFACT_DATABASE_URL", url);
        }
        // The service that is stopped has this process as its parent, which has to notice its end.
        let reaper = std::thread::spawn(move || service.end(PATIENCE));
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{out}\n{err}");
        assert!(out.contains("restored artifact-") && out.trim().ends_with("healthy"), "{out}");
        reaper.join().unwrap();

        let pid: u32 = std::fs::read_to_string(tools.join("pid")).unwrap().trim().parse().unwrap();
        let log = std::fs::read_to_string(tools.join("out")).unwrap();
        let address = log.split("http://").nth(1).unwrap().split_whitespace().next().unwrap();
        let api = Api { address: address.parse().unwrap(), key: None };
        let after = money(&api, &known_at).await;
        signal("TERM", pid);
        assert_eq!(after, before);
    }
}
