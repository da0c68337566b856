//! Corporate actions and the names of assets through time.

use super::samples::{add_assets, c, d, m, read, uuid};
use crate::on_both;
use crate::support::TestDb;
use artifact::domain::corporate_action::{ActionType, CorporateAction};
use artifact::domain::ids::{ActionId, AssetKey};
use artifact::domain::moment::Moment;
use artifact::storage::actions::{self, ActionFilter, RecordedAction};
use artifact::storage::error::StorageError;
use artifact::storage::page::After;

/// An action of a type with the fields that type uses.
fn action(asset: AssetKey, kind: ActionType, executed_at: &str, text: &str) -> RecordedAction {
    let split = kind == ActionType::Split;
    let dividend = kind == ActionType::Dividend;
    let action = CorporateAction {
        id: ActionId(uuid()),
        asset,
        place: 0,
        kind,
        executed_at: m(executed_at),
        whole_day: split,
        ratio_num: split.then(|| d(text)),
        ratio_den: split.then(|| d("3.00")),
        amount: dividend.then(|| d(text)),
        tax: if dividend { d("0.10") } else { d("0") },
        currency: dividend.then(|| c("GBp")),
        new_symbol: (kind == ActionType::SymbolChange).then(|| text.to_owned()),
    };
    RecordedAction::new(action, text.to_owned(), "{\"a\": 1}".to_owned())
}

async fn add(db: &TestDb, new: RecordedAction) -> RecordedAction {
    db.write(move |tx| Box::pin(actions::insert(tx, new))).await
}

/// Voids an action; tells when.
async fn void(db: &TestDb, id: ActionId, replaced_by: Option<ActionId>) -> Moment {
    db.write(move |tx| {
        Box::pin(async move {
            actions::void(tx, id, "wrong", replaced_by).await?;
            tx.recorded_at()
        })
    })
    .await
}

/// Names an asset from a moment on.
async fn name(db: &TestDb, asset: AssetKey, executed_at: &str, symbol: &str) -> RecordedAction {
    add(db, action(asset, ActionType::SymbolChange, executed_at, symbol)).await
}

fn everything() -> ActionFilter {
    ActionFilter {
        kind: None,
        as_of: Moment::MAX,
        known_at: Moment::MAX,
        voided: false,
        after: None,
        limit: 100,
    }
}

async fn notes(db: &TestDb, asset: AssetKey, filter: &ActionFilter) -> Vec<String> {
    let rows = actions::list(&mut read(db).await, asset, filter).await.unwrap();
    rows.into_iter().map(|row| row.note).collect()
}

async fn known(db: &TestDb, assets: &[AssetKey], known_at: Moment) -> Vec<(String, bool)> {
    let rows = actions::known(&mut read(db).await, assets, known_at).await.unwrap();
    rows.iter().map(|row| (row.note.clone(), row.in_force(known_at))).collect()
}

fn pairs(rows: &[(&str, bool)]) -> Vec<(String, bool)> {
    rows.iter().map(|(note, in_force)| ((*note).to_owned(), *in_force)).collect()
}

