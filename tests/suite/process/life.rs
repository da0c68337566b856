//! How the service starts, who may come in, who may not share its data, and how it ends.

use super::load::{Chance, Load, Round, Tally};
use super::{CLOSED, OPEN, Place, finish, program};
use crate::on_both;
use crate::support::{Backend, Scratch, times};
use artifact::storage::database::Location;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Longest an orderly end may take.
const DOWN: Duration = Duration::from_secs(15);
/// Longest a second process may take to be refused.
const REFUSED: Duration = Duration::from_secs(8);

/// Connections that ask for something at once.
const CLIENTS: u8 = 6;

async fn end_under_load(backend: Backend, rounds: usize) {
    let place = Place::new(backend).await;
    let mut chance = Chance::new(7);
    let mut service = place.serve(&OPEN);
    let mut load = Load::begin(&service.api, CLIENTS.into()).await;
    let (mut sum, mut slowest) = (Tally::default(), Duration::ZERO);
    for round in 0..rounds {
        let api = service.api.clone();
        let pause = Duration::from_micros(chance.below(30_000));
        let until = Round { hasty: 0, answers: 20 + chance.below(40), pause };
        load.run(&api, until, || service.terminate()).await;
        let started = Instant::now();
        assert_eq!(service.end(DOWN), 0, "round {round}");
        slowest = slowest.max(started.elapsed());
        service = place.serve(&OPEN);
        let tally = load.settle(&service.api, true).await;
        assert_eq!(tally.kept, 0, "round {round}: writes were done whose answers were not sent");
        sum.add(&tally);
    }
    eprintln!("{rounds} ends of {backend:?}, {slowest:?} at most: {sum:?}");
    assert!(slowest < DOWN, "{slowest:?}");
    // Whoever was let in gets an answer; a connection still waiting to be let in may be cut off now and then, but not
    // half of the clients each time, as when nothing were drained.
    assert!(sum.answered > 40 && sum.cut_off * 2 < rounds * usize::from(CLIENTS), "{sum:?}");
    service.stop();
}

