//! Exchange rates.

use super::raw::Raw;
use super::samples::{add_source, c, d, m, read, shown};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::fx::Rates;
use artifact::domain::ids::SourceKey;
use artifact::domain::moment::Moment;
use artifact::domain::price::Outcome;
use artifact::storage::rates::{self, RatePoint, RateRange};

fn point(pair: &str, observed_at: Moment, rate: &str) -> RatePoint {
    let (base, quote) = pair.split_once('/').unwrap();
    RatePoint {
        base: c(base),
        quote: c(quote),
        observed_at,
        source: String::new(),
        recorded_at: Moment(0),
        rate: d(rate),
    }
}

/// Records a rate; tells what became of it, and when.
async fn record(db: &TestDb, source: SourceKey, pair: &str, at: Moment, rate: &str) -> (Outcome, Moment) {
    let point = point(pair, at, rate);
    db.write(move |tx| {
        Box::pin(async move { Ok((rates::record(tx, source, &point).await?, tx.recorded_at()?)) })
    })
    .await
}

fn range(pair: &str) -> RateRange {
    let (base, quote) = pair.split_once('/').unwrap();
    RateRange {
        base: c(base),
        quote: c(quote),
        from: Moment::MIN,
        until: Moment::MAX,
        known_at: Moment::MAX,
        limit: 100,
    }
}

async fn history(db: &TestDb, range: RateRange) -> Vec<String> {
    let points = rates::history(&mut read(db).await, range).await.unwrap();
    points.iter().map(|point| format!("{} {} {}", point.observed_at.0, point.source, point.rate)).collect()
}

fn eur_usd(rates: &Rates, at: Moment) -> Option<String> {
    rates.convert(&d("1"), c("EUR"), c("USD"), at).map(|amount| amount.to_string())
}

