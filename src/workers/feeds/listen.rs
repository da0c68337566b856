//! One connection of a feed that listens: subscribe, ask for what was missed, then take up frames until it ends.
//!
//! Nothing is read while a group is stored or a gap is asked for: what comes meanwhile waits in the connection, and holds
//! the venue back when it is too much.

use crate::workers::feeds::definition::{Definition, Kind, Pair};
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::session::{GROUP, Session};
use crate::workers::feeds::status::State;
use crate::workers::feeds::tokens::Malformed;
use crate::workers::feeds::wire::Event;
use crate::workers::feeds::{binance, coinbase, fetch, generic, kraken, kraken_v1};
use crate::workers::outbound::target::Target;
use crate::workers::outbound::{Outgoing, Socket};
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::time::Interval;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;

/// Longest time a frame waits for others to be stored with.
const LINGER: Duration = Duration::from_millis(200);
/// Time between two notes of how far the feed got.
const FLUSH: Duration = Duration::from_secs(30);
/// Time between two signs of life that are given.
const PING: Duration = Duration::from_secs(15);
/// Longest time for saying good-bye.
const BYE: Duration = Duration::from_secs(1);

/// Where a feed listens.
fn place(definition: &Definition) -> String {
    match definition.kind {
        Kind::Binance => binance::stream(definition),
        Kind::WsJson => generic::stream(definition),
        Kind::Coinbase
        | Kind::Kraken
        | Kind::KrakenV1
        | Kind::Fred
        | Kind::Yahoo
        | Kind::Ecb
        | Kind::HttpJson
        | Kind::HttpCsv
        | Kind::File => definition.place.ws_url.clone(),
    }
}

/// What is said when the connection stands; nothing where it says all.
fn greeting(definition: &Definition) -> Option<String> {
    match definition.kind {
        Kind::Coinbase => Some(coinbase::subscribe(definition)),
        Kind::Kraken => Some(kraken::subscribe(definition)),
        Kind::KrakenV1 => Some(kraken_v1::subscribe(definition)),
        Kind::WsJson => generic::subscribe(definition),
        Kind::Binance
        | Kind::Fred
        | Kind::Yahoo
        | Kind::Ecb
        | Kind::HttpJson
        | Kind::HttpCsv
        | Kind::File => None,
    }
}

/// What keeps a connection alive, in the venue's own words; the ping of the protocol where it has none.
fn sign_of_life(definition: &Definition) -> Message {
    match definition.kind {
        Kind::Kraken => Message::text(kraken::PING),
        Kind::KrakenV1 => Message::text(kraken_v1::PING),
        Kind::WsJson => {
            let ping = definition.generic.as_deref().and_then(|generic| generic.ping.clone());
            ping.map_or_else(|| Message::Ping(Vec::new().into()), Message::text)
        }
        Kind::Binance
        | Kind::Coinbase
        | Kind::Fred
        | Kind::Yahoo
        | Kind::Ecb
        | Kind::HttpJson
        | Kind::HttpCsv
        | Kind::File => Message::Ping(Vec::new().into()),
    }
}

fn read(text: &str, definition: &Definition) -> Result<Vec<Event>, Malformed> {
    match definition.kind {
        Kind::Binance => binance::read(text, definition),
        Kind::Coinbase => coinbase::read(text, definition),
        Kind::Kraken => kraken::read(text, definition),
        Kind::KrakenV1 => kraken_v1::read(text, definition),
        Kind::WsJson => generic::read(text, definition),
        Kind::Fred | Kind::Yahoo | Kind::Ecb | Kind::HttpJson | Kind::HttpCsv | Kind::File => {
            Ok(vec![Event::Alive])
        }
    }
}

/// Connects and listens until the connection ends or `stop` is cancelled. What was heard is stored in either case.
///
/// # Errors
/// Why the connection ended.
pub(super) async fn listen(session: &mut Session<'_>, stop: &CancellationToken) -> Result<(), FeedError> {
    let definition = session.definition();
    let broken = |error: tungstenite::Error| FeedError::Closed(error.to_string());
    let mut socket = connect(session).await?;
    let greeted = async {
        if let Some(text) = greeting(definition) {
            socket.send(Message::text(text)).await.map_err(broken)?;
        }
        for pair in &definition.symbols {
            ask(session, pair).await?;
        }
        session.flush().await
    };
    greeted.await?;
    session.status(|status| status.state = State::Running);
    let heard = hear_out(session, &mut socket, stop).await;
    // What was heard before the end is good, whatever ended it.
    let kept = match session.store().await {
        Ok(()) => session.flush().await,
        Err(error) => Err(error),
    };
    // The venue may have gone already.
    tokio::time::timeout(BYE, socket.close(None)).await.map(drop).unwrap_or_default();
    heard.and(kept)
}

