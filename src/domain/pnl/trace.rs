//! What a fold did, entry by entry: the parts every sum of a book was added up from.
//!
//! A book keeps it only when asked to ([`Book::traced`](crate::domain::pnl::book::Book::traced)). Its parts
//! add up to the sums exactly: that is what `explain` shows and what a list of gains is made of.

use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, TransactionId};
use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::{Amounts, difference};
use crate::domain::pnl::book::HoldingKey;
use crate::domain::pnl::lots::Piece;
use crate::named_enum;

named_enum! {
    /// What an amount was booked as.
    PostingKind {
        /// Cash of an account and currency moved.
        Cash = "cash",
        /// Money or assets came in from outside or left for it.
        Contribution = "contribution",
        /// Money or assets came from another account of the portfolio or left for it.
        Internal = "internal",
        /// An asset paid income.
        Dividend = "dividend",
        /// Cash earned or was charged interest.
        Interest = "interest",
        /// A fee was paid.
        Fee = "fee",
        /// A tax was paid.
        Tax = "tax",
        /// A fee that is neither in cost nor in realised profit.
        FeeApart = "fee_apart",
        /// A tax that is neither in cost nor in realised profit.
        TaxApart = "tax_apart",
        /// A fee that lowered realised profit at once.
        Expense = "expense",
        /// Base value received less base value given in an exchange of currencies.
        Exchange = "exchange",
    }
}

/// One amount that entered a sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// What it was booked as.
    pub kind: PostingKind,
    /// The entry it comes from.
    pub transaction: TransactionId,
    /// The moment of that entry.
    pub at: Moment,
    /// The account.
    pub account: String,
    /// The asset, of what belongs to a holding.
    pub asset: Option<AssetKey>,
    /// Currency of `amount.own`.
    pub currency: Currency,
    /// The amount, signed as it entered the sum.
    pub amount: Amounts,
}

named_enum! {
    /// How units left a holding.
    DisposalKind {
        /// Units owned were sold.
        Sale = "sale",
        /// Units owed were bought back.
        Cover = "cover",
        /// Units were sold that nobody had recorded: their proceeds are profit.
        WithoutBasis = "without_basis",
        /// A remainder within `dust` was written off.
        Dust = "dust",
        /// Units were delivered out at their cost: no profit.
        Delivery = "delivery",
    }
}

/// Units of one lot that left, with what they brought. Own currency is the one the asset settles in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The transaction that opened the lot; `None` for units without a basis.
    pub lot: Option<TransactionId>,
    /// When they were acquired, or sold short; `None` for units without a basis.
    pub acquired_at: Option<Moment>,
    /// Units.
    pub quantity: Decimal,
    /// Their value at opening, before costs; unsigned.
    pub entry: Amounts,
    /// Costs of the opening that the convention puts into cost.
    pub entry_costs: Amounts,
    /// Their value at the exit, before costs; unsigned.
    pub exit: Amounts,
    /// Costs of the exit that the convention takes out of it.
    pub exit_costs: Amounts,
    /// Their profit before costs.
    pub realized_gross: Amounts,
    /// Their profit.
    pub realized: Amounts,
    /// The currency part of it, in base currency.
    pub realized_fx: Option<Decimal>,
}

impl Closed {
    /// Cost of the units that left: their value at opening with its costs.
    pub fn cost(&self) -> Amounts {
        &self.entry + &self.entry_costs
    }
}

/// Units that left a holding by one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disposal {
    /// How they left.
    pub kind: DisposalKind,
    /// The holding.
    pub holding: HoldingKey,
    /// Account of the entry, which under global lots is not the holding's.
    pub account: String,
    /// The entry.
    pub transaction: TransactionId,
    /// Its moment.
    pub at: Moment,
    /// Currency of the own amounts.
    pub currency: Currency,
    /// Whether they were units of a short position.
    pub short: bool,
    /// Whether value falls as the price rises (an inverse contract).
    pub inverse: bool,
    /// Lot by lot.
    pub closed: Vec<Closed>,
}

/// Everything a fold did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Amounts, in the order they were booked.
    pub postings: Vec<Posting>,
    /// Units that left, in the order they did.
    pub disposals: Vec<Disposal>,
}

/// What an exit, or the part of it that closed one lot, realised.
#[derive(Debug, Clone)]
pub struct Realized {
    /// Value of the units at the exit, before costs.
    pub exit: Amounts,
    /// Costs of the exit.
    pub exit_costs: Amounts,
    /// Profit before costs.
    pub gross: Amounts,
    /// Profit.
    pub net: Amounts,
    /// The currency part of it, in base currency.
    pub fx: Option<Decimal>,
}

/// Shares out what an exit realised among the lots it consumed, by units. Each share is rounded where its division
/// does not end, and the last lot takes what the others leave, so that the parts are the whole. `part` computes what
/// the exit of one piece realises.
pub fn share_out(
    pieces: &[Piece],
    whole: &Realized,
    part: impl Fn(&Piece, Amounts, Amounts) -> Realized,
) -> Vec<Closed> {
    let units = pieces.iter().fold(Decimal::ZERO, |sum, piece| &sum + &piece.quantity);
    let mut left = whole.clone();
    let mut closed = Vec::with_capacity(pieces.len());
    for (index, piece) in pieces.iter().enumerate() {
        let realized = if index + 1 == pieces.len() {
            left.clone()
        } else {
            let share = |amounts: &Amounts| amounts.share(&piece.quantity, &units);
            part(piece, share(&whole.exit), share(&whole.exit_costs))
        };
        left.exit -= &realized.exit;
        left.exit_costs -= &realized.exit_costs;
        left.gross -= &realized.gross;
        left.net -= &realized.net;
        left.fx = difference(left.fx.as_ref(), realized.fx.as_ref());
        closed.push(Closed {
            lot: Some(piece.transaction),
            acquired_at: Some(piece.acquired_at),
            quantity: piece.quantity.clone(),
            entry: piece.gross.clone(),
            entry_costs: piece.costs.clone(),
            exit: realized.exit,
            exit_costs: realized.exit_costs,
            realized_gross: realized.gross,
            realized: realized.net,
            realized_fx: realized.fx,
        });
    }
    closed
}
