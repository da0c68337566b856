//! Names of metrics in expressions of Prometheus, and the expressions of the rules and of the dashboard.

use super::{file, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Words of the language; a name before a bracket is a function.
const WORDS: [&str; 15] = [
    "and", "or", "unless", "by", "on", "without", "ignoring", "bool", "offset", "inf", "sum", "min", "max",
    "avg", "count",
];

/// The names of the metrics in an expression.
pub(crate) fn names(expression: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = expression;
    let mut after_grouping = false;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '"' => rest[1..].find('"').map(|end| end + 2),
            '{' => rest.find('}').map(|end| end + 1),
            '[' => rest.find(']').map(|end| end + 1),
            // Labels after `by`, `on` and their like.
            '(' if after_grouping => rest.find(')').map(|end| end + 1),
            _ => None,
        };
        if let Some(skipped) = skipped {
            after_grouping = false;
            rest = &rest[skipped..];
            continue;
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        rest = after;
        let is_function = after.trim_start().starts_with('(');
        after_grouping = ["by", "on", "without", "ignoring"].contains(&word);
        let is_name = !word.starts_with(|c: char| c.is_ascii_digit());
        if is_name && !is_function && !WORDS.contains(&word) {
            found.insert(word.to_owned());
        }
    }
    found
}

/// The file names of the rules.
pub(crate) fn rule_files() -> Vec<String> {
    let folder = std::fs::read_dir(file("deploy/prometheus/rules")).unwrap();
    let mut names: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What stands after a key of a rule, of every rule.
pub(crate) fn values(rules: &str, key: &str) -> Vec<String> {
    let mark = format!("{key}: ");
    let lines = rules.lines().map(|line| line.trim_start().trim_start_matches("- "));
    lines
        .filter_map(|line| line.strip_prefix(&mark))
        .map(|value| value.trim_matches('"').to_owned())
        .collect()
}

/// Every expression of the rules and of the dashboard.
pub(crate) fn all() -> Vec<String> {
    let mut found = Vec::new();
    for name in rule_files() {
        found.extend(values(&text(&format!("deploy/prometheus/rules/{name}")), "expr"));
    }
    collect(&serde_json::from_str(&text("deploy/grafana/artifact.json")).unwrap(), &mut found);
    found
}

fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(expression) if name == "expr" => found.push(expression.to_owned()),
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn names_are_found_between_functions_labels_and_words() {
    let expression = r#"sum by (job, le) (rate(a_total{x=~"b_c|d"}[5m])) / on (job) group_total > 14.4 * 0.001 and time() - e:f_g < 2e9"#;
    let found: Vec<String> = names(expression).into_iter().collect();
    assert_eq!(found, ["a_total", "e:f_g", "group_total"]);
    assert!(all().len() > 40);
}
