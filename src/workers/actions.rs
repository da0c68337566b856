//! Recording corporate actions: the action, the name of its asset, and the kept book of everybody who holds it, in one
//! transaction.
//!
//! An action is never refused because of somebody's ledger: rows it puts at odds with a rule are flagged there.

use crate::domain::asset::Asset;
use crate::domain::corporate_action::{ActionType, CorporateAction};
use crate::domain::currency::Currency;
use crate::domain::ids::{ActionId, AssetId, PortfolioId};
use crate::domain::moment::Moment;
use crate::domain::portfolio::Portfolio;
use crate::random::Random;
use crate::storage::actions::{self, RecordedAction};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::{assets, portfolios, rates, transactions};
use crate::workers::bookkeeping::{BookError, refold_after_action};

/// Why actions were not recorded, or one was not voided.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The asset has the same action on that day already.
    #[error("the same is recorded already as action {known}")]
    Duplicate {
        /// The action that was sent.
        action: ActionId,
        /// The one that is recorded.
        known: ActionId,
    },
    /// A change of symbol that changes nothing.
    #[error("the asset is called that already")]
    SameSymbol {
        /// The action that was sent.
        action: ActionId,
    },
    /// The symbol the asset would have now is that of another one.
    #[error("`{symbol}` is the symbol of asset {holder}")]
    SymbolTaken {
        /// The symbol.
        symbol: String,
        /// The asset that has it.
        holder: AssetId,
    },
    /// A dividend in another currency than the asset settles in, and no rate between them.
    #[error("no rate from {from} to {to} at or before {at}")]
    MissingRate {
        /// The action that was sent.
        action: ActionId,
        /// From this currency
        from: Currency,
        /// to this one,
        to: Currency,
        /// at this moment.
        at: Moment,
    },
    /// A holder's book could not be computed.
    #[error(transparent)]
    Book(#[from] BookError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Records actions of an asset, all or none. Returns them as recorded, and the portfolios whose figures they touch.
///
/// # Errors
/// [`ActionError`]; everything is to be rolled back then.
pub async fn record(
    tx: &mut Tx,
    random: Random,
    asset: &Asset,
    new: Vec<RecordedAction>,
) -> Result<(Vec<RecordedAction>, Vec<Portfolio>), ActionError> {
    let kinds: Vec<ActionType> = new.iter().map(|one| one.action.kind).collect();
    let mut recorded = Vec::with_capacity(new.len());
    for one in new {
        check(tx, asset, &one.action, None).await?;
        if one.action.kind == ActionType::SymbolChange {
            actions::keep_first_symbol(tx, asset.key, &asset.symbol).await?;
        }
        recorded.push(actions::insert(tx, one).await?);
    }
    let touched = take_effect(tx, random, asset, &kinds).await?;
    Ok((recorded, touched))
}

/// Voids an action, recording `replacement` in its place if there is one. Returns the replacement as recorded, and the
/// portfolios whose figures are touched.
///
/// # Errors
/// [`ActionError`]; everything is to be rolled back then.
pub async fn void(
    tx: &mut Tx,
    random: Random,
    asset: &Asset,
    original: &RecordedAction,
    (reason, replacement): (&str, Option<RecordedAction>),
) -> Result<(Option<RecordedAction>, Vec<Portfolio>), ActionError> {
    let mut kinds = vec![original.action.kind];
    let replacement = match replacement {
        Some(mut new) => {
            kinds.push(new.action.kind);
            check(tx, asset, &new.action, Some(original.action.id)).await?;
            if new.action.kind == ActionType::SymbolChange {
                actions::keep_first_symbol(tx, asset.key, &asset.symbol).await?;
            }
            new.replaces = Some(original.action.id);
            new.action.place = original.action.place;
            Some(actions::insert(tx, new).await?)
        }
        None => None,
    };
    let replaced_by = replacement.as_ref().map(|new| new.action.id);
    actions::void(tx, original.action.id, reason, replaced_by).await?;
    let touched = take_effect(tx, random, asset, &kinds).await?;
    Ok((replacement, touched))
}

/// Holds an action against those that are recorded; `original` is the one it takes the place of.
async fn check(
    tx: &mut Tx,
    asset: &Asset,
    new: &CorporateAction,
    original: Option<ActionId>,
) -> Result<(), ActionError> {
    let known = actions::known(tx, &[asset.key], Moment::MAX).await?;
    let others = known.iter().filter(|row| row.in_force(Moment::MAX) && Some(row.action.id) != original);
    if let Some(same) = others.into_iter().find(|row| row.action.repeats(new, asset.market_zone)) {
        return Err(ActionError::Duplicate { action: new.id, known: same.action.id });
    }
    match new.kind {
        ActionType::Split => Ok(()),
        ActionType::Dividend => check_rate(tx, asset, new).await,
        ActionType::SymbolChange => {
            let symbols = actions::symbols(tx, &[asset.key], new.executed_at, Moment::MAX).await?;
            let before = symbols.get(&asset.key).unwrap_or(&asset.symbol);
            if original.is_none() && new.new_symbol.as_ref() == Some(before) {
                return Err(ActionError::SameSymbol { action: new.id });
            }
            Ok(())
        }
    }
}

/// Income is shown in the settlement currency, so a dividend in another one needs a rate.
async fn check_rate(tx: &mut Tx, asset: &Asset, new: &CorporateAction) -> Result<(), ActionError> {
    let at = new.executed_at;
    let terms = assets::terms(tx, &[asset.key], Moment::MAX).await?;
    let settlement = terms.at(asset.key, at).map_or(asset.currency, |terms| terms.settlement);
    let from = new.currency.unwrap_or(settlement);
    if from == settlement || rates::newest(tx, at, Moment::MAX).await?.rate(from, settlement, at).is_some() {
        return Ok(());
    }
    Err(ActionError::MissingRate { action: new.id, from, to: settlement, at })
}

/// Brings up to date what follows from actions of these kinds.
async fn take_effect(
    tx: &mut Tx,
    random: Random,
    asset: &Asset,
    kinds: &[ActionType],
) -> Result<Vec<Portfolio>, ActionError> {
    if kinds.contains(&ActionType::SymbolChange) {
        rename(tx, asset).await?;
    }
    if kinds.iter().all(|kind| kind.entry().is_none()) {
        return Ok(Vec::new());
    }
    let holders = transactions::holders(tx, asset.key).await?;
    Ok(refold_all(tx, random, holders).await?)
}

/// Folds the ledgers of several portfolios anew, flagging what breaks a rule now. Returns them in order of entry. Also
/// for when the zone of a market has moved, and with it the days of its actions.
///
/// # Errors
/// As [`refold_after_action`].
pub async fn refold_all(
    tx: &mut Tx,
    random: Random,
    ids: Vec<PortfolioId>,
) -> Result<Vec<Portfolio>, BookError> {
    let mut touched = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(portfolio) = portfolios::find(tx, id).await? {
            refold_after_action(tx, random, &portfolio).await?;
            touched.push(portfolio);
        }
    }
    touched.sort_by_key(|portfolio| portfolio.seq);
    Ok(touched)
}

/// Gives an asset the symbol that its changes of symbol say it has now.
async fn rename(tx: &mut Tx, asset: &Asset) -> Result<(), ActionError> {
    let now = tx.recorded_at()?;
    let symbol = actions::symbols(tx, &[asset.key], now, Moment::MAX).await?.remove(&asset.key);
    let Some(symbol) = symbol.filter(|symbol| *symbol != asset.symbol) else { return Ok(()) };
    if let Some(holder) = assets::find_by_symbol(tx, &symbol).await? {
        return Err(ActionError::SymbolTaken { symbol, holder: holder.id });
    }
    assets::rename(tx, asset, &symbol).await?;
    Ok(())
}
