//! The kept fold of each ledger.

use super::raw::Raw;
use super::samples::{add_assets, add_portfolio, bare, c, d, portfolio, position_id, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::asset::{Terms, TermsHistory};
use artifact::domain::fx::Rates;
use artifact::domain::ids::{AssetKey, PortfolioId};
use artifact::domain::moment::Moment;
use artifact::domain::pnl::book::{self, Book, Context, HoldingKey};
use artifact::domain::portfolio::{Conventions, Portfolio};
use artifact::domain::transaction::{Transaction, TransactionType};
use artifact::storage::figures::{self, Kept, KeptBook};
use std::collections::BTreeMap;

/// Entries written as `day kind account asset quantity price`, in the order they are to be folded.
fn entries(assets: &[AssetKey], text: &str) -> Vec<Transaction> {
    (1..).zip(text.trim().lines()).map(|(place, line)| Transaction { place, ..entry(assets, line) }).collect()
}

fn entry(assets: &[AssetKey], line: &str) -> Transaction {
    let [day, kind, account, asset, quantity, number] =
        line.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
    let kind = TransactionType::from_name(kind).unwrap();
    let mut t = bare(kind, &format!("2026-01-{day}T00:00:00Z"));
    account.clone_into(&mut t.account);
    t.fee = d("0.10");
    if kind == TransactionType::Deposit {
        t.currency = Some(c(asset));
        t.amount = Some(d(quantity));
        return t;
    }
    t.asset = Some(assets[asset.parse::<usize>().unwrap()]);
    if kind == TransactionType::Split {
        (t.ratio_num, t.ratio_den) = (Some(d(quantity)), Some(d(number)));
    } else {
        (t.quantity, t.price) = (Some(d(quantity)), Some(d(number)));
    }
    t
}

/// What the fold looks up: everything in dollars, one euro at 1.25, and no other rate.
struct World {
    terms: TermsHistory,
    rates: Rates,
    conventions: Conventions,
}

impl World {
    fn new(assets: &[AssetKey]) -> Self {
        let (mut terms, mut rates) = (TermsHistory::default(), Rates::default());
        for asset in assets {
            terms.add(*asset, Moment::MIN, Terms::plain(c("USD")));
        }
        rates.add(c("EUR"), c("USD"), Moment::MIN, d("1.25"));
        Self { terms, rates, conventions: Conventions::default() }
    }

    fn context(&self) -> Context<'_> {
        Context { base: c("USD"), conventions: &self.conventions, terms: &self.terms, rates: &self.rates }
    }
}

/// A book as it is kept: what only the last fold brought is not part of it.
fn as_kept(mut book: Book) -> Book {
    book.closed.clear();
    book.memberships.clear();
    book
}

fn fold(assets: &[AssetKey], entries: &[Transaction]) -> Book {
    as_kept(book::fold(entries, World::new(assets).context()).unwrap())
}

fn fold_on(mut book: Book, assets: &[AssetKey], entries: &[Transaction]) -> Book {
    let world = World::new(assets);
    for entry in entries {
        book.apply(entry, world.context()).unwrap();
    }
    as_kept(book)
}

/// Two assets in two accounts, three lots of one of them, a lot sold in part, a closed position, a split, money of
/// another currency and one whose rate is missing.
const LEDGER: &str = "
    01 deposit main   USD 100000   -
    02 deposit second EUR 1000.50  -
    02 deposit second CHF 10       -
    03 buy     main   0   10.0     2050.10
    04 buy     main   0   5        2060
    04 buy     main   0   7        2070.123456789012345678
    05 buy     second 0   1        2000
    06 buy     main   1   0.3      30000
    07 sell    main   0   12       2100
    08 sell    main   1   0.3      31000
    09 split   main   0   3        2";

fn kept(entries: i64) -> Kept {
    Kept { last_at: Moment(-5), entries, foreign_money: true, stale: false }
}

fn key(account: &str, asset: AssetKey) -> HoldingKey {
    HoldingKey { account: account.to_owned(), asset }
}

async fn setting(db: &TestDb) -> (PortfolioId, Vec<AssetKey>) {
    let assets = add_assets(db, &["GOLD", "BTC", "NEVER"]).await;
    (add_portfolio(db, portfolio("book")).await.id, assets)
}

async fn save(db: &TestDb, id: PortfolioId, before: Option<KeptBook>, after: &KeptBook) {
    let after = after.clone();
    db.write(move |tx| Box::pin(async move { figures::save(tx, id, before.as_ref(), &after).await })).await;
}

async fn load(db: &TestDb, id: PortfolioId, assets: Option<&[AssetKey]>) -> Option<KeptBook> {
    figures::load(&mut read(db).await, id, assets).await.unwrap()
}

