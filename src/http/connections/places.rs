//! How many connections there may be. A full house sends away who has been idle longest, and keeps a few places in
//! which the service can still be asked how it is.

use super::activity::Activity;
use crate::http::client_address::TrustedProxies;
use crate::telemetry::HTTP_CONNECTIONS;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Places beyond the limits, for questions about health.
const SPARE: usize = 64;
/// Of the connections in question, the share that is sent away at a time: looking through all of them must not be the
/// price of every new one.
const SHARE: usize = 16;

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Anything.
    #[default]
    Guest,
    /// How the service is: it came when every place was busy.
    Spare,
}

#[derive(Debug)]
struct Holder {
    address: IpAddr,
    activity: Arc<Activity>,
    standing: Standing,
    leaving: bool,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    holders: HashMap<u64, Holder>,
    /// Guests who are not about to leave, by address.
    staying: HashMap<IpAddr, usize>,
    guests: usize,
    spare: usize,
}

impl Taken {
    /// Sends away those who have been idle longest, of one address or of all.
    fn make_room(&mut self, address: Option<IpAddr>, standing: Standing, share: usize) {
        let chosen = |holder: &Holder| {
            holder.standing == standing && !holder.leaving && address.is_none_or(|of| of == holder.address)
        };
        let mut idle: Vec<(u64, u64)> = self
            .holders
            .iter()
            .filter(|(_, holder)| chosen(holder))
            .filter_map(|(id, holder)| Some((holder.activity.idle_since()?, *id)))
            .collect();
        let count = share.min(idle.len());
        if count == 0 {
            return;
        }
        if count < idle.len() {
            idle.select_nth_unstable(count);
        }
        for (_, id) in idle.into_iter().take(count) {
            let Some(holder) = self.holders.get_mut(&id) else { continue };
            holder.leaving = true;
            holder.activity.send_away();
            let (address, standing) = (holder.address, holder.standing);
            self.free(address, standing);
        }
    }

    fn free(&mut self, address: IpAddr, standing: Standing) {
        if standing == Standing::Spare {
            self.spare = self.spare.saturating_sub(1);
            return;
        }
        self.guests = self.guests.saturating_sub(1);
        if let Some(count) = self.staying.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.staying.remove(&address);
            }
        }
    }

    fn count(&self) {
        metrics::gauge!(HTTP_CONNECTIONS).set(u32::try_from(self.holders.len()).unwrap_or(u32::MAX));
    }

    fn of(&self, address: IpAddr) -> usize {
        self.staying.get(&address).copied().unwrap_or_default()
    }
}

/// The places of all connections from the network.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    most_of_one: usize,
    proxies: TrustedProxies,
    taken: Mutex<Taken>,
}

impl Places {
    pub(super) fn new(most: usize, most_of_one: usize, proxies: TrustedProxies) -> Self {
        Self { most, most_of_one, proxies, taken: Mutex::default() }
    }

