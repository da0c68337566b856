//! Blocks of `docs/OPERATIONS.md` that the walk from an empty machine does not come by, run as they stand there; and what the
//! drop-ins under `deploy/systemd` make of the units when systemd merges them.

use super::machine::blocks;
use super::walk::{Installed, install};
use super::{Api, OPEN, Service, finish, program};
use crate::support::{Scratch, postgres_url};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::collections::BTreeMap;
use std::path::Path;

/// `systemd-creds`, with a seal anybody can break.
const SYSTEMD_CREDS: &str = r#"#!/bin/sh
set -e
case "$1 $2" in
'encrypt --name='*) { echo "sealed ${2#--name=}"; tr 0-9a-f g-v <"$3"; } >"$4" ;;
'decrypt --name='*) [ "$(head -n 1 "$3")" = "sealed ${2#--name=}" ] && tail -n +2 "$3" | tr g-v 0-9a-f >"$4" ;;
*) exit 1 ;;
esac
"#;

/// Which file each credential of a unit comes from, as systemd finds it: the unit, then its drop-ins in the order of their
/// names. A line without a value takes back all that stood before it, of encrypted ones too.
fn lent(units: &Path, name: &str) -> BTreeMap<String, String> {
    let mut files = vec![units.join(name)];
    if let Ok(folder) = std::fs::read_dir(units.join(format!("{name}.d"))) {
        let mut beside: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        beside.sort();
        files.extend(beside);
    }
    let mut found = BTreeMap::new();
    for file in files {
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let value =
                ["LoadCredential=", "LoadCredentialEncrypted="].iter().find_map(|key| line.strip_prefix(key));
            match value.map(|value| value.split_once(':')) {
                Some(Some((id, path))) => drop(found.insert(id.to_owned(), path.to_owned())),
                Some(None) => found.clear(),
                None => {}
            }
        }
    }
    found
}

