//! Exact decimal numbers: `mantissa x 10^-scale`, never a binary float.
//!
//! Sums, differences and products are exact at any size: a value lives in 128 bits while it fits and
//! moves to a big integer when it does not. Only [`Decimal::divide`] rounds, half-even, to
//! [`DIVISION_DIGITS`] significant digits. A newcomer's mistake is to compare text: `1.0` and `1.00`
//! are equal here, and each keeps the digits it was written with until [`Decimal::normalized`].

mod division;
mod input;
mod plain;

pub use plain::Plain;

use input::all_digits;
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{Signed, ToPrimitive, Zero};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};
use std::str::FromStr;

/// Significant digits of a quotient that does not terminate sooner (domain.md asks for at least 28).
pub const DIVISION_DIGITS: u32 = 34;
/// Most significant digits an entered price, quantity or amount may have.
pub const INPUT_DIGITS: usize = 28;
/// Most decimals an entered price, quantity or amount may have.
pub const INPUT_DECIMALS: usize = 18;

/// Why a text is not a decimal this service takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not a plain decimal number.
    #[error("is not a decimal number in plain notation")]
    NotANumber,
    /// More digits than are ever kept exactly.
    #[error("has more than 28 significant digits or more than 18 decimals")]
    TooManyDigits,
}

/// An exact decimal number. See the module for what rounds and what does not.
#[derive(Clone)]
pub struct Decimal(Repr);

/// A small mantissa is kept as its bytes, which need no alignment: so a number takes 24 bytes and not 32, and a ledger
/// entry with its dozen numbers passes through the processor's cache that much faster.
#[derive(Clone)]
enum Repr {
    Small { mantissa: [u8; 16], scale: u32 },
    Big { mantissa: Box<BigInt>, scale: u32 },
}

/// Largest power of ten a 128-bit mantissa holds.
const POWERS: u32 = 38;

/// The powers of ten up to it.
const TENS: [i128; 39] = {
    let mut tens = [1; 39];
    let mut rest: &mut [i128] = &mut tens;
    let mut ten = 1_i128;
    while let Some((first, others)) = rest.split_first_mut() {
        *first = ten;
        ten = ten.wrapping_mul(10);
        rest = others;
    }
    tens
};

fn power_of_ten(exponent: u32) -> Option<i128> {
    TENS.get(usize::try_from(exponent).ok()?).copied()
}

/// The product, if it fits. Two mantissas of 64 bits always do, and most are.
fn product(a: i128, b: i128) -> Option<i128> {
    match (i64::try_from(a), i64::try_from(b)) {
        (Ok(a), Ok(b)) => Some(i128::from(a) * i128::from(b)),
        _ => a.checked_mul(b),
    }
}

