//! Room in memory for bodies: large ones take turns.
//!
//! A small body costs little, however many there are. One of which more than that has come, unpacked, waits for one of a
//! few seats before the rest of it is read; it is not what a body says of itself that counts. A file or a document takes
//! several times its size until it is recorded: few are read at a time, and one is at work. Who finds no seat within a
//! while is asked to come again. A stream is not held here: it is stored as it comes.
//!
//! A seat is not kept by whoever holds it: one credential has a part of them, its body has to come much faster than
//! others, and any body ends once its caller may not come in any more.

use crate::http::AppState;
use crate::http::error::{ApiError, Code};
use crate::http::recheck::{self, Admitted};
use crate::telemetry::HTTP_TURNED_AWAY;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of a body that need no seat.
const SMALL: usize = 256 << 10;
/// Seats for larger bodies, and how many of them one credential has.
const SEATS: (usize, usize) = (16, 4);
/// The same for files and documents while they are read.
const FILES: (usize, usize) = (3, 1);
/// Files and documents at work at a time.
const AT_WORK: usize = 1;
/// Longest wait for a seat, and of a file that was read for its turn.
const WAIT: Duration = Duration::from_secs(10);
const WAIT_TO_WORK: Duration = Duration::from_secs(30);
/// How much faster than others a body has to come that holds a seat.
const FASTER: u64 = 128;
/// Routes that take a file or a document.
const OF_FILES: [&str; 4] =
    ["/prices/import", "/fx/import", "/portfolios/{portfolio}/transactions:import", "/pnl"];
/// The route whose body is not held.
const STREAM: &str = "/prices/stream";

/// Who shares a part of the seats.
type Holder = (String, String);

/// Seats of which one holder has a part.
#[derive(Debug)]
struct Turns {
    all: Arc<Semaphore>,
    each: usize,
    of: Mutex<HashMap<Holder, Arc<Semaphore>>>,
}

/// A seat, given back when dropped.
#[derive(Debug)]
struct Seat {
    _of_all: OwnedSemaphorePermit,
    _of_holder: Option<OwnedSemaphorePermit>,
}

impl Turns {
    fn new((all, each): (usize, usize)) -> Self {
        Self { all: Arc::new(Semaphore::new(all)), each, of: Mutex::default() }
    }

    /// The part of a holder. Of those who neither have a seat nor wait for one nothing is kept.
    fn part_of(&self, holder: Holder) -> Arc<Semaphore> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        of.retain(|_, part| Arc::strong_count(part) > 1);
        Arc::clone(of.entry(holder).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }

    /// A seat, if one becomes free in time. Who has all of its part waits for that, in nobody's way.
    async fn take(&self, holder: Option<Holder>, wait: Duration) -> Option<Seat> {
        let taken = async {
            let of_holder = match holder {
                Some(holder) => Some(self.part_of(holder).acquire_owned().await.ok()?),
                None => None,
            };
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some(Seat { _of_all: of_all, _of_holder: of_holder })
        };
        timeout(wait, taken).await.ok().flatten()
    }
}

/// The seats there are.
#[derive(Debug)]
pub struct Seats {
    bodies: Turns,
    files: Turns,
    at_work: Arc<Semaphore>,
}

impl Default for Seats {
    fn default() -> Self {
        let at_work = Arc::new(Semaphore::new(AT_WORK));
        Self { bodies: Turns::new(SEATS), files: Turns::new(FILES), at_work }
    }
}

/// What a request holds until it is answered, and why its body was not read to the end.
#[derive(Debug, Default)]
pub struct Place {
    seat: OnceLock<Seat>,
    at_work: OnceLock<OwnedSemaphorePermit>,
    refused: OnceLock<ApiError>,
}

impl Place {
    /// The answer of a route, or why it did not get the body it asked for: routes only see that it broke off.
    pub fn told(&self, answer: Response) -> Response {
        match self.refused.get() {
            Some(error) if !answer.status().is_success() => error.clone().into_response(),
            _ => answer,
        }
    }
}

/// The body breaks off because its request was refused meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("the request was refused while its body was read")]
struct Refused;

/// A request whose body is given to its route piece by piece, as far as there is room for it.
pub fn seated(app: &AppState, request: Request, admitted: &Admitted, place: &Arc<Place>) -> Request {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    if route == STREAM || request.body().is_end_stream() {
        return request;
    }
    let of_files = OF_FILES.contains(&route);
    let caller = Caller { app: AppState::clone(app), admitted: admitted.clone() };
    request.map(|body| {
        let reading = Reading {
            body,
            caller,
            place: Arc::clone(place),
            of_files,
            came: 0,
            since_seated: 0,
            waited: Duration::ZERO,
        };
        reading.into_body()
    })
}

/// Whose body it is.
struct Caller {
    app: AppState,
    admitted: Admitted,
}

impl Caller {
    /// Waits for something, for as long as the caller may come in.
    async fn waits<T>(&self, work: impl Future<Output = T>) -> Result<T, ApiError> {
        let mut work = pin!(work);
        loop {
            match timeout(recheck::LOOK, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) => self.admitted.check(&self.app)?,
            }
        }
    }

    fn holder(&self) -> Option<Holder> {
        let (issuer, name) = self.admitted.standing()?.holder()?;
        Some((issuer.to_owned(), name.to_owned()))
    }
}

