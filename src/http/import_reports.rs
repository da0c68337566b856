//! What became of the rows of a ledger file.

use crate::domain::ids::TransactionId;
use crate::domain::pnl::book::LedgerError;
use crate::domain::transaction::TransactionType;
use crate::http::error::{ApiError, Code, FieldError};
use crate::workers::bookkeeping::BookError;
use crate::workers::ledger_parse::mapping::LedgerField;
use crate::workers::ledger_parse::{LedgerFormat, ParsedLedger};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// Faults a refused import names; all are counted.
const NAMED: usize = 1_000;

/// What is wrong with a row.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowError {
    /// Our field, with its place inside if it has parts.
    #[schema(example = "quantity")]
    field: Option<String>,
    /// The column or key of the file that it was read from.
    #[schema(example = "Qty")]
    column: Option<String>,
    /// Stable code of the rule.
    #[schema(example = "not_a_number")]
    code: &'static str,
    /// The rule, for people.
    #[schema(example = "is not a decimal number in plain notation")]
    detail: String,
}

/// What became of a row.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowReport {
    /// Its line, the first of the file being 1; in a Ghostfolio file its number among the activities.
    #[schema(example = 17)]
    row: u64,
    /// `stored`, `duplicate`, `conflict` or `refused`; of a dry run, what it would be.
    #[schema(example = "stored", pattern = "^(stored|duplicate|conflict|refused)$")]
    outcome: &'static str,
    #[serde(rename = "type")]
    kind: Option<TransactionType>,
    #[schema(example = "broker-2026-000123")]
    external_id: Option<String>,
    /// The entry it is; `null` while there is none.
    transaction: Option<TransactionId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<RowError>,
}

/// What became of a ledger file.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerImportReport {
    /// Whether it was stored; of a dry run, whether it would be.
    #[schema(example = true)]
    success: bool,
    #[schema(example = false)]
    dry_run: bool,
    #[schema(example = "csv")]
    format: String,
    /// New entries.
    #[schema(example = 118)]
    stored: usize,
    /// Rows that are recorded already, or twice in the file with one id.
    #[schema(example = 0)]
    duplicate: usize,
    /// Rows whose id is known with other values.
    #[schema(example = 0)]
    conflict: usize,
    /// Rows that break a rule.
    #[schema(example = 0)]
    refused: usize,
    /// Records that are no entries, or of a type the mapping passes over.
    #[schema(example = 0)]
    passed_over: u64,
    /// Whether the file begins with the newest row; entries of one moment were then taken from its end.
    #[schema(example = false)]
    newest_first: bool,
    /// Which columns gave which field.
    #[schema(example = json!({"executed_at": ["Date"], "quantity": ["Qty"]}))]
    columns: BTreeMap<String, Vec<String>>,
    /// Columns that gave none.
    #[schema(example = json!([]))]
    unused_columns: Vec<String>,
    /// Symbols of assets created.
    #[schema(example = json!([]))]
    assets_created: Vec<String>,
    /// Row by row, in the order of the file.
    rows: Vec<RowReport>,
}

/// Where a row stands.
#[derive(Debug, Clone)]
pub enum RowState {
    /// Not looked at yet.
    Unread,
    /// It is this new entry.
    Stored(TransactionId),
    /// It is this entry, known before.
    Duplicate(TransactionId),
    /// Its id is known with other values.
    Conflict(FieldError),
    /// It breaks rules.
    Refused(Code, Vec<FieldError>),
}

/// An import and what became of its rows.
#[derive(Debug)]
pub struct Done {
    /// The file.
    pub parsed: ParsedLedger,
    /// Whether it is only tried.
    pub dry_run: bool,
    /// Whether the good rows are stored although others are not.
    pub partial: bool,
    /// Whether it begins with the newest row.
    pub newest_first: bool,
    /// Symbols of assets created.
    pub assets_created: Vec<String>,
    numbers: Vec<u64>,
    /// Rows by the entry they became.
    rows_of: HashMap<TransactionId, Vec<usize>>,
    states: Vec<RowState>,
    labels: Vec<(Option<TransactionType>, Option<String>)>,
}

