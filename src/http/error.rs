//! Every failure a client can see: one code, one status, one shape (RFC 9457).

use crate::domain::pnl::book::LedgerError;
use crate::http::credentials::NO_CREDENTIAL;
use crate::http::masked::mask;
use crate::storage::error::{Shortage, StorageError};
use crate::workers::bookkeeping::BookError;
use crate::workers::file_place::Place;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON Pointer into the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/price", pattern = "^(/[^/]*)*$")]
    pub pointer: Option<String>,
    /// Name of the query parameter or path segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "limit")]
    pub parameter: Option<String>,
    /// Stable code of the rule.
    #[schema(example = "not_a_number", pattern = "^[a-z_]+$")]
    pub code: &'static str,
    /// The rule, for people.
    #[schema(example = "is not a decimal number in plain notation")]
    pub detail: String,
}

impl FieldError {
    /// A fault of the body at `pointer`.
    pub fn at(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), parameter: None, code, detail: detail.into() }
    }

    /// A fault of a query parameter or path segment.
    pub fn parameter(name: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: None, parameter: Some(name.into()), code, detail: detail.into() }
    }
}

/// A problem document. `detail` is also where the earlier service's clients look.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Where the code is described.
    #[serde(rename = "type")]
    #[schema(example = "/docs/problems#invalid_request")]
    pub kind: String,
    /// The code in words.
    #[schema(example = "Invalid request")]
    pub title: &'static str,
    /// HTTP status.
    #[schema(example = 422)]
    pub status: u16,
    /// What happened, for people.
    #[schema(example = "/price is not a decimal number in plain notation")]
    pub detail: String,
    /// Stable code, for programs.
    #[schema(example = "invalid_request", pattern = "^[a-z_]+$")]
    pub code: &'static str,
    /// Id of the request, as in the `X-Request-Id` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11")]
    pub request_id: Option<String>,
    /// Every field at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)+) => {
        /// Stable codes of failures. A code has one status for ever.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($(#[$doc])* $name,)+ }

        impl Code {
            /// Every code with its status and title.
            pub const ALL: &'static [(&'static str, StatusCode, &'static str)] =
                &[$(($text, StatusCode::$status, $title)),+];

            /// The code, its status and its title.
            pub const fn parts(self) -> (&'static str, StatusCode, &'static str) {
                match self { $(Self::$name => ($text, StatusCode::$status, $title),)+ }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    MalformedJson = "malformed_json", BAD_REQUEST, "Malformed JSON";
    /// The request is not HTTP as this service speaks it.
    MalformedRequest = "malformed_request", BAD_REQUEST, "Malformed request";
    /// The path with its query is too long.
    UriTooLong = "uri_too_long", URI_TOO_LONG, "URI too long";
    /// The headers are too many or too large.
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "Headers too large";
    /// Name and password are right, and a one-time password is needed as well.
    SecondFactorRequired = "second_factor_required", UNAUTHORIZED, "Second factor required";
    /// A field breaks a rule.
    InvalidRequest = "invalid_request", UNPROCESSABLE_ENTITY, "Invalid request";
    /// A name outside an enumeration, on a route of the earlier service.
    InvalidEnumeration = "invalid_enumeration", BAD_REQUEST, "Unknown value of an enumeration";
    /// No such route.
    NotFound = "not_found", NOT_FOUND, "Not found";
    /// The route has no such method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    /// No such market.
    MarketNotFound = "market_not_found", NOT_FOUND, "Market not found";
    /// No such asset.
    AssetNotFound = "asset_not_found", NOT_FOUND, "Asset not found";
    /// No such portfolio.
    PortfolioNotFound = "portfolio_not_found", NOT_FOUND, "Portfolio not found";
    /// No such position.
    PositionNotFound = "position_not_found", NOT_FOUND, "Position not found";
    /// No such transaction.
    TransactionNotFound = "transaction_not_found", NOT_FOUND, "Transaction not found";
    /// No such source of prices.
    SourceNotFound = "source_not_found", NOT_FOUND, "Source not found";
    /// No such feed.
    FeedNotFound = "feed_not_found", NOT_FOUND, "Feed not found";
    /// No such action of the asset.
    ActionNotFound = "action_not_found", NOT_FOUND, "Action not found";
    /// No such backup.
    BackupNotFound = "backup_not_found", NOT_FOUND, "Backup not found";
    /// No such price in the outbox.
    PostNotFound = "post_not_found", NOT_FOUND, "Post not found";
    /// No such batch in the queue.
    BatchNotFound = "batch_not_found", NOT_FOUND, "Batch not found";
    /// The asset has no price then.
    PriceNotFound = "price_not_found", NOT_FOUND, "Price not found";
    /// No rate leads from one currency to the other then.
    RateNotFound = "rate_not_found", NOT_FOUND, "Exchange rate not found";
    /// The position id is no longer in use.
    PositionGone = "position_gone", GONE, "Position id no longer in use";
    /// The code is taken.
    DuplicateMarket = "duplicate_market", CONFLICT, "Duplicate market";
    /// The symbol is taken.
    DuplicateAsset = "duplicate_asset", CONFLICT, "Duplicate asset";
    /// The currency code is taken.
    DuplicateCurrency = "duplicate_currency", CONFLICT, "Duplicate currency";
    /// The asset is held on the other side.
    OtherSideOpen = "other_side_open", CONFLICT, "Position open on the other side";
    /// The position is closed.
    PositionClosed = "position_closed", CONFLICT, "Position closed";
    /// The portfolio takes no entries.
    PortfolioInactive = "portfolio_inactive", BAD_REQUEST, "Portfolio not active";
    /// The asset may not be opened.
    AssetInactive = "asset_inactive", BAD_REQUEST, "Asset not active";
    /// More than the free cash is asked for.
    InsufficientCapital = "insufficient_capital", BAD_REQUEST, "Insufficient capital";
    /// The portfolio does not open short positions.
    ShortNotAllowed = "short_not_allowed", BAD_REQUEST, "Short positions not allowed";
    /// More is sold than is held.
    InsufficientQuantity = "insufficient_quantity", UNPROCESSABLE_ENTITY, "Insufficient quantity";
    /// Lots cannot be taken as named.
    LotsNotAvailable = "lots_not_available", UNPROCESSABLE_ENTITY, "Lots not available";
    /// The ledger refuses the entry.
    LedgerRule = "ledger_rule", UNPROCESSABLE_ENTITY, "Refused by the ledger";
    /// A row already recorded could not stand any more.
    LaterEntryBreaks = "later_entry_breaks", CONFLICT, "A later entry would break a rule";
    /// The same external id with other values.
    ExternalIdConflict = "external_id_conflict", CONFLICT, "External id in use with other values";
    /// The asset has the same action on that day already.
    DuplicateAction = "duplicate_action", CONFLICT, "Duplicate action";
    /// The entry says what is recorded on the asset for every holder.
    RepeatsAction = "repeats_action", CONFLICT, "Recorded on the asset already";
    /// The transaction is voided already.
    AlreadyVoided = "already_voided", CONFLICT, "Already voided";
    /// A fact uses it, so it is fixed.
    Fixed = "fixed_by_use", CONFLICT, "Fixed since a fact uses it";
    /// The portfolio has more than its opening deposit.
    PortfolioInUse = "portfolio_in_use", CONFLICT, "Portfolio in use";
    /// The status does not allow that.
    WrongStatus = "wrong_status", CONFLICT, "Not possible in this status";
    /// It was done under this idempotency key, and its answer held a secret.
    ShownOnce = "shown_once", CONFLICT, "Made before, and shown once";
    /// A newer price of the asset was posted or waits to be.
    Outdated = "outdated", CONFLICT, "A newer price takes its place";
    /// A dividend is as large as the price it would be taken from.
    NotAdjustable = "not_adjustable", CONFLICT, "Series cannot be adjusted";
    /// A rate that is needed is not known.
    MissingRate = "missing_rate", CONFLICT, "Exchange rate missing";
    /// The version given is not the current one.
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED, "Precondition failed";
    /// The key was used for another request.
    IdempotencyMismatch = "idempotency_key_reused", UNPROCESSABLE_ENTITY, "Idempotency key used for another request";
    /// No key, or not a valid one.
    Unauthorized = "unauthorized", UNAUTHORIZED, "Authentication required";
    /// The key does not allow that.
    Forbidden = "forbidden", FORBIDDEN, "Not allowed";
    /// Too many of them in a short time.
    TooManyRequests = "too_many_requests", TOO_MANY_REQUESTS, "Too many requests";
    /// No such API key.
    KeyNotFound = "key_not_found", NOT_FOUND, "API key not found";
    /// No such user.
    UserNotFound = "user_not_found", NOT_FOUND, "User not found";
    /// The user's name is taken.
    DuplicateUser = "duplicate_user", CONFLICT, "Duplicate user";
    /// The Host header names another place.
    HostNotAllowed = "host_not_allowed", FORBIDDEN, "Host not allowed";
    /// The body is not of a type this route takes.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    /// The body came too slowly.
    TooSlow = "too_slow", REQUEST_TIMEOUT, "Too slow";
    /// The body is too large.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "Body too large";
    /// The database is busy.
    Busy = "busy", SERVICE_UNAVAILABLE, "Busy";
    /// The queue is full.
    QueueFull = "queue_full", SERVICE_UNAVAILABLE, "Queue full";
    /// The disk is full.
    StorageFull = "storage_full", INSUFFICIENT_STORAGE, "Storage full";
    /// The file system takes no writes.
    StorageReadOnly = "storage_read_only", SERVICE_UNAVAILABLE, "Storage read-only";
    /// A flush failed or the database is damaged: nothing is written until somebody has looked.
    WritesStopped = "writes_stopped", SERVICE_UNAVAILABLE, "Writes stopped";
    /// Another backup is being taken or verified.
    BackupUnderWay = "backup_under_way", CONFLICT, "Backup under way";
    /// A backup could not be taken or read.
    BackupFailed = "backup_failed", INTERNAL_SERVER_ERROR, "Backup failed";
    /// The file of records of a source is not what its manifest describes.
    RecordsDamaged = "records_damaged", INTERNAL_SERVER_ERROR, "Records damaged";
    /// A fault of the service.
    Internal = "internal_error", INTERNAL_SERVER_ERROR, "Internal error";
}

/// A failure on its way to the client.
#[derive(Debug, Clone)]
pub struct ApiError {
    /// Which failure.
    pub code: Code,
    /// What happened, for people.
    pub detail: String,
    /// Fields at fault.
    pub errors: Vec<FieldError>,
    /// Where to go instead.
    pub successor: Option<String>,
}

impl ApiError {
    /// A failure with a sentence.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), successor: None }
    }

    /// A request with these fields at fault.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let place = |error: &FieldError| {
            error.pointer.clone().or_else(|| error.parameter.clone()).unwrap_or_default()
        };
        let lines: Vec<String> =
            errors.iter().map(|error| format!("{} {}", place(error), error.detail)).collect();
        Self { code: Code::InvalidRequest, detail: lines.join("; "), errors, successor: None }
    }

    /// Whether a rule refuses what was sent, and sending it again would not help.
    pub fn is_refusal(&self) -> bool {
        matches!(self.code, Code::InvalidRequest | Code::AssetNotFound)
    }

    /// A file that is refused as a whole, with what of it, or of what was asked for, is at fault.
    pub fn of_file((place, rule): (Place, &'static str), detail: String) -> Self {
        let fault = match place {
            Place::Parameter(name) => FieldError::parameter(name, rule, detail.clone()),
            Place::Line(line) => FieldError::at(format!("/lines/{line}"), rule, detail.clone()),
            Place::Column(name) => FieldError::at(
                format!("/columns/{}", name.replace('~', "~0").replace('/', "~1")),
                rule,
                detail.clone(),
            ),
            Place::File => FieldError::at("", rule, detail.clone()),
        };
        Self { code: Code::InvalidRequest, detail, errors: vec![fault], successor: None }
    }

    /// The same failure; when it is that something was not found, with the field that names it.
    #[must_use]
    pub fn named_at(mut self, pointer: impl Into<String>) -> Self {
        if self.errors.is_empty() && self.code.parts().1 == StatusCode::NOT_FOUND {
            self.errors.push(FieldError::at(pointer, "not_found", self.detail.clone()));
        }
        self
    }

    /// The same failure of query parameters: what points into the body names a parameter.
    #[must_use]
    pub fn of_parameters(mut self) -> Self {
        for error in &mut self.errors {
            error.parameter = error.parameter.take().or_else(|| error.pointer.take());
        }
        self
    }

    /// The same failure of a part of the body that stands at `pointer`.
    #[must_use]
    pub fn inside(mut self, pointer: &str) -> Self {
        for place in self.errors.iter_mut().filter_map(|error| error.pointer.as_mut()) {
            place.insert_str(0, pointer);
        }
        self
    }

    /// One field of the body at fault, under a code of its own.
    pub fn field(code: Code, pointer: &str, rule: &'static str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { code, errors: vec![FieldError::at(pointer, rule, detail.clone())], detail, successor: None }
    }

    /// A field of the body with a value that is none of `names`. The sentence is that of the earlier service, whose
    /// clients look for it; what may stand there is told beside it.
    pub fn unknown_value(field: &str, names: &[&str]) -> Self {
        let rule = format!("must be one of {}", names.join(", "));
        let errors = vec![FieldError::at(format!("/{field}"), "unknown_value", rule)];
        Self { code: Code::InvalidEnumeration, detail: format!("Invalid {field}"), errors, successor: None }
    }
}

