//! The audit trail of the real program: kept through kills and restores, and lost to nobody who puts an old copy back.

use super::{Api, OPEN, PATIENCE, Place, Service, finish};
use crate::on_both;
use crate::support::{Backend, postgres_url};
use artifact::storage::database::Location;
use artifact::workers::backup::archive::{self, Member};
use artifact::workers::backup::manifest::{Contents, Manifest};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn market(code: &str) -> Value {
    json!({ "code": code, "name": code, "market_type": "STOCK_EXCHANGE", "timezone": "UTC" })
}

/// What `audit verify` says, sound or not.
fn verdict(place: &Place) -> Value {
    let ran = place.run(&["audit", "verify", "--json"]);
    let verdict: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{ran:?}"));
    assert_eq!(ran.code == 0, verdict["whole"] == true, "{ran:?}");
    verdict
}

fn kinds(verdict: &Value) -> Vec<String> {
    let faults = verdict["faults"].as_array().unwrap();
    faults.iter().map(|fault| fault["kind"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a service has written a line with this text.
fn says(service: &Service, text: &str) {
    let started = Instant::now();
    while !service.err.all().iter().any(|line| line.contains(text)) {
        assert!(started.elapsed() < PATIENCE, "it does not say {text:?}: {:?}", service.err.all());
        std::thread::sleep(Duration::from_millis(10));
    }
}

async fn administration() -> PgConnection {
    PgConnection::connect(&postgres_url()).await.unwrap()
}

async fn run(connection: &mut PgConnection, statement: String) {
    connection.execute(AssertSqlSafe(statement)).await.unwrap();
}

/// Copies the whole database, with the service stopped.
async fn copy_aside(place: &Place) {
    match &place.location {
        Location::Directory(directory) => {
            for name in ["artifact.db", "artifact.db-wal", "artifact.db-shm"] {
                if directory.join(name).exists() {
                    fs::copy(directory.join(name), place.folder().join(name)).unwrap();
                }
            }
        }
        Location::Postgres { url, .. } => {
            let name = url.rsplit_once('/').unwrap().1;
            let mut connection = administration().await;
            run(&mut connection, format!("CREATE DATABASE {name}_old TEMPLATE {name}")).await;
        }
    }
}

/// Puts the copy in the place of the database, as somebody would who wants something undone.
async fn put_back(place: &Place) {
    match &place.location {
        Location::Directory(directory) => {
            for name in ["artifact.db", "artifact.db-wal", "artifact.db-shm"] {
                fs::remove_file(directory.join(name)).unwrap_or_default();
                if place.folder().join(name).exists() {
                    fs::copy(place.folder().join(name), directory.join(name)).unwrap();
                }
            }
        }
        Location::Postgres { url, .. } => {
            let name = url.rsplit_once('/').unwrap().1;
            let mut connection = administration().await;
            run(&mut connection, format!("ALTER DATABASE {name} RENAME TO {name}_new")).await;
            run(&mut connection, format!("ALTER DATABASE {name}_old RENAME TO {name}")).await;
        }
    }
}

/// What is done to the database of a backup.
#[derive(Debug, Clone, Copy)]
enum Forgery {
    /// The first text is exchanged for the second, of the same length.
    Text(&'static str, &'static str),
    /// The last row of the trail is taken out of a copy of SQLite.
    Tail,
}

impl Forgery {
    async fn commit(self, database: &Path, contents: &mut Contents) {
        match self {
            Self::Text(from, to) => {
                assert_eq!(from.len(), to.len());
                let mut bytes = fs::read(database).unwrap();
                let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
                fs::write(database, bytes).unwrap();
            }
            Self::Tail => {
                let options = SqliteConnectOptions::new().filename(database);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                let statements = "DROP TRIGGER audit_rows_are_not_removed; \
                    DELETE FROM audit_rows WHERE seq = (SELECT MAX(seq) FROM audit_rows)";
                connection.execute(statements).await.unwrap();
                connection.close().await.unwrap();
                *contents.rows.get_mut("audit_rows").unwrap() -= 1;
            }
        }
    }
}

/// Forges the database of a backup, and makes every sum around it fit again.
async fn forge(folder: &Path, made: &Value, how: Forgery) {
    let path = folder.join(made["archive"].as_str().unwrap());
    let work = folder.join("forged");
    fs::create_dir_all(&work).unwrap();
    let mut inner = archive::read(&path, &work, None).unwrap();
    let contents = inner.contents.as_mut().unwrap();
    let name = contents.files.keys().find(|name| name.starts_with("database")).unwrap().clone();
    let database = work.join(&name);
    how.commit(&database, contents).await;
    contents.files.insert(name, archive::file_sum(&database).unwrap());
    let members: Vec<Member> =
        contents.files.keys().map(|name| Member { name: name.clone(), path: work.join(name) }).collect();
    let sum = archive::write(&path, &inner, &members, None).unwrap();
    let manifest = path.display().to_string().replace(".tar.zst", ".json");
    let mut outer: Manifest = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    outer.contents = inner.contents;
    let archive = outer.archive.as_mut().unwrap();
    (archive.bytes, archive.sha256) = (sum.bytes, sum.sha256);
    fs::write(manifest, serde_json::to_vec(&outer).unwrap()).unwrap();
    fs::remove_dir_all(work).unwrap();
}

on_both! {
    async fn a_restored_trail_is_whole_and_tells_of_the_restore_once(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        let made = place.run(&["backup", "create", "--json"]).json();
        let service = place.serve(&OPEN);
        for code in ["LATE1", "LATE2", "LATE3"] {
            service.api.post("/markets", &market(code)).await.expect(201);
        }
        service.stop();
        let before = verdict(&place);
        let found = place.run(&["backup", "verify", "--json"]).json();
        assert!(found["audit_rows"].as_u64().unwrap() > 3, "{found}");
        let restored = place.run(&["backup", "restore", "latest", "--json"]).json();
        assert_eq!(restored["audit_rows"], found["audit_rows"]);
        // The manifest says where the trail ends, and so does the line among the anchors.
        let rows = found["audit_rows"].as_i64().unwrap();
        let service = place.serve(&OPEN);
        let told = service.api.get("/audit?action=database.restore").await.expect(200);
        assert_eq!((told.as_array().unwrap().len(), &told[0]["seq"]), (1, &json!(rows + 1)), "{told}");
        assert!(told[0]["object_id"].as_str().unwrap().contains(made["id"].as_str().unwrap()), "{told}");
        assert_eq!((&told[0]["actor"], &told[0]["before"]["seq"]), (&json!("owner"), &before["head"]["seq"]));
        service.api.post("/markets", &market("AFTER")).await.expect(201);
        service.kill();
        let service = place.serve(&OPEN);
        let verdict = verdict(&place);
        assert_eq!(verdict["whole"], true, "{verdict}");
        assert_eq!(verdict["restores"].as_array().unwrap().len(), 1, "{verdict}");
        let restore = &verdict["restores"][0];
        assert_eq!(restore["seq"], rows, "{verdict}");
        assert!(restore["note"].as_str().unwrap().contains(made["archive"].as_str().unwrap()), "{verdict}");
        assert_eq!(service.api.get("/audit?action=database.restore").await.expect(200).as_array().unwrap().len(), 1);
        assert!(!service.err.all().iter().any(|line| line.contains("anchored last") || line.contains("tampered")));
        service.stop();
    }

    async fn a_row_of_the_trail_that_was_changed_in_a_backup_is_found_by_its_drill(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        let made = place.run(&["backup", "create", "--json"]).json();
        place.run(&["backup", "verify"]).ok();
        forge(&place.data().join("backups"), &made, Forgery::Text("market.create", "market.delete")).await;
        let said = place.run(&["backup", "verify"]).failed(1);
        assert!(said.contains("does not fit its hash"), "{said}");
        assert_eq!(place.run(&["backup", "list", "--json"]).json()[0]["sound"], json!(false));
        let said = place.run(&["backup", "restore"]).failed(1);
        assert!(said.contains("does not fit its hash"), "{said}");
        assert_eq!(verdict(&place)["restores"], json!([]), "what was refused is told nowhere");
        // A running service finds it by its drill as well.
        let service = place.serve(&OPEN);
        let found = service.api.post("/backups/latest/verify", &json!({})).await.expect(200);
        assert!(found["sound"] == false && found["faults"].to_string().contains("does not fit"), "{found}");
        service.stop();
        if backend == Backend::Sqlite {
            let made = place.run(&["backup", "create", "--json"]).json();
            forge(&place.data().join("backups"), &made, Forgery::Tail).await;
            let said = place.run(&["backup", "verify"]).failed(1);
            assert!(said.contains("the audit trail ends at row"), "{said}");
        }
    }

    async fn an_older_copy_of_the_whole_database_is_noticed_by_the_command_and_at_the_start(backend) {
        let place = Place::new(backend).await;
        place.run(&["seed", "gold-bitcoin"]).ok();
        copy_aside(&place).await;
        let service = place.serve(&OPEN);
        for code in ["GONE1", "GONE2"] {
            service.api.post("/markets", &market(code)).await.expect(201);
        }
        service.stop();
        assert_eq!(verdict(&place)["whole"], true);
        put_back(&place).await;
        assert_eq!(kinds(&verdict(&place)), ["cut"]);
        let service = place.serve(&OPEN);
        says(&service, "does not have the row that was anchored last");
        says(&service, "the audit trail was tampered with");
        assert!(service.api.get("/metrics").await.text().contains("audit_verify_whole 0"));
        // It goes on, and is still noticed when the trail has outgrown what was lost.
        for code in ["NEW1", "NEW2", "NEW3"] {
            service.api.post("/markets", &market(code)).await.expect(201);
        }
        let found = service.api.get("/audit/verify").await.expect(200);
        assert_eq!(kinds(&found), ["anchor"], "{found}");
        service.stop();
        assert_eq!(kinds(&verdict(&place)), ["anchor"]);
    }

    async fn a_kill_leaves_one_row_for_each_deed_that_was_answered(backend) {
        let rounds: usize = if backend == Backend::Sqlite { 12 } else { 4 };
        let place = Place::new(backend).await;
        let mut service = place.serve(&OPEN);
        service.api.post("/markets", &market("LAB")).await.expect(201);
        let asset = json!({ "symbol": "GOLD", "name": "Gold", "asset_type": "COMMODITY", "market_code": "LAB" });
        service.api.post("/assets", &asset).await.expect(201);
        let (mut answered, mut open) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let (api, count) = (service.api.clone(), Arc::new(AtomicUsize::new(0)));
            let clients: Vec<_> = (0..6)
                .map(|client| tokio::spawn(client_until_the_end(api.clone(), format!("{round}-{client}"), Arc::clone(&count))))
                .collect();
            let started = Instant::now();
            while count.load(Ordering::SeqCst) < 20 + 7 * round {
                assert!(started.elapsed() < PATIENCE, "nothing is answered");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            service.kill();
            for client in clients {
                let (done, last) = client.await.unwrap();
                answered.extend(done);
                open.extend(last);
            }
            service = place.serve(&OPEN);
        }
        let rows = service.api.every("/audit?limit=1000").await;
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for row in &rows {
            let several = row["after"]["request_ids"].as_array().cloned().unwrap_or_default();
            for id in several.iter().chain([&row["request_id"]]).filter_map(Value::as_str) {
                *told.entry(id.to_owned()).or_default() += 1;
            }
        }
        for id in &answered {
            assert_eq!(told.get(id), Some(&1), "{id} was answered");
        }
        let kept = open.iter().filter(|id| told.contains_key(*id)).count();
        assert!(open.iter().all(|id| told.get(id).copied().unwrap_or_default() <= 1));
        let verdict = verdict(&place);
        assert_eq!((&verdict["whole"], &verdict["rows"]), (&json!(true), &json!(rows.len())), "{verdict}");
        eprintln!(
            "{rounds} kills: {} deeds answered, each with one row; of {} that were not, {kept} are in it",
            answered.len(),
            open.len()
        );
        assert!(answered.len() >= rounds * 20, "{}", answered.len());
        service.stop();
    }
}

/// Does one thing after the other until an answer stays away: the requests that were answered, and the one that was not.
async fn client_until_the_end(
    api: Api,
    name: String,
    count: Arc<AtomicUsize>,
) -> (Vec<String>, Option<String>) {
    let mut answered = Vec::new();
    for number in 0..2_000 {
        let id = format!("r{name}-{number}");
        let (path, body) = match number % 3 {
            0 => ("/markets", market(&format!("M{name}-{number}"))),
            1 => ("/portfolios", json!({ "name": id, "owner_id": "load", "initial_capital": "1" })),
            _ => ("/prices", json!({ "symbol": "GOLD", "price": "1", "source": id })),
        };
        let headers = [("content-type", "application/json"), ("x-request-id", id.as_str())];
        match api.attempt("POST", path, &headers, body.to_string().as_bytes()).await {
            Ok(reply) if reply.status.is_success() => {
                answered.push(id);
                count.fetch_add(1, Ordering::SeqCst);
            }
            // It was killed while it answered that it stops.
            Ok(reply) => {
                assert_eq!(reply.status.as_u16(), 503, "{}", reply.text());
                return (answered, Some(id));
            }
            Err(_) => return (answered, Some(id)),
        }
    }
    (answered, None)
}

/// A file that only its owner reads.
fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trails_key_comes_from_a_credential_a_variable_or_the_configuration() {
    let place = Place::new(Backend::Sqlite).await;
    let (key, other) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
    let folder = place.folder().join("credentials");
    fs::create_dir(&folder).unwrap();
    private(&folder.join("audit-key"), &format!("{key}\n"));
    private(&place.folder().join("other"), &other);
    let with = |variable: &str, value: &Path, arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env(variable, value);
        finish(command, b"")
    };
    with("CREDENTIALS_DIRECTORY", &folder, &["seed", "gold-bitcoin"]).ok();
    assert!(!place.data().join("audit.key").exists(), "none is made beside it");
    let shown = with("CREDENTIALS_DIRECTORY", &folder, &["config", "show"]).ok();
    assert!(shown.contains("audit-key") && !shown.contains(&key), "{shown}");
    let file = folder.join("audit-key");
    let whole = with("ARTIFACT_AUDIT__KEY_FILE", &file, &["audit", "verify"]).ok();
    assert!(whole.contains("rows and"), "{whole}");
    let toml = place.file("artifact.toml", &format!("[audit]\nkey_file = \"{}\"\n", file.display()));
    place.run(&["audit", "verify", "--config", &toml]).ok();
    let said = place.run(&["audit", "rotate-key", "--config", &toml]).failed(1);
    assert!(said.contains("openssl rand -hex 32) >>") && said.contains("audit-key"), "{said}");
    with("CREDENTIALS_DIRECTORY", &folder, &["backup", "create"]).ok();
    with("CREDENTIALS_DIRECTORY", &folder, &["backup", "verify"]).ok();

    // Without it, and with another one, nothing is opened and no backup is believed.
    let rows = place.run(&["audit", "list"]).failed(1);
    assert!(rows.contains("has rows, but its key"), "{rows}");
    assert!(!place.data().join("audit.key").exists(), "none is made for a trail that has rows");
    let wrong = place.folder().join("other");
    let said = with("ARTIFACT_AUDIT__KEY_FILE", &wrong, &["keys", "list"]).failed(1);
    assert!(said.contains("was not made with the key that is here"), "{said}");
    assert!(!said.contains(&other), "{said}");
    let said = with("ARTIFACT_AUDIT__KEY_FILE", &wrong, &["backup", "verify"]).failed(1);
    assert!(said.contains("is its key another one?"), "{said}");
    let said = place.run(&["backup", "restore"]).failed(1);
    assert!(said.contains("their key is not here"), "{said}");
    let said = with("ARTIFACT_AUDIT__KEY_FILE", Path::new("/nowhere/key"), &["audit", "verify"]).failed(1);
    assert!(said.contains("/nowhere/key is not there"), "{said}");
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o644)).unwrap();
    let said = with("ARTIFACT_AUDIT__KEY_FILE", &wrong, &["audit", "verify"]).failed(1);
    assert!(said.contains("others may read it") && said.matches("chmod 600").count() == 1, "{said}");

    // A key that is lost for good: another one goes on after the last row it made.
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600)).unwrap();
    let last = with("CREDENTIALS_DIRECTORY", &folder, &["audit", "list", "--limit", "1", "--json"]).json();
    fs::remove_file(place.data().join("audit.anchors")).unwrap();
    let go_on = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("ARTIFACT_AUDIT__KEY_FILE", &wrong);
        command.env("ARTIFACT_AUDIT__AFTER", last[0]["seq"].to_string());
        finish(command, b"")
    };
    go_on(&["keys", "create", "--admin"]).ok();
    let found = go_on(&["audit", "verify", "--json"]).json();
    assert_eq!((&found["whole"], &found["rows"]), (&json!(true), &json!(1)), "{found}");
    go_on(&["backup", "create"]).ok();
    let found = go_on(&["backup", "verify", "--json"]).json();
    assert_eq!(found["sound"], true, "{found}");
}

