//! Lines as feeds write them by the million: an object of strings without escapes and of plain numbers, each field once.
//!
//! The lines of a stream are written alike, so it is remembered how some were: what stands between their values. A line
//! that has the same between its own is not taken apart again.

/// Ways of writing that are remembered.
const KNOWN: usize = 4;

/// What JSON takes for blank (RFC 8259, section 2). The library's idea of it has the form feed as well.
const BLANK: [u8; 4] = *b" \t\n\r";

/// A field of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Symbol,
    Ticker,
    Price,
    Close,
    Timestamp,
    Source,
    Interval,
    Open,
    High,
    Low,
    Volume,
}

impl Field {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"symbol" => Self::Symbol,
            b"ticker" => Self::Ticker,
            b"timestamp" => Self::Timestamp,
            b"source" => Self::Source,
            b"interval" => Self::Interval,
            b"price" => Self::Price,
            b"close" => Self::Close,
            b"open" => Self::Open,
            b"high" => Self::High,
            b"low" => Self::Low,
            b"volume" => Self::Volume,
            _ => return None,
        })
    }

    const fn is_number(self) -> bool {
        matches!(self, Self::Price | Self::Close | Self::Open | Self::High | Self::Low | Self::Volume)
    }
}

/// The values of a line, in printable ASCII.
#[derive(Debug, Default)]
pub(super) struct Common<'a> {
    pub(super) symbol: Option<&'a [u8]>,
    pub(super) ticker: Option<&'a [u8]>,
    pub(super) price: Option<&'a [u8]>,
    pub(super) close: Option<&'a [u8]>,
    pub(super) timestamp: Option<&'a [u8]>,
    pub(super) source: Option<&'a [u8]>,
    pub(super) interval: Option<&'a [u8]>,
    pub(super) open: Option<&'a [u8]>,
    pub(super) high: Option<&'a [u8]>,
    pub(super) low: Option<&'a [u8]>,
    pub(super) volume: Option<&'a [u8]>,
}

impl<'a> Common<'a> {
    /// Whether it has nothing of a candle but a price.
    pub(super) const fn is_tick(&self) -> bool {
        self.open.is_none() && self.high.is_none() && self.low.is_none() && self.volume.is_none()
    }

    const fn slot(&mut self, field: Field) -> &mut Option<&'a [u8]> {
        match field {
            Field::Symbol => &mut self.symbol,
            Field::Ticker => &mut self.ticker,
            Field::Price => &mut self.price,
            Field::Close => &mut self.close,
            Field::Timestamp => &mut self.timestamp,
            Field::Source => &mut self.source,
            Field::Interval => &mut self.interval,
            Field::Open => &mut self.open,
            Field::High => &mut self.high,
            Field::Low => &mut self.low,
            Field::Volume => &mut self.volume,
        }
    }
}

/// Text that is compared eight bytes at a time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Piece {
    /// Each with which of its bits count.
    words: [(u64, u64); 4],
    length: usize,
}

impl Piece {
    /// `None` of a text that is too long.
    pub(super) fn new(text: &[u8]) -> Option<Self> {
        let mut piece = Self { length: text.len(), ..Self::default() };
        if text.len() > piece.words.len() * 8 {
            return None;
        }
        for ((word, mask), part) in piece.words.iter_mut().zip(text.chunks(8)) {
            (*word, *mask) = (word_at(part, 0), u64::MAX >> (64 - 8 * part.len()));
        }
        Some(piece)
    }

    /// Whether it is this text.
    pub(super) fn is(&self, text: &[u8]) -> bool {
        self.length == text.len() && self.is_at(text, 0)
    }

    /// Whether a line has it there.
    fn is_at(&self, line: &[u8], at: usize) -> bool {
        let words = self.words.iter().take_while(|(_, mask)| *mask != 0);
        at + self.length <= line.len()
            && (at..).step_by(8).zip(words).all(|(at, (word, mask))| (word_at(line, at) ^ word) & mask == 0)
    }
}

