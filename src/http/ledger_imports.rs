//! A whole ledger file in one request: every row is judged as an entry of `POST /portfolios/{id}/transactions` is.

use crate::domain::asset::AssetType;
use crate::domain::audit;
use crate::domain::ids::{AssetId, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::portfolio::Portfolio;
use crate::domain::transaction::Transaction;
use crate::http::AppState;
use crate::http::assets::AssetDraft;
use crate::http::auth::{AssetsWrite, Caller, PortfoliosWrite};
use crate::http::digest::sha256;
use crate::http::drafts::{Draft, Judged};
use crate::http::error::{ApiError, Code, FieldError};
use crate::http::fields::{Fields, Unknown};
use crate::http::import_reports::{Done, LedgerImportReport, RowState};
use crate::http::mappings;
use crate::http::posted::body_bytes;
use crate::http::query::Query;
use crate::http::reading;
use crate::http::recording::{Fate, sort_out};
use crate::http::transactions::check_active;
use crate::named_enum;
use crate::random::Random;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::portfolios;
use crate::workers::bookkeeping::{self, BookError};
use crate::workers::ledger_parse::{self, LedgerFormat, ParsedLedger};
use crate::workers::{ledger, rehearsal};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Largest file, decompressed.
pub const FILE_MAX: usize = 32 << 20;
/// Longest id of a row that becomes its `external_id`.
const ID_MAX: usize = 255;

named_enum! {
    /// What is stored when some rows are refused.
    Mode {
        /// Nothing.
        All = "all",
        /// The others.
        Partial = "partial",
    }
}

named_enum! {
    /// Which rows a report lists.
    Listed {
        /// Every row.
        All = "all",
        /// Those that were not stored.
        Problems = "problems",
    }
}

/// What the query asks for.
struct Asked {
    format: Option<LedgerFormat>,
    dry_run: bool,
    mode: Mode,
    /// Market and type of assets that are to be created.
    new_assets: Option<(String, AssetType)>,
    listed: Listed,
}

fn read_asked(query: &mut Query) -> Asked {
    let create = query.flag("create_assets");
    let (market, kind) =
        (query.text("market"), query.one_of("asset_type", AssetType::NAMES, AssetType::from_name));
    if create && market.is_none() {
        query.fault(
            "market",
            "required",
            "is required with the parameter `create_assets`: the market of new assets",
        );
    }
    for (name, given) in [("market", market.is_some()), ("asset_type", kind.is_some())] {
        if given && !create {
            query.fault(name, "not_used", "belongs to the parameter `create_assets=true`");
        }
    }
    Asked {
        format: query.one_of("format", LedgerFormat::NAMES, LedgerFormat::from_name),
        dry_run: query.flag("dry_run"),
        mode: query.one_of("mode", Mode::NAMES, Mode::from_name).unwrap_or(Mode::All),
        new_assets: market.filter(|_| create).map(|market| (market, kind.unwrap_or(AssetType::Stock))),
        listed: query.one_of("report", Listed::NAMES, Listed::from_name).unwrap_or(Listed::All),
    }
}

/// How an import ends that keeps nothing: what was written is undone.
enum End {
    /// A dry run, or refused rows.
    Told(Box<Done>),
    /// A failure of the request.
    Failed(ApiError),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> Self {
        Self::Failed(error)
    }
}

impl From<StorageError> for End {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<BookError> for End {
    fn from(error: BookError) -> Self {
        Self::Failed(error.into())
    }
}

/// Import a ledger file
///
/// CSV, NDJSON as exported, or Ghostfolio's JSON. Nothing is stored if a row is refused or conflicts, unless
/// `mode=partial`; importing a file again stores nothing.
#[utoipa::path(post, path = "/portfolios/{portfolio}/transactions:import", operation_id = "import_transactions",
    tag = "transactions",
    params(("portfolio" = String, Path, description = "Id"),
        ("format" = Option<String>, Query, description = "csv, ndjson or ghostfolio; told from the file when absent"),
        ("dry_run" = Option<bool>, Query, description = "Say what would become of each row, and store nothing"),
        ("mode" = Option<String>, Query, description = "all (default): nothing is stored if a row is refused; partial: the others are"),
        ("mapping" = Option<String>, Query, description = "How columns and values stand for ours: a JSON object"),
        ("create_assets" = Option<bool>, Query, description = "Create assets that do not exist"),
        ("market" = Option<String>, Query, description = "Code of the market of created assets"),
        ("asset_type" = Option<AssetType>, Query, description = "Type of created assets that the file tells none of; default STOCK"),
        ("report" = Option<String>, Query, description = "all (default): list every row; problems: those not stored")),
    request_body(content = String, content_type = "text/csv", description = "The file"),
    responses((status = 200, description = "Stored, or what a dry run would store", body = LedgerImportReport)))]
