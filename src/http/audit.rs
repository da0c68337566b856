//! Reading the audit trail, and holding it to its key and its anchors.

use crate::domain::audit::anchor::Anchor;
use crate::domain::audit::verification::{Fault, KeyUse, Verdict};
use crate::domain::audit::{Entry, Head, Outcome};
use crate::domain::hexadecimal::{from_hex, hex};
use crate::domain::moment::Moment;
use crate::http::AppState;
use crate::http::auth::{Admin, AuditRead, Caller};
use crate::http::error::{ApiError, Code};
use crate::http::export_records::csv_line;
use crate::http::fields::{Fields, Unknown};
use crate::http::posted::Posted;
use crate::http::query::Query;
use crate::http::streams::{Chunks, StreamFormat, respond};
use crate::http::wire::Time;
use crate::storage::audit_rows::{self, AuditFilter, AuditRow, AuditSort};
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::page::{After, Page};
use crate::workers::audit_trail::{self, Given, Unverified};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use chrono_tz::Tz;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Rows of an export written at a time.
const PART: i64 = 1_000;

/// A row of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditRowView {
    /// Its number; there are no gaps.
    #[schema(example = 1042)]
    seq: i64,
    recorded_at: Time,
    #[schema(example = "key:8f14e45fceea")]
    actor: String,
    #[schema(example = "key")]
    actor_kind: String,
    #[schema(example = "8f14e45fceea")]
    key_prefix: Option<String>,
    #[schema(example = "192.0.2.7")]
    address: Option<String>,
    #[schema(example = "market.create")]
    action: String,
    #[schema(example = "market")]
    object_type: String,
    #[schema(example = "0190d9b4-3f3c-7c3e-9a53-0a1b2c3d4e5f")]
    object_id: Option<String>,
    /// done, denied or failed
    #[schema(example = "done")]
    outcome: String,
    /// Code of the refusal or failure.
    code: Option<String>,
    request_id: Option<String>,
    /// How it was before, without secrets; of a change the fields that differ.
    #[schema(value_type = Option<Object>)]
    before: Option<Box<RawValue>>,
    /// How it was then.
    #[schema(value_type = Option<Object>)]
    after: Option<Box<RawValue>>,
    /// HMAC-SHA-256 of the row and the one before it.
    #[schema(example = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")]
    hash: String,
}

/// What was told, as the JSON it is; a text that somebody put there is shown as a text.
fn told(text: Option<String>) -> Option<Box<RawValue>> {
    let text = text?;
    RawValue::from_string(text.clone())
        .or_else(|_| RawValue::from_string(Value::String(text).to_string()))
        .ok()
}

impl From<AuditRow> for AuditRowView {
    fn from(row: AuditRow) -> Self {
        Self {
            seq: row.seq,
            recorded_at: Time(row.recorded_at),
            actor: row.actor,
            actor_kind: row.actor_kind,
            key_prefix: row.key_prefix,
            address: row.address,
            action: row.action,
            object_type: row.object_type,
            object_id: row.object_id,
            outcome: row.outcome,
            code: row.code,
            request_id: row.request_id,
            before: told(row.before_json),
            after: told(row.after_json),
            hash: hex(&row.hash),
        }
    }
}

/// Columns of an exported table.
const COLUMNS: [&str; 15] = [
    "seq",
    "recorded_at",
    "actor",
    "actor_kind",
    "key_prefix",
    "address",
    "action",
    "object_type",
    "object_id",
    "outcome",
    "code",
    "request_id",
    "before",
    "after",
    "hash",
];

fn cells(row: AuditRow) -> [String; 15] {
    let or_empty = Option::unwrap_or_default;
    [
        row.seq.to_string(),
        row.recorded_at.to_string(),
        row.actor,
        row.actor_kind,
        or_empty(row.key_prefix),
        or_empty(row.address),
        row.action,
        row.object_type,
        or_empty(row.object_id),
        row.outcome,
        or_empty(row.code),
        or_empty(row.request_id),
        or_empty(row.before_json),
        or_empty(row.after_json),
        hex(&row.hash),
    ]
}