impl Done {
    /// An import that has just been read.
    pub fn of(parsed: ParsedLedger, dry_run: bool, partial: bool) -> Self {
        let rows = parsed.rows.len();
        Self {
            numbers: parsed.rows.iter().map(|row| row.row).collect(),
            parsed,
            dry_run,
            partial,
            newest_first: false,
            assets_created: Vec::new(),
            rows_of: HashMap::new(),
            states: vec![RowState::Unread; rows],
            labels: vec![(None, None); rows],
        }
    }

    /// What was recorded, if anything, for the audit trail.
    pub fn stored(&self) -> Option<Value> {
        let stored: Vec<TransactionId> = self
            .states
            .iter()
            .filter_map(|state| if let RowState::Stored(id) = state { Some(*id) } else { None })
            .collect();
        let assets = &self.assets_created;
        let anything = !stored.is_empty() || !assets.is_empty();
        anything.then(|| json!({ "transactions": stored, "assets_created": assets }))
    }

    /// Where a row stands in its file, as a JSON Pointer.
    pub fn pointer(&self, place: usize) -> String {
        if self.parsed.format == LedgerFormat::Ghostfolio {
            return format!("/activities/{place}");
        }
        format!("/lines/{}", self.number(place))
    }

    fn number(&self, place: usize) -> u64 {
        self.numbers.get(place).copied().unwrap_or_default()
    }

    /// Says where a row stands.
    pub fn set(&mut self, place: usize, state: RowState) {
        if let RowState::Stored(transaction) | RowState::Duplicate(transaction) = state {
            self.rows_of.entry(transaction).or_default().push(place);
        }
        if let Some(known) = self.states.get_mut(place) {
            *known = state;
        }
    }

    /// Notes what a row is called.
    pub fn label(&mut self, place: usize, kind: Option<TransactionType>, external_id: Option<&str>) {
        if let Some(label) = self.labels.get_mut(place) {
            *label = (kind, external_id.map(str::to_owned));
        }
    }

    /// Notes which entries the ledger refuses, each at its field.
    pub fn refuse(
        &mut self,
        refused: Vec<(TransactionId, LedgerError)>,
        pointers: &HashMap<TransactionId, String>,
    ) {
        for (transaction, error) in refused {
            let place = pointers.get(&transaction).cloned().unwrap_or_default();
            let error = ApiError::from(BookError::Refused { transaction, own: true, error }).inside(&place);
            let whole = error
                .errors
                .is_empty()
                .then(|| vec![FieldError::at(place, error.code.parts().0, error.detail.clone())]);
            self.refuse_entry(transaction, &ApiError { errors: whole.unwrap_or(error.errors), ..error });
        }
    }

    /// Notes that the row which became an entry, and those that repeat it, are refused.
    pub fn refuse_entry(&mut self, transaction: TransactionId, error: &ApiError) {
        for place in self.rows_of.get(&transaction).cloned().unwrap_or_default() {
            self.set(place, RowState::Refused(error.code, error.errors.clone()));
        }
    }

    /// Whether the file may be stored: no row is refused or in conflict, or the others are to be stored all the same.
    pub fn is_good(&self) -> bool {
        let bad = |state: &RowState| matches!(state, RowState::Conflict(_) | RowState::Refused(..));
        self.partial || !self.states.iter().any(bad)
    }

