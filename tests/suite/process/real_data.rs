//! The acceptance of the project: a ledger on real price history amounts to what an outside calculation says, and
//! what was once reported stays what it was, to the digit, after prices and trades were corrected.
//!
//! The outside calculation is `tests/golden/real_data.py`: it reads the same files and calculates in fractions. Nothing
//! of the domain is used here either; numbers are compared as fractions of big integers.

use super::{Api, OPEN, Place, Ran};
use crate::on_both;
use crate::support::{Backend, shared};
use num_bigint::BigInt;
use num_integer::Integer as _;
use num_traits::{Signed as _, Zero as _};
use serde_json::{Value, json};

/// What `tests/golden/real_data.py` wrote.
const OUTSIDE: &str = include_str!("../../golden/real_data.json");

/// An exact number.
#[derive(Debug, Clone)]
struct Fraction {
    over: BigInt,
    under: BigInt,
}

impl Fraction {
    /// A decimal in plain notation, or `numerator/denominator`.
    fn parse(text: &str) -> Self {
        if let Some((over, under)) = text.split_once('/') {
            return Self { over: over.parse().unwrap(), under: under.parse().unwrap() };
        }
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let over = format!("{whole}{decimals}").parse().unwrap();
        Self { over, under: BigInt::from(10).pow(u32::try_from(decimals.len()).unwrap()) }
    }

    /// Whether it can be written as a decimal without end.
    fn terminates(&self) -> bool {
        let mut rest = &self.under / self.over.gcd(&self.under);
        for prime in [2, 5].map(BigInt::from) {
            while rest.is_multiple_of(&prime) {
                rest /= &prime;
            }
        }
        rest == BigInt::from(1)
    }

    /// Whether `shown` is this number: to the last digit where it has one, else to 27 significant digits.
    fn is(&self, shown: &str) -> bool {
        let other = Self::parse(shown);
        let distance = (&self.over * &other.under - &other.over * &self.under).abs();
        if self.terminates() {
            return distance.is_zero();
        }
        let size = (self.over.abs() + &self.under) * &other.under;
        distance * BigInt::from(10).pow(27) <= size
    }
}

/// Compares figures by name with fractions; a name that is a number in `wanted` is compared as such.
#[track_caller]
fn compare(shown: &Value, wanted: &Value, what: &str) {
    for (name, value) in wanted.as_object().unwrap() {
        let Some(fraction) = value.as_str().filter(|text| text.contains('/')) else {
            if !value.is_object() {
                assert_eq!(&shown[name], value, "{what}: {name} of {shown:#}");
            }
            continue;
        };
        let figure = shown[name].as_str().unwrap_or_else(|| panic!("{what}: no {name} in {shown:#}"));
        assert!(Fraction::parse(fraction).is(figure), "{what}: {name} is {figure} and should be {fraction}");
    }
}

/// The query of a question.
fn query(question: &Value, known_at: Option<&str>) -> (String, String) {
    let mut pairs = Vec::new();
    pairs.extend(question["as_of"].as_str().map(|as_of| format!("as_of={as_of}")));
    pairs.extend(known_at.map(|known_at| format!("known_at={known_at}")));
    let portfolio = pairs.join("&");
    pairs.push(format!("cost_basis={}", question["cost_basis"].as_str().unwrap()));
    (portfolio, pairs.join("&"))
}

/// A book on the service.
struct Book {
    api: Api,
    id: String,
}

impl Book {
    /// Both reports that answer a question, as text.
    async fn reports(&self, question: &Value, known_at: Option<&str>) -> [String; 2] {
        let (portfolio, pnl) = query(question, known_at);
        let paths =
            [format!("/portfolios/{}?{portfolio}", self.id), format!("/portfolios/{}/pnl?{pnl}", self.id)];
        let mut texts = [const { String::new() }; 2];
        for (text, path) in texts.iter_mut().zip(paths) {
            let reply = self.api.get(&path).await;
            reply.expect(200);
            *text = String::from_utf8(reply.body.to_vec()).unwrap();
        }
        texts
    }

