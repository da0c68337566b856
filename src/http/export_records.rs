//! The records of an export, as JSON and as cells of a table.

use crate::domain::asset::{Asset, Terms};
use crate::domain::decimal::Decimal;
use crate::domain::ids::TransactionId;
use crate::domain::transaction::{LotPick, Transaction, TransactionType};
use crate::http::actions::ActionView;
use crate::http::wire::{Metadata, Time};
use crate::storage::actions::RecordedAction;
use crate::storage::transactions::Entry;
use crate::workers::ledger_parse::GUARDED;
use chrono_tz::Tz;
use serde::Serialize;
use serde_json::{Value, json};

/// The columns of a table: name, and whether people write what stands in it.
#[derive(Debug)]
pub struct Columns(pub &'static [(&'static str, bool)]);

/// Columns of the ledger.
pub const LEDGER: Columns = Columns(&[
    ("id", false),
    ("type", false),
    ("executed_at", false),
    ("account", true),
    ("to_account", true),
    ("symbol", true),
    ("quantity", false),
    ("price", false),
    ("gross_total", false),
    ("fee", false),
    ("tax", false),
    ("fee_asset_quantity", false),
    ("currency", false),
    ("fx_rate", false),
    ("amount", false),
    ("to_amount", false),
    ("to_currency", false),
    ("ratio_num", false),
    ("ratio_den", false),
    ("lots", false),
    ("opens_short", false),
    ("external_id", true),
    ("note", true),
    ("metadata", false),
    ("recorded_at", false),
]);

/// Columns of open lots.
pub const LOTS: Columns = Columns(&[
    ("account", true),
    ("symbol", true),
    ("position_id", false),
    ("transaction", false),
    ("acquired_at", false),
    ("side", false),
    ("currency", false),
    ("quantity", false),
    ("cost_basis", false),
    ("avg_cost", false),
    ("market_value", false),
    ("unrealized_pnl", false),
    ("unrealized_pnl_gross", false),
    ("cost_basis_base", false),
    ("market_value_base", false),
    ("unrealized_pnl_base", false),
    ("unrealized_fx_pnl_base", false),
    ("price", false),
    ("price_basis", false),
    ("observed_at", false),
    ("source", true),
]);

/// Columns of profit and loss: a row for the whole portfolio, then one for each asset.
pub const PNL: Columns = Columns(&[
    ("kind", false),
    ("symbol", true),
    ("currency", false),
    ("quantity", false),
    ("cost_basis", false),
    ("avg_cost", false),
    ("market_value", false),
    ("realized_pnl", false),
    ("realized_pnl_gross", false),
    ("unrealized_pnl", false),
    ("unrealized_pnl_gross", false),
    ("total_pnl", false),
    ("income", false),
    ("fees", false),
    ("taxes", false),
    ("missing_quantity", false),
    ("cost_basis_base", false),
    ("market_value_base", false),
    ("realized_pnl_base", false),
    ("realized_fx_pnl_base", false),
    ("unrealized_pnl_base", false),
    ("unrealized_fx_pnl_base", false),
    ("total_pnl_base", false),
    ("income_base", false),
    ("fees_base", false),
    ("taxes_base", false),
    ("costs_apart_base", false),
    ("cash_base", false),
    ("cash_fx_pnl_base", false),
    ("net_contributions_base", false),
    ("total_value_base", false),
    ("total_gain_base", false),
    ("price", false),
    ("price_basis", false),
    ("observed_at", false),
    ("source", true),
]);

/// Columns of the prices and rates used.
pub const PRICES: Columns = Columns(&[
    ("kind", false),
    ("symbol", true),
    ("account", true),
    ("price", false),
    ("price_used", false),
    ("price_basis", false),
    ("base", false),
    ("quote", false),
    ("rate", false),
    ("observed_at", false),
    ("source", true),
    ("interval", false),
    ("recorded_at", false),
    ("age", false),
    ("stale", false),
]);

impl Columns {
    /// Writes a record as a row; parts of its `price` stand in columns of their own.
    pub fn write(&self, out: &mut String, record: &Value) {
        let of = |name: &str| {
            let own = record.get(name).filter(|value| !value.is_object());
            own.or_else(|| record.get("price")?.as_object()?.get(name))
        };
        let cells = self.0.iter().map(|(name, free)| {
            let text = match of(name) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            if *free { guarded(&text) } else { text }
        });
        csv_line(out, cells);
    }
}

/// A text with an apostrophe before it when a spreadsheet would take it for a formula.
fn guarded(text: &str) -> String {
    if text.starts_with(GUARDED) { format!("'{text}") } else { text.to_owned() }
}

/// Writes one line of CSV (RFC 4180).
pub fn csv_line(out: &mut String, cells: impl IntoIterator<Item = String>) {
    for (at, cell) in cells.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        // A blank at either end is quoted too: some readers take it away else.
        let plain = !cell.contains([',', '"', '\n', '\r', ';', '\t']) && cell.trim() == cell;
        if plain {
            out.push_str(&cell);
        } else {
            out.push('"');
            out.push_str(&cell.replace('"', "\"\""));
            out.push('"');
        }
    }
    out.push('\n');
}

/// A record with its kind.
#[derive(Debug, Serialize)]
pub struct Tagged<'a, T> {
    /// What kind of record it is.
    pub kind: &'static str,
    /// The record.
    #[serde(flatten)]
    pub record: &'a T,
}

