//! Transactions as they are sent in: read field by field, judged against assets, then recorded.

use crate::domain::asset::Terms;
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::TransactionId;
use crate::domain::moment::{Moment, Written, start_of_day};
use crate::domain::portfolio::{MAIN_ACCOUNT, Portfolio};
use crate::domain::price::FUTURE_MAX;
use crate::domain::transaction::{LotPick, Transaction, TransactionType};
use crate::http::error::{ApiError, Code, FieldError};
use crate::http::fields::{Fields, Unknown};
use crate::http::reading;
use crate::random::Random;
use crate::storage::assets;
use crate::storage::database::Tx;
use crate::storage::transactions::{self, Entry};
use crate::workers::bookkeeping;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// A transaction as it was sent, with the pointer of its object for messages.
#[derive(Debug)]
pub struct Draft {
    pointer: String,
    kind: Option<TransactionType>,
    executed_at: Option<Written>,
    account: Option<String>,
    to_account: Option<String>,
    symbol: Option<String>,
    numbers: Numbers,
    currency: Option<String>,
    to_currency: Option<String>,
    lots: Vec<LotPick>,
    external_id: Option<String>,
    note: String,
    metadata: String,
}

/// The decimals of a draft.
#[derive(Debug)]
struct Numbers {
    quantity: Option<Decimal>,
    price: Option<Decimal>,
    gross_total: Option<Decimal>,
    fee: Option<Decimal>,
    tax: Option<Decimal>,
    fee_asset_quantity: Option<Decimal>,
    fx_rate: Option<Decimal>,
    amount: Option<Decimal>,
    to_amount: Option<Decimal>,
    ratio: Option<Decimal>,
    ratio_num: Option<Decimal>,
    ratio_den: Option<Decimal>,
}

/// A draft once it is judged: the entry, and whether its moment was stated.
struct Judged {
    entry: Entry,
    moment_stated: bool,
}

/// What became of a draft.
#[derive(Debug)]
pub struct Recorded {
    /// The entry, new or known.
    pub entry: Entry,
    /// Whether it is new.
    pub new: bool,
}

impl Draft {
    /// Reads a draft; faults are collected in `fields`.
    pub fn read(fields: &mut Fields<'_>, pointer: String, now: Moment) -> Self {
        let kind = fields.opt_one_of("type", TransactionType::NAMES, TransactionType::from_name);
        if fields.raw("type").is_none() {
            fields.fault("type", "required", "is required");
        }
        let executed_at = fields.opt_time("executed_at");
        let numbers = Numbers {
            quantity: fields.opt_decimal("quantity"),
            price: fields.opt_decimal("price"),
            gross_total: fields.opt_decimal("gross_total"),
            fee: fields.opt_decimal("fee"),
            tax: fields.opt_decimal("tax"),
            fee_asset_quantity: fields.opt_decimal("fee_asset_quantity"),
            fx_rate: fields.opt_decimal("fx_rate"),
            amount: fields.opt_decimal("amount"),
            to_amount: fields.opt_decimal("to_amount"),
            ratio: fields.opt_decimal("ratio"),
            ratio_num: fields.opt_decimal("ratio_num"),
            ratio_den: fields.opt_decimal("ratio_den"),
        };
        if numbers.ratio.is_some() && (numbers.ratio_num.is_some() || numbers.ratio_den.is_some()) {
            fields.fault(
                "ratio",
                "contradicts",
                "is given in place of ratio_num and ratio_den, not beside them",
            );
        }
        let far = |moment: Moment| moment > now.plus(FUTURE_MAX);
        if let Some(Written::Moment(moment)) = executed_at
            && far(moment)
        {
            fields.fault("executed_at", "in_the_future", "lies more than 24 h ahead of the clock");
        }
        Self {
            pointer,
            kind,
            executed_at,
            account: fields.opt_name("account", 64),
            to_account: fields.opt_name("to_account", 64),
            symbol: fields.opt_name("symbol", 20),
            numbers,
            currency: fields.opt_text("currency"),
            to_currency: fields.opt_text("to_currency"),
            lots: read_lots(fields),
            external_id: fields.opt_name("external_id", 255),
            note: fields.opt_text("note").unwrap_or_default(),
            metadata: fields.metadata().unwrap_or_else(|| "{}".to_owned()),
        }
    }

