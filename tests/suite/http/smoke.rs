//! The thin line through everything: prices in, profit and loss out.

use crate::on_both;
use crate::support::{Backend, TestApp};
use serde_json::json;

on_both! {
    async fn a_price_moves_the_profit_of_a_position(backend) {
        let app = TestApp::start(backend).await;
        let id = app.gold_and_bitcoin("100000").await;
        let open = json!({ "asset_symbol": "GOLD", "position_type": "LONG", "quantity": 10, "price": 2000 });
        let position = app.post(&format!("/portfolios/{id}/positions"), &open).await.expect(201);
        let answer = app.post("/prices", &json!({ "symbol": "gold", "price": "2100.50" })).await.expect(200);
        assert_eq!(answer["outcome"], "stored");
        assert_eq!(answer["updated_positions"][0]["position_id"], position["id"]);
        let read = app.get(&format!("/portfolios/{id}")).await.expect(200);
        assert_eq!(read["performance"]["total_pnl"], "1005");
        assert_eq!(read["performance"]["current_capital"], "80000");
        let app = app.restart().await;
        assert_eq!(app.get(&format!("/portfolios/{id}")).await.expect(200), read);
        app.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_streamed_arrives_whole_when_it_is_packed() {
    let app = TestApp::start(Backend::Sqlite).await;
    let id = app.gold_and_bitcoin("1000").await;
    for packing in ["gzip", "zstd"] {
        let path = format!("/portfolios/{id}/export");
        let reply = app.send("GET", &path, &[("accept-encoding", packing)], b"").await;
        assert_eq!(
            (reply.status.as_u16(), reply.headers["content-encoding"].to_str().unwrap()),
            (200, packing)
        );
        assert!(!reply.body.is_empty());
    }
    app.stop().await;
}
