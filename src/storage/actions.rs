//! Tables `corporate_actions`, `corporate_action_voids` and `first_symbols`: what happened to assets, never changed,
//! only added to.

use crate::domain::corporate_action::{ActionType, CorporateAction};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{ActionId, AssetKey};
use crate::domain::moment::Moment;
use crate::storage::database::{Tx, on};
use crate::storage::error::StorageError;
use crate::storage::page::After;
use sqlx::QueryBuilder;
use std::collections::BTreeMap;

/// Keys named by one statement.
const KEYS: usize = 500;

/// A corporate action as it is kept: what the fold reads, and what people wrote beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedAction {
    /// What the fold reads.
    pub action: CorporateAction,
    /// Sequence of entry.
    pub seq: i64,
    /// Free text.
    pub note: String,
    /// Free JSON object, as text.
    pub metadata: String,
    /// The action it was recorded in place of.
    pub replaces: Option<ActionId>,
    /// When it was learned.
    pub recorded_at: Moment,
    /// Its void, if it was voided.
    pub void: Option<ActionVoid>,
}

impl RecordedAction {
    /// An action not recorded yet: sequence and stamp are given when it is.
    pub const fn new(action: CorporateAction, note: String, metadata: String) -> Self {
        Self { action, seq: 0, note, metadata, replaces: None, recorded_at: Moment(0), void: None }
    }

    /// Whether it is in force as known at `known_at`.
    pub fn in_force(&self, known_at: Moment) -> bool {
        self.recorded_at <= known_at && self.void.as_ref().is_none_or(|void| void.recorded_at > known_at)
    }
}

/// That an action was voided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionVoid {
    /// When that was learned.
    pub recorded_at: Moment,
    /// Why.
    pub reason: String,
    /// The action recorded in its place.
    pub replaced_by: Option<ActionId>,
}

const SELECT: &str = "SELECT c.id, c.seq, c.place, c.asset_key, c.kind, c.executed_at, c.whole_day, c.ratio_num, \
    c.ratio_den, c.amount, c.tax, c.currency, c.new_symbol, c.note, c.metadata, c.replaces, c.recorded_at, \
    v.recorded_at AS voided_at, v.reason AS void_reason, v.replaced_by \
    FROM corporate_actions c LEFT JOIN corporate_action_voids v ON v.action_id = c.id";

#[derive(sqlx::FromRow)]
struct Row {
    id: ActionId,
    seq: i64,
    place: i64,
    asset_key: AssetKey,
    kind: ActionType,
    executed_at: Moment,
    whole_day: bool,
    ratio_num: Option<Decimal>,
    ratio_den: Option<Decimal>,
    amount: Option<Decimal>,
    tax: Decimal,
    currency: Option<Currency>,
    new_symbol: Option<String>,
    note: String,
    metadata: String,
    replaces: Option<ActionId>,
    recorded_at: Moment,
    voided_at: Option<Moment>,
    void_reason: Option<String>,
    replaced_by: Option<ActionId>,
}

impl From<Row> for RecordedAction {
    fn from(row: Row) -> Self {
        let action = CorporateAction {
            id: row.id,
            asset: row.asset_key,
            place: row.place,
            kind: row.kind,
            executed_at: row.executed_at,
            whole_day: row.whole_day,
            ratio_num: row.ratio_num,
            ratio_den: row.ratio_den,
            amount: row.amount,
            tax: row.tax,
            currency: row.currency,
            new_symbol: row.new_symbol,
        };
        let void = row.voided_at.map(|recorded_at| ActionVoid {
            recorded_at,
            reason: row.void_reason.unwrap_or_default(),
            replaced_by: row.replaced_by,
        });
        Self {
            action,
            seq: row.seq,
            note: row.note,
            metadata: row.metadata,
            replaces: row.replaces,
            recorded_at: row.recorded_at,
            void,
        }
    }
}

