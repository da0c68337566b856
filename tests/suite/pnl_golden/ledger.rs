//! A scenario, ready to be folded and valued, and the comparison of its figures with what is expected.

use super::figures::{self, Figure};
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::fx::Rates;
use artifact::domain::ids::{AssetKey, TransactionId};
use artifact::domain::moment::{Moment, Written, end_of_day, parse_written, start_of_day};
use artifact::domain::pnl::book::{Book, Context, LedgerError};
use artifact::domain::pnl::report::{Priced, Report, Valuation, report};
use artifact::domain::portfolio::{Conventions, CostBasis, LotScope};
use artifact::domain::price::Mark;
use artifact::domain::transaction::Transaction;
use chrono_tz::Tz;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A ledger with everything its figures depend on, and the figures expected of it.
pub(super) struct Scenario {
    pub(super) base: Currency,
    pub(super) conventions: Conventions,
    /// Lot scope under average cost, where it is another one.
    pub(super) average_scope: Option<LotScope>,
    /// Whether a price that is only known later may serve.
    pub(super) first_known: bool,
    pub(super) zone: Tz,
    pub(super) assets: Assets,
    pub(super) transactions: Vec<Transaction>,
    pub(super) marks: Vec<(AssetKey, Mark)>,
    pub(super) rates: Rates,
    pub(super) checks: Vec<Check>,
    pub(super) tolerance: BTreeMap<String, Decimal>,
}

/// Assets by name, each with the terms it has throughout.
#[derive(Default)]
pub(super) struct Assets {
    keys: BTreeMap<String, AssetKey>,
    terms: BTreeMap<AssetKey, Terms>,
}

impl Assets {
    /// The key of a name; an asset not yet seen gets plain terms in `currency`.
    pub(super) fn key(&mut self, name: &str, currency: Currency) -> AssetKey {
        let next = AssetKey(i64::try_from(self.keys.len()).unwrap() + 1);
        let key = *self.keys.entry(name.to_owned()).or_insert(next);
        self.terms.entry(key).or_insert_with(|| Terms::plain(currency));
        key
    }

    pub(super) fn describe(&mut self, name: &str, terms: Terms) {
        let key = self.key(name, terms.settlement);
        self.terms.insert(key, terms);
    }

    pub(super) fn known(&self, name: &str) -> AssetKey {
        *self.keys.get(name).unwrap_or_else(|| panic!("nothing is said about asset {name}"))
    }

    pub(super) fn terms(&self, key: AssetKey) -> &Terms {
        &self.terms[&key]
    }

    fn history(&self) -> TermsHistory {
        let mut history = TermsHistory::default();
        for (key, terms) in &self.terms {
            history.add(*key, Moment::MIN, terms.clone());
        }
        history
    }
}

/// Figures expected at one moment.
pub(super) struct Check {
    pub(super) as_of: String,
    pub(super) zone: Option<Tz>,
    /// Index, in processing order, of the last entry that counts.
    pub(super) after: Option<usize>,
    pub(super) asset: Option<AssetKey>,
    pub(super) account: Option<String>,
    pub(super) cost_basis: Option<CostBasis>,
    pub(super) values: Vec<(String, Expected)>,
}

/// One expected figure.
#[derive(Debug, Clone)]
pub(super) enum Expected {
    Number(Decimal),
    /// The figure is unknown.
    Nothing,
    Text(String),
    Lots(Vec<ExpectedLot>),
}

#[derive(Debug, Clone)]
pub(super) struct ExpectedLot {
    pub(super) quantity: Decimal,
    pub(super) unit_cost: Decimal,
    /// The day, or the beginning of the moment, it was acquired at.
    pub(super) acquired: Option<String>,
}

/// A ledger folded and valued at one moment.
pub(super) struct Seen<'a> {
    assets: &'a Assets,
    pub(super) check: &'a Check,
    pub(super) book: Book,
    pub(super) report: Report,
    pub(super) refused: Option<LedgerError>,
    pub(super) transactions: Vec<&'a Transaction>,
    pub(super) conventions: Conventions,
    pub(super) rates: &'a Rates,
    pub(super) base: Currency,
    pub(super) at: Moment,
}

impl Seen<'_> {
    pub(super) fn terms(&self, asset: AssetKey) -> &Terms {
        self.assets.terms(asset)
    }
}

/// The start of a day, or the moment itself; and whether it was a day.
pub(super) fn moment(text: &str, zone: Tz) -> (Moment, bool) {
    match parse_written(text).unwrap_or_else(|error| panic!("{text}: {error}")) {
        Written::Moment(moment) => (moment, false),
        Written::Day(day) => (start_of_day(day, zone), true),
    }
}

