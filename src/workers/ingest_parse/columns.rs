//! Which column holds what: by the names a file uses, unless the options name the columns.

use super::row::{Wrong, decimal};
use super::{BidAsk, Field, Options, ParseError, excerpt, list};
use crate::domain::decimal::Decimal;
use csv::StringRecord;

impl Field {
    /// The names it goes by, whatever their case.
    pub(super) const fn spellings(self) -> &'static [&'static str] {
        match self {
            Self::Time => &["ts", "date", "timestamp", "time", "datetime"],
            Self::Price => &["price", "close"],
            Self::Open => &["open"],
            Self::High => &["high"],
            Self::Low => &["low"],
            Self::Volume => &["volume", "vol"],
            Self::Symbol => &["symbol", "ticker"],
        }
    }
}

/// Positions of the columns that may be `field`; more than one leaves it in doubt.
pub(super) fn positions<'n>(
    names: &(impl Iterator<Item = &'n str> + Clone),
    field: Field,
    options: &Options,
) -> Vec<usize> {
    let that = |wanted: &dyn Fn(&str) -> bool| -> Vec<usize> {
        names.clone().enumerate().filter(|(_, name)| wanted(name)).map(|(at, _)| at).collect()
    };
    if let Some(column) = options.map.get(&field) {
        // Some feeds tell `v` from `V`, so a column of exactly that name comes first.
        let exact = that(&|name| name == column);
        return if exact.is_empty() { that(&|name| name.eq_ignore_ascii_case(column)) } else { exact };
    }
    let spelled = that(&|name| field.spellings().iter().any(|spelling| name.eq_ignore_ascii_case(spelling)));
    if spelled.is_empty() && field == Field::Price {
        // As in `price_usd_per_troy_oz`.
        return that(&|name| name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("price_")));
    }
    spelled
}

/// Where the cells of one field are.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// In one column.
    Cell(usize),
    /// Halfway between the bid in the first column and the ask in the second.
    Mid(usize, usize),
}

/// The columns of a CSV file.
pub(super) struct Columns {
    pub(super) time: usize,
    pub(super) symbol: Option<usize>,
    pub(super) price: Source,
    pub(super) open: Option<Source>,
    pub(super) high: Option<Source>,
    pub(super) low: Option<Source>,
    pub(super) volume: Option<Source>,
}

impl Columns {
    /// The columns that `header` and `options` name.
    pub(super) fn choose(header: &[&str], options: &Options) -> Result<Self, ParseError> {
        let one = |field| one(header, field, options);
        let time = one(Field::Time)?.ok_or_else(|| no_column(header, Field::Time))?;
        let symbol = one(Field::Symbol)?;
        let volume = one(Field::Volume)?.map(Source::Cell);
        if let Some(sides) = options.bid_ask {
            return Ok(Self { time, symbol, volume, ..between(header, sides, options)? });
        }
        let price = one(Field::Price)?.map(Source::Cell).ok_or_else(|| {
            let sides = ["bid", "ask"].iter().any(|side| !quoted(header, side, Field::Price).is_empty());
            if sides { ParseError::BidAskRequired } else { no_column(header, Field::Price) }
        })?;
        let cell = |field| Ok::<_, ParseError>(one(field)?.map(Source::Cell));
        let (open, high, low) = (cell(Field::Open)?, cell(Field::High)?, cell(Field::Low)?);
        Ok(Self { time, symbol, price, open, high, low, volume })
    }

    /// Each field with the name of each column it is read from.
    pub(super) fn named(&self, header: &[&str]) -> Vec<(Field, String)> {
        let sources = [
            (Field::Time, Some(Source::Cell(self.time))),
            (Field::Price, Some(self.price)),
            (Field::Open, self.open),
            (Field::High, self.high),
            (Field::Low, self.low),
            (Field::Volume, self.volume),
            (Field::Symbol, self.symbol.map(Source::Cell)),
        ];
        let mut named = Vec::new();
        for (field, source) in sources {
            let (first, second) = match source {
                None => (None, None),
                Some(Source::Cell(at)) => (Some(at), None),
                Some(Source::Mid(bid, ask)) => (Some(bid), Some(ask)),
            };
            let columns = [first, second].into_iter().flatten().filter_map(|at| header.get(at));
            named.extend(columns.map(|column| (field, (*column).to_owned())));
        }
        named
    }
}

