//! Servers and clients as processes of their own, each on the cores it is given.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::traffic::Work;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The core of the server where client and server have one each.
pub(crate) const SERVER: &str = "0";
/// The core of the client then.
const CLIENT: &str = "1";
/// Every core.
pub(crate) const ALL: &str = "0,1";

fn pinned(cores: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cores]).arg(program);
    command
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("the path of this program")
}

/// A folder beside the build, on the disk the build is on, removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&path).unwrap_or_default();
        std::fs::create_dir_all(&path).expect("make a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// A server on a free loopback port; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What its clients show it; empty for the bare handler.
    pub(crate) key: String,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("start a server");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut key = String::new();
        for line in lines.by_ref().map_while(Result::ok) {
            if line.trim().starts_with("art_") {
                line.trim().clone_into(&mut key);
            }
            let Some((_, address)) = line.split_once("listening on http://") else { continue };
            let address = address.split_whitespace().next().and_then(|address| address.parse().ok());
            let address = address.expect("an address");
            // Whatever else it prints is read, so that it never waits for us.
            std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
            return Self { child, address, key };
        }
        child.kill().unwrap_or_default();
        unreachable!("a server did not come up");
    }

    /// The service itself, with data in `folder` and a key of its own.
    pub(crate) fn artifact(folder: &Path, cores: &str) -> Self {
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut command = pinned(cores, Path::new(env!("CARGO_BIN_EXE_artifact")));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.join("data")).stderr(log);
        // One key asks for as much as the machine can do.
        command.env("ARTIFACT_LIMITS__KEY_PER_MINUTE", "0").env("ARTIFACT_LIMITS__HEAVY_PER_MINUTE", "0");
        Self::start(command)
    }

    /// A handler that answers so many bytes and does nothing else.
    pub(crate) fn bare(bytes: usize, cores: &str) -> Self {
        let mut command = pinned(cores, &this_program());
        command.args(["bare", &bytes.to_string()]);
        Self::start(command)
    }

    /// Lets a client on its own core do some work; how it went.
    pub(crate) fn load(&self, work: &Work) -> Measured {
        let mut command = pinned(CLIENT, &this_program());
        let arguments: Vec<OsString> = vec![
            "load".into(),
            self.address.to_string().into(),
            if self.key.is_empty() { "-".into() } else { self.key.clone().into() },
            work.connections.to_string().into(),
            work.requests.to_string().into(),
            work.what.clone().into(),
        ];
        let out = command.args(arguments).stderr(Stdio::inherit()).output().expect("run a client");
        assert!(out.status.success(), "the client failed");
        Measured::read(&String::from_utf8_lossy(&out.stdout))
    }

    /// The most memory it has had, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.trim().trim_end_matches("kB").trim().parse().unwrap_or_default()
    }

    /// Asks it to stop and waits.
    pub(crate) fn stop(mut self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill");
        assert!(sent.success(), "the server was gone");
        let began = Instant::now();
        while self.child.try_wait().expect("wait").is_none() && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// How some work of a client went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Requests answered in a second.
    pub(crate) rate: u64,
    /// The time 99 of 100 answers took at most.
    pub(crate) p99: Duration,
}

impl Measured {
    pub(crate) fn line(rate: u64, p99: Duration) -> String {
        format!("{rate} {}", p99.as_nanos())
    }

    fn read(line: &str) -> Self {
        let mut words = line.split_whitespace().map(|word| word.parse().expect("a number"));
        let (rate, p99) = (words.next().expect("a rate"), words.next().expect("a time"));
        Self { rate, p99: Duration::from_nanos(p99) }
    }
}

/// The bare handler: JSON of so many bytes from memory.
#[expect(clippy::print_stdout, reason = "whoever started this waits for the address")]
pub(crate) async fn serve_bare(bytes: usize) {
    let text = format!("{{\"text\":\"{}\"}}", "x".repeat(bytes.saturating_sub(11)));
    let json = HeaderValue::from_static("application/json");
    let answer = move || {
        let answer = ([(header::CONTENT_TYPE, json.clone())], text.clone());
        async move { answer }
    };
    let routes = Router::new().fallback(get(answer.clone()).post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
    println!("bare listening on http://{}", listener.local_addr().expect("an address"));
    axum::serve(listener, routes).await.expect("serve");
}
