//! The one division: half-even, to a stated number of significant digits.
//!
//! Where the numbers fit, it is a long division in 128 bits that takes as many digits at a time as fit; else one of big
//! integers. Both give the same digits, which a test holds.

use super::{DIVISION_DIGITS, Decimal, INPUT_DECIMALS, INPUT_DIGITS, POWERS, big_power_of_ten};
use num_bigint::{BigInt, Sign};
use num_integer::Integer as _;
use num_traits::{Signed as _, Zero as _};
use std::cmp::Ordering;

impl Decimal {
    /// The quotient, rounded half-even to [`DIVISION_DIGITS`] significant digits: the one place where
    /// an amount is ever rounded. `None` when `divisor` is zero.
    #[must_use]
    pub fn divide(&self, divisor: &Self) -> Option<Self> {
        if divisor.is_zero() {
            return None;
        }
        if self.is_zero() {
            return Some(Self::ZERO);
        }
        self.divide_in_words(divisor).or_else(|| self.divide_in_any_size(divisor))
    }

    /// The quotient as a number that may be entered: rounded half-even to [`INPUT_DECIMALS`] decimals, and to
    /// [`INPUT_DIGITS`] significant digits where those are fewer. `None` when `divisor` is zero, or the quotient too large.
    #[must_use]
    pub fn divide_to_input(&self, divisor: &Self) -> Option<Self> {
        if divisor.is_zero() {
            return None;
        }
        let negative = self.is_negative() != divisor.is_negative();
        let (numerator, denominator) = (self.big().abs(), divisor.big().abs());
        let most = u32::try_from(INPUT_DIGITS).ok()?;
        let mut decimals = u32::try_from(INPUT_DECIMALS).ok()?;
        loop {
            let (above, below) = (decimals + divisor.scale(), self.scale());
            let scaled = &numerator * big_power_of_ten(above);
            let over = &denominator * big_power_of_ten(below);
            let (mut quotient, rest) = scaled.div_rem(&over);
            let twice = rest * 2_u8;
            if twice > over || (twice == over && quotient.is_odd()) {
                quotient += 1_u8;
            }
            let digits = decimal_digits(&quotient);
            if digits <= most {
                let mantissa = if negative { -quotient } else { quotient };
                return Some(Self::from_big(mantissa, decimals).normalized());
            }
            decimals = decimals.checked_sub(digits - most)?;
        }
    }

    /// The same in 128 bits; `None` when that does not suffice.
    fn divide_in_words(&self, divisor: &Self) -> Option<Self> {
        let ((numerator, above), (denominator, below)) = (self.mantissa()?, divisor.mantissa()?);
        let negative = (numerator < 0) != (denominator < 0);
        let (numerator, denominator) = (numerator.unsigned_abs(), denominator.unsigned_abs());
        let (have, width) = (numerator.ilog10(), denominator.ilog10());
        // One digit more than asked for, as below; as many at a time as keep the remainder within 38 digits.
        let mut left = (DIVISION_DIGITS + 1 + width).checked_sub(have)?;
        let step = POWERS.checked_sub(width + 1).filter(|step| *step > 0)?;
        let scale = i64::from(above) - i64::from(below) + i64::from(left);
        let (mut quotient, mut rest) = (numerator / denominator, numerator % denominator);
        while left > 0 {
            let ten = 10_u128.pow(left.min(step));
            let widened = rest * ten;
            let digits = widened / denominator;
            rest = widened - digits * denominator;
            quotient = quotient.checked_mul(ten)?.checked_add(digits)?;
            left -= left.min(step);
        }
        let exact = rest == 0;
        let drop = (quotient.ilog10() + 1).saturating_sub(DIVISION_DIGITS);
        let (rounded, scale) = if drop > 0 && !(exact && scale <= 0) {
            let unit = 10_u128.pow(drop);
            let (kept, twice) = (quotient / unit, (quotient % unit) * 2);
            let up = match twice.cmp(&unit) {
                Ordering::Greater => true,
                Ordering::Less => false,
                Ordering::Equal => !exact || kept % 2 == 1,
            };
            (kept + u128::from(up), scale - i64::from(drop))
        } else {
            (quotient, scale)
        };
        let (mantissa, scale) = (i128::try_from(rounded).ok()?, u32::try_from(scale).ok()?);
        Some(Self::new(if negative { -mantissa } else { mantissa }, scale).normalized())
    }

    /// The same with big integers.
    fn divide_in_any_size(&self, divisor: &Self) -> Option<Self> {
        let (numerator, denominator) = (self.big(), divisor.big());
        let have = i64::from(decimal_digits(&numerator)) - i64::from(decimal_digits(&denominator));
        // One digit more than asked for, so that rounding always has the deciding digit to look at.
        let shift = u32::try_from((i64::from(DIVISION_DIGITS) + 1 - have).max(0)).ok()?;
        let (quotient, remainder) = (numerator * big_power_of_ten(shift)).div_rem(&denominator);
        let scale = i64::from(self.scale()) - i64::from(divisor.scale()) + i64::from(shift);
        let exact = remainder.is_zero();
        let drop = i64::from(decimal_digits(&quotient)) - i64::from(DIVISION_DIGITS);
        let (rounded, scale) = if drop > 0 && !(exact && scale <= 0) {
            let drop = u32::try_from(drop).ok()?;
            (round_half_even(&quotient, drop, exact), scale - i64::from(drop))
        } else {
            (quotient, scale)
        };
        Some(Self::with_signed_scale(rounded, scale).normalized())
    }