on_both! {
    async fn a_rate_is_stored_known_again_or_corrected(backend) {
        use Outcome::{Corrected, Duplicate, Stored};
        let db = TestDb::open(backend).await;
        let (ecb, oanda) = (add_source(&db, "ecb").await, add_source(&db, "oanda").await);
        let at = m("1833-01-01T00:00:00Z");
        let mut stamps = Vec::new();
        for (rate, outcome) in
            [("1.10", Stored), ("1.1", Duplicate), ("1.2", Corrected), ("1.10", Corrected), ("1.100", Duplicate)]
        {
            let (became, stamp) = record(&db, ecb, "EUR/USD", at, rate).await;
            assert_eq!(became, outcome, "{rate}");
            stamps.push(stamp);
        }
        // Another source, pair or moment is another point, and so is the pair the other way round.
        assert_eq!(record(&db, oanda, "EUR/USD", at, "1.10").await.0, Stored);
        assert_eq!(record(&db, ecb, "USD/EUR", at, "1.10").await.0, Stored);
        assert_eq!(record(&db, ecb, "EUR/USD", at.plus(1), "1.10").await.0, Stored);
        let seen = async |known_at| history(&db, RateRange { known_at, until: at.plus(1), ..range("EUR/USD") }).await;
        let row = |source: &str, rate: &str| format!("{} {source} {rate}", at.0);
        assert_eq!(seen(stamps[0].plus(-1)).await, [""; 0]);
        assert_eq!(seen(stamps[1]).await, [row("ecb", "1.10")]);
        assert_eq!(seen(stamps[2]).await, [row("ecb", "1.2")]);
        assert_eq!(seen(stamps[4]).await, [row("ecb", "1.10")]);
        assert_eq!(seen(Moment::MAX).await, [row("ecb", "1.10"), row("oanda", "1.10")]);
    }

    async fn a_rate_keeps_every_digit(backend) {
        let db = TestDb::open(backend).await;
        let ecb = add_source(&db, "ecb").await;
        for rate in ["0.000000000000000001", "9999999999999999999999999999", "1234567890.123456789012345678", "1.0"] {
            let (_, stamp) = record(&db, ecb, "EUR/USD", Moment(0), rate).await;
            let points = rates::history(&mut read(&db).await, range("EUR/USD")).await.unwrap();
            let wanted = RatePoint { source: "ecb".to_owned(), recorded_at: stamp, ..point("EUR/USD", Moment(0), rate) };
            assert_eq!(shown(&points), shown(&vec![wanted]));
        }
    }

    async fn the_history_of_a_pair_is_in_order_of_time_and_ends_before_until(backend) {
        let db = TestDb::open(backend).await;
        let ecb = add_source(&db, "ecb").await;
        for (at, rate) in [(30, "3"), (-10, "1"), (20, "2"), (40, "4")] {
            record(&db, ecb, "EUR/USD", Moment(at), rate).await;
        }
        record(&db, ecb, "EUR/CHF", Moment(20), "9").await;
        let all = ["-10 ecb 1", "20 ecb 2", "30 ecb 3", "40 ecb 4"];
        assert_eq!(history(&db, range("EUR/USD")).await, all);
        let part = RateRange { from: Moment(-10), until: Moment(40), ..range("EUR/USD") };
        assert_eq!(history(&db, part).await, all[..3]);
        assert_eq!(history(&db, RateRange { from: Moment(-9), limit: 1, ..part }).await, all[1..2]);
        assert_eq!(history(&db, range("USD/EUR")).await, [""; 0]);
    }

    async fn the_newest_rates_convert_as_all_of_them_do_at_every_moment(backend) {
        let db = TestDb::open(backend).await;
        let (ecb, oanda) = (add_source(&db, "ecb").await, add_source(&db, "oanda").await);
        let mut stamps = vec![db.clock.now().plus(-1)];
        for (source, pair, at, rate) in [
            (ecb, "EUR/USD", 20, "1.20"),
            (ecb, "EUR/USD", 10, "1.10"),
            (oanda, "EUR/USD", 20, "1.21"),
            (ecb, "USD/EUR", 15, "0.5"),
            (ecb, "EUR/USD", 20, "1.22"),
            (oanda, "EUR/USD", 5, "1.05"),
            (ecb, "GBP/USD", 12, "1.5"),
            (ecb, "GBP/CHF", 14, "1.1"),
            (ecb, "EUR/USD", 10, "1.11"),
        ] {
            stamps.push(record(&db, source, pair, Moment(at), rate).await.1);
        }
        stamps.push(Moment::MAX);
        let pairs = [("EUR", "USD"), ("USD", "EUR"), ("CHF", "USD"), ("EUR", "CHF"), ("GBp", "EUR")];
        for known_at in &stamps {
            for moment in (4..=21).map(Moment) {
                let tx = &mut read(&db).await;
                let newest = rates::newest(tx, moment, *known_at).await.unwrap();
                let all = rates::all(tx, moment, *known_at).await.unwrap();
                let some = ["EUR", "USD", "CHF", "GBP"].into_iter().map(c).collect();
                let between = rates::between(tx, &some, moment, *known_at).await.unwrap();
                for (from, to) in pairs {
                    let convert = |rates: &Rates| rates.convert(&d("1000"), c(from), c(to), moment);
                    assert_eq!(convert(&newest), convert(&all), "{from} to {to} at {moment:?}, {known_at:?}");
                    assert_eq!(convert(&between), convert(&all), "{from} to {to} at {moment:?}, {known_at:?}");
                }
            }
        }
        // Of two sources of one moment the later recorded counts, and a correction is a later record.
        let read_at = async |moment: i64, known_at: usize| {
            let rates = rates::all(&mut read(&db).await, Moment(moment), stamps[known_at]).await.unwrap();
            eur_usd(&rates, Moment(moment))
        };
        assert_eq!(read_at(20, 1).await.unwrap(), "1.20");
        assert_eq!(read_at(20, 3).await.unwrap(), "1.21");
        assert_eq!(read_at(20, 5).await.unwrap(), "1.22");
        assert_eq!(read_at(9, 5).await, None);
        assert_eq!(read_at(9, 6).await.unwrap(), "1.05");
        assert_eq!(read_at(10, 8).await.unwrap(), "1.10");
        assert_eq!(read_at(10, 9).await.unwrap(), "1.11");
        assert_eq!(read_at(20, 0).await, None);
    }

    async fn a_withdrawn_rate_gives_way_to_the_one_before_it(backend) {
        let db = TestDb::open(backend).await;
        let ecb = add_source(&db, "ecb").await;
        record(&db, ecb, "EUR/USD", Moment(10), "1").await;
        let (_, stamp) = record(&db, ecb, "EUR/USD", Moment(20), "2").await;
        let (at, seq) = db.write(|tx| Box::pin(async { Ok((tx.recorded_at()?, tx.next_seq()?)) })).await;
        let mut raw = Raw::open(&db.location).await;
        raw.run(&format!(
            "INSERT INTO rates (base, quote, observed_at, source_key, seq, recorded_at, withdrawn, rate) \
             VALUES ('EUR', 'USD', 20, {}, {seq}, {}, TRUE, '2')",
            ecb.0, at.0
        ))
        .await;
        let now = async |known_at| {
            let tx = &mut read(&db).await;
            let newest = eur_usd(&rates::newest(tx, Moment(20), known_at).await.unwrap(), Moment(20));
            let all = eur_usd(&rates::all(tx, Moment(20), known_at).await.unwrap(), Moment(20));
            assert_eq!(newest, all);
            let pair = [c("EUR"), c("USD")].into_iter().collect();
            let between = rates::between(tx, &pair, Moment(20), known_at).await.unwrap();
            assert_eq!(eur_usd(&between, Moment(20)), all);
            all.unwrap()
        };
        assert_eq!((now(stamp).await, now(Moment::MAX).await), ("2".to_owned(), "1".to_owned()));
        assert_eq!(history(&db, range("EUR/USD")).await, ["10 ecb 1"]);
        // The same rate again is a correction of the withdrawal, not a duplicate of what was withdrawn.
        assert_eq!(record(&db, ecb, "EUR/USD", Moment(20), "2").await.0, Outcome::Corrected);
        assert_eq!(now(Moment::MAX).await, "2");
    }

    async fn all_rates_end_with_their_last_moment(backend) {
        let db = TestDb::open(backend).await;
        let ecb = add_source(&db, "ecb").await;
        record(&db, ecb, "EUR/USD", Moment(10), "1").await;
        record(&db, ecb, "EUR/USD", Moment(20), "2").await;
        let all = rates::all(&mut read(&db).await, Moment(20), Moment::MAX).await.unwrap();
        assert_eq!(eur_usd(&all, Moment(99)).unwrap(), "2");
        let earlier = rates::all(&mut read(&db).await, Moment(19), Moment::MAX).await.unwrap();
        assert_eq!(eur_usd(&earlier, Moment(99)).unwrap(), "1");
    }

    async fn many_rates_are_recorded_as_one_by_one(backend) {
        use Outcome::{Corrected, Duplicate, Stored};
        let db = TestDb::open(backend).await;
        let (ecb, oanda) = (add_source(&db, "ecb").await, add_source(&db, "oanda").await);
        record(&db, ecb, "EUR/USD", Moment(20), "1.2").await;
        record(&db, oanda, "EUR/USD", Moment(10), "9").await;
        let many = async |pair: &'static str, points: Vec<(i64, &'static str)>| {
            db.write(move |tx| Box::pin(async move {
                let (base, quote) = pair.split_once('/').unwrap();
                let points: Vec<_> = points.iter().map(|(at, rate)| (Moment(*at), d(rate))).collect();
                rates::record_many(tx, ecb, (c(base), c(quote)), &points).await
            }))
            .await
        };
        let given = vec![(30, "1.3"), (20, "1.20"), (10, "1.1"), (30, "1.31"), (30, "1.310"), (40, "1.4")];
        assert_eq!(many("EUR/USD", given.clone()).await, [Stored, Duplicate, Stored, Corrected, Duplicate, Stored]);
        assert_eq!(many("EUR/USD", given).await, [Corrected, Duplicate, Duplicate, Corrected, Duplicate, Duplicate]);
        assert_eq!(many("EUR/CHF", Vec::new()).await, []);
        assert_eq!(history(&db, range("EUR/USD")).await, ["10 oanda 9", "10 ecb 1.1", "20 ecb 1.2", "30 ecb 1.31", "40 ecb 1.4"]);
        // More than one statement's worth.
        let long: Vec<(i64, &str)> = (0..1203).map(|at| (at, "2")).collect();
        assert_eq!(many("GBP/USD", long.clone()).await, vec![Stored; 1203]);
        assert_eq!(many("GBP/USD", long).await, vec![Duplicate; 1203]);
    }

    async fn the_rates_touching_two_units_convert_between_them_as_all_do(backend) {
        let db = TestDb::open(backend).await;
        let (ecb, oanda) = (add_source(&db, "ecb").await, add_source(&db, "oanda").await);
        for (source, pair, at, rate) in [
            (ecb, "EUR/USD", 10, "1.1"), (oanda, "EUR/USD", 10, "1.2"), (ecb, "EUR/CHF", 20, "0.9"),
            (ecb, "EUR/JPY", 15, "170"), (ecb, "GBP/JPY", 12, "190"), (ecb, "GBP/NOK", 14, "13"), (ecb, "EUR/USD", 30, "1.3"),
        ] {
            record(&db, source, pair, Moment(at), rate).await;
        }
        let known = m("2200-01-01T00:00:00Z");
        for (from, to) in [("USD", "CHF"), ("CHF", "JPY"), ("NOK", "JPY"), ("EUR", "USD"), ("USD", "NOK"), ("GBp", "NOK")] {
            for until in (9..=31).map(Moment) {
                let tx = &mut read(&db).await;
                let all = rates::all(tx, until, known).await.unwrap();
                let touching = rates::touching(tx, &[c(from).major().0, c(to).major().0], until, known).await.unwrap();
                let convert = |rates: &Rates| rates.convert(&d("1000"), c(from), c(to), until);
                assert_eq!(convert(&touching), convert(&all), "{from} to {to} at {until:?}");
            }
        }
        let none = rates::touching(&mut read(&db).await, &[c("USD")], Moment(31), Moment(0)).await.unwrap();
        assert_eq!(eur_usd(&none, Moment(31)), None);
    }
}