/// Eight bytes of a text as a number, the first the lowest; zeros behind its end.
pub(super) fn word_at(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// A value of a line that is remembered.
#[derive(Debug)]
struct Value {
    /// What stands before it.
    before: Piece,
    field: Field,
    quoted: bool,
}

/// How a line was written.
#[derive(Debug, Default)]
struct Pattern {
    values: Vec<Value>,
    /// What stands after its last value.
    end: Piece,
}

impl Pattern {
    /// Reads the values of a line that is written the same way; `false` of any other.
    fn read<'a>(&self, line: &'a [u8], common: &mut Common<'a>) -> bool {
        *common = Common::default();
        let mut at = 0;
        for Value { before, field, quoted } in &self.values {
            if !before.is_at(line, at) {
                return false;
            }
            at += before.length;
            let Some(end) = end_of(line, at, *quoted) else { return false };
            *common.slot(*field) = line.get(at..end);
            at = end;
        }
        !self.values.is_empty() && at + self.end.length == line.len() && self.end.is_at(line, at)
    }

    /// Takes a line apart, and remembers how it was written. `None` for a line that is not of this kind, right or wrong.
    fn learn<'a>(&mut self, line: &'a [u8], common: &mut Common<'a>) -> Option<()> {
        *common = Common::default();
        self.values.clear();
        let blank = |at: usize| {
            let rest = line.get(at..).unwrap_or_default();
            at + rest.iter().take_while(|byte| BLANK.contains(byte)).count()
        };
        let after = |byte: u8, at: usize| (line.get(at) == Some(&byte)).then_some(at + 1);
        let (mut at, mut begin, mut known) = (after(b'{', blank(0))?, 0, true);
        loop {
            let name = after(b'"', blank(at))?;
            let end = end_of_string(line, name);
            let field = Field::named(line.get(name..end)?)?;
            let place = blank(after(b':', blank(after(b'"', end)?))?);
            let (quoted, place) = after(b'"', place).map_or((false, place), |inside| (true, inside));
            let end = end_of(line, place, quoted)?;
            let slot = common.slot(field);
            if slot.is_some() || !(quoted || field.is_number()) {
                return None;
            }
            *slot = line.get(place..end);
            match Piece::new(line.get(begin..place)?) {
                Some(before) => self.values.push(Value { before, field, quoted }),
                None => known = false,
            }
            begin = end;
            at = blank(if quoted { after(b'"', end)? } else { end });
            let Some(more) = after(b',', at) else { break };
            at = more;
        }
        let end = blank(after(b'}', at)?);
        match Piece::new(line.get(begin..)?) {
            Some(end) if known => self.end = end,
            _ => self.values.clear(),
        }
        (end == line.len()).then_some(())
    }
}

/// Where a value ends.
fn end_of(line: &[u8], at: usize, quoted: bool) -> Option<usize> {
    if quoted { Some(end_of_string(line, at)) } else { end_of_number(line, at) }
}

/// Where plain text ends: at a quote, an escape, anything that is not printable ASCII, or the end of the line.
fn end_of_string(line: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    loop {
        let word = word_at(line, at);
        // The lowest byte of these that has its highest bit set is zero in what was asked about.
        let is = |byte: u64| {
            let other = word ^ (ONES * byte);
            other.wrapping_sub(ONES) & !other
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let ends = (is(0x22) | is(0x5c) | is(0x7f) | control | word) & (ONES * 0x80);
        if ends != 0 {
            return at + usize::try_from(ends.trailing_zeros() / 8).unwrap_or_default();
        }
        at += 8;
    }
}

/// Where a number without an exponent ends.
fn end_of_number(line: &[u8], at: usize) -> Option<usize> {
    let text = line.get(at..)?;
    let length = text.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'-'))?;
    let token = text.get(..length)?;
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    // JSON knows no leading zeros; the rest of the grammar is that of decimals.
    let zero = digits.len() > 1 && digits.starts_with(b"0") && !digits.starts_with(b"0.");
    (!zero).then_some(at + length)
}

