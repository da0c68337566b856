//! The golden files: one line per entry, price, rate and expectation. `tests/golden/README.md` tells the form.

use super::ledger::{Assets, Check, Expected, ExpectedLot, Scenario, currency, id_of, moment, number};
use artifact::domain::asset::Terms;
use artifact::domain::decimal::Decimal;
use artifact::domain::fx::Rates;
use artifact::domain::moment::Moment;
use artifact::domain::portfolio::{Conventions, CostBasis, FeeMode, LotScope, ShortMode, TaxMode};
use artifact::domain::price::Mark;
use artifact::domain::transaction::{LotPick, Transaction, TransactionType};
use chrono_tz::Tz;
use serde::Deserialize;
use std::collections::BTreeMap;

/// One golden file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) scenario: Vec<Written>,
}

/// A scenario as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) id: String,
    pub(super) source: String,
    base: String,
    #[serde(default)]
    tolerance: BTreeMap<String, String>,
    #[serde(default)]
    conventions: WrittenConventions,
    #[serde(default)]
    assets: BTreeMap<String, WrittenAsset>,
    ledger: String,
    #[serde(default)]
    prices: String,
    #[serde(default)]
    rates: String,
    expect: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenConventions {
    cost_basis: Option<CostBasis>,
    lot_scope: Option<LotScope>,
    fees: Option<FeeMode>,
    taxes: Option<TaxMode>,
    short: Option<ShortMode>,
    dust: Option<Decimal>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenAsset {
    settlement: Option<String>,
    multiplier: Option<Decimal>,
    #[serde(default)]
    inverse: bool,
    #[serde(default)]
    margined: bool,
    #[serde(default)]
    allows_negative_price: bool,
}

/// The words of a line: plain ones in order, and `key=value` ones.
struct Line<'a> {
    text: &'a str,
    plain: Vec<&'a str>,
    keyed: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    fn new(text: &'a str) -> Self {
        let (keyed, plain): (Vec<&str>, Vec<&str>) =
            text.split_whitespace().partition(|word| word.contains('='));
        let keyed = keyed.into_iter().map(|word| word.split_once('=').unwrap()).collect();
        Self { text, plain, keyed }
    }

    fn word(&self, index: usize) -> &'a str {
        self.plain.get(index).unwrap_or_else(|| panic!("`{}` has no word {index}", self.text))
    }

    fn taken(&mut self, key: &str) -> Option<&'a str> {
        self.keyed.remove(key)
    }

    fn done(&self, words: usize) {
        assert!(self.keyed.is_empty(), "`{}`: what is {:?}?", self.text, self.keyed.keys());
        assert_eq!(self.plain.len(), words, "`{}` has too few words, or too many", self.text);
    }
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(Line::new)
}

impl Written {
    pub(super) fn parse(&self) -> Scenario {
        let base = currency(&self.base);
        let mut assets = Assets::default();
        for (name, written) in &self.assets {
            let mut terms = Terms::plain(written.settlement.as_deref().map_or(base, currency));
            terms.multiplier = written.multiplier.clone().unwrap_or(Decimal::ONE);
            terms.inverse = written.inverse;
            terms.margined = written.margined || written.inverse;
            terms.allows_negative_price = written.allows_negative_price;
            assets.describe(name, terms);
        }
        let mut scenario = Scenario {
            base,
            conventions: self.conventions(),
            average_scope: None,
            first_known: false,
            zone: Tz::UTC,
            assets,
            transactions: Vec::new(),
            marks: Vec::new(),
            rates: Rates::default(),
            checks: Vec::new(),
            tolerance: self.tolerance.iter().map(|(name, text)| (name.clone(), tolerance(text))).collect(),
        };
        let mut labels = BTreeMap::new();
        for line in lines(&self.ledger) {
            let transaction = entry(line, &mut scenario, &mut labels);
            scenario.transactions.push(transaction);
        }
        for line in lines(&self.prices) {
            price(&line, &mut scenario);
        }
        for line in lines(&self.rates) {
            let (from, to) = line.word(1).split_once('/').unwrap();
            let (at, _) = moment(line.word(0), Tz::UTC);
            scenario.rates.add(currency(from), currency(to), at, number(line.word(2)));
            line.done(3);
        }
        scenario.checks = lines(&self.expect).map(|line| check(&line, &scenario.assets)).collect();
        scenario.sort();
        scenario
    }