/// The commands in the comment at the head of a drop-in.
fn told_by(drop_in: &str) -> Vec<String> {
    let text =
        std::fs::read_to_string(format!("{}/deploy/systemd/{drop_in}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("#   "));
    let lines = lines.skip_while(|line| !line.starts_with("for unit in")).map(str::to_owned);
    let mut commands: Vec<String> = lines.collect();
    let end = commands.iter().position(|line| line == "done").expect("a loop over units");
    commands.truncate(end + 1);
    commands.insert(0, "cd deploy/systemd".to_owned());
    commands
}

const SERVICES: [&str; 3] = ["artifact.service", "artifact-backup.service", "artifact-restore-drill.service"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_changed_and_encrypted_at_rest_by_the_blocks_that_say_so() {
    let scratch = Scratch::new();
    let machine = Installed::on(scratch.0.join("machine"));
    machine.machine.tool("systemd-creds", SYSTEMD_CREDS);
    machine.follow(&["sudo systemctl start artifact.service".to_owned()]);
    let printed = machine.machine.said();
    let key = printed.split_whitespace().find(|word| word.starts_with("art_")).expect("a first key");
    let api = Api { address: machine.service, key: Some(key.to_owned()) };
    let secrets = blocks("docs/OPERATIONS.md", "Secrets");
    let [encrypted, changed] = secrets.as_slice() else { panic!("{secrets:?}") };
    let credentials = machine.root.join("etc/artifact/credentials");
    let plain = credentials.join("artifact-secret");

    let before = std::fs::read_to_string(&plain).unwrap();
    let said = machine.follow(changed);
    assert!(said.contains("first"), "{said}");
    let after = std::fs::read_to_string(&plain).unwrap();
    assert_eq!((after.lines().count(), after.lines().last()), (2, before.lines().last()));
    api.get("/portfolios").await.expect(200);

    machine.follow(encrypted);
    assert!(!plain.exists(), "the plain secret is still there");
    api.get("/portfolios").await.expect(200);
    // Drop-ins beside it, installed as each of them says.
    for name in ["backup-passphrase", "audit-key"] {
        std::fs::write(credentials.join(name), "of the test\n").unwrap();
    }
    machine.follow(&told_by("encrypted-backups.conf"));
    machine.follow(&told_by("audit-key.conf"));
    let units = machine.root.join("etc/systemd/system");
    for name in SERVICES {
        let lent = lent(&units, name);
        let names: Vec<&str> = lent.keys().map(String::as_str).collect();
        assert_eq!(names, ["artifact-secret", "audit-key", "backup-passphrase"], "{name}");
        for path in lent.values() {
            // systemd does not start a unit whose credential is not there.
            assert!(machine.root.join(path.trim_start_matches('/')).exists(), "{name}: {path}");
        }
    }

    // The next version is installed over it.
    let said = install(&machine.root);
    assert!(!said.contains("made "), "{said}");
    assert!(!plain.exists(), "another secret was made beside the encrypted one");
}

#[test]
fn every_unit_that_is_lent_the_secret_is_among_those_that_are_told_where_it_is_encrypted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".service") && lent(&folder, &name).contains_key("artifact-secret") {
            found.push(name);
        }
    }
    found.sort();
    let mut wanted = SERVICES;
    wanted.sort_unstable();
    assert_eq!(found, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installed_service_is_upgraded_by_the_block_that_says_so() {
    let scratch = Scratch::new();
    let machine = Installed::on(scratch.0.join("machine"));
    machine.follow(&["sudo systemctl start artifact.service".to_owned()]);
    let before = machine.machine.pid();
    // What is fetched and built is here already.
    for name in ["git", "cargo"] {
        machine.machine.tool(name, "#!/bin/sh\n");
    }
    let (root, tools) = (machine.root.display(), machine.folder.join("tools"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.sh");
    let upgrade = format!(
        "#!/bin/sh\nset -e\nfakeroot -- {script} --root {root} --binary {}\n{}/systemctl restart artifact\n",
        env!("CARGO_BIN_EXE_artifact"),
        tools.display()
    );
    machine.machine.tool("install-here", &upgrade);
    let lines = blocks("docs/OPERATIONS.md", "Migrate and upgrade").concat();
    let lines: Vec<String> =
        lines.iter().map(|line| line.replace("deploy/install.sh", "install-here")).collect();
    let said = machine.follow(&lines);
    assert!(said.trim().ends_with("healthy"), "{said}");
    assert_ne!(machine.machine.pid(), before);
}

/// Where the scratch server is, for PostgreSQL's own programs.
fn server() -> (String, Vec<(&'static str, String)>) {
    let url = postgres_url();
    let (user, place) = url.split_once("://").unwrap().1.split_once('@').unwrap();
    let address = place.split('/').next().unwrap().to_owned();
    let (host, port) = address.split_once(':').unwrap();
    let told = [("PGHOST", host), ("PGPORT", port), ("PGUSER", user)];
    (address.clone(), told.map(|(name, value)| (name, value.to_owned())).into())
}

/// Removes what the blocks make: roles are those of the whole server.
async fn sweep() {
    let mut admin = PgConnection::connect(&postgres_url()).await.unwrap();
    for statement in [
        "DROP DATABASE IF EXISTS artifact WITH (FORCE)",
        "DROP ROLE IF EXISTS artifact",
        "DROP ROLE IF EXISTS artifact_owner",
    ] {
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    admin.close().await.unwrap();
}

/// Follows a block up to the line that serves, and serves as that line has it; the variable it sets.
fn follow(machine: &Installed, lines: &[String]) -> (Service, (String, String)) {
    let (address, told) = server();
    let (serve, before) = lines.split_last().unwrap();
    let told: Vec<(&str, &str)> = told.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let here = |line: &String| line.replace("@localhost/", &format!("@{address}/"));
    let script = before.iter().map(here).collect::<Vec<_>>().join("\n");
    let output = machine.machine.run(&script, &machine.folder, &told);
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    let serve = here(serve);
    let (url, words) = serve.split_once(' ').unwrap();
    let (name, url) = url.split_once('=').unwrap();
    let words: Vec<&str> = words.split(' ').collect();
    assert_eq!(words[..2], ["artifact", "serve"]);
    let mut command = program(&machine.folder, &[&words[1..], &OPEN].concat());
    command.env(name, url);
    (Service::start(command), (name.to_owned(), url.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_is_set_up_by_the_blocks_that_say_so() {
    let scratch = Scratch::new();
    let machine = Installed::on(scratch.0.join("machine"));
    // It would ask for a password at the terminal; the scratch server asks nobody.
    for name in ["createuser", "createdb"] {
        let script = format!("#!/bin/sh\n[ \"$1\" != --pwprompt ] || shift\nexec /usr/bin/{name} \"$@\"\n");
        machine.machine.tool(name, &script);
    }
    let all = blocks("docs/OPERATIONS.md", "PostgreSQL");
    let [one_role, two_roles, installed] = all.as_slice() else { panic!("{all:?}") };

    sweep().await;
    let (service, (name, url)) = follow(&machine, one_role);
    let market = json!({ "code": "M", "name": "M", "market_type": "OTC", "timezone": "UTC" });
    service.api.post("/markets", &market).await.expect(201);
    service.stop();
    // What the service does at night, and who restores: each makes a database beside it.
    for arguments in [["backup", "create"], ["backup", "verify"], ["backup", "restore"]] {
        let mut command =
            program(&machine.folder, &[&arguments[..], &["--data", "./artifact-data"]].concat());
        if arguments[1] != "create" {
            command.arg("latest");
        }
        command.env(&name, &url);
        finish(command, b"").ok();
    }

    sweep().await;
    std::fs::remove_dir_all(machine.folder.join("artifact-data")).unwrap();
    let (service, _) = follow(&machine, two_roles);
    service.api.post("/markets", &market).await.expect(201);
    service.stop();

    // An installed machine that goes over to an empty one. Its data directory has served without.
    sweep().await;
    let (_, told) = server();
    let told: Vec<(&str, &str)> = told.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let made = machine.machine.run(&one_role[..2].join("\n"), &machine.folder, &told);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    machine.machine.tool("chown", "#!/bin/sh\n");
    machine.machine.tool("editor", "#!/bin/sh\nsed -i \"1i database_url = '$URL'\" \"$1\"\n");
    machine.follow(&["sudo systemctl start artifact.service".to_owned()]);
    let url = format!("postgres://artifact:PASSWORD@{}/artifact", server().0);
    let script = machine.machine.script(installed);
    let output = machine.machine.run(&script, &machine.folder, &[("URL", &url)]);
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(machine.machine.said().contains("(PostgreSQL"), "{}", machine.machine.said());
    drop(machine);
    sweep().await;
}