fn big_power_of_ten(exponent: u32) -> BigInt {
    BigInt::from(10_u8).pow(exponent)
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self::new(0, 0);
    /// One.
    pub const ONE: Self = Self::new(1, 0);

    /// `mantissa x 10^-scale`.
    pub const fn new(mantissa: i128, scale: u32) -> Self {
        Self(Repr::Small { mantissa: mantissa.to_le_bytes(), scale })
    }

    /// Its mantissa and scale, when the mantissa has 128 bits.
    const fn mantissa(&self) -> Option<(i128, u32)> {
        match &self.0 {
            Repr::Small { mantissa, scale } => Some((i128::from_le_bytes(*mantissa), *scale)),
            Repr::Big { .. } => None,
        }
    }

    fn from_big(mantissa: BigInt, scale: u32) -> Self {
        match mantissa.to_i128() {
            Some(small) => Self::new(small, scale),
            None => Self(Repr::Big { mantissa: Box::new(mantissa), scale }),
        }
    }

    fn big(&self) -> BigInt {
        match &self.0 {
            Repr::Small { mantissa, .. } => BigInt::from(i128::from_le_bytes(*mantissa)),
            Repr::Big { mantissa, .. } => (**mantissa).clone(),
        }
    }

    /// Mantissa and scale, when the mantissa fits 64 bits: the short way to another kind of number.
    pub fn small(&self) -> Option<(i64, u32)> {
        match &self.0 {
            Repr::Small { mantissa, scale } => {
                Some((i64::try_from(i128::from_le_bytes(*mantissa)).ok()?, *scale))
            }
            Repr::Big { .. } => None,
        }
    }

    /// Number of decimals it is written with.
    pub const fn scale(&self) -> u32 {
        match &self.0 {
            Repr::Small { scale, .. } | Repr::Big { scale, .. } => *scale,
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        match &self.0 {
            Repr::Small { mantissa, .. } => i128::from_le_bytes(*mantissa) == 0,
            Repr::Big { mantissa, .. } => mantissa.is_zero(),
        }
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Repr::Small { mantissa, .. } => i128::from_le_bytes(*mantissa) < 0,
            Repr::Big { mantissa, .. } => mantissa.is_negative(),
        }
    }

    /// Whether it is above zero.
    pub fn is_positive(&self) -> bool {
        !self.is_zero() && !self.is_negative()
    }

    /// Its distance from zero.
    #[must_use]
    pub fn abs(&self) -> Self {
        if self.is_negative() { -self } else { self.clone() }
    }

    /// The smaller of two.
    #[must_use]
    pub fn smaller(&self, other: &Self) -> Self {
        if self <= other { self.clone() } else { other.clone() }
    }

    /// The same value without trailing zeros after the point: how figures are shown.
    #[must_use]
    pub fn normalized(&self) -> Self {
        if self.is_zero() {
            return Self::ZERO;
        }
        match &self.0 {
            Repr::Small { mantissa, scale } => {
                let (mut mantissa, mut scale) = (i128::from_le_bytes(*mantissa), *scale);
                // Long tails of zeros, as quotients leave them, go eight at a time. What is odd ends in no zero.
                for (digits, ten) in [(8, 100_000_000), (1, 10)] {
                    while scale >= digits && mantissa & 1 == 0 && mantissa % ten == 0 {
                        mantissa /= ten;
                        scale -= digits;
                    }
                }
                Self::new(mantissa, scale)
            }
            Repr::Big { mantissa, scale } => {
                let (mut mantissa, mut scale) = ((**mantissa).clone(), *scale);
                let ten = BigInt::from(10_u8);
                while scale > 0 {
                    let (quotient, remainder) = mantissa.div_rem(&ten);
                    if !remainder.is_zero() {
                        break;
                    }
                    mantissa = quotient;
                    scale -= 1;
                }
                Self::from_big(mantissa, scale)
            }
        }
    }

    /// `part / whole` of this amount: all of it when `part` is `whole`, else rounded once.
    #[must_use]
    pub fn share(&self, part: &Self, whole: &Self) -> Self {
        if part == whole {
            return self.clone();
        }
        (self * part).divide(whole).unwrap_or(Self::ZERO)
    }
}

impl Default for Decimal {
    fn default() -> Self {
        Self::ZERO
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        Self::new(i128::from(value), 0)
    }
}

/// Both mantissas at the larger of the two scales, when they fit 128 bits.
fn aligned(a: &Decimal, b: &Decimal) -> Option<(i128, i128, u32)> {
    let ((x, x_scale), (y, y_scale)) = (a.mantissa()?, b.mantissa()?);
    match x_scale.cmp(&y_scale) {
        Ordering::Equal => Some((x, y, x_scale)),
        Ordering::Less => Some((product(x, power_of_ten(y_scale - x_scale)?)?, y, y_scale)),
        Ordering::Greater => Some((x, product(y, power_of_ten(x_scale - y_scale)?)?, x_scale)),
    }
}

fn aligned_big(a: &Decimal, b: &Decimal) -> (BigInt, BigInt, u32) {
    let scale = a.scale().max(b.scale());
    (a.big() * big_power_of_ten(scale - a.scale()), b.big() * big_power_of_ten(scale - b.scale()), scale)
}

