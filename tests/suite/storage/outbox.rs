//! What waits to be posted on: which price takes whose place, and which goes first.

use super::samples::{add_assets, add_source, d, m, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::ids::{AssetKey, SourceKey};
use artifact::domain::moment::Moment;
use artifact::domain::outbox::PostState;
use artifact::domain::price::Quote;
use artifact::storage::outbox::{self, Level, Outcome, Post};
use artifact::storage::prices::{self, Series};

const PLACE: &str = "http://other/prices";

struct World {
    db: TestDb,
    assets: Vec<AssetKey>,
    source: SourceKey,
}

impl World {
    async fn new(backend: crate::support::Backend) -> Self {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["GOLD", "SILVER"]).await;
        let source = add_source(&db, "api").await;
        db.db.outlet().open(PLACE);
        Self { db, assets, source }
    }

    /// Records a price of an asset at a second.
    async fn price(&self, asset: usize, second: i64, price: &str) {
        let (asset, source, quote) = (self.assets[asset], self.source, Quote::tick(d(price)));
        let point = [(Moment(second * 1_000_000), quote)];
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let series = Series { asset, source, interval: "", source_priority: &[] };
                    prices::record(tx, series, &point).await
                })
            })
            .await;
    }

    async fn withdraw(&self, asset: usize, second: i64) {
        let (asset, source) = (self.assets[asset], self.source);
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let series = Series { asset, source, interval: "", source_priority: &[] };
                    prices::withdraw(tx, series, Moment(second * 1_000_000)).await
                })
            })
            .await;
    }

    fn now(&self) -> Moment {
        self.db.clock.now()
    }

    async fn claim(&self) -> Vec<Post> {
        let (now, farthest) = (self.now(), self.now().plus(3_600_000_000));
        self.db.write(move |tx| Box::pin(async move { outbox::claim(tx, now, farthest, 10).await })).await
    }

    async fn settle(&self, post: &Post, outcome: Outcome) {
        let post = post.clone();
        self.db
            .write(move |tx| Box::pin(async move { outbox::settle(tx, &post, outcome, PLACE).await }))
            .await;
    }

    async fn level(&self) -> Level {
        outbox::level(&mut read(&self.db).await).await.unwrap()
    }

    /// Symbol and price of what waits or is sent.
    async fn waiting(&self) -> Vec<(String, String)> {
        let posts = outbox::waiting(&mut read(&self.db).await, i64::MAX, 100).await.unwrap();
        posts.iter().map(told).collect()
    }
}

fn told(post: &Post) -> (String, String) {
    let price = post.body.split("\"price\":").nth(1).unwrap().split(',').next().unwrap();
    (post.symbol.clone(), price.to_owned())
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(symbol, price)| ((*symbol).to_owned(), (*price).to_owned())).collect()
}

fn refused() -> Outcome {
    Outcome::Refused { status: 404, failure: "no".to_owned() }
}

