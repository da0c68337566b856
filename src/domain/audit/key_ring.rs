//! The keys of a trail, one after the other: how a key is replaced while what was made with it stays proven.

use crate::domain::audit::AuditKey;
use std::collections::BTreeSet;

/// The keys of a trail, the oldest first. Rows and anchors are made with the newest; each is proven by the key that was the
/// newest then.
#[derive(Debug, Clone)]
pub struct KeyRing {
    earlier: Vec<AuditKey>,
    newest: AuditKey,
}

impl From<AuditKey> for KeyRing {
    fn from(key: AuditKey) -> Self {
        Self { earlier: Vec::new(), newest: key }
    }
}

impl KeyRing {
    /// The keys written as 64 hexadecimal digits each, one in a line, with blank lines between them or not; `None` when one
    /// of them is none or stands there twice, or none is there.
    pub fn parse(text: &str) -> Option<Self> {
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let different: BTreeSet<String> = lines().map(str::to_ascii_lowercase).collect();
        let mut keys = lines().map(AuditKey::parse).collect::<Option<Vec<_>>>()?;
        if different.len() != keys.len() {
            return None;
        }
        let newest = keys.pop()?;
        Some(Self { earlier: keys, newest })
    }

    /// The one that rows and anchors are made with.
    pub const fn newest(&self) -> &AuditKey {
        &self.newest
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.earlier.len() + 1
    }

    /// The number, from 1, of the first key that something was made with: not one before number `since`, because what
    /// comes later was never made with an earlier key. Whoever has learnt a key that was replaced cannot go on with it.
    pub fn made_with(&self, since: usize, is_of: impl Fn(&AuditKey) -> bool) -> Option<usize> {
        let keys = self.earlier.iter().chain([&self.newest]).zip(1..);
        keys.skip(since.saturating_sub(1)).find(|(key, _)| is_of(key)).map(|(_, number)| number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::Link;

    #[test]
    fn keys_are_lines_and_a_line_that_is_none_makes_all_of_it_none() {
        let [one, two] = ["0a".repeat(32), "0B".repeat(32)];
        for (text, count) in [
            (one.clone(), Some(1)),
            (format!("  {one}\n"), Some(1)),
            (format!("{one}\n{two}\n"), Some(2)),
            (format!("{one}\r\n{two}\r\n"), Some(2)),
            (String::new(), None),
            ("\n".to_owned(), None),
            (format!("{one}\n\n{two}\n\n"), Some(2)),
            (format!("{one}\n{two}\n{one}"), None),
            (format!("{two}\n{}", two.to_lowercase()), None),
            (format!("{one}\n{}", &two[2..]), None),
            (format!("{one}{two}"), None),
            (format!("{one} {two}"), None),
        ] {
            assert_eq!(KeyRing::parse(&text).map(|ring| ring.count()), count, "{text:?}");
        }
        let ring = KeyRing::parse(&format!("{one}\n{two}")).unwrap();
        assert_eq!(
            ring.newest().seal("x"),
            AuditKey::parse(&two).unwrap().seal("x"),
            "the last is the newest"
        );
    }

    #[test]
    fn a_key_is_known_by_its_number_and_never_looked_for_among_those_before() {
        let texts = ["01", "02", "03"].map(|byte| byte.repeat(32));
        let ring = KeyRing::parse(&texts.join("\n")).unwrap();
        let seals: Vec<Link> = texts.iter().map(|text| AuditKey::parse(text).unwrap().seal("x")).collect();
        for since in 0..=4 {
            for (place, seal) in seals.iter().enumerate() {
                let number = place + 1;
                let found = ring.made_with(since, |key| key.seal("x") == *seal);
                assert_eq!(found, (number >= since).then_some(number), "{number} since {since}");
            }
        }
        assert_eq!(ring.made_with(1, |key| key.seal("y") == seals[0]), None);
    }
}