/// A day of `as_of` counts to its end.
fn last_moment(text: &str, zone: Tz) -> Moment {
    match parse_written(text).unwrap_or_else(|error| panic!("{text}: {error}")) {
        Written::Moment(moment) => moment,
        Written::Day(day) => end_of_day(day, zone),
    }
}

pub(super) fn number(text: &str) -> Decimal {
    Decimal::parse_input(text).unwrap_or_else(|error| panic!("{text} {error}"))
}

pub(super) fn currency(code: &str) -> Currency {
    let found = Currency::from_code(code).filter(Currency::is_built_in);
    found.unwrap_or_else(|| panic!("{code} is no currency"))
}

/// The id of the entry at this place.
pub(super) fn id_of(place: usize) -> TransactionId {
    TransactionId(Uuid::from_u128(u128::try_from(place).unwrap() + 1))
}

impl Scenario {
    /// Puts the entries in the order they are processed in: by moment, then as written.
    pub(super) fn sort(&mut self) {
        self.transactions.sort_by_key(|t| (t.executed_at, t.place));
    }

    fn mark(&self, asset: AssetKey, at: Moment) -> Option<Mark> {
        let mut marks: Vec<&Mark> =
            self.marks.iter().filter(|(key, _)| *key == asset).map(|(_, m)| m).collect();
        marks.sort_by_key(|mark| mark.observed_at);
        let newest = marks.iter().rev().find(|mark| mark.observed_at <= at);
        newest.or_else(|| marks.first().filter(|_| self.first_known)).map(|mark| (*mark).clone())
    }

    fn look<'a>(&'a self, check: &'a Check) -> Seen<'a> {
        let mut conventions = self.conventions.clone();
        if let Some(method) = check.cost_basis {
            conventions.cost_basis = method;
        }
        if let Some(scope) = self.average_scope.filter(|_| conventions.cost_basis == CostBasis::Average) {
            conventions.lot_scope = scope;
        }
        let at = last_moment(&check.as_of, check.zone.unwrap_or(self.zone));
        let end = check.after.map_or(self.transactions.len(), |last| last + 1);
        let terms = self.assets.history();
        let ctx = Context { base: self.base, conventions: &conventions, terms: &terms, rates: &self.rates };
        let mut book = Book::default();
        let (mut refused, mut transactions) = (None, Vec::new());
        for transaction in self.transactions[..end].iter().filter(|t| t.executed_at <= at) {
            let before = book.clone();
            match book.apply(transaction, ctx) {
                Ok(()) => transactions.push(transaction),
                Err(error) => {
                    book = before;
                    refused = Some(error);
                }
            }
        }
        let priced: BTreeMap<AssetKey, Priced> = self
            .assets
            .terms
            .iter()
            .map(|(key, terms)| {
                (*key, Priced { terms: terms.clone(), zone: self.zone, mark: self.mark(*key, at) })
            })
            .collect();
        let with = Valuation { base: self.base, assets: &priced, rates: &self.rates, at, age_at: at };
        let report = report(&book, with);
        let (rates, base) = (&self.rates, self.base);
        let assets = &self.assets;
        Seen { assets, check, book, report, refused, transactions, conventions, rates, base, at }
    }

    /// Every expected figure that is not what comes out. `skip` tells which names are not looked at, and why.
    pub(super) fn complaints(&self, skip: &dyn Fn(&str) -> Option<&'static str>) -> Vec<String> {
        let mut found = Vec::new();
        for check in &self.checks {
            let seen = self.look(check);
            for (name, expected) in check.values.iter().filter(|(name, _)| skip(name).is_none()) {
                let got = figures::figure(name, &seen);
                if !self.same(name, expected, &got) {
                    found.push(format!("{} {name}: {expected:?} is expected, got {got:?}", check.as_of));
                }
            }
        }
        found
    }

    fn close(&self, name: &str, wanted: &Decimal, got: &Decimal) -> bool {
        let tolerance = self.tolerance.get(name).or_else(|| self.tolerance.get("abs"));
        (wanted - got).abs() <= tolerance.cloned().unwrap_or_default()
    }

    fn same(&self, name: &str, expected: &Expected, got: &Figure) -> bool {
        match (expected, got) {
            (Expected::Number(wanted), Figure::Number(Some(got))) => self.close(name, wanted, got),
            (Expected::Nothing, Figure::Number(None)) => true,
            (Expected::Text(wanted), Figure::Text(got)) => wanted == got,
            (Expected::Lots(wanted), Figure::Lots(got)) => {
                wanted.len() == got.len()
                    && wanted.iter().zip(got).all(|(wanted, (quantity, unit_cost, at))| {
                        self.close("quantity", &wanted.quantity, quantity)
                            && self.close("unit_cost", &wanted.unit_cost, unit_cost)
                            && wanted
                                .acquired
                                .as_ref()
                                .is_none_or(|day| at.to_string().starts_with(day.as_str()))
                    })
            }
            _ => false,
        }
    }
}
