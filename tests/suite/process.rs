//! The real program, started as its users start it: what it prints, how it ends, and what it keeps.
//!
//! Every process here has a data directory of its own, listens on a free loopback port, sees nothing of the
//! environment of the tests, and is ended by its process id.

#![cfg(test)]

mod access;
mod audit;
mod backup;
mod bombs;
mod bucket;
mod busy;
mod closed;
mod commands;
mod demo;
mod documents;
mod earlier;
mod edge;
mod feeds;
mod ingest;
mod journal;
mod kill;
mod kill_ingest;
mod kill_records;
mod kill_restore;
mod kill_sealing;
mod life;
mod load;
mod machine;
mod outbox;
mod password_request;
mod prometheus;
mod proxies;
mod raw_http;
mod real_data;
mod roles;
mod runbook;
mod schedule;
mod slow;
mod system_calls;
mod systemd;
mod transfer;
mod units;
mod upgrade;
mod walk;
mod watch;

use crate::support::{Backend, Reply, Scratch, fresh_location};
use artifact::storage::database::Location;
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Longest any command may take, and any answer.
const PATIENCE: Duration = Duration::from_mins(2);
/// Flags of a service that lets the tests in without a key.
const OPEN: [&str; 3] = ["--open-loopback", "--listen", "127.0.0.1:0"];
/// Flags of a service that asks for a key.
const CLOSED: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// The program with these arguments, in an empty environment.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_artifact"));
    command.env_clear().env("TMPDIR", folder).current_dir(folder).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for a process to end; `None` when it is still running after `patience`.
fn ended(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let started = Instant::now();
    while started.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn drained(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    })
}

/// How a command went.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// What a command that must have succeeded wrote to standard output.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }

    /// The same as JSON.
    #[track_caller]
    fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// What a command that must have failed with this code wrote to standard error.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        assert!(!self.err.is_empty(), "it failed without a word");
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self.err
    }
}

/// Runs a command to its end.
fn finish(mut command: Command, input: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // A command that does not read its input closes it; that is no fault.
    let feeding = std::thread::spawn(move || stdin.write_all(&input).unwrap_or_default());
    let (out, err) = (drained(child.stdout.take().unwrap()), drained(child.stderr.take().unwrap()));
    let Some(status) = ended(&mut child, PATIENCE) else {
        child.kill().unwrap();
        panic!("{command:?} did not end");
    };
    feeding.join().unwrap();
    let code = status.code().unwrap_or(-1);
    Ran { code, out: out.join().unwrap(), err: err.join().unwrap() }
}

/// A data directory, or one beside a PostgreSQL database.
struct Place {
    location: Location,
    scratch: Scratch,
}

impl Place {
    async fn new(backend: Backend) -> Self {
        let scratch = Scratch::new();
        Self { location: fresh_location(backend, &scratch).await, scratch }
    }

    fn folder(&self) -> &Path {
        &self.scratch.0
    }

    fn data(&self) -> &Path {
        self.location.directory()
    }

    /// The program on this data; the command comes first, as people write it.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.folder(), arguments);
        command.arg("--data").arg(self.data());
        if let Location::Postgres { url, .. } = &self.location {
            command.args(["--database-url", url]);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.command(arguments), b"")
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ran {
        finish(self.command(arguments), input)
    }

    /// Writes a file into the folder of this place and returns its path.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// `serve` on this data, once it listens.
    fn serve(&self, flags: &[&str]) -> Service {
        Service::start(self.command(&[&["serve"], flags].concat()))
    }
}

/// Lines a process has written so far.
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn of(from: impl Read + Send + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&kept);
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
        });
        Self(kept)
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A running service. Dropped, it is killed.
struct Service {
    child: Child,
    api: Api,
    out: Lines,
    err: Lines,
    /// From the start of the process to the line that says where it listens.
    took: Duration,
}

impl Service {
    fn start(command: Command) -> Self {
        Self::start_until(command, |line| {
            let (_, address) = line.split_once("listening on http://")?;
            address.split_whitespace().next()?.parse().ok()
        })
    }

