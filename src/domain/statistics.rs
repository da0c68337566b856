//! Returns and statistics: ratios without a unit, computed in binary floating point from exact inputs.
//!
//! This module and those below it are the only place of the domain where a binary float may stand. What
//! goes in are exact decimals; what comes out are decimals of [`DIGITS`] significant digits, or the reason
//! why there is no figure. Amounts of money stay exact: [`twr::ValueFlow`], [`returns::expectancy`].
//! Formulae and sources: `docs/PNL.md`.

pub mod benchmark;
pub mod day_count;
pub mod irr;
pub mod performance;
pub mod returns;
pub mod roi;
mod roots;
pub mod twr;

use crate::domain::decimal::Decimal;
use num_traits::ToPrimitive as _;

/// Significant digits of a ratio that was computed in binary floating point, which carries a little more.
pub const DIGITS: usize = 15;

/// Why a figure does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undefined(pub &'static str);

/// A ratio, or why there is none. It is never zero for want of a value.
pub type Ratio = Result<Decimal, Undefined>;

/// The result of a computation left the range of numbers.
const OUT_OF_RANGE: Undefined = Undefined("the result is outside the range of numbers");

/// The nearest binary float.
#[expect(clippy::float_arithmetic, reason = "one division of two exact numbers rounds once")]
pub fn float(value: &Decimal) -> f64 {
    // Both numbers are exact floats, so that the one division rounds correctly.
    const EXACT: i64 = 1 << 53;
    const TENS: [f64; 23] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
        1e18, 1e19, 1e20, 1e21, 1e22,
    ];
    let exact = value.small().and_then(|(mantissa, scale)| {
        let ten = usize::try_from(scale).ok().and_then(|scale| TENS.get(scale))?;
        if mantissa.unsigned_abs() > EXACT.unsigned_abs() { None } else { Some(mantissa.to_f64()? / ten) }
    });
    exact.unwrap_or_else(|| value.to_string().parse().unwrap_or(f64::NAN))
}

/// A float as a decimal of [`DIGITS`] significant digits.
///
/// # Errors
/// [`Undefined`] for what is no finite number.
pub fn ratio(value: f64) -> Ratio {
    if !value.is_finite() {
        return Err(OUT_OF_RANGE);
    }
    let text = format!("{value:.*e}", DIGITS - 1);
    let parts = text.split_once('e').and_then(|(digits, exponent)| {
        Some((digits.replace('.', "").parse::<i128>().ok()?, exponent.parse::<i32>().ok()?))
    });
    let (mantissa, exponent) = parts.ok_or(OUT_OF_RANGE)?;
    Ok(scaled(mantissa, exponent - i32::try_from(DIGITS - 1).unwrap_or(0)))
}

/// `mantissa x 10^exponent`.
fn scaled(mantissa: i128, exponent: i32) -> Decimal {
    if let Ok(scale) = u32::try_from(-exponent) {
        return Decimal::new(mantissa, scale).normalized();
    }
    let zeros = "0".repeat(usize::try_from(exponent).unwrap_or(0));
    format!("{mantissa}{zeros}").parse().unwrap_or(Decimal::ZERO)
}

/// The rate of a growth factor: `growth - 1`, where the growth has [`DIGITS`] significant digits. So a rate
/// near zero has fourteen decimals, and one near -100 % keeps the digits of what is left.
///
/// # Errors
/// [`Undefined`] for what is no finite number.
pub fn rate(growth: f64) -> Ratio {
    Ok(ratio(growth)? - Decimal::ONE)
}

/// A count as a float.
fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn a_decimal_becomes_the_nearest_float() {
        for text in ["0.1", "-1234.5678", "9007199254740993", "1", "0", "123456789.123456789123456789"] {
            assert_eq!(float(&d(text)).to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
        // Rounded to 53 bits before they are divided, the nearest float of these would be missed.
        for text in ["248138121951.261269", "6948572574.2277465", "0.02858688756314424042"] {
            assert_eq!(float(&d(text)).to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
        let huge = format!("1{}", "0".repeat(400));
        assert!(float(&d(&huge)).is_infinite());
    }

    #[test]
    fn a_float_becomes_a_decimal_of_fifteen_digits() {
        assert_eq!(ratio(0.1).unwrap(), d("0.1"));
        assert_eq!(ratio(-2.0 / 3.0).unwrap(), d("-0.666666666666667"));
        assert_eq!(ratio(1.5e20).unwrap(), d("150000000000000000000"));
        assert_eq!(ratio(2.5e-18).unwrap(), d("0.0000000000000000025"));
        assert_eq!(ratio(f64::NAN), Err(OUT_OF_RANGE));
        assert_eq!(rate(1.1).unwrap(), d("0.1"));
        assert_eq!(rate(1e-20).unwrap(), d("0.00000000000000000001") - Decimal::ONE);
    }
}
