//! Keys and users from the command line, and where secrets never are.

use super::{CLOSED, Place, Service, program};
use crate::on_both;
use crate::support::Backend;
use artifact::storage::database::Location;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

/// A password that keeps the rules, and a line end that is not part of it.
const PASSWORD: &str = "canary horse battery staple";

on_both! {
    async fn keys_and_users_are_managed_with_and_without_a_running_service(backend) {
        let place = Place::new(backend).await;
        let key = place.run(&["keys", "create", "--admin", "--name", "root"]).ok().trim().to_owned();
        let feed = place.run(&["keys", "create", "--name", "feed", "--owner", "alice", "--scopes", "prices:write,markets:read", "--json"]).json();
        let made = place.run_with(&["users", "create", "alice", "--scopes", "portfolios:read", "--json"], format!("{PASSWORD}\n").as_bytes()).json();
        assert_eq!(made["name"], "alice");
        let mut service = place.serve(&CLOSED);
        assert_eq!(service.printed_key(), None, "there is a key already");
        service.api.key = feed["key"].as_str().map(str::to_owned);
        service.api.get("/markets").await.expect(200);
        assert_eq!(service.api.get("/portfolios").await.code(403), "forbidden");
        let id = feed["id"].as_str().unwrap();
        let listed = place.run(&["keys", "list"]).ok();
        assert!(listed.contains(id) && listed.contains("markets:read,prices:write") && listed.lines().count() == 2, "{listed}");
        let rotated = place.run(&["keys", "rotate", id, "--overlap", "3600", "--json"]).json();
        let next = rotated["key"].as_str().unwrap().to_owned();
        service.api.get("/markets").await.expect(200);
        let whole = feed["key"].as_str().unwrap();
        // The whole key is at hand more often than its public part.
        let revoked = place.run(&["keys", "revoke", whole]).ok();
        assert_eq!(revoked.trim(), format!("{id} is revoked"));
        service.api.key = Some(key.clone());
        assert_eq!(service.api.get(&format!("/keys/{whole}")).await.expect(200)["status"], "revoked");
        service.api.key = Some(whole.to_owned());
        assert_eq!(service.api.get("/markets").await.code(401), "unauthorized");
        service.api.key = Some(next);
        service.api.get("/markets").await.expect(200);
        service.api.key = None;
        let login = json!({ "name": "alice", "password": PASSWORD });
        service.api.post("/auth/login", &login).await.expect(200);
        let other = place.file("password", "another battery horse staple");
        place.run(&["users", "passwd", "alice", "--password-file", &other]).ok();
        assert_eq!(service.api.post("/auth/login", &login).await.code(401), "unauthorized");
        assert!(place.run(&["users", "disable", "alice"]).ok().contains("alice is disabled"));
        assert!(place.run(&["users", "list"]).ok().contains("disabled"));
        place.run(&["users", "enable", "alice"]).ok();
        assert!(place.run(&["users", "forget-factor", "alice"]).ok().contains("no second factor any more"));
        let kid = place.run(&["signing-keys", "rotate", "--json"]).json()["kid"].as_str().unwrap().to_owned();
        assert!(place.run(&["signing-keys", "list"]).ok().contains(&kid));
        service.api.key = Some(key);
        service.api.get("/keys").await.expect(200);
        service.stop();
        assert!(place.run(&["keys", "list"]).ok().contains("revoked"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_on_the_command_line_is_told() {
    let place = Place::new(Backend::Sqlite).await;
    for (arguments, code, said) in [
        (vec!["keys", "create"], 2, "--admin"),
        (vec!["keys", "create", "--admin", "--scopes", "markets:read"], 2, "cannot be used with"),
        (vec!["keys", "create", "--scopes", "markets:read"], 2, "--owner"),
        (vec!["keys", "create", "--scopes", "markets:raed", "--owner", "a"], 1, "/scopes"),
        (vec!["keys", "create", "--admin", "--expires", "yesterday"], 1, "/expires_at"),
        (
            vec!["keys", "create", "--scopes", "portfolios:read", "--owner", "a", "--portfolio", "nonsense"],
            1,
            "/portfolios",
        ),
        (vec!["keys", "revoke", "nobody"], 1, "Key not found"),
        (vec!["keys", "rotate", "no/body?x"], 1, "Key not found"),
        (vec!["keys", "rotate", "x", "--overlap", "soon"], 2, "overlap"),
        (vec!["users", "create", "alice"], 2, "--admin"),
        (vec!["users", "create", "a b", "--admin", "--password-file", "PASSWORD"], 1, "/name"),
        (vec!["users", "create", "alice", "--admin", "--password-file", "absent"], 1, "absent"),
        (vec!["users", "create", "alice", "--admin", "--password", "canary"], 2, "unexpected argument"),
        (vec!["users", "disable", "nobody"], 1, "User not found"),
        (vec!["users", "forget-factor", "nobody"], 1, "User not found"),
    ] {
        let password = place.file("password", PASSWORD);
        let arguments: Vec<&str> =
            arguments.iter().map(|word| if *word == "PASSWORD" { password.as_str() } else { word }).collect();
        let told = place.run(&arguments).failed(code);
        assert!(told.contains(said), "{arguments:?}: {told}");
        assert!(!told.contains(PASSWORD), "{told}");
    }
    let told = place.run_with(&["users", "create", "alice", "--admin"], b"short\n").failed(1);
    assert!(told.contains("/password") && !told.contains("short\n"), "{told}");
    let two = place
        .run_with(&["users", "create", "alice", "--admin"], format!("{PASSWORD}\nsecond\n").as_bytes())
        .failed(2);
    assert!(two.contains("one line"), "{two}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_servers_secret_comes_from_a_credential_and_is_guarded() {
    let place = Place::new(Backend::Sqlite).await;
    let folder = place.folder().join("credentials");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("artifact-secret"), "a secret of the operator, long enough").unwrap();
    fs::set_permissions(folder.join("artifact-secret"), fs::Permissions::from_mode(0o400)).unwrap();
    let with = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("CREDENTIALS_DIRECTORY", &folder);
        super::finish(command, b"")
    };
    let key = with(&["keys", "create", "--admin"]).ok().trim().to_owned();
    assert!(!place.data().join("artifact.secret").exists(), "none is made beside it");
    let shown = with(&["config", "show"]).ok();
    assert!(shown.contains("artifact-secret") && !shown.contains("of the operator"), "{shown}");
    let mut command = place.command(&[&["serve"], CLOSED.as_slice()].concat());
    command.env("CREDENTIALS_DIRECTORY", &folder);
    let mut service = Service::start(command);
    service.api.key = Some(key.clone());
    service.api.get("/markets").await.expect(200);
    service.stop();
    // Without it another one is made, and the keys it knows nothing of are refused, which is told.
    let mut service = place.serve(&CLOSED);
    service.api.key = Some(key);
    assert_eq!(service.api.get("/markets").await.code(401), "unauthorized");
    assert!(
        service
            .err
            .all()
            .iter()
            .any(|line| line.contains("1 API keys were hashed with a server secret that is not here"))
    );
    service.stop();
    let made = place.data().join("artifact.secret");
    assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&made, fs::Permissions::from_mode(0o644)).unwrap();
    let told = place.run(&["keys", "list"]).failed(1);
    assert!(told.contains("others may read it") && told.contains("chmod 600"), "{told}");
    let absent = place.file("artifact.toml", "[access]\nsecret_file = \"/nowhere/secret\"\n");
    let told = place.run(&["keys", "list", "--config", &absent]).failed(1);
    assert!(told.contains("/nowhere/secret"), "{told}");
}

/// A key of the audit trail that is easily found.
const AUDIT_KEY: &str = "feedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedfacefeedface";

/// A storage that lets nobody in, so that whatever is said about its failure is heard.
async fn refusing() -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 65_536];
            if stream.read(&mut head).await.is_ok_and(|taken| taken > 0) {
                let refusal = b"HTTP/1.1 403 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(refusal).await.unwrap_or_default();
            }
        }
    });
    address
}