/// The ways in which lines were written lately.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    known: [Pattern; KNOWN],
    /// The one that fitted last.
    last: usize,
    /// The one that was learned last.
    newest: usize,
}

impl Patterns {
    /// Reads the values of a line; `false` for a line that is not of this kind, right or wrong.
    pub(super) fn read<'a>(&mut self, line: &'a [u8], common: &mut Common<'a>) -> bool {
        if self.known.get(self.last).is_some_and(|pattern| pattern.read(line, common)) {
            return true;
        }
        if let Some(place) = self.known.iter().position(|pattern| pattern.read(line, common)) {
            self.last = place;
            return true;
        }
        let next = (self.newest + 1) % KNOWN;
        let Some(pattern) = self.known.get_mut(next) else { return false };
        let read = pattern.learn(line, common).is_some();
        if read {
            (self.last, self.newest) = (next, next);
        } else {
            pattern.values.clear();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_string_ends_where_its_bytes_say(text in proptest::collection::vec(prop_oneof![
            8 => 0x20_u8..0x7f, 1 => any::<u8>(), 1 => Just(b'"')], 0..40)) {
            let ends = |byte: &u8| matches!(byte, b'"' | b'\\') || !(0x20..0x7f).contains(byte);
            let end = text.iter().position(ends).unwrap_or(text.len());
            prop_assert_eq!(end_of_string(&text, 0), end);
        }

        #[test]
        fn a_piece_is_where_its_bytes_are(text in "[ab]{0,33}", line in "[ab]{0,40}", at in 0_usize..42) {
            let expected = line.get(at..).is_some_and(|rest| rest.starts_with(&text));
            let piece = Piece::new(text.as_bytes());
            prop_assert_eq!(piece.is_some(), text.len() <= 32);
            prop_assert_eq!(piece.is_some_and(|piece| piece.is_at(line.as_bytes(), at)), expected && text.len() <= 32);
        }
    }

    #[test]
    fn between_values_stands_what_json_takes_for_blank_and_nothing_else() {
        for byte in u8::MIN..=u8::MAX {
            // RFC 8259, section 2: space, tab, line feed and carriage return.
            let is_blank = matches!(byte, 0x20 | 0x09 | 0x0a | 0x0d);
            let parts: Vec<&[u8]> =
                br#"?{?"price"?:?"1"?,?"symbol"?:?"A"?}?"#.split(|byte| *byte == b'?').collect();
            for place in 1..parts.len() {
                let line = [parts[..place].concat(), vec![byte], parts[place..].concat()].concat();
                let read = Patterns::default().read(&line, &mut Common::default());
                assert_eq!(read, is_blank, "{byte:#04x} in {}", line.escape_ascii());
            }
        }
    }

    #[test]
    fn lines_written_in_turn_in_several_ways_are_read_each_as_it_is() {
        let lines: [&[u8]; 4] = [
            br#"{"symbol":"A","price":"1.5","timestamp":"t"}"#,
            b" { \"ticker\" : \"B\" , \"close\" : -2 , \"timestamp\":\"u\" } \r",
            br#"{"symbol":"C","price":2.5,"timestamp":"v","volume":"7"}"#,
            br#"{"symbol":"A","price":01,"timestamp":"t"}"#,
        ];
        let mut patterns = Patterns::default();
        for _ in 0..3 {
            let found = lines.map(|line| {
                let mut common = Common::default();
                patterns.read(line, &mut common).then_some(())?;
                let values = [common.symbol, common.ticker, common.price, common.close, common.volume];
                Some(values.map(|value| {
                    value.map(|text| str::from_utf8(text).unwrap().to_owned()).unwrap_or_default()
                }))
            });
            let of = |values: [&str; 5]| Some(values.map(str::to_owned));
            let expected = [
                of(["A", "", "1.5", "", ""]),
                of(["", "B", "", "-2", ""]),
                of(["C", "", "2.5", "", "7"]),
                None,
            ];
            assert_eq!(found, expected);
        }
    }
}
