//! Taking a portfolio out: its ledger, lots, figures and the prices they used, as NDJSON or CSV.
//!
//! The ledger is read part by part under one `known_at`, which makes every part the same for ever, so that no reader is
//! held while a slow client reads. The figures are those of `GET /portfolios/{id}/pnl`.

use crate::domain::asset::Asset;
use crate::domain::audit::Entry;
use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::domain::portfolio::Portfolio;
use crate::http::AppState;
use crate::http::auth::{Caller, PortfoliosRead};
use crate::http::conventions::ConventionsView;
use crate::http::error::{ApiError, Code};
use crate::http::export_prices;
use crate::http::export_records::{
    ActionRecord, Columns, LEDGER, LOTS, LedgerRecord, PNL, PRICES, Tagged, asset_record, csv_line, total_row,
};
use crate::http::pnl::{ItemView, PnlView, portfolio_pnl};
use crate::http::query::{Query, encoded};
use crate::http::reading;
use crate::http::streams::{Chunks, StreamFormat, respond};
use crate::http::wire::Time;
use crate::named_enum;
use crate::storage::database::Database;
use crate::storage::error::StorageError;
use crate::storage::transactions::{self, Place};
use crate::storage::{actions, assets, portfolios};
use crate::workers::audit_trail;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

/// Entries or items written at a time.
const PART: i64 = 1_000;
/// Conventions a read may override.
const CONVENTIONS: [&str; 5] = ["cost_basis", "lot_scope", "fees", "taxes", "short"];

named_enum! {
    /// What is taken out.
    What {
        /// The entries in force.
        Ledger = "ledger",
        /// Open lots, valued.
        Lots = "lots",
        /// Profit and loss, by asset and in all.
        Pnl = "pnl",
        /// Prices and rates that valued the positions.
        Prices = "prices",
    }
}

/// Export a portfolio
///
/// With `what` one table; without it everything as NDJSON, record by record with its `kind`. The ledger can be imported
/// again.
#[utoipa::path(get, path = "/portfolios/{portfolio}/export", operation_id = "export_portfolio", tag = "portfolios",
    params(("portfolio" = String, Path, description = "Id"),
        ("what" = Option<String>, Query, description = "ledger, lots, pnl or prices; everything when absent"),
        ("format" = Option<String>, Query, description = "ndjson (default) or csv, which needs `what`"),
        ("as_of" = Option<String>, Query, description = "Up to this moment, or through this day in the portfolio's zone"),
        ("known_at" = Option<String>, Query, description = "As known then"),
        ("cost_basis" = Option<String>, Query, description = "fifo, lifo, hifo, average or specific"),
        ("lot_scope" = Option<String>, Query, description = "account or global"),
        ("fees" = Option<String>, Query, description = "in_cost, separate, expensed or none"),
        ("taxes" = Option<String>, Query, description = "separate or in_cost"),
        ("short" = Option<String>, Query, description = "rejected, allowed or missing_basis_is_zero_cost")),
    responses((status = 200, description = "The records",
        content((String = "application/x-ndjson"), (String = "text/csv")))))]
pub async fn export_portfolio(
    State(app): State<AppState>,
    caller: Caller<PortfoliosRead>,
    Path(id): Path<String>,
    mut query: Query,
) -> Result<Response, ApiError> {
    let what = query.one_of("what", What::NAMES, What::from_name);
    let format = query.one_of("format", StreamFormat::NAMES, StreamFormat::from_name);
    let format = format.unwrap_or(StreamFormat::Ndjson);
    if format == StreamFormat::Csv && what.is_none() {
        query.fault("what", "required", "is required with format=csv: a table has one kind of rows");
    }
    let known_at = match reading::known_at(&app, &mut query).await? {
        Some(known_at) => known_at,
        None => settled_now(&app).await,
    };
    let mut tx = app.db.read().await?;
    let portfolio = reading::portfolio_known(&mut tx, &caller, &id, Some(known_at)).await?;
    drop(tx);
    let as_of = query.until("as_of", portfolio.time_zone);
    let mut asked = format!("known_at={}", encoded(&known_at.to_string()));
    for name in ["as_of"].iter().chain(&CONVENTIONS) {
        if let Some(value) = query.text(name) {
            // Writing to a string cannot fail.
            write!(asked, "&{name}={}", encoded(&value)).unwrap_or_default();
        }
    }
    query.finish()?;
    let source = Source { app, caller, portfolio, asked, as_of, known_at };
    let parts = source.parts(what, format).await?;
    let columns = what.map(|what| match what {
        What::Ledger => &LEDGER,
        What::Lots => &LOTS,
        What::Pnl => &PNL,
        What::Prices => &PRICES,
    });
    let export = Export {
        db: source.app.db.clone(),
        portfolio: source.portfolio,
        until: (as_of.unwrap_or(Moment::MAX), known_at),
        csv: columns.filter(|_| format == StreamFormat::Csv),
        parts,
        assets: BTreeMap::new(),
        entries: 0,
        begun: false,
    };
    let told = json!({ "what": what.map(What::name), "format": format.name(), "as_of": as_of.map(Time), "known_at": Time(known_at) });
    let entry = Entry::created("portfolio.export", export.portfolio.id, &told);
    audit_trail::tell_of_read(&source.app.db, source.caller.actor, entry).await;
    let name = format!("{}-{}", what.map_or("export", What::name), export.portfolio.id);
    Ok(respond(export, format, &name))
}

