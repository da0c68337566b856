//! The ledger.

use super::samples::{add_assets, add_portfolio, bare, c, d, m, portfolio, read, shown, uuid};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::ids::{AssetKey, PortfolioId, TransactionId};
use artifact::domain::moment::Moment;
use artifact::domain::transaction::{LotPick, Transaction, TransactionType};
use artifact::storage::error::StorageError;
use artifact::storage::page::After;
use artifact::storage::transactions::{self, Entry, EntryFilter};

const NOON: &str = "2026-03-01T12:00:00Z";

/// A portfolio and the asset its entries are about.
#[derive(Clone, Copy)]
struct Ledger<'a> {
    db: &'a TestDb,
    id: PortfolioId,
    asset: AssetKey,
}

async fn ledger(db: &TestDb) -> Ledger<'_> {
    let asset = add_assets(db, &["GOLD"]).await[0];
    Ledger { db, id: add_portfolio(db, portfolio("book")).await.id, asset }
}

impl Ledger<'_> {
    async fn add(&self, entry: Entry) -> Entry {
        self.db.write(move |tx| Box::pin(transactions::insert(tx, entry))).await
    }

    /// Adds an entry of 1 unit, told from others by its note.
    async fn note(&self, executed_at: &str, note: &str) -> Entry {
        self.add(self.entry(executed_at, note)).await
    }

    fn entry(&self, executed_at: &str, note: &str) -> Entry {
        let mut t = bare(TransactionType::Buy, executed_at);
        t.asset = Some(self.asset);
        Entry::new(self.id, t, note)
    }

    /// Voids an entry; tells when.
    async fn void(&self, id: TransactionId, replaced_by: Option<TransactionId>) -> Moment {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    transactions::void(tx, id, "wrong", replaced_by).await?;
                    tx.recorded_at()
                })
            })
            .await
    }

    /// Records an entry in place of another, as one write; tells when.
    async fn replace(&self, old: &Entry, executed_at: &str, note: &str) -> (Entry, Moment) {
        let mut new = self.entry(executed_at, note);
        new.replaces = Some(old.transaction.id);
        new.transaction.place = old.transaction.place;
        let (old, new_id) = (old.transaction.id, new.transaction.id);
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    transactions::void(tx, old, "wrong", Some(new_id)).await?;
                    let stamp = tx.recorded_at()?;
                    Ok((transactions::insert(tx, new).await?, stamp))
                })
            })
            .await
    }

    async fn in_force(&self, as_of: Moment, known_at: Moment) -> Vec<String> {
        let tx = &mut read(self.db).await;
        let rows = transactions::in_force(tx, self.id, as_of, known_at).await.unwrap();
        let mut notes = Vec::new();
        for row in rows {
            notes.push(transactions::find(tx, self.id, row.id).await.unwrap().unwrap().note);
        }
        notes
    }

    async fn list(&self, filter: &EntryFilter) -> Vec<Entry> {
        transactions::list(&mut read(self.db).await, self.id, filter).await.unwrap()
    }

    async fn listed(&self, filter: &EntryFilter) -> Vec<String> {
        self.list(filter).await.into_iter().map(|entry| entry.note).collect()
    }
}

fn everything() -> EntryFilter {
    EntryFilter {
        kind: None,
        account: None,
        asset: None,
        external_id: None,
        from: Moment::MIN,
        as_of: Moment::MAX,
        known_at: Moment::MAX,
        voided: false,
        after: None,
        limit: 100,
    }
}

