//! Reading a statement: every fault with its pointer, nothing taken through a float.

use crate::domain::asset::{Terms, TermsHistory};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::fx::Rates;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::{Moment, Written, end_of_day, start_of_day};
use crate::domain::pnl::statement::values::{USUAL, is_known};
use crate::domain::pnl::statement::{Checkpoint, StatedAsset, Statement};
use crate::domain::portfolio::{Conventions, CostBasis, FeeMode, LotScope, MAIN_ACCOUNT, ShortMode, TaxMode};
use crate::domain::price::Mark;
use crate::domain::transaction::{LotPick, Transaction, TransactionType};
use crate::http::error::{ApiError, FieldError};
use crate::http::fields::{Fields, Unknown};
use chrono_tz::Tz;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// Fields of a document that mean nothing to the evaluation.
const REMARKS: [&str; 8] =
    ["schema", "id", "title", "provenance", "notes", "derived", "tolerance", "ambiguous"];
/// Most elements of one list of a document.
const ELEMENTS_MAX: usize = 250_000;
/// Faults after which a list is read no further.
const FAULTS_MAX: usize = 1_000;
/// Longest name of an asset or account.
const NAME_MAX: usize = 64;
/// Longest holding period, in days.
const HOLDING_PERIOD_MAX: u32 = 36_500;

/// Passes over what a document may say about itself.
pub(super) fn skip_remarks(fields: &mut Fields<'_>) {
    for name in REMARKS {
        fields.has(name);
    }
}

/// The elements of a list; nothing when it is absent or has too many.
pub(super) fn list<'a>(fields: &mut Fields<'a>, name: &'static str) -> Vec<&'a RawValue> {
    let elements: Vec<&RawValue> = fields.opt_value(name, "a list").unwrap_or_default();
    if elements.len() > ELEMENTS_MAX {
        fields.fault(name, "too_many", format!("has more than {ELEMENTS_MAX} elements"));
        return Vec::new();
    }
    elements
}

/// Reads each element of a list of objects; what an element does not know is refused.
pub(super) fn objects<'a, T>(
    fields: &mut Fields<'a>,
    name: &'static str,
    mut read: impl FnMut(&mut Fields<'a>, usize) -> Option<T>,
) -> Vec<T> {
    let (mut found, pointer) = (Vec::new(), fields.pointer(name));
    for (index, raw) in list(fields, name).into_iter().enumerate() {
        if fields.fault_count() >= FAULTS_MAX {
            break;
        }
        match Fields::of(raw, format!("{pointer}/{index}")) {
            Ok(mut inner) => {
                let value = read(&mut inner, index);
                let faults = inner.faults(Unknown::Refused);
                found.extend(value.filter(|_| faults.is_empty()));
                fields.adopt(faults);
            }
            Err(fault) => fields.adopt(vec![fault]),
        }
    }
    found
}

/// A built-in unit of money.
pub(super) fn opt_currency(fields: &mut Fields<'_>, name: &'static str) -> Option<Currency> {
    let code = fields.opt_text(name)?;
    let found = Currency::from_code(&code).filter(Currency::is_built_in);
    if found.is_none() {
        fields.fault(name, "unknown_currency", format!("`{code}` is not a known currency"));
    }
    found
}

fn currency(fields: &mut Fields<'_>, name: &'static str) -> Option<Currency> {
    if fields.raw(name).is_none() {
        fields.fault(name, "required", "is required");
    }
    opt_currency(fields, name)
}

/// A zone by its IANA name.
pub(super) fn opt_zone(fields: &mut Fields<'_>, name: &'static str) -> Option<Tz> {
    let text = fields.opt_text(name)?;
    let zone = text.parse().ok();
    if zone.is_none() {
        fields.fault(name, "unknown_time_zone", format!("`{text}` is not an IANA time zone"));
    }
    zone
}

/// A required moment or day.
pub(super) fn time(fields: &mut Fields<'_>, name: &'static str) -> Option<Written> {
    if fields.raw(name).is_none() {
        fields.fault(name, "required", "is required");
    }
    fields.opt_time(name)
}

/// The first moment of what was written, and whether it was a day.
fn first_moment(written: Written, zone: Tz) -> (Moment, bool) {
    match written {
        Written::Moment(moment) => (moment, false),
        Written::Day(day) => (start_of_day(day, zone), true),
    }
}

/// The last moment of what was written.
pub(super) fn last_moment(written: Written, zone: Tz) -> Moment {
    match written {
        Written::Moment(moment) => moment,
        Written::Day(day) => end_of_day(day, zone),
    }
}