fn read_filter(query: &mut Query) -> AuditFilter {
    AuditFilter {
        from: query.from("from", Tz::UTC),
        to: query.before("to", Tz::UTC),
        actor: query.text("actor"),
        action: query.text("action"),
        object_type: query.text("object_type"),
        object_id: query.text("object_id"),
        outcome: query.one_of("outcome", Outcome::NAMES, Outcome::from_name),
        request_id: query.text("request_id"),
    }
}

/// List the audit trail
///
/// In the order in which it was written; `sort=-seq` begins with the newest.
#[utoipa::path(get, path = "/audit", operation_id = "list_audit", tag = "audit",
    params(
        ("from" = Option<String>, Query, description = "From this moment or day (UTC)"),
        ("to" = Option<String>, Query, description = "Before this moment, or through this day"),
        ("actor" = Option<String>, Query, description = "Only what this actor did: `key:PREFIX`, `owner`, `system:PART`"),
        ("action" = Option<String>, Query, description = "Only this action; with a dot at its end, all below it: `portfolio.`"),
        ("object_type" = Option<String>, Query, description = "Only what was done to this type of object"),
        ("object_id" = Option<String>, Query, description = "Only what was done to this object"),
        ("outcome" = Option<String>, Query, description = "done, denied or failed"),
        ("request_id" = Option<String>, Query, description = "Only rows of this request"),
        ("sort" = Option<String>, Query, description = "seq (default), or -seq"),
        ("limit" = Option<i64>, Query, description = "Rows wanted, at most 1000"),
        ("cursor" = Option<String>, Query, description = "From the `Link` header of the page before"),
    ),
    responses((status = 200, description = "Rows", body = [AuditRowView])))]
pub async fn list_audit(
    State(app): State<AppState>,
    caller: Caller<AuditRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    caller.may_audit()?;
    let filter = read_filter(&mut query);
    let page = query.page(AuditSort::Seq, AuditSort::NAMES, AuditSort::from_name);
    query.finish()?;
    let rows = audit_rows::list(&mut app.db.read().await?, &filter, &page).await?;
    let full = i64::try_from(rows.len()).is_ok_and(|count| count == page.limit);
    let last = rows.last().filter(|_| full).map(|row| After { value: row.seq.to_string(), key: row.seq });
    let sort = query.sort_text();
    let link = last.map(|after| query.next_link(&sort, &after)).unwrap_or_default();
    let views: Vec<AuditRowView> = rows.into_iter().map(AuditRowView::from).collect();
    Ok((link, Json(views)).into_response())
}

/// Export the audit trail
///
/// Every row that fits, as NDJSON or CSV, written as fast as it is read.
#[utoipa::path(get, path = "/audit/export", operation_id = "export_audit", tag = "audit",
    params(
        ("format" = Option<String>, Query, description = "ndjson (default) or csv"),
        ("from" = Option<String>, Query, description = "From this moment or day (UTC)"),
        ("to" = Option<String>, Query, description = "Before this moment, or through this day"),
        ("actor" = Option<String>, Query, description = "Only what this actor did"),
        ("action" = Option<String>, Query, description = "Only this action; with a dot at its end, all below it"),
        ("object_type" = Option<String>, Query, description = "Only what was done to this type of object"),
        ("object_id" = Option<String>, Query, description = "Only what was done to this object"),
        ("outcome" = Option<String>, Query, description = "done, denied or failed"),
        ("request_id" = Option<String>, Query, description = "Only rows of this request"),
    ),
    responses((status = 200, description = "The rows",
        content((String = "application/x-ndjson"), (String = "text/csv")))))]
