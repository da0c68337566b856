//! What somebody is to be allowed, as an administrator writes it: scopes, an owner, single portfolios, an end.

use crate::domain::access::{ADMIN, Scopes};
use crate::domain::ids::PortfolioId;
use crate::domain::moment::{Moment, Written};
use crate::http::auth::{FIRST_OWNER, SCOPES};
use crate::http::error::{ApiError, FieldError};
use crate::http::fields::Fields;
use crate::storage::database::Tx;
use crate::storage::portfolios;

/// Most portfolios one credential is bound to.
const PORTFOLIOS_MAX: usize = 100;

/// Rights to give.
#[derive(Debug, Clone)]
pub struct Rights {
    /// What may be done.
    pub scopes: Scopes,
    /// Whose portfolios.
    pub owner_id: String,
    /// Only these, if named.
    pub portfolios: Option<Vec<PortfolioId>>,
}

impl Rights {
    /// Reads `admin` or `scopes`, `owner_id` and `portfolios`. Without an owner it is `default_owner`; none is a fault.
    pub fn read(fields: &mut Fields<'_>, default_owner: Option<&str>) -> Self {
        let scopes = read_scopes(fields).unwrap_or_default();
        let portfolios = read_portfolios(fields);
        let owner = fields.opt_name("owner_id", 255);
        let default = if scopes.is_admin() { Some(FIRST_OWNER) } else { default_owner };
        if owner.is_none() && default.is_none() && fields.raw("owner_id").is_none() && !scopes.is_empty() {
            fields.fault("owner_id", "required", "is required unless admin is true");
        }
        let owner_id = owner.or_else(|| default.map(str::to_owned)).unwrap_or_default();
        let rights = Self { scopes, owner_id, portfolios };
        rights.check_bounds(fields);
        rights
    }

    /// What cannot be bound is not: whoever may do everything, and whoever reads the audit trail, which tells of every
    /// owner.
    pub fn check_bounds(&self, fields: &mut Fields<'_>) {
        let bound = self.portfolios.is_some();
        if self.scopes.is_admin() && bound {
            fields.fault("portfolios", "contradicts", "cannot bind what may do everything");
        } else if self.scopes.audits() && bound {
            fields.fault(
                "portfolios",
                "contradicts",
                "cannot bind audit:read: the audit trail tells of every owner",
            );
        }
        if self.scopes.audits_in_vain() {
            let detail = "audit:read tells of every owner, so that it cannot stand beside portfolios:read or portfolios:write";
            fields.fault("scopes", "contradicts", detail);
        }
    }

    /// Ids of the portfolios as they are kept.
    pub fn kept_portfolios(&self) -> Option<String> {
        kept(self.portfolios.as_deref())
    }

