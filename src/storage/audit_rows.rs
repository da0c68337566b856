//! Reading `audit_rows`: lists, exports, and every row for a verification.

use crate::domain::audit::anchor::Anchors;
use crate::domain::audit::key_ring::KeyRing;
use crate::domain::audit::verification::{FaultKind, Verifier};
use crate::domain::audit::{Head, Link, Outcome, RowText, START};
use crate::domain::moment::Moment;
use crate::named_enum;
use crate::storage::audit;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::page::{Page, push_page};
use sqlx::{ColumnIndex, Decode, QueryBuilder, Row, Type};

/// Rows a verification reads at a time.
const SCANNED: i64 = 4_096;
/// Newest rows by which a key is judged.
const JUDGED: i64 = 32;

macro_rules! columns {
    () => {
        "seq, recorded_at, actor, actor_kind, key_prefix, address, action, object_type, object_id, outcome, code, \
         request_id, before_json, after_json, hash"
    };
}

/// A row of the trail.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct AuditRow {
    /// Its number.
    pub seq: i64,
    /// When it was committed.
    pub recorded_at: Moment,
    /// Who.
    pub actor: String,
    /// What kind of caller.
    pub actor_kind: String,
    /// Public part of the key shown.
    pub key_prefix: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub object_type: String,
    /// To which.
    pub object_id: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// Code of a refusal.
    pub code: Option<String>,
    /// In which request.
    pub request_id: Option<String>,
    /// How it was before.
    pub before_json: Option<String>,
    /// How it was then.
    pub after_json: Option<String>,
    /// The link of the chain.
    pub hash: Vec<u8>,
}

named_enum! {
    /// How rows are sorted.
    AuditSort {
        /// By their number.
        Seq = "seq",
    }
}

/// Which rows are wanted.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// From this moment on.
    pub from: Option<Moment>,
    /// Before this moment.
    pub to: Option<Moment>,
    /// Of this actor.
    pub actor: Option<String>,
    /// This action; with a dot at its end, every action below it.
    pub action: Option<String>,
    /// To this type of object.
    pub object_type: Option<String>,
    /// To this object.
    pub object_id: Option<String>,
    /// With this end.
    pub outcome: Option<Outcome>,
    /// In this request.
    pub request_id: Option<String>,
}

/// The rows of a page.
pub async fn list(
    tx: &mut Tx,
    filter: &AuditFilter,
    page: &Page<AuditSort>,
) -> Result<Vec<AuditRow>, StorageError> {
    const SELECT: &str = concat!("SELECT ", columns!(), " FROM audit_rows WHERE 1 = 1");
    macro_rules! fetch {
        ($open:expr) => {{
            let mut query = QueryBuilder::new(SELECT);
            if let Some(from) = filter.from {
                query.push(" AND recorded_at >= ").push_bind(from);
            }
            if let Some(to) = filter.to {
                query.push(" AND recorded_at < ").push_bind(to);
            }
            match filter.action.as_deref().map(|action| (action, action.ends_with('.'))) {
                Some((prefix, true)) => {
                    // What begins with `a.` lies between `a.` and `a/`, the next character.
                    let end = format!("{}/", prefix.trim_end_matches('.'));
                    query.push(" AND action > ").push_bind(prefix.to_owned());
                    query.push(" AND action < ").push_bind(end);
                }
                Some((action, false)) => drop(query.push(" AND action = ").push_bind(action.to_owned())),
                None => {}
            }
            for (column, value) in [
                (" AND actor = ", &filter.actor),
                (" AND object_type = ", &filter.object_type),
                (" AND object_id = ", &filter.object_id),
                (" AND request_id = ", &filter.request_id),
            ] {
                if let Some(value) = value {
                    query.push(column).push_bind(value.clone());
                }
            }
            if let Some(outcome) = filter.outcome {
                query.push(" AND outcome = ").push_bind(outcome.name());
            }
            push_page!(query, page, "seq", true, "seq");
            query.build_query_as().fetch_all($open).await
        }};
    }
    on!(tx, conn => fetch!(conn))
}

