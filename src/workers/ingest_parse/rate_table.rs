//! Tables of exchange rates as the European Central Bank publishes them: a day per row, a column per currency, and in
//! each cell what one unit of the base is worth. `N/A` and empty cells are days without a rate.

use super::row::decimal;
use super::times::{Times, may_be_unix};
use super::{Code, Field, Options, ParseError, check_size, excerpt, list, text_of};
use crate::domain::currency::Currency;
use crate::domain::decimal::Decimal;
use crate::domain::moment::Moment;
use crate::workers::csv_records::Records;
use csv::StringRecord;

/// The rates of one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its code as the header has it.
    pub code: String,
    /// Line, moment and rate, in the order of the file.
    pub points: Vec<(u64, Moment, Decimal)>,
}

/// A row or cell that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCell {
    /// Its line, the first being 1.
    pub line: u64,
    /// The column at fault; `None` is the row as a whole.
    pub column: Option<String>,
    /// Why, for programs.
    pub code: Code,
    /// Why, for people.
    pub detail: String,
}

/// What is in a table of rates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateTable {
    /// Its currencies, in the order of the header.
    pub columns: Vec<Column>,
    /// Rows and cells that could not be taken, in the order of the file.
    pub refused: Vec<RefusedCell>,
    /// Cells without a rate.
    pub absent: u64,
}

/// Whether a file is a table of rates: its header has a time first, and then nothing but currencies.
pub fn is_one(input: &[u8]) -> bool {
    let Ok(text) = text_of(input) else { return false };
    let mut record = StringRecord::new();
    if !matches!(Records::new(text, None).next(&mut record), Ok(Some(start)) if start.well_quoted) {
        return false;
    }
    let mut names = record.iter().map(str::trim);
    let timed = names.next().is_some_and(is_time);
    let mut codes = names.filter(|name| !name.is_empty()).peekable();
    timed
        && codes.peek().is_some()
        && codes.all(|name| Currency::from_code(name).is_some_and(|unit| unit.is_built_in()))
}

fn is_time(name: &str) -> bool {
    Field::Time.spellings().iter().any(|spelling| name.eq_ignore_ascii_case(spelling))
}

/// Reads a table of rates of `base`. Of `options`, the zone, the stamp and the interval count.
///
/// # Errors
/// [`ParseError`] when it is in doubt what the file means as a whole.
pub fn parse(input: &[u8], base: &str, options: &Options) -> Result<RateTable, ParseError> {
    let text = text_of(input)?;
    let mut records = Records::new(text, None);
    let mut record = StringRecord::new();
    let Some(start) = records.next(&mut record)? else { return Err(ParseError::Empty) };
    if !start.well_quoted {
        return Err(ParseError::MalformedHeader { line: start.line });
    }
    let header: Vec<String> = record.iter().map(|name| name.trim().to_owned()).collect();
    let named = currencies(&header, base)?;
    let mut table = RateTable {
        columns: named.iter().map(|(_, code)| Column { code: code.clone(), points: Vec::new() }).collect(),
        refused: Vec::new(),
        absent: 0,
    };
    let unix = header.first().is_some_and(|name| may_be_unix(name));
    let mut times = Times::new(options);
    while let Some(start) = records.next(&mut record)? {
        check_size(table.columns.iter().map(|column| column.points.len()).sum(), table.refused.len())?;
        let line = start.line;
        let mut refuse = |column: Option<&String>, code, detail| {
            table.refused.push(RefusedCell { line, column: column.cloned(), code, detail });
        };
        if !start.well_quoted {
            let lines = format!("quotation marks are misplaced or unclosed up to line {}", start.last_line);
            refuse(None, Code::MalformedQuotes, lines);
            continue;
        }
        if record.len() != header.len() {
            let counts = format!("the row has {} cells, the header {}", record.len(), header.len());
            refuse(None, Code::WrongCellCount, counts);
            continue;
        }
        let time = match times.read(record.get(0).unwrap_or_default().trim(), unix) {
            Ok(time) => time,
            Err(wrong) => {
                let wrong = wrong.on(line);
                refuse(header.first(), wrong.code, wrong.detail);
                continue;
            }
        };
        for ((at, code), column) in named.iter().zip(&mut table.columns) {
            let cell = record.get(*at).unwrap_or_default().trim();
            if cell.is_empty() || cell.eq_ignore_ascii_case("n/a") {
                table.absent += 1;
                continue;
            }
            match decimal(Field::Price, cell) {
                Ok(rate) if rate.is_positive() => column.points.push((line, time.moment, rate)),
                Ok(_) => {
                    let detail = format!("rate `{}` must be greater than zero", excerpt(cell));
                    refuse(Some(code), Code::NotPositive, detail);
                }
                Err(wrong) => {
                    let wrong = wrong.on(line);
                    refuse(Some(code), wrong.code, wrong.detail.replacen("price", "rate", 1));
                }
            }
        }
    }
    Ok(table)
}

