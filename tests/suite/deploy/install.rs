//! `deploy/install.sh`, into a scratch root.

use super::{file, run};
use crate::support::Scratch;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Installs into a root, as root or as if.
#[track_caller]
fn install(root: &Path, more: &[&str]) -> (bool, String) {
    let script = file("deploy/install.sh").display().to_string();
    let root = root.display().to_string();
    let mut arguments = vec!["--", &script, "--root", &root];
    arguments.extend(more);
    let output = run("fakeroot", &arguments);
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

/// Every file below a folder with its mode and what is in it; of the program only the size.
fn tree(folder: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let about = std::fs::metadata(&path).unwrap();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let mode = about.permissions().mode() & 0o7777;
            if about.is_dir() {
                folders.push(path);
                found.insert(name, (mode, Vec::new()));
            } else if about.len() > 1 << 20 {
                found.insert(name, (mode, about.len().to_string().into_bytes()));
            } else {
                found.insert(name, (mode, std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn it_installs_everything_once_and_changes_nothing_the_second_time() {
    let scratch = Scratch::new();
    let root = scratch.0.join("root");
    let binary = env!("CARGO_BIN_EXE_artifact");
    let (well, said) = install(&root, &["--binary", binary]);
    assert!(well, "{said}");
    let first = tree(&root);
    let modes = [
        ("usr/local/bin/artifact", 0o755),
        ("etc/artifact/artifact.toml", 0o644),
        ("etc/artifact/credentials", 0o700),
        ("etc/artifact/credentials/artifact-secret", 0o600),
        ("var/lib/artifact", 0o700),
        ("var/backups/artifact", 0o700),
        ("etc/systemd/system/artifact.service", 0o644),
        ("etc/systemd/system/artifact.socket", 0o644),
        ("etc/systemd/system/artifact-backup.timer", 0o644),
        ("etc/systemd/system/artifact-ingest@.service", 0o644),
    ];
    for (name, mode) in modes {
        let found = first.get(name).unwrap_or_else(|| panic!("{name} is missing: {said}"));
        assert_eq!(found.0, mode, "{name}");
    }
    let users = String::from_utf8(first["etc/passwd"].1.clone()).unwrap();
    assert!(users.contains("artifact:") && users.contains("/usr/sbin/nologin"), "{users}");
    let secret = &first["etc/artifact/credentials/artifact-secret"].1;
    assert_eq!(secret.len(), 65, "64 hexadecimal digits and an end of line");
    assert!(!said.contains(std::str::from_utf8(secret).unwrap().trim()), "the secret was shown");

    // What an operator wrote is theirs; what was installed is brought up to date.
    std::fs::write(root.join("etc/artifact/artifact.toml"), "listen = \"127.0.0.1:7001\"\n").unwrap();
    std::fs::write(root.join("etc/systemd/system/artifact.socket"), "old").unwrap();
    let (well, said) = install(&root, &["--binary", binary]);
    assert!(well, "{said}");
    let mut second = tree(&root);
    assert_eq!(second["etc/artifact/artifact.toml"].1, b"listen = \"127.0.0.1:7001\"\n");
    second.insert("etc/artifact/artifact.toml".to_owned(), first["etc/artifact/artifact.toml"].clone());
    assert!(first == second, "the second time something changed");
}

#[test]
fn wrong_arguments_install_nothing() {
    let scratch = Scratch::new();
    let root = scratch.0.join("root");
    for (arguments, word) in [
        (vec!["--binary", "/nowhere/at/all"], "is not there"),
        (vec!["--binary"], "needs a file"),
        (vec!["--colour"], "unknown argument"),
    ] {
        let (well, said) = install(&root, &arguments);
        assert!(!well && said.contains(word), "{arguments:?}: {said}");
        assert!(!root.exists(), "{arguments:?}");
    }
}

#[test]
fn the_configuration_that_is_installed_is_valid() {
    let scratch = Scratch::new();
    let configuration = file("deploy/artifact.toml").display().to_string();
    let data = scratch.0.join("data").display().to_string();
    let binary = env!("CARGO_BIN_EXE_artifact");
    let output = run(binary, &["config", "check", "--config", &configuration, "--data", &data]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