pub async fn import_transactions(
    State(app): State<AppState>,
    (caller, assets): (Caller<PortfoliosWrite>, Result<Caller<AssetsWrite>, ApiError>),
    Path(id): Path<String>,
    mut query: Query,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<LedgerImportReport>, ApiError> {
    let asked = read_asked(&mut query);
    let mapping = mappings::of_query(&mut query);
    query.finish()?;
    if asked.new_assets.is_some() {
        assets?;
    }
    let bytes = body_bytes(body)?;
    caller.check_standing(&app)?;
    let (format, newest_first) = (asked.format, mapping.newest_first);
    let parsed = tokio::task::spawn_blocking(move || ledger_parse::parse(&bytes, format, &mapping))
        .await
        .map_err(|_| ApiError::new(Code::Internal, "the service failed; nothing was changed"))?
        .map_err(|error| ApiError::of_file(error.place(), error.to_string()))?;
    let (random, now, listed) = (app.random, app.clock.now(), asked.listed);
    let ended = app
        .db
        .writer()
        .write(Arc::clone(&caller.actor), move |tx| {
            Box::pin(async move {
                let portfolio = reading::portfolio(tx, &caller, &id).await?;
                check_active(&portfolio)?;
                let import = Import { random, portfolio, asked, newest_first };
                import.run(tx, parsed, now).await
            })
        })
        .await;
    match ended {
        Ok(done) => Ok(Json(done.report(listed == Listed::All))),
        Err(End::Told(done)) if done.dry_run => Ok(Json(done.report(listed == Listed::All))),
        Err(End::Told(done)) => Err(done.refusal()),
        Err(End::Failed(error)) => Err(error),
    }
}

struct Import {
    random: Random,
    portfolio: Portfolio,
    asked: Asked,
    newest_first: Option<bool>,
}

impl Import {
    async fn run(self, tx: &mut Tx, parsed: ParsedLedger, now: Moment) -> Result<Done, End> {
        let mut done = Done::of(parsed, self.asked.dry_run, self.asked.mode == Mode::Partial);
        let mut drafts = read_rows(&mut done, now);
        done.newest_first = self.newest_first.unwrap_or_else(|| self.goes_back(&drafts));
        if done.newest_first {
            drafts.reverse();
        }
        self.create_assets(tx, &drafts, &mut done).await?;
        self.check_shorts(tx, &mut drafts, &mut done).await?;
        let (places, drafts): (Vec<usize>, Vec<Draft>) = drafts.into_iter().unzip();
        let (fates, fresh) = sort_out(tx, self.random, &self.portfolio, drafts).await?;
        let ids: Vec<TransactionId> = fresh.iter().map(|one| one.entry.transaction.id).collect();
        for (place, fate) in places.into_iter().zip(fates) {
            let id_of = |at: usize| ids.get(at).copied();
            done.set(
                place,
                match fate {
                    Fate::Fresh(at) => id_of(at).map_or(RowState::Unread, RowState::Stored),
                    Fate::Repeat(at) => id_of(at).map_or(RowState::Unread, RowState::Duplicate),
                    Fate::Known(entry) => RowState::Duplicate(entry.transaction.id),
                    Fate::Conflict(fault) => RowState::Conflict(fault),
                    Fate::Refused(error) => RowState::Refused(error.code, error.errors),
                },
            );
        }
        let fresh = self.check_repeats(tx, fresh, &mut done).await?;
        self.record(tx, fresh, &mut done).await?;
        if done.dry_run || !done.is_good() {
            return Err(End::Told(Box::new(done)));
        }
        if let Some(stored) = done.stored() {
            let told = audit::Entry::created("portfolio.transaction.import", self.portfolio.id, &stored);
            tx.audit(told.on("portfolio", self.portfolio.id));
        }
        Ok(done)
    }

    /// Refuses rows that say what is recorded on their asset for every holder.
    async fn check_repeats(
        &self,
        tx: &mut Tx,
        fresh: Vec<Judged>,
        done: &mut Done,
    ) -> Result<Vec<Judged>, End> {
        let mut left = Vec::with_capacity(fresh.len());
        for one in fresh {
            let transaction = one.entry.transaction.id;
            match ledger::repeated(tx, &self.portfolio, &one.entry.transaction, None).await? {
                Some((asset, action)) => {
                    let error = BookError::RepeatsAction { transaction, asset, action };
                    done.refuse_entry(transaction, &ApiError::from(error).inside(&one.pointer));
                }
                None => left.push(one),
            }
        }
        Ok(left)
    }

    /// Records the new entries, and finds out which of them the ledger refuses when it refuses one.
    async fn record(&self, tx: &mut Tx, fresh: Vec<Judged>, done: &mut Done) -> Result<(), End> {
        let pointers: HashMap<TransactionId, String> =
            fresh.iter().map(|one| (one.entry.transaction.id, one.pointer.clone())).collect();
        let mut entries: Vec<_> = fresh.into_iter().map(|one| one.entry).collect();
        let own: Vec<Transaction> = entries.iter().map(|entry| entry.transaction.clone()).collect();
        if self.asked.mode == Mode::Partial {
            let refused = rehearsal::refused(tx, &self.portfolio, &own).await?;
            let out: HashSet<TransactionId> = refused.iter().map(|(id, _)| *id).collect();
            entries.retain(|entry| !out.contains(&entry.transaction.id));
            done.refuse(refused, &pointers);
        } else if !done.is_good() {
            return Ok(());
        }
        if entries.is_empty() {
            return Ok(());
        }
        match bookkeeping::record(tx, self.random, &self.portfolio, entries).await {
            Err(BookError::Refused { own: true, .. }) => {
                let refused = rehearsal::refused(tx, &self.portfolio, &own).await?;
                done.refuse(refused, &pointers);
                Ok(())
            }
            outcome => Ok(outcome.map(drop)?),
        }
    }

    /// Whether the rows go back in time.
    fn goes_back(&self, drafts: &[(usize, Draft)]) -> bool {
        let zone = self.portfolio.time_zone;
        let moments: Vec<Moment> = drafts.iter().filter_map(|(_, draft)| draft.moment(zone)).collect();
        moments.first() > moments.last() && moments.is_sorted_by(|earlier, later| earlier >= later)
    }

    /// Creates the assets that the rows name and nobody knows.
    async fn create_assets(
        &self,
        tx: &mut Tx,
        drafts: &[(usize, Draft)],
        done: &mut Done,
    ) -> Result<(), End> {
        let Some((market, kind)) = &self.asked.new_assets else { return Ok(()) };
        let mut seen: Vec<String> = Vec::new();
        for (_, draft) in drafts {
            let (Some(symbol), currency) = draft.names() else { continue };
            if seen.iter().any(|known| known == symbol) {
                continue;
            }
            seen.push(symbol.to_owned());
            match reading::asset(tx, symbol).await {
                Err(error) if error.code == Code::AssetNotFound => {}
                found => {
                    found?;
                    continue;
                }
            }
            let profile =
                done.parsed.profiles.iter().find(|profile| profile.symbol.eq_ignore_ascii_case(symbol));
            let said = |value: Option<&String>| value.cloned();
            let mut object = json!({
                "symbol": symbol,
                "name": said(profile.and_then(|p| p.name.as_ref())).unwrap_or_else(|| symbol.to_owned()),
                "asset_type": said(profile.and_then(|p| p.asset_type.as_ref()))
                    .unwrap_or_else(|| kind.name().to_owned()),
                "currency": said(profile.and_then(|p| p.currency.as_ref()))
                    .or_else(|| currency.map(str::to_owned))
                    .unwrap_or_else(|| self.portfolio.base_currency.code().to_owned()),
            });
            let exported = profile.and_then(|profile| profile.exported.as_deref());
            if let Some(whole) = exported.and_then(|text| serde_json::from_str(text).ok()) {
                object = whole;
            }
            if let Some(fields) = object.as_object_mut() {
                fields.insert("market_code".to_owned(), json!(market));
            }
            let id = AssetId(self.random.uuid_v7(tx.recorded_at()?).map_err(ApiError::from)?);
            let of_asset = |error: ApiError| ApiError {
                detail: format!("the asset {symbol} cannot be created: {}", error.detail),
                ..error
            };
            let draft = AssetDraft::read(object.to_string().as_bytes()).map_err(of_asset)?;
            let asset = draft.create(tx, id).await.map_err(of_asset)?;
            done.assets_created.push(asset.symbol);
        }
        Ok(())
    }

    /// Refuses rows that open short positions in a portfolio that has none.
    async fn check_shorts(
        &self,
        tx: &mut Tx,
        drafts: &mut Vec<(usize, Draft)>,
        done: &mut Done,
    ) -> Result<(), End> {
        if drafts.iter().all(|(_, draft)| !draft.opens_short()) {
            return Ok(());
        }
        let conventions = portfolios::conventions(tx, self.portfolio.id, Moment::MAX, Moment::MAX).await?;
        if conventions.allow_short {
            return Ok(());
        }
        drafts.retain(|(place, draft)| {
            if draft.opens_short() {
                let at = format!("{}/opens_short", done.pointer(*place));
                let detail = "the portfolio has allow_short: false";
                let fault = FieldError::at(at, "short_not_allowed", detail);
                done.set(*place, RowState::Refused(Code::ShortNotAllowed, vec![fault]));
            }
            !draft.opens_short()
        });
        Ok(())
    }
}

/// Reads the rows of a file as drafts, each with its place in the file. What was read is dropped.
fn read_rows(done: &mut Done, now: Moment) -> Vec<(usize, Draft)> {
    let mut drafts = Vec::with_capacity(done.parsed.rows.len());
    let mut alike: HashMap<String, u64> = HashMap::new();
    let rows = std::mem::take(&mut done.parsed.rows);
    for (place, row) in rows.iter().enumerate() {
        let pointer = done.pointer(place);
        let refused = |faults| RowState::Refused(Code::InvalidRequest, faults);
        let text = match &row.fields {
            Ok(text) => text,
            Err(faults) => {
                let fault = |fault: &ledger_parse::RowFault| {
                    let field = fault.field.as_ref().map(|field| format!("/{field}")).unwrap_or_default();
                    FieldError::at(format!("{pointer}{field}"), fault.code, fault.detail.clone())
                };
                done.set(place, refused(faults.iter().map(fault).collect()));
                continue;
            }
        };
        let Ok(raw) = RawValue::from_string(text.clone()) else { continue };
        let mut fields = match Fields::of(&raw, pointer.clone()) {
            Ok(fields) => fields,
            Err(fault) => {
                done.set(place, refused(vec![fault]));
                continue;
            }
        };
        let mut draft = Draft::read_row(&mut fields, pointer, now);
        let faults = fields.faults(Unknown::Refused);
        draft.identify(row.id.as_deref(), || external_id(row.id.as_deref(), text, &mut alike));
        let (kind, external_id) = draft.label();
        done.label(place, kind, external_id);
        if faults.is_empty() {
            drafts.push((place, draft));
        } else {
            done.set(place, refused(faults));
        }
    }
    drafts
}

/// The id of a row without one of the sender's: the id it had where it comes from, else made from what it says and which
/// of the equal rows of its file it is, so that the same file again gives the same ids.
fn external_id(id: Option<&str>, text: &str, alike: &mut HashMap<String, u64>) -> String {
    let fits =
        |id: &&str| !id.trim().is_empty() && id.chars().count() <= ID_MAX && !id.contains(char::is_control);
    if let Some(id) = id.filter(fits) {
        return id.to_owned();
    }
    let hash: String = sha256(text.as_bytes()).chars().take(32).collect();
    let ordinal = alike.entry(hash.clone()).and_modify(|count| *count += 1).or_insert(1);
    format!("row-{hash}-{ordinal}")
}
