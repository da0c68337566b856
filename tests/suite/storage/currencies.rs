//! Units of money an operator added.

use super::samples::{c, read};
use crate::on_both;
use crate::support::TestDb;
use artifact::storage::currencies::{self, AddedCurrency};
use artifact::storage::error::StorageError;

async fn add(db: &TestDb, code: &str, minor_units: i64) -> Result<(), StorageError> {
    let unit = AddedCurrency { code: c(code), name: format!("the {code}"), minor_units };
    db.db.writer().housekeep(move |tx| Box::pin(async move { currencies::insert(tx, &unit).await })).await
}

on_both! {
    async fn built_in_units_are_known_and_others_once_they_are_added(backend) {
        let db = TestDb::open(backend).await;
        let find = async |code: &str| currencies::find(&mut read(&db).await, code).await.unwrap();
        assert_eq!(find("USD").await, Some(c("USD")));
        assert_eq!(find("GBp").await, Some(c("GBp")));
        assert_eq!(find("DOGEX").await, None);
        add(&db, "DOGEX", 8).await.unwrap();
        assert_eq!(find("DOGEX").await, Some(c("DOGEX")));
        // Case tells units apart, and what is no code at all is no unit.
        for code in ["dogex", "DOGEx", "DOGEXX", "", "U$D", "TOOLONGACODE"] {
            assert_eq!(find(code).await, None, "{code}");
        }
    }

    async fn added_units_are_listed_by_the_bytes_of_their_codes(backend) {
        let db = TestDb::open(backend).await;
        for (code, minor_units) in [("zzx", 0), ("ZZX", 18), ("aax", 2), ("BBX", 3)] {
            add(&db, code, minor_units).await.unwrap();
        }
        let listed = currencies::added(&mut read(&db).await).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|unit| (unit.code.code(), unit.minor_units, unit.name.as_str())).collect();
        assert_eq!(listed, [("BBX", 3, "the BBX"), ("ZZX", 18, "the ZZX"), ("aax", 2, "the aax"), ("zzx", 0, "the zzx")]);
    }

    async fn a_unit_is_added_once_and_with_decimals_that_exist(backend) {
        let db = TestDb::open(backend).await;
        add(&db, "DOGEX", 8).await.unwrap();
        assert!(matches!(add(&db, "DOGEX", 2).await, Err(StorageError::Conflict(_))));
        for minor_units in [-1, 19] {
            assert!(add(&db, "OTHER", minor_units).await.is_err(), "{minor_units} decimals");
        }
        let listed = currencies::added(&mut read(&db).await).await.unwrap();
        assert_eq!(listed.iter().map(|unit| (unit.code, unit.minor_units)).collect::<Vec<_>>(), [(c("DOGEX"), 8)]);
    }
}