impl From<StorageError> for ApiError {
    fn from(error: StorageError) -> Self {
        let code = match &error {
            StorageError::Full(_) | StorageError::NoRoom(_, Shortage::Space) => Code::StorageFull,
            StorageError::Unwritable(_) | StorageError::NoRoom(_, Shortage::Access) => Code::StorageReadOnly,
            StorageError::Stopped(_) | StorageError::Damaged(_) | StorageError::Unflushed(_) => {
                Code::WritesStopped
            }
            StorageError::Busy(_) | StorageError::NotCommitted(_) => Code::Busy,
            StorageError::Conflict(_)
            | StorageError::MissingReference(_)
            | StorageError::Corrupt(_)
            | StorageError::Locked(_)
            | StorageError::Md5
            | StorageError::PasswordRequest(_)
            | StorageError::NewerSchema { .. }
            | StorageError::Migration(_)
            | StorageError::Panicked
            | StorageError::File { .. }
            | StorageError::AuditKey(_)
            | StorageError::Unaudited
            | StorageError::Driver(_) => Code::Internal,
        };
        let detail = if code == Code::Busy {
            "the database is busy; nothing was changed, try again"
        } else if code == Code::StorageFull {
            "the disk is full; nothing was changed"
        } else if code == Code::StorageReadOnly {
            "the database cannot be written to; nothing was changed"
        } else if code == Code::WritesStopped {
            "the database has to be looked after; the log tells how, and nothing was changed"
        } else {
            "the service failed; nothing was changed"
        };
        tracing::error!(error = ?error, "storage failed");
        Self::new(code, detail)
    }
}

