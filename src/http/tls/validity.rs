//! When a certificate ends, read from its DER (RFC 5280, 4.1). Nothing is judged: that is done by whoever connects.

use crate::domain::moment::Moment;
use chrono::NaiveDateTime;

const SEQUENCE: u8 = 0x30;
/// The version stands before the serial number, unless it is the first.
const VERSION: u8 = 0xa0;
/// A year of two digits: from 50 on of the last century.
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A value: its tag, what is in it, and what comes after it.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

fn value(bytes: &[u8]) -> Option<Value<'_>> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(*first & 0x7f))?;
        let is_short = (1..=4).contains(&digits.len());
        let length = digits.iter().fold(0, |length: usize, digit| (length << 8) | usize::from(*digit));
        (is_short.then_some(length)?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Value { tag: *tag, content, rest })
}

fn sequence(bytes: &[u8]) -> Option<&[u8]> {
    value(bytes).filter(|found| found.tag == SEQUENCE).map(|found| found.content)
}

fn moment(time: &Value<'_>) -> Option<Moment> {
    let digits = std::str::from_utf8(time.content).ok()?;
    let whole = match time.tag {
        UTC_TIME => format!("{}{digits}", if digits < "5" { "20" } else { "19" }),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    let at = NaiveDateTime::parse_from_str(&whole, "%Y%m%d%H%M%SZ").ok()?;
    Some(Moment(at.and_utc().timestamp_micros()))
}

/// When a certificate ends; `None` for what is none.
pub(super) fn end(certificate: &[u8]) -> Option<Moment> {
    let mut rest = sequence(sequence(certificate)?)?;
    if let Some(version) = value(rest).filter(|found| found.tag == VERSION) {
        rest = version.rest;
    }
    for _ in ["serial number", "signature", "issuer"] {
        rest = value(rest)?.rest;
    }
    let begin = value(sequence(rest)?)?;
    moment(&value(begin.rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    // `openssl req -x509 -newkey ec -days 3650` and `-days 20000`; when they end is what `openssl x509 -enddate` says.
    const TWO_DIGITS: &str = "MIIBbjCCAROgAwIBAgIUa1HeUs51KFw6oX1hEsuoPpbqlAYwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBdDAeFw0yNjExMjkyMzM3MjJaFw0zNjExMjYyMzM3MjJaMAwxCjAIBgNVBAMMAXQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQv7bLmV+T7xDN5ULAJrQKjyeUEXeJgKKSa9nlGiWkyn+RXHo0roimKYarXNL9u6KZgjpGNH0LDchkR09Ci0mDvo1MwUTAdBgNVHQ4EFgQUO28B/bfj3CjArg2xTKP60Qqsp/swHwYDVR0jBBgwFoAUO28B/bfj3CjArg2xTKP60Qqsp/swDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA8vlM1y5rBV5qwNSdjLHZ5H99SUJXJgLbMDOctw3aVjQCIQDKERRrzCiPh2G5pX3mSyJKaOUOaUUk78xuaED0vIcRyQ==";
    const FOUR_DIGITS: &str = "MIIBbzCCARWgAwIBAgIUYiwuK4j3y1exLGiNwLb8Qc1RzdQwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBdDAgFw0yNjExMjkyMzM3MjJaGA8yMDgxMDkwMTIzMzcyMlowDDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNEtECiGSssBD2/hZGvgaAbt4+mGZiCnNYIQi2JQegeWocv9AY9KM37oQmCmq1X3o0V18DBEHY0dLKXrMn+TiWGjUzBRMB0GA1UdDgQWBBSMdYTiEhP18m5YCYBgHNRlZYbwVDAfBgNVHSMEGDAWgBSMdYTiEhP18m5YCYBgHNRlZYbwVDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIEvNcsZevsF13rgUASZsmpYyGy6lbHk0wljc3xfKWFtbAiEAgLDInvYyG1xZ7bHLUR0eq6o9w2s+Tc8sZA9oSCLRSBs=";

    #[test]
    fn the_end_of_a_certificate_is_what_openssl_says() {
        for (certificate, wanted) in
            [(TWO_DIGITS, "2036-11-26T23:37:22Z"), (FOUR_DIGITS, "2081-09-01T23:37:22Z")]
        {
            let bytes = STANDARD.decode(certificate).unwrap();
            assert_eq!(end(&bytes), Some(Moment::parse(wanted).unwrap()));
        }
    }

    #[test]
    fn what_is_cut_off_has_no_end_and_does_no_harm() {
        let bytes = STANDARD.decode(TWO_DIGITS).unwrap();
        for length in 0..bytes.len() {
            assert_eq!(end(&bytes[..length]), None, "{length}");
        }
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0xff;
            // Whatever it says then, it says something.
            let _end: Option<Moment> = end(&changed);
        }
    }
}