    fn at(&self, field: &str) -> String {
        format!("{}/{field}", self.pointer)
    }

    /// The entry this draft stands for, with every rule it breaks by itself.
    async fn judge(self, tx: &mut Tx, random: Random, portfolio: &Portfolio) -> Result<Judged, ApiError> {
        let now = tx.recorded_at()?;
        let (executed_at, whole_day) = match self.executed_at {
            Some(Written::Moment(moment)) => (moment, false),
            Some(Written::Day(day)) => (start_of_day(day, portfolio.time_zone), true),
            None => (now, false),
        };
        let mut faults = Vec::new();
        if executed_at > now.plus(FUTURE_MAX) {
            let detail = "lies more than 24 h ahead of the clock";
            faults.push(FieldError::at(self.at("executed_at"), "in_the_future", detail));
        }
        let Some(kind) = self.kind else {
            return Err(ApiError::invalid(vec![FieldError::at(self.at("type"), "required", "is required")]));
        };
        let mut t = Transaction::bare(TransactionId(random.uuid_v7(now)?), kind, executed_at);
        t.whole_day = whole_day;
        t.account = self.account.clone().unwrap_or_else(|| MAIN_ACCOUNT.to_owned());
        t.to_account.clone_from(&self.to_account);
        let terms = match &self.symbol {
            Some(symbol) => {
                let named = reading::asset(tx, symbol).await;
                let asset = named.map_err(|error| error.named_at(self.at("symbol")))?;
                t.asset = Some(asset.key);
                let history = assets::terms(tx, &[asset.key], Moment::MAX).await?;
                history.at(asset.key, executed_at).cloned()
            }
            None => None,
        };
        let numbers = &self.numbers;
        t.quantity.clone_from(&numbers.quantity);
        t.price.clone_from(&numbers.price);
        t.gross_total.clone_from(&numbers.gross_total);
        t.fee = numbers.fee.clone().unwrap_or_default();
        t.tax = numbers.tax.clone().unwrap_or_default();
        t.fee_asset_quantity = numbers.fee_asset_quantity.clone().unwrap_or_default();
        t.fx_rate.clone_from(&numbers.fx_rate);
        t.amount.clone_from(&numbers.amount);
        t.to_amount.clone_from(&numbers.to_amount);
        t.ratio_num = numbers.ratio.clone().or_else(|| numbers.ratio_num.clone());
        t.ratio_den = if numbers.ratio.is_some() { Some(Decimal::ONE) } else { numbers.ratio_den.clone() };
        t.lots.clone_from(&self.lots);
        faults.extend(self.set_currencies(tx, portfolio, terms.as_ref(), &mut t).await?);
        let allows_negative = terms.as_ref().is_some_and(|terms| terms.allows_negative_price);
        for broken in t.check(allows_negative) {
            let at = self.at(self.on_the_wire(broken.field));
            // A quantity below zero is less than any commission, also than one nobody gave.
            let given = broken.field != "fee_asset_quantity" || numbers.fee_asset_quantity.is_some();
            if given && faults.iter().all(|fault| fault.pointer.as_ref() != Some(&at)) {
                faults.push(FieldError::at(at, broken.code, broken.detail));
            }
        }
        if !faults.is_empty() {
            return Err(ApiError::invalid(faults));
        }
        let mut entry = Entry::new(portfolio.id, t, &self.note);
        entry.external_id.clone_from(&self.external_id);
        entry.metadata.clone_from(&self.metadata);
        Ok(Judged { entry, moment_stated: self.executed_at.is_some() })
    }

