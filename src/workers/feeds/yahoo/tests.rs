//! Answers as Yahoo gives them.

use super::*;

fn body(hint: &str) -> String {
    format!(
        r#"{{"chart":{{"result":[{{"meta":{{"currency":"USD","symbol":"BTC-USD","exchangeTimezoneName":"UTC","gmtoffset":0,{hint}"regularMarketPrice":1}},"timestamp":[1410912000,1410998400,1411084800],"indicators":{{"quote":[{{"open":[465.864013671875,null,424.1029968261719],"high":[468.17401123046875,null,427.8349914550781],"low":[452.4219970703125,null,384.5320129394531],"close":[457.3340148925781,null,394.7959899902344],"volume":[21056800,null,37919700]}}],"adjclose":[{{"adjclose":[1,null,2]}}]}}}}],"error":null}}}}"#
    )
}

#[test]
fn widened_floats_are_rounded_to_the_decimals_the_answer_names() {
    let (candles, without) = chart(body("\"priceHint\":2,").as_bytes()).unwrap();
    assert_eq!((candles.len(), without), (2, 1));
    let quote = &candles[0].quote;
    let parts = [
        Some(&quote.price),
        quote.bar().open.as_ref(),
        quote.bar().high.as_ref(),
        quote.bar().low.as_ref(),
        quote.bar().volume.as_ref(),
    ];
    assert_eq!(
        parts.map(|part| part.unwrap().to_string()),
        ["457.33", "465.86", "468.17", "452.42", "21056800"]
    );
    let (candles, _) = chart(body("\"priceHint\":4,").as_bytes()).unwrap();
    assert_eq!(candles[1].quote.price.to_string(), "394.7960");
    let (candles, _) = chart(body("").as_bytes()).unwrap();
    assert_eq!(candles[1].quote.price.to_string(), "394.80");
}

#[test]
fn an_error_that_comes_with_status_200_is_an_error() {
    let body = br#"{"chart":{"result":null,"error":{"code":"Not Found","description":"No data found, symbol may be delisted"}}}"#;
    assert!(chart(body).unwrap_err().to_string().contains("No data found"));
}