    fn conventions(&self) -> Conventions {
        let (written, usual) = (&self.conventions, Conventions::default());
        Conventions {
            cost_basis: written.cost_basis.unwrap_or(usual.cost_basis),
            lot_scope: written.lot_scope.unwrap_or(usual.lot_scope),
            fees: written.fees.unwrap_or(usual.fees),
            taxes: written.taxes.unwrap_or(usual.taxes),
            short: written.short.unwrap_or(usual.short),
            dust: written.dust.clone().unwrap_or(usual.dust),
            ..Conventions::default()
        }
    }
}

/// A tolerance may be finer than any number that can be entered.
fn tolerance(text: &str) -> Decimal {
    match text.split_once("e-") {
        Some((mantissa, exponent)) => Decimal::new(mantissa.parse().unwrap(), exponent.parse().unwrap()),
        None => number(text),
    }
}

/// `2024-01-02 buy 10 ACME @ 100 fee=1`
fn entry(mut line: Line<'_>, scenario: &mut Scenario, labels: &mut BTreeMap<String, usize>) -> Transaction {
    use TransactionType as T;
    let place = scenario.transactions.len();
    let (at, whole_day) = moment(line.word(0), scenario.zone);
    let opens_short = line.word(1) == "short";
    let kind = match line.word(1) {
        "short" => T::Sell,
        "move" => T::Transfer,
        name => T::from_name(name).unwrap_or_else(|| panic!("`{}`: what is {name}?", line.text)),
    };
    let mut t = Transaction::bare(id_of(place), kind, at);
    (t.place, t.whole_day, t.opens_short) = (i64::try_from(place).unwrap(), whole_day, opens_short);
    let base = scenario.base;
    let words = match line.word(1) {
        "buy" | "sell" | "short" | "transfer_in" => {
            t.quantity = Some(number(line.word(2)));
            t.asset = Some(scenario.assets.key(line.word(3), base));
            match line.word(4) {
                "@" => t.price = Some(number(line.word(5))),
                "for" => t.gross_total = Some(number(line.word(5))),
                other => panic!("`{}`: what is {other}?", line.text),
            }
            6
        }
        "transfer_out" | "transfer" => {
            t.quantity = Some(number(line.word(2)));
            t.asset = Some(scenario.assets.key(line.word(3), base));
            4
        }
        "dividend" => {
            t.amount = Some(number(line.word(2)));
            t.asset = Some(scenario.assets.key(line.word(3), base));
            4
        }
        "split" => {
            t.asset = Some(scenario.assets.key(line.word(2), base));
            let (new, old) = line.word(3).split_once(':').unwrap();
            (t.ratio_num, t.ratio_den) = (Some(number(new)), Some(number(old)));
            4
        }
        "fx" => {
            (t.amount, t.currency) = (Some(number(line.word(2))), Some(currency(line.word(3))));
            assert_eq!(line.word(4), "to", "`{}`", line.text);
            (t.to_amount, t.to_currency) = (Some(number(line.word(5))), Some(currency(line.word(6))));
            7
        }
        _ => {
            (t.amount, t.currency) = (Some(number(line.word(2))), Some(currency(line.word(3))));
            4
        }
    };
    options(&mut t, &mut line, scenario, labels);
    line.done(words);
    let negative = t.asset.is_some_and(|key| scenario.assets.terms(key).allows_negative_price);
    let broken = t.check(negative);
    assert!(broken.is_empty(), "`{}`: {broken:?}", line.text);
    t
}

