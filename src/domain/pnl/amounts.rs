//! An amount in its own currency and in the base currency, side by side.

use crate::domain::decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};

/// One amount, twice: in its own currency, and in base currency at the rate of the moment it arose.
/// `base` is `None` once a rate was missing: unknown, which is not zero, and unknown it stays in every sum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// In its own currency.
    pub own: Decimal,
    /// In base currency.
    pub base: Option<Decimal>,
}

impl Amounts {
    /// Nothing.
    pub const ZERO: Self = Self { own: Decimal::ZERO, base: Some(Decimal::ZERO) };

    /// Whether it is nothing in its own currency.
    pub fn is_zero(&self) -> bool {
        self.own.is_zero()
    }

    /// `part / whole` of it, each side rounded once; alike on both sides where they are one currency.
    #[must_use]
    pub fn share(&self, part: &Decimal, whole: &Decimal) -> Self {
        if self.is_zero() && self.base.as_ref().is_some_and(Decimal::is_zero) {
            return Self::ZERO;
        }
        Self {
            own: self.own.share(part, whole),
            base: self.base.as_ref().map(|base| base.share(part, whole)),
        }
    }

    /// The same, with the exact value of one unit where there is one: of a part of the units, that many times it.
    #[must_use]
    pub fn share_at(&self, unit: Option<&Decimal>, part: &Decimal, whole: &Decimal) -> Self {
        let Some(unit) = unit.filter(|_| part != whole) else { return self.share(part, whole) };
        let own = part * unit;
        // Where base and own currency are one, both sides must stay the same number.
        let base = match &self.base {
            Some(base) if *base == self.own => Some(own.clone()),
            base => base.as_ref().map(|base| base.share(part, whole)),
        };
        Self { own, base }
    }

    /// The same with the sign of `negative`.
    #[must_use]
    pub fn signed(self, negative: bool) -> Self {
        if negative { -self } else { self }
    }
}

impl Default for Amounts {
    fn default() -> Self {
        Self::ZERO
    }
}

/// The sum of two figures, unknown when either is.
pub fn sum(a: Option<&Decimal>, b: Option<&Decimal>) -> Option<Decimal> {
    Some(a? + b?)
}

/// The difference of two figures, unknown when either is.
pub fn difference(a: Option<&Decimal>, b: Option<&Decimal>) -> Option<Decimal> {
    Some(a? - b?)
}

impl Add<&Amounts> for &Amounts {
    type Output = Amounts;
    fn add(self, other: &Amounts) -> Amounts {
        Amounts { own: &self.own + &other.own, base: sum(self.base.as_ref(), other.base.as_ref()) }
    }
}

impl Sub<&Amounts> for &Amounts {
    type Output = Amounts;
    fn sub(self, other: &Amounts) -> Amounts {
        Amounts { own: &self.own - &other.own, base: difference(self.base.as_ref(), other.base.as_ref()) }
    }
}

impl AddAssign<&Amounts> for Amounts {
    fn add_assign(&mut self, other: &Amounts) {
        *self = &*self + other;
    }
}

impl SubAssign<&Amounts> for Amounts {
    fn sub_assign(&mut self, other: &Amounts) {
        *self = &*self - other;
    }
}

impl Neg for Amounts {
    type Output = Self;
    fn neg(self) -> Self {
        Self { own: -self.own, base: self.base.map(|base| -base) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(own: i128, base: Option<i128>) -> Amounts {
        Amounts { own: Decimal::new(own, 0), base: base.map(|base| Decimal::new(base, 0)) }
    }

    #[test]
    fn a_share_is_taken_of_each_side_also_where_one_is_nothing() {
        let share = |whole: Amounts| whole.share(&Decimal::new(1, 0), &Decimal::new(4, 0));
        assert_eq!(share(amounts(0, Some(8))), amounts(0, Some(2)));
        assert_eq!(share(amounts(8, Some(0))), amounts(2, Some(0)));
        assert_eq!(share(amounts(8, None)), amounts(2, None));
        assert_eq!(share(amounts(0, None)), amounts(0, None));
    }
}
