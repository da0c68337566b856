//! What a provider's answer says, told by a mapping instead of by code: JSON by pointers (RFC 6901), CSV by columns.
//!
//! A mapping is read by [`Mapping::read`] from the JSON form of its configuration; [`Mapping::rows`] applies it to a
//! body. Both are pure. Numbers are read from their tokens, never through a float. A fault names the key or the pointer
//! and the rule, so that whoever writes a mapping can put it right without reading this.

mod spec;
mod table;
mod times;
mod tree;

pub use spec::Written;
pub use times::TimeUnit;

use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::domain::price::{Bar, Quote};
use chrono_tz::Tz;
use std::borrow::Cow;
use std::collections::BTreeMap;
use times::TimeFormat;
use tree::Tree;

/// How the body is written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// JSON: rows stand at a pointer, or fields stand in arrays beside each other.
    Json(Place),
    /// CSV with a header, its cells divided by this.
    Csv(u8),
}

/// Where the rows of a JSON body are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The elements of the array at a pointer; one that is an object is a row by itself.
    Rows(String),
    /// The members of the object at a pointer; their names are times.
    Members(String),
    /// Arrays beside each other, one for each field.
    Zip,
}

/// Where a field is: a pointer within the row, or the name of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    at: String,
    optional: bool,
}

/// In which zone times without one are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Zone {
    Fixed(Tz),
    /// Its name stands in the body, at this pointer.
    From(String),
}

/// When an answer of status 200 is good.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Good {
    pointer: String,
    equals: String,
}

/// When a refusal may pass.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RetryWhen {
    pointer: String,
    any_of: Vec<String>,
}

/// Which messages of a stream have rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    pointer: String,
    any_of: Vec<String>,
}

impl Select {
    /// Whether a message has rows.
    ///
    /// # Errors
    /// [`BodyFault`] for what is not JSON.
    pub fn takes(&self, text: &str) -> Result<bool, BodyFault> {
        let root = Tree::read(text).map_err(|error| unlike("", format!("is not JSON: {error}")))?;
        let found = root.at(&self.pointer).and_then(Tree::text);
        Ok(found.is_some_and(|text| self.any_of.iter().any(|one| *one == *text)))
    }
}

/// Where the next page is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// Pointer to its token.
    next: String,
    /// Parameter it is asked for with.
    pub param: String,
    /// Most pages of one fetch.
    pub max: u32,
}

/// A mapping from bodies to prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    shape: Shape,
    descends: bool,
    time: Option<Field>,
    format: TimeFormat,
    zone: Zone,
    symbol: Option<Field>,
    close: Field,
    open: Option<Field>,
    high: Option<Field>,
    low: Option<Field>,
    volume: Option<Field>,
    /// Texts that mean there is no value.
    nulls: Vec<String>,
    scale: BTreeMap<String, Decimal>,
    invert: bool,
    good: Option<Good>,
    messages: Vec<String>,
    retry_when: Option<RetryWhen>,
    text_errors: Vec<String>,
    /// How further pages are asked for.
    pub paging: Option<Paging>,
}

/// A row of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappedRow {
    /// What the provider calls the asset, when the rows say so.
    pub symbol: Option<String>,
    /// When it was observed.
    pub observed_at: Moment,
    /// What was observed.
    pub quote: Quote,
}

/// What a body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Its rows, in order of time; of two of one moment the later in the provider's order comes last.
    pub rows: Vec<MappedRow>,
    /// Rows without a price, which are passed over.
    pub missing: u64,
    /// Token of the next page.
    pub next: Option<String>,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} {rule}")]
pub struct SpecFault {
    /// Its key, such as `map.ts.unit`.
    pub key: String,
    /// The rule it breaks.
    pub rule: String,
}

/// Why a body gives no rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// The provider refuses, in its own words.
    #[error("the provider says: {said}")]
    Refused {
        /// Where it says so.
        pointer: String,
        /// What.
        said: String,
        /// Whether asking again later may help.
        passes: bool,
    },
    /// The body is not what the mapping expects.
    #[error("{pointer} {rule}")]
    Unlike {
        /// The pointer, from the root of the body, or the line and column of a table.
        pointer: String,
        /// The rule it breaks.
        rule: String,
    },
}