/// When the first row was written: as old as that is the data.
pub async fn first_at(tx: &mut Tx) -> Result<Option<Moment>, StorageError> {
    const SQL: &str = "SELECT recorded_at FROM audit_rows ORDER BY seq LIMIT 1";
    Ok(on!(tx, conn => sqlx::query_scalar(SQL).fetch_optional(conn).await)?)
}

/// Hands a verification the rows after the last it has, at most a few thousand; how many there were.
pub async fn scan(tx: &mut Tx, verifier: &mut Verifier) -> Result<usize, StorageError> {
    const SQL: &str = concat!("SELECT ", columns!(), " FROM audit_rows WHERE seq > $1 ORDER BY seq LIMIT $2");
    let last = verifier.last();
    on!(tx, conn => {
        let rows = sqlx::query(SQL).bind(last).bind(SCANNED).fetch_all(conn).await;
        rows.and_then(|rows| rows.iter().try_for_each(|row| hand_over(row, verifier)).map(|()| rows.len()))
    })
}

fn hand_over<'r, R: Row>(row: &'r R, verifier: &mut Verifier) -> Result<(), sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    &'r str: Decode<'r, R::Database> + Type<R::Database>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut texts = [None; 12];
    for (place, text) in texts.iter_mut().enumerate() {
        *text = row.try_get::<Option<&str>, _>(place + 2)?;
    }
    let row_text = RowText { seq: row.try_get(0)?, recorded_at: Moment(row.try_get(1)?), texts };
    verifier.row(&row_text, row.try_get::<&[u8], _>(14)?);
    Ok(())
}

/// Whether a trail that has rows ends with one of an earlier key. One that fits no key is for a verification to find.
pub async fn ends_with_earlier_key(tx: &mut Tx, keys: &KeyRing) -> Result<bool, StorageError> {
    let end = audit::head(tx).await?;
    let Some(before) = head_at(tx, end.seq - 1).await? else { return Ok(false) };
    let mut verifier = Verifier::new(keys.clone(), Some(Anchors::default()), Vec::new(), before);
    scan(tx, &mut verifier).await?;
    Ok(verifier.end().keys.last().is_some_and(|key| key.number < keys.count()))
}

/// Refuses keys that the trail was not made with: one row made with such would break the chain for good. Of the newest rows
/// one that fits is enough, since those that were touched are for a verification to find. Rows up to `after` do not count.
///
/// # Errors
/// [`StorageError::AuditKey`], and the database's.
pub async fn refuse_other_key(tx: &mut Tx, keys: &KeyRing, after: i64) -> Result<(), StorageError> {
    let end = audit::head(tx).await?;
    let first = (end.seq - JUDGED).max(after);
    if end.seq <= first {
        return Ok(());
    }
    let before = head_at(tx, first).await?.unwrap_or(Head { seq: first, hash: START });
    let mut verifier = Verifier::new(keys.clone(), Some(Anchors::default()), Vec::new(), before);
    while scan(tx, &mut verifier).await? > 0 {}
    let verdict = verifier.end();
    let unfit = verdict.faults.iter().filter(|fault| fault.kind == FaultKind::Hash).count();
    if u64::try_from(unfit).is_ok_and(|unfit| unfit < verdict.rows) {
        return Ok(());
    }
    Err(StorageError::AuditKey(format!(
        "the audit trail was not made with the key that is here: rows {} to {} do not fit it; put its key back, or see \
         docs/AUDIT.md",
        first + 1,
        end.seq
    )))
}

/// Where the chain stood at a row; `None` when there is no such row.
pub async fn head_at(tx: &mut Tx, seq: i64) -> Result<Option<Head>, StorageError> {
    const SQL: &str = "SELECT hash FROM audit_rows WHERE seq = $1";
    if seq == 0 {
        return Ok(Some(Head::EMPTY));
    }
    let hash: Option<Vec<u8>> =
        on!(tx, conn => sqlx::query_scalar(SQL).bind(seq).fetch_optional(conn).await)?;
    let Some(hash) = hash else { return Ok(None) };
    let hash = Link::try_from(hash).map_err(|_| StorageError::Corrupt(format!("hash of audit row {seq}")))?;
    Ok(Some(Head { seq, hash }))
}
