//! For tests of parsers: files and messages that are nearly what they should be.
//!
//! Examples are changed by chance at places that matter: signs, numbers, quotes, lines. A parser must answer each of them,
//! and what it answers must keep its law. `PROPTEST_CASES` says how often, for a run of hours (`make parsers`).

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use std::fmt;

/// What is put in: numbers at the edges of what is taken, moments that are none, signs of CSV and JSON, odd letters.
const TOKENS: [&str; 64] = [
    "0",
    "-0",
    "-1",
    "+1",
    "1e400",
    "1e-400",
    "1E5",
    "0.1",
    ".5",
    "5.",
    "00",
    "0x10",
    "NaN",
    "Infinity",
    "null",
    "true",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "79228162514264337593543950335",
    "9999999999999999999999999999",
    "99999999999999999999999999999",
    "0.0000000000000000000000000001",
    "170141183460469231731687303715884105728",
    "1,234.56",
    "1.234,56",
    "1 234",
    "12%",
    "2024-02-30",
    "2024-03-31T02:30:00",
    "2024-11-03T01:30:00",
    "0000-01-01",
    "-0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "+10000-01-01T00:00:00Z",
    "2016-12-31T23:59:60Z",
    "1970-01-01T00:00:00+25:00",
    "31/12/2024",
    "253402300800",
    "1e3",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[",
    "\"",
    "\"\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\u00e9",
    ",",
    ";",
    "\t",
    ":",
    "\n",
    "\r\n",
    "\r",
    "\0",
    "\u{feff}",
    "é",
    "\u{1d7d9}",
    "\u{202e}",
];

/// Longest input made, in bytes.
const LONGEST: usize = 64 << 10;
/// Inputs for each case of a usual property.
const EACH: u32 = 8;

/// Bytes that a parser did not expect.
#[derive(Clone)]
struct Odd(Vec<u8>);

impl fmt::Debug for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// One change.
#[derive(Debug, Clone)]
struct Edit {
    kind: usize,
    at: Index,
    length: usize,
    what: Index,
}

fn edit() -> impl Strategy<Value = Edit> {
    (0_usize..8, any::<Index>(), 0_usize..40, any::<Index>()).prop_map(|(kind, at, length, what)| Edit {
        kind,
        at,
        length,
        what,
    })
}

impl Edit {
    fn make(&self, bytes: &mut Vec<u8>, other: &[u8]) {
        let start = self.at.index(bytes.len() + 1);
        let end = bytes.len().min(start + self.length);
        let token = self.what.get(&TOKENS).as_bytes();
        match self.kind {
            0 => drop(bytes.splice(start..start, token.iter().copied())),
            1 => drop(bytes.splice(start..end, token.iter().copied())),
            // A whole number, or a whole word, becomes another.
            2 => {
                let part = |byte: &u8| byte.is_ascii_alphanumeric() || b".-+".contains(byte);
                let from = bytes[..start].iter().rposition(|byte| !part(byte)).map_or(0, |at| at + 1);
                let to =
                    bytes[start..].iter().position(|byte| !part(byte)).map_or(bytes.len(), |at| start + at);
                drop(bytes.splice(from..to, token.iter().copied()));
            }
            3 => drop(bytes.drain(start..end)),
            4 => bytes.truncate(start),
            5 => {
                let part = bytes[start..end].repeat(1 << (self.length % 10));
                drop(bytes.splice(start..start, part));
            }
            6 => {
                let from = self.what.index(other.len() + 1);
                let to = other.len().min(from + self.length * 4);
                drop(bytes.splice(start..end, other[from..to].iter().copied()));
            }
            _ => {
                let bit = self.length % 8;
                if let Some(byte) = bytes.get_mut(start) {
                    *byte ^= 1 << bit;
                }
            }
        }
        bytes.truncate(LONGEST);
    }
}

/// Hands examples to a parser, changed by chance and as they are; `law` panics at what must not be.
pub(crate) fn hammer<T: AsRef<[u8]>>(examples: &[T], law: impl Fn(&[u8])) {
    for example in examples {
        law(example.as_ref());
    }
    let usual = ProptestConfig::default();
    let config =
        ProptestConfig { cases: usual.cases.saturating_mul(EACH), failure_persistence: None, ..usual };
    let odd = (any::<Index>(), any::<Index>(), proptest::collection::vec(edit(), 1..6)).prop_map(
        |(one, other, edits)| {
            let mut bytes = one.get(examples).as_ref().to_vec();
            for edit in edits {
                edit.make(&mut bytes, other.get(examples).as_ref());
            }
            Odd(bytes)
        },
    );
    let tried = TestRunner::new(config).run(&odd, |Odd(bytes)| {
        law(&bytes);
        Ok(())
    });
    if let Err(failed) = tried {
        panic!("{failed}");
    }
}