    /// The field a rule of the ledger is about, as it was sent.
    fn on_the_wire(&self, field: &'static str) -> &'static str {
        match field {
            "asset" => "symbol",
            "ratio_num" | "ratio_den" if self.numbers.ratio.is_some() => "ratio",
            other => other,
        }
    }

    /// Looks up the units of money. Returns what is wrong with them.
    async fn set_currencies(
        &self,
        tx: &mut Tx,
        portfolio: &Portfolio,
        terms: Option<&Terms>,
        t: &mut Transaction,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Vec::new();
        let named = [("currency", &self.currency), ("to_currency", &self.to_currency)];
        for (field, code) in named {
            let Some(code) = code else { continue };
            match reading::currency(tx, code, &self.at(field)).await {
                Ok(unit) if field == "currency" => t.currency = Some(unit),
                Ok(unit) => t.to_currency = Some(unit),
                Err(error) if error.errors.is_empty() => return Err(error),
                Err(error) => faults.extend(error.errors),
            }
        }
        let natural = natural_currency(t, portfolio, terms);
        t.currency = t.currency.or(natural);
        let own = t.currency == Some(portfolio.base_currency);
        if own && t.fx_rate.as_ref().is_some_and(|rate| *rate != Decimal::ONE) {
            let detail = "must be 1 for money in the portfolio's own currency";
            faults.push(FieldError::at(self.at("fx_rate"), "not_one", detail));
        } else if own {
            t.fx_rate = None;
        }
        Ok(faults)
    }

    /// The entry that takes the place of `original`.
    ///
    /// # Errors
    /// The rules it breaks by itself, and [`Code::ExternalIdConflict`].
    pub async fn into_replacement(
        self,
        tx: &mut Tx,
        random: Random,
        portfolio: &Portfolio,
        original: &Entry,
    ) -> Result<Entry, ApiError> {
        let pointer = self.at("external_id");
        let mut entry = self.judge(tx, random, portfolio).await?.entry;
        if let Some(external_id) = &entry.external_id
            && original.external_id.as_ref() != Some(external_id)
            && transactions::find_external(tx, portfolio.id, external_id).await?.is_some()
        {
            let detail = format!("external_id `{external_id}` is in use by another transaction");
            return Err(ApiError::field(Code::ExternalIdConflict, &pointer, "conflict", detail));
        }
        entry.replaces = Some(original.transaction.id);
        Ok(entry)
    }
}

/// The currency an entry is in when it names none; `None` for one that moves no money.
fn natural_currency(t: &Transaction, portfolio: &Portfolio, terms: Option<&Terms>) -> Option<Currency> {
    use TransactionType as T;
    match t.kind {
        T::Split | T::Fx => None,
        T::Transfer if t.amount.is_none() && t.fee.is_zero() => None,
        T::Buy
        | T::Sell
        | T::Deposit
        | T::Withdrawal
        | T::Dividend
        | T::Interest
        | T::Fee
        | T::Tax
        | T::TransferIn
        | T::TransferOut
        | T::Transfer => Some(terms.map_or(portfolio.base_currency, |terms| terms.settlement)),
    }
}

fn read_lots(fields: &mut Fields<'_>) -> Vec<LotPick> {
    let Some(parts): Option<Vec<&RawValue>> = fields.opt_value("lots", "a list of lots") else {
        return Vec::new();
    };
    let mut lots = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let pointer = format!("{}/{index}", fields.pointer("lots"));
        let Ok(mut inner) = Fields::of(part, pointer) else {
            fields.fault("lots", "wrong_type", "must be a list of objects with transaction and quantity");
            continue;
        };
        let transaction = inner.text("transaction", 64);
        let quantity = inner.decimal("quantity");
        let id = TransactionId::parse(&transaction);
        if id.is_none() {
            inner.fault("transaction", "not_an_id", "must be the id of a transaction");
        }
        fields.adopt(inner.faults(Unknown::Refused));
        if let Some(transaction) = id {
            lots.push(LotPick { transaction, quantity });
        }
    }
    lots
}