on_both! {
    async fn sigterm_under_load_answers_what_it_does_and_exits_zero(backend) {
        end_under_load(backend, if backend == Backend::Sqlite { times(5, 50) } else { times(2, 5) }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_ends_it_as_well_and_a_stalled_client_does_not_hold_it() {
    use tokio::io::AsyncWriteExt as _;
    let place = Place::new(Backend::Sqlite).await;
    let service = place.serve(&OPEN);
    let mut stalled = tokio::net::TcpStream::connect(service.api.address).await.unwrap();
    stalled
        .write_all(b"POST /prices HTTP/1.1\r\nhost: localhost\r\ncontent-length: 90\r\n\r\n{")
        .await
        .unwrap();
    assert!(service.api.healthy().await);
    super::signal("INT", service.child.id());
    assert_eq!(service.end(DOWN), 0);
    assert!(!place.data().join("artifact.sock").exists());
}

/// Starts a second service beside a running one; returns what it said.
async fn second(place: &Place) -> String {
    let service = place.serve(&OPEN);
    let api = service.api.clone();
    let asking = tokio::spawn(async move {
        for _ in 0..40 {
            assert!(api.healthy().await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let started = Instant::now();
    let refused = place.run(&[&["serve"], OPEN.as_slice()].concat());
    assert!(started.elapsed() < REFUSED, "{:?}", started.elapsed());
    assert_eq!(refused.out, "", "it said something as if it had started");
    asking.await.unwrap();
    // The first still writes, and its owner's socket is still its own.
    let market = json!({ "code": "X", "name": "X", "market_type": "OTC", "timezone": "UTC" });
    service.api.post("/markets", &market).await.expect(201);
    place.run(&["health"]).ok();
    service.stop();
    place.serve(&OPEN).stop();
    refused.failed(1)
}

on_both! {
    async fn a_second_service_on_the_same_directory_is_refused_and_the_first_goes_on(backend) {
        let place = Place::new(backend).await;
        let said = second(&place).await;
        assert!(said.contains("is in use by another artifact process"), "{said}");
        assert!(said.contains(&place.data().display().to_string()), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_service_on_the_same_postgres_database_is_refused_from_another_directory() {
    let place = Place::new(Backend::Postgres).await;
    let Location::Postgres { url, .. } = &place.location else { unreachable!() };
    let service = place.serve(&OPEN);
    let other = place.folder().join("other").display().to_string();
    let flags = ["serve", "--data", &other, "--database-url", url];
    let started = Instant::now();
    let said = finish(program(place.folder(), &[&flags, OPEN.as_slice()].concat()), b"").failed(1);
    assert!(started.elapsed() < REFUSED);
    assert!(said.contains("PostgreSQL database is in use by another artifact process"), "{said}");
    assert!(service.api.healthy().await);
    service.stop();
}

async fn first_key(backend: Backend) {
    let place = Place::new(backend).await;
    let mut service = place.serve(&CLOSED);
    let key = service.printed_key().expect("a key at the first start");
    let parts: Vec<&str> = key.split('_').collect();
    assert!(matches!(parts.as_slice(), ["art", prefix, secret] if prefix.len() == 12 && secret.len() == 64));
    assert_eq!(service.api.get("/markets").await.code(401), "unauthorized");
    assert_eq!(service.api.get("/health").await.status, 200);
    service.api.key = Some(key.replace("art_", "art_f"));
    assert_eq!(service.api.get("/markets").await.code(401), "unauthorized");
    service.api.key = Some(key.clone());
    service.api.get("/markets").await.expect(200);
    let bearer = format!("Bearer {key}");
    service.api.key = None;
    let headers = [("authorization", bearer.as_str())];
    service.api.attempt("GET", "/portfolios", &headers, b"").await.unwrap().expect(200);
    service.stop();

    let mut again = place.serve(&CLOSED);
    assert_eq!(again.printed_key(), None, "shown once");
    again.api.key = Some(key.clone());
    again.api.get("/markets").await.expect(200);
    let secret = parts[2];
    for line in again.err.all().iter().chain(&again.out.all()) {
        assert!(!line.contains(secret), "the key is in the log");
    }
    again.kill();
    let after_a_kill = place.serve(&CLOSED);
    assert_eq!(after_a_kill.printed_key(), None);
    after_a_kill.stop();
    if backend == Backend::Sqlite {
        let file = std::fs::read(place.data().join("artifact.db")).unwrap();
        assert!(!file.windows(secret.len()).any(|part| part == secret.as_bytes()), "the key is in the file");
    }
}

on_both! {
    async fn the_first_start_prints_an_admin_key_and_no_later_one_does(backend) {
        first_key(backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_loopback_goes_with_loopback_addresses_only() {
    let place = Place::new(Backend::Sqlite).await;
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7000"] {
        let said = place.run(&["serve", "--open-loopback", "--listen", listen]).failed(2);
        assert!(said.contains("--open-loopback needs a loopback address"), "{said}");
    }
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let said = place.run(&["serve", "--listen", listen]).failed(2);
        assert!(said.contains("[tls]") && said.contains("unencrypted = true"), "{said}");
    }
    assert!(!place.data().exists(), "a refused command line leaves nothing behind");
    let service = place.serve(&OPEN);
    service.api.get("/markets").await.expect(200);
    let foreign = service.api.attempt("GET", "/markets", &[("host", "rebound.example")], b"").await;
    assert_eq!(foreign.unwrap().code(403), "host_not_allowed");
    service.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_use_is_a_failure_that_names_it() {
    let place = Place::new(Backend::Sqlite).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = place.run(&["serve", "--listen", &address]).failed(1);
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    let doctor = place.run(&["doctor", "--json"]);
    assert!(doctor.out.contains("127.0.0.1:7000"), "{}", doctor.out);
    // The address was taken before a key was made, so the next start still shows one.
    let service = place.serve(&CLOSED);
    assert!(service.printed_key().is_some());
    service.stop();
}

/// Runs the commands that need the data, and returns a key one of them made.
fn commands(place: &Place, file: &str) -> String {
    place.run(&["seed", "gold-bitcoin"]).ok();
    let ingest = ["ingest", file, "--symbol", "GOLD", "--source", "desk", "--json"];
    assert_eq!(place.run(&ingest).json()["success"], true);
    let key = place.run(&["keys", "create", "--admin", "--name", "desk"]).ok().trim().to_owned();
    assert!(key.starts_with("art_"), "{key}");
    let doctor = place.run(&["doctor", "--listen-free-or-not"]);
    assert_eq!(doctor.code, 2, "an unknown flag is wrong usage");
    let checks = place.run(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&checks.out).unwrap();
    for check in report["checks"].as_array().unwrap() {
        // Somebody may use port 7000 of this machine.
        assert!(check["ok"] == true || check["check"] == "address", "{check}");
    }
    key
}

async fn with_and_without_a_service(backend: Backend) {
    let place = Place::new(backend).await;
    let file = place.file("desk.csv", "ts,price\n2026-01-02T00:00:00Z,4000.5\n");
    let said = place.run(&["health"]).failed(1);
    assert!(said.contains("no service is running"), "{said}");
    let made_before = commands(&place, &file);

    // Asked before it is there, and told once it is.
    let mut asking = place.command(&["health", "--wait", "60"]);
    let asking = asking.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut service = place.serve(&CLOSED);
    let asked = asking.wait_with_output().unwrap();
    assert_eq!(
        (asked.status.success(), asked.stdout.as_slice()),
        (true, b"healthy\n".as_slice()),
        "{asked:?}"
    );
    assert_eq!(service.printed_key(), None, "there is a key already");
    let socket = std::fs::metadata(place.data().join("artifact.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let directory = std::fs::metadata(place.data()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o700);
    let made_meanwhile = commands(&place, &file);
    for key in [made_before, made_meanwhile] {
        service.api.key = Some(key);
        assert_eq!(service.api.get("/portfolios").await.expect(200).as_array().unwrap().len(), 1);
    }
    assert_eq!(place.run(&["health"]).ok().trim(), "healthy");
    let health = place.run(&["health", "--json"]).json();
    assert_eq!((&health["status"], &health["checks"]["database_write"]), (&json!("healthy"), &json!(true)));
    service.kill();

    // The socket of a killed service is still there, and nobody answers on it.
    assert!(place.data().join("artifact.sock").exists());
    place.run(&["health", "--wait", "1"]).failed(1);
    commands(&place, &file);
    place.serve(&CLOSED).stop();
    assert!(!place.data().join("artifact.sock").exists());
}

on_both! {
    async fn commands_work_beside_a_service_and_without_one(backend) {
        with_and_without_a_service(backend).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_fails_while_the_database_is_out_of_reach() {
    let scratch = Scratch::new();
    let data = scratch.0.join("data").display().to_string();
    let url = "postgres://nobody:secret@127.0.0.1:1/none";
    let told = |arguments: &[&str]| {
        let mut command = program(&scratch.0, arguments);
        command.env("ARTIFACT_DATABASE_URL", url);
        finish(command, b"")
    };
    let ran = told(&["serve", "--data", &data]);
    let said = ran.failed(1);
    assert!(!said.contains("secret"), "{said}");
    let doctor = told(&["doctor", "--data", &data]);
    assert!(doctor.out.contains("FAIL") && doctor.code == 1, "{doctor:?}");
}