/// An entry of the ledger as `POST /portfolios/{id}/transactions:import` takes it. What it does not have is left out.
#[derive(Debug, Serialize)]
pub struct LedgerRecord {
    kind: &'static str,
    id: TransactionId,
    #[serde(rename = "type")]
    entry: TransactionType,
    executed_at: String,
    account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_account: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gross_total: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fee: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tax: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fee_asset_quantity: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fx_rate: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_amount: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_currency: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_num: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_den: Option<Decimal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lots: Vec<LotPick>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    opens_short: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    recorded_at: Time,
}

impl LedgerRecord {
    /// An entry of a portfolio in `zone`, with its asset.
    pub fn of(entry: Entry, asset: Option<&Asset>, zone: Tz) -> Self {
        let t = entry.transaction;
        let market = asset.map_or(Tz::UTC, |asset| asset.market_zone);
        let cost = |amount: Decimal| Some(amount).filter(|amount| !amount.is_zero());
        let metadata = Some(entry.metadata).filter(|text| text != "{}");
        Self {
            kind: "transaction",
            id: t.id,
            entry: t.kind,
            executed_at: written(&t, zone, market),
            account: t.account,
            to_account: t.to_account,
            symbol: asset.map(|asset| asset.symbol.clone()),
            quantity: t.quantity,
            price: t.price,
            gross_total: t.gross_total,
            fee: cost(t.fee),
            tax: cost(t.tax),
            fee_asset_quantity: cost(t.fee_asset_quantity),
            currency: t.currency.map(|unit| unit.code().to_owned()),
            fx_rate: t.fx_rate,
            amount: t.amount,
            to_amount: t.to_amount,
            to_currency: t.to_currency.map(|unit| unit.code().to_owned()),
            ratio_num: t.ratio_num,
            ratio_den: t.ratio_den,
            lots: t.lots,
            opens_short: t.opens_short,
            external_id: entry.external_id,
            note: entry.note,
            metadata: metadata.map(|text| Metadata::of(&text)),
            recorded_at: Time(entry.recorded_at),
        }
    }

    /// The cells of its row, in the order of [`LEDGER`].
    pub fn cells(self) -> Vec<String> {
        let number = |value: Option<Decimal>| value.map(|value| value.to_string()).unwrap_or_default();
        let free = |value: Option<String>| guarded(&value.unwrap_or_default());
        let lots = if self.lots.is_empty() {
            String::new()
        } else {
            serde_json::to_string(&self.lots).unwrap_or_default()
        };
        vec![
            self.id.to_string(),
            self.entry.name().to_owned(),
            self.executed_at,
            guarded(&self.account),
            free(self.to_account),
            free(self.symbol),
            number(self.quantity),
            number(self.price),
            number(self.gross_total),
            number(self.fee),
            number(self.tax),
            number(self.fee_asset_quantity),
            self.currency.unwrap_or_default(),
            number(self.fx_rate),
            number(self.amount),
            number(self.to_amount),
            self.to_currency.unwrap_or_default(),
            number(self.ratio_num),
            number(self.ratio_den),
            lots,
            if self.opens_short { "true".to_owned() } else { String::new() },
            free(self.external_id),
            guarded(&self.note),
            self.metadata.map(|metadata| metadata.0.get().to_owned()).unwrap_or_default(),
            self.recorded_at.0.to_string(),
        ]
    }
}

/// The moment of an entry as it was given: a day stays one, of a split in the zone of the asset's market.
fn written(t: &Transaction, zone: Tz, market: Tz) -> String {
    let split = t.kind == TransactionType::Split;
    let day = if split { t.executed_at.day_begun_in(market) } else { t.executed_at.day_in(zone) };
    day.filter(|_| t.whole_day).map_or_else(|| t.executed_at.to_string(), |day| day.to_string())
}

/// A corporate action with the symbol of its asset.
#[derive(Debug, Serialize)]
pub struct ActionRecord {
    kind: &'static str,
    symbol: String,
    #[serde(flatten)]
    action: ActionView,
}

impl ActionRecord {
    /// An action of the asset with this symbol.
    pub fn of(action: RecordedAction, symbol: &str) -> Self {
        Self { kind: "action", symbol: symbol.to_owned(), action: ActionView::from(action) }
    }
}

/// An asset with the terms it has, as `POST /assets` takes it but for its market.
pub fn asset_record(asset: &Asset, terms: Option<&Terms>) -> Value {
    let plain = Terms::plain(asset.currency);
    let terms = terms.unwrap_or(&plain);
    json!({
        "kind": "asset",
        "symbol": asset.symbol,
        "name": asset.name,
        "asset_type": asset.asset_type,
        "currency": asset.currency,
        "multiplier": terms.multiplier.to_string(),
        "inverse": terms.inverse,
        "margined": terms.margined,
        "settlement": terms.settlement,
        "allows_negative_price": terms.allows_negative_price,
        "stale_after": terms.stale_after.map(|micros| micros / 1_000_000),
        "source_priority": terms.source_priority,
        "metadata": Metadata::of(&asset.metadata),
    })
}

/// The figures of the whole portfolio as a row of [`PNL`]: its amounts are in base currency.
pub fn total_row(total: &Value) -> Value {
    let mut row = json!({ "kind": "pnl", "currency": total.get("base_currency") });
    if let Some(fields) = row.as_object_mut() {
        for (name, _) in PNL.0 {
            if let Some(value) = name.strip_suffix("_base").and_then(|name| total.get(name)) {
                fields.insert((*name).to_owned(), value.clone());
            }
        }
    }
    row
}
