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
