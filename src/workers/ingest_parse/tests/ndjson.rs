use super::{BidAsk, Code, Field, Options, error, lines, mapped, of_symbol, parsed, prices, refusals, sided};
use crate::workers::ingest_parse::{Format, Parsed};

fn ndjson(text: &str) -> Parsed {
    parsed(text, &Options { format: Some(Format::Ndjson), ..Options::default() })
}

#[test]
fn objects_are_read_under_every_spelling_and_other_keys_are_ignored() {
    let file = ndjson(concat!(
        r#"{"timestamp":"2026-01-31T09:30:00Z","price":"2050.10","open":2049,"high":null,"extra":{"price":1}}"#,
        "\r\n\n  \n",
        r#"{"Date": "2026-02-01", "Close": 2050.10, "LOW": "1", "volume": 1.5e3}"#,
        "\n",
    ));
    assert_eq!(
        lines(&file),
        [
            "1 2026-01-31T09:30:00.000000Z 2050.10 2049 - - -",
            "4 2026-02-01T00:00:00.000000Z 2050.10 - - 1 1500"
        ]
    );
    assert!(file.columns.contains(&(Field::Price, "Close".to_owned())));
    assert!(file.columns.contains(&(Field::Price, "price".to_owned())));
}

#[test]
fn a_first_brace_tells_the_format() {
    let file = parsed("\u{feff}\n{\"ts\":\"2026-01-31\",\"price\":1}", &Options::default());
    assert_eq!((file.format, file.rows[0].line), (Format::Ndjson, 2));
    assert_eq!(parsed("ts,price\n", &Options::default()).format, Format::Csv);
}

#[test]
fn a_number_is_read_from_its_digits_never_through_a_float() {
    let digits = "1234567890.123456789012345678";
    let row = |price: &str| format!("{{\"ts\":\"2026-01-31\",\"price\":{price}}}\n");
    assert_eq!(prices(&ndjson(&row(digits))), [digits]);
    assert_eq!(prices(&ndjson(&row("9007199254740993"))), ["9007199254740993"]);
    assert_eq!(prices(&ndjson(&row("-0.10"))), ["-0.10"]);
    assert_eq!(refusals(&ndjson(&row(&format!("{digits}1")))), [(1, Code::TooManyDigits)]);
    assert_eq!(refusals(&ndjson(&row("1e400"))), [(1, Code::TooManyDigits)]);
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    let text = r#"{"ts":"2026-01-31","price":true}
{"ts":"2026-01-31","price":["1"]}
{"ts":"2026-01-31","price":1,"volume":{}}
{"ts":null,"price":1}
{"price":1}
{"ts":"2026-01-31"}
{"ts":"2026-01-31","price":null}
{"ts":"2026-01-31","price":""}
{"ts":"2026-01-31","price":"N/A"}
{"ts":"2026-01-31","price":"\ud800"}
{"ts":"2026-01-31","price":1,"symbol":5}
{"ts":true,"price":1}"#;
    let codes = [
        Code::WrongType,
        Code::WrongType,
        Code::WrongType,
        Code::Missing,
        Code::Missing,
        Code::Missing,
        Code::Missing,
        Code::NotADecimal,
        Code::NotADecimal,
        Code::WrongType,
        Code::WrongType,
        Code::WrongType,
    ];
    let expected: Vec<(u64, Code)> = (1..).zip(codes).collect();
    assert_eq!(refusals(&ndjson(text)), expected);
}

#[test]
fn lines_that_are_not_one_object_are_refused() {
    let good = r#"{"ts":"2026-01-31","price":1}"#;
    let file = ndjson(&format!("{good}\n[1]\n{{\"ts\":\n{good}{good}\nNaN\n{{\"price\":NaN}}\n{good}"));
    assert_eq!(file.rows.len(), 2);
    assert_eq!(refusals(&file), [2, 3, 4, 5, 6].map(|line| (line, Code::InvalidJson)));
}

#[test]
fn a_line_above_64_kib_is_refused_and_the_next_one_read() {
    let long =
        |length: usize| format!("{{\"ts\":\"2026-01-31\",\"price\":1,\"note\":\"{}\"}}", "x".repeat(length));
    let frame = long(0).len();
    let file = ndjson(&format!("{}\n{}\n{}\n", long(65_536 - frame), long(65_537 - frame), long(1)));
    assert_eq!(refusals(&file), [(2, Code::LineTooLong)]);
    assert_eq!(file.rows.len(), 2);
}

#[test]
fn two_keys_for_one_field_are_refused_unless_one_is_mapped() {
    let text =
        "{\"ts\":\"2026-01-31\",\"price\":1,\"close\":2}\n{\"ts\":\"2026-01-31\",\"price\":1,\"price\":2}\n";
    let file = ndjson(text);
    assert_eq!(refusals(&file), [(1, Code::AmbiguousField), (2, Code::AmbiguousField)]);
    assert_eq!(file.refused[0].to_string(), "line 1: price is given more than once: `price`, `close`");
    let file = parsed(text, &mapped(Field::Price, "close"));
    assert_eq!(prices(&file), ["2"]);
    assert_eq!(refusals(&file), [(2, Code::Missing)]);
    let kline = r#"{"t":1769851800000,"T":1769851859999,"c":"1.5"}"#;
    let map = [(Field::Time, "t".to_owned()), (Field::Price, "c".to_owned())].into();
    let file = parsed(kline, &Options { map, ..Options::default() });
    assert_eq!(lines(&file), ["1 2026-01-31T09:30:00.000000Z 1.5 - - - -"]);
}

#[test]
fn unix_times_may_be_numbers_or_strings_but_not_fractions() {
    let file = ndjson(concat!(
        "{\"time\":1769851800,\"price\":1}\n",
        "{\"time\":\"1769851800\",\"price\":1}\n",
        "{\"time\":1769851800.5,\"price\":1}\n",
        "{\"time\":1.7e9,\"price\":1}\n",
        "{\"date\":1769851800,\"price\":1}\n",
    ));
    assert_eq!(refusals(&file), [3, 4, 5].map(|line| (line, Code::NotATime)));
    assert_eq!(file.rows[0].observed_at, file.rows[1].observed_at);
}

#[test]
fn symbols_and_sides_follow_the_rules_of_csv() {
    let text = concat!(
        "{\"ticker\":\"AAPL\",\"ts\":\"2026-01-31\",\"price\":1}\n",
        "{\"ticker\":\"MSFT\",\"ts\":\"2026-01-31\",\"price\":2}\n",
        "{\"ts\":\"2026-01-31\",\"price\":3}\n",
    );
    let file = parsed(text, &of_symbol("msft"));
    assert_eq!((prices(&file), file.other_symbols), (vec!["2".to_owned(), "3".to_owned()], 1));
    assert!(error(text, &of_symbol("IBM")).contains("the file has `AAPL`, `MSFT`"));
    assert!(error(text, &Options::default()).contains("several symbols"));
    assert!(error(text, &sided(BidAsk::Mid)).starts_with("the parameter `bid_ask` is for CSV files"));
}