    /// Asks every question and compares the answers with the outside calculation.
    async fn check(&self, questions: &Value, when: &str) -> Vec<[String; 2]> {
        let mut texts = Vec::new();
        for question in questions.as_array().unwrap() {
            let what = format!("{when}, as of {} under {}", question["as_of"], question["cost_basis"]);
            let reports = self.reports(question, None).await;
            let [portfolio, pnl] =
                reports.each_ref().map(|text| serde_json::from_str::<Value>(text).unwrap());
            compare(&pnl, &question["pnl"], &what);
            let items = question["items"].as_object().unwrap();
            assert_eq!(pnl["items"].as_array().unwrap().len(), items.len(), "{what}");
            for (symbol, wanted) in items {
                let item = pnl["items"].as_array().unwrap().iter().find(|item| item["symbol"] == **symbol);
                let item = item.unwrap_or_else(|| panic!("{what}: no {symbol}"));
                compare(item, wanted, &format!("{what}: {symbol}"));
                compare(&item["price"], wanted.get("price").unwrap_or(&json!({})), &what);
            }
            let performance = &portfolio["performance"];
            assert_eq!(performance["open_positions"], question["open_positions"], "{what}");
            let figures = &question["pnl"];
            let same = |name: &str| figures[name].clone();
            // These need no share of a cost, or sum over all of them, so the method does not enter.
            let wanted = json!({ "cash": same("cash"), "total_value": same("total_value"), "fees": same("fees"),
                "total_market_value": same("market_value"), "net_contributions": same("net_contributions"),
                "total_pnl": same("total_gain"), "current_capital": same("cash") });
            compare(performance, &wanted, &what);
            if question["cost_basis"] == "fifo" {
                let wanted = json!({ "realized_pnl": same("realized_pnl"), "unrealized_pnl": same("unrealized_pnl"),
                    "total_cost_basis": same("cost_basis") });
                compare(performance, &wanted, &what);
            }
            texts.push(reports);
        }
        texts
    }

    /// The answers to all questions as known at one moment.
    async fn known(&self, questions: &Value, known_at: &str) -> Vec<[String; 2]> {
        let mut texts = Vec::new();
        for question in questions.as_array().unwrap() {
            texts.push(self.reports(question, Some(known_at)).await);
        }
        texts
    }
}

