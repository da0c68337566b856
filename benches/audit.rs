//! Verifying the audit trail: every row read back from the database and held to its hash, beside as many plain
//! HMAC-SHA-256 over messages of the same length.

#![expect(clippy::expect_used, reason = "a measurement that cannot go on says where it stopped")]

use crate::{ROUNDS, Row, median, shown, timed, times};
use artifact::clock::Clock;
use artifact::domain::audit::{Actor, ActorKind, Entry};
use artifact::storage::database::{Database, Location};
use artifact::storage::error::StorageError;
use artifact::workers::audit_trail::{AuditTrail, Given};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows of the trail.
const ROWS: u64 = 200_000;
/// Rows of a commit while it is filled.
const COMMIT: u64 = 1_000;
/// What the link of a row takes beside its texts: what it is, the link before, two numbers, twelve lengths.
const FRAME: usize = 20 + 32 + 2 * 8 + 12 * 8;

fn actor() -> Actor {
    Actor {
        key_prefix: Some("8f14e45fceea".to_owned()),
        address: Some("192.0.2.7".to_owned()),
        request_id: Some("0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11".to_owned()),
        ..Actor::new(ActorKind::Key, "key:8f14e45fceea")
    }
}

fn trade(number: u64) -> Value {
    json!({ "type": "buy", "symbol": "GOLD", "quantity": "2", "price": "1901.25", "currency": "USD",
        "executed_at": "2026-11-20T00:00:00.000000Z", "external_id": format!("x{number}") })
}

/// A trail of that many rows.
async fn filled(db: &Database) {
    for first in (0..ROWS / COMMIT).map(|commit| commit * COMMIT) {
        let told = db.writer().write::<_, StorageError, _>(actor(), move |tx| {
            Box::pin(async move {
                for number in first..first + COMMIT {
                    tx.audit(Entry::created("portfolio.transaction.create", number, &trade(number)));
                }
                Ok(())
            })
        });
        told.await.expect("rows");
    }
}

/// As many messages of that length under one key.
fn plain(length: usize) -> Duration {
    let (keyed, message) = (Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("a key"), vec![b'x'; length]);
    timed(|| {
        let mut last = [0; 32];
        for _ in 0..ROWS {
            let mut mac = keyed.clone();
            mac.update(&message);
            mac.update(&last);
            last = mac.finalize().into_bytes().into();
        }
        last
    })
}

/// Measures a verification, the database's part included.
pub(crate) async fn run() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("audit-{}", std::process::id()));
    let clock = Clock::system();
    let db = Database::open(&Location::Directory(folder.clone()), clock.clone()).await.expect("open");
    let trail = AuditTrail::under(&folder, db.audit_keys().clone(), 0);
    trail.begin(&db, clock.now()).await.expect("a first anchor");
    filled(&db).await;
    trail.anchor(&db, clock.now()).await.expect("an anchor");
    let texts = "key:8f14e45fceeakey8f14e45fceea192.0.2.7portfolio.transaction.createportfolio.transaction123456\
                 done0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11";
    let length = FRAME + texts.len() + trade(123_456).to_string().len();
    let (mut ours, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let verdict = trail.verify(&db, Given::default(), &clock).await.expect("a verdict");
        ours.push(began.elapsed());
        assert!(verdict.is_good() && verdict.rows == ROWS, "{verdict:?}");
        peers.push(plain(length - 32));
    }
    db.close().await;
    let (ours, peer) = (median(ours), median(peers));
    let per_second = u128::from(ROWS) * 1_000_000 / ours.as_micros().max(1);
    Row {
        work: "verifying 200,000 rows of the audit trail, rows a second",
        figure: per_second.to_string(),
        beside: format!("as many plain HMAC-SHA-256 {}", shown(peer)),
        ratio: times(ours, peer),
        goal: "100,000 a second",
    }
    .print();
    std::fs::remove_dir_all(folder).unwrap_or_default();
}
