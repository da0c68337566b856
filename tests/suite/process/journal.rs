//! Standard error under systemd: where it is the journal, each line says how bad it is, so that `journalctl -p err` finds what
//! failed. Where it is not, nobody has to read around the marks.

use super::{CLOSED, PATIENCE, Place, ended, finish, program, signal};
use crate::support::{Backend, Scratch};
use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What systemd says in `JOURNAL_STREAM` of a file or pipe it hands over.
fn stream(of: impl AsFd) -> String {
    let about = rustix::fs::fstat(of).unwrap();
    format!("{}:{}", about.st_dev, about.st_ino)
}

/// Runs a command with a file as its standard error; how it ended and what it said there. `told` is `JOURNAL_STREAM` for it.
fn said(mut command: Command, scratch: &Scratch, told: impl Fn(&File) -> Option<String>) -> (i32, String) {
    let path = scratch.0.join("stderr");
    let file = File::create(&path).unwrap();
    if let Some(told) = told(&file) {
        command.env("JOURNAL_STREAM", told);
    }
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
    let status = ended(&mut child, PATIENCE).expect("it ended");
    (status.code().unwrap_or(-1), std::fs::read_to_string(&path).unwrap())
}

/// A start that fails by its configuration, one by its command line, and one by what is there.
const FAILING: [(&[&str], i32); 3] = [
    (&["serve", "--data", "data", "--listen", "0.0.0.0:0"], 2),
    (&["serve", "--bogus"], 2),
    (&["health", "--data", "data"], 1),
];

#[test]
fn a_start_that_fails_is_an_error_in_the_journal() {
    let scratch = Scratch::new();
    for (arguments, code) in FAILING {
        let (ended, text) = said(program(&scratch.0, arguments), &scratch, |file| Some(stream(file)));
        assert_eq!(ended, code, "{text}");
        assert!(!text.is_empty() && text.lines().all(|line| line.starts_with("<3>")), "{text}");
        // A pipe, as of a service manager that reads it.
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = program(&scratch.0, arguments);
        command.env("JOURNAL_STREAM", stream(&writer)).stdout(Stdio::null()).stderr(writer);
        let mut child = command.spawn().unwrap();
        drop(command);
        let piped = std::io::read_to_string(reader).unwrap();
        child.wait().unwrap();
        assert_eq!(piped, text);
    }
}

#[test]
fn elsewhere_no_line_has_a_mark() {
    let scratch = Scratch::new();
    for (arguments, code) in FAILING {
        let (_, marked) = said(program(&scratch.0, arguments), &scratch, |file| Some(stream(file)));
        let elsewhere = File::create(scratch.0.join("elsewhere")).unwrap();
        for told in [None, Some(stream(&elsewhere)), Some("no stream".to_owned())] {
            let (ended, text) = said(program(&scratch.0, arguments), &scratch, |_| told.clone());
            assert_eq!(ended, code, "{text}");
            assert_eq!(text, marked.replace("<3>", ""), "{told:?}");
        }
    }
    let ran = finish(program(&scratch.0, &["--help"]), b"");
    assert!(ran.ok().starts_with("Markets"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_the_log_has_its_level() {
    let place = Place::new(Backend::Sqlite).await;
    std::fs::create_dir(place.data()).unwrap();
    // Something to warn of.
    std::fs::set_permissions(place.data(), Permissions::from_mode(0o755)).unwrap();
    for format in ["json", "text"] {
        let path = place.folder().join(format);
        let file = File::create(&path).unwrap();
        let mut command = place.command(&[["serve"].as_slice(), &CLOSED].concat());
        command.env("JOURNAL_STREAM", stream(&file)).env("ARTIFACT_LOG_FORMAT", format).env("NO_COLOR", "1");
        command.env("ARTIFACT_LOG", "info,artifact=debug");
        let mut child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        let text = || std::fs::read_to_string(&path).unwrap();
        let began = Instant::now();
        while !text().contains("audit trail is whole") {
            assert!(began.elapsed() < PATIENCE, "{}", text());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        signal("TERM", child.id());
        assert!(ended(&mut child, PATIENCE).expect("it ended").success());
        let text = text();
        for (mark, level) in [("<4>", "WARN"), ("<6>", "INFO")] {
            let of_level = || text.lines().filter(|line| line.contains(level));
            assert!(
                of_level().count() > 0 && of_level().all(|line| line.starts_with(mark)),
                "{level}: {text}"
            );
        }
        assert!(text.lines().all(|line| line.starts_with('<') && line.get(2..3) == Some(">")), "{text}");
    }
}