on_both! {
    async fn the_trails_key_is_replaced_and_what_it_made_stays_proven_through_a_restore(backend) {
        let place = Place::new(backend).await;
        let file = place.data().join("audit.key");
        place.run(&["seed", "gold-bitcoin"]).ok();
        place.run(&["backup", "create"]).ok();
        let before = verdict(&place);
        let first = fs::read_to_string(&file).unwrap();

        // Beside a service, which goes on with the key it has until it is started again.
        let service = place.serve(&OPEN);
        let said = place.run(&["audit", "rotate-key"]).ok();
        let both = fs::read_to_string(&file).unwrap();
        assert!(said.contains("key 2 is added") && both.starts_with(first.trim()) && both.lines().count() == 2, "{said}");
        assert!(!said.contains(both.lines().last().unwrap()), "{said}");
        service.api.post("/markets", &market("XONE")).await.expect(201);
        service.stop();
        let service = place.serve(&OPEN);
        service.api.post("/markets", &market("XTWO")).await.expect(201);
        let found = service.api.get("/audit/verify").await.expect(200);
        let last = before["head"]["seq"].as_i64().unwrap() + 1;
        assert_eq!(found["whole"], true, "{found}");
        assert_eq!(found["keys"], json!([{ "number": 1, "first": 1 }, { "number": 2, "first": last + 1 }]), "{found}");
        service.stop();
        let rows = place.run(&["audit", "list", "--action", "audit.key", "--json"]).json();
        assert_eq!((&rows[0]["seq"], &rows[0]["actor"]), (&json!(last + 1), &json!("system:audit")), "{rows}");
        assert_eq!(rows[0]["after"], json!({ "number": 2 }));
        let told = place.run(&["audit", "verify"]).ok();
        assert!(told.contains(&format!("key 2 from row {} on", last + 1)), "{told}");

        // The backup of the time of the first key is put back; what is written then is of the second.
        place.run(&["backup", "verify", "latest"]).ok();
        place.run(&["backup", "restore", "latest"]).ok();
        let found = verdict(&place);
        // The row that tells of a backup comes after it.
        let restored = before["head"]["seq"].as_i64().unwrap() - 1;
        assert_eq!((&found["whole"], &found["restores"][0]["seq"]), (&json!(true), &json!(restored)), "{found}");
        assert_eq!(found["keys"][1], json!({ "number": 2, "first": restored + 1 }), "{found}");
        // A backup of both keys is held to both, and without the first key its rows are not believed.
        place.run(&["backup", "create"]).ok();
        place.run(&["backup", "verify", "latest"]).ok();
        private(&file, both.lines().last().unwrap());
        let said = place.run(&["backup", "verify", "latest"]).failed(1);
        assert!(said.contains("is its key another one?"), "{said}");
    }
}

