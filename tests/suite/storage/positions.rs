//! Issued position ids, and which transactions they stand for.

use super::samples::{add_assets, add_portfolio, bare, d, m, portfolio, position_id, read, shown, uuid};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::ids::{AssetKey, PortfolioId, PositionId, TransactionId};
use artifact::domain::moment::Moment;
use artifact::domain::pnl::amounts::Amounts;
use artifact::domain::pnl::book::HoldingKey;
use artifact::domain::pnl::holding::{Cycle, Side, Totals};
use artifact::domain::transaction::TransactionType;
use artifact::storage::error::StorageError;
use artifact::storage::positions::{self, CLOSED, IssuedPosition, OPEN, UNUSED};
use artifact::storage::transactions::{self, Entry};

fn new(portfolio: PortfolioId, asset: AssetKey) -> IssuedPosition {
    IssuedPosition {
        id: position_id(),
        portfolio,
        issued_seq: 0,
        holding: HoldingKey { account: "dépôt".to_owned(), asset },
        ordinal: Some(1),
        status: OPEN.to_owned(),
        successor: None,
        closed: None,
        created_at: Moment(0),
        updated_at: Moment(0),
    }
}

fn cycle() -> Cycle {
    let amounts = |own, base: Option<&str>| Amounts { own: d(own), base: base.map(d) };
    Cycle {
        ordinal: 3,
        side: Side::Short,
        opened_at: m("1833-01-01T00:00:00Z"),
        closed_at: Some(m("2026-01-01T00:00:00.000001Z")),
        entered_quantity: d("1.10"),
        entered_cost: d("123456789012345678901234567890123456789.5"),
        exited_quantity: d("1.100"),
        exited_gross: d("0"),
        totals: Totals {
            realized: amounts("-0.10", None),
            income: amounts("0.000000000000000001", Some("2.50")),
            missing_quantity: d("0.30"),
            ..Totals::default()
        },
    }
}

async fn save(db: &TestDb, position: IssuedPosition) -> IssuedPosition {
    db.write(move |tx| Box::pin(positions::save(tx, position))).await
}

async fn setting(db: &TestDb) -> (PortfolioId, PortfolioId, Vec<AssetKey>) {
    let assets = add_assets(db, &["GOLD", "BTC"]).await;
    (add_portfolio(db, portfolio("one")).await.id, add_portfolio(db, portfolio("two")).await.id, assets)
}

async fn trade(db: &TestDb, portfolio: PortfolioId) -> TransactionId {
    let entry = Entry::new(portfolio, bare(TransactionType::Buy, "2026-01-01T00:00:00Z"), "");
    db.write(move |tx| Box::pin(transactions::insert(tx, entry))).await.transaction.id
}

/// Joins a transaction to a position, or parts them; tells when.
async fn join(db: &TestDb, portfolio: PortfolioId, t: TransactionId, p: PositionId) -> Moment {
    db.write(move |tx| {
        Box::pin(async move {
            positions::add_member(tx, portfolio, t, p).await?;
            tx.recorded_at()
        })
    })
    .await
}

async fn part(db: &TestDb, t: TransactionId, p: PositionId) -> Moment {
    db.write(move |tx| {
        Box::pin(async move {
            positions::end_member(tx, t, p).await?;
            tx.recorded_at()
        })
    })
    .await
}

