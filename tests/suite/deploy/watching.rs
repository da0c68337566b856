//! What watches the service: rules, their tests, the dashboard, whom to tell.

use super::expressions::{all, names, rule_files, values};
use super::{file, said, text};
use artifact::telemetry::METRICS;
use serde_json::Value;
use std::collections::BTreeSet;

/// The alerts of all rules.
fn alerts() -> BTreeSet<String> {
    let files = rule_files();
    files.iter().flat_map(|name| values(&text(&format!("deploy/prometheus/rules/{name}")), "alert")).collect()
}

#[test]
fn rules_are_well_formed_and_their_tests_pass() {
    for name in rule_files() {
        let (rules, tests) =
            (format!("deploy/prometheus/rules/{name}"), format!("deploy/prometheus/tests/{name}"));
        said("promtool", &["check", "rules", &file(&rules).display().to_string()]);
        said("promtool", &["test", "rules", &file(&tests).display().to_string()]);
        for alert in values(&text(&rules), "alert") {
            let test = text(&tests);
            assert!(test.contains(&format!("{alert} fires when")), "{alert} was never seen to fire");
            assert!(test.contains(&format!("{alert} is quiet")), "{alert} was never seen to be quiet");
        }
    }
    let example = file("deploy/prometheus/prometheus.yml").display().to_string();
    said("promtool", &["check", "config", &example]);
    let inside = file("deploy/prometheus/compose.yml").display().to_string();
    said("promtool", &["check", "config", &inside]);
}

#[test]
fn every_alert_says_what_is_wrong_how_bad_it_is_and_what_to_do() {
    let runbooks: BTreeSet<String> = text("docs/OPERATIONS.md")
        .lines()
        .filter_map(|line| line.strip_prefix('#').map(|rest| rest.trim_start_matches('#').trim()))
        .map(|title| title.to_lowercase().replace(' ', "-"))
        .collect();
    for name in rule_files() {
        let rules = text(&format!("deploy/prometheus/rules/{name}"));
        let count = values(&rules, "alert").len();
        for key in ["severity", "summary", "description", "runbook_url"] {
            assert_eq!(values(&rules, key).len(), count, "{name}: {key} is missing");
        }
        for severity in values(&rules, "severity") {
            assert!(["critical", "warning"].contains(&severity.as_str()), "{name}: {severity}");
        }
        for (alert, url) in values(&rules, "alert").iter().zip(values(&rules, "runbook_url")) {
            let (page, anchor) = url.split_once('#').expect("an anchor");
            assert!(page.ends_with("/OPERATIONS.md"), "{url}");
            assert_eq!(anchor, alert.to_lowercase(), "{alert} leads to the page of another one");
            assert!(runbooks.contains(anchor), "docs/OPERATIONS.md has no heading {alert}");
        }
    }
    assert!(alerts().len() >= 39, "{:?}", alerts());
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let recorded: BTreeSet<String> = rule_files()
        .iter()
        .flat_map(|name| values(&text(&format!("deploy/prometheus/rules/{name}")), "record"))
        .collect();
    let mut named = BTreeSet::new();
    for expression in all() {
        named.extend(names(&expression));
    }
    for name in &named {
        let family =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let known = METRICS.contains(&family) || recorded.contains(name);
        assert!(known || name.starts_with("process_") || name == "up", "{name} is no metric");
    }
    // And nothing recorded that nobody looks at.
    for record in recorded {
        assert!(named.contains(&record), "{record} is recorded for nobody");
    }
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard: Value = serde_json::from_str(&text("deploy/grafana/artifact.json")).unwrap();
    assert_eq!(dashboard["uid"], "artifact-service");
    let input = dashboard["__inputs"][0]["name"].as_str().unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let rows: Vec<&str> = panels
        .iter()
        .filter(|panel| panel["type"] == "row")
        .map(|row| row["title"].as_str().unwrap())
        .collect();
    assert_eq!(rows, ["SLO", "Traffic", "Ingest", "Storage", "Jobs", "Trust", "Host"]);
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64().unwrap());
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "{} lies on another panel", panel["title"]);
        }
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id is used twice");
        if panel["type"] == "row" {
            continue;
        }
        // A data source of one Grafana means nothing to another.
        assert_eq!(panel["datasource"]["uid"], format!("${{{input}}}"), "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            assert!(expression.contains("$instance") || expression.contains("artifact:"), "{expression}");
        }
        assert!(panel["gridPos"]["x"].as_u64().unwrap() + panel["gridPos"]["w"].as_u64().unwrap() <= 24);
    }
}

#[test]
fn the_example_of_alertmanager_is_valid_and_tells_of_alerts_that_there_are() {
    let example = "deploy/alertmanager/alertmanager.yml";
    said("amtool", &["check-config", &file(example).display().to_string()]);
    let alerts = alerts();
    let named = text(example);
    let named = named
        .split("alertname")
        .filter_map(|rest| rest.trim_start_matches(['!', '=', '~']).strip_prefix('"'));
    for quoted in named.filter_map(|rest| rest.split('"').next()) {
        assert!(alerts.contains(quoted), "{quoted} is no alert");
    }
}
