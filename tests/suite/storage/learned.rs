//! What was learned in between: each kind of fact, inside its window and not at its edges.

use super::samples::{add_assets, add_portfolio, add_source, bare, c, d, m, portfolio, read, uuid};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::asset::Terms;
use artifact::domain::corporate_action::{ActionType, CorporateAction};
use artifact::domain::ids::{ActionId, AssetKey};
use artifact::domain::moment::Moment;
use artifact::domain::portfolio::Conventions;
use artifact::domain::price::Quote;
use artifact::domain::transaction::TransactionType;
use artifact::storage::actions::RecordedAction;
use artifact::storage::learned::{self, Fact, Learned, Window};
use artifact::storage::prices::Series;
use artifact::storage::rates::RatePoint;
use artifact::storage::transactions::Entry;
use artifact::storage::{actions, assets, portfolios, price_sources, prices, rates, transactions};

const EARLY: &str = "2026-03-01T12:00:00Z";
const LATE: &str = "2026-04-01T12:00:00Z";

fn between(after: Moment, until: Moment) -> Window {
    Window { as_of: m("2026-03-31T00:00:00Z"), after, until, limit: 100 }
}

fn facts(learned: Vec<Learned>) -> Vec<Fact> {
    learned.into_iter().map(|one| one.fact).collect()
}

async fn stamp(db: &TestDb) -> Moment {
    db.write(|tx| Box::pin(async move { tx.recorded_at() })).await
}