/// Every action ever recorded on these assets by `known_at`, voided ones too, in order of asset, `executed_at`, place
/// and sequence. A void that was not known then is left out.
pub async fn known(
    tx: &mut Tx,
    assets: &[AssetKey],
    known_at: Moment,
) -> Result<Vec<RecordedAction>, StorageError> {
    let mut found = Vec::new();
    for some in assets.chunks(KEYS) {
        let rows: Vec<Row> = on!(tx, conn => {
            let mut query = QueryBuilder::new(SELECT);
            query.push(" WHERE c.recorded_at <= ").push_bind(known_at).push(" AND c.asset_key IN (");
            let mut list = query.separated(", ");
            for key in some {
                list.push_bind(*key);
            }
            query.push(") ORDER BY c.asset_key, c.executed_at, c.place, c.seq LIMIT 10000000");
            query.build_query_as().fetch_all(conn).await
        })?;
        found.extend(rows.into_iter().map(|row| as_known(row.into(), known_at)));
    }
    Ok(found)
}

fn as_known(mut action: RecordedAction, known_at: Moment) -> RecordedAction {
    action.void = action.void.filter(|void| void.recorded_at <= known_at);
    action
}

/// Which actions are wanted.
#[derive(Debug, Clone)]
pub struct ActionFilter {
    /// Of this type.
    pub kind: Option<ActionType>,
    /// About moments up to this one.
    pub as_of: Moment,
    /// As known then.
    pub known_at: Moment,
    /// Voided ones too.
    pub voided: bool,
    /// After this row of an earlier page: its `executed_at` and sequence.
    pub after: Option<After>,
    /// Rows wanted.
    pub limit: i64,
}

/// Actions of an asset in order of (`executed_at`, sequence).
pub async fn list(
    tx: &mut Tx,
    asset: AssetKey,
    filter: &ActionFilter,
) -> Result<Vec<RecordedAction>, StorageError> {
    let rows: Vec<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE c.asset_key = ").push_bind(asset);
        query.push(" AND c.executed_at <= ").push_bind(filter.as_of);
        query.push(" AND c.recorded_at <= ").push_bind(filter.known_at);
        if !filter.voided {
            query.push(" AND (v.recorded_at IS NULL OR v.recorded_at > ").push_bind(filter.known_at).push(")");
        }
        if let Some(kind) = filter.kind {
            query.push(" AND c.kind = ").push_bind(kind);
        }
        if let Some(after) = &filter.after {
            query.push(" AND (c.executed_at, c.seq) > (").push_bind(after.value.parse::<i64>().unwrap_or_default());
            query.push(", ").push_bind(after.key).push(")");
        }
        query.push(" ORDER BY c.executed_at, c.seq LIMIT ").push_bind(filter.limit);
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(rows.into_iter().map(|row| as_known(row.into(), filter.known_at)).collect())
}

/// One action of an asset.
pub async fn find(
    tx: &mut Tx,
    asset: AssetKey,
    id: ActionId,
) -> Result<Option<RecordedAction>, StorageError> {
    let row: Option<Row> = on!(tx, conn => {
        let mut query = QueryBuilder::new(SELECT);
        query.push(" WHERE c.asset_key = ").push_bind(asset).push(" AND c.id = ").push_bind(id);
        query.build_query_as().fetch_optional(conn).await
    })?;
    Ok(row.map(RecordedAction::from))
}

/// Adds an action; its sequence and stamp are given here, and its place too unless it replaces another.
pub async fn insert(tx: &mut Tx, mut new: RecordedAction) -> Result<RecordedAction, StorageError> {
    const SQL: &str = "INSERT INTO corporate_actions (id, seq, place, asset_key, kind, executed_at, whole_day, \
        ratio_num, ratio_den, amount, tax, currency, new_symbol, note, metadata, replaces, recorded_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    new.seq = tx.next_seq()?;
    new.recorded_at = tx.recorded_at()?;
    if new.replaces.is_none() {
        new.action.place = new.seq;
    }
    let a = &new.action;
    on!(tx, conn => sqlx::query(SQL)
        .bind(a.id).bind(new.seq).bind(a.place).bind(a.asset).bind(a.kind).bind(a.executed_at).bind(a.whole_day)
        .bind(&a.ratio_num).bind(&a.ratio_den).bind(&a.amount).bind(&a.tax).bind(a.currency).bind(&a.new_symbol)
        .bind(&new.note).bind(&new.metadata).bind(new.replaces).bind(new.recorded_at)
        .execute(conn).await.map(drop))?;
    Ok(new)
}

