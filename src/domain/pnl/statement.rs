//! A ledger with everything its figures depend on, evaluated without a database: the same fold and the same
//! valuation as for stored portfolios.
//!
//! The document it is read from is told in `docs/PNL.md`, "Check a statement".

pub mod periods;
pub mod values;

use crate::domain::asset::TermsHistory;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::Rates;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{Book, Context, HoldingKey, LedgerError};
use crate::domain::pnl::report::{Priced, Report, Valuation, report};
use crate::domain::portfolio::{Conventions, CostBasis, LotScope};
use crate::domain::price::Mark;
use crate::domain::transaction::Transaction;
use chrono_tz::Tz;
use std::collections::{BTreeMap, BTreeSet};
use values::Value;

/// An asset of a statement.
#[derive(Debug, Clone)]
pub struct StatedAsset {
    /// Its name in the document.
    pub name: String,
    /// Zone in which its days are counted.
    pub zone: Tz,
    /// Its prices in order of time.
    pub marks: Vec<Mark>,
}

/// A ledger with everything its figures depend on, and what is asked of it.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Currency of the totals.
    pub base: Currency,
    /// Conventions it is folded under.
    pub conventions: Conventions,
    /// Lot scope under average cost, where that is another one.
    pub average_scope: Option<LotScope>,
    /// Whether an asset without an earlier price is valued at the first one known later.
    pub first_known: bool,
    /// Its assets.
    pub assets: BTreeMap<AssetKey, StatedAsset>,
    /// Their terms through time.
    pub terms: TermsHistory,
    /// Assets whose rows are flagged, not refused, where they break a rule.
    pub tolerated: BTreeSet<AssetKey>,
    /// Its entries in the order of [`Transaction::order`].
    pub transactions: Vec<Transaction>,
    /// Dividends that name no asset: income of the account, which the fold takes for interest.
    pub plain_dividends: BTreeSet<TransactionId>,
    /// Exchange rates.
    pub rates: Rates,
    /// What is asked, moment by moment.
    pub checkpoints: Vec<Checkpoint>,
}

/// Figures asked for at one moment.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Facts about moments up to this one.
    pub at: Moment,
    /// Zone its days are counted in.
    pub zone: Tz,
    /// The asset asked about; all of them when `None`.
    pub asset: Option<AssetKey>,
    /// The account asked about; all of them when `None`.
    pub account: Option<String>,
    /// Cost basis in place of the statement's.
    pub cost_basis: Option<CostBasis>,
    /// How many entries, in order, count at most.
    pub entries: usize,
    /// Start of a window: profits, costs and income are what came after this moment.
    pub from: Option<Moment>,
    /// Names of the values asked for.
    pub want: Vec<String>,
}

/// An entry the ledger refused; it was passed over.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The entry.
    pub transaction: TransactionId,
    /// The rule.
    pub error: LedgerError,
}

/// The figures of one checkpoint.
#[derive(Debug, Clone)]
pub struct Answer {
    /// By name, in the order asked for.
    pub values: Vec<(String, Value)>,
    /// Assets that have a position and no price.
    pub unpriced: BTreeSet<AssetKey>,
    /// Rates that some figure needed and did not have.
    pub unrated: BTreeSet<crate::domain::pnl::book::MissingRate>,
    /// Entries refused up to here.
    pub refused: Vec<Refusal>,
    /// The conventions it was computed under.
    pub conventions: Conventions,
}

/// Open cost of a holding after an entry.
#[derive(Debug, Clone)]
struct CostStep {
    at: Moment,
    holding: HoldingKey,
    cost: Decimal,
    open: bool,
}

/// A ledger folded and valued at one checkpoint.
pub struct Seen<'a> {
    statement: &'a Statement,
    checkpoint: &'a Checkpoint,
    conventions: &'a Conventions,
    at: Moment,
    book: &'a Book,
    report: Report,
    steps: &'a [CostStep],
    refused: &'a [Refusal],
}

impl Statement {
    fn conventions_of(&self, checkpoint: &Checkpoint) -> Conventions {
        let mut conventions = self.conventions.clone();
        if let Some(method) = checkpoint.cost_basis {
            conventions.cost_basis = method;
        }
        if let Some(scope) = self.average_scope.filter(|_| conventions.cost_basis == CostBasis::Average) {
            conventions.lot_scope = scope;
        }
        conventions
    }