on_both! {
    async fn entries_and_voids_are_found_between_two_moments(backend) {
        let db = TestDb::open(backend).await;
        let gold = add_assets(&db, &["GOLD"]).await[0];
        let (book, other) = (add_portfolio(&db, portfolio("book")).await.id, add_portfolio(&db, portfolio("other")).await.id);
        let add = |portfolio, at: &'static str| {
            let mut t = bare(TransactionType::Buy, at);
            t.asset = Some(gold);
            db.write(move |tx| Box::pin(transactions::insert(tx, Entry::new(portfolio, t, ""))))
        };
        let first = add(book, EARLY).await;
        let start = first.recorded_at;
        let seen = add(book, EARLY).await;
        add(book, LATE).await;
        add(other, EARLY).await;
        let id = first.transaction.id;
        db.write(move |tx| Box::pin(async move { transactions::void(tx, id, "wrong", None).await })).await;
        let end = stamp(&db).await;
        let found = learned::entries(&mut read(&db).await, book, between(start, end)).await.unwrap();
        assert_eq!(found[0].recorded_at, seen.recorded_at);
        let (executed_at, asset, kind) = (m(EARLY), Some(gold), TransactionType::Buy);
        assert_eq!(facts(found), [
            Fact::Entry { transaction: seen.transaction.id, kind, executed_at, asset, replaces: None },
            Fact::Void { transaction: id, kind, executed_at, asset, reason: "wrong".to_owned() },
        ]);
        let nothing = learned::entries(&mut read(&db).await, book, between(end, Moment::MAX)).await.unwrap();
        assert_eq!(nothing, []);
        assert_eq!(learned::entries(&mut read(&db).await, book, between(start, seen.recorded_at)).await.unwrap().len(), 1);
    }

    async fn actions_terms_and_conventions_are_found_between_two_moments(backend) {
        let db = TestDb::open(backend).await;
        let keys = add_assets(&db, &["GOLD", "BTC"]).await;
        let (gold, btc) = (keys[0], keys[1]);
        let book = add_portfolio(&db, portfolio("book")).await.id;
        let start = stamp(&db).await;
        let split = |asset: AssetKey, at| RecordedAction::new(CorporateAction {
            id: ActionId(uuid()), asset, place: 0, kind: ActionType::Split, executed_at: m(at), whole_day: false,
            ratio_num: Some(d("2")), ratio_den: Some(d("1")), amount: None, tax: d("0"), currency: None, new_symbol: None,
        }, String::new(), "{}".to_owned());
        let known = split(gold, EARLY);
        let id = known.action.id;
        for one in [known, split(gold, LATE), split(btc, EARLY)] {
            db.write(move |tx| Box::pin(actions::insert(tx, one))).await;
        }
        db.write(move |tx| Box::pin(async move { actions::void(tx, id, "wrong", None).await })).await;
        db.write(move |tx| Box::pin(async move { assets::insert_terms(tx, gold, m(LATE), &Terms::plain(c("USD"))).await })).await;
        db.write(move |tx| Box::pin(async move { portfolios::insert_conventions(tx, book, m(EARLY), &Conventions::default()).await })).await;
        let window = between(start, stamp(&db).await);
        let mut tx = read(&db).await;
        let action = |voided| Fact::Action { action: id, kind: ActionType::Split, executed_at: m(EARLY), asset: gold, voided };
        assert_eq!(facts(learned::actions(&mut tx, &[gold], window).await.unwrap()), [action(false), action(true)]);
        // Terms of any date count: before the first, the first apply.
        let terms = learned::terms(&mut tx, &[gold], window).await.unwrap();
        assert_eq!(facts(terms), [Fact::Terms { asset: gold, effective_at: m(LATE) }]);
        let conventions = learned::conventions(&mut tx, book, window).await.unwrap();
        assert_eq!(facts(conventions), [Fact::Conventions { effective_at: m(EARLY) }]);
        let before = between(Moment::MIN, start);
        assert!(learned::actions(&mut tx, &[gold], before).await.unwrap().is_empty());
        assert!(learned::conventions(&mut tx, book, before).await.unwrap().is_empty());
        assert!(learned::terms(&mut tx, &[btc], window).await.unwrap().is_empty());
    }

    async fn prices_rates_and_sources_are_found_between_two_moments(backend) {
        let db = TestDb::open(backend).await;
        let gold = add_assets(&db, &["GOLD"]).await[0];
        let desk = add_source(&db, "desk").await;
        let price = |at: &'static str, price: &'static str| db.write(move |tx| Box::pin(async move {
            let series = Series { asset: gold, source: desk, interval: "1d", source_priority: &[] };
            prices::record(tx, series, &[(m(at), Quote::tick(d(price)))]).await.map(drop)
        }));
        let rate = |at: &'static str, rate: &'static str| db.write(move |tx| Box::pin(async move {
            let point = RatePoint { base: c("EUR"), quote: c("USD"), observed_at: m(at), source: String::new(), recorded_at: Moment(0), rate: d(rate) };
            rates::record(tx, desk, &point).await.map(drop)
        }));
        price(EARLY, "1").await;
        rate(EARLY, "1.1").await;
        let start = stamp(&db).await;
        price(EARLY, "2").await;
        price("2026-02-01T00:00:00Z", "3").await;
        price(LATE, "4").await;
        rate(EARLY, "1.2").await;
        rate(LATE, "1.3").await;
        db.write(|tx| Box::pin(async move { price_sources::mark(tx, "desk", true).await })).await;
        let window = between(start, stamp(&db).await);
        let mut tx = read(&db).await;
        let (source, interval) = ("desk".to_owned(), "1d".to_owned());
        let corrected = Fact::Price { asset: gold, observed_at: m(EARLY), source: source.clone(), interval, price: Some(d("2")) };
        assert_eq!(facts(learned::prices(&mut tx, gold, m(EARLY), window).await.unwrap()), [corrected]);
        assert_eq!(learned::prices(&mut tx, gold, Moment::MIN, window).await.unwrap().len(), 2);
        let rate = Fact::Rate { base: c("EUR"), quote: c("USD"), observed_at: m(EARLY), source: source.clone(), rate: Some(d("1.2")) };
        assert_eq!(facts(learned::rates(&mut tx, window).await.unwrap()), [rate]);
        let sources = learned::sources(&mut tx, window).await.unwrap();
        assert_eq!(facts(sources), [Fact::Source { name: source, split_adjusted: true }]);
        assert!(learned::sources(&mut tx, between(Moment::MIN, start)).await.unwrap().is_empty());
    }
}
