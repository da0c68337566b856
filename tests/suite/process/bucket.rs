//! Backups in storage that speaks S3: `moto`, which `make test` installs. Without it these tests fail.

use super::{Lines, OPEN, Place, finish, program};
use crate::support::{Backend, Scratch, request};
use serde_json::json;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A storage of its own, gone when dropped.
struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    fn start(scratch: &Scratch) -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/bin/moto_server");
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).current_dir(&scratch.0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{program}: {error}; `make moto` installs the storage that backups are tested with")
        });
        // Owned at once, so that it is ended however this goes.
        let mut moto = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let said = Lines::of(moto.child.stderr.take().unwrap());
        let started = Instant::now();
        while moto.address.port() == 0 {
            let found = said.all().iter().find_map(|line| {
                let (_, address) = line.split_once("Running on http://")?;
                address.trim().parse().ok()
            });
            moto.address = found.unwrap_or(moto.address);
            assert!(started.elapsed() < Duration::from_mins(1), "it did not come up: {:?}", said.all());
            std::thread::sleep(Duration::from_millis(10));
        }
        moto
    }

    async fn names(&self) -> String {
        request(self.address, "GET", "/vault?list-type=2", &[], b"").await.text()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_go_into_a_bucket_and_come_back_from_it() {
    let place = Place::new(Backend::Sqlite).await;
    let moto = Moto::start(&place.scratch);
    assert_eq!(request(moto.address, "PUT", "/vault", &[], b"").await.status, 200);
    let credentials = place.file("credentials", "AKIDEXAMPLE\nhunter2\n");
    let config = place.file(
        "artifact.toml",
        &format!(
            "[backup]\ns3_bucket = \"vault\"\ns3_prefix = \"books/a\"\ns3_endpoint = \"http://{}\"\n\
             s3_credentials_file = \"{credentials}\"\nschedule = \"off\"\n",
            moto.address
        ),
    );
    let run = |arguments: &[&str]| place.run(&[arguments, &["--config", &config]].concat());
    run(&["seed", "gold-bitcoin"]).ok();
    let service = place.serve(&[OPEN.as_slice(), &["--config", &config]].concat());
    let made = run(&["backup", "create", "--json"]).json();
    // Of others: what lies deeper is not looked at, and what is no manifest hides no backup.
    for name in ["books/a/old/x.json", "books/a/notes.json"] {
        let put = request(moto.address, "PUT", &format!("/vault/{name}"), &[], b"[]").await;
        assert_eq!(put.status, 200, "{name}");
    }
    assert_eq!(run(&["backup", "list", "--json"]).json()[0]["id"], made["id"]);
    let found = run(&["backup", "verify", "--json"]).json();
    assert_eq!((&found["sound"], &found["portfolios"]), (&json!(true), &json!(1)));
    service.stop();
    let listed = run(&["backup", "list"]);
    assert!(listed.err.contains("warning: notes.json") && !listed.err.contains("x.json"), "{}", listed.err);
    assert_eq!(listed.ok().lines().count(), 1);
    let names = moto.names().await;
    assert!(names.contains(&format!("<Key>books/a/{}</Key>", made["archive"].as_str().unwrap())), "{names}");
    assert!(!place.data().join("backups").exists(), "nothing is left beside the data");

    std::fs::remove_file(place.data().join("artifact.db")).unwrap();
    let restored = run(&["backup", "restore", made["id"].as_str().unwrap(), "--json"]).json();
    assert_eq!(restored["portfolios"], json!(1));
    let shown = run(&["config", "show"]).ok();
    assert!(shown.contains("vault") && !shown.contains("hunter2"), "{shown}");
    // What is wrong with the storage is said, and nothing of the key.
    drop(moto);
    let away = finish(
        {
            let mut command = program(place.folder(), &["backup", "list", "--config", &config]);
            command.arg("--data").arg(place.data());
            command
        },
        b"",
    );
    let said = away.failed(1);
    assert!(said.contains("s3://vault/books/a") && !said.contains("hunter2"), "{said}");
}
