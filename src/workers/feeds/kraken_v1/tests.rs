//! Frames of version 1, as they were recorded and documented.

use super::*;
use crate::domain::moment::Moment;
use crate::workers::feeds::definition::{Kind, Pair};
use crate::workers::feeds::kinds;

fn feed(channel: Channel) -> Definition {
    let pair = Pair { symbol: "XMR-USD".to_owned(), venue: "XMR/USD".to_owned() };
    Definition { channel, ..kinds::usual("k", Kind::KrakenV1, vec![pair], None) }
}

#[test]
fn one_frame_may_hold_several_trades() {
    let text = r#"[993,[["354.04000000","0.28245396","1618678150.826417","s","m",""],["353.81000000","1.71754604","1618678150.827816","s","m",""]],"trade","XMR/USD"]"#;
    let events = read(text, &feed(Channel::Trades)).unwrap();
    let [Event::Trade(pair, first), Event::Trade(_, second)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!((pair.as_str(), first.number, first.at), ("XMR/USD", None, Moment(1_618_678_150_826_417)));
    assert_eq!(
        (first.price.to_string(), second.price.to_string()),
        ("354.04000000".into(), "353.81000000".into())
    );
    assert_eq!(read(text, &feed(Channel::Ticker)).unwrap(), [Event::Alive]);
}

#[test]
fn a_ticker_tells_the_last_trade_and_no_time() {
    let text = r#"[996,{"a":["355.24000000",27,"27.19106411"],"b":["354.32000000",6,"6.87748868"],"c":["355.23000000","1.20454360"],"v":["1","2"],"p":["1","2"],"t":[1,2],"l":["1","2"],"h":["1","2"],"o":["1","2"]},"ticker","XMR/USD"]"#;
    let events = read(text, &feed(Channel::Ticker)).unwrap();
    let [Event::Last(pair, price, size)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(
        (pair.as_str(), price.to_string(), size.to_string()),
        ("XMR/USD", "355.23000000".into(), "1.20454360".into())
    );
}

#[test]
fn events_are_objects() {
    let feed = feed(Channel::Trades);
    for (text, wanted) in [
        (r#"{"event":"heartbeat"}"#, Event::Alive),
        (
            r#"{"connectionID":14545728493745856413,"event":"systemStatus","status":"online","version":"1.8.3"}"#,
            Event::Alive,
        ),
        (
            r#"{"channelID":996,"channelName":"trade","event":"subscriptionStatus","pair":"XMR/USD","status":"subscribed","subscription":{"name":"trade"}}"#,
            Event::Subscribed,
        ),
        (
            r#"{"errorMessage":"Currency pair not supported","event":"subscriptionStatus","status":"error"}"#,
            Event::Refused("Currency pair not supported".to_owned()),
        ),
    ] {
        assert_eq!(read(text, &feed).unwrap(), [wanted], "{text}");
    }
    assert!(read("[1,[[\"1\"]],\"trade\",\"XMR/USD\"]", &feed).is_err());
}
