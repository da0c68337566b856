//! Portfolios and the conventions their figures are computed under.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::PortfolioId;
use crate::domain::moment::Moment;
use crate::named_enum;
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// Account used when none is named.
pub const MAIN_ACCOUNT: &str = "main";

named_enum! {
    /// Where a portfolio stands. Only an `ACTIVE` one takes entries.
    PortfolioStatus {
        /// Takes entries.
        Active = "ACTIVE",
        /// Put away.
        Inactive = "INACTIVE",
        /// Locked for the moment.
        Frozen = "FROZEN",
        /// Being wound up.
        Liquidating = "LIQUIDATING",
    }
}

named_enum! {
    /// Which lots a disposal consumes.
    CostBasis {
        /// The oldest first.
        Fifo = "fifo",
        /// The newest first.
        Lifo = "lifo",
        /// The dearest first.
        Hifo = "hifo",
        /// All lots in proportion, at their average cost.
        Average = "average",
        /// The lots the disposal names.
        Specific = "specific",
    }
}

named_enum! {
    /// Whose lots a disposal may consume.
    LotScope {
        /// Those of its own account.
        Account = "account",
        /// Those of every account of the portfolio.
        Global = "global",
    }
}

named_enum! {
    /// What a fee does to profit.
    FeeMode {
        /// A buy's fee raises cost, a sell's lowers proceeds.
        InCost = "in_cost",
        /// Neither; it is shown apart.
        Separate = "separate",
        /// It lowers realised profit at once.
        Expensed = "expensed",
        /// It moves cash and is shown, but enters no profit figure.
        None = "none",
    }
}

named_enum! {
    /// What a tax does to profit.
    TaxMode {
        /// It is shown apart.
        Separate = "separate",
        /// As a fee in cost.
        InCost = "in_cost",
    }
}

named_enum! {
    /// What happens when more is sold than is held.
    ShortMode {
        /// The entry is refused.
        Rejected = "rejected",
        /// The position closes, and the rest opens a short one.
        Allowed = "allowed",
        /// What is held is sold; the rest of the proceeds is profit and the missing quantity is reported.
        MissingBasisIsZeroCost = "missing_basis_is_zero_cost",
    }
}

/// The conventions of a portfolio. Each is an option with the default of `docs/PNL.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conventions {
    /// Which lots a disposal consumes.
    pub cost_basis: CostBasis,
    /// Whose lots a disposal may consume.
    pub lot_scope: LotScope,
    /// What a fee does to profit.
    pub fees: FeeMode,
    /// What a tax does to profit.
    pub taxes: TaxMode,
    /// What happens when more is sold than is held.
    pub short: ShortMode,
    /// Whether `POST /positions` may open a SHORT.
    pub allow_short: bool,
    /// Within this many units of zero a position is flat.
    pub dust: Decimal,
    /// Days after which a disposal is tax free.
    pub holding_period: u32,
}

impl Default for Conventions {
    fn default() -> Self {
        Self {
            cost_basis: CostBasis::Fifo,
            lot_scope: LotScope::Account,
            fees: FeeMode::InCost,
            taxes: TaxMode::Separate,
            short: ShortMode::Rejected,
            allow_short: true,
            dust: Decimal::ZERO,
            holding_period: 365,
        }
    }
}

/// A portfolio: an append-only ledger, and what it is called.
#[derive(Debug, Clone)]
pub struct Portfolio {
    /// Its id.
    pub id: PortfolioId,
    /// Order of entry.
    pub seq: i64,
    /// Name for people.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Where it stands.
    pub status: PortfolioStatus,
    /// Whose it is.
    pub owner_id: String,
    /// Currency of its totals. Fixed.
    pub base_currency: Currency,
    /// The opening deposit, in base currency.
    pub initial_capital: Decimal,
    /// Zone in which its days are counted. Fixed.
    pub time_zone: Tz,
    /// Date of the opening deposit.
    pub opened_at: Moment,
    /// Free JSON object, as text.
    pub metadata: String,
    /// Counts changes of what is not derived, from 1.
    pub version: i64,
    /// When it was recorded.
    pub created_at: Moment,
    /// When it was last changed.
    pub updated_at: Moment,
}
