//! Exchange rates on their way into the store, from a table or a feed, and the books that they make stale.

use crate::domain::audit::Entry;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::hexadecimal::hex;
use crate::domain::moment::Moment;
use crate::domain::price::{FUTURE_MAX, Outcome};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::{currencies, figures, prices, rates};
use crate::workers::intake::{Counts, Refused};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Rates of one currency: when, and what one unit of the base is worth.
pub type PairRates = Vec<(Moment, Decimal)>;

/// What became of rates.
#[derive(Debug, Default)]
pub struct RatesTaken {
    /// How many had which outcome, refused ones included.
    pub counts: Counts,
    /// First and last moment recorded.
    pub span: Option<(Moment, Moment)>,
    /// What was refused: of which currency, and why.
    pub refused: Vec<(String, Refused)>,
}

/// Records rates of a base in known currencies, and marks the books that used what they change.
///
/// # Errors
/// The database's.
pub async fn record(
    tx: &mut Tx,
    source: &str,
    base: Currency,
    pairs: &[(Currency, PairRates)],
) -> Result<RatesTaken, StorageError> {
    let mut taken = RatesTaken::default();
    if pairs.iter().all(|(_, points)| points.is_empty()) {
        return Ok(taken);
    }
    let key = prices::source(tx, source).await?;
    let mut changed_from: Option<Moment> = None;
    // Of the rates that were recorded, a line each: quote, moment, rate.
    let mut hash = Sha256::new();
    for (quote, points) in pairs {
        let outcomes = rates::record_many(tx, key, (base, *quote), points).await?;
        for (outcome, (at, rate)) in outcomes.iter().zip(points) {
            taken.counts.add(*outcome);
            if *outcome != Outcome::Duplicate {
                hash.update(format!("{} {} {rate}\n", quote.code(), at.0));
                changed_from = Some(changed_from.map_or(*at, |from| from.min(*at)));
            }
            let (first, last) = taken.span.unwrap_or((*at, *at));
            taken.span = Some((first.min(*at), last.max(*at)));
        }
    }
    if let Some(from) = changed_from {
        figures::mark_stale(tx, from).await?;
        let Counts { stored, corrected, .. } = taken.counts;
        let counts = json!({ "base": base, "stored": stored, "corrected": corrected,
            "sha256": hex(&hash.finalize()) });
        tx.audit(Entry::created("rate.import", source, &counts).on("price_source", source));
    }
    Ok(taken)
}

/// The same by codes of currencies; what nobody knows, or lies too far ahead of `now`, is refused.
///
/// # Errors
/// The database's.
pub async fn record_known(
    tx: &mut Tx,
    source: &str,
    base: &str,
    pairs: BTreeMap<String, PairRates>,
    now: Moment,
) -> Result<RatesTaken, StorageError> {
    let (mut known, mut refused) = (Vec::new(), Vec::new());
    let mut refuse = |code: &str, field, rule, detail: String, times: usize| {
        refused.extend(
            (0..times)
                .map(|_| (code.to_owned(), Refused { line: 0, field, code: rule, detail: detail.clone() })),
        );
    };
    let base = currencies::find(tx, base).await?;
    for (code, points) in pairs {
        let quote = currencies::find(tx, &code).await?;
        let (Some(_), Some(quote)) = (base, quote) else {
            let detail = format!("`{code}` is not a known currency; add it with POST /currencies");
            refuse(&code, "currency", "unknown_currency", detail, points.len());
            continue;
        };
        let all = points.len();
        let near: PairRates = points.into_iter().filter(|(at, _)| *at <= now.plus(FUTURE_MAX)).collect();
        let detail = "lies more than 24 h ahead of the clock".to_owned();
        refuse(&code, "timestamp", "in_the_future", detail, all - near.len());
        known.push((quote, near));
    }
    let mut taken = match base {
        Some(base) => record(tx, source, base, &known).await?,
        None => RatesTaken::default(),
    };
    taken.counts.refused += u64::try_from(refused.len()).unwrap_or(u64::MAX);
    taken.refused = refused;
    Ok(taken)
}