    /// Looks the portfolios up: each must exist and belong to the owner.
    ///
    /// # Errors
    /// [`crate::http::error::Code::InvalidRequest`], naming each that does not.
    pub async fn check(&self, tx: &mut Tx) -> Result<(), ApiError> {
        let mut faults = Vec::new();
        for (index, id) in self.portfolios.iter().flatten().enumerate() {
            let found = portfolios::find(tx, *id).await?;
            if found.is_none_or(|portfolio| portfolio.owner_id != self.owner_id) {
                let detail = format!("{} has no such portfolio", self.owner_id);
                faults.push(FieldError::at(format!("/portfolios/{index}"), "not_found", detail));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(ApiError::invalid(faults)) }
    }
}

/// Ids of portfolios as they are kept.
pub fn kept(portfolios: Option<&[PortfolioId]>) -> Option<String> {
    let names: Vec<String> = portfolios?.iter().map(ToString::to_string).collect();
    Some(names.join(" "))
}

/// Ids of portfolios as they are shown.
pub fn shown(kept: Option<&str>) -> Option<Vec<PortfolioId>> {
    Some(kept?.split(' ').filter_map(PortfolioId::parse).collect())
}

/// Reads `admin` or `scopes`: one of the two, and known names.
pub fn read_scopes(fields: &mut Fields<'_>) -> Option<Scopes> {
    let admin = fields.opt_bool("admin") == Some(true);
    let names: Option<Vec<String>> = fields.opt_value("scopes", "a list of names of scopes");
    let Some(names) = names else {
        if admin {
            return Some(std::iter::once(ADMIN.to_owned()).collect());
        }
        if fields.raw("scopes").is_none() {
            fields.fault("scopes", "required", "is required unless admin is true");
        }
        return None;
    };
    if admin {
        fields.fault("scopes", "contradicts", "must not be given with admin");
        return Some(std::iter::once(ADMIN.to_owned()).collect());
    }
    if names.is_empty() {
        fields.fault("scopes", "empty", "must name at least one scope");
    } else if let Some(unknown) = names.iter().find(|name| !SCOPES.contains(&name.as_str())) {
        let known = SCOPES.join(", ");
        fields.fault("scopes", "unknown_value", format!("`{}` is none of {known}", shortened(unknown)));
    }
    Some(names.into_iter().collect())
}

fn shortened(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// Reads `portfolios`: a list of ids.
pub fn read_portfolios(fields: &mut Fields<'_>) -> Option<Vec<PortfolioId>> {
    let names: Vec<String> = fields.opt_value("portfolios", "a list of ids of portfolios")?;
    if names.is_empty() || names.len() > PORTFOLIOS_MAX {
        fields.fault("portfolios", "out_of_range", format!("must name 1 to {PORTFOLIOS_MAX} portfolios"));
    }
    let ids: Option<Vec<PortfolioId>> = names.iter().map(|name| PortfolioId::parse(name)).collect();
    if ids.is_none() {
        fields.fault("portfolios", "malformed", "must hold ids of portfolios");
    }
    ids
}

/// Reads `expires_at`: a moment to come, or the day at whose end, in UTC, it is over.
pub fn read_expiry(fields: &mut Fields<'_>, now: Moment) -> Option<Moment> {
    let expires_at = fields.opt_time("expires_at").map(|written| match written {
        Written::Moment(moment) => moment,
        Written::Day(day) => crate::domain::moment::end_of_day(day, chrono_tz::Tz::UTC),
    });
    if expires_at.is_some_and(|at| at <= now) {
        fields.fault("expires_at", "in_the_past", "must lie in the future");
    }
    expires_at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fields::Unknown;
    use serde_json::{Value, json};

    fn id(number: u128) -> PortfolioId {
        PortfolioId(uuid::Uuid::from_u128(number))
    }

    /// What is read of a body, and the pointers of its faults.
    fn read<T>(body: &Value, read: impl FnOnce(&mut Fields<'_>) -> T) -> (T, Vec<String>) {
        let bytes = body.to_string().into_bytes();
        let mut fields = Fields::of_body(&bytes).unwrap();
        let value = read(&mut fields);
        let faults = fields.finish(Unknown::Refused).err().map(|error| error.errors).unwrap_or_default();
        (value, faults.into_iter().map(|fault| format!("{} {}", fault.code, fault.detail)).collect())
    }

    #[test]
    fn portfolios_are_kept_and_shown_as_they_are() {
        let both = [id(1), id(2)];
        let kept_text = kept(Some(&both)).unwrap();
        assert_eq!(kept_text, format!("{} {}", id(1), id(2)));
        assert_eq!(shown(Some(&kept_text)), Some(both.to_vec()));
        assert_eq!((kept(None), shown(None)), (None, None));
        let rights =
            Rights { scopes: Scopes::parse(""), owner_id: "a".into(), portfolios: Some(both.to_vec()) };
        assert_eq!(rights.kept_portfolios(), Some(kept_text));
    }

    #[test]
    fn a_credential_is_bound_to_one_portfolio_at_least_and_to_a_hundred_at_most() {
        for (count, faults) in [(0, 1), (1, 0), (100, 0), (101, 1)] {
            let names: Vec<String> = (0..count).map(|number| id(number).to_string()).collect();
            let (ids, told) = read(&json!({ "portfolios": names }), read_portfolios);
            assert_eq!((ids.map(|ids| ids.len()), told.len()), (Some(names.len()), faults), "{told:?}");
        }
    }

    #[test]
    fn an_unknown_scope_is_told_by_its_beginning_and_without_what_would_move_a_cursor() {
        let long = format!("x\u{1b}[2J{}", "y".repeat(60));
        let (_, told) = read(&json!({ "scopes": [long] }), read_scopes);
        assert!(told[0].contains(&format!("`x[2J{}` is none of", "y".repeat(36))), "{told:?}");
    }
}
