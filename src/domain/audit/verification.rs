//! Holding a chain to its key and to its anchors, row by row, in constant memory.

use crate::domain::audit::anchor::{Anchor, Anchors};
use crate::domain::audit::key_ring::KeyRing;
use crate::domain::audit::{Head, RowText};
use crate::domain::hexadecimal::hex;
use crate::named_enum;
use std::iter::Peekable;
use std::vec::IntoIter;

/// Faults that are told one by one; more are counted.
const TOLD: usize = 100;

named_enum! {
    /// What is wrong.
    FaultKind {
        /// A row does not fit its hash: it, or the one before, was changed, or the key is another one.
        Hash = "hash",
        /// Numbers are missing: rows were removed, or renumbered.
        Gap = "gap",
        /// A row is not the one that was anchored: the trail was written anew, or an old copy was put back and went on.
        Anchor = "anchor",
        /// The trail ends before its last anchor: its tail was cut, or an old copy was put back.
        Cut = "cut",
        /// A line of the file of anchors does not fit its seal.
        Seal = "seal",
        /// There are rows, and no file of anchors, or nothing in it.
        NoAnchors = "no_anchors",
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// At which row, or which line of the file of anchors.
    pub at: i64,
    /// In a sentence.
    pub detail: String,
}

/// From which row on a key was in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Its number, from 1, in the order of the file of keys.
    pub number: usize,
    /// The first row that was made with it, of those looked at.
    pub first: i64,
}

/// What became of a verification.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Rows looked at.
    pub rows: u64,
    /// Where the chain ends.
    pub head: Head,
    /// Anchors found in it.
    pub anchors: u64,
    /// The keys that the rows were made with, in the order of rows.
    pub keys: Vec<KeyUse>,
    /// Restores that somebody has answered for, oldest first.
    pub restores: Vec<Anchor>,
    /// The first faults, in order of rows.
    pub faults: Vec<Fault>,
    /// How many there are.
    pub faults_total: u64,
    /// Whether all that is wrong may be that a key is missing: the rows that fit none are all those of a key's time, from
    /// the row that began it to the one that began the next. Rows that were changed may look like that as well.
    pub lacks_key: bool,
}

impl Verdict {
    /// Whether nothing was found.
    pub const fn is_good(&self) -> bool {
        self.faults_total == 0
    }
}

/// The rows that fit no key: whole times of keys, or others as well.
#[derive(Debug, Default)]
struct Misfits {
    count: u64,
    /// The row before is one.
    under_way: bool,
    /// Some begin or end where no key's time does.
    amid: bool,
}

/// What the first row of a key's time tells: that there is a new key, or a restore, which comes before anything else.
const FIRST_OF_A_KEY: [&str; 2] = ["audit.key", "database.restore"];

impl Misfits {
    /// Takes the next row, of which is known whether it fits, and whether it is the first of all.
    fn row(&mut self, row: &RowText<'_>, fits: bool, is_first: bool) {
        let [_, _, _, _, action, ..] = row.texts;
        let may_begin = is_first || action.is_some_and(|action| FIRST_OF_A_KEY.contains(&action));
        self.amid |= fits == self.under_way && !may_begin;
        self.under_way = !fits;
        self.count += u64::from(!fits);
    }
}

/// A verification under way.
#[derive(Debug)]
pub struct Verifier {
    keys: KeyRing,
    misfits: Misfits,
    anchors: Peekable<IntoIter<Anchor>>,
    verdict: Verdict,
}