    /// A place for a connection; `None` when even the spare ones are taken by others who ask.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr, activity: &Arc<Activity>) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // A proxy speaks for many.
        let limited = !self.proxies.include(address);
        if limited && taken.of(address) >= self.most_of_one {
            taken.make_room(Some(address), Standing::Guest, (self.most_of_one / SHARE).max(1));
        }
        if taken.guests >= self.most {
            taken.make_room(None, Standing::Guest, (self.most / SHARE).max(1));
        }
        let full = taken.guests >= self.most || (limited && taken.of(address) >= self.most_of_one);
        let standing = if full { Standing::Spare } else { Standing::Guest };
        if full {
            if taken.spare >= SPARE {
                taken.make_room(None, Standing::Spare, 1);
            }
            if taken.spare >= SPARE {
                return None;
            }
            taken.spare += 1;
        } else {
            taken.guests += 1;
            *taken.staying.entry(address).or_default() += 1;
        }
        taken.next += 1;
        let id = taken.next;
        let holder = Holder { address, activity: Arc::clone(activity), standing, leaving: false };
        taken.holders.insert(id, holder);
        taken.count();
        Some(Place { id, standing, places: Arc::clone(self) })
    }

    /// Sends idle connections away because the machine has no more to give.
    pub(super) fn shrink(&self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let share = (taken.guests / SHARE).max(1);
        taken.make_room(None, Standing::Guest, share);
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    pub(super) standing: Standing,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = taken.holders.remove(&self.id)
            && !holder.leaving
        {
            taken.free(holder.address, holder.standing);
        }
        taken.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::domain::moment::Moment;

    struct House {
        places: Arc<Places>,
        clock: Clock,
        now: i64,
    }

    impl House {
        fn new(most: usize, of_one: usize) -> Self {
            let trusted = TrustedProxies {
                networks: vec!["10.0.0.1/32".parse().unwrap()],
                ..TrustedProxies::default()
            };
            Self {
                places: Arc::new(Places::new(most, of_one, trusted)),
                clock: Clock::manual(Moment(0)),
                now: 0,
            }
        }

        fn enter(&mut self, address: &str) -> (Option<Place>, Arc<Activity>) {
            self.now += 1;
            self.clock.set(Moment(self.now * 1_000_000));
            let activity = Arc::new(Activity::new(self.clock.clone()));
            (self.places.take(address.parse().unwrap(), &activity), activity)
        }
    }

    fn standing(entered: &(Option<Place>, Arc<Activity>)) -> Option<Standing> {
        entered.0.as_ref().map(|place| place.standing)
    }

    fn serve_all(entered: &[(Option<Place>, Arc<Activity>)]) {
        for (_, activity) in entered {
            activity.begin(0);
        }
    }

    async fn was_sent_away(activity: &Activity) -> bool {
        let at_once = tokio::time::timeout(std::time::Duration::ZERO, activity.sent_away());
        at_once.await.is_ok()
    }

    #[tokio::test]
    async fn who_was_idle_longest_makes_room_for_another_of_the_same_address() {
        let mut house = House::new(100, 3);
        let first = house.enter("192.0.2.1");
        first.1.begin(0);
        let second = house.enter("192.0.2.1");
        let third = house.enter("192.0.2.1");
        let fourth = house.enter("192.0.2.1");
        assert_eq!(standing(&fourth), Some(Standing::Guest));
        assert!(!was_sent_away(&first.1).await, "it serves a request");
        assert!(was_sent_away(&second.1).await);
        assert!(!was_sent_away(&third.1).await);
        assert_eq!(standing(&house.enter("192.0.2.2")), Some(Standing::Guest));
    }

    #[test]
    fn when_all_are_busy_a_few_may_still_ask_how_the_service_is() {
        let mut house = House::new(2, 2);
        let busy: Vec<_> = (0..2).map(|_| house.enter("192.0.2.1")).collect();
        serve_all(&busy);
        let mut spare: Vec<_> = (0..SPARE).map(|_| house.enter("192.0.2.3")).collect();
        assert!(spare.iter().all(|entered| standing(entered) == Some(Standing::Spare)));
        assert_eq!(standing(&house.enter("192.0.2.4")), Some(Standing::Spare), "an idle one makes room");
        serve_all(&spare);
        let held = house.enter("192.0.2.5");
        held.1.begin(0);
        assert_eq!(standing(&house.enter("192.0.2.6")), None);
        spare.pop();
        assert_eq!(standing(&house.enter("192.0.2.6")), Some(Standing::Spare));
        drop((busy, spare, held));
        assert_eq!(standing(&house.enter("192.0.2.1")), Some(Standing::Guest));
        let taken = house.places.taken.lock().unwrap();
        assert_eq!((taken.guests, taken.spare, taken.holders.len(), taken.staying.len()), (0, 0, 0, 0));
    }

    #[test]
    fn a_trusted_proxy_may_hold_more_than_others() {
        let mut house = House::new(5, 1);
        let held: Vec<_> = (0..5).map(|_| house.enter("10.0.0.1")).collect();
        serve_all(&held);
        assert!(held.iter().all(|entered| standing(entered) == Some(Standing::Guest)));
        assert_eq!(standing(&house.enter("10.0.0.1")), Some(Standing::Spare));
    }
}
