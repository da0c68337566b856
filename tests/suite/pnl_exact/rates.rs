//! Exchange rates as `docs/PNL.md` has them: the newest at or before a moment, as quoted, inverse, or through one third
//! currency, as a fraction that is multiplied by first and divided by last.

use super::fraction::Fraction;
use super::number::{Base, Number};
use artifact::domain::currency::Currency;
use artifact::domain::decimal::Decimal;
use artifact::domain::moment::Moment;

/// A quoted rate: one of the first currency is so much of the second.
#[derive(Clone, Debug)]
pub(super) struct Quoted {
    pub(super) from: Currency,
    pub(super) to: Currency,
    pub(super) at: Moment,
    pub(super) rate: Decimal,
}

#[derive(Clone, Debug)]
pub(super) struct Table(pub(super) Vec<Quoted>);

/// What an amount is multiplied by, and what the product is divided by.
struct Steps {
    top: Fraction,
    bottom: Fraction,
}

impl Steps {
    fn then(&self, next: &Self) -> Self {
        Self { top: self.top.times(&next.top), bottom: self.bottom.times(&next.bottom) }
    }
}

/// A currency's major unit, and how many of it make one.
fn major(currency: Currency) -> (Currency, i64) {
    let of = |code: &str| (Currency::from_code(code).unwrap(), 100);
    match currency.code() {
        "GBp" | "GBX" => of("GBP"),
        "ILA" => of("ILS"),
        "ZAc" => of("ZAR"),
        _ => (currency, 1),
    }
}

impl Table {
    fn newest(&self, from: Currency, to: Currency, at: Moment) -> Option<&Quoted> {
        let known = self.0.iter().filter(|quoted| quoted.from == from && quoted.to == to && quoted.at <= at);
        // The last of several greatest: of two with one moment the later recorded.
        known.max_by_key(|quoted| quoted.at)
    }

    fn direct(&self, from: Currency, to: Currency, at: Moment) -> Option<Steps> {
        let one = Fraction::whole(1);
        let quoted = self.newest(from, to, at);
        let inverse = self.newest(to, from, at);
        match (quoted, inverse) {
            (Some(quoted), Some(inverse)) if inverse.at > quoted.at => {
                Some(Steps { top: one, bottom: Fraction::of(&inverse.rate) })
            }
            (Some(quoted), _) => Some(Steps { top: Fraction::of(&quoted.rate), bottom: one }),
            (None, Some(inverse)) => Some(Steps { top: one, bottom: Fraction::of(&inverse.rate) }),
            (None, None) => None,
        }
    }

    fn steps(&self, from: Currency, to: Currency, at: Moment) -> Option<Steps> {
        let ((from, from_units), (to, to_units)) = (major(from), major(to));
        let units = Steps { top: Fraction::whole(to_units), bottom: Fraction::whole(from_units) };
        if from == to {
            return Some(units);
        }
        if let Some(direct) = self.direct(from, to, at) {
            return Some(units.then(&direct));
        }
        let mut codes: Vec<Currency> = self.0.iter().flat_map(|quoted| [quoted.from, quoted.to]).collect();
        codes.sort_by_key(|currency| currency.code().to_owned());
        let first = ["EUR", "USD"].map(|code| Currency::from_code(code).unwrap());
        first.into_iter().chain(codes).filter(|via| *via != from && *via != to).find_map(|via| {
            let (one, two) = (self.direct(from, via, at)?, self.direct(via, to, at)?);
            Some(units.then(&one).then(&two))
        })
    }

    /// The amount in another currency; `None` where no rate is known. Nothing is nothing in every currency.
    pub(super) fn convert(&self, amount: &Number, from: Currency, to: Currency, at: Moment) -> Base {
        if from == to || amount.is_nothing() {
            return Some(amount.clone());
        }
        let steps = self.steps(from, to, at)?;
        let product = amount.times(&Number::exact(steps.top));
        let undivided = steps.bottom == Fraction::whole(1);
        Some(if undivided { product } else { product.over(&Number::exact(steps.bottom)) })
    }
}
