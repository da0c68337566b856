//! Transactions as they are sent in: read field by field, judged against assets, then recorded.

use crate::domain::asset::{Asset, Terms, TermsHistory};
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
use crate::storage::database::Tx;
use crate::storage::transactions::{self, Entry};
use crate::storage::{assets, currencies};
use chrono_tz::Tz;
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
    opens_short: bool,
    row_id: Option<TransactionId>,
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

/// A draft once it is judged.
#[derive(Debug)]
pub struct Judged {
    /// The entry.
    pub entry: Entry,
    /// Where it stands in the request.
    pub pointer: String,
    /// Whether its moment was stated.
    pub moment_stated: bool,
    /// The id it had where it comes from.
    pub row_id: Option<TransactionId>,
}

/// What the drafts of one request look up, each thing once.
#[derive(Debug, Default)]
pub struct Lookups {
    assets: HashMap<String, Result<(Asset, TermsHistory), ApiError>>,
    currencies: HashMap<String, Option<Currency>>,
}

impl Lookups {
    /// The asset a symbol or id names, with its terms.
    async fn asset(&mut self, tx: &mut Tx, name: &str) -> Result<(Asset, TermsHistory), ApiError> {
        if let Some(known) = self.assets.get(name) {
            return known.clone();
        }
        let found = match reading::asset(tx, name).await {
            Ok(asset) => {
                let terms = assets::terms(tx, &[asset.key], Moment::MAX).await?;
                Ok((asset, terms))
            }
            Err(error) => Err(error),
        };
        self.assets.insert(name.to_owned(), found.clone());
        found
    }