/// What an export is made from.
struct Source {
    app: AppState,
    caller: Caller<PortfoliosRead>,
    portfolio: Portfolio,
    /// The query of the figures.
    asked: String,
    as_of: Option<Moment>,
    known_at: Moment,
}

impl Source {
    /// The parts of an export, in order. Figures are computed here, so that what refuses them is an answer of its own.
    async fn parts(&self, what: Option<What>, format: StreamFormat) -> Result<VecDeque<Part>, ApiError> {
        let wanted = |one: What| what.is_none_or(|what| what == one);
        let mut parts = VecDeque::new();
        if what.is_none() {
            let Self { app, portfolio, as_of, known_at, .. } = self;
            parts.push_back(Part::Record(portfolio_record(app, portfolio, *as_of, *known_at).await?));
        }
        if wanted(What::Ledger) {
            parts.push_back(Part::Ledger(None));
        }
        if what.is_none() {
            parts.push_back(Part::Assets);
        }
        if wanted(What::Lots) {
            parts.push_back(Part::Items("lot", self.figures("lot").await?.take_items().into_iter()));
        }
        if wanted(What::Pnl) {
            let mut view = self.figures("asset").await?;
            let items = view.take_items();
            let total = serde_json::to_value(&view).unwrap_or_default();
            let csv = format == StreamFormat::Csv;
            parts.push_back(Part::Record(if csv { total_row(&total) } else { tagged("pnl", total) }));
            parts.push_back(Part::Items("pnl_item", items.into_iter()));
        }
        if wanted(What::Prices) {
            let mut query = Query::of_uri(&uri_of(&self.asked)?);
            let records =
                export_prices::records(&self.app, &self.portfolio, &mut query, self.known_at).await?;
            parts.extend(records.into_iter().map(Part::Record));
        }
        Ok(parts)
    }

    /// What `GET /portfolios/{id}/pnl` answers.
    async fn figures(&self, by: &str) -> Result<PnlView, ApiError> {
        let query = Query::of_uri(&uri_of(&format!("by={by}&{}", self.asked))?);
        let id = Path(self.portfolio.id.to_string());
        let Json(view) =
            portfolio_pnl(State(AppState::clone(&self.app)), self.caller.clone(), id, query).await?;
        Ok(view)
    }
}

fn uri_of(asked: &str) -> Result<Uri, ApiError> {
    format!("/?{asked}").parse().map_err(|_| ApiError::new(Code::Internal, "the service failed"))
}

/// The present as a `known_at` whose answer never changes.
async fn settled_now(app: &AppState) -> Moment {
    let latest = app.db.stamps().latest();
    // What is the latest now lies in no future.
    app.db.stamps().settle(latest).await;
    latest
}

fn tagged(kind: &'static str, mut record: Value) -> Value {
    if let Some(fields) = record.as_object_mut() {
        fields.shift_insert(0, "kind".to_owned(), json!(kind));
        for name in ["success", "items"] {
            fields.shift_remove(name);
        }
    }
    record
}

async fn portfolio_record(
    app: &AppState,
    portfolio: &Portfolio,
    as_of: Option<Moment>,
    known_at: Moment,
) -> Result<Value, ApiError> {
    let mut tx = app.db.read().await?;
    let conventions =
        portfolios::conventions(&mut tx, portfolio.id, as_of.unwrap_or(Moment::MAX), known_at).await?;
    Ok(json!({
        "kind": "portfolio",
        "id": portfolio.id,
        "name": portfolio.name,
        "description": portfolio.description,
        "owner_id": portfolio.owner_id,
        "base_currency": portfolio.base_currency,
        "time_zone": portfolio.time_zone.name(),
        "initial_capital": portfolio.initial_capital.to_string(),
        "opened_at": Time(portfolio.opened_at),
        "conventions": ConventionsView::from(&conventions),
        "as_of": as_of.map(Time),
        "known_at": Time(known_at),
    }))
}