/// A body on its way.
struct Reading {
    body: Body,
    caller: Caller,
    place: Arc<Place>,
    of_files: bool,
    /// Bytes, unpacked.
    came: usize,
    /// Those that came with a seat, and how long they were waited for.
    since_seated: usize,
    waited: Duration,
}

impl Reading {
    fn into_body(self) -> Body {
        let pieces = futures_util::stream::unfold(Some(self), async |reading| {
            let mut reading = reading?;
            match reading.piece().await {
                Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(reading))),
                Ok(Some(Err(error))) => Some((Err(error), None)),
                Ok(None) => None,
                Err(error) => {
                    reading.place.refused.get_or_init(|| error);
                    Some((Err(axum::Error::new(Refused)), None))
                }
            }
        });
        Body::from_stream(pieces.fuse())
    }

    /// The next piece; none at the end. The outer error refuses the request, the inner one is the body's own.
    async fn piece(&mut self) -> Result<Option<Result<Bytes, axum::Error>>, ApiError> {
        if self.came > 0 {
            self.caller.admitted.check(&self.caller.app)?;
        }
        let frame = loop {
            let asked = self.caller.app.clock.elapsed();
            let frame = timeout(recheck::LOOK, self.body.frame()).await;
            self.keeps_pace(self.caller.app.clock.elapsed().saturating_sub(asked))?;
            match frame {
                Ok(frame) => break frame,
                Err(_) => self.caller.admitted.check(&self.caller.app)?,
            }
        };
        let bytes = match frame {
            None => return self.ends().await.map(|()| None),
            Some(Err(error)) => return Ok(Some(Err(error))),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        self.came = self.came.saturating_add(bytes.len());
        if self.place.seat.get().is_some() {
            self.since_seated = self.since_seated.saturating_add(bytes.len());
        } else if self.came > SMALL {
            self.sits_down().await?;
        }
        Ok(Some(Ok(bytes)))
    }

    /// Who holds a seat is waited for while its body comes fast enough on the whole: what it unpacks to counts, for a
    /// packed one can go on for ever and say nothing.
    fn keeps_pace(&mut self, waited: Duration) -> Result<(), ApiError> {
        if self.place.seat.get().is_none() {
            return Ok(());
        }
        self.waited += waited;
        let limits = &self.caller.app.guard.limits;
        let rate = u128::from(limits.body_rate.saturating_mul(FASTER));
        let owed = self.waited.as_millis().saturating_mul(rate) / 1_000;
        let came = u128::try_from(self.since_seated).unwrap_or(u128::MAX);
        if self.waited < limits.pace_window || came >= owed {
            return Ok(());
        }
        let detail = format!("a body above {SMALL} bytes has to come at {rate} bytes a second, unpacked");
        Err(ApiError::new(Code::TooSlow, detail))
    }

    async fn sits_down(&mut self) -> Result<(), ApiError> {
        let seats = &self.caller.app.seats;
        let turns = if self.of_files { &seats.files } else { &seats.bodies };
        let seat = self.caller.waits(turns.take(self.caller.holder(), WAIT)).await?;
        let seat = seat.ok_or_else(|| busy("too many large bodies are being read, or too many of yours"))?;
        self.place.seat.get_or_init(|| seat);
        Ok(())
    }

    /// The body is there: a large file waits for its turn, and is read no further before.
    async fn ends(&mut self) -> Result<(), ApiError> {
        if !self.of_files || self.place.seat.get().is_none() {
            return Ok(());
        }
        let turn = timeout(WAIT_TO_WORK, Arc::clone(&self.caller.app.seats.at_work).acquire_owned());
        let turn = self.caller.waits(turn).await?.ok().and_then(Result::ok);
        let turn = turn.ok_or_else(|| busy("other files and documents are at work"))?;
        self.place.at_work.get_or_init(|| turn);
        Ok(())
    }
}

fn busy(why: &str) -> ApiError {
    metrics::counter!(HTTP_TURNED_AWAY, "reason" => "memory").increment(1);
    ApiError::new(Code::Busy, format!("{why}; nothing was done, try again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn one_holder_has_a_part_and_whoever_waits_for_it_is_in_nobodys_way() {
        let turns = Turns::new((3, 2));
        let holder = |name: &str| Some((String::new(), name.to_owned()));
        let (first, second) =
            (turns.take(holder("a"), SOON).await.unwrap(), turns.take(holder("a"), SOON).await);
        assert!(second.is_some() && turns.take(holder("a"), SOON).await.is_none());
        let (waiting, other) = tokio::join!(turns.take(holder("a"), WAIT), async {
            let other = turns.take(holder("b"), SOON).await;
            // The seats are all taken now, whoever asks.
            assert!(turns.take(holder("c"), SOON).await.is_none() && turns.take(None, SOON).await.is_none());
            drop(first);
            other
        });
        assert!(waiting.is_some() && other.is_some());
        drop((second, waiting, other));
        let owners =
            [turns.take(None, SOON).await, turns.take(None, SOON).await, turns.take(None, SOON).await];
        assert!(owners.iter().all(Option::is_some), "nothing was shown: there is no part");
        drop(owners);
        assert!(turns.take(holder("d"), SOON).await.is_some());
        assert_eq!(turns.of.lock().unwrap().len(), 1, "nothing is kept of the others");
    }
}