    /// Starts a process and waits for the line in which `listens` finds its address.
    fn start_until(mut command: Command, listens: impl Fn(&str) -> Option<SocketAddr>) -> Self {
        let started = Instant::now();
        let mut child = command.spawn().unwrap();
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        loop {
            if let Some(address) = out.all().iter().find_map(|line| listens(line)) {
                let took = started.elapsed();
                return Self { child, api: Api { address, key: None }, out, err, took };
            }
            let over = child.try_wait().unwrap().is_some() || started.elapsed() > PATIENCE;
            if over {
                child.kill().unwrap();
                panic!("{command:?} did not come up: {:?} {:?}", out.all(), err.all());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The key that was printed at the start, if any.
    fn printed_key(&self) -> Option<String> {
        self.out.all().iter().map(|line| line.trim().to_owned()).find(|line| line.starts_with("art_"))
    }

    /// kill -9, and wait until it is gone.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop.
    fn terminate(&self) {
        signal("TERM", self.child.id());
    }

    /// Waits for its end and returns the exit code; `-1` when a signal ended it.
    fn end(mut self, patience: Duration) -> i32 {
        let status = ended(&mut self.child, patience);
        let status = status.unwrap_or_else(|| panic!("still running: {:?}", self.err.all()));
        status.code().unwrap_or(-1)
    }

    /// Asks it to stop and waits for an orderly end.
    #[track_caller]
    fn stop(self) {
        self.terminate();
        assert_eq!(self.end(Duration::from_secs(15)), 0);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// Sends a signal to one process. The standard library knows only SIGKILL.
fn signal(name: &str, process: u32) {
    let sent = Command::new("/bin/sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(sent.success());
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// Nobody listened.
    NobodyThere,
    /// The connection stood, and ended too early.
    CutOff,
}

/// The way to a running service.
#[derive(Debug, Clone)]
struct Api {
    address: SocketAddr,
    key: Option<String>,
}

impl Api {
    /// Sends a request, and says how far it came when no whole answer came back.
    async fn attempt(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, Broken> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", self.address.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let exchange = async {
            let stream = TcpStream::connect(self.address).await.map_err(|_| Broken::NobodyThere)?;
            let cut = |_| Broken::CutOff;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(cut)?;
            let driver = tokio::spawn(connection);
            let response = sender.send_request(request).await.map_err(cut)?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = response.into_body().collect().await.map_err(cut)?.to_bytes();
            driver.abort();
            Ok(Reply { status, headers, body })
        };
        tokio::time::timeout(PATIENCE, exchange).await.expect("an answer or a broken connection")
    }

    async fn get(&self, path: &str) -> Reply {
        self.attempt("GET", path, &[], b"").await.expect("an answer")
    }

    async fn post(&self, path: &str, body: &Value) -> Reply {
        let kind = [("content-type", "application/json")];
        self.attempt("POST", path, &kind, body.to_string().as_bytes()).await.expect("an answer")
    }

    /// A POST with an idempotency key, over a connection that may break.
    async fn post_keyed(&self, path: &str, key: &str, body: &Value) -> Result<Reply, Broken> {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.attempt("POST", path, &headers, body.to_string().as_bytes()).await
    }

    /// Every row of a list, page by page.
    async fn every(&self, path: &str) -> Vec<Value> {
        let (mut rows, mut next, mut begun) = (Vec::new(), Some(path.to_owned()), BTreeSet::new());
        while let Some(path) = next.take() {
            let reply = self.get(&path).await;
            let link = reply.headers.get("link").map(|link| link.to_str().unwrap().to_owned());
            next = link.map(|link| link.split(['<', '>']).nth(1).unwrap().to_owned());
            let page = reply.expect(200).as_array().unwrap().clone();
            assert!(begun.insert(page.first().map(Value::to_string)), "a list without an end: {path}");
            rows.extend(page);
        }
        rows
    }

    async fn healthy(&self) -> bool {
        let reply = self.attempt("GET", "/health", &[], b"").await;
        reply.is_ok_and(|reply| reply.status == 200)
    }
}
