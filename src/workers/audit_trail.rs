//! The audit trail while the service runs: anchors outside the database, and holding the trail to them.
//!
//! An anchor is written to a file and to the log, at most half a minute behind. Whoever cuts the trail's tail, or puts an
//! old copy of the database back, would have to reach both.

use crate::clock::Clock;
use crate::domain::audit::anchor::{Anchor, AnchorKind};
use crate::domain::audit::key_ring::KeyRing;
use crate::domain::audit::verification::{Verdict, Verifier};
use crate::domain::audit::{Actor, ActorKind, Entry, Head};
use crate::domain::hexadecimal::hex;
use crate::domain::moment::Moment;
use crate::storage::anchor_file::AnchorFile;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::{audit, audit_rows};
use crate::telemetry::{self, recorder};
use serde_json::json;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Time between two looks at where the trail ends.
const EVERY: Duration = Duration::from_secs(30);
/// Time between two verifications: a day.
const VERIFY_EVERY: Duration = Duration::from_hours(24);

/// How long an answer waits for the row that tells of it.
const READ_WAIT: Duration = Duration::from_secs(1);

/// What is done for the audit trail outside the database.
#[derive(Debug)]
pub struct AuditTrail {
    file: Arc<AnchorFile>,
    keys: KeyRing,
    /// Rows up to this one are taken as they are.
    after: i64,
    /// The last anchor; unknown until the file was read.
    anchored: Mutex<Option<Head>>,
    /// One verification at a time.
    verifying: Mutex<()>,
    status: std::sync::Mutex<Status>,
}

/// What is known of the trail, for the health route.
#[derive(Debug, Clone, Copy, Default)]
pub struct Status {
    /// Since when it is tended; none where nobody does.
    pub tended_at: Option<Moment>,
    /// When it was last seen to be anchored to its end.
    pub anchored_at: Option<Moment>,
    /// Whether the last verification found nothing wrong.
    pub whole: Option<bool>,
}

impl Status {
    /// How far the anchors are behind: nothing while nobody tends the trail.
    pub fn behind(&self, now: Moment) -> Option<Duration> {
        let since = self.tended_at.map(|tended| self.anchored_at.map_or(tended, |at| at.max(tended)))?;
        Some(Duration::from_micros(u64::try_from(now.0.saturating_sub(since.0)).unwrap_or_default()))
    }
}

/// Why a verification came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Unverified {
    /// Another one is under way.
    #[error("another verification is under way")]
    Busy,
    /// There is no row with the number it should begin after.
    #[error("there is no row {0}")]
    NoSuchRow(i64),
    /// The database's, or the file's.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What a verification looks at beside the trail and its file of anchors.
#[derive(Debug, Default)]
pub struct Given {
    /// Anchors from elsewhere, such as the log of another machine: row and hash.
    pub anchors: Vec<Head>,
    /// Take this row and those before it as they are.
    pub after: i64,
}

impl AuditTrail {
    /// Of the data in a directory; rows up to `after` are taken as they are.
    pub fn under(directory: &Path, keys: impl Into<KeyRing>, after: i64) -> Self {
        let file = Arc::new(AnchorFile::under(directory));
        Self {
            file,
            keys: keys.into(),
            after,
            anchored: Mutex::new(None),
            verifying: Mutex::new(()),
            status: std::sync::Mutex::default(),
        }
    }