impl Verifier {
    /// Begins after `start`, which is taken as given; `anchors` is `None` when there ought to be some and are none: a
    /// trail has an anchor before it has a row.
    pub fn new(keys: impl Into<KeyRing>, anchors: Option<Anchors>, given: Vec<Anchor>, start: Head) -> Self {
        let verdict = Verdict {
            rows: 0,
            head: start,
            anchors: 0,
            keys: Vec::new(),
            restores: Vec::new(),
            faults: Vec::new(),
            faults_total: 0,
            lacks_key: false,
        };
        let absent = anchors.is_none();
        let Anchors { mut expected, restores, broken, .. } = anchors.unwrap_or_default();
        expected.extend(given);
        expected.retain(|anchor| anchor.head.seq > start.seq);
        expected.sort_by_key(|anchor| anchor.head.seq);
        let anchors = expected.into_iter().peekable();
        let mut verifier = Self { keys: keys.into(), misfits: Misfits::default(), anchors, verdict };
        verifier.verdict.restores = restores;
        for line in broken {
            let at = i64::try_from(line).unwrap_or(i64::MAX);
            let detail = format!("line {line} of the anchors was changed, or a line before it is missing");
            verifier.fault(FaultKind::Seal, at, detail);
        }
        if absent {
            verifier.fault(
                FaultKind::NoAnchors,
                0,
                "the file of anchors is not there, or there is nothing in it".to_owned(),
            );
        }
        verifier
    }

    fn fault(&mut self, kind: FaultKind, at: i64, detail: String) {
        self.verdict.faults_total += 1;
        if self.verdict.faults.len() < TOLD {
            self.verdict.faults.push(Fault { kind, at, detail });
        }
    }

    /// Takes the next row, in the order of numbers, with the hash it carries.
    pub fn row(&mut self, row: &RowText<'_>, hash: &[u8]) {
        let (seq, before) = (row.seq, self.verdict.head);
        if seq != before.seq + 1 {
            self.fault(FaultKind::Gap, seq, format!("row {seq} follows row {}", before.seq));
        }
        let since = self.verdict.keys.last().map_or(1, |key| key.number);
        let made_with = self.keys.made_with(since, |key| key.link(&before.hash, row).as_slice() == hash);
        self.misfits.row(row, made_with.is_some(), self.verdict.rows == 0);
        match made_with {
            Some(number) if number > since || self.verdict.keys.is_empty() => {
                self.verdict.keys.push(KeyUse { number, first: seq });
            }
            Some(_) => {}
            None => self.fault(
                FaultKind::Hash,
                seq,
                format!("row {seq} does not fit its hash and the row before"),
            ),
        }
        while let Some(anchor) = self.anchors.next_if(|anchor| anchor.head.seq <= seq) {
            if anchor.head.seq == seq && anchor.head.hash.as_slice() == hash {
                self.verdict.anchors += 1;
            } else {
                let detail = format!(
                    "row {} is not the one that was anchored at {} with hash {}",
                    anchor.head.seq,
                    anchor.at,
                    hex(&anchor.head.hash)
                );
                self.fault(FaultKind::Anchor, anchor.head.seq, detail);
            }
        }
        // What the row carries counts on: one row that was changed is one fault.
        self.verdict.head = Head { seq, hash: hash.try_into().unwrap_or(before.hash) };
        self.verdict.rows += 1;
    }

    /// The last number it has taken.
    pub const fn last(&self) -> i64 {
        self.verdict.head.seq
    }

    /// No row is left.
    pub fn end(mut self) -> Verdict {
        let end = self.verdict.head.seq;
        if let Some(last) = self.anchors.by_ref().max_by_key(|anchor| anchor.head.seq) {
            let detail =
                format!("the trail ends at row {end}, but row {} was anchored at {}", last.head.seq, last.at);
            self.fault(FaultKind::Cut, last.head.seq, detail);
        }
        if self.verdict.rows == 0 {
            self.verdict.faults.retain(|fault| fault.kind != FaultKind::NoAnchors);
            self.verdict.faults_total = u64::try_from(self.verdict.faults.len()).unwrap_or(u64::MAX);
        }
        let Misfits { count, amid, .. } = self.misfits;
        self.verdict.lacks_key = count > 0 && !amid && self.verdict.faults_total == count;
        self.verdict
    }
}

#[cfg(test)]
mod tests;
