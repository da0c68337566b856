//! `docs/OPERATIONS.md`, followed from an empty machine to a watched service with backups, and `docs/RESTORE.md` back from a
//! destroyed database and from a lost machine, line by line. What needs rights or a running systemd is stood in for
//! (`machine`); `deploy/install.sh` installs into a scratch root, Prometheus and Alertmanager are Debian's.

use super::machine::{Machine, blocks};
use super::runbook::money;
use super::{Api, PATIENCE, signal};
use crate::support::{Scratch, request};
use artifact::clock::Clock;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const OPERATIONS: &str = "From an empty machine to a watched service";

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A machine on which `install.sh` was run, and the addresses things have on it.
pub(super) struct Installed {
    pub(super) folder: PathBuf,
    pub(super) root: PathBuf,
    pub(super) machine: Machine,
    pub(super) service: SocketAddr,
    prometheus: SocketAddr,
}

impl Drop for Installed {
    /// Ends what is still running.
    fn drop(&mut self) {
        for name in ["pid", "prometheus.pid", "alertmanager.pid"] {
            let pid = std::fs::read_to_string(self.folder.join("tools").join(name)).ok();
            if let Some(pid) = pid.and_then(|text| text.trim().parse::<u32>().ok())
                && Path::new(&format!("/proc/{pid}")).exists()
            {
                signal("KILL", pid);
            }
        }
    }
}

