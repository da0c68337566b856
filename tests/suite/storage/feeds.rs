//! What was wanted of feeds, and how far they got.

use crate::on_both;
use crate::support::TestDb;
use artifact::domain::moment::Moment;
use artifact::storage::feeds::{self, Cursor};

on_both! {
    async fn what_was_wanted_last_is_kept(backend) {
        let test = TestDb::open(backend).await;
        let wanted = async || feeds::wanted(&mut test.db.read().await.unwrap(), "binance").await.unwrap();
        assert_eq!(wanted().await, None);
        for running in [false, true, false] {
            test.write(move |tx| Box::pin(async move { feeds::want(tx, "binance", running, "key:desk").await })).await;
            assert_eq!(wanted().await, Some(running));
        }
        let other = feeds::wanted(&mut test.db.read().await.unwrap(), "kraken").await.unwrap();
        assert_eq!(other, None);
    }

    async fn a_cursor_only_moves_on_and_belongs_to_what_is_delivered(backend) {
        let test = TestDb::open(backend).await;
        let at = |micros, number| Cursor { observed_at: Moment(micros), number };
        for (series, cursor) in [("x trades", at(10, Some(7))), ("x trades", at(9, Some(6))), ("x candles 1m", at(3, None))] {
            test.write(move |tx| Box::pin(async move { feeds::advance(tx, "x", series, "BTC", cursor).await })).await;
        }
        let mut tx = test.db.read().await.unwrap();
        let found = feeds::cursors(&mut tx, "x", "x trades").await.unwrap();
        assert_eq!(found, [("BTC".to_owned(), at(10, Some(7)))]);
        let found = feeds::cursors(&mut tx, "x", "x candles 1m").await.unwrap();
        assert_eq!(found, [("BTC".to_owned(), at(3, None))]);
        assert_eq!(feeds::cursors(&mut tx, "y", "x trades").await.unwrap(), []);
    }
}