/// Stopped between any two of its steps, a restore is done or not, and the trail fits what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_leaves_a_whole_trail() {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    place.run(&["backup", "create"]).ok();
    let started = Instant::now();
    place.run(&["backup", "restore"]).ok();
    let longest = started.elapsed();
    let (mut done, mut seen) = (0, 1);
    for step in 0..10 {
        place.run(&["keys", "create", "--admin", "--name", &format!("k{step}")]).ok();
        let mut restoring = place.command(&["backup", "restore"]).spawn().unwrap();
        // Most of its time it proves the backup; what is of interest comes at the end.
        std::thread::sleep(longest * (70 + 5 * step) / 100);
        restoring.kill().unwrap_or_default();
        restoring.wait().unwrap();
        let verdict = verdict(&place);
        assert_eq!(verdict["whole"], true, "killed at step {step}: {verdict}");
        let restores = verdict["restores"].as_array().unwrap().len();
        // A restore is told when it is done, and then alone.
        let rows = place.run(&["audit", "list", "--action", "key.create", "--json"]).json();
        let gone = rows.as_array().unwrap().is_empty();
        assert_eq!(restores == seen + 1, gone, "killed at step {step}: {verdict}");
        done += usize::from(gone);
        seen = restores;
    }
    eprintln!(
        "10 restores killed: {done} were done, {} were not, and the trail was whole after each",
        10 - done
    );
}
