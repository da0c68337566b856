//! From drafts to entries of the ledger: which are new, which are known, and recording the new ones.

use crate::domain::ids::TransactionId;
use crate::domain::portfolio::Portfolio;
use crate::http::drafts::{Draft, Judged, Lookups};
use crate::http::error::{ApiError, Code, FieldError};
use crate::random::Random;
use crate::storage::database::Tx;
use crate::storage::transactions::{self, Entry};
use crate::workers::bookkeeping;
use std::collections::HashMap;

/// What became of a draft.
#[derive(Debug)]
pub struct Recorded {
    /// The entry, new or known.
    pub entry: Entry,
    /// Whether it is new.
    pub new: bool,
}

/// What is to become of a draft.
#[derive(Debug)]
pub enum Fate {
    /// It is new: its place among those to record.
    Fresh(usize),
    /// Another draft of the request, at that place, is the same.
    Repeat(usize),
    /// It is recorded already.
    Known(Box<Entry>),
    /// Its id is known with other values.
    Conflict(FieldError),
    /// It breaks a rule by itself.
    Refused(ApiError),
}

/// Judges drafts by themselves and against what is recorded: which are new, and why the others are not. A lot that names
/// the id a row had where it comes from names the entry that the row becomes.
///
/// # Errors
/// The database's; what is wrong with a draft is its fate.
pub async fn sort_out(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    drafts: Vec<Draft>,
) -> Result<(Vec<Fate>, Vec<Judged>), ApiError> {
    let mut lookups = Lookups::default();
    let mut judged = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match draft.judge(tx, random, portfolio, &mut lookups).await {
            Err(error) if !matches!(error.code, Code::InvalidRequest | Code::AssetNotFound) => {
                return Err(error);
            }
            outcome => judged.push(outcome),
        }
    }
    let known = Recalled::load(tx, portfolio, &judged).await?;
    // Which entry stands for the row that had an id elsewhere.
    let mut becomes: HashMap<TransactionId, TransactionId> = HashMap::new();
    let mut first_of: HashMap<String, TransactionId> = HashMap::new();
    for one in judged.iter().flatten() {
        let own = one.entry.transaction.id;
        let first = one.entry.external_id.clone().map_or(own, |id| *first_of.entry(id).or_insert(own));
        if let Some(row_id) = one.row_id {
            becomes.insert(row_id, known.of(one).map_or(first, |entry| entry.transaction.id));
        }
    }
    let mut fates = Vec::with_capacity(judged.len());
    let mut fresh: Vec<Judged> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for outcome in judged {
        let mut one = match outcome {
            Ok(one) => one,
            Err(error) => {
                fates.push(Fate::Refused(error));
                continue;
            }
        };
        for pick in &mut one.entry.transaction.lots {
            pick.transaction = becomes.get(&pick.transaction).copied().unwrap_or(pick.transaction);
        }
        let external_id = one.entry.external_id.clone();
        let place = external_id.as_ref().and_then(|id| places.get(id)).copied();
        let earlier = place.and_then(|place| fresh.get(place).map(|judged| &judged.entry));
        fates.push(match known.of(&one).or(earlier) {
            Some(same) if same_values(same, &one) => match place {
                Some(place) => Fate::Repeat(place),
                None => Fate::Known(Box::new(same.clone())),
            },
            Some(_) => {
                let detail =
                    format!("external_id `{}` is known with other values", external_id.unwrap_or_default());
                Fate::Conflict(FieldError::at(format!("{}/external_id", one.pointer), "conflict", detail))
            }
            None => {
                places.extend(external_id.map(|id| (id, fresh.len())));
                fresh.push(one);
                Fate::Fresh(fresh.len() - 1)
            }
        });
    }
    Ok((fates, fresh))
}

/// Entries in force that drafts may stand for.
struct Recalled {
    by_external_id: HashMap<String, Entry>,
    by_id: HashMap<TransactionId, Entry>,
}

impl Recalled {
    async fn load(
        tx: &mut Tx,
        portfolio: &Portfolio,
        judged: &[Result<Judged, ApiError>],
    ) -> Result<Self, ApiError> {
        let named = judged.iter().flatten();
        let ids: Vec<String> = named.clone().filter_map(|one| one.entry.external_id.clone()).collect();
        let by_external_id = transactions::with_external_ids(tx, portfolio.id, &ids).await?;
        let ids: Vec<TransactionId> = named.filter_map(|one| one.row_id).collect();
        let by_id = transactions::with_ids(tx, portfolio.id, &ids).await?;
        Ok(Self {
            by_external_id: by_external_id
                .into_iter()
                .filter_map(|entry| Some((entry.external_id.clone()?, entry)))
                .collect(),
            by_id: by_id.into_iter().map(|entry| (entry.transaction.id, entry)).collect(),
        })
    }

    /// The entry a draft stands for: the one with its own id, which a row taken out of this very ledger has, else the
    /// one with the sender's id.
    fn of(&self, one: &Judged) -> Option<&Entry> {
        let own = one.row_id.and_then(|id| self.by_id.get(&id));
        own.or_else(|| self.by_external_id.get(one.entry.external_id.as_ref()?))
    }
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
    let (fates, fresh) = sort_out(tx, random, portfolio, drafts).await?;
    let mut faults = Vec::new();
    let mut conflicts = Vec::new();
    for fate in &fates {
        match fate {
            Fate::Refused(error) if error.code != Code::InvalidRequest => return Err(error.clone()),
            Fate::Refused(error) => faults.extend(error.errors.clone()),
            Fate::Conflict(fault) => conflicts.push(fault.clone()),
            Fate::Fresh(_) | Fate::Repeat(_) | Fate::Known(_) => {}
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::invalid(faults));
    }
    if !conflicts.is_empty() {
        let detail = "an external_id is known with other values; nothing was recorded".to_owned();
        return Err(ApiError { code: Code::ExternalIdConflict, detail, errors: conflicts, successor: None });
    }
    let recorded = record_fresh(tx, random, portfolio, fresh).await?;
    let entry_of = |fate: Fate| match fate {
        Fate::Fresh(place) => recorded.get(place).cloned().map(|entry| Recorded { entry, new: true }),
        Fate::Repeat(place) => recorded.get(place).cloned().map(|entry| Recorded { entry, new: false }),
        Fate::Known(entry) => Some(Recorded { entry: *entry, new: false }),
        Fate::Conflict(_) | Fate::Refused(_) => None,
    };
    Ok(fates.into_iter().filter_map(entry_of).collect())
}

/// Records judged drafts, all or none.
///
/// # Errors
/// The rule of the ledger that one of them breaks, at its field.
pub async fn record_fresh(
    tx: &mut Tx,
    random: Random,
    portfolio: &Portfolio,
    fresh: Vec<Judged>,
) -> Result<Vec<Entry>, ApiError> {
    let places: HashMap<TransactionId, String> =
        fresh.iter().map(|one| (one.entry.transaction.id, one.pointer.clone())).collect();
    let entries = fresh.into_iter().map(|one| one.entry).collect();
    let recorded = bookkeeping::record(tx, random, portfolio, entries).await;
    recorded.map_err(|error| point_at_entry(error, &places))
}

/// A ledger refusal points at a field of the entry that cannot stand.
fn point_at_entry(error: bookkeeping::BookError, places: &HashMap<TransactionId, String>) -> ApiError {
    let place = match &error {
        bookkeeping::BookError::Refused { transaction, .. }
        | bookkeeping::BookError::RepeatsAction { transaction, .. } => places.get(transaction).cloned(),
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