/// The names of the values a checkpoint wants: `want`, else the names under `values`, else `usual`.
pub(super) fn wanted(fields: &mut Fields<'_>, known: fn(&str) -> bool, usual: &[&str]) -> Vec<String> {
    let (name, names) = if fields.raw("want").is_some() {
        fields.has("values");
        let want: Option<Vec<String>> = fields.opt_value("want", "a list of names of values");
        ("want", want.unwrap_or_default())
    } else if fields.raw("values").is_some() {
        let values: Option<serde_json::Map<String, serde_json::Value>> =
            fields.opt_value("values", "an object");
        ("values", values.unwrap_or_default().into_iter().map(|(name, _)| name).collect())
    } else {
        ("want", usual.iter().map(|name| (*name).to_owned()).collect())
    };
    if let Some(stranger) = names.iter().find(|name| !known(name)) {
        fields.fault(name, "unknown_value", format!("`{stranger}` is not a value of this kind of document"));
    }
    names
}

/// The conventions of a document. Text that is no option is a remark.
struct Stated {
    conventions: Conventions,
    average_scope: Option<LotScope>,
    first_known: bool,
    cash_ignored: bool,
}

fn conventions(fields: &mut Fields<'_>) -> Stated {
    let mut stated = Stated {
        conventions: Conventions::default(),
        average_scope: None,
        first_known: false,
        cash_ignored: false,
    };
    if let Some(method) = fields.opt_one_of("cost_basis", CostBasis::NAMES, CostBasis::from_name) {
        stated.conventions.cost_basis = method;
    }
    let given: Option<serde_json::Map<String, serde_json::Value>> =
        fields.opt_value("conventions", "an object");
    let own = &mut stated.conventions;
    for (name, value) in given.into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match name.as_str() {
            "fees" => own.fees = FeeMode::from_name(&text).unwrap_or(own.fees),
            "taxes" => own.taxes = TaxMode::from_name(&text).unwrap_or(own.taxes),
            "lot_scope" => own.lot_scope = LotScope::from_name(&text).unwrap_or(own.lot_scope),
            "lot_scope_average" => stated.average_scope = LotScope::from_name(&text),
            "short" => own.short = ShortMode::from_name(&text).unwrap_or(own.short),
            "cost_basis" => own.cost_basis = CostBasis::from_name(&text).unwrap_or(own.cost_basis),
            "holding_period" => {
                let days = text.parse().ok().filter(|days| *days <= HOLDING_PERIOD_MAX);
                own.holding_period = days.unwrap_or(own.holding_period);
            }
            "dust" => match Decimal::parse_input(&text) {
                Ok(dust) if !dust.is_negative() => own.dust = dust,
                _ => fields.fault("conventions", "not_a_number", "dust must be a number, not below zero"),
            },
            "lookup" => stated.first_known = text == "first_known",
            "cash" => stated.cash_ignored = text == "ignored",
            _ => {}
        }
    }
    stated
}

/// What is said about an asset before its currency is settled.
#[derive(Default)]
struct Named {
    settlement: Option<Currency>,
    first_money: Option<Currency>,
    multiplier: Option<Decimal>,
    inverse: bool,
    margined: bool,
    allows_negative_price: bool,
}

/// Assets by name while a document is read.
#[derive(Default)]
struct Names {
    keys: HashMap<String, AssetKey>,
    named: Vec<(String, Named)>,
}

impl Names {
    fn named(&mut self, name: &str) -> Option<&mut Named> {
        let next = i64::try_from(self.named.len()).ok()?;
        let key = *self.keys.entry(name.to_owned()).or_insert(AssetKey(next));
        if key == AssetKey(next) {
            self.named.push((name.to_owned(), Named::default()));
        }
        self.named.get_mut(usize::try_from(key.0).ok()?).map(|(_, named)| named)
    }

    fn asset(&mut self, fields: &mut Fields<'_>) -> Option<AssetKey> {
        let name = fields.opt_name("asset", NAME_MAX)?;
        self.named(&name);
        self.keys.get(&name).copied()
    }

    fn note_money(&mut self, asset: Option<AssetKey>, money: Option<Currency>) {
        let place = asset.and_then(|key| usize::try_from(key.0).ok());
        if let Some((_, named)) = place.and_then(|place| self.named.get_mut(place)) {
            named.first_money = named.first_money.or(money);
        }
    }