    /// The failure of an import of which nothing was stored.
    pub fn refusal(&self) -> ApiError {
        let (mut conflicts, mut codes, mut faults) = (0_usize, Vec::new(), Vec::new());
        for state in &self.states {
            match state {
                RowState::Conflict(fault) => {
                    conflicts += 1;
                    codes.push(Code::ExternalIdConflict);
                    faults.push(fault.clone());
                }
                RowState::Refused(code, errors) => {
                    codes.push(*code);
                    faults.extend(errors.iter().cloned());
                }
                RowState::Unread | RowState::Stored(_) | RowState::Duplicate(_) => {}
            }
        }
        let refused = codes.len() - conflicts;
        let detail = format!(
            "{refused} rows are refused and {conflicts} conflict, so nothing of the file was stored; the parameter `dry_run=true` \
             reports every row"
        );
        let first = codes.first().copied().unwrap_or(Code::InvalidRequest);
        // Rows that fail for one reason make the file fail for it; an unknown asset is no path that leads nowhere.
        let alike = first != Code::AssetNotFound && codes.iter().all(|code| *code == first);
        let code = if alike { first } else { Code::InvalidRequest };
        faults.truncate(NAMED);
        ApiError { code, detail, errors: faults, successor: None }
    }

    /// The report, with every row or those that are not stored.
    pub fn report(self, every: bool) -> LedgerImportReport {
        let success = self.is_good();
        let count = |name: &str| self.states.iter().filter(|state| outcome(state) == name).count();
        let columns = self.parsed.columns.iter();
        let mut report = LedgerImportReport {
            success,
            dry_run: self.dry_run,
            format: self.parsed.format.name().to_owned(),
            stored: count("stored"),
            duplicate: count("duplicate"),
            conflict: count("conflict"),
            refused: count("refused"),
            passed_over: self.parsed.passed_over,
            newest_first: self.newest_first,
            columns: columns.map(|(field, names)| (field.name().to_owned(), names.clone())).collect(),
            unused_columns: self.parsed.unused_columns.clone(),
            assets_created: self.assets_created.clone(),
            rows: Vec::new(),
        };
        for (place, (state, (kind, external_id))) in self.states.iter().zip(&self.labels).enumerate() {
            if !every && matches!(state, RowState::Stored(_)) {
                continue;
            }
            let pointer = self.pointer(place);
            let (transaction, faults) = match state {
                RowState::Stored(id) => (Some(*id).filter(|_| !self.dry_run), Vec::new()),
                RowState::Duplicate(id) => (Some(*id), Vec::new()),
                RowState::Conflict(fault) => (None, vec![fault]),
                RowState::Refused(_, faults) => (None, faults.iter().collect()),
                RowState::Unread => (None, Vec::new()),
            };
            report.rows.push(RowReport {
                row: self.number(place),
                outcome: outcome(state),
                kind: *kind,
                external_id: external_id.clone(),
                transaction,
                errors: faults.into_iter().map(|fault| self.row_error(fault, &pointer)).collect(),
            });
        }
        report
    }

    fn row_error(&self, fault: &FieldError, pointer: &str) -> RowError {
        let field = fault.pointer.as_deref().and_then(|at| at.strip_prefix(pointer)?.strip_prefix('/'));
        let column = field.and_then(|field| {
            let field = LedgerField::from_name(field.split('/').next()?)?;
            match self.parsed.format {
                LedgerFormat::Csv => Some(self.parsed.columns.get(&field)?.join(" ")),
                LedgerFormat::Ghostfolio => Some(ghostfolio_key(field).to_owned()),
                LedgerFormat::Ndjson => None,
            }
        });
        RowError { field: field.map(str::to_owned), column, code: fault.code, detail: fault.detail.clone() }
    }
}

fn ghostfolio_key(field: LedgerField) -> &'static str {
    let names = [
        (LedgerField::Price, "unitPrice"),
        (LedgerField::Amount, "unitPrice"),
        (LedgerField::ExecutedAt, "date"),
        (LedgerField::Account, "accountId"),
        (LedgerField::Note, "comment"),
        (LedgerField::ExternalId, "id"),
    ];
    names.iter().find(|(ours, _)| *ours == field).map_or(field.name(), |(_, theirs)| theirs)
}

const fn outcome(state: &RowState) -> &'static str {
    match state {
        RowState::Stored(_) => "stored",
        RowState::Duplicate(_) => "duplicate",
        RowState::Conflict(_) => "conflict",
        RowState::Refused(..) | RowState::Unread => "refused",
    }
}