/// The code of a rule of the ledger.
pub const fn rule_code(error: &LedgerError) -> &'static str {
    let code = match error {
        LedgerError::InsufficientQuantity { .. } => Code::InsufficientQuantity,
        LedgerError::Lots(_) => Code::LotsNotAvailable,
        LedgerError::NoRate(_) => Code::MissingRate,
        LedgerError::InverseAtZero
        | LedgerError::MarginedDelivery
        | LedgerError::DeliveryIntoShort
        | LedgerError::NoTerms => Code::LedgerRule,
    };
    code.parts().0
}

impl From<BookError> for ApiError {
    fn from(error: BookError) -> Self {
        let (transaction, own, error) = match error {
            BookError::Storage(error) => return error.into(),
            BookError::Random(error) => {
                tracing::error!(%error, "no randomness");
                return Self::new(Code::Internal, "the service failed; nothing was changed");
            }
            BookError::RepeatsAction { asset, action, .. } => {
                let detail = format!(
                    "action {action} of the asset says the same for every holder; leave the entry out, or void the action"
                );
                let successor = Some(format!("/assets/{asset}/actions/{action}"));
                return Self {
                    successor,
                    ..Self::field(Code::RepeatsAction, "/type", "repeats_action", detail)
                };
            }
            BookError::Refused { transaction, own, error } => (transaction, own, error),
        };
        if !own {
            let detail = format!("transaction {transaction} could not stand any more: {error}");
            return Self { successor: None, ..Self::new(Code::LaterEntryBreaks, detail) };
        }
        match &error {
            LedgerError::InsufficientQuantity { .. } => Self::field(
                Code::InsufficientQuantity,
                "/quantity",
                "insufficient_quantity",
                error.to_string(),
            ),
            LedgerError::Lots(_) => {
                Self::field(Code::LotsNotAvailable, "/lots", "lots_not_available", error.to_string())
            }
            LedgerError::NoRate(_) => {
                Self::field(Code::MissingRate, "/currency", "missing_rate", error.to_string())
            }
            LedgerError::InverseAtZero
            | LedgerError::MarginedDelivery
            | LedgerError::DeliveryIntoShort
            | LedgerError::NoTerms => Self::new(Code::LedgerRule, error.to_string()),
        }
    }
}

