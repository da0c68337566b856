//! Commands that print, check, seed and migrate.

use super::{OPEN, Place, Ran, finish, program};
use crate::on_both;
use crate::support::{Backend, Scratch};
use serde_json::{Value, json};
use std::path::Path;

/// Every command, as `--help` is asked for it.
const COMMANDS: [&[&str]; 40] = [
    &["serve"],
    &["demo"],
    &["seed"],
    &["ingest"],
    &["import"],
    &["export"],
    &["pnl"],
    &["import-earlier"],
    &["migrate"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["doctor"],
    &["backup"],
    &["backup", "create"],
    &["backup", "list"],
    &["backup", "verify"],
    &["backup", "restore"],
    &["keys"],
    &["keys", "create"],
    &["keys", "list"],
    &["keys", "revoke"],
    &["keys", "rotate"],
    &["users"],
    &["users", "create"],
    &["users", "list"],
    &["users", "passwd"],
    &["users", "disable"],
    &["users", "forget-factor"],
    &["users", "enable"],
    &["signing-keys"],
    &["signing-keys", "list"],
    &["signing-keys", "rotate"],
    &["audit"],
    &["audit", "list"],
    &["audit", "verify"],
    &["openapi"],
    &["checklist"],
    &["health"],
    &["version"],
];

fn run(folder: &Path, arguments: &[&str]) -> Ran {
    finish(program(folder, arguments), b"")
}

/// Everything a seed makes, as the service shows it.
async fn state(place: &Place) -> Vec<Value> {
    let service = place.serve(&OPEN);
    let mut state = Vec::new();
    for list in ["/markets", "/assets", "/portfolios"] {
        state.push(Value::Array(service.api.every(list).await));
    }
    let id = state[2][0]["id"].as_str().unwrap().to_owned();
    for part in ["", "/transactions", "/positions"] {
        state.push(service.api.get(&format!("/portfolios/{id}{part}")).await.expect(200));
    }
    service.stop();
    state
}

/// A value without the ages of its prices, which grow while the test runs.
fn ageless(value: &Value) -> Value {
    match value {
        Value::Array(all) => all.iter().map(ageless).collect(),
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "age");
            Value::Object(kept.map(|(name, one)| (name.clone(), ageless(one))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

on_both! {
    async fn a_second_seed_says_that_nothing_changed_and_changes_nothing(backend) {
        let place = Place::new(backend).await;
        let first = place.run(&["seed", "gold-bitcoin"]).ok();
        assert_eq!(first.lines().filter(|line| line.starts_with("created")).count(), 7, "{first}");
        let before = state(&place).await;
        let second = place.run(&["seed", "gold-bitcoin"]).ok();
        assert!(second.contains("nothing changed") && !second.contains("created"), "{second}");
        let report = place.run(&["seed", "gold-bitcoin", "--json"]).json();
        assert_eq!((&report["created"], &report["existing"].as_array().unwrap().len()), (&json!([]), &7));
        assert_eq!(report["ids"]["portfolio"], before[2][0]["id"]);
        let after = state(&place).await;
        assert_eq!(ageless(&json!(before)), ageless(&json!(after)));
        let totals = &after[3]["performance"];
        for (name, wanted) in [("cash", "60000"), ("total_market_value", "40000"), ("total_value", "100000"),
            ("total_pnl", "0"), ("total_cost_basis", "40000")] {
            assert_eq!(totals[name], wanted, "{name}");
        }
        assert_eq!((&totals["open_positions"], &totals["closed_positions"]), (&json!(2), &json!(0)));
        let said = place.run(&["seed", "silver"]).failed(2);
        assert!(said.contains("gold-bitcoin"), "{said}");
    }

    async fn migrate_brings_the_schema_up_to_date_and_says_which(backend) {
        let place = Place::new(backend).await;
        let report = place.run(&["migrate", "--json"]).json();
        assert!(report["schema"].as_i64().unwrap() >= 1, "{report}");
        let engine = if backend == Backend::Sqlite { "SQLite" } else { "PostgreSQL" };
        assert!(report["engine"].as_str().unwrap().starts_with(engine), "{report}");
        let again = place.run(&["migrate"]).ok();
        assert!(again.starts_with(&format!("schema {}", report["schema"])), "{again}");
        let service = place.serve(&OPEN);
        let said = place.run(&["migrate"]).failed(1);
        assert!(said.contains("in use by another artifact process"), "{said}");
        service.stop();
    }
}

#[test]
fn configuration_is_shown_with_its_origins_and_without_passwords() {
    let scratch = Scratch::new();
    let data = scratch.0.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let file = data.join("artifact.toml");
    std::fs::write(&file, "listen = \"127.0.0.1:7111\"\nlog = \"warn\"\n").unwrap();
    let url = "postgres://book:hush%2Fhush@db.example:5433/books?sslmode=verify-full";
    let mut command = program(&scratch.0, &["config", "show", "--json", "--data", "data"]);
    command.env("ARTIFACT_DATABASE_URL", url).env("ARTIFACT_LOG_FORMAT", "json");
    let ran = finish(command, b"");
    assert!(!ran.out.contains("hush") && !ran.err.contains("hush"), "{ran:?}");
    let shown = ran.json();
    let of = |name: &str| {
        (
            shown[name]["value"].as_str().unwrap().to_owned(),
            shown[name]["origin"].as_str().unwrap().to_owned(),
        )
    };
    let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    assert_eq!(of("data"), pair("data", "flag"));
    assert_eq!(of("listen"), pair("127.0.0.1:7111", "file data/artifact.toml"));
    assert_eq!(of("log"), pair("warn", "file data/artifact.toml"));
    assert_eq!(of("log_format"), pair("json", "environment ARTIFACT_LOG_FORMAT"));
    assert_eq!(of("open_loopback"), pair("false", "default"));
    assert_eq!(
        of("database_url"),
        pair("postgres://book:***@db.example:5433/books", "environment ARTIFACT_DATABASE_URL")
    );
    // It holds a password, so it may stand in a file, or be a credential that the service manager lends.
    std::fs::write(scratch.0.join("ARTIFACT_DATABASE_URL"), format!("{url}\n")).unwrap();
    for (name, value, origin) in [
        ("ARTIFACT_DATABASE_URL_FILE", "ARTIFACT_DATABASE_URL", "environment ARTIFACT_DATABASE_URL_FILE"),
        ("CREDENTIALS_DIRECTORY", ".", "file ./ARTIFACT_DATABASE_URL"),
    ] {
        let mut command = program(&scratch.0, &["config", "show", "--json", "--data", "data"]);
        command.env(name, value);
        let ran = finish(command, b"");
        assert!(!ran.out.contains("hush"), "{ran:?}");
        let shown = &ran.json()["database_url"];
        assert_eq!(
            (shown["value"].as_str(), shown["origin"].as_str()),
            (Some("postgres://book:***@db.example:5433/books"), Some(origin))
        );
    }
    let text = run(&scratch.0, &["config", "show", "--data", "data"]).ok();
    assert!(
        text.lines().any(|line| line.starts_with("listen") && line.ends_with("(file data/artifact.toml)"))
    );
    assert_eq!(run(&scratch.0, &["config", "check", "--data", "data", "--json"]).json()["valid"], true);
    // The earlier service took a port alone; an environment variable beats the file.
    let mut command = program(&scratch.0, &["config", "show", "--data", "data"]);
    command.env("INFRA_PORT", "7222");
    let text = finish(command, b"").ok();
    assert!(text.contains("127.0.0.1:7222") && text.contains("(environment INFRA_PORT)"), "{text}");
}

#[test]
fn a_wrong_configuration_is_wrong_usage_and_is_named() {
    let scratch = Scratch::new();
    let file = scratch.0.join("own.toml");
    let cases = [
        ("lisen = \"127.0.0.1:1\"\n", "lisen"),
        ("listen = 7000\n", "listen"),
        ("listen = \"localhost\"\n", "listen"),
        ("database_url = \"mysql://u:hush@h/db\"\n", "postgres://"),
        ("open_loopback = true\nlisten = \"0.0.0.0:1\"\n", "--open-loopback"),
        ("listen = \"0.0.0.0:1\"\n", "unencrypted"),
        ("unencrypted = \"yes\"\n", "unencrypted"),
        (
            "[[feeds]]\nname = \"x\"\nkind = \"kraken\"\nsymbols = { \"BTC-USD\" = \"BTC/USD\" }\nws_url = \"ws://h\"",
            "feeds.x.ws_url",
        ),
        ("log_format = \"xml\"\n", "log_format"),
        ("not toml at all", "own.toml"),
    ];
    for (text, named) in cases {
        std::fs::write(&file, text).unwrap();
        let said = run(&scratch.0, &["config", "check", "--config", "own.toml"]).failed(2);
        assert!(said.contains(named) && !said.contains("hush"), "{said}");
    }
    // A command line can be read by every process of the machine.
    for command in [&["config", "check"][..], &["serve"], &["migrate"]] {
        let url = ["--database-url", "postgres://u:hush@127.0.0.1:1/db", "--data", "data"];
        let said = run(&scratch.0, &[command, &url].concat()).failed(2);
        assert!(said.contains("ARTIFACT_DATABASE_URL") && !said.contains("hush"), "{said}");
        assert!(!scratch.0.join("data").exists(), "{command:?}");
    }
    let said = run(&scratch.0, &["config", "check", "--config", "absent.toml"]).failed(2);
    assert!(said.contains("absent.toml"), "{said}");
    let mut command = program(&scratch.0, &["config", "check"]);
    command.env("ARTIFACT_OPEN_LOOPBACK", "perhaps");
    let said = finish(command, b"").failed(2);
    assert!(said.contains("environment ARTIFACT_OPEN_LOOPBACK"), "{said}");
}

#[test]
fn every_command_shows_an_example_and_a_wrong_one_is_wrong_usage() {
    let scratch = Scratch::new();
    let all = run(&scratch.0, &["--help"]).ok();
    assert!(
        all.contains("Exit codes: 0 done, 1 failed, 2 wrong usage, 75 done, but not yet posted on"),
        "{all}"
    );
    for command in COMMANDS {
        assert!(all.contains(&format!("\n  {}", command[0])), "{command:?} is not listed");
        let help = run(&scratch.0, &[command, &["--help"]].concat()).ok();
        let (_, examples) = help.split_once("Example").unwrap_or_else(|| panic!("{command:?}:\n{help}"));
        assert!(examples.contains(&format!("artifact {}", command.join(" "))), "{command:?}:\n{help}");
    }
    let listed = all.split_once("Commands:").unwrap().1.split_once("Options:").unwrap().0;
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    for name in names.filter(|name| *name != "help") {
        assert!(COMMANDS.iter().any(|command| command[0] == name), "{name} is not tried here");
    }
    for wrong in
        [&["bogus"][..], &[], &["seed"], &["serve", "--listen"], &["keys", "create"], &["ingest", "x.csv"]]
    {
        run(&scratch.0, wrong).failed(2);
    }
    assert!(std::fs::read_dir(&scratch.0).unwrap().next().is_none(), "wrong usage left something behind");
}

#[test]
fn version_openapi_and_checklist_are_for_people_and_programs() {
    let scratch = Scratch::new();
    let version = env!("CARGO_PKG_VERSION");
    assert!(run(&scratch.0, &["version"]).ok().starts_with(&format!("artifact {version} (SQLite 3.")));
    let report = run(&scratch.0, &["version", "--json"]).json();
    assert_eq!(report["version"], version);
    assert!(report["schema"].is_i64(), "{report}");
    // 3.51.3 mends a fault of the write-ahead log that could damage a database.
    let sqlite = report["sqlite"].as_str().unwrap();
    assert!(crate::support::is_at_least(sqlite, [3, 51, 3]), "{sqlite}");
    assert_eq!(run(&scratch.0, &["--version"]).ok(), format!("artifact {version}\n"));

    let document = run(&scratch.0, &["openapi"]).json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{}", document["openapi"]);
    for (path, method) in [("/prices", "post"), ("/portfolios/{portfolio}/pnl", "get"), ("/health", "get")] {
        assert!(document["paths"][path][method].is_object(), "{method} {path}");
    }

    // Outside the source tree only the file inside the program is read, so nothing can be amiss with it.
    let report = run(&scratch.0, &["checklist", "--json"]).json();
    assert!(report["departments"].as_array().unwrap().len() > 5, "{report}");
    assert_eq!(report["problems"], json!([]));
    let tree = run(Path::new(env!("CARGO_MANIFEST_DIR")), &["checklist", "--json"]);
    let report: Value = serde_json::from_str(&tree.out).unwrap();
    assert_eq!(tree.code, i32::from(report["problems"] != json!([])), "{}", tree.err);
    assert!(std::fs::read_dir(&scratch.0).unwrap().next().is_none(), "reading left something behind");
}
