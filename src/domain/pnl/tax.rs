//! What a holding period makes of a disposal: taxable or tax free.
//!
//! Units held for more than `holding_period` days are tax free; a day is counted from date to date in the zone of the
//! portfolio. Units of a short position were never held, and units without a basis have no date: both are taxable.

use crate::domain::moment::Moment;
use crate::domain::pnl::amounts::Amounts;
use crate::domain::pnl::trace::{Closed, Disposal};
use chrono::{Days, NaiveDate};
use chrono_tz::Tz;

/// What the days are counted by.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Zone of the dates.
    pub zone: Tz,
    /// Days after which a disposal is tax free.
    pub holding_period: u32,
}

/// Days from one date to another in a zone; `None` for a date outside the calendar.
pub fn days_between(from: Moment, to: Moment, zone: Tz) -> Option<i64> {
    Some(to.day_in(zone)?.signed_duration_since(from.day_in(zone)?).num_days())
}

/// Whether the gain on these units is taxable.
pub fn is_taxable(disposal: &Disposal, closed: &Closed, terms: Terms) -> bool {
    if disposal.short {
        return true;
    }
    let held = closed.acquired_at.and_then(|at| days_between(at, disposal.at, terms.zone));
    held.is_none_or(|days| days <= i64::from(terms.holding_period))
}

/// What the units cost, with the costs of that side: at the opening for units sold, at the exit for units bought back.
/// Of an inverse contract, whose value falls as its price rises, it is the other side.
pub fn cost(disposal: &Disposal, closed: &Closed) -> Amounts {
    if disposal.short == disposal.inverse {
        &closed.entry + &closed.entry_costs
    } else {
        &closed.exit + &closed.exit_costs
    }
}

/// What the units brought, less the costs of that side: the counterpart of [`cost`].
pub fn proceeds(disposal: &Disposal, closed: &Closed) -> Amounts {
    if disposal.short == disposal.inverse {
        &closed.exit - &closed.exit_costs
    } else {
        &closed.entry - &closed.entry_costs
    }
}

/// The first day on which units acquired then are tax free.
pub fn free_from(acquired_at: Moment, terms: Terms) -> Option<NaiveDate> {
    let days = u64::from(terms.holding_period) + 1;
    acquired_at.day_in(terms.zone)?.checked_add_days(Days::new(days))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::currency::Currency;
    use crate::domain::decimal::Decimal;
    use crate::domain::ids::{AssetKey, TransactionId};
    use crate::domain::pnl::book::HoldingKey;
    use crate::domain::pnl::trace::DisposalKind;

    #[test]
    fn days_are_counted_from_date_to_date_where_the_portfolio_is() {
        let at = |text: &str| Moment::parse(text).unwrap();
        let (from, to) = (at("2026-03-28T22:30:00Z"), at("2026-03-29T22:30:00Z"));
        // In Berlin the second is past midnight, by the clocks of summer; in Sydney both are a day later.
        assert_eq!(days_between(from, to, Tz::UTC), Some(1));
        assert_eq!(days_between(from, to, Tz::Europe__Berlin), Some(2));
        assert_eq!(days_between(to, from, Tz::Europe__Berlin), Some(-2));
        assert_eq!(days_between(from, at("2026-03-28T23:30:00Z"), Tz::Europe__Berlin), Some(1));
        assert_eq!(days_between(from, from, Tz::Australia__Sydney), Some(0));
    }

    #[test]
    fn units_are_free_on_the_day_after_the_holding_period() {
        let terms = Terms { zone: Tz::Europe__Berlin, holding_period: 365 };
        let free = free_from(Moment::parse("2024-02-28T23:30:00Z").unwrap(), terms).unwrap();
        // Acquired on the 29th of February: 365 days later is the 28th, and the day after that free.
        assert_eq!(free.to_string(), "2025-03-01");
    }

    /// A disposal of units with a value and costs at either end.
    fn units(short: bool, inverse: bool, acquired_at: Option<Moment>, at: Moment) -> (Disposal, Closed) {
        let amounts = |number: i64| Amounts { own: Decimal::from(number), base: None };
        let closed = Closed {
            lot: None,
            acquired_at,
            quantity: Decimal::ONE,
            entry: amounts(10),
            entry_costs: amounts(1),
            exit: amounts(20),
            exit_costs: amounts(2),
            realized_gross: amounts(10),
            realized: amounts(7),
            realized_fx: None,
        };
        let disposal = Disposal {
            kind: DisposalKind::Sale,
            holding: HoldingKey { account: "main".to_owned(), asset: AssetKey(1) },
            account: "main".to_owned(),
            transaction: TransactionId(uuid::Uuid::nil()),
            at,
            currency: Currency::from_code("EUR").unwrap(),
            short,
            inverse,
            closed: Vec::new(),
        };
        (disposal, closed)
    }

    #[test]
    fn what_units_cost_and_brought_is_of_the_side_that_paid_and_of_the_one_that_was_paid() {
        // Bought for 10 and 1, sold for 20 less 2; and the other way round.
        for (short, inverse, paid, brought) in
            [(false, false, 11, 18), (true, false, 22, 9), (false, true, 22, 9), (true, true, 11, 18)]
        {
            let (disposal, closed) = units(short, inverse, None, Moment(0));
            let of = [cost(&disposal, &closed), proceeds(&disposal, &closed)].map(|amounts| amounts.own);
            assert_eq!(of, [paid, brought].map(Decimal::from), "{short} {inverse}");
            assert_eq!(closed.cost().own, Decimal::from(11));
        }
    }

    #[test]
    fn units_are_taxable_to_the_last_day_of_the_holding_period_and_those_never_held_always() {
        let terms = Terms { zone: Tz::UTC, holding_period: 365 };
        let at = |text: &str| Moment::parse(text).unwrap();
        let taxable = |short, from: Option<&str>, to: &str| {
            let (disposal, closed) = units(short, false, from.map(at), at(to));
            is_taxable(&disposal, &closed, terms)
        };
        let bought = "2025-03-10T12:00:00Z";
        assert!(taxable(false, Some(bought), "2025-03-11T00:00:00Z"));
        assert!(taxable(false, Some(bought), "2026-03-10T23:00:00Z"));
        assert!(!taxable(false, Some(bought), "2026-03-11T00:00:00Z"));
        assert!(taxable(true, Some(bought), "2030-01-01T00:00:00Z"));
        assert!(taxable(false, None, "2030-01-01T00:00:00Z"));
    }
}
