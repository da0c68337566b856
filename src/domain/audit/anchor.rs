//! Anchors: where the chain ended, told outside the database, so that cutting its tail or putting back an old copy shows.
//!
//! An anchor is a line of JSON. Each is sealed together with the one before, so that lines cannot be made up, changed or
//! taken out of the middle either.

use crate::domain::audit::key_ring::KeyRing;
use crate::domain::audit::{AuditKey, Head, Link, START};
use crate::domain::hexadecimal::{from_hex, hex};
use crate::domain::moment::Moment;
use crate::named_enum;
use serde::{Deserialize, Serialize};

named_enum! {
    /// What a line says.
    AnchorKind {
        /// The chain ended here.
        Anchor = "anchor",
        /// The database was put back to an earlier state, and somebody has answered for it: what was anchored beyond
        /// this row is given up.
        Restore = "restore",
    }
}

/// Where the chain ended at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// What it says.
    pub kind: AnchorKind,
    /// The last row and its hash; rows are numbered from 1 without gaps, so this is their count as well.
    pub head: Head,
    /// When.
    pub at: Moment,
    /// Which backup was put back, or why; empty for others.
    pub note: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    kind: String,
    seq: i64,
    hash: String,
    at: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    note: String,
    seal: String,
}

impl Anchor {
    fn sealed(&self, key: &AuditKey, before: &Link) -> Link {
        let (kind, seq, at) = (self.kind.name(), self.head.seq, self.at.0);
        key.seal(&format!("{}\n{kind}\n{seq}\n{}\n{at}\n{}", hex(before), hex(&self.head.hash), self.note))
    }

    /// Its line, without the line feed, and its seal; `before` is the seal of the line before.
    pub fn line(&self, key: &AuditKey, before: &Link) -> (String, Link) {
        let seal = self.sealed(key, before);
        let line = Line {
            kind: self.kind.name().to_owned(),
            seq: self.head.seq,
            hash: hex(&self.head.hash),
            at: self.at.to_string(),
            note: self.note.clone(),
            seal: hex(&seal),
        };
        // Texts and numbers can be written.
        (serde_json::to_string(&line).unwrap_or_default(), seal)
    }
}

/// A line as it stands in the file, its seal not yet checked.
fn read_line(text: &str) -> Option<(Anchor, Link)> {
    let line: Line = serde_json::from_str(text).ok()?;
    let head = Head { seq: line.seq, hash: from_hex(&line.hash)? };
    let (kind, at) = (AnchorKind::from_name(&line.kind)?, Moment::parse(&line.at).ok()?);
    Some((Anchor { kind, head, at, note: line.note }, from_hex(&line.seal)?))
}

/// The seal of a line, whether it fits or not: what the next line is sealed with.
pub fn seal_of(text: &str) -> Option<Link> {
    read_line(text).map(|(_, seal)| seal)
}

/// The lines of a file of anchors, read one by one.
#[derive(Debug)]
pub struct Anchors {
    /// What must be found in the database, ascending.
    pub expected: Vec<Anchor>,
    /// Restores that somebody has answered for.
    pub restores: Vec<Anchor>,
    /// Where the trail ended that the last restore gave up, if that is known.
    pub lost: Option<Head>,
    /// Lines at fault, from 1.
    pub broken: Vec<u64>,
    before: Link,
    /// Number of the key that the last line was sealed with.
    key: usize,
    lines: u64,
}

impl Default for Anchors {
    fn default() -> Self {
        let (expected, restores, broken) = (Vec::new(), Vec::new(), Vec::new());
        Self { expected, restores, lost: None, broken, before: START, key: 1, lines: 0 }
    }
}

impl Anchors {
    /// Takes the next line.
    pub fn take(&mut self, keys: &KeyRing, text: &str) {
        self.lines += 1;
        let sealed = read_line(text).and_then(|(anchor, seal)| {
            let number = keys.made_with(self.key, |key| anchor.sealed(key, &self.before) == seal)?;
            Some((anchor, seal, number))
        });
        let Some((anchor, seal, number)) = sealed else {
            self.broken.push(self.lines);
            // The next line is judged by the seal that stands here: one fault is one fault.
            self.before = seal_of(text).unwrap_or(self.before);
            return;
        };
        (self.before, self.key) = (seal, number);
        if anchor.kind == AnchorKind::Restore {
            self.lost = self.last().map(|last| last.head);
            self.expected.retain(|one| one.head.seq <= anchor.head.seq);
            self.restores.push(anchor.clone());
        }
        self.expected.push(anchor);
    }

    /// How many lines were read.
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The restore that the last line tells of, if it does.
    pub fn restored(&self) -> Option<&Anchor> {
        self.expected.last().filter(|last| last.kind == AnchorKind::Restore)
    }

    /// The last that must be found.
    pub fn last(&self) -> Option<&Anchor> {
        self.expected.iter().max_by_key(|anchor| anchor.head.seq)
    }
}