pub async fn export_audit(
    State(app): State<AppState>,
    caller: Caller<AuditRead>,
    mut query: Query,
) -> Result<Response, ApiError> {
    caller.may_audit()?;
    let format = query.one_of("format", StreamFormat::NAMES, StreamFormat::from_name);
    let format = format.unwrap_or(StreamFormat::Ndjson);
    let filter = read_filter(&mut query);
    query.finish()?;
    audit_trail::tell_of_read(&app.db, caller.actor, Entry::done("audit.export", "trail")).await;
    let export = Export { db: app.db.clone(), filter, format, after: None, begun: false, done: false };
    Ok(respond(export, format, "audit"))
}

/// An export on its way out. Rows are never changed, so that each part may be read by itself.
struct Export {
    db: Database,
    filter: AuditFilter,
    format: StreamFormat,
    after: Option<After>,
    begun: bool,
    done: bool,
}

impl Chunks for Export {
    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        let mut out = String::new();
        if !std::mem::replace(&mut self.begun, true) && self.format == StreamFormat::Csv {
            csv_line(&mut out, COLUMNS.map(str::to_owned));
        }
        if self.done {
            return Ok(None);
        }
        let page = Page { after: self.after.take(), ..Page::first(AuditSort::Seq, PART) };
        let rows = audit_rows::list(&mut self.db.read().await?, &self.filter, &page).await?;
        self.done = i64::try_from(rows.len()).is_ok_and(|count| count < PART);
        self.after = rows.last().map(|row| After { value: row.seq.to_string(), key: row.seq });
        for row in rows {
            if self.format == StreamFormat::Csv {
                csv_line(&mut out, cells(row));
            } else {
                out.push_str(&serde_json::to_string(&AuditRowView::from(row)).unwrap_or_default());
                out.push('\n');
            }
        }
        Ok(Some(out.into()))
    }
}

/// A row of the trail and its hash.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeadView {
    #[schema(example = 1042)]
    seq: i64,
    #[schema(example = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef")]
    hash: String,
}

impl From<Head> for HeadView {
    fn from(head: Head) -> Self {
        Self { seq: head.seq, hash: hex(&head.hash) }
    }
}

/// What is wrong with the trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct FaultView {
    /// hash, gap, anchor, cut, seal or `no_anchors`
    #[schema(example = "hash")]
    kind: &'static str,
    /// At which row; of `seal` at which line of the anchors.
    #[schema(example = 1041)]
    at: i64,
    detail: String,
}

impl From<Fault> for FaultView {
    fn from(fault: Fault) -> Self {
        Self { kind: fault.kind.name(), at: fault.at, detail: fault.detail }
    }
}

/// A restore that somebody has answered for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestoreView {
    /// The last row that was left.
    #[schema(example = 900)]
    seq: i64,
    at: Time,
    note: String,
}

impl From<Anchor> for RestoreView {
    fn from(anchor: Anchor) -> Self {
        Self { seq: anchor.head.seq, at: Time(anchor.at), note: anchor.note }
    }
}

/// A key of the trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyUseView {
    /// Its number, from 1, in the order of the file of keys.
    #[schema(example = 1)]
    number: usize,
    /// The first row that was made with it, of those looked at.
    #[schema(example = 1)]
    first: i64,
}

impl From<KeyUse> for KeyUseView {
    fn from(KeyUse { number, first }: KeyUse) -> Self {
        Self { number, first }
    }
}

/// What a verification found.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerdictView {
    #[schema(example = true)]
    success: bool,
    /// Whether nothing is wrong.
    #[schema(example = true)]
    whole: bool,
    /// Rows looked at.
    #[schema(example = 1042)]
    rows: u64,
    /// Where the trail ends.
    head: HeadView,
    /// Anchors found in it.
    #[schema(example = 12)]
    anchors: u64,
    /// The keys that the rows were made with, in the order of rows.
    keys: Vec<KeyUseView>,
    restores: Vec<RestoreView>,
    /// The first hundred faults.
    faults: Vec<FaultView>,
    #[schema(example = 0)]
    faults_total: u64,
    #[schema(example = 9)]
    duration_ms: u64,
}

