//! The fold of a ledger beside the same fold in plain 64-bit fixed point.

use crate::{ROUNDS, median, row};
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::fx::Rates;
use artifact::domain::ids::{AssetKey, TransactionId};
use artifact::domain::moment::Moment;
use artifact::domain::pnl::book::{Context, fold};
use artifact::domain::portfolio::Conventions;
use artifact::domain::transaction::{Transaction, TransactionType};
use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Trades of the ledger.
const TRADES: u32 = 100_000;

/// A trade in hundredths of units and cents.
#[derive(Clone, Copy)]
struct Plain {
    buys: bool,
    quantity: i64,
    price: i64,
}

/// The same alternation of buys and part sales at every run.
fn plain() -> Vec<Plain> {
    let mut state = 7_u64;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % below).unwrap_or_default()
    };
    let mut held = 0;
    let mut trades = Vec::new();
    for _ in 0..TRADES {
        let (quantity, price) = (100 + next(900), 9_000 + next(2_000));
        let buys = held < 2_000 || next(2) == 0;
        held += if buys { quantity } else { -quantity };
        trades.push(Plain { buys, quantity, price });
    }
    trades
}

fn ledger(trades: &[Plain]) -> Vec<Transaction> {
    let exact = |hundredths: i64| Decimal::new(i128::from(hundredths), 2);
    let to_entry = |(at, trade): (i64, &Plain)| {
        let id = TransactionId(uuid::Uuid::from_u64_pair(0, at.unsigned_abs()));
        let kind = if trade.buys { TransactionType::Buy } else { TransactionType::Sell };
        let mut entry = Transaction::bare(id, kind, Moment(at));
        entry.place = at;
        entry.asset = Some(AssetKey(1));
        entry.quantity = Some(exact(trade.quantity));
        entry.price = Some(exact(trade.price));
        entry
    };
    (1..).zip(trades).map(to_entry).collect()
}

/// FIFO in fixed point: the limit.
fn fixed_point(trades: &[Plain]) -> i128 {
    let mut lots: VecDeque<(i64, i64)> = VecDeque::new();
    let mut realized = 0_i128;
    for trade in trades {
        if trade.buys {
            lots.push_back((trade.quantity, trade.price));
            continue;
        }
        let mut left = trade.quantity;
        while left > 0 {
            let Some((held, price)) = lots.front_mut() else { break };
            let taken = left.min(*held);
            realized += i128::from(taken) * i128::from(trade.price - *price);
            *held -= taken;
            left -= taken;
            if *held == 0 {
                lots.pop_front();
            }
        }
    }
    realized
}

fn timed<T>(work: impl Fn() -> T) -> Duration {
    let started = Instant::now();
    black_box(work());
    started.elapsed()
}

/// Measures both in turn and checks that they agree.
pub(crate) fn run() {
    let trades = plain();
    let ledger = ledger(&trades);
    let Some(usd) = Currency::from_code("USD") else { return };
    let mut terms = TermsHistory::default();
    terms.add(AssetKey(1), Moment::MIN, Terms::plain(usd));
    let (conventions, rates) = (Conventions::default(), Rates::default());
    let context = Context { base: usd, conventions: &conventions, terms: &terms, rates: &rates };
    let book = fold(&ledger, context).ok();
    let exact =
        book.and_then(|book| book.holdings.into_values().next()).map(|holding| holding.totals.realized.own);
    assert_eq!(exact, Some(Decimal::new(fixed_point(&trades), 4)), "the exact fold and fixed point disagree");
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(timed(|| fixed_point(&trades)));
        ours.push(timed(|| fold(&ledger, context)));
    }
    let (ours, limit) = (median(ours), median(limit));
    let ratio = ours.as_nanos() / limit.as_nanos().max(1);
    row(
        "FIFO fold of 100,000 trades, exact / 64-bit fixed point",
        &format!("{ours:?}"),
        &format!("{limit:?}"),
        &format!("{ratio}x"),
    );
}
