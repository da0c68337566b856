//! Refused callers in the audit trail: each is a row of its own, until there are so many that they would fill it; then
//! one row tells of all from an address in a minute.

use crate::clock::Clock;
use crate::domain::audit::{Actor, ActorKind, Entry, Outcome};
use crate::domain::moment::Moment;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Rows of their own for one address in a minute.
const EACH: u64 = 20;
/// Rows of their own for all addresses in a minute.
const ALL: u64 = 120;
/// Addresses whose refusals are counted apart; those of more are counted together.
const ADDRESSES: usize = 100;
/// A minute in microseconds.
const MINUTE: i64 = 60_000_000;
/// How long an answer waits for its row.
const WAIT: Duration = Duration::from_secs(1);
/// Time between two looks whether a minute has ended.
const EVERY: Duration = Duration::from_secs(5);

/// One refusal.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Who it was, as far as that is known.
    pub actor: Actor,
    /// Method and template of the route.
    pub route: String,
    /// Status of the answer.
    pub status: u16,
    /// Stable code of the answer.
    pub code: &'static str,
}

impl Refusal {
    const fn action(&self) -> &'static str {
        if self.status == 401 { "access.authenticate" } else { "access.authorize" }
    }

    fn entry(&self) -> Entry {
        let told = Entry::done(self.action(), &self.route).on("route", &self.route);
        Entry { outcome: Outcome::Denied, code: Some(self.code.to_owned()), ..told }
    }
}

/// The refusals of the present minute.
#[derive(Debug, Default)]
struct Minute {
    number: i64,
    total: u64,
    of: HashMap<Option<String>, u64>,
    /// Those without a row of their own.
    beyond: HashMap<Option<String>, Beyond>,
}

#[derive(Debug)]
struct Beyond {
    count: u64,
    action: &'static str,
    code: &'static str,
}

/// What refusals leave in the audit trail.
#[derive(Debug, Default)]
pub struct Refusals {
    minute: Mutex<Minute>,
}

impl Refusals {
    /// Counts a refusal; whether it gets a row of its own.
    fn count(&self, refusal: &Refusal, now: Moment) -> (bool, Vec<(Actor, Entry)>) {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.0.div_euclid(MINUTE);
        let ended = if minute.number == number { Vec::new() } else { close(&mut minute, number) };
        let address = refusal.actor.address.clone();
        let known = minute.of.len() < ADDRESSES || minute.of.contains_key(&address);
        let address = if known { address } else { None };
        let count = minute.of.entry(address.clone()).or_default();
        *count += 1;
        let own = known && *count <= EACH && minute.total < ALL;
        if own {
            minute.total += 1;
        } else {
            let (action, code) = (refusal.action(), refusal.code);
            minute.beyond.entry(address).or_insert(Beyond { count: 0, action, code }).count += 1;
        }
        (own, ended)
    }

    /// The rows of a minute that has ended; of the present one too when the service stops.
    fn ended(&self, now: Option<Moment>) -> Vec<(Actor, Entry)> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.map_or(i64::MAX, |now| now.0.div_euclid(MINUTE));
        if minute.number == number { Vec::new() } else { close(&mut minute, number) }
    }

    /// Notes a refusal. A row of its own is on disk when this returns, unless that takes longer than a second.
    pub async fn note(self: &Arc<Self>, db: &Database, refusal: Refusal, now: Moment) {
        let (own, mut rows) = self.count(&refusal, now);
        if own {
            rows.push((refusal.actor.clone(), refusal.entry()));
        }
        if rows.is_empty() {
            return;
        }
        let db = db.clone();
        let written = tokio::spawn(async move { write(&db, rows).await });
        // The row is written all the same when the answer does not wait for it any longer.
        drop(tokio::time::timeout(WAIT, written).await);
    }

    /// Writes what is still only counted.
    pub async fn flush(&self, db: &Database) {
        write(db, self.ended(None)).await;
    }
}

/// Ends a minute: one row for each address that had more refusals than rows.
fn close(minute: &mut Minute, number: i64) -> Vec<(Actor, Entry)> {
    let ended = std::mem::replace(minute, Minute { number, ..Minute::default() });
    let began = Moment(ended.number.saturating_mul(MINUTE));
    let row = |(address, beyond): (Option<String>, Beyond)| {
        let told = json!({ "count": beyond.count, "minute": began.to_string() });
        let entry = Entry {
            outcome: Outcome::Denied,
            code: Some(beyond.code.to_owned()),
            object_id: None,
            after: Some(told.to_string()),
            ..Entry::done(beyond.action, "")
        };
        (Actor { address, ..Actor::new(ActorKind::Anonymous, "anonymous") }, entry)
    };
    ended.beyond.into_iter().map(row).collect()
}

