//! Conventions on the wire: as a part of a portfolio, and as overrides of a read.

use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::domain::portfolio::{Conventions, CostBasis, FeeMode, LotScope, Portfolio, ShortMode, TaxMode};
use crate::http::fields::{Fields, Unknown};
use crate::http::query::Query;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::portfolios;
use crate::workers::pnl_engine::Ask;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

/// Longest holding period, in days.
const HOLDING_PERIOD_MAX: u32 = 36_500;

/// Conventions figures are computed under. Each is explained in `docs/PNL.md`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConventionsView {
    /// Which lots a disposal consumes.
    cost_basis: CostBasis,
    /// Whose lots a disposal may consume.
    lot_scope: LotScope,
    /// What a fee does to profit.
    fees: FeeMode,
    /// What a tax does to profit.
    taxes: TaxMode,
    /// What happens when more is sold than is held.
    short: ShortMode,
    /// Whether `POST /portfolios/{id}/positions` may open a SHORT.
    #[schema(example = true)]
    allow_short: bool,
    /// Within this many units of zero a position is flat.
    dust: Decimal,
    /// Days after which a disposal is tax free.
    #[schema(example = 365)]
    holding_period: u32,
}

impl From<&Conventions> for ConventionsView {
    fn from(conventions: &Conventions) -> Self {
        Self {
            cost_basis: conventions.cost_basis,
            lot_scope: conventions.lot_scope,
            fees: conventions.fees,
            taxes: conventions.taxes,
            short: conventions.short,
            allow_short: conventions.allow_short,
            dust: conventions.dust.clone(),
            holding_period: conventions.holding_period,
        }
    }
}

/// Conventions of a read in the place of the portfolio's, as [`GivenConventions::of_query`] reads them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the shape of the query; its parts are read one by one to collect every fault")]
pub struct OtherConventions {
    /// Which lots a disposal consumes.
    cost_basis: Option<CostBasis>,
    /// Whose lots a disposal may consume.
    lot_scope: Option<LotScope>,
    /// What a fee does to profit.
    fees: Option<FeeMode>,
    /// What a tax does to profit.
    taxes: Option<TaxMode>,
    /// What happens when more is sold than is held.
    short: Option<ShortMode>,
    /// Units within which a position is flat.
    dust: Option<Decimal>,
    /// Days after which a disposal is tax free.
    holding_period: Option<u32>,
}

/// Conventions given in a request; those not given keep what they were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenConventions {
    cost_basis: Option<CostBasis>,
    lot_scope: Option<LotScope>,
    fees: Option<FeeMode>,
    taxes: Option<TaxMode>,
    short: Option<ShortMode>,
    allow_short: Option<bool>,
    dust: Option<Decimal>,
    holding_period: Option<u32>,
}

impl GivenConventions {
    /// Reads the object at `name` of a body; its faults are collected in `fields`.
    pub fn read(fields: &mut Fields<'_>, name: &'static str) -> Self {
        let Some(raw) = fields.raw(name) else { return Self::default() };
        let mut inner = match Fields::of(raw, fields.pointer(name)) {
            Ok(inner) => inner,
            Err(fault) => {
                fields.adopt(vec![fault]);
                return Self::default();
            }
        };
        let dust = inner.opt_decimal("dust");
        if dust.as_ref().is_some_and(Decimal::is_negative) {
            inner.fault("dust", "negative", "must not be below zero");
        }
        let holding_period: Option<u32> = inner.opt_value("holding_period", "a whole number of days");
        if holding_period.is_some_and(|days| days > HOLDING_PERIOD_MAX) {
            inner.fault(
                "holding_period",
                "out_of_range",
                format!("must be at most {HOLDING_PERIOD_MAX} days"),
            );
        }
        let given = Self {
            cost_basis: inner.opt_one_of("cost_basis", CostBasis::NAMES, CostBasis::from_name),
            lot_scope: inner.opt_one_of("lot_scope", LotScope::NAMES, LotScope::from_name),
            fees: inner.opt_one_of("fees", FeeMode::NAMES, FeeMode::from_name),
            taxes: inner.opt_one_of("taxes", TaxMode::NAMES, TaxMode::from_name),
            short: inner.opt_one_of("short", ShortMode::NAMES, ShortMode::from_name),
            allow_short: inner.opt_bool("allow_short"),
            dust,
            holding_period,
        };
        fields.adopt(inner.faults(Unknown::Refused));
        given
    }

    /// Reads overrides from the query of a read.
    pub fn of_query(query: &mut Query) -> Self {
        Self {
            cost_basis: query.one_of("cost_basis", CostBasis::NAMES, CostBasis::from_name),
            lot_scope: query.one_of("lot_scope", LotScope::NAMES, LotScope::from_name),
            fees: query.one_of("fees", FeeMode::NAMES, FeeMode::from_name),
            taxes: query.one_of("taxes", TaxMode::NAMES, TaxMode::from_name),
            short: query.one_of("short", ShortMode::NAMES, ShortMode::from_name),
            allow_short: None,
            dust: query.decimal("dust"),
            holding_period: query.whole("holding_period", HOLDING_PERIOD_MAX),
        }
    }

    /// The conventions with what is given laid over them.
    pub fn over(&self, old: &Conventions) -> Conventions {
        Conventions {
            cost_basis: self.cost_basis.unwrap_or(old.cost_basis),
            lot_scope: self.lot_scope.unwrap_or(old.lot_scope),
            fees: self.fees.unwrap_or(old.fees),
            taxes: self.taxes.unwrap_or(old.taxes),
            short: self.short.unwrap_or(old.short),
            allow_short: self.allow_short.unwrap_or(old.allow_short),
            dust: self.dust.clone().unwrap_or_else(|| old.dust.clone()),
            holding_period: self.holding_period.unwrap_or(old.holding_period),
        }
    }
}

/// What a read of figures asks: `as_of`, and the conventions it overrides.
#[derive(Debug)]
pub struct Asked {
    as_of: Option<Moment>,
    known_at: Option<Moment>,
    given: GivenConventions,
}

impl Asked {
    /// Reads the parameters.
    pub fn of_query(query: &mut Query, portfolio: &Portfolio, known_at: Option<Moment>) -> Self {
        let as_of = query.until("as_of", portfolio.time_zone);
        Self { as_of, known_at, given: GivenConventions::of_query(query) }
    }

    /// The question, with the portfolio's own conventions where the read names no others.
    ///
    /// # Errors
    /// The database's.
    pub async fn ask(self, tx: &mut Tx, portfolio: &Portfolio) -> Result<Ask, StorageError> {
        let Self { as_of, known_at, given } = self;
        let conventions = if given == GivenConventions::default() {
            None
        } else {
            let at = |moment: Option<Moment>| moment.unwrap_or(Moment::MAX);
            Some(given.over(&portfolios::conventions(tx, portfolio.id, at(as_of), at(known_at)).await?))
        };
        Ok(Ask { as_of, known_at, conventions, traced: false })
    }
}
