//! A restore that ends at any of its steps: what is there then is the old data or the new.

use super::{Place, Ran, finish, program};
use crate::support::Backend;
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};

/// Most renames of one thread that a restore may take: there are fewer than ten.
const STEPS_MAX: usize = 40;

/// `backup restore` on the data in `data`, killed when one of its threads comes to its rename number `step`.
fn killed_at(step: usize, place: &Place, data: &Path) -> Ran {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(place.folder().join("record"));
    let renames = "rename,renameat,renameat2";
    command.args(["-e", &format!("trace={renames}"), "-e"]);
    command.arg(format!("inject={renames}:signal=KILL:when={step}"));
    command.arg(env!("CARGO_BIN_EXE_artifact")).args(["backup", "restore", "latest", "--data"]).arg(data);
    command.env_clear().current_dir(place.folder()).env("PATH", "/usr/bin:/bin");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, b"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_killed_at_any_rename_leaves_the_old_data_or_the_new() {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    place.run(&["backup", "create"]).ok();
    // What the old data has, and the new has not.
    place.run(&["keys", "create", "--admin", "--name", "later"]).ok();
    let (mut old, mut new) = (0, 0);
    for step in 1.. {
        assert!(step <= STEPS_MAX, "it has no end");
        let data = place.folder().join(format!("data-{step}"));
        let copied = Command::new("cp").arg("-a").arg(place.data()).arg(&data).status().unwrap();
        assert!(copied.success());
        let ran = killed_at(step, &place, &data);
        // Whatever opens the data first ends what was begun.
        let read = |arguments: &[&str]| {
            let mut command = program(place.folder(), arguments);
            command.arg("--data").arg(&data);
            finish(command, b"").json()
        };
        let rows = read(&["audit", "list", "--action", "key.create", "--json"]);
        let verdict = read(&["audit", "verify", "--json"]);
        assert_eq!(verdict["whole"], true, "step {step}: {verdict}");
        let restores = verdict["restores"].as_array().unwrap().len();
        let is_old = rows.as_array().unwrap().len() == 1;
        assert_eq!(
            (rows == json!([]), restores),
            (!is_old, usize::from(!is_old)),
            "step {step}: {rows} {verdict}"
        );
        let entries = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        let left = |name: &&String| name.starts_with(".restore-") || name.starts_with("artifact.restore");
        assert_eq!(names.iter().find(left), None, "step {step}");
        std::fs::remove_dir_all(&data).unwrap();
        if ran.code == 0 {
            assert!(!is_old, "it was done");
            break;
        }
        assert_eq!(ran.code, -1, "step {step} was no kill: {ran:?}");
        (old, new) = (old + usize::from(is_old), new + usize::from(!is_old));
    }
    assert!(old >= 2 && new >= 1, "killed {old} times before and {new} times after the note");
}
