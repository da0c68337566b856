//! What CSV and NDJSON rows have in common: why one is refused, its numbers and its symbol.

use super::{Code, Field, Options, ParseError, Refusal, excerpt, list};
use crate::domain::decimal::{Decimal, DecimalError};

/// A [`Refusal`] that does not know its line yet.
pub(super) struct Wrong {
    field: Option<Field>,
    code: Code,
    detail: String,
}

impl Wrong {
    /// The row as a whole is wrong.
    pub(super) const fn row(code: Code, detail: String) -> Self {
        Self { field: None, code, detail }
    }

    /// What stands in `field` is wrong.
    pub(super) fn value(field: Field, code: Code, text: &str, why: &str) -> Self {
        Self { field: Some(field), code, detail: format!("{field} `{}` {why}", excerpt(text)) }
    }

    /// `field` as such is wrong.
    pub(super) fn field(field: Field, code: Code, why: &str) -> Self {
        Self { field: Some(field), code, detail: format!("{field} {why}") }
    }

    pub(super) fn on(self, line: u64) -> Refusal {
        Refusal { line, field: self.field, code: self.code, detail: self.detail }
    }
}

pub(super) fn decimal(field: Field, text: &str) -> Result<Decimal, Wrong> {
    Decimal::parse_input(text).map_err(|error| {
        let code = match error {
            DecimalError::NotANumber => Code::NotADecimal,
            DecimalError::TooManyDigits => Code::TooManyDigits,
        };
        Wrong::value(field, code, text, &error.to_string())
    })
}

/// Tells the rows of the wanted symbol from the others, and notices when nobody said which is wanted.
pub(super) struct Symbols<'o> {
    wanted: Option<&'o str>,
    matched: bool,
    others: u64,
    /// Some that are not wanted, as they are first met; without a wanted one, the first of the file.
    met: Vec<String>,
}

/// How many symbols a message names.
const NAMED: usize = 5;

impl<'o> Symbols<'o> {
    pub(super) fn new(options: &'o Options) -> Self {
        Self { wanted: options.symbol.as_deref().map(str::trim), matched: false, others: 0, met: Vec::new() }
    }

    /// Whether a row of this symbol is wanted.
    pub(super) fn takes(&mut self, symbol: &str) -> Result<bool, ParseError> {
        let known = self.met.iter().any(|met| met.eq_ignore_ascii_case(symbol));
        let Some(wanted) = self.wanted else {
            if !known {
                self.met.push(symbol.to_owned());
            }
            // Prices of two assets would end up as corrections of one another.
            return if self.met.len() > 1 {
                Err(ParseError::SeveralSymbols { found: self.listed() })
            } else {
                Ok(true)
            };
        };
        let takes = wanted.eq_ignore_ascii_case(symbol);
        self.matched |= takes;
        if !takes {
            self.others += 1;
            if !known && self.met.len() < NAMED {
                self.met.push(symbol.to_owned());
            }
        }
        Ok(takes)
    }

    /// The number of rows that were not wanted; an error if that is every row that has a symbol.
    pub(super) fn others(&self) -> Result<u64, ParseError> {
        match self.wanted {
            Some(wanted) if self.others > 0 && !self.matched => {
                Err(ParseError::SymbolNotFound { wanted: excerpt(wanted), found: self.listed() })
            }
            _ => Ok(self.others),
        }
    }

    fn listed(&self) -> String {
        list(self.met.iter().map(String::as_str))
    }
}
