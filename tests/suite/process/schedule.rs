//! The schedule of backups, kept by the running service.

use super::{OPEN, Place, Service};
use crate::support::Backend;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Longest until what is due was done: three looks, and what one of them does.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_takes_backups_by_its_schedule_tries_them_and_lets_the_superfluous_go() {
    let place = Place::new(Backend::Sqlite).await;
    place.run(&["seed", "gold-bitcoin"]).ok();
    // Taken by hand, and never found sound: it is of the last day, so no schedule removes it.
    let by_hand = place.run(&["backup", "create", "--json"]).json()["id"].clone();
    // A backup is due each second, and the schedule is looked at when the service starts and every 20 s after that. The
    // drill of the last one, which nobody has tried before, is due for the first time a second after its start.
    let mut scheduled: Vec<Value> = Vec::new();
    for tried in [false, false, true] {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let mut command = place.command(&[["serve"].as_slice(), OPEN.as_slice()].concat());
        command.env("ARTIFACT_BACKUP__SCHEDULE", "* * * * * *");
        command.env("ARTIFACT_BACKUP__VERIFY_SCHEDULE", if tried { "* * * * * *" } else { "off" });
        let service = Service::start(command);
        let started = Instant::now();
        let newest = loop {
            let kept = service.api.every("/backups").await;
            let is_new = |one: &&Value| {
                one["reason"] == "scheduled" && !scheduled.contains(one) && (one["sound"] == true) == tried
            };
            if let Some(newest) = kept.iter().rfind(is_new) {
                break newest.clone();
            }
            assert!(started.elapsed() < PATIENCE, "{kept:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let health = service.api.get("/health").await.expect(200);
        let backup = &health["checks"]["backup"];
        assert_eq!(
            (&backup["last_success_at"], backup["last_verified_at"].is_string()),
            (&newest["created_at"], tried)
        );
        scheduled.push(newest);
        service.stop();
    }
    let kept = place.run(&["backup", "list", "--json"]).json();
    let ids: Vec<&Value> = kept.as_array().unwrap().iter().map(|one| &one["id"]).collect();
    let [first, _, last] = &scheduled[..] else { panic!("{scheduled:?}") };
    assert!(ids.contains(&&by_hand) && ids.contains(&&last["id"]), "{ids:?}");
    // Of one hour one scheduled backup stays.
    let hour = |one: &Value| one["created_at"].as_str().unwrap()[..13].to_owned();
    assert!(!ids.contains(&&first["id"]) || hour(first) != hour(last), "{ids:?}");
}