    fn with_signed_scale(mantissa: BigInt, scale: i64) -> Self {
        match u32::try_from(scale) {
            Ok(scale) => Self::from_big(mantissa, scale),
            Err(_) => {
                Self::from_big(mantissa * big_power_of_ten(u32::try_from(-scale).unwrap_or(u32::MAX)), 0)
            }
        }
    }
}

fn decimal_digits(value: &BigInt) -> u32 {
    u32::try_from(value.magnitude().to_str_radix(10).len()).unwrap_or(u32::MAX)
}

/// Drops the last `drop` digits, half-even. `exact` tells that nothing lies below the last digit.
fn round_half_even(value: &BigInt, drop: u32, exact: bool) -> BigInt {
    let unit = big_power_of_ten(drop);
    let negative = value.sign() == Sign::Minus;
    let (mut quotient, remainder) = value.abs().div_rem(&unit);
    let twice = remainder * 2_u8;
    let up = match twice.cmp(&unit) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => !exact || quotient.is_odd(),
    };
    if up {
        quotient += 1_u8;
    }
    if negative { -quotient } else { quotient }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn division_rounds_half_even_at_the_stated_digits() {
        assert_eq!(d("1").divide(&d("3")).unwrap().to_string(), format!("0.{}", "3".repeat(34)));
        assert_eq!(d("2").divide(&d("3")).unwrap().to_string(), format!("0.{}7", "6".repeat(33)));
        assert_eq!(d("10").divide(&d("4")).unwrap().to_string(), "2.5");
        assert_eq!(d("1").divide(&Decimal::ZERO), None);
        assert_eq!(d("1000000").divide(&d("0.001")).unwrap().to_string(), "1000000000");
        // Exactly half of the last kept digit goes to the even neighbour.
        let down = d(&format!("1{}25", "0".repeat(32)));
        assert_eq!(down.divide(&d("10")).unwrap().to_string(), format!("1{}2", "0".repeat(32)));
        let up = d(&format!("1{}35", "0".repeat(32)));
        assert_eq!(up.divide(&d("10")).unwrap().to_string(), format!("1{}4", "0".repeat(32)));
        // Half and a hair goes up.
        let hair = d(&format!("1{}2501", "0".repeat(32)));
        assert_eq!(hair.divide(&d("1000")).unwrap().to_string(), format!("1{}3", "0".repeat(32)));
    }

    #[test]
    fn a_quotient_that_is_to_be_entered_keeps_the_limits_of_what_is() {
        for (one, other, wanted) in [
            ("1", "3", "0.333333333333333333"),
            ("2", "3", "0.666666666666666667"),
            ("1", "123.45", "0.008100445524503848"),
            ("-1", "8", "-0.125"),
            // Half goes to the even neighbour.
            ("0.0000000000000000005", "1", "0"),
            ("0.0000000000000000015", "1", "0.000000000000000002"),
            ("12345678901234567890", "7", "1763668414462081127.142857143"),
            ("9999999999999999999999999999", "1", "9999999999999999999999999999"),
        ] {
            assert_eq!(d(one).divide_to_input(&d(other)).unwrap().to_string(), wanted, "{one} / {other}");
        }
        assert_eq!(d("1").divide_to_input(&Decimal::ZERO), None);
        assert_eq!(d("9999999999999999999999999999").divide_to_input(&d("0.1")), None);
    }

    fn any_decimal() -> impl Strategy<Value = Decimal> {
        // Of every length, not only of the longest.
        (any::<i128>(), 0_u32..128, 0_u32..40)
            .prop_map(|(mantissa, bits, scale)| Decimal::new(mantissa >> bits, scale))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn a_quotient_is_within_half_a_unit_of_its_last_digit(a in any_decimal(), b in any_decimal()) {
            prop_assume!(!b.is_zero() && !a.is_zero());
            let quotient = a.divide(&b).unwrap();
            let error = (&quotient * &b - &a).abs();
            let bound = a.abs() * Decimal::new(1, DIVISION_DIGITS - 1);
            prop_assert!(error <= bound, "{} / {} = {}", a, b, quotient);
        }

        #[test]
        fn words_and_big_integers_give_the_same_digits(a in any_decimal(), b in any_decimal()) {
            prop_assume!(!b.is_zero() && !a.is_zero());
            if let Some(quotient) = a.divide_in_words(&b) {
                prop_assert_eq!(quotient.to_string(), a.divide_in_any_size(&b).unwrap().to_string());
            }
        }

        #[test]
        fn amounts_and_rates_are_divided_in_words(a in 1..10_i128.pow(28), b in 1..10_i128.pow(12), up in 0..19_u32, down in 0..9_u32) {
            let (a, b) = (Decimal::new(a, up + 9), Decimal::new(b, down));
            prop_assert!(a.divide_in_words(&b).is_some());
        }
    }

    #[test]
    fn a_whole_number_keeps_all_its_digits_and_nothing_else_more_than_the_stated_ones() {
        let digits = "1234567890".repeat(4);
        for (one, other, wanted) in [
            // 42 digits, and nothing left over.
            (format!("{digits}12"), "2", "61728394506172839450617283945061728394506".to_owned()),
            // The same with a half left over.
            (format!("{digits}13"), "2", format!("6172839450617283945061728394506173{}", "0".repeat(7))),
            // 38 digits, of which one is a decimal.
            (
                "1234567890123456789012345678901234567.8".to_owned(),
                "1",
                "1234567890123456789012345678901235000".to_owned(),
            ),
        ] {
            assert_eq!(d(&one).divide(&d(other)).unwrap().to_string(), wanted, "{one} / {other}");
        }
    }
}
