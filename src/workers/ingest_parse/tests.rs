mod ndjson;
mod real_files;
mod times;

use super::rate_table;
use super::{BidAsk, Code, Field, Options, ParseError, Parsed, Row, Stamp, parse};
use crate::domain::decimal::Decimal;
use crate::domain::interval::Interval;

fn parsed(text: &str, options: &Options) -> Parsed {
    parse(text.as_bytes(), options).unwrap()
}

fn csv(text: &str) -> Parsed {
    parsed(text, &Options::default())
}

fn error(text: &str, options: &Options) -> String {
    parse(text.as_bytes(), options).unwrap_err().to_string()
}

fn mapped(field: Field, column: &str) -> Options {
    Options { map: [(field, column.to_owned())].into(), ..Options::default() }
}

fn sided(bid_ask: BidAsk) -> Options {
    Options { bid_ask: Some(bid_ask), ..Options::default() }
}

fn of_symbol(symbol: &str) -> Options {
    Options { symbol: Some(symbol.to_owned()), ..Options::default() }
}

/// `line time price`, then open, high, low and volume with `-` where absent.
fn shown(row: &Row) -> String {
    let optional = |value: &Option<_>| value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let Row { line, observed_at, quote } = row;
    let [open, high, low, volume] =
        [&quote.bar().open, &quote.bar().high, &quote.bar().low, &quote.bar().volume].map(optional);
    format!("{line} {observed_at} {} {open} {high} {low} {volume}", quote.price)
}

fn lines(parsed: &Parsed) -> Vec<String> {
    parsed.rows.iter().map(shown).collect()
}

fn prices(parsed: &Parsed) -> Vec<String> {
    parsed.rows.iter().map(|row| row.quote.price.to_string()).collect()
}

fn refusals(parsed: &Parsed) -> Vec<(u64, Code)> {
    parsed.refused.iter().map(|refusal| (refusal.line, refusal.code)).collect()
}

#[test]
fn a_candle_is_read_by_the_names_of_its_columns_whatever_their_case_and_order() {
    let file = csv("Volume,Close,LOW,High,Open,Date,Adj Close\n10,2.50,1,3,2,2026-01-31,9\n");
    assert_eq!(lines(&file), ["2 2026-01-31T00:00:00.000000Z 2.50 2 3 1 10"]);
    let columns: Vec<(Field, &str)> =
        file.columns.iter().map(|(field, name)| (*field, name.as_str())).collect();
    assert_eq!(
        columns,
        [
            (Field::Time, "Date"),
            (Field::Price, "Close"),
            (Field::Open, "Open"),
            (Field::High, "High"),
            (Field::Low, "LOW"),
            (Field::Volume, "Volume"),
        ]
    );
}

#[test]
fn a_byte_order_mark_crlf_blank_lines_and_a_missing_last_line_break_change_nothing() {
    let file = csv("\u{feff}ts,price\r\n2026-01-01,1\r\n\r\n2026-01-02,2\r\n2026-01-03,x");
    assert_eq!(
        lines(&file),
        ["2 2026-01-01T00:00:00.000000Z 1 - - - -", "4 2026-01-02T00:00:00.000000Z 2 - - - -"]
    );
    assert_eq!(file.refused[0].to_string(), "line 5: price `x` is not a decimal number in plain notation");
}

#[test]
fn lines_are_counted_as_an_editor_shows_them() {
    let file =
        csv("\n\"ts\",note,price\n2026-01-01,\"two\n\n\"\"lines\"\"\",1\n2026-01-02,,x\n\n\n2026-01-03,,y\n");
    assert_eq!(file.rows[0].line, 3);
    assert_eq!(refusals(&file), [(6, Code::NotADecimal), (9, Code::NotADecimal)]);
    let file = csv("ts,price\r2026-01-01,1\r\r2026-01-02,x\r");
    assert_eq!(file.rows[0].line, 2);
    assert_eq!(refusals(&file), [(4, Code::NotADecimal)]);
}

#[test]
fn a_quotation_mark_left_open_does_not_swallow_rows_unseen() {
    let file = csv("ts,price,note\n2026-01-01,1,a\n2026-01-02,2,\"b\n2026-01-03,3,c\n");
    assert_eq!(prices(&file), ["1"]);
    assert_eq!(
        file.refused[0].to_string(),
        "line 3: quotation marks are misplaced or unclosed from here to line 4"
    );
    // A second stray mark closes the cell, and the number of cells is right.
    let file = csv("ts,price,note\n2026-01-02,2,\"b\n2026-01-03,3,\"c\n2026-01-04,4,d\n");
    assert_eq!(refusals(&file), [(2, Code::MalformedQuotes)]);
    assert_eq!(prices(&file), ["4"]);
    let file = csv("ts,price,note\n2026-01-02,2,5\" pipe\n2026-01-03,\"3\",\"5\"\" pipe\"\n");
    assert_eq!(refusals(&file), [(2, Code::MalformedQuotes)]);
    assert_eq!(prices(&file), ["3"]);
    assert!(error("ts,\"price\n2026-01-02,2\n", &Options::default()).starts_with("line 1: the header"));
}

