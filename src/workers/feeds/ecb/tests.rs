//! Files as the bank publishes them.

use super::*;

const FILE: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<gesmes:Envelope xmlns:gesmes=\"http://www.gesmes.org/xml/2002-08-01\" xmlns=\"http://www.ecb.int/vocabulary/2002-08-01/eurofxref\">
	<gesmes:subject>Reference rates</gesmes:subject>
	<Cube>
		<Cube time='2026-10-30'>
			<Cube currency='USD' rate='1.1172'/>
			<Cube currency='JPY' rate='163.40'/>
		</Cube>
		<Cube time=\"2026-10-29\"><Cube currency=\"USD\" rate=\"1.1150\"/></Cube>
	</Cube>
</gesmes:Envelope>";

#[test]
fn rates_are_dated_at_the_beginning_of_their_day() {
    let found = rates(FILE.as_bytes()).unwrap();
    let shown: Vec<String> = found
        .iter()
        .flat_map(|(code, points)| points.iter().map(move |(at, rate)| format!("{at} {code} {rate}")))
        .collect();
    let wanted = [
        "2026-10-30T00:00:00.000000Z JPY 163.40",
        "2026-10-30T00:00:00.000000Z USD 1.1172",
        "2026-10-29T00:00:00.000000Z USD 1.1150",
    ];
    assert_eq!(shown, wanted);
}

#[test]
fn what_is_no_such_file_is_refused() {
    for text in ["", "<html>maintenance</html>", "<Cube currency='USD' rate='1'/>"] {
        assert!(rates(text.as_bytes()).is_err(), "{text}");
    }
    for (from, to) in [("1.1172", "0"), ("1.1172", "-1"), ("1.1172", "N/A"), ("2026-10-30", "2026-02-30")] {
        assert!(rates(FILE.replace(from, to).as_bytes()).is_err(), "{to}");
    }
}