async fn connect(session: &Session<'_>) -> Result<Socket, FeedError> {
    let definition = session.definition();
    let target =
        Target::parse(&place(definition)).map_err(|error| FeedError::Malformed(format!("ws_url {error}")))?;
    let mut outgoing = Outgoing::get(target, definition.pace.timeout, definition.place.body_max);
    if let Some(generic) = definition.generic.as_deref() {
        outgoing.headers = generic.header_map()?;
    }
    Ok(session.outbound().web_socket(&outgoing).await?)
}

/// A clock that first strikes after `period`.
fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.reset();
    interval
}

async fn hear_out(
    session: &mut Session<'_>,
    socket: &mut Socket,
    stop: &CancellationToken,
) -> Result<(), FeedError> {
    let definition = session.definition();
    let broken = |error: tungstenite::Error| FeedError::Closed(error.to_string());
    let silence = definition.pace.silence;
    let (mut silent, mut flush) = (every(silence), every(FLUSH));
    let (mut ping, mut linger) = (every(PING.min(silence / 3)), every(LINGER));
    let mut again = every(definition.pace.retry_max);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            frame = socket.next() => {
                let frame = frame.ok_or_else(|| FeedError::Closed("without a word".to_owned()))?;
                silent.reset();
                if session.gathered() == 0 {
                    linger.reset();
                }
                take(session, &frame.map_err(broken)?)?;
                if session.gathered() >= GROUP {
                    session.store().await?;
                }
                let holes = session.fresh_holes();
                fill(session, holes).await?;
            }
            _ = again.tick() => {
                let holes = session.holes();
                fill(session, holes).await?;
            }
            _ = linger.tick() => session.store().await?,
            _ = flush.tick() => {
                session.store().await?;
                session.flush().await?;
            }
            _ = ping.tick() => socket.send(sign_of_life(definition)).await.map_err(broken)?,
            _ = silent.tick() => return Err(FeedError::Silent(silence)),
        }
    }
}

/// Takes up one frame. One that is not understood is counted and passed over: the venue may have something new to tell.
fn take(session: &mut Session<'_>, frame: &Message) -> Result<(), FeedError> {
    let text = match frame {
        Message::Text(text) => text.as_str(),
        Message::Close(reason) => {
            let said = reason.as_ref().map(|reason| format!("{} {}", reason.code, reason.reason));
            return Err(FeedError::Closed(said.unwrap_or_else(|| "without a reason".to_owned())));
        }
        // Pongs are given by the library.
        Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => return Ok(()),
    };
    session.heard();
    let events = match read(text, session.definition()) {
        Ok(events) => events,
        Err(Malformed(reason)) => {
            tracing::debug!(feed.name = session.definition().name, reason, "a frame was not understood");
            session.status(|status| status.malformed += 1);
            session.note(&format!("a frame was not understood: {reason}"));
            return Ok(());
        }
    };
    session.connected();
    for event in events {
        session.hear(event)?;
    }
    Ok(())
}

/// Asks for what is missing.
async fn fill(session: &mut Session<'_>, holes: Vec<Pair>) -> Result<(), FeedError> {
    for pair in holes {
        session.store().await?;
        ask(session, &pair).await?;
    }
    Ok(())
}

/// Asks for what one symbol did since. When the venue does not tell, that is no reason to stop listening: it is asked
/// again later, and until then the cursor stays where it was.
async fn ask(session: &mut Session<'_>, pair: &Pair) -> Result<(), FeedError> {
    match fetch::fetch(session, pair).await {
        Ok(()) => session.filled(&pair.symbol),
        Err(error) if error.is_ours() => return Err(error),
        Err(error) => session.still_missing(&pair.symbol, &error),
    }
    Ok(())
}