#[test]
fn the_delimiter_is_found_in_the_header_outside_quotation_marks() {
    assert_eq!(prices(&csv("ts;price\n2026-01-01;1.5\n")), ["1.5"]);
    assert_eq!(prices(&csv("ts\tprice\n2026-01-01\t1.5\n")), ["1.5"]);
    assert_eq!(prices(&csv("ts;\"a,b,c,d\";price\n2026-01-01;x;1.5\n")), ["1.5"]);
    // A decimal comma is not a decimal number here, and must not become 15.
    assert_eq!(refusals(&csv("ts;price\n2026-01-01;1,5\n")), [(2, Code::NotADecimal)]);
}

#[test]
fn an_empty_optional_cell_is_absent_and_an_empty_price_is_refused() {
    let file =
        csv("ts,open,high,low,close,volume\n2026-01-01,, ,1,2,\n2026-01-02,1,1,1,,5\n2026-01-03,1,1,1, ,5\n");
    assert_eq!(lines(&file), ["2 2026-01-01T00:00:00.000000Z 2 - - 1 -"]);
    assert_eq!(refusals(&file), [(3, Code::Missing), (4, Code::Missing)]);
    assert_eq!(file.refused[0].to_string(), "line 3: price is empty");
}

#[test]
fn what_is_not_a_number_is_refused_in_every_field() {
    for text in ["N/A", "NaN", "null", "inf", "1 000", "$5", "0x10", "--1", "１"] {
        let file = csv(&format!("ts,price,volume\n2026-01-01,{text},1\n2026-01-01,1,{text}\n"));
        assert_eq!(refusals(&file), [(2, Code::NotADecimal), (3, Code::NotADecimal)], "{text}");
        assert_eq!(file.refused[1].field, Some(Field::Volume));
    }
    assert_eq!(prices(&csv("ts,price\n2026-01-01,0\n2026-01-02,-37.63\n")), ["0", "-37.63"]);
}

#[test]
fn too_many_digits_are_refused_never_rounded() {
    let longest = "1234567890.123456789012345678";
    let file =
        csv(&format!("ts,price\n2026-01-01,{longest}\n2026-01-01,{longest}9\n2026-01-01,0.{longest}\n"));
    assert_eq!(prices(&file), [longest]);
    assert_eq!(refusals(&file), [(3, Code::TooManyDigits), (4, Code::NotADecimal)]);
    let yahoo = "273.8999938964844";
    assert_eq!(prices(&csv(&format!("ts,price\n2026-01-01,{yahoo}\n"))), [yahoo]);
}

#[test]
fn a_row_with_more_or_fewer_cells_than_the_header_is_refused() {
    let file = csv("ts,price\n2026-01-01\n2026-01-02,2,\n2026-01-03,3\n");
    assert_eq!(refusals(&file), [(2, Code::WrongCellCount), (3, Code::WrongCellCount)]);
    assert_eq!(file.refused[1].to_string(), "line 3: the row has 3 cells, the header 2");
    assert_eq!(prices(&file), ["3"]);
}

#[test]
fn a_message_shows_a_cell_short_and_without_control_characters() {
    let file = csv(&format!("ts,price\n2026-01-01,\x1b[2J{}\n", "x".repeat(500)));
    let message = file.refused[0].to_string();
    assert!(message.contains("`\\u{1b}[2Jxxx") && message.len() < 120, "{message}");
}

#[test]
fn columns_in_doubt_are_asked_for() {
    let none = Options::default();
    assert_eq!(
        error("date,price,close\n", &none),
        "columns `price`, `close` could each be the price; choose with the parameter `map=price=COLUMN`"
    );
    assert_eq!(
        error("date,time,price\n", &none),
        "columns `date`, `time` could each be the time; choose with the parameter `map=time=COLUMN`"
    );
    assert!(error("ts,price_usd,price_eur\n", &none).contains("`price_usd`, `price_eur`"));
    assert!(error("ts,Close,close\n", &none).contains("`Close`, `close`"));
    assert_eq!(
        error("a,b\n", &none),
        "no time column among `a`, `b`; name it with the parameter `map=time=COLUMN`"
    );
    assert_eq!(
        error("ts,b\n", &none),
        "no price column among `ts`, `b`; name it with the parameter `map=price=COLUMN`"
    );
    assert_eq!(prices(&csv("date,price_usd_per_troy_oz\n1833-01-01,18.930\n")), ["18.930"]);
}

