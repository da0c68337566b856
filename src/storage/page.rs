//! One page of a list: where it starts, how long it may be, and in which order.

/// Where the next page starts: the sort value and the key of the last row of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// Value of the sort column, as text.
    pub value: String,
    /// Key of the row.
    pub key: i64,
}

/// A page of a list sorted by a column `S`, ties by key.
#[derive(Debug, Clone)]
pub struct Page<S> {
    /// Column to sort by.
    pub sort: S,
    /// Whether the greatest comes first.
    pub descending: bool,
    /// Rows wanted.
    pub limit: i64,
    /// Where it starts; the beginning when `None`.
    pub after: Option<After>,
}

impl<S> Page<S> {
    /// The first `limit` rows in ascending order.
    pub const fn first(sort: S, limit: i64) -> Self {
        Self { sort, descending: false, limit, after: None }
    }
}

/// A `LIKE` pattern (escape `\`) for texts that contain `part`, in any case of ASCII letters: the only ones that
/// `LOWER` of either database knows.
pub(super) fn contains(part: &str) -> String {
    let escaped = part.to_ascii_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

/// Pushes the keyset condition, the order and the limit of a page onto a query.
macro_rules! push_page {
    ($query:expr, $page:expr, $column:expr, $numeric:expr, $key:literal) => {{
        let (order, than) = if $page.descending { (" DESC", " < (") } else { (" ASC", " > (") };
        if let Some(after) = &$page.after {
            $query.push(" AND (").push($column).push(concat!(", ", $key, ")")).push(than);
            if $numeric {
                $query.push_bind(after.value.parse::<i64>().unwrap_or_default());
            } else {
                $query.push_bind(after.value.clone());
            }
            $query.push(", ").push_bind(after.key).push(")");
        }
        $query.push(" ORDER BY ").push($column).push(order).push(concat!(", ", $key)).push(order);
        $query.push(" LIMIT ").push_bind($page.limit);
    }};
}
pub(super) use push_page;