/// The positions of the currency columns, with their codes. A column without a name, as the bank's files end in, holds
/// nothing.
fn currencies(header: &[String], base: &str) -> Result<Vec<(usize, String)>, ParseError> {
    if !header.first().is_some_and(|name| is_time(name)) {
        return Err(ParseError::NoColumn {
            field: Field::Time,
            columns: list(header.iter().map(String::as_str)),
        });
    }
    let mut named: Vec<(usize, String)> = Vec::new();
    for (at, code) in header.iter().enumerate().skip(1).filter(|(_, code)| !code.is_empty()) {
        if code == base {
            return Err(ParseError::BaseAmongCurrencies { currency: excerpt(code) });
        }
        if named.iter().any(|(_, known)| known == code) {
            return Err(ParseError::RepeatedCurrency { currency: excerpt(code) });
        }
        named.push((at, code.clone()));
    }
    if named.is_empty() {
        return Err(ParseError::NoCurrency { columns: list(header.iter().map(String::as_str)) });
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> RateTable {
        parse(text.as_bytes(), "EUR", &Options::default()).unwrap()
    }

    #[test]
    fn each_currency_has_the_days_it_was_quoted_on() {
        // The bank's own file goes back in time and ends each line in a comma.
        let table = table("Date,USD,JPY,\n2026-10-30,1.1172,175.68,\n1999-01-04,1.1789,N/A,\n");
        let said: Vec<String> = table
            .columns
            .iter()
            .flat_map(|column| {
                column
                    .points
                    .iter()
                    .map(move |(line, at, rate)| format!("{line} {} {at} {rate}", column.code))
            })
            .collect();
        assert_eq!(
            said,
            [
                "2 USD 2026-10-30T00:00:00.000000Z 1.1172",
                "3 USD 1999-01-04T00:00:00.000000Z 1.1789",
                "2 JPY 2026-10-30T00:00:00.000000Z 175.68",
            ]
        );
        assert_eq!((table.absent, table.refused.len()), (1, 0));
    }

    #[test]
    fn a_wrong_cell_is_refused_by_line_and_column_and_the_others_are_taken() {
        let table = table(
            "date,USD,JPY\n2026-02-30,1,1\n2026-02-02,0,1\n2026-02-03,-1,x\n2026-02-04,1\n2026-02-05,2,3\n",
        );
        let said: Vec<(u64, Option<&str>, Code)> =
            table.refused.iter().map(|cell| (cell.line, cell.column.as_deref(), cell.code)).collect();
        assert_eq!(
            said,
            [
                (2, Some("date"), Code::NotATime),
                (3, Some("USD"), Code::NotPositive),
                (4, Some("USD"), Code::NotPositive),
                (4, Some("JPY"), Code::NotADecimal),
                (5, None, Code::WrongCellCount),
            ]
        );
        assert_eq!(table.columns.iter().map(|column| column.points.len()).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_table_in_doubt_is_refused_whole() {
        let error = |text: &str| parse(text.as_bytes(), "EUR", &Options::default()).unwrap_err().to_string();
        assert_eq!(error("date,USD,USD\n"), "the currency USD has more than one column");
        assert_eq!(error("date,USD,EUR\n"), "the file has a column of EUR, which is the base of its rates");
        assert!(error("date\n").starts_with("no currency column among `date`"));
        assert!(error("USD,date\n").starts_with("no time column"));
        assert!(error("").starts_with("the file is empty"));
    }

    #[test]
    fn a_table_of_rates_is_told_from_prices_by_its_header() {
        for (header, is) in [
            ("date,USD,JPY", true),
            ("Date,USD,", true),
            ("date,close", false),
            ("date,USD,volume", false),
            ("USD,date", false),
            ("date", false),
        ] {
            assert_eq!(is_one(format!("{header}\n").as_bytes()), is, "{header}");
        }
    }
}
