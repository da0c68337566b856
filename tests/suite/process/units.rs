//! What the units start, started: each command with the flags it has there, in a scratch folder.

use super::{Place, Service, finish, program};
use crate::feeds::replay::{Rest, good};
use crate::support::Backend;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

/// A file of `deploy/`.
fn deployed(name: &str) -> String {
    std::fs::read_to_string(format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What a unit starts.
fn starts(unit: &str) -> String {
    let text = deployed(&format!("systemd/{unit}"));
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("ExecStart="));
    let line = lines.next().unwrap_or_else(|| panic!("{unit} starts nothing"));
    assert_eq!(lines.next(), None, "{unit}");
    line.to_owned()
}

/// The installed service in a scratch folder.
struct Installed {
    place: Place,
    configuration: String,
}

impl Installed {
    async fn new(venue: &Rest) -> Self {
        let place = Place::new(Backend::Sqlite).await;
        let backups = place.folder().join("backups").display().to_string();
        let mut text = deployed("artifact.toml");
        for (usual, here) in [
            ("127.0.0.1:7000", "127.0.0.1:0"),
            ("127.0.0.1:7009", "127.0.0.1:0"),
            ("/var/backups/artifact", backups.as_str()),
        ] {
            assert!(text.contains(usual), "{usual}");
            text = text.replace(usual, here);
        }
        write!(
            text,
            "[[feeds]]\nname = \"desk\"\nkind = \"http_json\"\nenabled = false\nallow_private = true\nurl = \"{}/{{symbol}}\"\n\
             symbols = [\"A\"]\n[feeds.rows]\nat = \"/data\"\n[feeds.map]\nts = {{ at = \"/t\", unit = \"s\" }}\nclose = \"/c\"\n",
            venue.url()
        )
        .unwrap();
        let configuration = place.file("installed.toml", &text);
        std::fs::create_dir(place.folder().join("credentials")).unwrap();
        let secret = place.file("credentials/artifact-secret", &format!("{}\n", "5a".repeat(32)));
        // As systemd hands them out.
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o400)).unwrap();
        Self { place, configuration }
    }

    /// What a unit starts, as it would be here.
    fn command(&self, unit: &str) -> Command {
        let line = starts(unit).replace("%i", "desk");
        let line = line.replace("/etc/artifact/artifact.toml", &self.configuration);
        let line = line.replace("/var/lib/artifact", &self.place.data().display().to_string());
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("/usr/local/bin/artifact"), "{unit}");
        let mut command = program(self.place.folder(), &words.collect::<Vec<_>>());
        // A credential is there where the unit says so.
        if deployed(&format!("systemd/{unit}")).contains("LoadCredential=artifact-secret:") {
            command.env("CREDENTIALS_DIRECTORY", self.place.folder().join("credentials"));
        }
        command
    }

    fn run(&self, unit: &str) -> String {
        finish(self.command(unit), b"").ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_each_unit_starts_is_a_command_that_there_is_and_does_it() {
    let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/systemd")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let services: BTreeSet<String> = names.filter(|name| name.ends_with(".service")).collect();
    let tried = [
        "artifact-backup.service",
        "artifact-failed@.service",
        "artifact-ingest@.service",
        "artifact-restore-drill.service",
        "artifact.service",
    ];
    assert_eq!(services.iter().map(String::as_str).collect::<Vec<_>>(), tried);

    let venue = Rest::start(|_, _| good(r#"{"data":[{"t":1700000040,"c":"37000.5"}]}"#)).await;
    let installed = Installed::new(&venue).await;
    let mut service = Service::start(installed.command("artifact.service"));
    let key = service.printed_key();
    service.api.key.clone_from(&key);
    let market = json!({ "code": "X", "name": "X", "market_type": "OTC", "timezone": "UTC" });
    service.api.post("/markets", &market).await.expect(201);
    let asset = json!({ "symbol": "A", "name": "A", "asset_type": "STOCK", "market_code": "X" });
    service.api.post("/assets", &asset).await.expect(201);

    // Beside the service, which then does it.
    let said = installed.run("artifact-ingest@.service");
    assert!(said.starts_with("desk: stored 1"), "{said}");
    let said = installed.run("artifact-backup.service");
    assert!(said.contains("artifact-20"), "{said}");
    assert!(installed.run("artifact-restore-drill.service").starts_with("sound"));
    let kept = || std::fs::read_dir(installed.place.folder().join("backups")).unwrap().count();
    assert_eq!(kept(), 3, "archive, manifest and what the drill found, in the folder of the configuration");
    let health = service.api.get("/health").await.expect(200);
    assert!(health["checks"]["backup"]["last_verified_at"].is_string(), "{health}");
    service.stop();

    // Without it.
    installed.run("artifact-backup.service");
    assert!(installed.run("artifact-restore-drill.service").starts_with("sound"));
    // A unit that is told to encrypt and was lent no passphrase takes none in the clear.
    let demanding = |credentials: &str| {
        let mut command = installed.command("artifact-backup.service");
        let demands = deployed("systemd/encrypted-backups.conf");
        let demands = demands.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
        command.envs(demands).env("CREDENTIALS_DIRECTORY", installed.place.folder().join(credentials));
        finish(command, b"")
    };
    let said = demanding("credentials").failed(1);
    assert!(said.contains("backups are to be encrypted"), "{said}");
    installed.place.file("credentials/backup-passphrase", "correct horse\n");
    assert!(demanding("credentials").ok().trim().ends_with(".tar.zst.enc"));
    // The key is still good: what opened the data was lent the same secret.
    let mut again = Service::start(installed.command("artifact.service"));
    assert_eq!(again.printed_key(), None, "there is one already");
    again.api.key = key;
    again.api.get("/markets").await.expect(200);
    again.stop();

    let line = starts("artifact-failed@.service").replace("%i", "artifact.service");
    let line = line.replacen("/usr/bin/logger ", "/usr/bin/logger --no-act --stderr --socket-errors=off ", 1);
    let said = Command::new("/bin/sh").args(["-c", &line]).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.status.success() && text.contains("artifact.service failed: journalctl -u artifact.service"),
        "{text}"
    );
}