impl<'b> Add<&'b Decimal> for &Decimal {
    type Output = Decimal;
    fn add(self, other: &'b Decimal) -> Decimal {
        if let Some((x, y, scale)) = aligned(self, other)
            && let Some(sum) = x.checked_add(y)
        {
            return Decimal::new(sum, scale);
        }
        let (x, y, scale) = aligned_big(self, other);
        Decimal::from_big(x + y, scale)
    }
}

impl<'b> Sub<&'b Decimal> for &Decimal {
    type Output = Decimal;
    fn sub(self, other: &'b Decimal) -> Decimal {
        if let Some((x, y, scale)) = aligned(self, other)
            && let Some(difference) = x.checked_sub(y)
        {
            return Decimal::new(difference, scale);
        }
        let (x, y, scale) = aligned_big(self, other);
        Decimal::from_big(x - y, scale)
    }
}

impl<'b> Mul<&'b Decimal> for &Decimal {
    type Output = Decimal;
    fn mul(self, other: &'b Decimal) -> Decimal {
        let scale = self.scale() + other.scale();
        if let (Some((x, _)), Some((y, _))) = (self.mantissa(), other.mantissa())
            && let Some(product) = product(x, y)
        {
            return Decimal::new(product, scale);
        }
        Decimal::from_big(self.big() * other.big(), scale)
    }
}

impl Neg for &Decimal {
    type Output = Decimal;
    fn neg(self) -> Decimal {
        match &self.0 {
            Repr::Small { mantissa, scale } if i128::from_le_bytes(*mantissa) != i128::MIN => {
                Decimal::new(-i128::from_le_bytes(*mantissa), *scale)
            }
            Repr::Small { scale, .. } | Repr::Big { scale, .. } => Decimal::from_big(-self.big(), *scale),
        }
    }
}

impl Neg for Decimal {
    type Output = Self;
    fn neg(self) -> Self {
        -&self
    }
}

macro_rules! by_value {
    ($trait:ident, $method:ident) => {
        impl $trait<Decimal> for Decimal {
            type Output = Decimal;
            fn $method(self, other: Decimal) -> Decimal {
                (&self).$method(&other)
            }
        }
        impl<'b> $trait<&'b Decimal> for Decimal {
            type Output = Decimal;
            fn $method(self, other: &'b Decimal) -> Decimal {
                (&self).$method(other)
            }
        }
        impl $trait<Decimal> for &Decimal {
            type Output = Decimal;
            fn $method(self, other: Decimal) -> Decimal {
                self.$method(&other)
            }
        }
    };
}
by_value!(Add, add);
by_value!(Sub, sub);
by_value!(Mul, mul);

impl AddAssign<&Decimal> for Decimal {
    fn add_assign(&mut self, other: &Decimal) {
        *self = &*self + other;
    }
}

impl SubAssign<&Decimal> for Decimal {
    fn sub_assign(&mut self, other: &Decimal) {
        *self = &*self - other;
    }
}

impl Sum for Decimal {
    fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
        values.fold(Self::ZERO, |sum, value| sum + value)
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        if let Some((x, y, _)) = aligned(self, other) {
            return x.cmp(&y);
        }
        let (x, y, _) = aligned_big(self, other);
        x.cmp(&y)
    }
}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let plain = self.normalized();
        plain.big().hash(state);
        plain.scale().hash(state);
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(plain) = self.small().and_then(|(mantissa, scale)| Plain::of(mantissa, scale)) {
            return f.write_str(plain.text());
        }
        let digits = match &self.0 {
            Repr::Small { mantissa, .. } => i128::from_le_bytes(*mantissa).unsigned_abs().to_string(),
            Repr::Big { mantissa, .. } => mantissa.magnitude().to_str_radix(10),
        };
        let sign = if self.is_negative() { "-" } else { "" };
        let scale = usize::try_from(self.scale()).unwrap_or(usize::MAX);
        if scale == 0 {
            return write!(f, "{sign}{digits}");
        }
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        write!(f, "{sign}{whole}.{fraction}")
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number of at most 18 digits, read without a detour: most of what is stored.
fn short(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.len() > 19 || !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (mut mantissa, mut scale, mut point) = (0_i64, 0, false);
    for byte in digits.bytes() {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa.checked_mul(10)?.checked_add(i64::from(byte - b'0'))?;
                scale += u32::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    let mantissa = i128::from(mantissa);
    Some(Decimal::new(if text.starts_with('-') { -mantissa } else { mantissa }, scale))
}

/// Reads back what [`Decimal`]'s `Display` wrote, at any size. Entered text goes through
/// [`Decimal::parse_input`], which has limits.
impl FromStr for Decimal {
    type Err = DecimalError;
    fn from_str(text: &str) -> Result<Self, DecimalError> {
        if let Some(value) = short(text) {
            return Ok(value);
        }
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
            return Err(DecimalError::NotANumber);
        }
        let scale = u32::try_from(fraction.len()).map_err(|_| DecimalError::TooManyDigits)?;
        let digits = format!("{whole}{fraction}");
        let value = match digits.parse::<i128>() {
            Ok(mantissa) => Self::new(mantissa, scale),
            Err(_) => Self::from_big(digits.parse().map_err(|_| DecimalError::NotANumber)?, scale),
        };
        Ok(if text.starts_with('-') { -value } else { value })
    }
}

