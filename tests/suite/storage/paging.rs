//! Walking through a list by its cursors.

use artifact::storage::page::{After, Page};

/// Every row of a list, fetched page by page.
pub(super) async fn walk<T, S: Copy, F>(mut page: Page<S>, cursor: fn(&T, S) -> After, list: F) -> Vec<T>
where
    F: AsyncFn(&Page<S>) -> Vec<T>,
{
    let mut rows = Vec::new();
    loop {
        let some = list(&page).await;
        assert!(i64::try_from(some.len()).unwrap() <= page.limit, "more rows than asked for");
        let Some(lowest) = some.last() else { return rows };
        page.after = Some(cursor(lowest, page.sort));
        rows.extend(some);
        assert!(rows.len() <= 100, "the pages never end");
    }
}

/// Walks a list in both directions with pages of several sizes: each row comes exactly once, in the order of the
/// bytes of the sort value and then of the key.
pub(super) async fn assert_pages<T, S: Copy, F>(sort: S, cursor: fn(&T, S) -> After, numeric: bool, list: F)
where
    F: AsyncFn(&Page<S>) -> Vec<T>,
{
    let place = |row: &T| {
        let After { value, key } = cursor(row, sort);
        if numeric { (String::new(), key) } else { (value, key) }
    };
    let whole = list(&Page::first(sort, 100)).await;
    let mut expected: Vec<_> = whole.iter().map(place).collect();
    expected.sort();
    expected.dedup();
    assert_eq!(expected.len(), super::samples::NAMES.len(), "each row once");
    for descending in [false, true] {
        for limit in [1, 2, 3, 7, 16, 100] {
            let page = Page { sort, descending, limit, after: None };
            let seen: Vec<_> = walk(page, cursor, &list).await.iter().map(place).collect();
            assert_eq!(seen, expected, "descending: {descending}, {limit} rows a page");
        }
        expected.reverse();
    }
}

/// Whether a search for `part` ought to find `text`: letters of ASCII in any case, everything else as it is.
pub(super) fn found_in(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

/// What is searched for, with whatever `LIKE` would make of it.
pub(super) const SEARCHES: [&str; 13] =
    ["%", "_", "\\", "ALPHA", "alpha", "É", "é", "ÉLAN", "東", "a_b", "😀", "o'b", "nothing like it"];
