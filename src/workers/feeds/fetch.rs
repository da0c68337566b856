//! Asking: which venue answers how.

use crate::workers::feeds::definition::{Kind, Pair};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::Session;
use crate::workers::feeds::{binance, coinbase, ecb, folder, fred, generic, kraken, yahoo};

/// Asks for what one symbol did since it was last heard of, and stores it page by page.
///
/// # Errors
/// [`FeedError`]; what was stored before stays.
pub(super) async fn fetch(session: &mut Session<'_>, pair: &Pair) -> Result<(), FeedError> {
    let since = session.since(&pair.symbol);
    match session.definition().kind {
        Kind::Binance => binance::fetch(session, pair, since).await,
        Kind::Coinbase => coinbase::fetch(session, pair, since).await,
        Kind::Kraken | Kind::KrakenV1 => kraken::fetch(session, pair, since).await,
        Kind::Fred => fred::fetch(session, pair).await,
        Kind::Yahoo => yahoo::fetch(session, pair, since).await,
        Kind::HttpJson | Kind::HttpCsv => generic::fetch(session, pair, since).await,
        // One answer has every currency; a stream tells what it tells; files are read one by one.
        Kind::Ecb | Kind::WsJson | Kind::File => Ok(()),
    }
}

/// Asks for everything, and notes how far it got.
///
/// # Errors
/// The first failure; the other symbols are asked for all the same.
pub(super) async fn fetch_all(session: &mut Session<'_>) -> Result<(), FeedError> {
    let mut outcome = Ok(());
    if session.definition().kind == Kind::Ecb {
        outcome = ecb::fetch(session).await;
    } else if session.definition().kind == Kind::File {
        outcome = folder::fetch(session).await;
    }
    for pair in &session.definition().symbols {
        if session.is_stopped() {
            break;
        }
        let fetched = fetch(session, pair).await;
        outcome = outcome.and(fetched);
    }
    session.store().await?;
    session.flush().await?;
    outcome
}
