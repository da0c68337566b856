//! The fold of a ledger beside the same fold in plain 64-bit fixed point, and in Python's `decimal`.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::{ROUNDS, Row, median, shown, timed, times};
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::fx::Rates;
use artifact::domain::ids::{AssetKey, TransactionId};
use artifact::domain::moment::Moment;
use artifact::domain::pnl::book::{Book, Context, fold};
use artifact::domain::portfolio::Conventions;
use artifact::domain::transaction::{Transaction, TransactionType};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A trade in hundredths of units and cents.
#[derive(Clone, Copy)]
struct Plain {
    buys: bool,
    quantity: i64,
    price: i64,
}

/// What a fold amounts to: realised profit, cash, units held, cost of what is held.
type Figures = [Decimal; 4];

/// The same alternation of buys and part sales at every run.
fn plain(trades: u32) -> Vec<Plain> {
    let mut state = 7_u64;
    let mut next = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % below).unwrap_or_default()
    };
    let mut held = 0;
    let mut plain = Vec::new();
    for _ in 0..trades {
        let (quantity, price) = (100 + next(900), 9_000 + next(2_000));
        let buys = held < 2_000 || next(2) == 0;
        held += if buys { quantity } else { -quantity };
        plain.push(Plain { buys, quantity, price });
    }
    plain
}

fn hundredths(count: i64) -> Decimal {
    Decimal::new(i128::from(count), 2)
}

fn ledger(trades: &[Plain]) -> Vec<Transaction> {
    let to_entry = |(at, trade): (i64, &Plain)| {
        let id = TransactionId(uuid::Uuid::from_u64_pair(0, at.unsigned_abs()));
        let kind = if trade.buys { TransactionType::Buy } else { TransactionType::Sell };
        let mut entry = Transaction::bare(id, kind, Moment(at));
        entry.place = at;
        entry.asset = Some(AssetKey(1));
        entry.quantity = Some(hundredths(trade.quantity));
        entry.price = Some(hundredths(trade.price));
        entry
    };
    (1..).zip(trades).map(to_entry).collect()
}

/// FIFO in fixed point: the limit.
fn fixed_point(trades: &[Plain]) -> [i128; 4] {
    let mut lots: VecDeque<(i64, i64)> = VecDeque::new();
    let (mut realized, mut cash, mut units) = (0_i128, 0_i128, 0_i64);
    for trade in trades {
        let money = i128::from(trade.quantity) * i128::from(trade.price);
        if trade.buys {
            lots.push_back((trade.quantity, trade.price));
            cash -= money;
            units += trade.quantity;
            continue;
        }
        cash += money;
        units -= trade.quantity;
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
    let cost = lots.iter().map(|(quantity, price)| i128::from(*quantity) * i128::from(*price)).sum();
    [realized, cash, i128::from(units), cost]
}

/// Python with the same trades in memory, which folds them once when asked.
struct Python {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
    file: std::path::PathBuf,
}

impl Python {
    /// `None` without Python.
    fn start(trades: &[Plain]) -> Option<Self> {
        let mut text = String::new();
        for trade in trades {
            let kind = if trade.buys { 'B' } else { 'S' };
            writeln!(text, "{kind} {} {}", hundredths(trade.quantity), hundredths(trade.price)).ok()?;
        }
        let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("trades-{}", trades.len()));
        std::fs::write(&file, text).expect("write the trades");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/fold.py");
        let mut child = Command::new("python3")
            .args([std::path::Path::new(program), &file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let asks = child.stdin.take()?;
        let answers = BufReader::new(child.stdout.take()?);
        Some(Self { child, asks, answers, file })
    }

    fn fold(&mut self) -> (Duration, Figures) {
        self.asks.write_all(b"once\n").expect("ask Python");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("Python's answer");
        let mut words = line.split_whitespace();
        let took = words.next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds");
        let mut figure = || words.next().and_then(|word| word.parse().ok()).expect("a figure");
        (Duration::from_nanos(took), [figure(), figure(), figure(), figure()])
    }

    fn stop(self) {
        let Self { mut child, asks, file, .. } = self;
        drop(asks);
        child.wait().expect("Python ends");
        std::fs::remove_file(file).unwrap_or_default();
    }
}

fn amounts_to(book: &Book, currency: Currency) -> Figures {
    let holding = book.holdings.values().next().expect("a holding");
    let cash = &book.accounts.get("main").expect("an account").cash;
    [
        holding.totals.realized.own.clone(),
        cash.get(&currency).expect("cash").balance.clone(),
        holding.quantity(),
        holding.cost_basis().own,
    ]
}

fn measure(trades: u32) {
    let plain = plain(trades);
    let ledger = ledger(&plain);
    let usd = Currency::from_code("USD").expect("dollars");
    let mut terms = TermsHistory::default();
    terms.add(AssetKey(1), Moment::MIN, Terms::plain(usd));
    let (conventions, rates) = (Conventions::default(), Rates::default());
    let context = Context { base: usd, conventions: &conventions, terms: &terms, rates: &rates };
    let exact = amounts_to(&fold(&ledger, context).expect("a valid ledger"), usd);
    let [realized, cash, units, cost] = fixed_point(&plain);
    let limit =
        [(realized, 4), (cash, 4), (units, 2), (cost, 4)].map(|(sum, scale)| Decimal::new(sum, scale));
    assert_eq!(exact, limit, "the exact fold and fixed point disagree");
    let mut python = Python::start(&plain);
    if let Some(python) = &mut python {
        assert_eq!(exact, python.fold().1, "the exact fold and Python disagree");
    }
    let (mut ours, mut limits, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limits.push(timed(|| fixed_point(&plain)));
        ours.push(timed(|| fold(&ledger, context)));
        peers.extend(python.as_mut().map(|python| python.fold().0));
    }
    let (ours, limit) = (median(ours), median(limits));
    let work = format!("fold of {trades} trades, FIFO, exact");
    Row {
        work: &work,
        figure: shown(ours),
        beside: format!("64-bit fixed point {}", shown(limit)),
        ratio: times(ours, limit),
        goal: "at most 4",
    }
    .print();
    let (beside, ratio) = if python.is_some() {
        let peer = median(peers);
        (format!("Python decimal {}", shown(peer)), times(peer, ours))
    } else {
        ("no python3 here".to_owned(), "-".to_owned())
    };
    Row { work: &work, figure: shown(ours), beside, ratio, goal: "at least 25" }.print();
    if let Some(python) = python {
        python.stop();
    }
}

/// Checks that all three agree, then measures them in turn.
pub(crate) fn run() {
    measure(100_000);
    measure(1_000_000);
}