fn no_column(header: &[&str], field: Field) -> ParseError {
    ParseError::NoColumn { field, columns: list(header.iter().copied()) }
}

fn one(header: &[&str], field: Field, options: &Options) -> Result<Option<usize>, ParseError> {
    let found = positions(&header.iter().copied(), field, options);
    if let (Some(wanted), []) = (options.map.get(&field), found.as_slice()) {
        let columns = list(header.iter().copied());
        return Err(ParseError::UnknownColumn { field, wanted: excerpt(wanted), columns });
    }
    at_most_one(header, &found).map_err(|columns| ParseError::AmbiguousColumns { field, columns })
}

/// The position in `found`, if any; the names of the columns if there are several.
fn at_most_one(header: &[&str], found: &[usize]) -> Result<Option<usize>, String> {
    match found {
        [] => Ok(None),
        [at] => Ok(Some(*at)),
        _ => Err(list(found.iter().filter_map(|at| header.get(*at).copied()))),
    }
}

/// Positions of the columns that hold `field` of one side.
fn quoted(header: &[&str], side: &str, field: Field) -> Vec<usize> {
    let candle = [format!("_{field}")];
    let close = ["_close", "_price", ""].map(str::to_owned);
    let ends = if field == Field::Price { close.as_slice() } else { candle.as_slice() };
    let spelled = |name: &str| ends.iter().any(|end| name.eq_ignore_ascii_case(&format!("{side}{end}")));
    header.iter().enumerate().filter(|(_, name)| spelled(name)).map(|(at, _)| at).collect()
}

/// The price columns of a file with a bid and an ask. A candle's open, high or low that the wanted side does
/// not have is absent, even if the file has one without a side: it would not belong to these prices.
fn between(header: &[&str], sides: BidAsk, options: &Options) -> Result<Columns, ParseError> {
    let prices = [Field::Price, Field::Open, Field::High, Field::Low];
    if let Some(field) = prices.into_iter().find(|field| options.map.contains_key(field)) {
        return Err(ParseError::MapWithBidAsk { field });
    }
    let column = |side, field| {
        at_most_one(header, &quoted(header, side, field)).map_err(|columns| ParseError::AmbiguousSide {
            side,
            field,
            columns,
        })
    };
    let source = |field| {
        Ok::<_, ParseError>(match sides {
            BidAsk::Bid => column("bid", field)?.map(Source::Cell),
            BidAsk::Ask => column("ask", field)?.map(Source::Cell),
            BidAsk::Mid => {
                column("bid", field)?.zip(column("ask", field)?).map(|(bid, ask)| Source::Mid(bid, ask))
            }
        })
    };
    let price = source(Field::Price)?.ok_or_else(|| {
        let bid = !quoted(header, "bid", Field::Price).is_empty();
        let side = if sides == BidAsk::Ask || (sides == BidAsk::Mid && bid) { "ask" } else { "bid" };
        ParseError::NoSide { side, columns: list(header.iter().copied()) }
    })?;
    let (open, high, low) = (source(Field::Open)?, source(Field::High)?, source(Field::Low)?);
    Ok(Columns { time: 0, symbol: None, price, open, high, low, volume: None })
}

impl Source {
    /// The number a row has here; `None` when a cell is empty.
    pub(super) fn read(self, field: Field, row: &StringRecord) -> Result<Option<Decimal>, Wrong> {
        let number = |at| match row.get(at).unwrap_or_default().trim() {
            "" => Ok(None),
            text => decimal(field, text).map(Some),
        };
        match self {
            Self::Cell(at) => number(at),
            Self::Mid(bid, ask) => {
                let Some((bid, ask)) = number(bid)?.zip(number(ask)?) else { return Ok(None) };
                // Half a sum is five tenths of it: exact, where a division might round.
                let mid = (&(&bid + &ask) * &Decimal::new(5, 1)).normalized();
                // It may have one digit more than bid and ask, and so one more than is kept.
                decimal(field, &mid.to_string()).map(Some)
            }
        }
    }
}