on_both! {
    async fn an_id_is_issued_once_and_keeps_its_age_whatever_it_comes_to_stand_for(backend) {
        let db = TestDb::open(backend).await;
        let (one, two, assets) = setting(&db).await;
        let first = save(&db, new(one, assets[0])).await;
        assert!(first.issued_seq > 0 && first.created_at == first.updated_at);
        let find = async |portfolio, id| positions::find(&mut read(&db).await, portfolio, id).await.unwrap();
        assert_eq!(shown(&find(one, first.id).await), shown(&Some(first.clone())));
        let closed = IssuedPosition {
            holding: HoldingKey { account: "second".to_owned(), asset: assets[1] },
            ordinal: Some(3),
            status: CLOSED.to_owned(),
            closed: Some(cycle()),
            ..first.clone()
        };
        let closed = save(&db, closed).await;
        assert_eq!((closed.issued_seq, closed.created_at), (first.issued_seq, first.created_at));
        assert!(closed.updated_at > first.updated_at);
        assert_eq!(shown(&find(one, first.id).await), shown(&Some(closed.clone())));
        let successor = Some(position_id());
        let unused = IssuedPosition { ordinal: None, status: UNUSED.to_owned(), successor, closed: None, ..closed };
        let unused = save(&db, unused).await;
        assert_eq!(shown(&find(one, first.id).await), shown(&Some(unused)));
        // An id alone does not open another portfolio's position.
        assert!(find(two, first.id).await.is_none());
        assert!(find(one, position_id()).await.is_none());
    }

    async fn a_list_leaves_out_unused_ids_and_goes_by_age(backend) {
        let db = TestDb::open(backend).await;
        let (one, two, assets) = setting(&db).await;
        let mut ids = Vec::new();
        for status in [OPEN, UNUSED, CLOSED, OPEN, CLOSED, OPEN] {
            ids.push(save(&db, IssuedPosition { status: status.to_owned(), ..new(one, assets[0]) }).await);
            save(&db, new(two, assets[0])).await;
        }
        // What is written again does not become younger.
        save(&db, ids[0].clone()).await;
        let picked = |of: &[usize]| of.iter().map(|i| ids[*i].id).collect::<Vec<_>>();
        let tx = &mut read(&db).await;
        for (status, wanted) in
            [(None, vec![0, 2, 3, 4, 5]), (Some(OPEN), vec![0, 3, 5]), (Some(CLOSED), vec![2, 4])]
        {
            for limit in [1, 2, 100] {
                let (mut seen, mut after) = (Vec::new(), 0);
                loop {
                    let page = positions::list(tx, one, status, after, limit).await.unwrap();
                    let Some(last) = page.last() else { break };
                    after = last.issued_seq;
                    assert!(page.len() <= usize::try_from(limit).unwrap());
                    seen.extend(page.iter().map(|position| position.id));
                }
                assert_eq!(seen, picked(&wanted), "{status:?}, {limit} rows a page");
            }
        }
        let issued = positions::issued(tx, one).await.unwrap();
        assert_eq!(issued.iter().map(|position| position.id).collect::<Vec<_>>(), picked(&[0, 1, 2, 3, 4, 5]));
    }

    async fn a_membership_is_known_from_its_record_until_its_end(backend) {
        let db = TestDb::open(backend).await;
        let (one, two, assets) = setting(&db).await;
        let (old, young) = (save(&db, new(one, assets[0])).await.id, save(&db, new(one, assets[0])).await.id);
        let (t, u) = (trade(&db, one).await, trade(&db, one).await);
        let joined = join(&db, one, t, young).await;
        join(&db, one, u, young).await;
        join(&db, one, u, old).await;
        let parted = part(&db, t, young).await;
        join(&db, one, t, old).await;
        let rejoined = join(&db, one, t, young).await;
        let known = async |known_at| positions::members(&mut read(&db).await, one, known_at).await.unwrap();
        assert_eq!(known(joined.plus(-1)).await, []);
        assert_eq!(known(joined).await, [(t, young)]);
        assert_eq!(known(parted.plus(-1)).await, [(u, old), (t, young), (u, young)]);
        assert_eq!(known(parted).await, [(u, old), (u, young)]);
        assert_eq!(known(rejoined).await, [(u, old), (t, old), (u, young), (t, young)]);
        assert_eq!(known(Moment::MAX).await, known(rejoined).await);
        let tx = &mut read(&db).await;
        let every = [(u, old, true), (t, old, true), (t, young, false), (u, young, true), (t, young, true)];
        assert_eq!(positions::every_member(tx, one).await.unwrap(), every);
        assert_eq!(positions::every_member(tx, two).await.unwrap(), []);
        assert_eq!(positions::members(tx, two, Moment::MAX).await.unwrap(), []);
    }

    async fn a_position_changes_when_a_transaction_joins_or_leaves_it(backend) {
        let db = TestDb::open(backend).await;
        let (one, two, assets) = setting(&db).await;
        let (p, q) = (save(&db, new(one, assets[0])).await.id, save(&db, new(one, assets[0])).await.id);
        let (t, u) = (trade(&db, one).await, trade(&db, one).await);
        let known = async |known_at| positions::changed_at(&mut read(&db).await, one, known_at).await.unwrap();
        let joined = join(&db, one, t, p).await;
        let grown = join(&db, one, u, p).await;
        let other = join(&db, one, u, q).await;
        let shrunk = part(&db, t, p).await;
        assert_eq!(known(joined.plus(-1)).await, []);
        assert_eq!(known(joined).await, [(p, joined)]);
        assert_eq!(known(grown).await, [(p, grown)]);
        assert_eq!(known(shrunk.plus(-1)).await, [(p, grown), (q, other)]);
        assert_eq!(known(shrunk).await, [(p, shrunk), (q, other)]);
        assert_eq!(known(Moment::MAX).await, known(shrunk).await);
        assert_eq!(positions::changed_at(&mut read(&db).await, two, Moment::MAX).await.unwrap(), []);
        // The row itself says the same of the present.
        let row = positions::find(&mut read(&db).await, one, p).await.unwrap().unwrap();
        assert_eq!(row.updated_at, shrunk);
    }

    async fn an_ended_membership_is_not_ended_again(backend) {
        let db = TestDb::open(backend).await;
        let (one, _, assets) = setting(&db).await;
        let (p, t) = (save(&db, new(one, assets[0])).await.id, trade(&db, one).await);
        join(&db, one, t, p).await;
        let parted = part(&db, t, p).await;
        part(&db, t, p).await;
        let tx = &mut read(&db).await;
        assert_eq!(positions::members(tx, one, parted.plus(-1)).await.unwrap(), [(t, p)]);
        assert_eq!(positions::members(tx, one, parted).await.unwrap(), []);
    }

    async fn a_membership_needs_both_its_sides(backend) {
        let db = TestDb::open(backend).await;
        let (one, _, assets) = setting(&db).await;
        let (p, t) = (save(&db, new(one, assets[0])).await.id, trade(&db, one).await);
        let nobody = TransactionId(uuid());
        for (t, p) in [(nobody, p), (t, position_id())] {
            let refused: Result<(), StorageError> =
                db.db.writer().housekeep(move |tx| Box::pin(positions::add_member(tx, one, t, p))).await;
            assert!(matches!(refused, Err(StorageError::MissingReference(_))), "{refused:?}");
        }
        // Nor does an id stand for an asset that is not there.
        let homeless = new(one, AssetKey(-1));
        let refused = db.db.writer().housekeep(move |tx| Box::pin(positions::save(tx, homeless))).await;
        assert!(matches!(refused, Err(StorageError::MissingReference(_))), "{refused:?}");
    }

    async fn many_members_join_as_one_by_one(backend) {
        let db = TestDb::open(backend).await;
        let (one, _, assets) = setting(&db).await;
        let (p, q) = (save(&db, new(one, assets[0])).await.id, save(&db, new(one, assets[0])).await.id);
        let (t, u) = (trade(&db, one).await, trade(&db, one).await);
        let mut members = vec![(t, p), (u, q), (u, p)];
        // More than one statement's worth.
        members.extend(std::iter::repeat_n((t, q), 700));
        let sent = members.clone();
        let joined = db.write(move |tx| Box::pin(async move {
            positions::add_members(tx, one, &sent).await?;
            positions::add_members(tx, one, &[]).await?;
            tx.recorded_at()
        })).await;
        let tx = &mut read(&db).await;
        members.sort_by_key(|(_, position)| *position == q);
        assert_eq!(positions::members(tx, one, Moment::MAX).await.unwrap(), members);
        for position in [p, q] {
            assert_eq!(positions::find(tx, one, position).await.unwrap().unwrap().updated_at, joined);
        }
    }
}