/// Verify the audit trail
///
/// Every row against its hash and the row before it, and the trail against what was anchored outside the database.
#[utoipa::path(get, path = "/audit/verify", operation_id = "verify_audit", tag = "audit",
    params(
        ("anchor" = Option<String>, Query, description = "An anchor from elsewhere, `SEQ:HASH`; may be given several times"),
        ("after" = Option<i64>, Query, description = "Take rows up to this one as they are"),
    ),
    responses((status = 200, description = "What was found", body = VerdictView)))]
pub async fn verify_audit(
    State(app): State<AppState>,
    caller: Caller<AuditRead>,
    mut query: Query,
) -> Result<Json<VerdictView>, ApiError> {
    caller.may_audit()?;
    let mut anchors = Vec::new();
    for text in query.list("anchor") {
        let head = text.split_once(':').and_then(|(seq, hash)| {
            Some(Head { seq: seq.parse().ok().filter(|seq| *seq > 0)?, hash: from_hex(hash)? })
        });
        match head {
            Some(head) => anchors.push(head),
            None => query.fault("anchor", "malformed", "must be SEQ:HASH as the log tells it"),
        }
    }
    let after = query.whole("after", u32::MAX).map_or(0, i64::from);
    query.finish()?;
    let started = app.clock.elapsed();
    let verdict =
        app.trail.verify(&app.db, Given { anchors, after }, &app.clock).await.map_err(
            |error| match error {
                Unverified::Busy => ApiError::new(Code::Busy, "another verification is under way; try again"),
                Unverified::NoSuchRow(seq) => {
                    let detail = format!("there is no row {seq}");
                    ApiError::new(Code::InvalidRequest, detail)
                }
                Unverified::Storage(error) => error.into(),
            },
        )?;
    let took = app.clock.elapsed().saturating_sub(started);
    Ok(Json(view(verdict, u64::try_from(took.as_millis()).unwrap_or(u64::MAX))))
}

fn view(verdict: Verdict, duration_ms: u64) -> VerdictView {
    VerdictView {
        success: true,
        whole: verdict.is_good(),
        rows: verdict.rows,
        head: verdict.head.into(),
        anchors: verdict.anchors,
        keys: verdict.keys.into_iter().map(KeyUseView::from).collect(),
        restores: verdict.restores.into_iter().map(RestoreView::from).collect(),
        faults: verdict.faults.into_iter().map(FaultView::from).collect(),
        faults_total: verdict.faults_total,
        duration_ms,
    }
}

/// What is said of a restore.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the shape of the request; fields are read one by one to collect every fault")]
pub struct NewRestore {
    /// Which backup was put back, or why.
    #[schema(example = "backup of 2026-11-28 put back after the disk failed")]
    note: String,
}

/// What was recorded of a restore.
#[derive(Debug, Serialize, ToSchema)]
pub struct RestoreRecorded {
    #[schema(example = true)]
    success: bool,
    /// Where the trail ends now.
    head: HeadView,
}

/// Answer for a restore
///
/// After an older copy of the database was put back on purpose: anchors beyond its end are given up. This is a row of the
/// trail and a line among the anchors, and every verification tells it.
#[utoipa::path(post, path = "/audit/restores", operation_id = "accept_restore", tag = "audit", request_body = NewRestore,
    responses((status = 201, description = "Recorded", body = RestoreRecorded)))]
pub async fn accept_restore(
    State(app): State<AppState>,
    caller: Caller<Admin>,
    posted: Posted,
) -> Result<(StatusCode, Json<RestoreRecorded>), ApiError> {
    let mut fields = Fields::of_body(&posted.bytes)?;
    let note = fields.text("note", 255);
    fields.finish(Unknown::Refused)?;
    let now: Moment = app.clock.now();
    let head = app.trail.accept_restore(&app.db, caller.actor, (&note, now)).await?;
    Ok((StatusCode::CREATED, Json(RestoreRecorded { success: true, head: head.into() })))
}