fn unlike(pointer: impl Into<String>, rule: impl Into<String>) -> BodyFault {
    BodyFault::Unlike { pointer: pointer.into(), rule: rule.into() }
}

/// A token of a row: where it stands, and its text; none when it is null.
struct Token<'a> {
    pointer: String,
    text: Option<Cow<'a, str>>,
}

/// One row before it is a price.
trait Cells<'a> {
    /// The token of a field. A field that is not there is a fault, unless it is optional.
    fn token(&self, field: &Field) -> Result<Token<'a>, BodyFault>;
    /// The time, where the place of the row says it.
    fn key(&self) -> Option<Token<'a>>;
}

impl Mapping {
    /// What a body says.
    ///
    /// # Errors
    /// [`BodyFault`] with the pointer at fault.
    pub fn rows(&self, body: &[u8]) -> Result<Reading, BodyFault> {
        self.read_rows(body, &mut Err::<(), BodyFault>)
    }

    /// The same, but a row at fault is passed over and its fault told.
    ///
    /// # Errors
    /// [`BodyFault`] of the body as a whole.
    pub fn rows_but(&self, body: &[u8], faults: &mut Vec<BodyFault>) -> Result<Reading, BodyFault> {
        self.read_rows(body, &mut |fault| {
            faults.push(fault);
            Ok(())
        })
    }

