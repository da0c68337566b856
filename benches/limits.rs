//! What SQLite's C interface does on this machine (`benches/limits.c`), built from the sources this program builds SQLite
//! from.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The program, once built.
fn program() -> PathBuf {
    let sources = sources();
    let version = sources.parent().and_then(Path::file_name).expect("a version").to_owned();
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(Path::new("limits").with_extension(version));
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/limits.c");
    let age = |file: &Path| std::fs::metadata(file).and_then(|about| about.modified()).ok();
    if age(&built).is_none_or(|built| Some(built) < age(&ours)) {
        let compiled = Command::new("cc")
            .args(["-O2", "-DSQLITE_DEFAULT_WAL_SYNCHRONOUS=2", "-o"])
            .arg(&built)
            .arg("-I")
            .arg(&sources)
            .arg(&ours)
            .arg(sources.join("sqlite3.c"))
            .args(["-lpthread", "-ldl", "-lm"])
            .status()
            .expect("run the C compiler");
        assert!(compiled.success(), "limits.c does not build");
    }
    built
}

/// The folder of `sqlite3.c` that cargo fetched for this build.
fn sources() -> PathBuf {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("run cargo metadata");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).expect("cargo's metadata");
    let packages = metadata.get("packages").and_then(serde_json::Value::as_array).expect("packages");
    let named =
        |package: &&serde_json::Value| package.get("name").is_some_and(|name| name == "libsqlite3-sys");
    let manifest = packages.iter().find(named).and_then(|package| package.get("manifest_path")?.as_str());
    Path::new(manifest.expect("SQLite's sources")).with_file_name("sqlite3")
}

/// A running one, with a database of its own.
pub(crate) struct Limits {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Limits {
    /// Starts it with a database in `folder`, beside what is measured.
    pub(crate) fn start(folder: &Path) -> Self {
        let mut child = Command::new(program())
            .arg(folder.join("limits.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the limits");
        let asks = child.stdin.take().expect("a way in");
        let answers = BufReader::new(child.stdout.take().expect("a way out"));
        Self { child, asks, answers }
    }

    /// The number it answers.
    pub(crate) fn ask(&mut self, what: &str) -> u64 {
        self.asks.write_all(format!("{what}\n").as_bytes()).expect("ask");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        line.trim().parse().expect("a number")
    }

    /// How long something took.
    pub(crate) fn time(&mut self, what: &str) -> Duration {
        Duration::from_nanos(self.ask(what))
    }

    pub(crate) fn stop(self) {
        let Self { mut child, asks, .. } = self;
        drop(asks);
        child.wait().expect("the limits end");
    }
}