    /// What is known of it.
    pub fn status(&self) -> Status {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_anchored(&self, now: Moment) {
        self.change(|status| status.anchored_at = Some(now));
        note(telemetry::AUDIT_ANCHORED, now);
    }

    /// Runs something that reads or writes the file where that may take its time.
    async fn with_file<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AnchorFile, &KeyRing) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let (file, keys) = (Arc::clone(&self.file), self.keys.clone());
        let done = tokio::task::spawn_blocking(move || work(&file, &keys)).await;
        done.map_err(|error| StorageError::NotCommitted(error.to_string()))?
    }

    /// Writes an anchor when the trail has grown since the last; whether it had.
    ///
    /// # Errors
    /// The database's, and the file's.
    pub async fn anchor(&self, db: &Database, now: Moment) -> Result<bool, StorageError> {
        let mut anchored = self.anchored.lock().await;
        if anchored.is_none() {
            let last = self.with_file(AnchorFile::read).await?;
            *anchored = last.and_then(|anchors| anchors.last().map(|anchor| anchor.head));
        }
        let head = audit::head(&mut db.read().await?).await?;
        if *anchored == Some(head) {
            self.with_file(|file, _| file.look()).await?;
            self.is_anchored(now);
            return Ok(false);
        }
        // A trail that ends before its last anchor was put back, and one with rows and no anchor has lost them: that is
        // not covered up by another one.
        if anchored.map_or_else(|| self.must_have_anchors(head), |last| last.seq >= head.seq) {
            return Ok(false);
        }
        self.write(Anchor { kind: AnchorKind::Anchor, head, at: now, note: String::new() }).await?;
        *anchored = Some(head);
        self.is_anchored(now);
        Ok(true)
    }

    /// Whether a trail that ends there has an anchor: one is written before the first row.
    const fn must_have_anchors(&self, head: Head) -> bool {
        head.seq > self.after
    }

    /// Writes the first anchor, of a trail that has no row yet or begins anew; whether it was to be written. To be called
    /// before anything is told in the trail.
    ///
    /// # Errors
    /// The database's, and the file's.
    pub async fn begin(&self, db: &Database, now: Moment) -> Result<bool, StorageError> {
        if self.must_have_anchors(audit::head(&mut db.read().await?).await?) {
            return Ok(false);
        }
        let anchors = self.with_file(AnchorFile::read).await?;
        if anchors.is_some_and(|anchors| anchors.lines() > 0) {
            return Ok(false);
        }
        self.anchor(db, now).await
    }

    /// When the last anchor was written; none where there is none that can be read.
    pub async fn last_anchor_at(&self) -> Option<Moment> {
        let anchors = self.with_file(AnchorFile::read).await.ok().flatten()?;
        anchors.last().map(|anchor| anchor.at)
    }

    async fn write(&self, anchor: Anchor) -> Result<(), StorageError> {
        let (kind, seq, hash) = (anchor.kind, anchor.head.seq, hex(&anchor.head.hash));
        self.with_file(move |file, keys| file.append(keys, &anchor)).await?;
        tracing::info!(audit.seq = seq, audit.hash = %hash, "audit {kind} {seq}:{hash}");
        Ok(())
    }

    /// Whether the trail still has the row that was anchored last. One with rows and without any anchor does not.
    ///
    /// # Errors
    /// The database's, and the file's.
    pub async fn reaches_its_anchor(&self, db: &Database) -> Result<bool, StorageError> {
        let anchors = self.with_file(AnchorFile::read).await?;
        let mut tx = db.read().await?;
        let Some(last) = anchors.as_ref().and_then(|anchors| anchors.last()) else {
            return Ok(!self.must_have_anchors(audit::head(&mut tx).await?));
        };
        let found = audit_rows::head_at(&mut tx, last.head.seq).await?;
        Ok(found == Some(last.head))
    }

    /// Holds every row to its hash, and the trail to its anchors. The verdict of a whole one, of `clock`'s present moment,
    /// is what is known of the trail from then on.
    ///
    /// # Errors
    /// [`Unverified`]; what is wrong with the trail is in the verdict.
    pub async fn verify(&self, db: &Database, given: Given, clock: &Clock) -> Result<Verdict, Unverified> {
        let is_whole = given.anchors.is_empty() && given.after <= self.after;
        let _one = self.verifying.try_lock().map_err(|_| Unverified::Busy)?;
        // Before the snapshot: what is anchored then is in it.
        let anchors = self.with_file(AnchorFile::read).await?.filter(|anchors| anchors.lines() > 0);
        let mut tx = db.read().await?;
        let after = given.after.max(self.after);
        let start = audit_rows::head_at(&mut tx, after).await?.ok_or(Unverified::NoSuchRow(after))?;
        let told =
            |head: Head| Anchor { kind: AnchorKind::Anchor, head, at: Moment(0), note: "given".to_owned() };
        let given = given.anchors.into_iter().map(told).collect();
        let mut verifier = Verifier::new(self.keys.clone(), anchors, given, start);
        while audit_rows::scan(&mut tx, &mut verifier).await? > 0 {}
        let verdict = verifier.end();
        if is_whole {
            self.change(|status| status.whole = Some(verdict.is_good()));
            metrics::gauge!(telemetry::AUDIT_WHOLE).set(recorder::value(u64::from(verdict.is_good())));
            note(telemetry::AUDIT_VERIFIED, clock.now());
        }
        Ok(verdict)
    }

    /// Records that the database was put back to an earlier state, or that anchors were lost, and somebody answers for
    /// it: a line among the anchors, which gives up those beyond the trail's end, and a row in the trail.
    ///
    /// # Errors
    /// The database's, and the file's.
    pub async fn accept_restore(
        &self,
        db: &Database,
        actor: impl Into<Arc<Actor>>,
        (note, now): (&str, Moment),
    ) -> Result<Head, StorageError> {
        let mut anchored = self.anchored.lock().await;
        let lost = self.with_file(AnchorFile::read).await?;
        let lost = lost.and_then(|anchors| anchors.last().map(|anchor| anchor.head));
        let head = audit::head(&mut db.read().await?).await?;
        self.file.take_as_it_is();
        self.write(Anchor { kind: AnchorKind::Restore, head, at: now, note: note.to_owned() }).await?;
        let told = self.tell_restore(db, actor, (note, now), (lost, head)).await?;
        *anchored = Some(told);
        Ok(told)
    }

    /// Ends a restore that stands among the anchors and not yet in the trail: its row is written before any other.
    /// Whether there was one.
    ///
    /// # Errors
    /// The database's, and the file's.
    pub async fn end_restore(&self, db: &Database, now: Moment) -> Result<bool, StorageError> {
        let mut anchored = self.anchored.lock().await;
        let Some(anchors) = self.with_file(AnchorFile::read).await? else { return Ok(false) };
        let head = audit::head(&mut db.read().await?).await?;
        let Some(restore) = anchors.restored().filter(|restore| restore.head == head) else {
            return Ok(false);
        };
        let owner = Actor::new(ActorKind::Owner, "owner");
        let told = self.tell_restore(db, owner, (&restore.note, now), (anchors.lost, head)).await?;
        *anchored = Some(told);
        Ok(true)
    }

    /// Goes on with the newest key, if the trail ends with a row of an earlier one: the first row that is made with it
    /// says so. Whether there was one.
    ///
    /// # Errors
    /// The database's, and the file's.
    pub async fn take_up_newest_key(&self, db: &Database, now: Moment) -> Result<bool, StorageError> {
        if !audit_rows::ends_with_earlier_key(&mut db.read().await?, &self.keys).await? {
            return Ok(false);
        }
        let number = self.keys.count();
        let entry = Entry::changed(
            "audit.key",
            "trail",
            (&json!({ "number": number - 1 }), &json!({ "number": number })),
        );
        let told = db.writer().write::<_, StorageError, _>(Actor::system("audit"), move |tx| {
            Box::pin(async move {
                tx.audit(entry);
                Ok(())
            })
        });
        told.await?;
        self.anchor(db, now).await?;
        Ok(true)
    }

    /// Writes the row of a restore, with the end that was lost and the one that was found, and anchors it.
    async fn tell_restore(
        &self,
        db: &Database,
        actor: impl Into<Arc<Actor>>,
        (note, now): (&str, Moment),
        (lost, head): (Option<Head>, Head),
    ) -> Result<Head, StorageError> {
        let shape = |head: Head| json!({ "seq": head.seq, "hash": hex(&head.hash) });
        let (before, after) = (lost.map(shape), shape(head));
        let entry = Entry::changed("database.restore", note, (&before, &after));
        let told = db.writer().write::<_, StorageError, _>(actor, move |tx| {
            Box::pin(async move {
                tx.audit(entry);
                Ok(())
            })
        });
        told.await?;
        let head = audit::head(&mut db.read().await?).await?;
        self.write(Anchor { kind: AnchorKind::Anchor, head, at: now, note: String::new() }).await?;
        Ok(head)
    }
}

