//! A statement over a span of time: where the change of its value came from, and its time-weighted return.

use super::{Refusal, Statement};
use crate::domain::decimal::Decimal;
use crate::domain::moment::{Moment, end_of_day};
use crate::domain::pnl::amounts::difference;
use crate::domain::pnl::attribution::{Attribution, Period, apply_without_cash};
use crate::domain::pnl::book::{Book, Context, LedgerError};
use crate::domain::pnl::report::{Valuation, report};
use crate::domain::statistics::Undefined;
use crate::domain::statistics::twr::{Chain, DayFlow};
use crate::domain::transaction::Transaction;
use chrono::NaiveDate;
use chrono_tz::Tz;
use std::collections::BTreeSet;

/// A value of the span could not be told.
const UNKNOWN: Undefined = Undefined("a price or rate is missing");

impl Statement {
    /// Where the change of the value from one moment to another came from. `cashless` says that trades move no cash.
    /// Entries the ledger refuses are passed over and told.
    pub fn attribute(&self, begin: Moment, end: Moment, cashless: bool) -> (Attribution, Vec<Refusal>) {
        let ctx = Context {
            base: self.base,
            conventions: &self.conventions,
            terms: &self.terms,
            rates: &self.rates,
        };
        let (before, after): (Vec<&Transaction>, Vec<&Transaction>) =
            self.transactions.iter().partition(|t| t.executed_at <= begin);
        let mut refused = Vec::new();
        let mut note = |t: &Transaction, outcome: Result<(), LedgerError>| {
            if let Err(error) = outcome {
                refused.push(Refusal { transaction: t.id, error });
            }
        };
        let mut book = Book::default();
        for t in before {
            let outcome = if cashless { apply_without_cash(&mut book, t, ctx) } else { book.apply(t, ctx) };
            note(t, outcome);
        }
        let priced = self.priced(begin);
        let with =
            Valuation { base: self.base, assets: &priced, rates: &self.rates, at: begin, age_at: begin };
        let mut period = Period::begin(&book, with);
        for t in after.into_iter().filter(|t| t.executed_at <= end) {
            note(t, period.apply(t, ctx, &BTreeSet::new(), cashless));
        }
        let priced = self.priced(end);
        let with = Valuation { base: self.base, assets: &priced, rates: &self.rates, at: end, age_at: end };
        (period.attribute(with), refused)
    }

    /// The chained growth at the end of each day from the day after `start` to `last`, days counted in `zone`. Without
    /// a `start`, from the day of the first entry on, which begins with nothing.
    pub fn time_weighted(
        &self,
        start: Option<NaiveDate>,
        last: NaiveDate,
        zone: Tz,
        cashless: bool,
    ) -> (Vec<(NaiveDate, Chain)>, Vec<Refusal>) {
        let ctx = Context {
            base: self.base,
            conventions: &self.conventions,
            terms: &self.terms,
            rates: &self.rates,
        };
        let first = self.transactions.first().and_then(|t| t.executed_at.day_in(zone));
        let Some(start) = start.or_else(|| first.and_then(|day| day.pred_opt())) else {
            return (Vec::new(), Vec::new());
        };
        let (mut book, mut refused, mut folded) = (Book::default(), Vec::new(), 0);
        let mut days = Vec::new();
        let mut chain = Chain::default();
        let mut before = None;
        for day in start.iter_days().take_while(|day| *day <= last) {
            let at = end_of_day(day, zone);
            let (mut inflow, mut outflow) = (Some(Decimal::ZERO), Some(Decimal::ZERO));
            while let Some(t) = self.transactions.get(folded).filter(|t| t.executed_at <= at) {
                folded += 1;
                let held = contributions(&book);
                let outcome =
                    if cashless { apply_without_cash(&mut book, t, ctx) } else { book.apply(t, ctx) };
                if let Err(error) = outcome {
                    refused.push(Refusal { transaction: t.id, error });
                }
                match difference(contributions(&book).as_ref(), held.as_ref()) {
                    Some(flow) if flow.is_negative() => outflow = outflow.map(|out| out - &flow),
                    Some(flow) => inflow = inflow.map(|into| into + &flow),
                    None => (inflow, outflow) = (None, None),
                }
            }
            let after = self.value(&book, at);
            if day > start {
                let growth = match (before, inflow, outflow, after.clone()) {
                    (Some(before), Some(inflow), Some(outflow), Some(after)) => {
                        DayFlow { before, inflow, outflow, after }.growth()
                    }
                    _ => Err(UNKNOWN),
                };
                chain.add_growth(growth);
                days.push((day, chain));
            }
            before = after;
        }
        (days, refused)
    }

    /// What a book is worth; `None` where a price or rate is missing.
    fn value(&self, book: &Book, at: Moment) -> Option<Decimal> {
        let priced = self.priced(at);
        let with = Valuation { base: self.base, assets: &priced, rates: &self.rates, at, age_at: at };
        let report = report(book, with);
        let unpriced = report.items.iter().any(|item| item.side.is_some() && item.price.is_none());
        report.sums.total_value().filter(|_| !unpriced)
    }
}

/// Net contributions of all accounts so far.
fn contributions(book: &Book) -> Option<Decimal> {
    let states = book.accounts.values();
    states.map(|state| state.contributions.clone()).try_fold(Decimal::ZERO, |sum, one| Some(sum + one?))
}
