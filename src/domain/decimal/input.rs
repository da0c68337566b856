//! Reading numbers that a person or a program entered.

use super::{Decimal, DecimalError, INPUT_DECIMALS, INPUT_DIGITS, power_of_ten};

impl Decimal {
    /// A number a person or a program entered: plain notation or a JSON number token, within
    /// [`INPUT_DIGITS`] and [`INPUT_DECIMALS`]. More digits are refused, never rounded.
    ///
    /// # Errors
    /// [`DecimalError`] says which rule the text breaks.
    pub fn parse_input(text: &str) -> Result<Self, DecimalError> {
        if let Some(short) = Self::parse_short(text.as_bytes()) {
            return Ok(short);
        }
        let (plain, exponent) = split_exponent(text)?;
        let unsigned = plain.strip_prefix('-').unwrap_or(plain);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let plain_digits = !whole.is_empty() && all_digits(whole) && all_digits(fraction);
        if !plain_digits || (unsigned.contains('.') && fraction.is_empty()) {
            return Err(DecimalError::NotANumber);
        }
        let decimals = i64::try_from(fraction.len()).unwrap_or(i64::MAX).saturating_sub(exponent);
        let digits: String = format!("{whole}{fraction}");
        let significant = digits.trim_start_matches('0');
        let written =
            significant.len().saturating_add(usize::try_from(-decimals.min(0)).unwrap_or(usize::MAX));
        let zero = significant.is_empty();
        if decimals > i64::try_from(INPUT_DECIMALS).unwrap_or(i64::MAX) || (!zero && written > INPUT_DIGITS) {
            return Err(DecimalError::TooManyDigits);
        }
        let mut mantissa: i128 =
            if zero { 0 } else { significant.parse().map_err(|_| DecimalError::TooManyDigits)? };
        let scale = u32::try_from(decimals.max(0)).map_err(|_| DecimalError::TooManyDigits)?;
        if decimals < 0 && !zero {
            let shift =
                u32::try_from(-decimals).ok().and_then(power_of_ten).ok_or(DecimalError::TooManyDigits)?;
            mantissa = mantissa.checked_mul(shift).ok_or(DecimalError::TooManyDigits)?;
        }
        Ok(Self::new(if plain.starts_with('-') { -mantissa } else { mantissa }, scale))
    }