    fn read_rows(
        &self,
        body: &[u8],
        at_fault: &mut dyn FnMut(BodyFault) -> Result<(), BodyFault>,
    ) -> Result<Reading, BodyFault> {
        let text = std::str::from_utf8(body).map_err(|_| unlike("", "is not UTF-8 text"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if let Some(said) = self.text_errors.iter().find(|said| text.trim_start().starts_with(*said)) {
            return Err(BodyFault::Refused { pointer: String::new(), said: said.clone(), passes: true });
        }
        let mut reading = Reading::default();
        let mut take = |row: Result<&dyn Cells<'_>, BodyFault>, zone: Tz, reading: &mut Reading| {
            row.and_then(|row| self.take(row, zone, reading)).or_else(&mut *at_fault)
        };
        match &self.shape {
            Shape::Csv(delimiter) => {
                let zone = self.fixed_zone();
                table::each_row(text, *delimiter, self, |row| take(row, zone, &mut reading))?;
            }
            Shape::Json(place) => {
                let root = Tree::read(text).map_err(|error| unlike("", format!("is not JSON: {error}")))?;
                self.check(&root)?;
                let zone = self.zone_in(&root)?;
                tree::each_row(&root, place, self, |row| take(Ok(row), zone, &mut reading))?;
                reading.next = self.next_page(&root);
            }
        }
        if self.descends {
            reading.rows.reverse();
        }
        reading.rows.sort_by_key(|row| row.observed_at);
        Ok(reading)
    }

    /// Refuses an answer that is none, by what it says itself.
    fn check(&self, root: &Tree<'_>) -> Result<(), BodyFault> {
        let found = |pointer: &str| root.at(pointer).and_then(Tree::text);
        let said = self.messages.iter().find_map(|pointer| Some((pointer, found(pointer)?)));
        let passes = self.retry_when.as_ref().is_some_and(|when| {
            found(&when.pointer).is_some_and(|text| when.any_of.iter().any(|one| *one == *text))
        });
        let good =
            self.good.as_ref().map(|good| found(&good.pointer).is_some_and(|text| *text == good.equals));
        match (good, said) {
            (Some(true), _) | (None, None) => Ok(()),
            (Some(false) | None, Some((pointer, said))) => {
                let (pointer, said) = (pointer.clone(), said.into_owned());
                Err(BodyFault::Refused { pointer, said, passes })
            }
            (Some(false), None) => {
                let good = self.good.as_ref();
                let pointer = good.map(|good| good.pointer.clone()).unwrap_or_default();
                let wanted = good.map(|good| good.equals.as_str()).unwrap_or_default();
                let there = found(&pointer).map_or_else(|| "nothing".to_owned(), |text| format!("`{text}`"));
                if passes {
                    return Err(BodyFault::Refused { pointer, said: there, passes });
                }
                Err(unlike(pointer, format!("has {there}, and an answer is good with `{wanted}`")))
            }
        }
    }

    fn fixed_zone(&self) -> Tz {
        match &self.zone {
            Zone::Fixed(zone) => *zone,
            Zone::From(_) => Tz::UTC,
        }
    }

    fn zone_in(&self, root: &Tree<'_>) -> Result<Tz, BodyFault> {
        let Zone::From(pointer) = &self.zone else { return Ok(self.fixed_zone()) };
        let name = root.at(pointer).and_then(Tree::text);
        let name = name.ok_or_else(|| unlike(pointer, "is not there; map.ts.tz.from wants a time zone"))?;
        name.parse().map_err(|_| unlike(pointer, format!("is `{name}`, which is no IANA time zone")))
    }

    fn next_page(&self, root: &Tree<'_>) -> Option<String> {
        let next = root.at(&self.paging.as_ref()?.next)?.text()?;
        (!next.is_empty() && next != "false").then(|| next.into_owned())
    }

    /// Takes up one row.
    fn take(&self, row: &dyn Cells<'_>, zone: Tz, reading: &mut Reading) -> Result<(), BodyFault> {
        let time = match &self.time {
            Some(field) => row.token(field)?,
            None => row.key().ok_or_else(|| unlike("", "has no time: map.ts.at is missing"))?,
        };
        let Token { pointer, text: Some(text) } = time else {
            return Err(unlike(time.pointer, "is null, and a row needs its time"));
        };
        let observed_at = self.format.read(&text, zone).map_err(|rule| unlike(pointer, rule))?;
        let Some(price) = self.number(row, "close", Some(&self.close))? else {
            reading.missing += 1;
            return Ok(());
        };
        let bar = Bar {
            open: self.number(row, "open", self.open.as_ref())?,
            high: self.number(row, "high", self.high.as_ref())?,
            low: self.number(row, "low", self.low.as_ref())?,
            volume: self.number(row, "volume", self.volume.as_ref())?,
        };
        let mut quote = Quote::new(price, bar);
        if self.invert {
            quote =
                inverted(quote).ok_or_else(|| unlike(self.close.at.clone(), "is 0, and invert = true"))?;
        }
        let symbol = match &self.symbol {
            Some(field) => row.token(field)?.text.map(Cow::into_owned),
            None => None,
        };
        reading.rows.push(MappedRow { symbol, observed_at, quote });
        Ok(())
    }

    /// The number of a field; `None` when there is none by the rules of the mapping.
    fn number(
        &self,
        row: &dyn Cells<'_>,
        name: &str,
        field: Option<&Field>,
    ) -> Result<Option<Decimal>, BodyFault> {
        let Some(field) = field else { return Ok(None) };
        let Token { pointer, text } = row.token(field)?;
        let Some(text) = text.filter(|text| !self.nulls.iter().any(|null| *null == **text)) else {
            return Ok(None);
        };
        let value =
            Decimal::parse_input(&text).map_err(|error| unlike(pointer, format!("`{text}` {error}")))?;
        Ok(Some(match self.scale.get(name) {
            Some(factor) => &value * factor,
            None => value,
        }))
    }
}

/// A quote the other way round, rounded to what a price may have: what was the lowest is the highest then. `None` when a
/// price is zero.
fn inverted(quote: Quote) -> Option<Quote> {
    let over = |value: Decimal| Decimal::ONE.divide_to_input(&value);
    let some = |value: Option<Decimal>| value.map_or(Some(None), |value| over(value).map(Some));
    let (price, Bar { open, high, low, volume }) = quote.into_parts();
    let bar = Bar { open: some(open)?, high: some(low)?, low: some(high)?, volume };
    Some(Quote::new(over(price)?, bar))
}

#[cfg(test)]
mod tests;