impl serde::Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn digits_are_kept_as_written_and_compared_by_value() {
        assert_eq!(Decimal::parse_input("2050.10").unwrap().to_string(), "2050.10");
        assert_eq!(d("1.0"), d("1.00"));
        assert_eq!(d("2050.10").normalized().to_string(), "2050.1");
        assert_eq!(Decimal::parse_input("-0.00").unwrap(), Decimal::ZERO);
    }

    fn any_decimal() -> impl Strategy<Value = Decimal> {
        (any::<i128>(), 0_u32..40).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
    }

    proptest! {
        #[test]
        fn sums_and_products_are_exact(a in any_decimal(), b in any_decimal(), c in any_decimal()) {
            prop_assert_eq!(&(&(&a + &b) - &b), &a);
            prop_assert_eq!(&a * &(&b + &c), &a * &b + &a * &c);
            prop_assert_eq!((&a * &b).to_string().parse::<Decimal>().unwrap(), &b * &a);
        }
    }

    #[test]
    fn zeros_after_the_point_are_left_out_at_any_size_and_those_before_it_kept() {
        let long = "1".repeat(60);
        for (written, shown) in [
            (format!("{long}.2500"), format!("{long}.25")),
            (format!("{long}.000"), long.clone()),
            (format!("{long}00"), format!("{long}00")),
            (format!("-{long}00.10"), format!("-{long}00.1")),
        ] {
            assert_eq!(d(&written).normalized().to_string(), shown);
        }
    }

    #[test]
    fn the_least_of_128_bits_has_an_opposite() {
        let least = Decimal::new(i128::MIN, 3);
        assert_eq!((-&least).to_string(), "170141183460469231731687303715884105.728");
        assert_eq!(-(-&least), least);
        assert_eq!(least.abs(), -least);
    }

    #[test]
    fn equal_numbers_are_one_in_a_set_and_hashed_apart_from_others() {
        let hash = |text: &str| {
            let mut hasher = std::hash::DefaultHasher::new();
            d(text).hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(hash("2.50"), hash("2.5"));
        assert_ne!(hash("2.5"), hash("25"));
        assert_ne!(hash("2.5"), hash("2.6"));
        let numbers: std::collections::HashSet<Decimal> = ["1.0", "1", "10"].into_iter().map(d).collect();
        assert_eq!(numbers.len(), 2);
    }

    #[test]
    fn text_that_is_no_number_is_not_read_back() {
        let zeros = "0".repeat(20);
        let short = ["", "-", ".5", "-.5", "--5", "1.2.3", "1x", "x1", "1.x", "+1", " 1"].map(str::to_owned);
        // Long ones are read in another way.
        let long = [".", "-.", "--1", "1x", "1.x", "1..", "+1"].map(|begin| format!("{begin}{zeros}"));
        for text in short.into_iter().chain(long) {
            assert_eq!(text.parse::<Decimal>(), Err(DecimalError::NotANumber), "{text}");
        }
    }
}
