//! Refused callers in the audit trail: each is a row of its own, until there are so many that they would fill it; then
//! one row tells of all from an address in a minute. Callers who are known are counted by name, and not with strangers: no
//! flood from one address hides what a key did.

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
use uuid::Uuid;

/// Rows of their own for one address, or one known caller, in a minute: as many as keys that are not good are looked at.
const EACH: u64 = 300;
/// Rows of their own for all strangers in a minute.
const ALL: u64 = 1_200;
/// Addresses, and callers, whose refusals are counted apart; those of more are counted together.
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
    /// As which user somebody tried to log in.
    pub user: Option<Uuid>,
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
        let after = self.user.map(|user| json!({ "user": user }).to_string());
        Entry { outcome: Outcome::Denied, code: Some(self.code.to_owned()), after, ..told }
    }
}

/// Whose refusals are counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Whose {
    address: Option<String>,
    /// Kind and name of a known caller, whatever the address.
    known: Option<(ActorKind, String)>,
}

impl Whose {
    fn of(actor: &Actor) -> Self {
        if actor.kind == ActorKind::Anonymous {
            return Self { address: actor.address.clone(), known: None };
        }
        Self { address: None, known: Some((actor.kind, actor.name.clone())) }
    }

    /// The one that a row tells of.
    fn actor(self) -> Actor {
        let (kind, name) = self.known.unwrap_or_else(|| (ActorKind::Anonymous, "anonymous".to_owned()));
        Actor { address: self.address, ..Actor::new(kind, name) }
    }
}

/// The refusals of the present minute.
#[derive(Debug, Default)]
struct Minute {
    number: i64,
    /// Rows of strangers.
    strangers: u64,
    of: HashMap<Whose, u64>,
    /// How many have no row of their own, by action and code.
    beyond: HashMap<(Whose, &'static str, &'static str), u64>,
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
        let whose = Whose::of(&refusal.actor);
        let is_stranger = whose.known.is_none();
        let apart = minute.of.len() < ADDRESSES || minute.of.contains_key(&whose);
        let whose = if apart { whose } else { Whose::default() };
        let count = minute.of.entry(whose.clone()).or_default();
        *count += 1;
        let own = apart && *count <= EACH && !(is_stranger && minute.strangers >= ALL);
        if !own {
            *minute.beyond.entry((whose, refusal.action(), refusal.code)).or_default() += 1;
        } else if is_stranger {
            minute.strangers += 1;
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

/// Ends a minute: one row for each address or caller, action and code of which there were more than rows.
fn close(minute: &mut Minute, number: i64) -> Vec<(Actor, Entry)> {
    let ended = std::mem::replace(minute, Minute { number, ..Minute::default() });
    let began = Moment(ended.number.saturating_mul(MINUTE));
    let row = |((whose, action, code), count): ((Whose, _, &str), u64)| {
        let told = json!({ "count": count, "minute": began.to_string() });
        let entry = Entry {
            outcome: Outcome::Denied,
            code: Some(code.to_owned()),
            object_id: None,
            after: Some(told.to_string()),
            ..Entry::done(action, "")
        };
        (whose.actor(), entry)
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
    use serde_json::Value;

    fn refusal(address: &str) -> Refusal {
        let actor =
            Actor { address: Some(address.to_owned()), ..Actor::new(ActorKind::Anonymous, "anonymous") };
        Refusal { actor, route: "GET /markets".to_owned(), user: None, status: 401, code: "unauthorized" }
    }

    fn told(entry: &Entry) -> Value {
        serde_json::from_str(entry.after.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn a_flood_from_one_address_is_told_in_rows_that_are_counted() {
        let (refusals, now) = (Refusals::default(), Moment(MINUTE * 7 + 3));
        let own = (0..1_000).filter(|_| refusals.count(&refusal("a"), now).0).count();
        assert_eq!(own, 300);
        // Another address is heard all the same.
        assert!(refusals.count(&refusal("b"), now).0);
        assert!(refusals.ended(Some(now)).is_empty(), "the minute has not ended");
        let rows = refusals.ended(Some(Moment(MINUTE * 8)));
        assert_eq!(rows.len(), 1);
        let (actor, entry) = &rows[0];
        assert_eq!((actor.address.as_deref(), entry.action.as_ref()), (Some("a"), "access.authenticate"));
        assert_eq!(told(entry)["count"], 700);
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
        assert_eq!(told(&rows[0].1)["count"], 99_900);
    }

    #[test]
    fn a_flood_hides_neither_what_a_known_caller_did_nor_another_kind_of_refusal() {
        let (refusals, now) = (Refusals::default(), Moment(0));
        (0..2_000).for_each(|_| drop(refusals.count(&refusal("a"), now)));
        let bob = Actor { address: Some("a".to_owned()), ..Actor::new(ActorKind::Key, "key:b0b") };
        let of_bob = Refusal { actor: bob, status: 403, code: "forbidden", ..refusal("a") };
        assert!(refusals.count(&of_bob, now).0, "strangers at his address do not count as him");
        assert!(!refusals.count(&Refusal { code: "host_not_allowed", ..refusal("a") }, now).0);
        (0..300).for_each(|_| drop(refusals.count(&of_bob, now)));
        let mut rows: Vec<_> = refusals
            .ended(None)
            .into_iter()
            .map(|(actor, entry)| {
                (actor.name, entry.action.to_string(), entry.code.clone(), told(&entry)["count"].clone())
            })
            .collect();
        rows.sort_by_key(|row| format!("{row:?}"));
        let row = |name: &str, action: &str, code: &str, count: u64| {
            (name.to_owned(), action.to_owned(), Some(code.to_owned()), Value::from(count))
        };
        assert_eq!(
            rows,
            [
                row("anonymous", "access.authenticate", "host_not_allowed", 1),
                row("anonymous", "access.authenticate", "unauthorized", 1_700),
                row("key:b0b", "access.authorize", "forbidden", 1),
            ]
        );
    }

    #[test]
    fn what_is_counted_when_a_new_minute_begins_is_not_lost() {
        let refusals = Refusals::default();
        for _ in 0..305 {
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
        (0..301).for_each(|_| drop(refusals.count(&Refusal { status: 403, ..refusal("a") }, Moment(0))));
        let (_, beyond) = refusals.ended(None).remove(0);
        assert_eq!((beyond.outcome, beyond.code.as_deref()), (Outcome::Denied, Some("unauthorized")));
        assert_eq!((beyond.action.as_ref(), beyond.object_id), ("access.authorize", None));
    }

    #[test]
    fn of_all_strangers_together_twelve_hundred_refusals_a_minute_have_rows() {
        let refusals = Refusals::default();
        let own = (0..60)
            .map(|n| (0..30).filter(|_| refusals.count(&refusal(&n.to_string()), Moment(0)).0).count());
        assert_eq!(own.sum::<usize>(), 1_200);
        let beyond =
            refusals.ended(None).into_iter().map(|(_, entry)| told(&entry)["count"].as_u64().unwrap());
        assert_eq!(beyond.sum::<u64>(), 600);
    }
}