on_both! {
    async fn the_newest_price_of_each_asset_waits_and_takes_the_place_of_older_ones(backend) {
        let world = World::new(backend).await;
        world.price(0, 10, "1").await;
        world.price(1, 10, "5").await;
        world.price(0, 20, "2").await;
        world.price(0, 15, "9").await;
        world.price(0, 20, "2").await;
        assert_eq!(world.waiting().await, pairs(&[("SILVER", "5"), ("GOLD", "2")]));
        assert_eq!(world.level().await, Level { waiting: 2, superseded: 1, ..Level::default() });
        // The newest is withdrawn before it was sent: what was told last is true again.
        world.withdraw(0, 20).await;
        assert_eq!(world.waiting().await, pairs(&[("SILVER", "5"), ("GOLD", "9")]));
        let sent = world.claim().await;
        assert_eq!(sent.iter().map(told).collect::<Vec<_>>(), pairs(&[("SILVER", "5"), ("GOLD", "9")]));
        for post in &sent {
            world.settle(post, Outcome::Delivered).await;
        }
        assert_eq!(world.level().await, Level { delivered: 2, superseded: 2, ..Level::default() });
        // Told already, and older than what was told.
        world.price(0, 15, "9").await;
        world.price(0, 12, "3").await;
        assert_eq!(world.waiting().await, []);
        // Another destination was told nothing.
        world.withdraw(0, 15).await;
        assert_eq!(world.waiting().await, []);
    }

    async fn a_newer_price_waits_behind_one_that_may_be_on_its_way(backend) {
        let world = World::new(backend).await;
        world.price(0, 10, "1").await;
        let first = world.claim().await.remove(0);
        world.price(0, 20, "2").await;
        world.price(0, 30, "3").await;
        assert_eq!(world.waiting().await, pairs(&[("GOLD", "1"), ("GOLD", "3")]));
        assert_eq!((world.claim().await, outbox::next_due(&mut read(&world.db).await).await.unwrap()), (vec![], None));
        // No answer: it goes first again, under the same id, and not before it is due.
        let due_at = world.now().plus(1_000_000);
        world.settle(&first, Outcome::Unanswered { failure: "cut".to_owned(), due_at }).await;
        assert_eq!(world.claim().await, []);
        assert_eq!(outbox::next_due(&mut read(&world.db).await).await.unwrap(), Some(due_at));
        world.db.clock.set(due_at);
        let again = world.claim().await.remove(0);
        assert_eq!((again.id, again.body.as_str(), again.tries), (first.id, first.body.as_str(), 1));
        // Not connected this time: the first sending is still without an answer.
        world.settle(&again, Outcome::Unsent { failure: "down".to_owned(), due_at }).await;
        let again = world.claim().await.remove(0);
        assert_eq!(again.id, first.id);
        // Answered, if not well: the newer one goes, after the pause of the other.
        let due_at = due_at.plus(5_000_000);
        world.settle(&again, Outcome::Postponed { status: 500, failure: "broken".to_owned(), due_at }).await;
        assert_eq!(world.waiting().await, pairs(&[("GOLD", "3")]));
        assert_eq!(world.claim().await, []);
        world.db.clock.set(due_at);
        let newer = world.claim().await.remove(0);
        assert_eq!((told(&newer).1.as_str(), newer.tries), ("3", 3));
        world.settle(&newer, Outcome::Delivered).await;
        assert_eq!(world.level().await, Level { delivered: 1, superseded: 2, ..Level::default() });
    }

    async fn what_a_process_was_sending_when_it_ended_has_no_answer(backend) {
        let mut world = World::new(backend).await;
        world.price(0, 10, "1").await;
        let first = world.claim().await.remove(0);
        world.db.reopen().await;
        world.db.db.outlet().open(PLACE);
        assert_eq!(world.claim().await, []);
        world.db.write(|tx| Box::pin(async move { outbox::release(tx).await })).await;
        world.price(0, 20, "2").await;
        let again = world.claim().await;
        assert_eq!((again.len(), again[0].id, again[0].unanswered), (1, first.id, true));
        let found = outbox::find(&mut read(&world.db).await, first.id).await.unwrap().unwrap();
        assert_eq!((found.state, found.tries), (PostState::Sending, 2));
        let mut tx = read(&world.db).await;
        assert_eq!(outbox::depth(&mut tx, found.place).await.unwrap().0, 1);
        let (all, last) = outbox::depth(&mut tx, i64::MAX).await.unwrap();
        assert!(all == 2 && last > Some(found.place));
    }

    async fn of_an_asset_the_last_refused_post_is_kept(backend) {
        let world = World::new(backend).await;
        for (second, price) in [(10, "1"), (20, "2")] {
            world.price(0, second, price).await;
            world.db.clock.set(world.now().plus(11_000_000));
            let post = world.claim().await.remove(0);
            world.settle(&post, refused()).await;
        }
        assert_eq!(world.level().await, Level { dead: 1, superseded: 1, refused: 2, ..Level::default() });
        let dead = outbox::dead(&mut read(&world.db).await, None, 10).await.unwrap();
        assert_eq!((dead.len(), told(&dead[0]).1.as_str(), dead[0].status), (1, "2", Some(404)));
        assert_eq!(outbox::dead(&mut read(&world.db).await, Some(dead[0].place), 10).await.unwrap(), []);
        // The asset rests before another price of it is tried.
        world.price(0, 30, "3").await;
        assert_eq!(world.claim().await, []);
        assert!(outbox::is_outdated(&mut read(&world.db).await, &dead[0]).await.unwrap());
        assert_eq!(world.db.write(|tx| Box::pin(async move { outbox::retry_all(tx).await })).await, 0);
        world.db.clock.set(world.now().plus(11_000_000));
        let post = world.claim().await.remove(0);
        world.settle(&post, Outcome::Delivered).await;
        assert_eq!(world.level().await, Level { delivered: 1, superseded: 2, refused: 2, ..Level::default() });
    }

    async fn a_refused_post_is_sent_again_or_thrown_away_once(backend) {
        let world = World::new(backend).await;
        world.price(0, 10, "1").await;
        let post = world.claim().await.remove(0);
        let id = post.id;
        let retry = || world.db.write(move |tx| Box::pin(async move { outbox::retry(tx, id).await }));
        let discard = || world.db.write(move |tx| Box::pin(async move { outbox::discard(tx, id).await }));
        assert_eq!((retry().await, discard().await), (false, false));
        world.settle(&post, refused()).await;
        assert!(!outbox::is_outdated(&mut read(&world.db).await, &post).await.unwrap());
        assert_eq!(world.db.write(|tx| Box::pin(async move { outbox::retry_all(tx).await })).await, 1);
        assert!(!retry().await);
        let again = world.claim().await.remove(0);
        assert_eq!((again.id, again.tries), (id, 0));
        world.settle(&again, refused()).await;
        assert_eq!((retry().await, discard().await), (true, false));
        let again = world.claim().await.remove(0);
        world.settle(&again, refused()).await;
        assert_eq!((discard().await, discard().await), (true, false));
        assert_eq!(world.level().await, Level { refused: 3, ..Level::default() });
    }

    async fn a_clock_that_was_set_back_holds_nothing_up(backend) {
        let world = World::new(backend).await;
        world.price(0, 10, "1").await;
        let post = world.claim().await.remove(0);
        let due_at = world.now().plus(1_000_000);
        world.settle(&post, Outcome::Postponed { status: 503, failure: "busy".to_owned(), due_at }).await;
        world.db.clock.set(m("2020-01-01T00:00:00Z"));
        assert_eq!(world.claim().await.len(), 1);
    }
}