    fn finish(self, base: Currency) -> BTreeMap<AssetKey, (StatedAsset, Terms)> {
        let numbered = (0_i64..).zip(self.named);
        numbered
            .map(|(key, (name, named))| {
                let mut terms = Terms::plain(named.settlement.or(named.first_money).unwrap_or(base));
                terms.multiplier = named.multiplier.unwrap_or(Decimal::ONE);
                terms.inverse = named.inverse;
                terms.margined = named.inverse || named.margined;
                terms.allows_negative_price = named.allows_negative_price;
                (AssetKey(key), (StatedAsset { name, zone: Tz::UTC, marks: Vec::new() }, terms))
            })
            .collect()
    }
}

fn describe(fields: &mut Fields<'_>, names: &mut Names) -> Option<()> {
    let name = fields.text("asset", NAME_MAX);
    let settlement = opt_currency(fields, "settlement");
    let priced_in = opt_currency(fields, "currency");
    let multiplier = fields.opt_decimal("multiplier");
    if multiplier.as_ref().is_some_and(|value| !value.is_positive()) {
        fields.fault("multiplier", "not_positive", "must be greater than zero");
    }
    let inverse = fields.opt_bool("inverse").unwrap_or(false);
    let margined = fields.opt_bool("margined").unwrap_or(false);
    let allows_negative_price = fields.opt_bool("allows_negative_price").unwrap_or(false);
    let settlement = settlement.or(priced_in);
    *names.named(&name)? =
        Named { settlement, first_money: None, multiplier, inverse, margined, allows_negative_price };
    Some(())
}

/// The id of the event at this place of the document.
fn id_of(index: usize) -> TransactionId {
    TransactionId(Uuid::from_u128(u128::try_from(index).unwrap_or_default() + 1))
}

/// The place of an event in the document, from its id; the inverse of [`id_of`].
pub(super) fn index_of(id: TransactionId) -> u128 {
    id.0.as_u128().saturating_sub(1)
}

struct Event {
    transaction: Transaction,
    index: usize,
    plain_dividend: bool,
    id: Option<String>,
    picks: Vec<(String, Decimal)>,
}

fn event(fields: &mut Fields<'_>, index: usize, names: &mut Names, zone: Tz) -> Option<Event> {
    let kind = fields.opt_one_of("type", TransactionType::NAMES, TransactionType::from_name);
    if fields.raw("type").is_none() {
        fields.fault("type", "required", "is required");
    }
    let at = time(fields, "ts");
    let asset = names.asset(fields);
    let plain_dividend = kind == Some(TransactionType::Dividend) && asset.is_none();
    let (executed_at, whole_day) = at.map_or((Moment(0), false), |at| first_moment(at, zone));
    let kind = if plain_dividend { Some(TransactionType::Interest) } else { kind };
    let mut t = Transaction::bare(id_of(index), kind.unwrap_or(TransactionType::Buy), executed_at);
    t.place = i64::try_from(index).ok()?;
    t.whole_day = whole_day;
    t.asset = asset;
    t.account = fields.opt_name("account", NAME_MAX).unwrap_or_else(|| MAIN_ACCOUNT.to_owned());
    t.to_account = fields.opt_name("to_account", NAME_MAX);
    t.quantity = fields.opt_decimal("quantity");
    t.price = fields.opt_decimal("price");
    t.gross_total = fields.opt_decimal("gross_total");
    t.fee = fields.opt_decimal("fee").unwrap_or_default();
    t.tax = fields.opt_decimal("tax").unwrap_or_default();
    t.fee_asset_quantity = fields.opt_decimal("fee_asset_quantity").unwrap_or_default();
    t.currency = opt_currency(fields, "currency");
    t.fx_rate = fields.opt_decimal("fx_rate");
    t.amount = fields.opt_decimal("amount");
    t.to_amount = fields.opt_decimal("to_amount");
    t.to_currency = opt_currency(fields, "to_currency");
    let ratio = fields.opt_decimal("ratio");
    t.ratio_num = fields.opt_decimal("ratio_num");
    t.ratio_den = fields.opt_decimal("ratio_den");
    if ratio.is_some() && (t.ratio_num.is_some() || t.ratio_den.is_some()) {
        fields.fault("ratio", "contradicts", "is given in place of ratio_num and ratio_den, not beside them");
    } else if let Some(ratio) = ratio {
        (t.ratio_num, t.ratio_den) = (Some(ratio), Some(Decimal::ONE));
    }
    // Where an entry stood in somebody's file.
    fields.has("recorded");
    if matches!(kind, Some(TransactionType::Dividend | TransactionType::Interest)) {
        // The units a dividend was paid on may stand beside its amount, or in its place.
        if let (None, Some(quantity), Some(price)) = (&t.amount, &t.quantity, &t.price) {
            t.amount = Some(quantity * price);
        }
        (t.quantity, t.price) = (None, None);
    }
    names.note_money(asset, t.currency);
    let id = fields.opt_name("id", 255);
    let picks =
        objects(fields, "lots", |lot, _| Some((lot.text("transaction", 255), lot.decimal("quantity"))));
    if fields.is_faulty() || kind.is_none() {
        return None;
    }
    Some(Event { transaction: t, index, plain_dividend, id, picks })
}

