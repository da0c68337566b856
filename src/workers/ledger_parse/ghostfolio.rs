//! Ghostfolio's JSON export: `activities` with the assets and accounts they name.
//!
//! The form is that of `apps/api/src/app/export` and of the fixtures in `test/import` of ghostfolio/ghostfolio. Older
//! versions call the activities `orders`; some nest symbol, source and currency in `SymbolProfile` or `assetProfile`.
//! What differs in meaning: the amount of a dividend or of interest is quantity x unit price, that of a fee is its `fee`;
//! a valuable (`ITEM`) is a purchase, which Ghostfolio itself made of it in 2.178.0; a time at 00:00 UTC is a day.

use super::cells::Cells;
use super::mapping::{LedgerField, Mapping};
use super::ndjson_ledger::Object;
use super::{AssetProfile, LedgerFileError, LedgerFormat, LedgerRow, ParsedLedger, RowFault};
use crate::domain::decimal::{Decimal, DecimalError};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Names of the list of activities, through the versions.
const LISTS: [&str; 2] = ["activities", "orders"];
/// Where an activity may nest what it says of its asset.
const NESTED: [&str; 3] = ["SymbolProfile", "assetProfile", "symbolProfile"];
/// Most characters of a symbol.
const SYMBOL: usize = 20;

/// Whether a text is one JSON object with a list of activities.
pub(super) fn is_one(text: &str) -> bool {
    serde_json::from_str::<Object<'_>>(text).is_ok_and(|root| list(&root).is_some())
}

fn member<'t>(object: &Object<'t>, name: &str) -> Option<&'t RawValue> {
    let (_, raw) = object.0.iter().find(|(key, _)| key == name)?;
    (raw.get() != "null").then_some(*raw)
}

fn list<'t>(root: &Object<'t>) -> Option<Vec<&'t RawValue>> {
    let raw = LISTS.iter().find_map(|name| member(root, name))?;
    serde_json::from_str(raw.get()).ok()
}

/// Reads `text` after its byte order mark.
pub(super) fn parse(text: &str, mapping: &Mapping) -> Result<ParsedLedger, LedgerFileError> {
    let root: Object<'_> =
        serde_json::from_str(text).map_err(|error| LedgerFileError::NotGhostfolio(error.to_string()))?;
    let activities = list(&root)
        .ok_or_else(|| LedgerFileError::NotGhostfolio(format!("it has no list of {}", LISTS.join(" or "))))?;
    let objects = |name: &str| -> Vec<Object<'_>> {
        let raw = member(&root, name);
        raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    };
    let mut source = Source { mapping, accounts: BTreeMap::new(), assets: BTreeMap::new() };
    for account in objects("accounts") {
        if let (Some(id), Some(name)) = (account.text("id"), account.text("name")) {
            source.accounts.insert(id, name);
        }
    }
    for asset in objects("assetProfiles") {
        source.learn(&asset);
    }
    let mut parsed = ParsedLedger::empty(LedgerFormat::Ghostfolio);
    for (row, raw) in (1..).zip(activities) {
        parsed.check_size()?;
        let Ok(activity) = serde_json::from_str::<Object<'_>>(raw.get()) else {
            let fault = RowFault::row("wrong_type", "must be an object");
            parsed.rows.push(LedgerRow { row, id: None, fields: Err(vec![fault]) });
            continue;
        };
        let id = activity.text("id");
        match source.entry(&activity) {
            Ok(Some(fields)) => parsed.rows.push(LedgerRow { row, id, fields: Ok(fields) }),
            Ok(None) => parsed.passed_over += 1,
            Err(faults) => parsed.rows.push(LedgerRow { row, id, fields: Err(faults) }),
        }
    }
    parsed.profiles = source.assets.into_values().collect();
    Ok(parsed)
}

struct Source<'m> {
    mapping: &'m Mapping,
    /// Names of accounts by their ids.
    accounts: BTreeMap<String, String>,
    /// What is known of assets, by their symbols there.
    assets: BTreeMap<String, AssetProfile>,
}

