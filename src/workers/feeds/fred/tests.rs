//! Answers as FRED documents them.

use super::*;

#[test]
fn a_point_stands_for_a_missing_value_and_is_left_out() {
    let body = br#"{"count":3,"offset":0,"limit":100000,"observations":[{"realtime_start":"2026-01-01","realtime_end":"2026-01-01","date":"2024-01-02","value":"3.95"},{"realtime_start":"2026-01-01","realtime_end":"2026-01-01","date":"2024-01-03","value":"."},{"realtime_start":"2026-01-01","realtime_end":"2026-01-01","date":"2024-01-04","value":"-0.10"}]}"#;
    let page = observations(body).unwrap();
    let shown: Vec<(String, String)> =
        page.points.iter().map(|(at, value)| (at.to_string(), value.to_string())).collect();
    let wanted = [("2024-01-02T00:00:00.000000Z", "3.95"), ("2024-01-04T00:00:00.000000Z", "-0.10")];
    assert_eq!(shown, wanted.map(|(at, value)| (at.to_owned(), value.to_owned())));
    assert_eq!(page.missing, 1);
}

#[test]
fn an_error_or_another_value_is_refused() {
    let said =
        observations(br#"{"error_code":400,"error_message":"Bad Request.  The series does not exist."}"#);
    assert!(said.unwrap_err().to_string().contains("The series does not exist"));
    for value in ["\"NaN\"", "null", "\"\"", "\"3,95\""] {
        let body = format!(r#"{{"observations":[{{"date":"2024-01-02","value":{value}}}]}}"#);
        assert!(observations(body.as_bytes()).is_err(), "{value}");
    }
    assert!(observations(br#"{"observations":[{"date":"2024-02-30","value":"1"}]}"#).is_err());
}
