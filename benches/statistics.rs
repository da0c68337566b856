//! Statistics beside the plainest loops that give the same number. Computed in binary floating point.

#![expect(clippy::float_arithmetic, reason = "the loops they are held against compute in floats")]
#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::{ROUNDS, Row, median, shown, timed, times};
use artifact::domain::decimal::Decimal;
use artifact::domain::statistics::day_count::DayCount;
use artifact::domain::statistics::float;
use artifact::domain::statistics::irr::{Flow, xirr};
use artifact::domain::statistics::returns::Returns;
use chrono::{Days, NaiveDate};

/// Work of one measurement, so that it lasts.
const TURNS: usize = 20;

fn flows() -> Vec<Flow> {
    let first = NaiveDate::from_ymd_opt(2015, 1, 1).expect("a day");
    let mut flows: Vec<Flow> = (0..999_i64)
        .map(|n| Flow {
            day: first.checked_add_days(Days::new(n.unsigned_abs() * 3)).expect("a day"),
            amount: Decimal::new(-i128::from(100_000 + n * 7_919 % 50_000), 2),
        })
        .collect();
    let last = first.checked_add_days(Days::new(3_000)).expect("a day");
    flows.push(Flow { day: last, amount: Decimal::new(190_000_000, 2) });
    flows
}

/// Newton's method on the present value.
fn newton(flows: &[(f64, f64)]) -> f64 {
    let mut rate = 0.1_f64;
    for _ in 0..50 {
        let growth = (1.0 + rate).ln();
        let (mut value, mut slope) = (0.0, 0.0);
        for (years, amount) in flows {
            let present = amount * (-years * growth).exp();
            value += present;
            slope -= years * present / (1.0 + rate);
        }
        let step = value / slope;
        rate -= step;
        if step.abs() < 1e-14 {
            break;
        }
    }
    rate
}

fn close(figure: &Decimal, beside: f64) {
    assert!((float(figure) - beside).abs() < 1e-9, "{figure} and {beside} disagree");
}

fn internal_rate() {
    let flows = flows();
    let first = flows.iter().map(|flow| flow.day).min().expect("a flow");
    let years = |flow: &Flow| {
        let days = i32::try_from(flow.day.signed_duration_since(first).num_days()).expect("a few days");
        (f64::from(days) / 365.0, float(&flow.amount))
    };
    let plain: Vec<(f64, f64)> = flows.iter().map(years).collect();
    close(&xirr(&flows, DayCount::Actual365).rate.expect("a rate"), newton(&plain));
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(timed(|| (0..TURNS).map(|_| newton(&plain)).sum::<f64>()) / 20);
        ours.push(
            timed(|| (0..TURNS).map(|_| xirr(&flows, DayCount::Actual365).roots.len()).sum::<usize>()) / 20,
        );
    }
    let (ours, limit) = (median(ours), median(limit));
    Row {
        work: "XIRR of 1,000 flows, every root searched",
        figure: shown(ours),
        beside: format!("Newton from 10 % in f64 {}", shown(limit)),
        ratio: times(ours, limit),
        goal: "",
    }
    .print();
}

fn plain_loop(returns: &[f64]) -> (f64, f64) {
    let count = f64::from(u32::try_from(returns.len()).expect("few returns"));
    let mean = returns.iter().sum::<f64>() / count;
    let spread = returns.iter().map(|r| (r - mean) * (r - mean)).sum::<f64>() / (count - 1.0);
    let (mut wealth, mut peak, mut deepest) = (1.0_f64, 1.0_f64, 0.0_f64);
    for r in returns {
        wealth *= 1.0 + r;
        peak = peak.max(wealth);
        deepest = deepest.max(1.0 - wealth / peak);
    }
    (mean / spread.sqrt() * 252.0_f64.sqrt(), deepest)
}

fn ratios() {
    let rolled = |n: i128| Decimal::new((n * 7_919 % 401) - 199, 4);
    let exact: Vec<Decimal> = (0..10_000).map(rolled).collect();
    let plain: Vec<f64> = exact.iter().map(float).collect();
    let year = Decimal::from(252);
    let figures = |returns: &[Decimal]| {
        let returns = Returns::of(returns);
        let fall = returns.max_drawdown().expect("a drawdown").fraction;
        (returns.sharpe(&year).expect("a ratio"), fall)
    };
    let (sharpe, fall) = figures(&exact);
    let beside = plain_loop(&plain);
    close(&sharpe, beside.0);
    close(&fall, beside.1);
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(timed(|| (0..TURNS).map(|_| plain_loop(&plain).0).sum::<f64>()) / 20);
        let turns = || (0..TURNS).filter(|_| figures(&exact).1.is_positive()).count();
        ours.push(timed(turns) / 20);
    }
    let (ours, limit) = (median(ours), median(limit));
    Row {
        work: "Sharpe and drawdown of 10,000 returns",
        figure: shown(ours),
        beside: format!("a loop in f64 {}", shown(limit)),
        ratio: times(ours, limit),
        goal: "",
    }
    .print();
}

/// Checks that both agree, then measures them in turn.
pub(crate) fn run() {
    internal_rate();
    ratios();
}