impl From<crate::random::NoRandomness> for ApiError {
    fn from(error: crate::random::NoRandomness) -> Self {
        BookError::from(error).into()
    }
}

/// The code of a failed response, for the layer that writes request ids into problem documents.
#[derive(Debug, Clone)]
pub struct Failed(pub Problem);

impl ApiError {
    /// The failure as a problem document.
    pub fn problem(&self) -> Problem {
        let (code, status, title) = self.code.parts();
        Problem {
            kind: format!("/docs/problems#{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail.clone(),
            code,
            request_id: None,
            errors: self.errors.clone(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.code.parts().1;
        let problem = self.problem();
        let mut response = problem_response(status, &problem);
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750: only who showed something is told that it is not valid.
            let challenge =
                if self.detail == NO_CREDENTIAL { "Bearer" } else { "Bearer error=\"invalid_token\"" };
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(successor) = self.successor.and_then(|path| HeaderValue::from_str(&path).ok()) {
            response.headers_mut().insert(header::LOCATION, successor);
        }
        response.extensions_mut().insert(Failed(problem));
        response
    }
}

impl Problem {
    /// The same without secrets that the caller sent as a name.
    #[must_use]
    pub fn masked(mut self) -> Self {
        mask(&mut self.detail);
        for error in &mut self.errors {
            mask(&mut error.detail);
            for place in [&mut error.pointer, &mut error.parameter].into_iter().flatten() {
                mask(place);
            }
        }
        self
    }
}

/// A problem document as a response.
pub fn problem_response(status: StatusCode, problem: &Problem) -> Response {
    let body = serde_json::to_string(problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))], body)
        .into_response()
}