/// Tells of what somebody reads, such as an export. The row is on disk when this returns, unless that takes longer than a
/// second: what is read is given out also while nothing can be written, and then the log tells.
pub async fn tell_of_read(db: &Database, actor: Arc<Actor>, entry: Entry) {
    let told = format!("{} {} {:?}", actor.name, entry.action, entry.object_id);
    let db = db.clone();
    let writing = tokio::spawn(async move {
        let work = db.writer().write::<_, StorageError, _>(actor, move |tx| {
            Box::pin(async move {
                tx.audit(entry);
                Ok(())
            })
        });
        if let Err(error) = work.await {
            tracing::error!(%error, "the audit trail has no row of what was read: {told}");
        }
    });
    // The row is written all the same when the answer does not wait for it any longer.
    drop(tokio::time::timeout(READ_WAIT, writing).await);
}

/// Anchors the trail until `stop` is cancelled, and verifies it at the start and once a day.
pub async fn supervise(trail: Arc<AuditTrail>, db: Database, clock: Clock, stop: CancellationToken) {
    match trail.reaches_its_anchor(&db).await {
        Ok(true) => {}
        Ok(false) => tracing::error!(
            "the audit trail does not have the row that was anchored last: an old copy of the database was put back, its \
             tail was cut, or its anchors were removed; see `artifact audit verify`, and docs/AUDIT.md for a restore"
        ),
        Err(error) => tracing::error!(%error, "the anchors of the audit trail cannot be read"),
    }
    let tended_at = clock.now();
    trail.change(|status| status.tended_at = Some(tended_at));
    // A long trail takes longer to verify than an anchor may wait.
    let ((), ()) = tokio::join!(anchored(&trail, &db, &clock, &stop), verified(&trail, &db, &clock, &stop));
}