/// Records drafts, all or none, passing over those whose `external_id` is known with the same values.
///
/// # Errors
/// The first rule broken; [`Code::ExternalIdConflict`] names every id known with other values.
pub async fn record_drafts(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    drafts: Vec<Draft>,
) -> Result<Vec<Recorded>, ApiError> {
    let mut faults = Vec::new();
    let mut outcomes: Vec<Result<usize, Entry>> = Vec::with_capacity(drafts.len());
    let mut fresh: Vec<Judged> = Vec::new();
    let mut conflicts = Vec::new();
    let mut places: HashMap<TransactionId, String> = HashMap::new();
    for draft in drafts {
        let (place, pointer) = (draft.pointer.clone(), draft.at("external_id"));
        let judged = match draft.judge(tx, random, portfolio).await {
            Ok(judged) => judged,
            Err(error) if error.code == Code::InvalidRequest => {
                faults.extend(error.errors);
                continue;
            }
            Err(error) => return Err(error),
        };
        places.insert(judged.entry.transaction.id, place);
        let Some(external_id) = judged.entry.external_id.clone() else {
            outcomes.push(Ok(fresh.len()));
            fresh.push(judged);
            continue;
        };
        let earlier = fresh.iter().position(|one| one.entry.external_id.as_ref() == Some(&external_id));
        let known = match earlier {
            Some(index) => fresh.get(index).map(|one| one.entry.clone()),
            None => transactions::find_external(tx, portfolio.id, &external_id).await?,
        };
        match known {
            None => {
                outcomes.push(Ok(fresh.len()));
                fresh.push(judged);
            }
            Some(known) if same_values(&known, &judged) => {
                outcomes.push(earlier.ok_or(known));
            }
            Some(_) => {
                let detail = format!("external_id `{external_id}` is known with other values");
                conflicts.push(FieldError::at(pointer, "conflict", detail));
            }
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid(faults));
    }
    if !conflicts.is_empty() {
        let detail = "an external_id is known with other values; nothing was recorded".to_owned();
        return Err(ApiError { code: Code::ExternalIdConflict, detail, errors: conflicts, successor: None });
    }
    let entries = fresh.into_iter().map(|judged| judged.entry).collect();
    let ids = |error: bookkeeping::BookError| point_at_entry(error, &places);
    let recorded = bookkeeping::record(tx, random, portfolio, entries).await.map_err(ids)?;
    let mut first = vec![true; recorded.len()];
    let take = |outcome: Result<usize, Entry>| match outcome {
        Ok(index) => {
            let new = first.get_mut(index).is_some_and(|fresh| std::mem::replace(fresh, false));
            recorded.get(index).cloned().map(|entry| Recorded { entry, new })
        }
        Err(entry) => Some(Recorded { entry, new: false }),
    };
    Ok(outcomes.into_iter().filter_map(take).collect())
}

/// A ledger refusal points at a field of the entry that cannot stand.
fn point_at_entry(error: bookkeeping::BookError, places: &HashMap<TransactionId, String>) -> ApiError {
    let place = match &error {
        bookkeeping::BookError::Refused { transaction, .. } => places.get(transaction).cloned(),
        bookkeeping::BookError::Storage(_) | bookkeeping::BookError::Random(_) => None,
    };
    ApiError::from(error).inside(&place.unwrap_or_default())
}

/// Whether a known entry says the same as one sent again. A moment that was not stated is not compared.
fn same_values(known: &Entry, sent: &Judged) -> bool {
    let mut other = sent.entry.transaction.clone();
    other.id = known.transaction.id;
    other.place = known.transaction.place;
    if !sent.moment_stated {
        other.executed_at = known.transaction.executed_at;
        other.whole_day = known.transaction.whole_day;
    }
    other == known.transaction && sent.entry.note == known.note
}