/// An entry that uses every field, and each number with digits that must not be lost.
fn complete(asset: AssetKey) -> Transaction {
    Transaction {
        whole_day: true,
        account: "dépôt".to_owned(),
        to_account: Some("second".to_owned()),
        asset: Some(asset),
        quantity: Some(d("1.10")),
        price: Some(d("-2.200")),
        gross_total: Some(d("9999999999999999999999999999")),
        fee: d("0.000000000000000001"),
        tax: d("0.00"),
        fee_asset_quantity: d("3.0"),
        currency: Some(c("GBp")),
        fx_rate: Some(d("4.40")),
        amount: Some(d("-5")),
        to_amount: Some(d("6.6000")),
        to_currency: Some(c("USDT")),
        ratio_num: Some(d("7")),
        ratio_den: Some(d("0.30")),
        lots: vec![
            LotPick { transaction: TransactionId(uuid()), quantity: d("0.10") },
            LotPick { transaction: TransactionId(uuid()), quantity: d("1.00") },
        ],
        opens_short: true,
        ..bare(TransactionType::Transfer, "1833-03-01T12:00:00.000001Z")
    }
}

on_both! {
    async fn an_entry_comes_back_with_every_field_and_digit(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        let mut entry = Entry::new(ledger.id, complete(ledger.asset), "note ☃ 'quoted'");
        entry.external_id = Some("Broker-1/é".to_owned());
        entry.metadata = r#"{"b": 1.50}"#.to_owned();
        let put = ledger.add(entry).await;
        assert_eq!((put.transaction.place, put.recorded_at > db.clock.now()), (put.seq, true));
        let tx = &mut read(&db).await;
        let found = transactions::find(tx, ledger.id, put.transaction.id).await.unwrap().unwrap();
        assert_eq!(shown(&found), shown(&put));
        let folded = transactions::in_force(tx, ledger.id, Moment::MAX, Moment::MAX).await.unwrap();
        assert_eq!(shown(&folded), shown(&vec![put.transaction.clone()]));
        // An id alone does not open another portfolio's ledger.
        let other = PortfolioId(uuid());
        assert!(transactions::find(tx, other, put.transaction.id).await.unwrap().is_none());
        assert!(transactions::find(tx, ledger.id, TransactionId(uuid())).await.unwrap().is_none());
    }

    async fn every_kind_of_entry_is_kept_as_that_kind(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        for name in TransactionType::NAMES {
            let kind = TransactionType::from_name(name).unwrap();
            let put = ledger.add(Entry::new(ledger.id, bare(kind, NOON), "")).await;
            let found = ledger.list(&EntryFilter { kind: Some(kind), ..everything() }).await;
            assert_eq!(shown(&found), shown(&vec![put]));
        }
    }

    async fn the_fold_gets_entries_by_moment_and_then_by_order_of_entry(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        for (at, note) in [
            (NOON, "third"),
            ("2026-03-02T00:00:00Z", "fifth"),
            ("1833-01-01T00:00:00Z", "first"),
            (NOON, "fourth"),
            ("2026-02-28T00:00:00Z", "second"),
        ] {
            ledger.note(at, note).await;
        }
        let all = ["first", "second", "third", "fourth", "fifth"];
        assert_eq!(ledger.in_force(Moment::MAX, Moment::MAX).await, all);
        assert_eq!(ledger.in_force(m(NOON), Moment::MAX).await, all[..4]);
        assert_eq!(ledger.in_force(m(NOON).plus(-1), Moment::MAX).await, all[..2]);
        assert_eq!(ledger.listed(&everything()).await, all);
    }

    async fn the_fold_gets_a_split_given_as_a_day_before_what_else_that_day_began_with(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        for (note, kind, whole_day) in [
            ("trade", TransactionType::Buy, true),
            ("split by the clock", TransactionType::Split, false),
            ("split of the day", TransactionType::Split, true),
            ("later split of the day", TransactionType::Split, true),
        ] {
            let mut entry = ledger.entry("2026-03-01T00:00:00Z", note);
            (entry.transaction.kind, entry.transaction.whole_day) = (kind, whole_day);
            ledger.add(entry).await;
        }
        ledger.note("2026-02-28T23:59:59.999999Z", "the day before").await;
        let order = ["the day before", "split of the day", "later split of the day", "trade", "split by the clock"];
        assert_eq!(ledger.in_force(Moment::MAX, Moment::MAX).await, order);
        // A list is in order of entry.
        let listed = ledger.listed(&everything()).await;
        assert_eq!(listed[1..], ["trade", "split by the clock", "split of the day", "later split of the day"]);
    }

    async fn a_void_counts_from_the_moment_it_was_recorded(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        let (one, two) = (ledger.note(NOON, "one").await, ledger.note(NOON, "two").await);
        let voided_at = ledger.void(one.transaction.id, None).await;
        let known = async |known_at| ledger.in_force(Moment::MAX, known_at).await;
        assert_eq!(known(one.recorded_at.plus(-1)).await, [""; 0]);
        assert_eq!(known(one.recorded_at).await, ["one"]);
        assert_eq!(known(two.recorded_at).await, ["one", "two"]);
        assert_eq!(known(voided_at.plus(-1)).await, ["one", "two"]);
        assert_eq!(known(voided_at).await, ["two"]);
        assert_eq!(known(Moment::MAX).await, ["two"]);
        // The list says the same, and shows a void only to those who know of it.
        let at = |known_at, voided| EntryFilter { known_at, voided, ..everything() };
        assert_eq!(ledger.listed(&at(voided_at, false)).await, ["two"]);
        let before = ledger.list(&at(voided_at.plus(-1), true)).await;
        assert!(before.len() == 2 && before.iter().all(|entry| entry.void.is_none()));
        let after = ledger.list(&at(voided_at, true)).await;
        let void = after[0].void.as_ref().unwrap();
        assert_eq!((void.recorded_at, void.reason.as_str(), void.replaced_by), (voided_at, "wrong", None));
        assert!(after[1].void.is_none());
    }

    async fn an_entry_is_voided_once(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        let id = ledger.note(NOON, "one").await.transaction.id;
        ledger.void(id, None).await;
        for id in [id, TransactionId(uuid())] {
            let refused: Result<(), StorageError> =
                db.db.writer().housekeep(move |tx| Box::pin(transactions::void(tx, id, "again", None))).await;
            let refused = refused.unwrap_err();
            assert!(matches!(refused, StorageError::Conflict(_) | StorageError::MissingReference(_)), "{refused:?}");
        }
    }

    async fn a_replacement_inherits_the_place_of_what_it_replaces(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        let (one, two) = (ledger.note(NOON, "one").await, ledger.note(NOON, "two").await);
        ledger.note(NOON, "three").await;
        let (new, first_stamp) = ledger.replace(&two, NOON, "two, corrected").await;
        let (newer, _) = ledger.replace(&new, NOON, "two, corrected again").await;
        let (moved, _) = ledger.replace(&one, "2026-03-05T00:00:00Z", "one, moved").await;
        assert_eq!(newer.transaction.place, two.seq);
        assert_eq!(
            ledger.in_force(Moment::MAX, Moment::MAX).await,
            ["two, corrected again", "three", "one, moved"]
        );
        assert_eq!(ledger.in_force(Moment::MAX, first_stamp).await, ["one", "two, corrected", "three"]);
        assert_eq!(ledger.in_force(Moment::MAX, first_stamp.plus(-1)).await, ["one", "two", "three"]);
        let tx = &mut read(&db).await;
        let pairs = [(&new, &two), (&newer, &new), (&moved, &one)]
            .map(|(new, old)| (new.transaction.id, old.transaction.id));
        assert_eq!(transactions::replacements(tx, ledger.id).await.unwrap(), pairs);
        assert_eq!(transactions::replacements(tx, PortfolioId(uuid())).await.unwrap(), []);
        let old = transactions::find(tx, ledger.id, two.transaction.id).await.unwrap().unwrap();
        assert_eq!(old.void.unwrap().replaced_by, Some(new.transaction.id));
    }

    async fn an_external_id_is_found_while_its_entry_is_in_force(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        let other = add_portfolio(&db, portfolio("other")).await.id;
        let named = |portfolio, note| {
            let mut entry = ledger.entry(NOON, note);
            (entry.portfolio, entry.external_id) = (portfolio, Some("X-1".to_owned()));
            entry
        };
        let find = async |portfolio, id: &str| {
            let found = transactions::find_external(&mut read(&db).await, portfolio, id).await.unwrap();
            found.map(|entry| entry.note)
        };
        assert_eq!(find(ledger.id, "X-1").await, None);
        let one = ledger.add(named(ledger.id, "one")).await;
        ledger.add(named(other, "elsewhere")).await;
        assert_eq!(find(ledger.id, "X-1").await.unwrap(), "one");
        assert_eq!(find(ledger.id, "x-1").await, None);
        ledger.void(one.transaction.id, None).await;
        assert_eq!(find(ledger.id, "X-1").await, None);
        assert_eq!(find(other, "X-1").await.unwrap(), "elsewhere");
        ledger.add(named(ledger.id, "two")).await;
        assert_eq!(find(ledger.id, "X-1").await.unwrap(), "two");
        let filter = EntryFilter { external_id: Some("X-1".to_owned()), voided: true, ..everything() };
        assert_eq!(ledger.listed(&filter).await, ["one", "two"]);
    }

    async fn a_list_is_narrowed_by_all_its_filters_at_once(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        for (note, kind, account, to_account, asset) in [
            ("buy", TransactionType::Buy, "main", None, Some(ledger.asset)),
            ("cash", TransactionType::Deposit, "main", None, None),
            ("to second", TransactionType::Transfer, "main", Some("second"), Some(ledger.asset)),
            ("in second", TransactionType::Buy, "second", None, Some(ledger.asset)),
        ] {
            let mut entry = ledger.entry(NOON, note);
            let t = &mut entry.transaction;
            (t.kind, t.account, t.asset) = (kind, account.to_owned(), asset);
            t.to_account = to_account.map(str::to_owned);
            ledger.add(entry).await;
        }
        let second = EntryFilter { account: Some("second".to_owned()), ..everything() };
        assert_eq!(ledger.listed(&second).await, ["to second", "in second"]);
        let buys = EntryFilter { kind: Some(TransactionType::Buy), ..second };
        assert_eq!(ledger.listed(&buys).await, ["in second"]);
        let gold = EntryFilter { asset: Some(ledger.asset), ..everything() };
        assert_eq!(ledger.listed(&gold).await, ["buy", "to second", "in second"]);
        for nothing in [
            EntryFilter { asset: Some(AssetKey(-1)), ..everything() },
            EntryFilter { external_id: Some("X".to_owned()), ..everything() },
            EntryFilter { from: m(NOON).plus(1), ..everything() },
            EntryFilter { as_of: m(NOON).plus(-1), ..everything() },
        ] {
            assert_eq!(ledger.listed(&nothing).await, [""; 0]);
        }
        // Both ends of the span belong to it.
        let at_noon = EntryFilter { from: m(NOON), as_of: m(NOON), ..everything() };
        assert_eq!(ledger.listed(&at_noon).await.len(), 4);
    }

    async fn pages_hold_each_entry_once(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        for i in 0..12 {
            let at = ["2026-03-01T12:00:00Z", "1833-03-01T12:00:00Z", "2026-03-02T12:00:00Z"][i % 3];
            ledger.note(at, &i.to_string()).await;
        }
        // A replacement stands last among those of its moment here, because a page goes by the sequence.
        let first = ledger.list(&everything()).await.remove(0);
        ledger.replace(&first, "1833-03-01T12:00:00Z", "new").await;
        let wanted = ["4", "7", "10", "new", "0", "3", "6", "9", "2", "5", "8", "11"];
        for limit in [1, 2, 5, 12, 13] {
            let mut filter = EntryFilter { limit, ..everything() };
            let mut seen = Vec::new();
            loop {
                let page = ledger.list(&filter).await;
                let Some(last) = page.last() else { break };
                let value = last.transaction.executed_at.0.to_string();
                filter.after = Some(After { value, key: last.seq });
                assert!(page.len() <= usize::try_from(limit).unwrap());
                seen.extend(page.into_iter().map(|entry| entry.note));
            }
            assert_eq!(seen, wanted, "{limit} rows a page");
        }
    }

    async fn entries_are_counted_with_voided_ones_and_holders_without(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        let other = add_portfolio(&db, portfolio("other")).await.id;
        let count = async |id| transactions::count(&mut read(&db).await, id).await.unwrap();
        let holders = async |asset| {
            let mut ids = transactions::holders(&mut read(&db).await, asset).await.unwrap();
            ids.sort();
            ids
        };
        assert_eq!((count(ledger.id).await, holders(ledger.asset).await), (0, vec![]));
        let mut cash = ledger.entry(NOON, "cash");
        cash.transaction.asset = None;
        ledger.add(cash).await;
        assert_eq!((count(ledger.id).await, holders(ledger.asset).await), (1, vec![]));
        let one = ledger.note(NOON, "one").await.transaction.id;
        let two = ledger.note(NOON, "two").await.transaction.id;
        ledger.add(Entry { portfolio: other, ..ledger.entry(NOON, "elsewhere") }).await;
        assert_eq!(holders(ledger.asset).await, [ledger.id, other]);
        ledger.void(one, None).await;
        assert_eq!(holders(ledger.asset).await, [ledger.id, other]);
        ledger.void(two, None).await;
        assert_eq!((count(ledger.id).await, holders(ledger.asset).await), (3, vec![other]));
        assert_eq!(holders(AssetKey(-1)).await, []);
    }

    async fn who_holds_an_asset_is_who_has_an_entry_of_it_in_force(backend) {
        let db = TestDb::open(backend).await;
        let ledger = ledger(&db).await;
        let other = Ledger { id: add_portfolio(&db, portfolio("other")).await.id, ..ledger };
        let market = artifact::storage::assets::by_keys(&mut read(&db).await, &[ledger.asset]).await.unwrap()[0].market_key;
        let held = async |one: Ledger<'_>| {
            let tx = &mut read(&db).await;
            let holders = transactions::holders_in_market(tx, market).await.unwrap();
            let any = transactions::any_in_force(tx, one.id, one.asset).await.unwrap();
            assert_eq!(any, holders.contains(&one.id));
            any
        };
        assert_eq!((held(ledger).await, held(other).await), (false, false));
        let first = ledger.note(NOON, "first").await;
        ledger.note(NOON, "second").await;
        assert_eq!((held(ledger).await, held(other).await), (true, false));
        ledger.void(first.transaction.id, None).await;
        assert!(held(ledger).await);
        let last = other.note(NOON, "only").await;
        assert_eq!((held(ledger).await, held(other).await), (true, true));
        other.void(last.transaction.id, None).await;
        assert_eq!((held(ledger).await, held(other).await), (true, false));
        let elsewhere = artifact::domain::ids::MarketKey(market.0 + 1_000);
        assert_eq!(transactions::holders_in_market(&mut read(&db).await, elsewhere).await.unwrap(), []);
    }

    async fn many_entries_are_added_as_one_by_one(backend) {
        let db = TestDb::open(backend).await;
        let book = ledger(&db).await;
        let mut given: Vec<Entry> = (0..1203).map(|n| Entry { external_id: Some(format!("x{n}")), ..book.entry(NOON, &n.to_string()) }).collect();
        given[7].transaction.lots = vec![LotPick { transaction: TransactionId(uuid()), quantity: d("1.50") }];
        given[8].replaces = Some(TransactionId(uuid()));
        given[8].transaction.place = 5;
        let sent = given.clone();
        let added = db.write(move |tx| Box::pin(transactions::insert_many(tx, sent))).await;
        assert_eq!(added.iter().map(|entry| entry.note.clone()).collect::<Vec<_>>(), (0..1203).map(|n| n.to_string()).collect::<Vec<_>>());
        for (one, other) in added.iter().zip(&added[1..]) {
            assert_eq!((other.seq, other.recorded_at), (one.seq + 1, one.recorded_at));
        }
        assert_eq!((added[7].transaction.place, added[8].transaction.place), (added[7].seq, 5));
        for at in [0, 7, 8, 500, 1202] {
            let kept = transactions::find(&mut read(&db).await, book.id, added[at].transaction.id).await.unwrap().unwrap();
            assert_eq!(shown(&kept), shown(&added[at]));
        }
        // Found again by either id, unless they are voided, of nobody, or of another portfolio.
        book.void(added[3].transaction.id, None).await;
        let ids: Vec<TransactionId> = added.iter().map(|entry| entry.transaction.id).chain([TransactionId(uuid())]).collect();
        let names: Vec<String> = added.iter().filter_map(|entry| entry.external_id.clone()).chain(["none".to_owned()]).collect();
        let tx = &mut read(&db).await;
        let (by_id, by_name) = (transactions::with_ids(tx, book.id, &ids).await.unwrap(), transactions::with_external_ids(tx, book.id, &names).await.unwrap());
        let seqs = |entries: &[Entry]| { let mut seqs: Vec<i64> = entries.iter().map(|entry| entry.seq).collect(); seqs.sort_unstable(); seqs };
        let wanted: Vec<i64> = added.iter().map(|entry| entry.seq).filter(|seq| *seq != added[3].seq).collect();
        assert_eq!((seqs(&by_id), seqs(&by_name)), (wanted.clone(), wanted));
        assert!(transactions::with_ids(tx, PortfolioId(uuid()), &ids).await.unwrap().is_empty());
        assert!(transactions::with_external_ids(tx, book.id, &[]).await.unwrap().is_empty());
    }

    async fn the_parts_of_a_ledger_hold_each_entry_in_force_once_in_order_of_the_fold(backend) {
        let db = TestDb::open(backend).await;
        let book = ledger(&db).await;
        let late = book.note("2026-03-02T00:00:00Z", "late").await;
        for note in ["a", "b", "c"] {
            book.note(NOON, note).await;
        }
        let early = book.note("2026-02-01T00:00:00Z", "early").await;
        let (new, replaced) = book.replace(&late, NOON, "new").await;
        // A replacement takes the place of what it replaced: first of its moment, although it was recorded last.
        assert_eq!(new.transaction.place, late.transaction.place);
        let parts = async |as_of: Moment, known_at: Moment, limit: i64| {
            let (mut after, mut notes) = (None, Vec::new());
            loop {
                let tx = &mut read(&db).await;
                let part = transactions::part_in_force(tx, book.id, (as_of, known_at), after, limit).await.unwrap();
                assert!(part.len() <= usize::try_from(limit).unwrap());
                let Some(last) = part.last() else { return notes };
                after = Some((last.transaction.executed_at, last.transaction.place, last.seq));
                notes.extend(part.into_iter().map(|entry| entry.note));
            }
        };
        for limit in [1, 2, 100] {
            assert_eq!(parts(Moment::MAX, Moment::MAX, limit).await, ["early", "new", "a", "b", "c"]);
            assert_eq!(parts(Moment::MAX, replaced.plus(-1), limit).await, ["early", "a", "b", "c", "late"]);
            assert_eq!(parts(early.transaction.executed_at, Moment::MAX, limit).await, ["early"]);
            assert_eq!(parts(Moment::MAX, early.recorded_at.plus(-1), limit).await, ["a", "b", "c", "late"]);
        }
    }
}