/// A place whose configuration and environment are full of secrets to be looked for.
struct Planted {
    place: Place,
    config: String,
    url: String,
}

impl Planted {
    async fn new() -> Self {
        let place = Place::new(Backend::Postgres).await;
        let Location::Postgres { url, .. } = &place.location else { unreachable!() };
        // The scratch server asks for no password, so any is good.
        let (scheme, rest) = url.split_once("://").unwrap();
        let (user, server) = rest.split_once('@').unwrap_or(("postgres", rest));
        let user = user.split(':').next().unwrap();
        let url = format!("{scheme}://{user}:canary-of-the-database@{server}");
        let secret = place.file("server.secret", "canary-of-the-server-secret-0123456789");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let shared = place.file("shared.secret", "canary-of-the-shared-secret-0123456789");
        let audit = place.file("audit.key", AUDIT_KEY);
        fs::set_permissions(&audit, fs::Permissions::from_mode(0o600)).unwrap();
        let storage = refusing().await;
        let toml = format!(
            "[access]\nsecret_file = \"{secret}\"\n[[access.issuers]]\nissuer = \"https://idp/\"\naudience = \"a\"\n\
             secret_file = \"{shared}\"\nkid = \"k\"\nowner_prefix = \"idp:\"\nscopes = [\"markets:read\"]\n[audit]\nkey_file = \"{audit}\"\n\
             [backup]\ns3_bucket = \"vault\"\ns3_endpoint = \"http://{storage}\"\n[[feeds]]\nname = \"fred\"\n\
             kind = \"fred\"\nsymbols = [\"DGS10\"]\nenabled = false\napi_key = \"${{secret:FRED_API_KEY}}\"\n"
        );
        let config = place.file("artifact.toml", &toml);
        Self { place, config, url }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = program(self.place.folder(), arguments);
        command.arg("--data").arg(self.place.data()).args(["--config", &self.config]);
        command.env("ARTIFACT_DATABASE_URL", &self.url).env("INFRA_API_KEY", "canary-of-the-remote");
        command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", "canary-of-the-storage");
        command.env("ARTIFACT_BACKUP_PASSPHRASE", "canary-of-the-passphrase");
        command.env("FRED_API_KEY", "canary-of-the-feed");
        command.env("ARTIFACT_LOG", "debug").env("ARTIFACT_LISTEN", "127.0.0.1:0");
        command
    }
}