/// A part of an export that is still to be written.
enum Part {
    /// One record.
    Record(Value),
    /// The ledger after an entry.
    Ledger(Option<Place>),
    /// The assets of the entries written.
    Assets,
    /// Groups of figures, under a kind.
    Items(&'static str, std::vec::IntoIter<ItemView>),
}

/// An export on its way out.
struct Export {
    db: Database,
    portfolio: Portfolio,
    /// `as_of` and `known_at`.
    until: (Moment, Moment),
    /// Columns of a table; `None` for NDJSON.
    csv: Option<&'static Columns>,
    parts: VecDeque<Part>,
    /// The assets met so far.
    assets: BTreeMap<AssetKey, Asset>,
    entries: u64,
    begun: bool,
}

impl Chunks for Export {
    async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        let mut out = String::new();
        if !self.begun {
            self.begun = true;
            if let Some(columns) = self.csv {
                csv_line(&mut out, columns.0.iter().map(|(name, _)| (*name).to_owned()));
                return Ok(Some(out.into()));
            }
        }
        let Some(part) = self.parts.pop_front() else { return Ok(None) };
        match part {
            Part::Record(record) => self.write(&mut out, &record),
            Part::Ledger(after) => {
                if let Some(after) = self.write_entries(&mut out, after).await? {
                    self.parts.push_front(Part::Ledger(Some(after)));
                }
            }
            Part::Assets => self.write_assets(&mut out).await?,
            Part::Items(kind, mut items) => {
                for item in items.by_ref().take(usize::try_from(PART).unwrap_or(usize::MAX)) {
                    self.write(&mut out, &Tagged { kind, record: &item });
                }
                if !items.as_slice().is_empty() {
                    self.parts.push_front(Part::Items(kind, items));
                }
            }
        }
        if self.parts.is_empty() && self.csv.is_none() {
            // Whoever reads this far knows that nothing is missing.
            self.write(&mut out, &json!({ "kind": "end", "transactions": self.entries }));
        }
        Ok(Some(out.into()))
    }
}

impl Export {
    fn write<T: Serialize>(&self, out: &mut String, record: &T) {
        if let Some(columns) = self.csv {
            columns.write(out, &serde_json::to_value(record).unwrap_or_default());
        } else {
            out.push_str(&serde_json::to_string(record).unwrap_or_default());
            out.push('\n');
        }
    }

    /// Writes the next part of the ledger; where to go on, unless that was the last.
    async fn write_entries(
        &mut self,
        out: &mut String,
        after: Option<Place>,
    ) -> Result<Option<Place>, StorageError> {
        let mut tx = self.db.read().await?;
        let entries =
            transactions::part_in_force(&mut tx, self.portfolio.id, self.until, after, PART).await?;
        let mut unknown: Vec<AssetKey> = entries.iter().filter_map(|entry| entry.transaction.asset).collect();
        unknown.retain(|key| !self.assets.contains_key(key));
        unknown.sort_unstable();
        unknown.dedup();
        for asset in assets::by_keys(&mut tx, &unknown).await? {
            self.assets.insert(asset.key, asset);
        }
        drop(tx);
        let last = entries.last().map(|entry| {
            let t = &entry.transaction;
            (t.executed_at, t.place, entry.seq)
        });
        let full = i64::try_from(entries.len()).is_ok_and(|count| count == PART);
        for entry in entries {
            self.entries += 1;
            let asset = entry.transaction.asset.and_then(|key| self.assets.get(&key));
            let record = LedgerRecord::of(entry, asset, self.portfolio.time_zone);
            match self.csv {
                Some(_) => csv_line(out, record.cells()),
                None => self.write(out, &record),
            }
        }
        Ok(last.filter(|_| full))
    }

    /// Writes the assets met so far, and the corporate actions of each that count.
    async fn write_assets(&self, out: &mut String) -> Result<(), StorageError> {
        let mut tx = self.db.read().await?;
        let keys: Vec<AssetKey> = self.assets.keys().copied().collect();
        let (as_of, known_at) = self.until;
        let terms = assets::terms(&mut tx, &keys, known_at).await?;
        let actions = actions::known(&mut tx, &keys, known_at).await?;
        for (key, asset) in &self.assets {
            self.write(out, &asset_record(asset, terms.at(*key, as_of)));
        }
        for row in actions {
            let counts = row.in_force(known_at) && row.action.executed_at <= as_of;
            if let Some(asset) = self.assets.get(&row.action.asset).filter(|_| counts) {
                self.write(out, &ActionRecord::of(row, &asset.symbol));
            }
        }
        Ok(())
    }
}