on_both! {
    async fn an_action_comes_back_with_the_digits_it_came_with(backend) {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["GOLD", "OIL"]).await;
        for (kind, text) in [(ActionType::Split, "2.50"), (ActionType::Dividend, "0.240"), (ActionType::SymbolChange, "É-1")] {
            let new = add(&db, action(assets[0], kind, "2026-03-01T12:00:00.000001Z", text)).await;
            assert_eq!(new.action.place, new.seq);
            let tx = &mut read(&db).await;
            let found = actions::find(tx, assets[0], new.action.id).await.unwrap().unwrap();
            assert_eq!(found, new);
            assert_eq!(actions::find(tx, assets[1], new.action.id).await.unwrap(), None);
            let shown = [&found.action.ratio_num, &found.action.amount].map(|number| number.as_ref().map(ToString::to_string));
            assert!(found.action.new_symbol.is_some() || shown.contains(&Some(text.to_owned())), "{shown:?}");
        }
    }

    async fn actions_are_listed_in_order_of_time_page_by_page(backend) {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["GOLD", "OIL"]).await;
        let noon = "2026-03-01T12:00:00Z";
        let late = add(&db, action(assets[0], ActionType::Split, noon, "4")).await;
        for (kind, at, note) in [(ActionType::Dividend, noon, "1"), (ActionType::Split, "2026-02-01T12:00:00Z", "2"), (ActionType::Dividend, "2026-04-01T12:00:00Z", "3")] {
            add(&db, action(assets[0], kind, at, note)).await;
        }
        add(&db, action(assets[1], ActionType::Split, noon, "9")).await;
        assert_eq!(notes(&db, assets[0], &everything()).await, ["2", "4", "1", "3"]);
        let splits = ActionFilter { kind: Some(ActionType::Split), ..everything() };
        assert_eq!(notes(&db, assets[0], &splits).await, ["2", "4"]);
        let to_noon = ActionFilter { as_of: m(noon), ..everything() };
        assert_eq!(notes(&db, assets[0], &to_noon).await, ["2", "4", "1"]);
        let after = Some(After { value: m(noon).0.to_string(), key: late.seq });
        let page = ActionFilter { after, limit: 1, ..everything() };
        assert_eq!(notes(&db, assets[0], &page).await, ["1"]);
    }

    async fn a_void_is_known_from_its_own_moment_on(backend) {
        let db = TestDb::open(backend).await;
        let asset = add_assets(&db, &["GOLD"]).await[0];
        let first = add(&db, action(asset, ActionType::Split, "2026-03-01T12:00:00Z", "2")).await;
        let mut new = action(asset, ActionType::Split, "2026-03-01T12:00:00Z", "3");
        new.replaces = Some(first.action.id);
        new.action.place = first.action.place;
        let new = add(&db, new).await;
        assert_eq!((new.action.place, new.replaces), (first.action.place, Some(first.action.id)));
        let voided = void(&db, first.action.id, Some(new.action.id)).await;
        let before = voided.plus(-1);
        assert_eq!(notes(&db, asset, &everything()).await, ["3"]);
        let all = ActionFilter { voided: true, ..everything() };
        assert_eq!(notes(&db, asset, &all).await, ["2", "3"]);
        assert_eq!(notes(&db, asset, &ActionFilter { known_at: before, ..everything() }).await, ["2", "3"]);
        assert_eq!(notes(&db, asset, &ActionFilter { known_at: first.recorded_at, ..all.clone() }).await, ["2"]);
        let then = actions::list(&mut read(&db).await, asset, &ActionFilter { known_at: before, ..all }).await.unwrap();
        assert_eq!(then[0].void, None);
        let found = actions::find(&mut read(&db).await, asset, first.action.id).await.unwrap().unwrap();
        let void = found.void.unwrap();
        assert_eq!((void.recorded_at, void.reason.as_str(), void.replaced_by), (voided, "wrong", Some(new.action.id)));
        // Once more is refused.
        let id = first.action.id;
        let again: Result<(), StorageError> =
            db.db.writer().housekeep(move |tx| Box::pin(async move { actions::void(tx, id, "", None).await })).await;
        assert!(matches!(again, Err(StorageError::Conflict(_))), "{again:?}");
    }

    async fn every_action_ever_known_is_told_whether_it_is_in_force(backend) {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["GOLD", "OIL", "NEVER"]).await;
        let first = add(&db, action(assets[0], ActionType::Split, "2026-03-01T12:00:00Z", "2")).await;
        add(&db, action(assets[1], ActionType::Split, "2026-01-01T12:00:00Z", "5")).await;
        let voided = void(&db, first.action.id, None).await;
        add(&db, action(assets[0], ActionType::Split, "2026-02-01T12:00:00Z", "3")).await;
        assert_eq!(known(&db, &assets, Moment::MAX).await, pairs(&[("3", true), ("2", false), ("5", true)]));
        assert_eq!(known(&db, &assets[..1], voided.plus(-1)).await, pairs(&[("2", true)]));
        assert_eq!(known(&db, &assets[..1], first.recorded_at.plus(-1)).await, []);
        assert_eq!(known(&db, &[], Moment::MAX).await, []);
        // More keys than one statement names.
        let many: Vec<AssetKey> = (0..1_200).map(|n| AssetKey(-n)).chain(assets).collect();
        assert_eq!(known(&db, &many, Moment::MAX).await.len(), 3);
    }

    async fn the_symbol_of_a_moment_is_that_of_the_change_before_it(backend) {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["FIRST", "PLAIN"]).await;
        let asset = assets[0];
        let start = db.write(move |tx| Box::pin(async move {
            actions::keep_first_symbol(tx, asset, "FIRST").await?;
            // The first one stays the first.
            actions::keep_first_symbol(tx, asset, "LATER").await?;
            tx.recorded_at()
        })).await;
        let third = name(&db, asset, "2026-03-01T00:00:00Z", "THIRD").await;
        let second = name(&db, asset, "2026-02-01T00:00:00Z", "SECOND").await;
        let symbol = async |as_of: &str, known_at: Moment| {
            let symbols = actions::symbols(&mut read(&db).await, &assets, m(as_of), known_at).await.unwrap();
            assert_eq!(symbols.len(), 1, "{symbols:?}");
            symbols[&asset].clone()
        };
        assert_eq!(symbol("2026-01-31T23:59:59Z", Moment::MAX).await, "FIRST");
        assert_eq!(symbol("2026-02-01T00:00:00Z", Moment::MAX).await, "SECOND");
        assert_eq!(symbol("2026-03-01T00:00:00Z", Moment::MAX).await, "THIRD");
        assert_eq!(symbol("2026-02-15T00:00:00Z", third.recorded_at).await, "FIRST");
        assert_eq!(symbol("2026-04-01T00:00:00Z", start).await, "FIRST");
        let voided = void(&db, third.action.id, None).await;
        assert_eq!(symbol("2026-04-01T00:00:00Z", voided).await, "SECOND");
        assert_eq!(symbol("2026-04-01T00:00:00Z", second.recorded_at).await, "THIRD");
    }

    async fn a_former_symbol_finds_the_asset_that_was_given_it_last(backend) {
        let db = TestDb::open(backend).await;
        let assets = add_assets(&db, &["ONE", "TWO"]).await;
        let owner = async |symbol: &str| actions::former_owner(&mut read(&db).await, symbol).await.unwrap();
        assert_eq!(owner("ONE").await, None);
        let (one, two) = (assets[0], assets[1]);
        db.write(move |tx| Box::pin(async move {
            actions::keep_first_symbol(tx, one, "ONE").await?;
            actions::keep_first_symbol(tx, two, "TWO").await
        })).await;
        assert_eq!((owner("ONE").await, owner("TWO").await, owner("one").await), (Some(one), Some(two), None));
        let taken = name(&db, two, "2020-01-01T00:00:00Z", "ONE").await;
        assert_eq!(owner("ONE").await, Some(two));
        void(&db, taken.action.id, None).await;
        assert_eq!(owner("ONE").await, Some(one));
    }
}