fn options(
    t: &mut Transaction,
    line: &mut Line<'_>,
    scenario: &mut Scenario,
    labels: &mut BTreeMap<String, usize>,
) {
    let amount = |text: Option<&str>| text.map(number).unwrap_or_default();
    t.fee = amount(line.taken("fee"));
    t.tax = amount(line.taken("tax"));
    t.fee_asset_quantity = amount(line.taken("fee_asset"));
    t.fx_rate = line.taken("fx_rate").map(number);
    if let Some(code) = line.taken("currency") {
        t.currency = Some(currency(code));
    }
    if let Some(name) = line.taken("asset") {
        t.asset = Some(scenario.assets.key(name, scenario.base));
    }
    if let Some(account) = line.taken("account") {
        account.clone_into(&mut t.account);
    }
    t.to_account = line.taken("to").map(str::to_owned);
    if let Some(label) = line.taken("id") {
        labels.insert(label.to_owned(), scenario.transactions.len());
    }
    for pick in line.taken("lots").into_iter().flat_map(|lots| lots.split(',')) {
        let (label, quantity) = pick.split_once(':').unwrap();
        let place = *labels.get(label).unwrap_or_else(|| panic!("`{}`: no lot {label}", line.text));
        t.lots.push(LotPick { transaction: id_of(place), quantity: number(quantity) });
    }
}

/// `2024-03-01 ACME 120`: a moment is a tick, a day is a candle of that day.
fn price(line: &Line<'_>, scenario: &mut Scenario) {
    let (observed_at, whole_day) = moment(line.word(0), scenario.zone);
    let asset = scenario.assets.key(line.word(1), scenario.base);
    let mark = Mark {
        price: number(line.word(2)),
        observed_at,
        recorded_at: Moment::MAX,
        source: "golden".to_owned(),
        interval: if whole_day { "1d".to_owned() } else { String::new() },
        split_adjusted: false,
    };
    line.done(3);
    scenario.marks.push((asset, mark));
}

/// `2024-03-31 ACME: quantity=10`, `2024-03-31 savings/ACME: ..`, `2024-03-31 total: ..`, `.. account savings: ..`
fn check(line: &Line<'_>, assets: &Assets) -> Check {
    let subject = line.plain[1..].join(" ");
    let subject = subject.strip_suffix(':').unwrap_or_else(|| panic!("`{}` has no subject", line.text));
    let (account, asset) = match (subject, subject.strip_prefix("account "), subject.split_once('/')) {
        ("total", _, _) => (None, None),
        (_, Some(account), _) => (Some(account.to_owned()), None),
        (_, None, Some((account, asset))) => (Some(account.to_owned()), Some(assets.known(asset))),
        (asset, None, None) => (None, Some(assets.known(asset))),
    };
    let mut keyed = line.keyed.clone();
    let cost_basis = keyed.remove("cost_basis_method").map(|name| CostBasis::from_name(name).unwrap());
    let values = keyed.into_iter().map(|(name, text)| (name.to_owned(), expected(name, text))).collect();
    Check { as_of: line.word(0).to_owned(), zone: None, after: None, asset, account, cost_basis, values }
}

fn expected(name: &str, text: &str) -> Expected {
    match (name, text) {
        ("error" | "missing", _) => Expected::Text(text.to_owned()),
        ("lots", "none") => Expected::Lots(Vec::new()),
        (_, "none") => Expected::Nothing,
        ("lots", _) => Expected::Lots(text.split(',').map(expected_lot).collect()),
        _ => Expected::Number(figure(text)),
    }
}

/// A figure may have more digits than a number that is entered.
fn figure(text: &str) -> Decimal {
    text.parse().unwrap_or_else(|error| panic!("{text} {error}"))
}

/// `10@100` or `10@100@2024-01-02`
fn expected_lot(text: &str) -> ExpectedLot {
    let mut parts = text.splitn(3, '@');
    let (quantity, unit_cost) = (figure(parts.next().unwrap()), figure(parts.next().unwrap()));
    ExpectedLot { quantity, unit_cost, acquired: parts.next().map(str::to_owned) }
}
