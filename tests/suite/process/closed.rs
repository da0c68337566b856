//! Files the program makes are its owner's alone, whatever the rights of the folder they are in and the mask it was started
//! with.

use super::{OPEN, Place, finish};
use crate::support::Backend;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// What others may do with files and folders below a folder, unless nothing.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = std::fs::symlink_metadata(&path).unwrap();
        if about.permissions().mode() & 0o077 != 0 {
            found.push(format!("{} {:o}", path.display(), about.permissions().mode() & 0o7777));
        }
        if about.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_the_program_makes_can_be_opened_by_others() {
    let place = Place::new(Backend::Sqlite).await;
    std::fs::create_dir(place.data()).unwrap();
    set(place.data(), 0o755);
    place.run(&["keys", "create", "--admin", "--name", "first"]).ok();
    place.run(&["seed", "gold-bitcoin"]).ok();
    assert_eq!(open_to_others(place.data()), [""; 0], "made by a command");
    let service = place.serve(&OPEN);
    place.run(&["backup", "create"]).ok();
    assert!(place.data().join("artifact.db-wal").exists() && place.data().join("artifact.sock").exists());
    assert_eq!(open_to_others(place.data()), [""; 0], "made by a service");
    // The folder is not the program's, and may hold what is for others; they are told of.
    assert!(service.err.all().iter().any(|line| line.contains("WARN") && line.contains("chmod 700")));
    assert_eq!(std::fs::metadata(place.data()).unwrap().permissions().mode() & 0o777, 0o755);
    service.stop();
    let mut doctor = place.command(&["doctor"]);
    doctor.env("ARTIFACT_LISTEN", "127.0.0.1:0");
    assert!(finish(doctor, b"").ok().contains("chmod 700 is safer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_version_left_open_is_closed() {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    let names = ["artifact.db", "artifact.lock", "artifact.data", "audit.anchors"];
    for name in names {
        let path = place.data().join(name);
        if name == "audit.anchors" && !path.exists() {
            std::fs::write(&path, "").unwrap();
        }
        set(&path, 0o644);
    }
    let service = place.serve(&OPEN);
    assert_eq!(open_to_others(place.data()), [""; 0]);
    service.stop();
}