struct PriceLine {
    asset: AssetKey,
    pointer: String,
    currency: Option<Currency>,
    mark: Mark,
}

fn price(fields: &mut Fields<'_>, names: &mut Names, zone: Tz) -> Option<PriceLine> {
    let name = fields.text("asset", NAME_MAX);
    let at = time(fields, "ts");
    let price = fields.decimal("price");
    let currency = opt_currency(fields, "currency");
    names.named(&name)?;
    let asset = names.keys.get(&name).copied()?;
    names.note_money(Some(asset), currency);
    let (observed_at, whole_day) = first_moment(at?, zone);
    let mark = Mark {
        price,
        observed_at,
        recorded_at: observed_at,
        source: "statement".to_owned(),
        interval: if whole_day { "1d".to_owned() } else { String::new() },
        split_adjusted: false,
    };
    Some(PriceLine { asset, pointer: fields.pointer(""), currency, mark })
}

fn rate(fields: &mut Fields<'_>, zone: Tz) -> Option<(Currency, Currency, Moment, Decimal)> {
    let (base, quote) = (currency(fields, "base"), currency(fields, "quote"));
    let at = time(fields, "ts");
    let rate = fields.decimal("rate");
    if !rate.is_positive() && !fields.is_faulty() {
        fields.fault("rate", "not_positive", "must be greater than zero");
    }
    Some((base?, quote?, first_moment(at?, zone).0, rate))
}

struct Asked {
    checkpoint: Checkpoint,
    pointer: String,
}

fn checkpoint(fields: &mut Fields<'_>, names: &Names, zone: Tz) -> Option<Asked> {
    let own_zone = opt_zone(fields, "timezone").unwrap_or(zone);
    let at = time(fields, "as_of");
    let from = fields.opt_time("from");
    let asset = fields.opt_name("asset", NAME_MAX);
    let known = asset.as_ref().map(|name| names.keys.get(name).copied());
    if known == Some(None) {
        fields.fault("asset", "unknown_asset", "no event, price or asset of the document has this name");
    }
    let account = fields.opt_name("account", NAME_MAX);
    let cost_basis = fields.opt_one_of("cost_basis", CostBasis::NAMES, CostBasis::from_name);
    let after: Option<u32> = fields.opt_value("after_event", "an index from 0");
    fields.has("window");
    fields.has("period");
    let want = wanted(fields, is_known, &USUAL);
    let entries = after.and_then(|after| usize::try_from(after).ok()).map_or(usize::MAX, |after| after + 1);
    let at = last_moment(at?, own_zone);
    let checkpoint = Checkpoint {
        at,
        zone: own_zone,
        asset: known.flatten(),
        account,
        cost_basis,
        entries,
        from: from.map(|from| last_moment(from, own_zone)),
        want,
    };
    Some(Asked { checkpoint, pointer: fields.pointer("from") })
}

/// A statement, and whether trades of it are said to move no cash.
pub(super) struct Document {
    pub(super) statement: Statement,
    pub(super) cash_ignored: bool,
    pub(super) zone: Tz,
}