    /// The unit of money a code names.
    async fn currency(&mut self, tx: &mut Tx, code: &str) -> Result<Option<Currency>, ApiError> {
        if let Some(known) = self.currencies.get(code) {
            return Ok(*known);
        }
        let found = currencies::find(tx, code).await?;
        self.currencies.insert(code.to_owned(), found);
        Ok(found)
    }
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
            opens_short: false,
            row_id: None,
        }
    }

    /// Reads a row of an import: a draft that may say that it opens a short position, as entries of
    /// `POST /portfolios/{id}/positions` do.
    pub fn read_row(fields: &mut Fields<'_>, pointer: String, now: Moment) -> Self {
        let opens_short = fields.opt_bool("opens_short").unwrap_or_default();
        if opens_short && fields.raw("type").is_none_or(|kind| kind.get() != "\"sell\"") {
            fields.fault("opens_short", "not_used", "is not used by this type of transaction");
        }
        Self { opens_short, ..Self::read(fields, pointer, now) }
    }

    /// Gives an imported row the id it had where it comes from, and an id of the sender's unless it has one.
    pub fn identify(&mut self, row_id: Option<&str>, external_id: impl FnOnce() -> String) {
        self.row_id = row_id.and_then(TransactionId::parse);
        self.external_id.get_or_insert_with(external_id);
    }

    /// The moment it is about, a day being its start in `zone`; `None` when it states none.
    pub fn moment(&self, zone: Tz) -> Option<Moment> {
        self.executed_at.map(|written| match written {
            Written::Moment(moment) => moment,
            Written::Day(day) => start_of_day(day, zone),
        })
    }

    /// Whether it may open a short position.
    pub const fn opens_short(&self) -> bool {
        self.opens_short
    }

    /// The symbol and the currency it names.
    pub fn names(&self) -> (Option<&str>, Option<&str>) {
        (self.symbol.as_deref(), self.currency.as_deref())
    }

    /// Its type, and the sender's id of it.
    pub fn label(&self) -> (Option<TransactionType>, Option<&str>) {
        (self.kind, self.external_id.as_deref())
    }

    fn at(&self, field: &str) -> String {
        format!("{}/{field}", self.pointer)
    }

    /// The entry this draft stands for, with every rule it breaks by itself.
    ///
    /// # Errors
    /// Those rules, at their fields; [`Code::AssetNotFound`].
    pub async fn judge(
        self,
        tx: &mut Tx,
        random: Random,
        portfolio: &Portfolio,
        lookups: &mut Lookups,
    ) -> Result<Judged, ApiError> {
        let now = tx.recorded_at()?;
        let mut faults = Vec::new();
        let Some(kind) = self.kind else {
            return Err(ApiError::invalid(vec![FieldError::at(self.at("type"), "required", "is required")]));
        };
        let asset = match &self.symbol {
            Some(symbol) => {
                let named = lookups.asset(tx, symbol).await;
                Some(named.map_err(|error| error.named_at(self.at("symbol")))?)
            }
            None => None,
        };
        // The day of a split is one of the asset's market, that of any other entry one of the portfolio.
        let market =
            asset.as_ref().filter(|_| kind == TransactionType::Split).map(|(asset, _)| asset.market_zone);
        let (executed_at, whole_day) = match self.executed_at {
            Some(Written::Moment(moment)) => (moment, false),
            Some(Written::Day(day)) => (start_of_day(day, market.unwrap_or(portfolio.time_zone)), true),
            None => (now, false),
        };
        if executed_at > now.plus(FUTURE_MAX) {
            let detail = "lies more than 24 h ahead of the clock";
            faults.push(FieldError::at(self.at("executed_at"), "in_the_future", detail));
        }
        let mut t = Transaction::bare(TransactionId(random.uuid_v7(now)?), kind, executed_at);
        t.whole_day = whole_day;
        t.account = self.account.clone().unwrap_or_else(|| MAIN_ACCOUNT.to_owned());
        t.to_account.clone_from(&self.to_account);
        let terms = match &asset {
            Some((asset, history)) => {
                t.asset = Some(asset.key);
                history.at(asset.key, executed_at).cloned()
            }
            None => None,
        };
        self.fill(&mut t);
        let numbers = &self.numbers;
        faults.extend(self.look_up_currencies(tx, lookups, &mut t).await?);
        faults.extend(self.set_currency(portfolio, terms.as_ref(), &mut t));
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
        Ok(Judged {
            entry,
            moment_stated: self.executed_at.is_some(),
            row_id: self.row_id,
            pointer: self.pointer,
        })
    }

    /// Copies what needs no looking up.
    fn fill(&self, t: &mut Transaction) {
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
        t.opens_short = self.opens_short;
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
    async fn look_up_currencies(
        &self,
        tx: &mut Tx,
        lookups: &mut Lookups,
        t: &mut Transaction,
    ) -> Result<Vec<FieldError>, ApiError> {
        let mut faults = Vec::new();
        for (field, code) in [("currency", &self.currency), ("to_currency", &self.to_currency)] {
            let Some(code) = code else { continue };
            match lookups.currency(tx, code).await? {
                Some(unit) if field == "currency" => t.currency = Some(unit),
                Some(unit) => t.to_currency = Some(unit),
                None => faults.extend(reading::unknown_currency(code, &self.at(field)).errors),
            }
        }
        Ok(faults)
    }

    /// Gives the money the currency it is in when none is named, and holds `fx_rate` to what it can mean. Returns what is
    /// wrong.
    fn set_currency(
        &self,
        portfolio: &Portfolio,
        terms: Option<&Terms>,
        t: &mut Transaction,
    ) -> Option<FieldError> {
        t.currency = t.currency.or(natural_currency(t, portfolio, terms));
        let own = t.currency == Some(portfolio.base_currency);
        if own && t.fx_rate.as_ref().is_some_and(|rate| *rate != Decimal::ONE) {
            let detail = "must be 1 for money in the portfolio's own currency";
            return Some(FieldError::at(self.at("fx_rate"), "not_one", detail));
        }
        if own {
            t.fx_rate = None;
        }
        None
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
        let mut entry = self.judge(tx, random, portfolio, &mut Lookups::default()).await?.entry;
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
