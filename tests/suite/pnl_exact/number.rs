//! A figure of the reference: its exact value, and how far from it a figure may lie whose divisions were rounded.

use super::fraction::{Bound, Fraction};
use artifact::domain::decimal::Decimal;
use std::cmp::Ordering;
use std::fmt;

/// Digits that a division keeps, by `docs/PNL.md`.
const DIGITS: u32 = 34;

/// An exact value. `error` is zero while every division on the way to it ended within 34 digits; else it is the most
/// that rounding each of them to 34 digits can have moved the figure by.
#[derive(Clone)]
pub(super) struct Number {
    pub(super) value: Fraction,
    pub(super) error: Bound,
}

/// A comparison whose outcome depends on how a division was rounded.
#[derive(Debug)]
pub(super) struct Undecided;

impl Number {
    pub(super) fn zero() -> Self {
        Self::exact(Fraction::whole(0))
    }

    pub(super) fn exact(value: Fraction) -> Self {
        Self { value, error: Bound::ZERO }
    }

    pub(super) fn of(decimal: &Decimal) -> Self {
        Self::exact(Fraction::of(decimal))
    }

    pub(super) fn whole(number: i64) -> Self {
        Self::exact(Fraction::whole(number))
    }

    pub(super) fn is_exact(&self) -> bool {
        self.error.is_zero()
    }

    /// Whether it is zero and certainly so.
    pub(super) fn is_nothing(&self) -> bool {
        self.value.is_zero() && self.is_exact()
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        Self { value: self.value.plus(&other.value), error: self.error.plus(other.error) }
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negated())
    }

    pub(super) fn negated(&self) -> Self {
        Self { value: self.value.negated(), error: self.error }
    }

    /// Itself, or its negation for a short position.
    pub(super) fn signed(&self, short: bool) -> Self {
        if short { self.negated() } else { self.clone() }
    }

    pub(super) fn abs(&self) -> Self {
        Self { value: self.value.abs(), error: self.error }
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        let value = self.value.times(&other.value);
        if self.is_exact() && other.is_exact() {
            return Self::exact(value);
        }
        let (a, b) = (Bound::of(&self.value), Bound::of(&other.value));
        let error = a.times(other.error).plus(b.times(self.error)).plus(self.error.times(other.error));
        Self { value, error }
    }

    /// The quotient as one rounded division gives it.
    pub(super) fn over(&self, other: &Self) -> Self {
        let value = self.value.over(&other.value);
        if self.is_exact() && other.is_exact() && value.ends_within(DIGITS) {
            return Self::exact(value);
        }
        let size = Bound::of(&value);
        let mut inverse = Bound::of(&Fraction::whole(1).over(&other.value.abs()));
        if !other.is_exact() {
            assert!(
                Fraction::whole(2).times(&other.error.exactly()) < other.value.abs(),
                "a divisor that is all rounding"
            );
            inverse = inverse.plus(inverse);
        }
        let carried = self.error.plus(size.times(other.error)).times(inverse);
        let error = carried.plus(size.plus(carried).times(Bound::HALF_A_LAST_DIGIT));
        Self { value, error }
    }

    /// `part / whole` of it: multiplied first, divided once.
    pub(super) fn share(&self, part: &Self, whole: &Self) -> Self {
        self.times(part).over(whole)
    }

    /// How it compares, unless that hangs on a rounding.
    pub(super) fn against(&self, other: &Self) -> Result<Ordering, Undecided> {
        let apart = self.minus(other);
        if apart.is_exact() || apart.value.abs() > apart.error.exactly() {
            return Ok(apart.value.cmp(&Fraction::whole(0)));
        }
        Err(Undecided)
    }

    /// What is wrong with a figure of the engine, if something is. Where no division was rounded on the way it must
    /// be equal. Else it must lie within 1e-27 of it as a part of it; or, where large terms cancel each other and the
    /// rest is smaller than the rounding of the terms, within that rounding at 34 digits.
    pub(super) fn fault(&self, figure: &Decimal) -> Option<String> {
        let apart = Fraction::of(figure).minus(&self.value).abs();
        if apart.is_zero() {
            return None;
        }
        if self.is_exact() {
            return Some(format!("is {figure} and not {:?}, exactly", self.value));
        }
        let parts = Fraction::of(&Decimal::new(1, 27)).times(&self.value.abs());
        if apart <= parts || apart <= self.error.exactly() {
            return None;
        }
        let allowed = parts.max(self.error.exactly());
        Some(format!("is {figure} and not {:?}, give or take {allowed:?}", self.value))
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", if self.is_exact() { "" } else { "~" }, self.value)
    }
}

/// A figure in base currency; `None` where a rate is missing.
pub(super) type Base = Option<Number>;

pub(super) fn add(sum: &mut Base, more: Base) {
    *sum = match (sum.take(), more) {
        (Some(a), Some(b)) => Some(a.plus(&b)),
        _ => None,
    };
}

/// One amount in the currency of its asset and in base currency.
#[derive(Clone, Debug)]
pub(super) struct Money {
    pub(super) own: Number,
    pub(super) base: Base,
}

impl Money {
    pub(super) fn zero() -> Self {
        Self { own: Number::zero(), base: Some(Number::zero()) }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut base = self.base.clone();
        add(&mut base, other.base.clone());
        Self { own: self.own.plus(&other.own), base }
    }

    pub(super) fn negated(&self) -> Self {
        Self { own: self.own.negated(), base: self.base.as_ref().map(Number::negated) }
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negated())
    }

    pub(super) fn signed(&self, short: bool) -> Self {
        if short { self.negated() } else { self.clone() }
    }

    pub(super) fn share(&self, part: &Number, whole: &Number) -> Self {
        Self {
            own: self.own.share(part, whole),
            base: self.base.as_ref().map(|base| base.share(part, whole)),
        }
    }
}