/// Voids an action.
pub async fn void(
    tx: &mut Tx,
    id: ActionId,
    reason: &str,
    replaced_by: Option<ActionId>,
) -> Result<(), StorageError> {
    const SQL: &str = "INSERT INTO corporate_action_voids (action_id, seq, recorded_at, reason, replaced_by) \
        VALUES ($1, $2, $3, $4, $5)";
    let (seq, recorded_at) = (tx.next_seq()?, tx.recorded_at()?);
    on!(tx, conn => sqlx::query(SQL).bind(id).bind(seq).bind(recorded_at).bind(reason).bind(replaced_by)
        .execute(conn).await.map(drop))
}

/// Keeps the symbol an asset was created with, unless it is kept already.
pub async fn keep_first_symbol(tx: &mut Tx, asset: AssetKey, symbol: &str) -> Result<(), StorageError> {
    const SQL: &str =
        "INSERT INTO first_symbols (asset_key, symbol) VALUES ($1, $2) ON CONFLICT (asset_key) DO NOTHING";
    on!(tx, conn => sqlx::query(SQL).bind(asset).bind(symbol).execute(conn).await.map(drop))
}

/// The symbols these assets had at `as_of`, as known at `known_at`; only of assets that ever had another one.
pub async fn symbols(
    tx: &mut Tx,
    assets: &[AssetKey],
    as_of: Moment,
    known_at: Moment,
) -> Result<BTreeMap<AssetKey, String>, StorageError> {
    let mut symbols: BTreeMap<AssetKey, String> = BTreeMap::new();
    for some in assets.chunks(KEYS) {
        let rows: Vec<(AssetKey, String)> = on!(tx, conn => {
            let mut query = QueryBuilder::new("SELECT asset_key, symbol FROM first_symbols WHERE asset_key IN (");
            let mut list = query.separated(", ");
            for key in some {
                list.push_bind(*key);
            }
            query.push(") ORDER BY asset_key LIMIT 500");
            query.build_query_as().fetch_all(conn).await
        })?;
        symbols.extend(rows);
    }
    let renamed: Vec<AssetKey> = symbols.keys().copied().collect();
    for row in known(tx, &renamed, known_at).await? {
        let action = &row.action;
        if let Some(new) = action.new_symbol.clone().filter(|_| row.in_force(known_at))
            && action.executed_at <= as_of
        {
            symbols.insert(action.asset, new);
        }
    }
    Ok(symbols)
}

/// The asset that was given this symbol, upper-case, last; symbols of today are not looked at.
pub async fn former_owner(tx: &mut Tx, symbol: &str) -> Result<Option<AssetKey>, StorageError> {
    // Keys of assets and sequences of actions are of one sequence: the order in which they were recorded.
    const SQL: &str = "SELECT n.asset_key FROM (\
            SELECT f.asset_key AS asset_key, f.asset_key AS seq FROM first_symbols f WHERE f.symbol = $1 \
            UNION ALL SELECT c.asset_key, c.seq FROM corporate_actions c \
            LEFT JOIN corporate_action_voids v ON v.action_id = c.id \
            WHERE c.new_symbol = $1 AND v.recorded_at IS NULL) n ORDER BY n.seq DESC LIMIT 1";
    on!(tx, conn => sqlx::query_scalar(SQL).bind(symbol).fetch_optional(conn).await)
}