async fn write(db: &Database, rows: Vec<(Actor, Entry)>) {
    for (actor, entry) in rows {
        let told = format!("{} {} {:?}", actor.name, entry.action, entry.code);
        let work = db.writer().write::<_, StorageError, _>(actor, move |tx| {
            Box::pin(async move {
                tx.audit(entry);
                Ok(())
            })
        });
        if let Err(error) = work.await {
            tracing::error!(%error, "the audit trail has no row of a refusal: {told}");
        }
    }
}

/// Writes the rows of each minute once it has ended, until `stop` is cancelled.
pub async fn supervise(refusals: Arc<Refusals>, db: Database, clock: Clock, stop: CancellationToken) {
    while !stop.is_cancelled() {
        write(&db, refusals.ended(Some(clock.now()))).await;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str) -> Refusal {
        let actor =
            Actor { address: Some(address.to_owned()), ..Actor::new(ActorKind::Anonymous, "anonymous") };
        Refusal { actor, route: "GET /markets".to_owned(), status: 401, code: "unauthorized" }
    }

    #[test]
    fn a_flood_from_one_address_is_told_in_rows_that_are_counted() {
        let (refusals, now) = (Refusals::default(), Moment(MINUTE * 7 + 3));
        let own = (0..1_000).filter(|_| refusals.count(&refusal("a"), now).0).count();
        assert_eq!(own, 20);
        // Another address is heard all the same.
        assert!(refusals.count(&refusal("b"), now).0);
        assert!(refusals.ended(Some(now)).is_empty(), "the minute has not ended");
        let rows = refusals.ended(Some(Moment(MINUTE * 8)));
        assert_eq!(rows.len(), 1);
        let (actor, entry) = &rows[0];
        assert_eq!((actor.address.as_deref(), entry.action.as_ref()), (Some("a"), "access.authenticate"));
        let told: serde_json::Value = serde_json::from_str(entry.after.as_ref().unwrap()).unwrap();
        assert_eq!(told["count"], 980);
        assert!(refusals.ended(Some(Moment(MINUTE * 8))).is_empty());
        assert!(refusals.count(&refusal("a"), Moment(MINUTE * 8)).0, "a new minute begins anew");
    }

    #[test]
    fn a_flood_from_everywhere_leaves_a_bounded_number_of_rows() {
        let (refusals, now) = (Refusals::default(), Moment(0));
        let own = (0..100_000).filter(|n| refusals.count(&refusal(&format!("10.0.{n}")), now).0).count();
        assert_eq!(own, 100);
        let rows = refusals.ended(None);
        assert_eq!(rows.len(), 1, "those of addresses beyond the limit are counted together");
        let told: serde_json::Value = serde_json::from_str(rows[0].1.after.as_ref().unwrap()).unwrap();
        assert_eq!(told["count"], 99_900);
    }

    #[test]
    fn what_is_counted_when_a_new_minute_begins_is_not_lost() {
        let refusals = Refusals::default();
        for _ in 0..25 {
            refusals.count(&refusal("a"), Moment(0));
        }
        let (own, ended) = refusals.count(&refusal("a"), Moment(MINUTE));
        assert!(own);
        assert_eq!(ended.len(), 1);
    }

    /// docs/AUDIT.md: what was refused is denied, under the code that was answered.
    #[test]
    fn a_refusal_is_told_as_one_with_the_code_of_the_answer() {
        let entry = refusal("a").entry();
        assert_eq!((entry.outcome, entry.code.as_deref()), (Outcome::Denied, Some("unauthorized")));
        assert_eq!(entry.action, "access.authenticate");
        let refusals = Refusals::default();
        (0..21).for_each(|_| drop(refusals.count(&Refusal { status: 403, ..refusal("a") }, Moment(0))));
        let (_, beyond) = refusals.ended(None).remove(0);
        assert_eq!((beyond.outcome, beyond.code.as_deref()), (Outcome::Denied, Some("unauthorized")));
        assert_eq!((beyond.action.as_ref(), beyond.object_id), ("access.authorize", None));
    }

    #[test]
    fn of_all_addresses_together_a_hundred_and_twenty_refusals_a_minute_have_rows() {
        let refusals = Refusals::default();
        let own =
            (0..60).map(|n| (0..3).filter(|_| refusals.count(&refusal(&n.to_string()), Moment(0)).0).count());
        assert_eq!(own.sum::<usize>(), 120);
        let told: Vec<u64> = refusals
            .ended(None)
            .into_iter()
            .map(|(_, entry)| serde_json::from_str::<serde_json::Value>(&entry.after.unwrap()).unwrap())
            .map(|told| told["count"].as_u64().unwrap())
            .collect();
        assert_eq!(told.iter().sum::<u64>(), 60);
    }
}