/// Reads the parts of a document that make a ledger. Checkpoints are read when `checkpoints` says so: other kinds have
/// their own.
pub(super) fn ledger(fields: &mut Fields<'_>, checkpoints: bool) -> Option<Document> {
    let base = currency(fields, "base_currency");
    let zone = opt_zone(fields, "time_zone").unwrap_or(Tz::UTC);
    let stated = conventions(fields);
    let mut names = Names::default();
    objects(fields, "assets", |inner, _| describe(inner, &mut names));
    let events = objects(fields, "events", |inner, index| event(inner, index, &mut names, zone));
    let prices = objects(fields, "prices", |inner, _| price(inner, &mut names, zone));
    let fx = objects(fields, "fx", |inner, _| rate(inner, zone));
    let asked = if checkpoints {
        objects(fields, "expect", |inner, _| checkpoint(inner, &names, zone))
    } else {
        Vec::new()
    };
    if fields.is_faulty() {
        return None;
    }
    let mut assets = names.finish(base?);
    take_prices(fields, prices, &mut assets);
    let (transactions, plain_dividends) = take_events(fields, events, &assets);
    let mut rates = if stated.first_known { Rates::default().with_first_known() } else { Rates::default() };
    for (base, quote, at, rate) in fx {
        rates.add(base, quote, at, rate);
    }
    for asked in &asked {
        if asked.checkpoint.from.is_some_and(|from| from > asked.checkpoint.at) {
            let fault = FieldError::at(&*asked.pointer, "after_as_of", "lies after as_of");
            fields.adopt(vec![fault]);
        }
    }
    let checkpoints = asked.into_iter().map(|asked| asked.checkpoint).collect();
    let mut terms = TermsHistory::default();
    for (key, (_, stated)) in &assets {
        terms.add(*key, Moment::MIN, stated.clone());
    }
    let statement = Statement {
        base: base?,
        conventions: stated.conventions,
        average_scope: stated.average_scope,
        first_known: stated.first_known,
        assets: assets.into_iter().map(|(key, (asset, _))| (key, asset)).collect(),
        terms,
        tolerated: BTreeSet::new(),
        transactions,
        plain_dividends,
        rates,
        checkpoints,
    };
    Some(Document { statement, cash_ignored: stated.cash_ignored, zone })
}

/// Sorts prices into their assets, each in the currency the asset settles in.
fn take_prices(
    fields: &mut Fields<'_>,
    prices: Vec<PriceLine>,
    assets: &mut BTreeMap<AssetKey, (StatedAsset, Terms)>,
) {
    let no_rates = Rates::default();
    for line in prices {
        let Some((asset, terms)) = assets.get_mut(&line.asset) else { continue };
        let mut mark = line.mark;
        let at = line.pointer.trim_end_matches('/');
        if mark.price.is_negative() && !terms.allows_negative_price {
            let detail = "must not be below zero for this asset";
            fields.adopt(vec![FieldError::at(format!("{at}/price"), "negative", detail)]);
        }
        // Minor units have an exact factor; another currency has a rate, which is no part of a price.
        if let Some(currency) =
            line.currency.filter(|currency| *currency != terms.settlement && !terms.inverse)
        {
            let converted = no_rates.convert(&mark.price, currency, terms.settlement, mark.observed_at);
            if let Some(price) = converted {
                mark.price = price;
            } else {
                let detail = format!("this asset is priced in {}", terms.settlement);
                let at = format!("{at}/currency");
                fields.adopt(vec![FieldError::at(at, "currency_mismatch", detail)]);
            }
        }
        asset.marks.push(mark);
    }
    for (asset, _) in assets.values_mut() {
        asset.marks.sort_by_key(|mark| mark.observed_at);
    }
}

/// Checks events against the rules an entry keeps on its own, and puts them in order.
fn take_events(
    fields: &mut Fields<'_>,
    events: Vec<Event>,
    assets: &BTreeMap<AssetKey, (StatedAsset, Terms)>,
) -> (Vec<Transaction>, BTreeSet<TransactionId>) {
    let ids: HashMap<String, TransactionId> =
        events.iter().filter_map(|event| Some((event.id.clone()?, event.transaction.id))).collect();
    let count = events.len();
    let mut transactions = Vec::with_capacity(count);
    let mut plain_dividends = BTreeSet::new();
    let mut faults = Vec::new();
    for event in events {
        let pointer = format!("/events/{}", event.index);
        let mut t = event.transaction;
        for (place, (name, quantity)) in event.picks.into_iter().enumerate() {
            let by_index = || name.parse().ok().filter(|index| *index < count).map(id_of);
            match ids.get(&name).copied().or_else(by_index) {
                Some(transaction) => t.lots.push(LotPick { transaction, quantity }),
                None => faults.push(FieldError::at(
                    format!("{pointer}/lots/{place}/transaction"),
                    "unknown_event",
                    "must be the id of an event, or its index in the list",
                )),
            }
        }
        if event.plain_dividend {
            plain_dividends.insert(t.id);
        }
        let terms = t.asset.and_then(|asset| assets.get(&asset)).map(|(_, terms)| terms);
        for broken in t.check(terms.is_some_and(|terms| terms.allows_negative_price)) {
            let at = format!("{pointer}/{}", broken.field);
            faults.push(FieldError::at(at, broken.code, broken.detail));
        }
        transactions.push(t);
    }
    fields.adopt(faults);
    transactions.sort_by_key(Transaction::order);
    (transactions, plain_dividends)
}

/// Ends the reading of a document.
///
/// # Errors
/// Every fault found, unknown fields among them.
pub(super) fn finish(fields: Fields<'_>) -> Result<(), ApiError> {
    fields.finish(Unknown::Refused)
}
