//! Writing numbers out without a detour: answers, exports and the text that is hashed are full of them.

/// The digits of the numbers below 100, two of each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [*b"00"; 100];
    let mut rest: &mut [[u8; 2]] = &mut pairs;
    let mut pair = *b"00";
    while let Some((first, others)) = rest.split_first_mut() {
        *first = pair;
        pair = if pair[1] < b'9' { [pair[0], pair[1] + 1] } else { [pair[0] + 1, b'0'] };
        rest = others;
    }
    pairs
};

/// A number of 64 bits in plain notation, on the stack.
#[derive(Debug)]
pub struct Plain {
    bytes: [u8; 64],
    begins: usize,
}

impl Plain {
    /// `mantissa x 10^-scale` with all its decimals; `None` where it is longer than there is room.
    pub fn of(mantissa: i64, scale: u32) -> Option<Self> {
        let mut plain = Self { bytes: [b'0'; 64], begins: 64 };
        if scale > 40 {
            return None;
        }
        let (mut left, mut decimals) = (mantissa.unsigned_abs(), scale);
        while decimals >= 2 {
            plain.pair(&mut left)?;
            decimals -= 2;
        }
        if decimals > 0 {
            plain.digit(&mut left)?;
        }
        if scale > 0 {
            plain.put(b'.')?;
        }
        while left >= 100 {
            plain.pair(&mut left)?;
        }
        plain.digit(&mut left)?;
        if left > 0 {
            plain.digit(&mut left)?;
        }
        if mantissa < 0 {
            plain.put(b'-')?;
        }
        Some(plain)
    }

    /// The same without trailing zeros after the point. Zero has no decimals.
    pub fn trimmed(mut mantissa: i64, mut scale: u32) -> Option<Self> {
        while scale > 0 && mantissa % 10 == 0 {
            scale = if mantissa == 0 { 0 } else { scale - 1 };
            mantissa /= 10;
        }
        Self::of(mantissa, scale)
    }

    /// Writes the last digit of a number and takes it off.
    fn digit(&mut self, of: &mut u64) -> Option<()> {
        let last = u8::try_from(*of % 10).ok()?;
        *of /= 10;
        self.put(b'0' + last)
    }

    /// The same of the last two.
    fn pair(&mut self, of: &mut u64) -> Option<()> {
        let pair = PAIRS.get(usize::try_from(*of % 100).ok()?)?;
        *of /= 100;
        let begins = self.begins.checked_sub(2)?;
        self.bytes.get_mut(begins..self.begins)?.copy_from_slice(pair);
        self.begins = begins;
        Some(())
    }

    fn put(&mut self, byte: u8) -> Option<()> {
        self.begins = self.begins.checked_sub(1)?;
        *self.bytes.get_mut(self.begins)? = byte;
        Some(())
    }

    /// The text as bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.begins..).unwrap_or_default()
    }

    /// The text.
    pub fn text(&self) -> &str {
        str::from_utf8(self.bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decimal::Decimal;
    use proptest::prelude::*;

    proptest! {
        /// The general way, number by number, is the law: it writes what 64 bits do not hold.
        #[test]
        fn what_is_written_without_a_detour_is_what_big_numbers_are_written_as(
            mantissa in any::<i64>(), bits in 0..64_u32, zeros in 0..9_u32, scale in 0..=40_u32,
        ) {
            let mantissa = (mantissa >> bits) / 10_i64.pow(zeros) * 10_i64.pow(zeros);
            let plain = Plain::of(mantissa, scale).unwrap();
            let decimals = usize::try_from(scale).unwrap();
            let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = decimals + 1);
            let (whole, fraction) = digits.split_at(digits.len() - decimals);
            let sign = if mantissa < 0 { "-" } else { "" };
            let point = if scale > 0 { "." } else { "" };
            prop_assert_eq!(plain.text(), format!("{sign}{whole}{point}{fraction}"));
            let number = Decimal::new(mantissa.into(), scale);
            let trimmed = Plain::trimmed(mantissa, scale).unwrap();
            prop_assert_eq!(trimmed.text(), number.normalized().to_string());
        }
    }

    #[test]
    fn there_is_room_for_the_least_number_with_forty_decimals_and_for_no_more() {
        let least = Plain::of(i64::MIN, 40).unwrap();
        assert_eq!(least.bytes(), format!("-0.{}9223372036854775808", "0".repeat(21)).as_bytes());
        assert!(Plain::of(1, 41).is_none());
        // Without its zeros it is shorter.
        assert_eq!(Plain::trimmed(-2_500, 42).unwrap().text(), format!("-0.{}25", "0".repeat(38)));
        assert_eq!(Plain::trimmed(0, 50).unwrap().text(), "0");
    }
}