#[test]
fn a_mapped_column_is_taken_and_a_missing_one_names_those_that_exist() {
    let file = "date,price,close\n2026-01-01,1,2\n";
    assert_eq!(prices(&parsed(file, &mapped(Field::Price, "CLOSE"))), ["2"]);
    assert_eq!(
        error("date,price\n", &mapped(Field::Open, "first")),
        "the parameter `map=open=first`: the file has no such column, only `date`, `price`"
    );
    // Names that differ in case only are told apart by their case.
    let file = "ts,price,v,V\n2026-01-01,1,2,3\n";
    assert_eq!(
        lines(&parsed(file, &mapped(Field::Volume, "V"))),
        ["2 2026-01-01T00:00:00.000000Z 1 - - - 3"]
    );
}

#[test]
fn files_that_are_no_text_or_empty_are_unusable() {
    assert!(matches!(parse(b"", &Options::default()), Err(ParseError::Empty)));
    assert!(matches!(parse(b"\xEF\xBB\xBF\r\n \n", &Options::default()), Err(ParseError::Empty)));
    let latin = parse(b"ts,price\n2026-01-01,1\n2026-01-02,\xA35\n", &Options::default());
    assert_eq!(latin.unwrap_err().to_string(), "line 3 is not UTF-8 text");
    let bare = csv("ts,price\n");
    assert!(bare.rows.is_empty() && bare.refused.is_empty());
}

const SIDES: &str = "ts,bid_open,bid_high,bid_low,bid_close,ask_open,ask_high,ask_low,ask_close,volume\n";

#[test]
fn the_mid_of_bid_and_ask_is_exact() {
    let file = format!("{SIDES}2026-01-01,1.319,1.4,1.2,1.31,1.320,1.5,,1.33,7\n");
    let ten = |row: &str| format!("2 2026-01-01T00:00:00.000000Z {row}");
    assert_eq!(lines(&parsed(&file, &sided(BidAsk::Mid))), [ten("1.32 1.3195 1.45 - 7")]);
    assert_eq!(lines(&parsed(&file, &sided(BidAsk::Bid))), [ten("1.31 1.319 1.4 1.2 7")]);
    assert_eq!(lines(&parsed(&file, &sided(BidAsk::Ask))), [ten("1.33 1.320 1.5 - 7")]);
    let file =
        "ts,bid,ask\n2026-01-01,9999999999.12345678901234567,9999999999.12345678901234568\n2026-01-01,-1,0\n";
    assert_eq!(prices(&parsed(file, &sided(BidAsk::Mid))), ["9999999999.123456789012345675", "-0.5"]);
}

#[test]
fn a_mid_with_one_digit_too_many_is_refused_and_a_missing_side_is_no_price() {
    let file =
        "ts,bid,ask\n2026-01-01,0.000000000000000001,0.000000000000000002\n2026-01-02,1,\n2026-01-03,N/A,1\n";
    let file = parsed(file, &sided(BidAsk::Mid));
    assert_eq!(refusals(&file), [(2, Code::TooManyDigits), (3, Code::Missing), (4, Code::NotADecimal)]);
}

#[test]
fn a_file_of_bid_and_ask_needs_to_be_told_which() {
    assert!(
        error(SIDES, &Options::default()).contains("choose mid, bid or ask with the parameter `bid_ask`")
    );
    assert!(
        error("ts,bid,price_x\n", &sided(BidAsk::Mid))
            .starts_with("the parameter `bid_ask`: no ask price column")
    );
    assert!(
        error("ts,price\n", &sided(BidAsk::Ask)).starts_with("the parameter `bid_ask`: no ask price column")
    );
    assert_eq!(
        error("ts,bid,bid_close\n", &sided(BidAsk::Bid)),
        "columns `bid`, `bid_close` could each be the bid price; remove or rename all but one"
    );
    let both = Options { bid_ask: Some(BidAsk::Mid), ..mapped(Field::Price, "bid_close") };
    assert!(error(SIDES, &both).contains("the parameter `map=price=COLUMN` cannot"));
    // A price column is taken before bids and asks, unless these are asked for.
    assert_eq!(prices(&csv("ts,bid,ask,close\n2026-01-01,1,3,5\n")), ["5"]);
    assert_eq!(prices(&parsed("ts,bid,ask,close\n2026-01-01,1,3,5\n", &sided(BidAsk::Mid))), ["2"]);
}

const SYMBOLS: &str =
    "date,Ticker,close\n2026-01-01,AAPL,1\n2026-01-01,msft,x\n2026-01-02,aapl,y\n2026-01-03,,3\n";