/// Anchors the trail each half minute.
async fn anchored(trail: &AuditTrail, db: &Database, clock: &Clock, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        if let Err(error) = trail.anchor(db, clock.now()).await {
            metrics::counter!(telemetry::AUDIT_WRITE_FAILURES).increment(1);
            tracing::error!(%error, "the audit trail could not be anchored");
        }
        drop(tokio::time::timeout(EVERY, stop.cancelled()).await);
    }
}

/// Verifies the trail once a day, by a clock that nobody sets.
async fn verified(trail: &AuditTrail, db: &Database, clock: &Clock, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = check(trail, db, clock) => {}
            () = stop.cancelled() => return,
        }
        if tokio::time::timeout(VERIFY_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Sets a gauge to a moment.
fn note(gauge: &'static str, at: Moment) {
    let seconds = u64::try_from(at.0.div_euclid(1_000_000)).unwrap_or_default();
    metrics::gauge!(gauge).set(recorder::value(seconds));
}

/// Verifies the trail and says in the log what was found.
async fn check(trail: &AuditTrail, db: &Database, clock: &Clock) {
    match trail.verify(db, Given::default(), clock).await {
        Ok(verdict) if verdict.is_good() => {
            tracing::info!(audit.rows = verdict.rows, "the audit trail is whole");
        }
        Ok(verdict) => {
            let first = verdict.faults.first().map(|fault| fault.detail.clone()).unwrap_or_default();
            tracing::error!(
                audit.faults = verdict.faults_total,
                "the audit trail was tampered with: {first}"
            );
        }
        Err(Unverified::Busy) => {}
        Err(error) => tracing::error!(%error, "the audit trail could not be verified"),
    }
}
