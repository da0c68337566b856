//! What a price series is adjusted for: the splits and dividends of its asset, each dividend against the last close
//! before it.

use crate::domain::adjustment::{Adjusted, DividendEvent, Events, ExDividend, Observed, dividend_factor};
use crate::domain::asset::Asset;
use crate::domain::corporate_action::{ActionType, CorporateAction};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::ActionId;
use crate::domain::moment::{HOUR, Moment};
use crate::domain::pnl::book::SplitEvent;
use crate::domain::price::PricePoint;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::prices::{self, PriceRange};
use crate::storage::{actions, assets, rates};

/// Candles looked through for the last one before a day: more than stand within two days.
const CANDLES: i64 = 1_000;
/// Points of one moment among which the order of sources decides.
const TIES: i64 = 100;

/// Why a series cannot be adjusted.
#[derive(Debug, thiserror::Error)]
pub enum AdjustError {
    /// A dividend in another currency than the prices, and no rate between them.
    #[error("action {action} needs a rate from {from} to {to} at or before {at}")]
    MissingRate {
        /// The dividend.
        action: ActionId,
        /// Its currency.
        from: Currency,
        /// That of the prices.
        to: Currency,
        /// When it is needed.
        at: Moment,
    },
    /// A dividend as large as the close before it.
    #[error("the dividend of action {action} is not less than the close before it, {close}")]
    NothingLeft {
        /// The dividend.
        action: ActionId,
        /// The close.
        close: Decimal,
    },
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What the points of a range are adjusted for, as known at its `known_at`. `first` is the earliest of them: what came
/// before it changes none. The closes before dividends are of the range's own source and interval.
///
/// # Errors
/// [`AdjustError`] names the dividend that cannot be taken out.
pub async fn events(
    tx: &mut Tx,
    asset: &Asset,
    range: &PriceRange,
    first: &PricePoint,
    what: Adjusted,
) -> Result<Events, AdjustError> {
    let mut events = Events::default();
    if what == Adjusted::None {
        return Ok(events);
    }
    let known = actions::known(tx, &[asset.key], range.known_at).await?;
    let in_force: Vec<CorporateAction> =
        known.into_iter().filter(|row| row.in_force(range.known_at)).map(|row| row.action).collect();
    for action in in_force.iter().filter(|action| action.kind == ActionType::Split) {
        if let (Some(numerator), Some(denominator)) = (action.ratio_num.clone(), action.ratio_den.clone()) {
            let (at, whole_day) = (action.executed_at, action.whole_day);
            events.splits.push(SplitEvent { at, whole_day, numerator, denominator });
        }
    }
    if what == Adjusted::All {
        let seen = Observed { at: first.observed_at, interval: &first.interval };
        let touches = |action: &&CorporateAction| {
            action.kind == ActionType::Dividend
                && seen.precedes(action.executed_at, action.whole_day, asset.market_zone)
        };
        for action in in_force.iter().filter(touches) {
            if let Some(event) = dividend(tx, asset, range, action, &events.splits).await? {
                events.dividends.push(event);
            }
        }
    }
    Ok(events)
}

/// A dividend with its factor; `None` when no close stands before it.
async fn dividend(
    tx: &mut Tx,
    asset: &Asset,
    range: &PriceRange,
    action: &CorporateAction,
    splits: &[SplitEvent],
) -> Result<Option<DividendEvent>, AdjustError> {
    let Some(close) = last_close(tx, asset, range, action).await? else { return Ok(None) };
    let (at, market) = (action.executed_at, asset.market_zone);
    let from = action.currency.unwrap_or(asset.currency);
    let known = rates::newest(tx, at, range.known_at).await?;
    let rate = known.rate(from, asset.currency, at).ok_or(AdjustError::MissingRate {
        action: action.id,
        from,
        to: asset.currency,
        at,
    })?;
    let amount = action.amount.clone().unwrap_or_default();
    let paid = (&(&amount * &rate.numerator), &rate.denominator);
    let seen = Observed { at: close.observed_at, interval: &close.interval };
    let split_adjusted = close.split_adjusted;
    let of = ExDividend { at, paid, close: &close.quote.price, seen, split_adjusted };
    let factor = dividend_factor(of, splits, market)
        .ok_or_else(|| AdjustError::NothingLeft { action: action.id, close: close.quote.price.clone() })?;
    Ok(Some(DividendEvent { at, whole_day: action.whole_day, factor }))
}

/// The newest point of the range's source and interval that precedes an action.
async fn last_close(
    tx: &mut Tx,
    asset: &Asset,
    range: &PriceRange,
    action: &CorporateAction,
) -> Result<Option<PricePoint>, StorageError> {
    let (at, whole_day, market) = (action.executed_at, action.whole_day, asset.market_zone);
    let history = assets::terms(tx, &[asset.key], range.known_at).await?;
    let priority = history.at(asset.key, at).map(|terms| terms.source_priority.clone()).unwrap_or_default();
    let before = PriceRange { from: Moment::MIN, until: at, after: None, limit: TIES, ..range.clone() };
    let ticks = prices::newest(tx, &before, false, &priority).await?;
    // A candle of the day before may be stamped later than the moment the day begins in the market's zone.
    let candles = PriceRange { until: at.plus(27 * HOUR), limit: CANDLES, ..before };
    let candles = prices::newest(tx, &candles, true, &priority).await?;
    let precedes = |point: &PricePoint| {
        Observed { at: point.observed_at, interval: &point.interval }.precedes(at, whole_day, market)
    };
    let candle = candles.into_iter().find(precedes);
    let tick = ticks.into_iter().next();
    Ok(match (tick, candle) {
        (Some(tick), Some(candle)) if candle.observed_at > tick.observed_at => Some(candle),
        (Some(tick), _) => Some(tick),
        (None, candle) => candle,
    })
}