/// The ledger above, saved, with an id for each open position.
async fn saved(db: &TestDb, id: PortfolioId, assets: &[AssetKey]) -> KeptBook {
    let book = fold(assets, &entries(assets, LEDGER));
    let open =
        BTreeMap::from([(key("main", assets[0]), position_id()), (key("second", assets[0]), position_id())]);
    let kept = KeptBook { kept: kept(11), book, open };
    save(db, id, None, &kept).await;
    kept
}

on_both! {
    async fn a_book_is_loaded_as_it_was_saved(backend) {
        let db = TestDb::open(backend).await;
        let (id, assets) = setting(&db).await;
        assert!(load(&db, id, None).await.is_none());
        let put = saved(&db, id, &assets).await;
        // The ledger does reach every part of a book.
        assert_eq!((put.book.holdings.len(), put.book.missing.len(), put.book.splits.len()), (3, 1, 1));
        assert_eq!(put.book.holdings[&key("main", assets[0])].lots.0.len(), 2);
        let got = load(&db, id, None).await.unwrap();
        assert_eq!((&got.book, &got.open, got.kept), (&put.book, &put.open, put.kept));
        assert_eq!(format!("{:?}", got.book), format!("{:?}", put.book), "digit by digit");
        assert_eq!(figures::kept(&mut read(&db).await, id).await.unwrap(), Some(put.kept));
        assert!(load(&db, add_portfolio(&db, portfolio("other")).await.id, None).await.is_none());
    }

    async fn a_kept_book_has_another_version_after_every_change_and_none_when_out_of_date(backend) {
        let db = TestDb::open(backend).await;
        let (id, assets) = setting(&db).await;
        assert_eq!(figures::version(&mut read(&db).await, id).await.unwrap(), None);
        let put = saved(&db, id, &assets).await;
        let first = figures::version(&mut read(&db).await, id).await.unwrap().unwrap();
        save(&db, id, Some(put.clone()), &put).await;
        assert_ne!(figures::version(&mut read(&db).await, id).await.unwrap(), Some(first));
        db.write(|tx| Box::pin(async move { figures::mark_stale(tx, Moment::MIN).await })).await;
        assert_eq!(figures::version(&mut read(&db).await, id).await.unwrap(), None);
    }

    async fn a_book_loaded_for_some_assets_has_their_holdings_and_all_the_rest(backend) {
        let db = TestDb::open(backend).await;
        let (id, assets) = setting(&db).await;
        let put = saved(&db, id, &assets).await;
        for some in [&assets[..0], &assets[..1], &assets[1..2], &assets[..2], &assets[2..]] {
            let got = load(&db, id, Some(some)).await.unwrap();
            let mut wanted = put.clone();
            wanted.book.holdings.retain(|key, _| some.contains(&key.asset));
            wanted.open.retain(|key, _| some.contains(&key.asset));
            assert_eq!((&got.book, &got.open, got.kept), (&wanted.book, &wanted.open, wanted.kept), "{some:?}");
        }
    }

    async fn a_book_folded_on_from_what_was_kept_is_the_book_of_the_whole_ledger(backend) {
        let db = TestDb::open(backend).await;
        let (id, assets) = setting(&db).await;
        let ledger = entries(&assets, LEDGER);
        for (i, entry) in ledger.iter().enumerate() {
            let touched: Vec<AssetKey> = entry.asset.into_iter().collect();
            let before = load(&db, id, Some(&touched)).await;
            let book = before.as_ref().map_or_else(Book::default, |kept| kept.book.clone());
            let book = fold_on(book, &assets, std::slice::from_ref(entry));
            let after = KeptBook { kept: kept(i64::try_from(i).unwrap()), book, open: BTreeMap::new() };
            save(&db, id, before, &after).await;
            let whole = fold(&assets, &ledger[..=i]);
            assert_eq!(load(&db, id, None).await.unwrap().book, whole, "after entry {i}");
        }
    }

    async fn only_the_lots_an_entry_touches_are_written_again(backend) {
        let db = TestDb::open(backend).await;
        let (id, assets) = setting(&db).await;
        let before = saved(&db, id, &assets).await;
        let mut raw = Raw::open(&db.location).await;
        // A blank behind the text changes nothing that is read, and is gone once a row is written again.
        raw.run("UPDATE lots SET state = state || ' '; UPDATE holdings SET state = state || ' '").await;
        let traded = entries(&assets, "10 sell main 0 4 2200\n10 buy main 0 1 2300");
        let book = fold_on(before.book.clone(), &assets, &traded);
        let after = KeptBook { book, kept: kept(13), open: before.open.clone() };
        save(&db, id, Some(before), &after).await;
        let untouched = raw
            .texts(
                "SELECT 'lot ' || account || ' ' || CAST(number AS TEXT) FROM lots WHERE state LIKE '% ' \
                 UNION SELECT 'holding ' || account || ' ' || CAST(asset_key AS TEXT) FROM holdings \
                 WHERE state LIKE '% '",
            )
            .await;
        let mut untouched: Vec<&str> = untouched.iter().map(String::as_str).collect();
        untouched.sort_unstable();
        let flat = format!("holding main {}", assets[1].0);
        let second = format!("holding second {}", assets[0].0);
        assert_eq!(untouched, [flat.as_str(), &second, "lot main 3", "lot second 1"]);
        let numbers = raw.texts("SELECT account || ' ' || CAST(number AS TEXT) FROM lots ORDER BY account, number").await;
        assert_eq!(numbers, ["main 2", "main 3", "main 4", "second 1"]);
        assert_eq!(load(&db, id, None).await.unwrap().book, after.book);
    }

    async fn lots_and_holdings_that_are_gone_leave_no_row(backend) {
        let db = TestDb::open(backend).await;
        let (id, assets) = setting(&db).await;
        let before = saved(&db, id, &assets).await;
        let sold = entries(&assets, "10 sell main 0 15 2200\n10 sell second 0 1.5 2200");
        let flat = fold_on(before.book.clone(), &assets, &sold);
        let mut after = KeptBook { book: flat, kept: kept(12), open: before.open.clone() };
        // A void may leave an account without a holding it once had.
        after.book.holdings.remove(&key("second", assets[0]));
        after.open.clear();
        save(&db, id, Some(before), &after).await;
        let mut raw = Raw::open(&db.location).await;
        assert_eq!(raw.number("SELECT COUNT(*) FROM lots").await, 0);
        assert_eq!(raw.number("SELECT COUNT(*) FROM holdings").await, 2);
        let got = load(&db, id, None).await.unwrap();
        assert_eq!((&got.book, &got.open, got.kept), (&after.book, &after.open, after.kept));
    }

    async fn open_positions_of_an_asset_are_found_in_every_portfolio(backend) {
        let db = TestDb::open(backend).await;
        let (one, assets) = setting(&db).await;
        let two = Portfolio { owner_id: "bob".to_owned(), ..portfolio("two") };
        let two = add_portfolio(&db, two).await.id;
        let (in_two, in_one) = (saved(&db, two, &assets).await, saved(&db, one, &assets).await);
        let find = async |asset| {
            let rows = figures::open_positions(&mut read(&db).await, asset).await.unwrap();
            rows.into_iter().map(|row| (row.portfolio_id, row.position_id, row.owner_id)).collect::<Vec<_>>()
        };
        let row = |portfolio, book: &KeptBook, account: &str, owner: &str| {
            (portfolio, book.open[&key(account, assets[0])], owner.to_owned())
        };
        let [first, second, third, fourth] = [
            row(one, &in_one, "main", "tester"),
            row(one, &in_one, "second", "tester"),
            row(two, &in_two, "main", "bob"),
            row(two, &in_two, "second", "bob"),
        ];
        assert_eq!(find(assets[0]).await, [first.clone(), second, third.clone(), fourth.clone()]);
        assert_eq!((find(assets[1]).await, find(assets[2]).await), (vec![], vec![]));
        // A closed position is no longer found, although nothing else about its holding changed.
        let mut after = in_one.clone();
        after.open.remove(&key("second", assets[0]));
        save(&db, one, Some(in_one), &after).await;
        assert_eq!(find(assets[0]).await, [first, third, fourth]);
    }

    async fn a_changed_rate_makes_stale_what_reaches_it_and_used_other_money(backend) {
        let db = TestDb::open(backend).await;
        let mut books = Vec::new();
        for (last_at, foreign_money) in [(100, true), (99, true), (100, false), (200, true)] {
            let id = add_portfolio(&db, portfolio("book")).await.id;
            let kept = Kept { last_at: Moment(last_at), entries: 1, foreign_money, stale: false };
            let book = KeptBook { kept, book: Book::default(), open: BTreeMap::new() };
            save(&db, id, None, &book).await;
            books.push((id, book));
        }
        db.write(|tx| Box::pin(figures::mark_stale(tx, Moment(100)))).await;
        let mut seen = Vec::new();
        for (id, book) in &books {
            let kept = figures::kept(&mut read(&db).await, *id).await.unwrap().unwrap();
            assert_eq!(Kept { stale: false, ..kept }, book.kept);
            seen.push(kept.stale);
        }
        assert_eq!(seen, [true, false, false, true]);
        // Folding anew makes it fresh again.
        let (id, book) = books.remove(0);
        save(&db, id, load(&db, id, None).await, &book).await;
        assert_eq!(figures::kept(&mut read(&db).await, id).await.unwrap(), Some(book.kept));
    }
}
