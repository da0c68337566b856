//! The earlier service's recorded traffic: its clients find here what they found there, except where it was wrong.

use crate::on_both;
use crate::support::{Backend, Reply, TestApp, shared};
use artifact::domain::decimal::Decimal;
use artifact::domain::moment::Moment;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where the earlier service was wrong, or decision 6 has a better status: file, step, status, and the values that
/// stand in place of the recorded ones.
type Right = (&'static str, u64, u16, Vec<(&'static str, Value)>);

fn totals(market: &'static str, total: &'static str, pnl: [&'static str; 3]) -> Vec<(&'static str, Value)> {
    let [unrealized, pnl, percent] = pnl;
    vec![
        ("/performance/total_market_value", json!(market)),
        ("/performance/total_value", json!(total)),
        ("/performance/unrealized_pnl", json!(unrealized)),
        ("/performance/total_pnl", json!(pnl)),
        ("/performance/total_pnl_percent", json!(percent)),
    ]
}

fn rights() -> Vec<Right> {
    let mut both = totals("8800.05", "99900", ["-100", "-100", "-0.1"]);
    both.push(("/performance/current_capital", json!("91099.95")));
    both.push(("/performance/total_cost_basis", json!("8900.05")));
    let added = vec![
        ("/2/current_capital", json!("91099.95")),
        ("/2/positions/0/quantity", json!("2")),
        ("/2/positions/0/average_cost", json!("2250")),
    ];
    vec![
        // Duplicates, also on a second run of the seed script.
        ("01_seed_flow", 16, 409, vec![]),
        ("01_seed_flow", 17, 409, vec![]),
        // An older price does not overwrite a newer one (A11). BTC-USD is worth 45000.25 since step 5.
        ("02_price_updates", 4, 200, totals("41000", "101000", ["1000", "1000", "1"])),
        ("02_price_updates", 7, 200, totals("43500.125", "103500.125", ["3500.125", "3500.125", "3.500125"])),
        ("02_price_updates", 8, 422, vec![]),
        ("02_price_updates", 10, 422, vec![]),
        (
            "02_price_updates",
            12,
            200,
            totals("22500.125", "82500.125", ["-17499.875", "-17499.875", "-17.499875"]),
        ),
        ("02_price_updates", 15, 422, vec![]),
        (
            "02_price_updates",
            16,
            200,
            totals("42500.125", "102500.125", ["2500.125", "2500.125", "2.500125"]),
        ),
        ("02_price_updates", 18, 422, vec![]),
        ("02_price_updates", 20, 200, vec![]),
        // A short position gains when the price falls (A1), adding is possible (A6), what was missing exists (D1).
        ("03_positions_long_short", 14, 200, totals("21000", "101000", ["1000", "1000", "1"])),
        ("03_positions_long_short", 17, 200, totals("18000", "98000", ["-2000", "-2000", "-2"])),
        ("03_positions_long_short", 19, 201, vec![]),
        ("03_positions_long_short", 20, 409, vec![]),
        ("03_positions_long_short", 22, 200, both),
        ("03_positions_long_short", 23, 200, added),
        ("03_positions_long_short", 24, 200, vec![]),
        ("03_positions_long_short", 25, 405, vec![]),
        ("03_positions_long_short", 26, 405, vec![]),
        ("03_positions_long_short", 27, 200, vec![]),
        ("03_positions_long_short", 28, 200, vec![]),
        // Portfolios survive a restart (B1).
        ("08b_after_restart", 3, 200, vec![]),
        ("08b_after_restart", 4, 200, vec![]),
    ]
}

/// Recorded ids and ours.
#[derive(Default)]
struct Replay {
    ids: BTreeMap<String, String>,
}

fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => Decimal::parse_input(text).ok(),
        Value::Number(number) => Decimal::parse_input(&number.to_string()).ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

impl Replay {
    fn ours(&self, text: &str) -> String {
        self.ids.iter().fold(text.to_owned(), |text, (recorded, ours)| text.replace(recorded, ours))
    }

    /// Every recorded key is there with the same value; ids are learned where they are first seen.
    fn compare(&mut self, key: &str, recorded: &Value, ours: &Value) -> Result<(), String> {
        let differs = || Err(format!("{key}: recorded {recorded}, ours {ours}"));
        match (recorded, ours) {
            (Value::Object(recorded), Value::Object(ours)) => {
                for (name, value) in recorded {
                    let found = ours.get(name).ok_or_else(|| format!("{key}/{name} is missing"))?;
                    self.compare(&format!("{key}/{name}"), value, found)?;
                }
                Ok(())
            }
            (Value::Array(recorded), Value::Array(ours)) if recorded.len() == ours.len() => {
                recorded.iter().zip(ours).enumerate().try_for_each(|(index, (recorded, ours))| {
                    self.compare(&format!("{key}/{index}"), recorded, ours)
                })
            }
            (Value::String(_), Value::String(text)) if key.ends_with("_at") => {
                Moment::parse(text).map(drop).map_err(|error| format!("{key}: `{text}` {error}"))
            }
            (Value::String(_), Value::String(_)) if key == "/detail" => Ok(()),
            (Value::String(recorded), Value::String(ours)) if key.ends_with("id") && recorded.len() == 36 => {
                let known = self.ids.entry(recorded.clone()).or_insert_with(|| ours.clone());
                if known == ours { Ok(()) } else { differs() }
            }
            (Value::Number(_), _) if decimal(recorded).is_some() && decimal(recorded) == decimal(ours) => {
                Ok(())
            }
            (recorded, ours) if recorded == ours => Ok(()),
            _ => differs(),
        }
    }

    async fn step(&mut self, app: &TestApp, file: &str, step: &Value) -> Reply {
        let path = self.ours(step["path"].as_str().unwrap());
        let body = step.get("body").map(|body| self.ours(&body.to_string())).unwrap_or_default();
        let headers: &[(&str, &str)] =
            if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        app.send(step["method"].as_str().unwrap(), &path, headers, body.as_bytes())
            .await
            .also(|reply| self.judge(file, step, reply))
    }

    fn judge(&mut self, file: &str, step: &Value, reply: &Reply) {
        let number = step["n"].as_u64().unwrap();
        let (status, right) = rights()
            .into_iter()
            .find(|(name, n, _, _)| *name == file && *n == number)
            .map_or((None, Vec::new()), |(_, _, status, right)| (Some(status), right));
        let recorded = u16::try_from(step["status"].as_u64().unwrap()).unwrap();
        let creates = step["method"] == "POST" && recorded == 200 && step["path"] != "/prices";
        let wanted = status.unwrap_or(if creates { 201 } else { recorded });
        let body = reply.expect(wanted);
        if wanted >= 400 {
            assert!(body["detail"].is_string() && body["code"].is_string(), "{file} {number}: {body}");
        }
        // A step whose status differs in kind has nothing recorded to compare with.
        let mut expected = step["response"].clone();
        if recorded / 100 != wanted / 100 || (status.is_some() && file == "08b_after_restart") {
            return;
        }
        for (pointer, value) in right {
            *expected.pointer_mut(pointer).unwrap() = serde_json::from_str(value.as_str().unwrap()).unwrap();
        }
        if let Err(difference) = self.compare("", &expected, &body) {
            panic!("{file} step {number}: {difference}");
        }
    }

    async fn play(&mut self, app: &TestApp, file: &str) -> Vec<Reply> {
        let path = shared().join(format!("contract/transcripts/{file}.json"));
        let transcript: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let mut replies = Vec::new();
        for step in transcript["steps"].as_array().unwrap() {
            app.clock.set(app.clock.now().plus(1_000_000));
            replies.push(self.step(app, file, step).await);
        }
        replies
    }
}

trait Also: Sized {
    fn also(self, look: impl FnOnce(&Self)) -> Self {
        look(&self);
        self
    }
}

impl Also for Reply {}

async fn started(backend: Backend) -> (TestApp, Replay) {
    (TestApp::start(backend).await, Replay::default())
}

on_both! {
    #[ignore = "needs ../shared"]
    async fn the_seed_script_and_price_updates_are_answered_as_recorded(backend) {
        let (app, mut replay) = started(backend).await;
        let seeded = replay.play(&app, "01_seed_flow").await;
        // Reading changes nothing (B2).
        assert_eq!(seeded[11].json(), seeded[12].json());
        replay.play(&app, "02_price_updates").await;
        app.stop().await;
    }

    #[ignore = "needs ../shared"]
    async fn long_and_short_positions_are_answered_as_recorded_but_right(backend) {
        let (app, mut replay) = started(backend).await;
        let replies = replay.play(&app, "03_positions_long_short").await;
        assert_eq!(replies[23].json()["status"], "CLOSED");
        assert_eq!(replies[23].json()["realized_pnl"], "2000");
        assert_eq!(replies[26].json().as_array().unwrap().len(), 1);
        app.stop().await;
    }

    #[ignore = "needs ../shared"]
    async fn a_restart_loses_nothing(backend) {
        let (app, mut replay) = started(backend).await;
        let before = replay.play(&app, "08a_before_restart").await;
        let app = app.restart().await;
        let after = replay.play(&app, "08b_after_restart").await;
        assert_eq!(after[2].json()[0]["name"], "durable?");
        assert_eq!(after[3].json(), before[5].json());
        app.stop().await;
    }
}