/// Ingests a file of the shared folder.
fn ingest(place: &Place, file: &str, flags: &[&str]) -> Ran {
    let path = shared().join("data").join(file);
    let path = std::fs::canonicalize(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    place.run(&[&["ingest", path.to_str().unwrap(), "--json"], flags].concat())
}

/// Seeds the place and ingests the three histories; a second time every row is a duplicate.
fn fill(place: &Place, outside: &Value) {
    place.run(&["seed", "gold-bitcoin"]).ok();
    let files: [(&str, &[&str]); 3] = [
        ("btcusd_coinbase_1d.csv", &["--symbol", "BTC-USD", "--source", "coinbase", "--interval", "1d"]),
        (
            "gold_usd_monthly_worldbank.csv",
            &["--symbol", "GOLD", "--source", "worldbank", "--interval", "1M"],
        ),
        (
            "xauusd_oanda_1d_bidask.csv",
            &[
                "--symbol",
                "GOLD",
                "--source",
                "oanda",
                "--interval",
                "1d",
                "--bid-ask",
                "mid",
                "--tz",
                "America/New_York",
            ],
        ),
    ];
    for (file, flags) in files {
        let rows = &outside["rows"][flags[3]];
        let report = ingest(place, file, flags).json();
        assert_eq!((&report["stored"], &report["refused"]), (rows, &json!(0)), "{report:#}");
        let again = ingest(place, file, flags).json();
        assert_eq!((&again["stored"], &again["duplicate"]), (&json!(0), rows), "{again:#}");
    }
}

/// The monthly history of gold is there as the file has it, from 1833 on, and prices stand before 1970.
async fn check_history(api: &Api) {
    let text = std::fs::read_to_string(shared().join("data/gold_usd_monthly_worldbank.csv")).unwrap();
    let points = api.every("/prices?symbol=GOLD&source=worldbank").await;
    let rows: Vec<(&str, &str)> = text.lines().skip(1).map(|line| line.split_once(',').unwrap()).collect();
    assert_eq!(points.len(), rows.len());
    for (point, (day, price)) in points.iter().zip(&rows) {
        assert_eq!(point["observed_at"], format!("{day}T00:00:00.000000Z"));
        assert!(Fraction::parse(price).is(point["price"].as_str().unwrap()), "{point}");
    }
    for as_of in ["1833-01-15", "1969-12-31", "1968-03-17T12:30:00Z"] {
        let month = format!("{}-01", &as_of[..7]);
        let (_, price) = rows.iter().find(|(day, _)| *day == month).unwrap();
        let found = api.get(&format!("/assets/GOLD/price?as_of={as_of}")).await.expect(200);
        assert!(Fraction::parse(price).is(found["price"].as_str().unwrap()), "{found}");
    }
    assert_eq!(api.get("/assets/GOLD/price?as_of=1832-12-31").await.code(404), "price_not_found");
}

/// Records the ledger; returns the ids of its entries and the moment at which they were learned.
async fn record(api: &Api, outside: &Value) -> (Book, Vec<String>, String) {
    let body = json!({ "name": "real", "owner_id": "tester", "initial_capital": outside["initial_capital"],
        "opened_at": outside["opened_at"] });
    let id = api.post("/portfolios", &body).await.expect(201)["id"].as_str().unwrap().to_owned();
    let answer = api.post(&format!("/portfolios/{id}/transactions"), &outside["ledger"]).await.expect(201);
    let entries = answer["transactions"].as_array().unwrap();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let ids = entries.iter().map(|entry| text(entry, "id")).collect();
    (Book { api: api.clone(), id }, ids, text(&entries[0], "recorded_at"))
}

async fn acceptance(backend: Backend) {
    let outside: Value = serde_json::from_str(OUTSIDE).unwrap();
    let place = Place::new(backend).await;
    fill(&place, &outside);
    let service = place.serve(&OPEN);
    check_history(&service.api).await;
    let (book, ids, learned) = record(&service.api, &outside).await;
    let reported = book.check(&outside["before"], "before the corrections").await;
    let known = book.known(&outside["before"], &learned).await;
    let questions = outside["before"].as_array().unwrap();
    for ((question, now), then) in questions.iter().zip(&reported).zip(&known) {
        // Without `as_of` the prices are older now than they were when the trades were learned.
        if question["as_of"].is_string() {
            let echo =
                |text: &String| text.replace("\"known_at\":null", &format!("\"known_at\":\"{learned}\""));
            assert_eq!(now.each_ref().map(echo), *then);
        }
    }

    let corrected = service.api.post("/prices", &outside["corrected"]).await.expect(200);
    assert_eq!(corrected["outcome"], "corrected");
    let voided = &ids[usize::try_from(outside["voided"].as_u64().unwrap()).unwrap()];
    let path = format!("/portfolios/{}/transactions/{voided}/void", book.id);
    let answer = service.api.post(&path, &json!({ "reason": "never executed" })).await.expect(200);
    let learned_later = answer["voided"]["voided_at"].as_str().unwrap().to_owned();

    book.check(&outside["after"], "after the corrections").await;
    assert_eq!(book.known(&outside["before"], &learned).await, known, "a report once given changed");
    // And so it is for a process that never saw the old report, after the first was killed.
    let later = book.known(&outside["after"], &learned_later).await;
    service.kill();
    let service = place.serve(&OPEN);
    let book = Book { api: service.api.clone(), id: book.id };
    book.check(&outside["after"], "after a kill").await;
    assert_eq!(book.known(&outside["before"], &learned).await, known);
    assert_eq!(book.known(&outside["after"], &learned_later).await, later);
    service.stop();
}

on_both! {
    #[ignore = "needs ../shared"]
    async fn a_ledger_on_real_history_amounts_to_what_fractions_say_now_and_as_once_known(backend) {
        acceptance(backend).await;
    }
}

#[test]
fn the_comparison_of_fractions_sees_one_digit() {
    for (fraction, shown, same) in [
        ("1/8", "0.125", true),
        ("1/8", "0.1250000000000000000000000000000000001", false),
        ("-3/2", "-1.5", true),
        ("3/2", "-1.5", false),
        ("2/3", "0.6666666666666666666666666666666667", true),
        ("2/3", "0.66666666666666666666667", false),
        ("200000/3", "66666.66666666666666666666666666667", true),
        ("200000/3", "66666.666666666666666666667", false),
        ("0/1", "0", true),
    ] {
        assert_eq!(Fraction::parse(fraction).is(shown), same, "{fraction} {shown}");
    }
}
