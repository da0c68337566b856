//! Check sums of figures: what every portfolio comes to, written down number by number and hashed.
//!
//! The ledger is folded anew, as known at one commit, so a check sum holds for entries, prices, rates, terms and
//! conventions at once, and is the same in every copy that has that commit.

use super::manifest::PnlSums;
use crate::domain::decimal::Decimal;
use crate::domain::hexadecimal::hex;
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::Amounts;
use crate::domain::pnl::report::{Item, Report, Sums, Worth};
use crate::domain::portfolio::Portfolio;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::page::{After, Page};
use crate::storage::portfolios::{self, PortfolioFilter, PortfolioSort};
use crate::workers::bookkeeping::BookError;
use crate::workers::pnl_engine::{self, Ask};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What is summed up, and how it is written. It changes when either does; sums of different methods are not compared.
pub const METHOD: &str = "pnl/1";
/// Portfolios read at a time.
const PART: i64 = 500;

/// The check sums of every portfolio, as known at the commit stamped `known_at`.
///
/// # Errors
/// The database's.
pub async fn check_sums(tx: &mut Tx, known_at: Moment) -> Result<PnlSums, StorageError> {
    let mut sums = BTreeMap::new();
    let mut page = Page::first(PortfolioSort::CreatedAt, PART);
    loop {
        let portfolios = portfolios::list(tx, &PortfolioFilter::default(), &page).await?;
        let Some(last) = portfolios.last() else { break };
        page.after = Some(After { value: last.seq.to_string(), key: last.seq });
        for portfolio in &portfolios {
            let text = written(tx, portfolio, known_at).await?;
            sums.insert(portfolio.id.to_string(), hex(&Sha256::digest(text.as_bytes())));
        }
    }
    Ok(PnlSums { method: METHOD.to_owned(), portfolios: sums })
}

/// The figures of a portfolio as text.
async fn written(tx: &mut Tx, portfolio: &Portfolio, known_at: Moment) -> Result<String, StorageError> {
    let ask = Ask { known_at: Some(known_at), ..Ask::default() };
    let mut text = format!("{METHOD}\nbase {}\n", portfolio.base_currency);
    match pnl_engine::figures(tx, portfolio, &ask, known_at).await {
        Ok(figures) => write_report(&mut text, &figures.report),
        Err(BookError::Storage(error)) => return Err(error),
        // Nothing recorded is refused under its own conventions; if it were, it would be in every copy.
        Err(error) => line(&mut text, "refused", &[error.to_string()]),
    }
    Ok(text)
}

fn line(text: &mut String, name: &str, values: &[String]) {
    // Writing to a string cannot fail.
    writeln!(text, "{name} {}", values.join(" ")).unwrap_or_default();
}

/// A number without the zeros it may have been written with; `?` when it is not known.
fn number(value: Option<&Decimal>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.normalized().to_string())
}

fn both(amounts: &Amounts) -> String {
    format!("{}/{}", number(Some(&amounts.own)), number(amounts.base.as_ref()))
}

fn write_report(text: &mut String, report: &Report) {
    write_sums(text, "total", &report.sums);
    for (account, sums) in &report.accounts {
        write_sums(text, &format!("account {account:?}"), sums);
    }
    for (currency, amount) in &report.cash {
        line(text, "cash", &[currency.to_string(), number(Some(amount))]);
    }
    for item in &report.items {
        write_item(text, item);
    }
    for missing in &report.missing {
        line(text, "missing", &[missing.from.to_string(), missing.to.to_string(), missing.at.0.to_string()]);
    }
}

fn write_sums(text: &mut String, name: &str, sums: &Sums) {
    let values = [
        &sums.cash,
        &sums.reserved,
        &sums.long_market_value,
        &sums.short_market_value,
        &sums.net_exposure,
        &sums.gross_exposure,
        &sums.total_cost_basis,
        &sums.cost_basis,
        &sums.realized_pnl,
        &sums.realized_pnl_gross,
        &sums.realized_fx_pnl,
        &sums.unrealized_pnl,
        &sums.unrealized_fx_pnl,
        &sums.unrealized_pnl_gross,
        &sums.income,
        &sums.dividends,
        &sums.fees,
        &sums.taxes,
        &sums.costs_apart,
        &sums.cash_fx_pnl,
        &sums.net_contributions,
        &sums.internal_transfers,
    ];
    line(text, name, &values.map(|value| number(value.as_ref())));
}

fn worth(worth: &Worth) -> Vec<String> {
    vec![
        number(Some(&worth.quantity)),
        both(&worth.opening_gross),
        both(&worth.cost_basis),
        both(&worth.market_value),
        both(&worth.notional),
        both(&worth.unrealized_gross),
        both(&worth.unrealized),
        number(worth.unrealized_fx.as_ref()),
    ]
}

fn write_item(text: &mut String, item: &Item) {
    let side = item.side.map_or("flat", |side| side.name());
    let place =
        format!("{:?} {} {} {side} {}", item.account, item.asset.0, item.currency, item.cycles_closed);
    line(text, &format!("item {place}"), &worth(&item.worth));
    let totals = &item.totals;
    let sums = [
        &totals.realized_gross,
        &totals.realized,
        &totals.realized_fx,
        &totals.income,
        &totals.fees,
        &totals.taxes,
        &totals.costs_apart,
    ];
    line(text, "sums", &sums.map(both));
    if let Some(price) = &item.price {
        let recorded_at = price.recorded_at.map(|at| at.0.to_string()).unwrap_or_default();
        let said = [&price.source, &price.interval].map(|text| text.clone().unwrap_or_default());
        let [source, interval] = said;
        let observed_at = price.observed_at.0.to_string();
        let (basis, price) = (price.basis.to_owned(), number(Some(&price.price)));
        line(text, "price", &[price, basis, observed_at, recorded_at, source, interval]);
    }
    for (number, (_, lot)) in item.lots.iter().enumerate() {
        line(text, &format!("lot {number}"), &worth(lot));
    }
}
