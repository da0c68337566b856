//! Assets by the names they are called, with their terms: held in memory from their first reading until a commit changes
//! one.

use crate::domain::asset::{Asset, TermsHistory};
use crate::domain::ids::{AssetId, AssetKey};
use crate::domain::moment::Moment;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::listings::Listing;
use crate::storage::{actions, assets};
use std::collections::HashMap;
use std::sync::Arc;

/// The asset a symbol or an id names: when none has the symbol, the one that had it last.
///
/// # Errors
/// The database's.
pub async fn asset_named(tx: &mut Tx, name: &str) -> Result<Option<Asset>, StorageError> {
    match AssetId::parse(name) {
        Some(id) => assets::find_by_id(tx, id).await,
        None if name.contains('\0') => Ok(None),
        None => by_symbol(tx, &name.to_uppercase()).await,
    }
}

async fn by_symbol(tx: &mut Tx, symbol: &str) -> Result<Option<Asset>, StorageError> {
    if let Some(asset) = assets::find_by_symbol(tx, symbol).await? {
        return Ok(Some(asset));
    }
    let Some(former) = actions::former_owner(tx, symbol).await? else { return Ok(None) };
    Ok(assets::by_keys(tx, &[former]).await?.pop())
}

/// The listing of one name. What is held is not looked at: a reader's snapshot may be another.
///
/// # Errors
/// The database's.
pub async fn find(tx: &mut Tx, name: &str) -> Result<Option<Arc<Listing>>, StorageError> {
    let Some(asset) = asset_named(tx, name).await? else { return Ok(None) };
    let terms = assets::terms(tx, &[asset.key], Moment::MAX).await?;
    let listing = Arc::new(Listing { asset, terms });
    tx.hold_listing(name, &listing);
    Ok(Some(listing))
}

/// The listings of many names inside a commit, from memory where they are held. Names of nothing are left out.
///
/// # Errors
/// The database's.
pub async fn of_commit(tx: &mut Tx, names: &[&str]) -> Result<HashMap<String, Arc<Listing>>, StorageError> {
    let mut known: HashMap<String, Arc<Listing>> = HashMap::with_capacity(names.len());
    let mut unknown = Vec::new();
    for name in names {
        match tx.held_listing(name) {
            Some(listing) => drop(known.insert((*name).to_owned(), listing)),
            None => unknown.push(*name),
        }
    }
    if unknown.is_empty() {
        return Ok(known);
    }
    let mut found: Vec<(String, Asset)> = Vec::with_capacity(unknown.len());
    let current = assets::by_symbols(tx, &unknown).await?;
    found.extend(current.into_iter().map(|asset| (asset.symbol.clone(), asset)));
    let mut left: Vec<&str> = unknown;
    left.sort_unstable();
    found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    left.retain(|name| found.binary_search_by(|(symbol, _)| symbol.as_str().cmp(name)).is_err());
    for name in left {
        found.extend(asset_named(tx, name).await?.map(|asset| (name.to_owned(), asset)));
    }
    let mut keys: Vec<AssetKey> = found.iter().map(|(_, asset)| asset.key).collect();
    keys.sort_unstable();
    keys.dedup();
    let terms: TermsHistory = assets::terms(tx, &keys, Moment::MAX).await?;
    for (name, asset) in found {
        let listing = Arc::new(Listing { terms: terms.of(asset.key), asset });
        tx.hold_listing(&name, &listing);
        known.insert(name, listing);
    }
    Ok(known)
}
