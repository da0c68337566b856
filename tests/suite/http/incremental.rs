//! The kept book equals a full recomputation, after whatever was recorded.

use crate::http::script::{Call, Player, Script, reference};
use crate::on_both;
use crate::support::{Backend, TestApp};
use serde_json::{Value, json};

/// A moment after everything: the past is folded anew for it.
const EVER: &str = "as_of=9999-12-31T23:59:59Z";

/// Without what depends on the moment of the question.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["as_of", "age", "stale"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(plain);
        }
        Value::Array(rows) => rows.iter_mut().for_each(plain),
        Value::String(text) if text.starts_with("9999-12-31") => *value = Value::Null,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

async fn read(player: &mut Player, path: String) -> Value {
    let (status, answer) = player.play(&Call("GET", path.clone(), Value::Null)).await;
    assert_eq!(status, 200, "{path}: {answer}");
    let mut body = serde_json::from_str(answer.split_once('\n').unwrap().1).unwrap();
    plain(&mut body);
    body
}

/// Where two answers differ.
fn differ(at: &str, kept: &Value, anew: &Value, found: &mut Vec<String>) {
    match (kept, anew) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().zip(b.values()).for_each(|((name, a), b)| differ(&format!("{at}/{name}"), a, b, found));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(n, (a, b))| differ(&format!("{at}/{n}"), a, b, found));
        }
        _ if kept == anew => {}
        _ => found.push(format!("{at}: kept {kept}, anew {anew}")),
    }
}

async fn compare(player: &mut Player, portfolio: &str, step: usize, about: &str) {
    let by = ["/pnl", "/pnl?by=account", "/pnl?by=lot"][step % 3];
    for path in ["", "/positions", by] {
        let path = format!("/portfolios/{portfolio}{path}");
        let join = if path.contains('?') { '&' } else { '?' };
        let kept = read(player, path.clone()).await;
        let anew = read(player, format!("{path}{join}{EVER}")).await;
        let mut differences = Vec::new();
        differ("", &kept, &anew, &mut differences);
        assert!(differences.is_empty(), "{about}\n{path}\n{}", differences.join("\n"));
    }
}

async fn play(backend: Backend, seed: u64, steps: usize) -> [usize; 2] {
    let mut player = Player::new(TestApp::start(backend).await);
    let mut script = Script::new(seed);
    let conventions = [
        json!({}),
        json!({ "cost_basis": "average", "fees": "separate", "short": "allowed" }),
        json!({ "cost_basis": "lifo", "lot_scope": "global", "taxes": "in_cost", "short": "allowed" }),
        json!({ "cost_basis": "hifo", "fees": "expensed", "short": "missing_basis_is_zero_cost", "dust": "0.01" }),
    ];
    let zones = ["UTC", "America/New_York", "Asia/Tokyo", "UTC"];
    let kind = usize::try_from(seed % 4).unwrap();
    let book = json!({ "name": "book", "owner_id": "o", "initial_capital": 100_000, "opened_at": "2025-12-31",
        "time_zone": zones[kind], "conventions": conventions[kind] });
    let mut calls = reference();
    calls.push(Call("POST", "/portfolios".to_owned(), book));
    for call in calls {
        let answer = player.play(&call).await;
        script.learn(&call, player.app.clock.now(), &answer);
    }
    let portfolio = script.portfolios[0].clone();
    let mut outcomes = [0, 0];
    for step in 0..steps {
        player.pass(1_800_000_000);
        let call = script.ledger_call(&portfolio);
        let answer = player.play(&call).await;
        assert!(answer.0 < 500, "{call:?}: {answer:?}");
        outcomes[usize::from(answer.0 >= 400)] += 1;
        script.learn(&call, player.app.clock.now(), &answer);
        let about = format!("seed {seed}, step {step}: {call:?} -> {answer:?}");
        compare(&mut player, &portfolio, step, &about).await;
    }
    player.app = player.app.restart().await;
    compare(&mut player, &portfolio, 1, "after a restart").await;
    player.app.stop().await;
    outcomes
}

on_both! {
    async fn the_kept_book_equals_a_recomputation_after_every_entry(backend) {
        let mut outcomes = [0, 0];
        for seed in 200..240 {
            let [done, refused] = play(backend, seed, 45).await;
            outcomes = [outcomes[0] + done, outcomes[1] + refused];
        }
        // A script that is mostly refused proves nothing.
        assert!(outcomes[0] > 2 * outcomes[1], "{outcomes:?}");
    }
}
