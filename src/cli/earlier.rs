//! `artifact import-earlier`: markets and assets of the earlier service, through the ordinary routes. What is known
//! already is left alone, so it can be run again after a break.

use super::client::{Client, Reply};
use super::{Context, Failure, show};
use crate::storage::earlier::{self, EarlierAsset, EarlierMarket};
use axum::http::{Method, StatusCode};
use clap::Args;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `import-earlier` takes.
#[derive(Debug, Args)]
pub(super) struct EarlierArgs {
    /// The earlier service's SQLite file
    file: PathBuf,
}

/// What became of the rows.
#[derive(Debug, Default)]
struct Taken {
    created: Vec<String>,
    existing: Vec<String>,
    refused: Vec<(String, String)>,
}

impl Taken {
    fn note(&mut self, what: String, reply: &Reply) {
        if reply.status.is_success() {
            self.created.push(what);
        } else if reply.status == StatusCode::CONFLICT {
            self.existing.push(what);
        } else {
            self.refused.push((what, reply.sentence()));
        }
    }
}

/// The earlier metadata with the id and date the row had there.
fn metadata(text: Option<&String>, id: Option<&String>, created_at: Option<&String>) -> Value {
    let mut object: Map<String, Value> =
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    object.insert("earlier_id".to_owned(), json!(id));
    object.insert("earlier_created_at".to_owned(), json!(created_at));
    Value::Object(object)
}

async fn take_market(client: &Client, row: &EarlierMarket, taken: &mut Taken) -> Result<(), Failure> {
    let what = format!("market {}", row.code.as_deref().unwrap_or("(without a code)"));
    let days: Option<Value> = row.trading_days.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let body = json!({
        "code": row.code, "name": row.name, "market_type": row.market_type, "timezone": row.timezone,
        "currency": row.currency, "opening_time": row.opening_time, "closing_time": row.closing_time,
        "trading_days": days, "metadata": metadata(row.metadata.as_ref(), row.id.as_ref(), row.created_at.as_ref()),
    });
    let reply = client.post("/markets", &body).await?;
    if let (true, Some(status), Some(id)) = (
        reply.status.is_success(),
        row.status.as_deref().filter(|s| *s != "CLOSED"),
        reply.body.get("id").and_then(Value::as_str),
    ) {
        set_status(client, &format!("/markets/{id}"), status, &what, taken).await?;
    }
    taken.note(what, &reply);
    Ok(())
}

async fn take_asset(
    client: &Client,
    row: &EarlierAsset,
    codes: &BTreeMap<String, String>,
    taken: &mut Taken,
) -> Result<(), Failure> {
    let what = format!("asset {}", row.symbol.as_deref().unwrap_or("(without a symbol)"));
    let market = row.market_id.as_ref().and_then(|id| codes.get(id));
    let Some(market) = market else {
        taken.refused.push((what, "its market is not in the file".to_owned()));
        return Ok(());
    };
    let body = json!({
        "symbol": row.symbol, "name": row.name, "asset_type": row.asset_type, "market_code": market,
        "currency": row.currency,
        "metadata": metadata(row.metadata.as_ref(), row.id.as_ref(), row.created_at.as_ref()),
    });
    let reply = client.post("/assets", &body).await?;
    if let (true, Some(status), Some(id)) = (
        reply.status.is_success(),
        row.status.as_deref().filter(|s| *s != "ACTIVE"),
        reply.body.get("id").and_then(Value::as_str),
    ) {
        set_status(client, &format!("/assets/{id}"), status, &what, taken).await?;
    }
    taken.note(what, &reply);
    Ok(())
}

async fn set_status(
    client: &Client,
    path: &str,
    status: &str,
    what: &str,
    taken: &mut Taken,
) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(&json!({ "status": status })).map_err(Failure::other)?;
    let reply = client.send(Method::PATCH, path, Some(("application/merge-patch+json", bytes))).await?;
    if !reply.status.is_success() {
        taken.refused.push((format!("status `{status}` of {what}"), reply.sentence()));
    }
    Ok(())
}

async fn take(client: &Client, args: &EarlierArgs) -> Result<Taken, Failure> {
    let file = earlier::read(&args.file).await.map_err(|error| {
        Failure::failed(format!("{}: {}", args.file.display(), Failure::from(error).message))
    })?;
    let mut taken = Taken::default();
    let mut codes = BTreeMap::new();
    for row in &file.markets {
        take_market(client, row, &mut taken).await?;
        if let (Some(id), Some(code)) = (&row.id, &row.code) {
            codes.insert(id.clone(), code.clone());
        }
    }
    for row in &file.assets {
        take_asset(client, row, &codes, &mut taken).await?;
    }
    Ok(taken)
}

/// Takes the file over and says what it did.
pub(super) async fn run(context: &Context, args: &EarlierArgs) -> Result<(), Failure> {
    let client = Client::connect(&context.config).await?;
    let outcome = take(&client, args).await;
    client.close().await;
    let taken = outcome?;
    let mut lines: Vec<String> = taken.created.iter().map(|what| format!("created  {what}")).collect();
    lines.extend(taken.existing.iter().map(|what| format!("exists   {what}")));
    lines.extend(taken.refused.iter().map(|(what, why)| format!("refused  {what}: {why}")));
    if taken.created.is_empty() && taken.refused.is_empty() {
        lines.push("everything was there already: nothing changed".to_owned());
    }
    let refused: Vec<Value> =
        taken.refused.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect();
    let value = json!({ "created": taken.created, "existing": taken.existing, "refused": refused });
    show(context, &value, &lines)
}
