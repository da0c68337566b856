//! kill -9 at any moment: what was answered is there, unchanged and once; what was not can be sent again.

use super::load::{Chance, Load, Round, Tally};
use super::{OPEN, Place, Service};
use crate::support::{Backend, times};
use std::time::Duration;

/// Clients writing at once.
const WRITERS: u64 = 8;
/// Those of them who hang up before some answers.
const HASTY: u64 = 3;
/// Longest time from the start of a process to a healthy service.
const UP: Duration = Duration::from_secs(5);

/// Starts the service after a kill; every fifth time it is killed once more while it is starting.
pub(super) fn recover(place: &Place, round: u64, chance: &mut Chance) -> Service {
    if round.is_multiple_of(5) {
        let mut starting = place.command(&[&["serve"], OPEN.as_slice()].concat()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(chance.below(150)));
        starting.kill().unwrap();
        starting.wait().unwrap();
    }
    place.serve(&OPEN)
}

async fn rounds(backend: Backend, rounds: u64, seed: u64) -> Tally {
    let place = Place::new(backend).await;
    let mut chance = Chance::new(seed);
    let mut service = place.serve(&OPEN);
    let mut load = Load::begin(&service.api, WRITERS).await;
    let mut sum = Tally::default();
    for round in 0..rounds {
        let api = service.api.clone();
        let pause = Duration::from_micros(chance.below(30_000));
        let until = Round { hasty: HASTY, answers: 5 + chance.below(100), pause };
        load.run(&api, until, || service.kill()).await;
        service = recover(&place, round, &mut chance);
        assert!(service.took < UP, "round {round}: up after {:?}", service.took);
        assert!(service.api.healthy().await, "round {round}: {:?}", service.err.all());
        let tally = load.settle(&service.api, false).await;
        sum.add(&tally);
    }
    service.stop();
    // Nothing is shown from memory only: a process that never saw the writes shows the same.
    let service = place.serve(&OPEN);
    load.settle(&service.api, true).await;
    service.stop();
    sum
}

/// Rounds on one database after another, so that what there is to be compared does not grow without end.
async fn kills(backend: Backend, places: u64, each: u64) -> Tally {
    let mut sum = Tally::default();
    for number in 0..places {
        let tally = rounds(backend, each, each + number).await;
        sum.answered += tally.answered;
        sum.add(&Tally { answered: sum.answered, ..tally });
    }
    eprintln!("{} kills of {backend:?}: {sum:?}", places * each);
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_no_answered_write_on_sqlite() {
    let places = times(1, 5);
    let tally = kills(Backend::Sqlite, places, 20).await;
    let tried = tally.answered > 800 * usize::try_from(places).unwrap() && tally.kept > 0 && tally.lost > 20;
    assert!(tried, "too little was tried: {tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_lose_no_answered_write_on_postgres() {
    let tally = kills(Backend::Postgres, times(1, 4), 5).await;
    assert!(tally.answered > 100 && tally.kept + tally.lost > 5, "too little was tried: {tally:?}");
}