    /// Entries that count at `at` for a checkpoint.
    fn entries(&self, checkpoint: &Checkpoint, at: Moment) -> usize {
        self.transactions.partition_point(|t| t.executed_at <= at).min(checkpoint.entries)
    }

    fn priced(&self, at: Moment) -> BTreeMap<AssetKey, Priced> {
        let mark = |asset: &StatedAsset| {
            let index = asset.marks.partition_point(|mark| mark.observed_at <= at);
            let index = index.checked_sub(1).or(self.first_known.then_some(0))?;
            asset.marks.get(index).cloned()
        };
        let priced = |(key, asset): (&AssetKey, &StatedAsset)| {
            let terms = self.terms.at(*key, at)?.clone();
            Some((*key, Priced { terms, zone: asset.zone, mark: mark(asset) }))
        };
        self.assets.iter().filter_map(priced).collect()
    }

    /// Answers every checkpoint, in their order. Checkpoints under one convention share one fold.
    pub fn evaluate(&self) -> Vec<Answer> {
        let mut groups: Vec<(Conventions, Vec<usize>)> = Vec::new();
        for (index, checkpoint) in self.checkpoints.iter().enumerate() {
            let conventions = self.conventions_of(checkpoint);
            match groups.iter_mut().find(|(known, _)| *known == conventions) {
                Some((_, indices)) => indices.push(index),
                None => groups.push((conventions, vec![index])),
            }
        }
        let mut answers: BTreeMap<usize, Answer> = BTreeMap::new();
        for (conventions, indices) in &groups {
            self.evaluate_group(conventions, indices, &mut answers);
        }
        answers.into_values().collect()
    }

    /// Folds the ledger once, stopping where a checkpoint, or the start of its window, looks at it.
    fn evaluate_group(
        &self,
        conventions: &Conventions,
        indices: &[usize],
        answers: &mut BTreeMap<usize, Answer>,
    ) {
        let mut stops: Vec<(usize, bool, usize, Moment)> = Vec::new();
        for index in indices {
            let Some(checkpoint) = self.checkpoints.get(*index) else { continue };
            if let Some(from) = checkpoint.from {
                stops.push((self.entries(checkpoint, from), true, *index, from));
            }
            stops.push((self.entries(checkpoint, checkpoint.at), false, *index, checkpoint.at));
        }
        // The start of a window before everything that ends at the same entry.
        stops.sort_by_key(|(entries, start, index, _)| (*entries, !start, *index));
        let ctx = Context { base: self.base, conventions, terms: &self.terms, rates: &self.rates };
        let mut book = Book::traced();
        let (mut costs, mut refused) = (Vec::new(), Vec::new());
        let mut starts: BTreeMap<usize, Vec<(String, Value)>> = BTreeMap::new();
        let mut folded = 0;
        for (entries, start, index, at) in stops {
            for transaction in self.transactions.get(folded..entries).into_iter().flatten() {
                match book.admit(transaction, ctx, &self.tolerated) {
                    Ok(()) => note_costs(transaction, &book, &mut costs),
                    Err(error) => refused.push(Refusal { transaction: transaction.id, error }),
                }
            }
            folded = folded.max(entries);
            let Some(checkpoint) = self.checkpoints.get(index) else { continue };
            let priced = self.priced(at);
            let with = Valuation { base: self.base, assets: &priced, rates: &self.rates, at, age_at: at };
            let seen = Seen {
                statement: self,
                checkpoint,
                conventions,
                at,
                report: report(&book, with),
                book: &book,
                steps: &costs,
                refused: &refused,
            };
            if start {
                starts.insert(index, seen.values());
            } else {
                let answer = seen.answer(starts.remove(&index));
                answers.insert(index, answer);
            }
        }
    }
}

/// Notes the open cost of every holding of the entry's asset.
fn note_costs(transaction: &Transaction, book: &Book, steps: &mut Vec<CostStep>) {
    let Some(asset) = transaction.asset else { return };
    for (key, holding) in book.holdings.iter().filter(|(key, _)| key.asset == asset) {
        steps.push(CostStep {
            at: transaction.executed_at,
            holding: key.clone(),
            cost: holding.cost_basis().own.abs(),
            open: holding.cycle.is_some(),
        });
    }
}
