//! Table `book_checkpoints`: holdings of one asset as they stood after every row up to a moment.

use crate::domain::ids::{AssetKey, PortfolioId};
use crate::domain::moment::Moment;
use crate::domain::pnl::book::{Book, HoldingKey, SplitEvent};
use crate::domain::pnl::holding::Holding;
use crate::domain::pnl::lots::Lots;
use crate::storage::columns::{from_json, to_json};
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use serde::{Deserialize, Serialize};

/// Holdings of one asset as they stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The asset.
    pub asset: AssetKey,
    /// Every row of the asset up to this moment is in it, and no later one.
    pub folded_to: Moment,
    /// A book of nothing but its holdings and splits.
    pub book: Book,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    holdings: Vec<(String, Holding, Lots)>,
    splits: Vec<SplitEvent>,
}

impl Checkpoint {
    /// What a book says of one asset now.
    pub fn of(book: &Book, asset: AssetKey, folded_to: Moment) -> Self {
        let mut part = Book::default();
        let own = book.holdings.iter().filter(|(key, _)| key.asset == asset);
        part.holdings = own.map(|(key, holding)| (key.clone(), holding.clone())).collect();
        if let Some(splits) = book.splits.get(&asset) {
            part.splits.insert(asset, splits.clone());
        }
        Self { asset, folded_to, book: part }
    }
}

/// The newest checkpoint of an asset that lies before a moment.
pub async fn newest_before(
    tx: &mut Tx,
    portfolio: PortfolioId,
    asset: AssetKey,
    before: Moment,
) -> Result<Option<Checkpoint>, StorageError> {
    const SQL: &str = "SELECT folded_to, state FROM book_checkpoints WHERE portfolio_id = $1 AND asset_key = $2 \
        AND folded_to < $3 ORDER BY folded_to DESC LIMIT 1";
    let row: Option<(Moment, String)> = on!(tx, conn => sqlx::query_as(SQL)
        .bind(portfolio).bind(asset).bind(before).fetch_optional(conn).await)?;
    let Some((folded_to, text)) = row else { return Ok(None) };
    let stored: Stored = from_json(&text)?;
    let mut book = Book::default();
    for (account, mut holding, lots) in stored.holdings {
        holding.lots = lots;
        book.holdings.insert(HoldingKey { account, asset }, holding);
    }
    if !stored.splits.is_empty() {
        book.splits.insert(asset, stored.splits);
    }
    Ok(Some(Checkpoint { asset, folded_to, book }))
}

/// Keeps a checkpoint.
pub async fn save(tx: &mut Tx, portfolio: PortfolioId, checkpoint: &Checkpoint) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO book_checkpoints (portfolio_id, asset_key, folded_to, state) \
        VALUES ($1, $2, $3, $4) ON CONFLICT (portfolio_id, asset_key, folded_to) DO UPDATE SET state = excluded.state";
    let Checkpoint { asset, folded_to, book } = checkpoint;
    let stored = Stored {
        holdings: book
            .holdings
            .iter()
            .map(|(key, holding)| (key.account.clone(), holding.clone(), holding.lots.clone()))
            .collect(),
        splits: book.splits.get(asset).cloned().unwrap_or_default(),
    };
    let text = to_json(&stored)?;
    on!(tx, conn => sqlx::query(SQL).bind(portfolio).bind(*asset).bind(*folded_to).bind(&text)
        .execute(conn).await.map(drop))
}

/// Forgets the checkpoints of an asset at a moment and later.
pub async fn forget_from(
    tx: &mut Tx,
    portfolio: PortfolioId,
    asset: AssetKey,
    from: Moment,
) -> Result<(), StorageError> {
    const SQL: &str =
        "DELETE FROM book_checkpoints WHERE portfolio_id = $1 AND asset_key = $2 AND folded_to >= $3";
    on!(tx, conn => sqlx::query(SQL).bind(portfolio).bind(asset).bind(from).execute(conn).await.map(drop))
}

/// Forgets every checkpoint of a portfolio.
pub async fn forget_all(tx: &mut Tx, portfolio: PortfolioId) -> Result<(), StorageError> {
    const SQL: &str = "DELETE FROM book_checkpoints WHERE portfolio_id = $1";
    on!(tx, conn => sqlx::query(SQL).bind(portfolio).execute(conn).await.map(drop))
}
