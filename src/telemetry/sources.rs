//! Labels of sources: clients choose their names, so the number of labels needs a bound.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Label of what came without a source that is known.
pub const UNKNOWN: &str = "unknown";
/// Label of all sources beyond the first [`SOURCES_MAX`].
const OTHER: &str = "other";
/// Sources with a label of their own.
const SOURCES_MAX: usize = 100;

static SOURCES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The label of a source. Its name, if it has one already, or if it is `known` to deliver and there is room for another.
pub fn label(source: &str, known: bool) -> String {
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    labelled(&mut sources, source, known)
}

fn labelled(sources: &mut BTreeSet<String>, source: &str, known: bool) -> String {
    if sources.contains(source) {
        return source.to_owned();
    }
    if !known {
        return UNKNOWN.to_owned();
    }
    if sources.len() >= SOURCES_MAX {
        return OTHER.to_owned();
    }
    sources.insert(source.to_owned());
    source.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_sources_are_bounded_and_what_only_fails_gets_none() {
        let mut sources = BTreeSet::new();
        assert_eq!(labelled(&mut sources, "junk", false), UNKNOWN);
        for number in 0..SOURCES_MAX {
            assert_eq!(labelled(&mut sources, &format!("s{number}"), true), format!("s{number}"));
        }
        assert_eq!(labelled(&mut sources, "one more", true), OTHER);
        assert_eq!(labelled(&mut sources, "s7", false), "s7");
        assert_eq!(sources.len(), SOURCES_MAX);
    }
}