#[test]
fn only_the_rows_of_the_wanted_symbol_are_taken() {
    let file = parsed(SYMBOLS, &of_symbol("aapl"));
    assert_eq!(prices(&file), ["1"]);
    assert_eq!(refusals(&file), [(4, Code::NotADecimal), (5, Code::Missing)]);
    assert_eq!(file.other_symbols, 1);
    assert_eq!(error(SYMBOLS, &of_symbol("IBM")), "no row is of symbol `IBM`; the file has `AAPL`, `msft`");
    assert_eq!(prices(&parsed("ts,price\n2026-01-01,1\n", &of_symbol("IBM"))), ["1"]);
}

#[test]
fn two_symbols_do_not_become_one_price_series() {
    let none = Options::default();
    assert_eq!(error(SYMBOLS, &none), "the file has rows of several symbols (`AAPL`, `msft`); choose one");
    assert_eq!(prices(&csv("ts,symbol,price\n2026-01-01,A,1\n2026-01-02,a,2\n")), ["1", "2"]);
    let chain = "ts,contract_expiry,price\n2026-01-01,201310,1\n2026-01-01,201311,2\n";
    let options = Options { symbol: Some("201311".to_owned()), ..mapped(Field::Symbol, "contract_expiry") };
    assert_eq!(prices(&parsed(chain, &options)), ["2"]);
}

#[test]
fn rows_with_the_same_time_are_all_kept_in_their_order() {
    assert_eq!(prices(&csv("ts,price\n2026-01-02,2\n2026-01-01,1\n2026-01-02,3\n")), ["2", "1", "3"]);
}

#[test]
fn the_end_of_a_candle_needs_its_length() {
    let mut options = Options { stamp: Some(Stamp::End), ..Options::default() };
    let file = "ts,price\n2026-01-31,1\n";
    assert_eq!(
        error(file, &options),
        "the parameter `stamp=end` needs the length of the candles: add the parameter `interval`"
    );
    options.interval = Some(Interval::Month);
    assert_eq!(lines(&parsed(file, &options)), ["2 2026-02-28T00:00:00.000000Z 1 - - - -"]);
    options.stamp = Some(Stamp::Start);
    assert_eq!(lines(&parsed(file, &options)), ["2 2026-01-31T00:00:00.000000Z 1 - - - -"]);
}

#[test]
fn a_file_is_read_or_refused_however_odd_it_is() {
    let files = [
        "time,open,high,low,close,volume\n2024-01-01T00:00:00Z,1,2,0.5,1.5,10\n2024-01-02,1,2,1,2,\n",
        "Date;Close\n31.12.2024;1.234,5\n01.01.2025;\"7,5\"\n",
        "timestamp\tbid_close\task_close\tsymbol\n1704067200\t1.5\t1.7\tGOLD\n1704067200000\t1\t2\tGOLD\n",
        "{\"symbol\":\"GOLD\",\"timestamp\":\"2024-01-01T00:00:00Z\",\"price\":\"2050.10\"}\n{\"t\":1704067200,\"close\":1e3}\n",
    ];
    let zone = Some(chrono_tz::America::New_York);
    let options = [
        Options::default(),
        Options {
            time_zone: zone,
            stamp: Some(Stamp::End),
            interval: Some(Interval::Day),
            ..Options::default()
        },
        sided(BidAsk::Mid),
        mapped(Field::Price, "close"),
    ];
    crate::domain::hammer::hammer(&files, |file| {
        let lines = file.split(|byte| matches!(byte, b'\n' | b'\r')).count();
        for options in &options {
            let Ok(parsed) = parse(file, options) else { continue };
            for row in &parsed.rows {
                let price = &row.quote.price;
                assert_eq!(Decimal::parse_input(&price.to_string()).as_ref(), Ok(price));
            }
            let mut told =
                parsed.rows.iter().map(|row| row.line).chain(parsed.refused.iter().map(|row| row.line));
            assert!(
                told.all(|line| (1..=lines).contains(&usize::try_from(line).unwrap())),
                "of {lines} lines"
            );
        }
    });
}

#[test]
fn a_table_of_rates_is_read_or_refused_however_odd_it_is() {
    let files = ["Date,USD,JPY,GBP,\n2024-01-02,1.0956,155.86,0.86645,\n2024-01-03,N/A,1,2,\n"];
    crate::domain::hammer::hammer(&files, |file| {
        if rate_table::is_one(file)
            && let Ok(table) = rate_table::parse(file, "EUR", &Options::default())
        {
            let points = table.columns.iter().flat_map(|column| &column.points);
            assert!(points.into_iter().all(|(_, _, rate)| *rate > Decimal::ZERO));
        }
    });
}