/// What systemd does for a unit before it starts: credentials are lent, and what lies encrypted is plain for it alone.
const LEND: &str = r#"#!/bin/sh
set -e
rm -rf TOOLS/lent
mkdir -m 0700 TOOLS/lent
for file in CREDENTIALS/*; do
    name=$(basename "$file" .encrypted)
    case $file in
    *.encrypted) systemd-creds decrypt --name="$name" "$file" "TOOLS/lent/$name" ;;
    *) cp "$file" "TOOLS/lent/$name" ;;
    esac
    chmod 0400 "TOOLS/lent/$name"
done
CREDENTIALS_DIRECTORY=TOOLS/lent exec "$@"
"#;

/// Runs `deploy/install.sh` into a root; what it said.
#[track_caller]
pub(super) fn install(root: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/install.sh");
    let mut install = Command::new("fakeroot");
    install.args(["--", script, "--root", &root.display().to_string()]);
    install.args(["--binary", env!("CARGO_BIN_EXE_artifact")]);
    let output = install.output().expect("`make needs` installs fakeroot");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Installed {
    pub(super) fn on(folder: PathBuf) -> Self {
        let root = folder.join("root");
        std::fs::create_dir_all(&root).unwrap();
        install(&root);
        let addresses @ [service, metrics, prometheus, alertmanager] = [free(), free(), free(), free()];
        let at = |path: &str| format!("{}{path}", root.display());
        let mut paths: Vec<(String, String)> = [
            "/var/lib/artifact",
            "/etc/artifact",
            "/etc/prometheus",
            "/etc/systemd/system",
            "/var/backups/artifact",
        ]
        .map(|path| (path.to_owned(), at(path)))
        .into();
        paths.push(("--directory / ".to_owned(), format!("--directory {} ", root.display())));
        for (port, here) in ["127.0.0.1:7000", "127.0.0.1:7009", "127.0.0.1:9090"].iter().zip(addresses) {
            paths.push(((*port).to_owned(), here.to_string()));
        }
        let configuration = at("/etc/artifact/artifact.toml");
        let text = std::fs::read_to_string(&configuration).unwrap();
        let text = text.replace("/var/backups/artifact", &at("/var/backups/artifact"));
        let text = text.replace("127.0.0.1:7000", &service.to_string());
        std::fs::write(&configuration, text.replace("127.0.0.1:7009", &metrics.to_string())).unwrap();
        // The secret is lent to the service alone.
        let tools = folder.join("tools");
        let serve = format!(
            "{}/lend artifact serve --config {configuration} --data {}",
            tools.display(),
            at("/var/lib/artifact")
        );
        let machine = Machine::new(&tools, &serve, &root.join("etc/systemd/system"), paths);
        let lend = LEND.replace("TOOLS", &tools.display().to_string());
        machine.tool("lend", &lend.replace("CREDENTIALS/", &at("/etc/artifact/credentials/")));
        let (etc, tools) = (at("/etc/prometheus"), tools.display());
        machine.tool(
            "prometheus",
            &format!(
                "#!/bin/sh\nset -e\nsed -i -e 's/127.0.0.1:7009/{metrics}/' -e 's/127.0.0.1:9093/{alertmanager}/' \
                 -e 's/15s/300ms/' {etc}/prometheus.yml\n/usr/bin/prometheus --config.file={etc}/prometheus.yml \
                 --storage.tsdb.path={tools}/tsdb --web.listen-address={prometheus} --log.level=error >{tools}/prometheus.out 2>&1 &\n\
                 echo $! >{tools}/prometheus.pid\n"
            ),
        );
        machine.tool(
            "prometheus-alertmanager",
            &format!(
                "#!/bin/sh\nset -e\n/usr/bin/prometheus-alertmanager --config.file={etc}/alertmanager.yml \
                 --storage.path={tools}/alerts --web.listen-address={alertmanager} --cluster.listen-address= \
                 --log.level=error >{tools}/alertmanager.out 2>&1 &\necho $! >{tools}/alertmanager.pid\n"
            ),
        );
        std::os::unix::fs::symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy"), folder.join("deploy"))
            .unwrap();
        Self { folder, root, machine, service, prometheus }
    }

    /// Follows lines of a document; what they said.
    #[track_caller]
    pub(super) fn follow(&self, lines: &[String]) -> String {
        let script = self.machine.script(lines);
        let output = self.machine.run(&script, &self.folder, &[]);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{out}\n{err}");
        out.into_owned()
    }

    /// What Prometheus knows, once it is what is waited for.
    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let reply = request(self.prometheus, "GET", path, &[], b"").await;
            let said: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            if wanted(&said["data"]) {
                return said;
            }
            assert!(started.elapsed() < PATIENCE, "{said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Waits until the audit trail was verified, and found whole.
async fn is_whole(api: &Api) {
    let started = Instant::now();
    loop {
        let health = api.get("/health").await.expect(200);
        let audit = &health["checks"]["audit"];
        if audit["whole"].is_boolean() {
            assert_eq!((&audit["whole"], &audit["ok"]), (&Value::Bool(true), &Value::Bool(true)), "{health}");
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{health}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_gets_from_an_empty_machine_to_a_watched_service_and_back_from_its_loss() {
    let scratch = Scratch::new();
    let first = Installed::on(scratch.0.join("first"));
    let steps = blocks("docs/OPERATIONS.md", OPERATIONS);
    // What is built and installed here is built and installed already.
    assert!(steps[0].iter().any(|line| line == "cargo build --release --locked"), "{:?}", steps[0]);
    assert_eq!(steps[1], ["sudo deploy/install.sh"]);
    first.follow(&["sudo systemctl start artifact.socket artifact.service".to_owned()]);
    let printed = first.machine.said();
    let key = printed.split_whitespace().find(|word| word.starts_with("art_")).expect("a first key");
    let said = first.follow(&steps[2..].concat());
    assert!(said.contains("\"status\":\"healthy\"") && said.contains("running, healthy"), "{said}");
    assert!(said.contains("  sound") && said.contains("artifact-backup.timer"), "{said}");

    // It is watched: scraped, with every rule, and who is to be told is known.
    first.until("/api/v1/targets", |data| data["activeTargets"][0]["health"] == "up").await;
    let rules = |data: &Value| data["groups"].as_array().is_some_and(|groups| groups.len() >= 6);
    first.until("/api/v1/rules", rules).await;
    let told = |data: &Value| data["activeAlertmanagers"].as_array().is_some_and(|all| !all.is_empty());
    first.until("/api/v1/alertmanagers", told).await;

    let api = Api { address: first.service, key: Some(key.to_owned()) };
    let known_at = Clock::system().now().to_string();
    let before = money(&api, &known_at).await;
    first.follow(&["sudo systemctl start artifact-backup.service".to_owned()]);

    // The database is destroyed.
    let data = first.root.join("var/lib/artifact");
    for name in ["artifact.db", "artifact.db-wal", "artifact.db-shm"] {
        std::fs::remove_file(data.join(name)).unwrap_or_default();
    }
    let lines = blocks("docs/RESTORE.md", "The database is lost or damaged: get it back").concat();
    let said = first.follow(&lines);
    assert!(said.contains("restored artifact-") && said.trim().ends_with("healthy"), "{said}");
    assert_eq!(money(&api, &known_at).await, before);
    is_whole(&api).await;

    // The machine is lost. What is left is the file of secrets, and a backup.
    let second = Installed::on(scratch.0.join("second"));
    std::fs::copy(first.folder.join("artifact-secrets.tgz"), second.folder.join("artifact-secrets.tgz"))
        .unwrap();
    for entry in std::fs::read_dir(first.root.join("var/backups/artifact")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), second.folder.join(entry.file_name())).unwrap();
    }
    let installed = std::fs::read(second.root.join("etc/artifact/artifact.toml")).unwrap();
    drop(first);
    let steps = blocks("docs/RESTORE.md", "The machine is lost: get everything back on another one").concat();
    let (secrets, rest) = steps.split_first().unwrap();
    second.follow(std::slice::from_ref(secrets));
    // The other machine has other addresses and folders.
    std::fs::write(second.root.join("etc/artifact/artifact.toml"), installed).unwrap();
    let said = second.follow(rest);
    assert!(said.contains("restored artifact-") && said.trim().ends_with("healthy"), "{said}");
    let api = Api { address: second.service, key: Some(key.to_owned()) };
    assert_eq!(money(&api, &known_at).await, before, "with the key that was given out on the first machine");
    is_whole(&api).await;
}