impl Source<'_> {
    /// Notes what an object says of an asset.
    fn learn(&mut self, object: &Object<'_>) {
        let Some(symbol) = object.text("symbol") else { return };
        let name = object.text("name");
        let known = self.assets.entry(symbol.clone()).or_insert_with(|| AssetProfile {
            symbol: own_symbol(self.mapping, &symbol, name.as_deref()),
            ..AssetProfile::default()
        });
        known.name = known.name.take().or(name);
        known.currency = known.currency.take().or_else(|| object.text("currency"));
        let class = object.text("assetSubClass").or_else(|| object.text("assetClass"));
        known.asset_type = known.asset_type.take().or_else(|| class.and_then(|class| asset_type(&class)));
    }

    /// The entry an activity stands for; `None` when its type is passed over.
    fn entry(&mut self, activity: &Object<'_>) -> Result<Option<String>, Vec<RowFault>> {
        for name in NESTED {
            let nested = member(activity, name).and_then(|raw| serde_json::from_str(raw.get()).ok());
            if let Some(profile) = nested {
                let profile: Object<'_> = profile;
                self.learn(&profile);
            }
        }
        let mut faults = Vec::new();
        let Some(kind) = activity.text("type") else {
            return Err(vec![RowFault::at("type", "required", "is required")]);
        };
        let Some(kind) = self.mapping.value(LedgerField::Type, &kind) else { return Ok(None) };
        let ours = match kind.as_str() {
            "BUY" | "ITEM" => "buy",
            "SELL" => "sell",
            "DIVIDEND" => "dividend",
            "INTEREST" => "interest",
            "FEE" => "fee",
            "LIABILITY" => {
                let detail = "LIABILITY has no counterpart here: a debt is no entry of a ledger. Record it as a \
                    withdrawal or a negative balance, or pass over it with values.type in the mapping";
                faults.push(RowFault::at("type", "no_counterpart", detail));
                "LIABILITY"
            }
            other => other,
        };
        let mut cells = Cells::default();
        cells.set(LedgerField::Type, ours);
        let numbers = [
            ("quantity", LedgerField::Quantity),
            ("unitPrice", LedgerField::Price),
            ("fee", LedgerField::Fee),
        ];
        for (name, field) in numbers {
            match member(activity, name).map(number).transpose() {
                Ok(Some(number)) => cells.set(field, number),
                Ok(None) => {}
                Err((code, detail)) => faults.push(RowFault::at(name, code, detail)),
            }
        }
        match activity.text("date") {
            Some(date) => cells.set(LedgerField::ExecutedAt, day_or_moment(date)),
            None => faults.push(RowFault::at("date", "required", "is required")),
        }
        self.name_asset(activity, ours, &mut cells);
        self.name_account(activity, &mut cells);
        if faults.is_empty() {
            faults.extend(cells.complete().err());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        cells.into_json().map(Some)
    }

    /// Sets the asset, the currency and the note. Fees and interest belong to no asset there: what stands in their symbol
    /// is what they are for.
    fn name_asset(&mut self, activity: &Object<'_>, kind: &str, cells: &mut Cells) {
        let nested = |name: &str| {
            NESTED.iter().find_map(|nest| {
                let profile: Object<'_> = serde_json::from_str(member(activity, nest)?.get()).ok()?;
                profile.text(name)
            })
        };
        let symbol = activity.text("symbol").or_else(|| nested("symbol"));
        let profile = symbol.as_ref().and_then(|symbol| self.assets.get(symbol)).cloned();
        let currency = activity
            .text("currency")
            .or_else(|| nested("currency"))
            .or_else(|| profile.as_ref().and_then(|profile| profile.currency.clone()));
        let mut note = activity.text("comment").unwrap_or_default();
        if matches!(kind, "fee" | "interest") {
            let name = profile.and_then(|profile| profile.name).or(symbol);
            note = format!("{} {note}", name.unwrap_or_default());
        } else if let Some(symbol) = symbol {
            let name = profile.as_ref().and_then(|profile| profile.name.as_deref());
            let own = own_symbol(self.mapping, &symbol, name);
            let known = self
                .assets
                .entry(symbol)
                .or_insert_with(|| AssetProfile { symbol: own.clone(), ..AssetProfile::default() });
            known.currency = known.currency.take().or_else(|| currency.clone());
            cells.set(LedgerField::Symbol, own);
        }
        if let Some(currency) = currency.and_then(|code| self.mapping.value(LedgerField::Currency, &code)) {
            cells.set(LedgerField::Currency, currency);
        }
        if !note.trim().is_empty() {
            cells.set(LedgerField::Note, note.trim());
        }
    }

    /// Sets the account, by the name that the file gives it.
    fn name_account(&self, activity: &Object<'_>, cells: &mut Cells) {
        let Some(id) = activity.text("accountId") else { return };
        let name = self.accounts.get(&id).unwrap_or(&id);
        let mapped = self.mapping.value(LedgerField::Account, name);
        if let Some(account) = mapped.filter(|account| !account.trim().is_empty()) {
            cells.set(LedgerField::Account, account);
        }
    }
}

/// The symbol an asset has here: what the mapping says, else its own in upper case. The symbols of assets that somebody
/// entered by hand are ids; such an asset goes by its name, cut to what a symbol may have.
fn own_symbol(mapping: &Mapping, symbol: &str, name: Option<&str>) -> String {
    if let Some(mapped) = mapping.value(LedgerField::Symbol, symbol).filter(|mapped| mapped != symbol) {
        return mapped;
    }
    if symbol.chars().count() <= SYMBOL {
        return symbol.to_uppercase();
    }
    let letters = name.unwrap_or(symbol).chars().map(|c| if c.is_alphanumeric() { c } else { '-' });
    let cut: String = letters.flat_map(char::to_uppercase).take(SYMBOL).collect();
    cut.trim_matches('-').to_owned()
}

/// Our type of an asset class or subclass there.
fn asset_type(class: &str) -> Option<String> {
    let ours = match class {
        "STOCK" | "PRIVATE_EQUITY" | "EQUITY" => "STOCK",
        "ETF" => "ETF",
        "MUTUALFUND" => "MUTUAL_FUND",
        "CRYPTOCURRENCY" => "CRYPTOCURRENCY",
        "BOND" | "FIXED_INCOME" => "BOND",
        "COMMODITY" | "PRECIOUS_METAL" => "COMMODITY",
        _ => return None,
    };
    Some(ours.to_owned())
}

/// A JSON number, or a string with one, in plain notation.
fn number(raw: &RawValue) -> Result<String, (&'static str, String)> {
    let text = serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_| raw.get().to_owned());
    match Decimal::parse_input(&text) {
        Ok(number) => Ok(number.to_string()),
        Err(error) => {
            let code = if error == DecimalError::TooManyDigits { "too_many_digits" } else { "not_a_number" };
            Err((code, error.to_string()))
        }
    }
}

/// A time as it is written; 00:00 UTC is how Ghostfolio writes a day.
fn day_or_moment(date: String) -> String {
    let midnight = |clock: &str| {
        let clock = clock.strip_suffix('Z').and_then(|clock| clock.strip_prefix("00:00:00"));
        clock.is_some_and(|rest| rest.trim_matches('0').trim_matches('.').is_empty())
    };
    match date.split_once('T') {
        Some((day, clock)) if midnight(clock) => day.to_owned(),
        _ => date,
    }
}