    /// Reads what has at most 18 digits and no exponent, as nearly every price; `None` for anything else, right or wrong.
    pub fn parse_short(text: &[u8]) -> Option<Self> {
        let (negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        if digits.len() > 19 {
            return None;
        }
        let (mut mantissa, mut point, mut count) = (0_i64, None, 0_usize);
        for byte in digits {
            match byte {
                b'0'..=b'9' if count < 18 => {
                    mantissa = mantissa * 10 + i64::from(byte - b'0');
                    count += 1;
                }
                b'.' if point.is_none() && count > 0 => point = Some(count),
                _ => return None,
            }
        }
        let decimals = count - point.unwrap_or(count);
        if count == 0 || (point.is_some() && decimals == 0) {
            return None;
        }
        Some(Self::new(
            i128::from(if negative { -mantissa } else { mantissa }),
            u32::try_from(decimals).ok()?,
        ))
    }
}

pub(super) fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Splits a JSON number token into its plain part and its exponent.
fn split_exponent(text: &str) -> Result<(&str, i64), DecimalError> {
    let Some(at) = text.find(['e', 'E']) else { return Ok((text, 0)) };
    let (plain, exponent) = text.split_at(at);
    let exponent = exponent.get(1..).unwrap_or_default();
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !all_digits(digits) {
        return Err(DecimalError::NotANumber);
    }
    // Anything past three digits is far outside the limits, and must not become a huge power of ten.
    if digits.trim_start_matches('0').len() > 3 {
        return Err(DecimalError::TooManyDigits);
    }
    Ok((plain, exponent.parse().map_err(|_| DecimalError::NotANumber)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_json_token_with_an_exponent_is_read_from_its_digits() {
        assert_eq!(Decimal::parse_input("1e5").unwrap().to_string(), "100000");
        assert_eq!(Decimal::parse_input("1.25E-3").unwrap().to_string(), "0.00125");
        assert_eq!(Decimal::parse_input("0e0").unwrap(), Decimal::ZERO);
    }

    #[test]
    fn what_is_not_a_plain_number_is_refused() {
        for text in
            ["", "NaN", "Infinity", "1,000", "0x10", "１２", "+1", " 1", "1.", ".5", "1e", "--1", "1_0"]
        {
            assert_eq!(Decimal::parse_input(text), Err(DecimalError::NotANumber), "{text}");
        }
    }

    #[test]
    fn more_digits_than_the_limits_are_refused_not_rounded() {
        let limit = "9999999999999999999999999999";
        assert_eq!(Decimal::parse_input(limit).unwrap().to_string(), limit);
        for text in
            ["1e400", "1e1000000000", "0.0000000000000000001", "12345678901234567890123456789", "1e28"]
        {
            assert_eq!(Decimal::parse_input(text), Err(DecimalError::TooManyDigits), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_short_number_is_read_as_any_other(text in "-?[0-9]{0,20}(\\.[0-9]{0,19})?") {
            let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
            // The same number in a way that only the general rules read.
            let long = Decimal::parse_input(&format!("{sign}{}{digits}", "0".repeat(30)));
            let read = Decimal::parse_input(&text);
            if digits.starts_with('.') || digits.is_empty() {
                prop_assert_eq!(read, Err(DecimalError::NotANumber));
            } else {
                let shown = |read: &Result<Decimal, DecimalError>| read.as_ref().map(Decimal::to_string).ok();
                prop_assert_eq!(shown(&read), shown(&long));
                prop_assert_eq!(read, long);
            }
        }
    }

    #[test]
    fn however_odd_a_number_is_it_is_refused_or_keeps_its_digits() {
        let examples = ["1234.5678", "-0.000000000000000001", "1.25E-3", "9999999999999999999999999999"];
        crate::domain::hammer::hammer(&examples, |bytes| {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            if let Ok(number) = Decimal::parse_input(text) {
                let written = number.to_string();
                assert_eq!(Decimal::parse_input(&written), Ok(number), "{text:?}");
                // Its digits are those that were given, but for zeros at either end.
                let digits = |text: &str| {
                    let plain = text.split(['e', 'E']).next().unwrap_or_default();
                    let digits: String = plain.chars().filter(char::is_ascii_digit).collect();
                    digits.trim_matches('0').to_owned()
                };
                assert_eq!(digits(&written), digits(text), "{text:?}");
            }
        });
    }

    #[test]
    fn an_exponent_is_digits_and_at_most_three_that_count() {
        for text in ["1exxxx", "1e+-10000", "1e 10000", "1e1.0"] {
            assert_eq!(Decimal::parse_input(text), Err(DecimalError::NotANumber), "{text}");
        }
        for text in ["0e1000", "1e-1000", "1e99999999999999999999"] {
            assert_eq!(Decimal::parse_input(text), Err(DecimalError::TooManyDigits), "{text}");
        }
        assert_eq!(Decimal::parse_input("0e100"), Ok(Decimal::ZERO));
        assert_eq!(Decimal::parse_input("1e0005").unwrap().to_string(), "100000");
    }

    #[test]
    fn a_number_of_18_digits_is_read_the_short_way_and_a_longer_one_is_not() {
        let digits = "123456789012345678";
        let shown = |text: &str| Decimal::parse_short(text.as_bytes()).map(|number| number.to_string());
        for text in [digits.to_owned(), format!("-{digits}"), "-12345678901.2345678".to_owned()] {
            assert_eq!(shown(&text), Some(text));
        }
        for text in [&format!("{digits}9"), "0.0000000000000000001", "1.", "-", "", ".1", "1.2.3", "1e5"] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