/// Sends one credential everywhere, with secrets in places where they do not belong; what is answered.
async fn poke(api: &super::Api, credential: &str, key: &str, refresh: &str) -> Vec<String> {
    let login = json!({ "name": "alice", "password": PASSWORD, "x": refresh }).to_string();
    let requests = [
        ("GET", "/markets", String::new()),
        ("GET", "/keys", String::new()),
        ("GET", "/metrics", String::new()),
        ("GET", "/health", String::new()),
        ("GET", "/audit?limit=1000", String::new()),
        ("GET", "/audit/export", String::new()),
        ("GET", "/ingest/feeds", String::new()),
        ("GET", "/backups", String::new()),
        ("POST", "/backups", String::new()),
        ("GET", "/nothing/here", String::new()),
        ("POST", "/keys", json!({ "name": 7, "key": key, "password": PASSWORD }).to_string()),
        ("POST", "/users", json!({ "name": "a b", "password": PASSWORD, "scopes": ["x"] }).to_string()),
        ("POST", "/users", json!({ "name": "bob", "password": 7 }).to_string()),
        ("POST", "/auth/login", login),
        ("POST", "/auth/login", format!("{{\"name\":\"alice\",\"password\":\"{PASSWORD}\"")),
        ("POST", "/auth/refresh", json!({ "refresh_token": refresh, "secret": key }).to_string()),
    ];
    // As names in paths and parameters, of things that are there or not.
    let pasted = [key, &key.replace("art_", "art_0"), refresh, credential].map(|secret| {
        let get = |path: String| ("GET", path, String::new());
        let post = |path: String| ("POST", path, "{}".to_owned());
        [
            get(format!("/keys/{secret}")),
            ("DELETE", format!("/keys/{}", secret.replace("art_", "art_1")), String::new()),
            post(format!("/keys/{secret}x/rotate/{secret}")),
            post(format!("/keys/{}/rotate", secret.replace("art_", "art_1"))),
            get(format!("/portfolios/{secret}")),
            get(format!("/assets/{secret}")),
            get(format!("/users/{secret}")),
            get(format!("/markets?limit={secret}&{secret}=1")),
            get(format!("/nothing/{secret}/{secret}")),
        ]
    });
    let bearer = format!("Bearer {credential}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let mut answers = Vec::new();
    let requests = requests.map(|(method, path, body)| (method, path.to_owned(), body));
    for (method, path, body) in requests.into_iter().chain(pasted.into_iter().flatten()) {
        answers.push(api.attempt(method, &path, &headers, body.as_bytes()).await.expect("an answer").text());
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_appears_in_logs_metrics_errors_or_the_configuration() {
    let planted = Planted::new().await;
    let mut said: Vec<String> = Vec::new();
    for words in ["config show", "config show --json", "doctor", "keys list", "users list"] {
        let arguments: Vec<&str> = words.split(' ').collect();
        let ran = super::finish(planted.command(&arguments), b"");
        assert_eq!(ran.code, 0, "{words}: {}", ran.err);
        said.extend([ran.out, ran.err]);
    }
    let mut service = Service::start(planted.command(&["serve"]));
    let key = service.printed_key().expect("a key at the first start");
    service.api.key = Some(key.clone());
    let user = json!({ "name": "alice", "password": PASSWORD, "scopes": ["markets:read"] });
    service.api.post("/users", &user).await.expect(201);
    // What is shown once, and from then on nowhere.
    let feed = json!({ "name": "feed", "owner_id": "alice", "scopes": ["prices:write"] });
    let feed = service.api.post("/keys", &feed).await.expect(201)["key"].as_str().unwrap().to_owned();
    service.api.key = None;
    let login = json!({ "name": "alice", "password": PASSWORD });
    let tokens = service.api.post("/auth/login", &login).await.expect(200);
    let token = |name: &str| tokens[name].as_str().unwrap().to_owned();
    let (access, refresh) = (token("access_token"), token("refresh_token"));
    for credential in [
        &key,
        &feed,
        &access,
        &refresh,
        &format!("{access}x"),
        &key.replace("art_", "art_0"),
        &format!("{key}x"),
    ] {
        said.extend(poke(&service.api, credential, &key, &refresh).await);
    }
    said.push(service.api.get("/.well-known/jwks.json").await.text());
    for _ in 0..2 {
        for path in ["/auth/logout", "/auth/refresh"] {
            said.push(service.api.post(path, &json!({ "refresh_token": refresh })).await.text());
        }
    }
    said.push(fs::read_to_string(format!("/proc/{}/cmdline", service.child.id())).unwrap());
    let log = service.err.all();
    assert!(log.iter().any(|line| line.contains("/auth/login")), "the log is there");
    assert!(log.iter().any(|line| line.contains("a backup failed")), "the storage has refused one");
    said.extend(log);
    said.extend(service.out.all().into_iter().filter(|line| !line.trim().starts_with("art_")));
    let (key_secret, signature) = (key.rsplit('_').next().unwrap(), access.rsplit('.').next().unwrap());
    let (feed_secret, refresh_secret) =
        (feed.rsplit('_').next().unwrap(), refresh.rsplit('_').next().unwrap());
    let secrets =
        [PASSWORD, key_secret, feed_secret, &access, signature, &refresh, refresh_secret, AUDIT_KEY];
    let places = ["database", "server-secret", "shared-secret", "remote", "storage", "passphrase", "feed"];
    let places = places.map(|name| format!("canary-of-the-{name}"));
    for canary in secrets.into_iter().chain(places.iter().map(String::as_str)) {
        let found: Vec<&String> = said.iter().filter(|text| text.contains(canary)).collect();
        assert!(found.is_empty(), "{canary} is in {found:#?}");
    }
    service.stop();
}
