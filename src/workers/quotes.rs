//! Single prices from memory: what the newest price is, and a price that continues its series. Neither asks the
//! database, unless something is not held yet.

use crate::domain::ids::AssetKey;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::{InvalidQuote, Mark, Outcome, Quote};
use crate::storage::database::{Database, Tx};
use crate::storage::error::StorageError;
use crate::storage::figures::{self, OpenPosition};
use crate::storage::listings::Listing;
use crate::storage::prices::{self, Series};
use crate::workers::listings;
use std::sync::Arc;

/// Every open position of an asset, held from then on.
///
/// # Errors
/// The database's.
pub async fn open_positions(tx: &mut Tx, asset: AssetKey) -> Result<Arc<[OpenPosition]>, StorageError> {
    if let Some(held) = tx.held_positions(asset) {
        return Ok(held);
    }
    let open: Arc<[OpenPosition]> = figures::open_positions(tx, asset).await?.into();
    tx.hold_positions(asset, &open);
    Ok(open)
}

/// The newest prices of some assets after the last commit, one for each name; `None` when a name is not held.
pub fn newest(db: &Database, names: &[&str]) -> Option<Vec<(Arc<Listing>, Option<Mark>)>> {
    let listings: Option<Vec<Arc<Listing>>> = names.iter().map(|name| db.held_listing(name)).collect();
    let listings = listings?;
    let keys: Vec<AssetKey> = listings.iter().map(|listing| listing.asset.key).collect();
    Some(listings.into_iter().zip(db.newest().marks(&keys)).collect())
}

/// One price on its way into the store.
#[derive(Debug, Clone)]
pub struct Single {
    /// Symbol or id of its asset, as it was sent, in upper case.
    pub symbol: String,
    /// Who says so.
    pub source: String,
    /// Candle length; none for a tick.
    pub interval: Option<Interval>,
    /// When it was observed: its arrival, if it does not say.
    pub observed_at: Option<Moment>,
    /// What it says.
    pub quote: Quote,
}

/// A price that was recorded without asking the database.
#[derive(Debug)]
pub struct Continued {
    /// What became of it.
    pub outcome: Outcome,
    /// Open positions of its asset.
    pub open: Arc<[OpenPosition]>,
}

impl Single {
    fn candle(&self) -> &'static str {
        self.interval.map_or("", Interval::name)
    }

    /// Whether the asset lets it be below zero, at the moment it was observed.
    fn check(&self, listing: &Listing, arrived_at: Moment) -> Result<(), InvalidQuote> {
        let terms = listing.terms.at(listing.asset.key, self.observed_at.unwrap_or(arrived_at));
        self.quote.check(terms.is_some_and(|terms| terms.allows_negative_price))
    }

    /// Records it if memory alone can tell that it may be and what becomes of it. `None` otherwise: then nothing was
    /// done, and [`Self::record`] finds out.
    pub fn continue_series(&self, tx: &mut Tx, arrived_at: Moment) -> Option<Continued> {
        let listing = tx.held_listing(&self.symbol)?;
        let open = tx.held_positions(listing.asset.key)?;
        let source = prices::known_source(tx, &self.source)?;
        self.check(&listing, arrived_at).ok()?;
        let (asset, priority) = (listing.asset.key, listing.priority());
        let series = Series { asset, source, interval: self.candle(), source_priority: priority };
        let outcome =
            prices::continue_series(tx, series, self.observed_at, arrived_at, &self.quote).ok()??;
        Some(Continued { outcome, open })
    }
}

/// Why a single price was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum NotRecorded {
    /// No asset has that name.
    #[error("no such asset")]
    UnknownAsset,
    /// A rule refuses it.
    #[error(transparent)]
    Invalid(InvalidQuote),
    /// The database could not.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Single {
    /// Records it.
    ///
    /// # Errors
    /// [`NotRecorded`] says why not.
    pub async fn record(self, tx: &mut Tx, arrived_at: Moment) -> Result<(AssetKey, Outcome), NotRecorded> {
        let listing = listings::find(tx, &self.symbol).await?.ok_or(NotRecorded::UnknownAsset)?;
        self.check(&listing, arrived_at).map_err(NotRecorded::Invalid)?;
        let source = prices::source(tx, &self.source).await?;
        let (asset, priority) = (listing.asset.key, listing.priority());
        let series = Series { asset, source, interval: self.candle(), source_priority: priority };
        let mut observed_at = self.observed_at.unwrap_or(arrived_at);
        while self.observed_at.is_none() && prices::exists(tx, series, observed_at).await? {
            observed_at = observed_at.plus(1);
        }
        let outcomes = prices::record(tx, series, &[(observed_at, self.quote)]).await?;
        Ok((asset, outcomes.first().copied().unwrap_or(Outcome::Stored)))
    }
}
