//! Fractions of whole numbers of any size, and how far from one a number that was rounded may lie.

use artifact::domain::decimal::Decimal;
use num_bigint::{BigInt, Sign};
use num_integer::Integer as _;
use num_traits::{One as _, Signed as _, Zero as _};
use std::cmp::Ordering;
use std::fmt;

/// `top / (10^tens x rest)`, where `rest` is above zero and has neither 2 nor 5 as a factor: a decimal has the rest 1.
#[derive(Clone)]
pub(super) struct Fraction {
    top: BigInt,
    tens: u32,
    rest: BigInt,
}

fn ten_to(power: u32) -> BigInt {
    BigInt::from(10_u32).pow(power)
}

impl Fraction {
    pub(super) fn whole(number: i64) -> Self {
        Self { top: number.into(), tens: 0, rest: BigInt::one() }
    }

    /// The number a decimal shows, read from its text.
    pub(super) fn of(decimal: &Decimal) -> Self {
        let text = decimal.to_string();
        let decimals = text.find('.').map_or(0, |point| text.len() - point - 1);
        let top = text.replace('.', "").parse().unwrap();
        Self { top, tens: u32::try_from(decimals).unwrap(), rest: BigInt::one() }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.top.is_zero()
    }

    pub(super) fn is_negative(&self) -> bool {
        self.top.is_negative()
    }

    pub(super) fn abs(&self) -> Self {
        Self { top: self.top.abs(), ..self.clone() }
    }

    pub(super) fn negated(&self) -> Self {
        Self { top: -&self.top, ..self.clone() }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let tens = self.tens.max(other.tens);
        let (mut a, mut b) = (&self.top * ten_to(tens - self.tens), &other.top * ten_to(tens - other.tens));
        if self.rest == other.rest {
            return Self { top: a + b, tens, rest: self.rest.clone() }.reduced();
        }
        (a, b) = (a * &other.rest, b * &self.rest);
        Self { top: a + b, tens, rest: &self.rest * &other.rest }.reduced()
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        self.plus(&other.negated())
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        Self { top: &self.top * &other.top, tens: self.tens + other.tens, rest: &self.rest * &other.rest }
            .reduced()
    }

    pub(super) fn over(&self, other: &Self) -> Self {
        assert!(!other.is_zero(), "division by zero");
        let common = self.tens.min(other.tens);
        let mut top = &self.top * &other.rest * ten_to(other.tens - common);
        let mut bottom = &other.top * &self.rest;
        if bottom.is_negative() {
            (top, bottom) = (-top, -bottom);
        }
        let shared = top.gcd(&bottom);
        (top, bottom) = (top / &shared, bottom / &shared);
        let mut tens = self.tens - common;
        for (factor, other_factor) in [(2_u32, 5_u32), (5, 2)] {
            while (&bottom % factor).is_zero() {
                bottom /= factor;
                top *= other_factor;
                tens += 1;
            }
        }
        Self { top, tens, rest: bottom }.reduced()
    }

    fn reduced(mut self) -> Self {
        if !self.rest.is_one() {
            let shared = self.top.gcd(&self.rest);
            if !shared.is_one() {
                self.top /= &shared;
                self.rest /= shared;
            }
        }
        if self.tens > 60 {
            self.trim();
        }
        self
    }

    fn trim(&mut self) {
        while self.tens > 0 && (&self.top % 10_u32).is_zero() {
            self.top /= 10_u32;
            self.tens -= 1;
        }
    }

    /// Whether it ends as a decimal of at most `digits` significant digits.
    pub(super) fn ends_within(&self, digits: u32) -> bool {
        let mut trimmed = self.clone();
        if trimmed.top.is_zero() {
            return true;
        }
        trimmed.tens += 400;
        trimmed.trim();
        trimmed.rest.is_one() && trimmed.top.abs() < ten_to(digits)
    }

    /// Rounded towards zero to so many decimals.
    pub(super) fn cut(&self, decimals: u32) -> BigInt {
        &self.top * ten_to(decimals) / (ten_to(self.tens) * &self.rest)
    }
}

impl PartialEq for Fraction {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Fraction {}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.minus(other).top.sign() {
            Sign::Minus => Ordering::Less,
            Sign::NoSign => Ordering::Equal,
            Sign::Plus => Ordering::Greater,
        }
    }
}

impl fmt::Debug for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.cut(45).abs().to_string();
        let digits = format!("{digits:0>46}");
        let (whole, decimals) = digits.split_at(digits.len() - 45);
        let sign = if self.is_negative() { "-" } else { "" };
        write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
    }
}

/// An upper bound of a distance: `units x 2^power`, always rounded up. Zero is exact.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    units: u64,
    power: i32,
}

impl Bound {
    pub(super) const ZERO: Self = Self { units: 0, power: 0 };
    /// What half-even rounding to 34 digits may move a number by, as a part of it: 5e-34, and a little more.
    pub(super) const HALF_A_LAST_DIGIT: Self = Self { units: 1, power: -110 };

    pub(super) fn is_zero(self) -> bool {
        self.units == 0
    }

    fn normal(mut units: u128, mut power: i32) -> Self {
        while units >> 40 != 0 {
            units = (units >> 1) + (units & 1);
            power += 1;
        }
        Self { units: u64::try_from(units).unwrap(), power }
    }

    /// Of a number, the number without its sign.
    pub(super) fn of(number: &Fraction) -> Self {
        if number.is_zero() {
            return Self::ZERO;
        }
        let leading = |whole: &BigInt| {
            let extra = i32::try_from(whole.bits()).unwrap().saturating_sub(40).max(0);
            (u128::try_from(whole >> extra).unwrap(), extra)
        };
        let (top, top_power) = leading(&number.top.abs());
        let (bottom, bottom_power) = leading(&(ten_to(number.tens) * &number.rest));
        Self::normal(((top + 1) << 40) / bottom + 1, top_power - bottom_power - 40)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return if self.is_zero() { other } else { self };
        }
        let (high, low) = if self.power >= other.power { (self, other) } else { (other, self) };
        let apart = u32::try_from(high.power - low.power).unwrap();
        if apart <= 64 {
            return Self::normal(
                (u128::from(high.units) << apart.min(64)) + u128::from(low.units),
                low.power,
            );
        }
        Self::normal(u128::from(high.units) + 1, high.power)
    }

    pub(super) fn times(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::ZERO;
        }
        Self::normal(u128::from(self.units) * u128::from(other.units), self.power + other.power)
    }

    pub(super) fn exactly(self) -> Fraction {
        let power = |base: u32| BigInt::from(base).pow(self.power.unsigned_abs());
        if self.power >= 0 {
            Fraction { top: power(2) * self.units, tens: 0, rest: BigInt::one() }
        } else {
            Fraction { top: power(5) * self.units, tens: self.power.unsigned_abs(), rest: BigInt::one() }
        }
    }
}
