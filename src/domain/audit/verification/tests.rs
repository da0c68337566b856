//! Every kind of tampering is found, and what was not touched is not blamed.

use super::*;
use crate::domain::audit::anchor::AnchorKind;
use crate::domain::audit::{AuditKey, START};
use crate::domain::moment::Moment;

const KEY: [u8; 32] = [7; 32];

#[derive(Debug, Clone)]
struct Kept {
    seq: i64,
    actor: String,
    hash: Vec<u8>,
}

fn text(row: &Kept) -> RowText<'_> {
    let mut texts = [None; 12];
    texts[0] = Some(row.actor.as_str());
    // Of whoever is called as an action is, it is the action.
    texts[4] = Some(row.actor.as_str());
    RowText { seq: row.seq, recorded_at: Moment(row.seq * 10), texts }
}

/// Rows after `head`, linked with a key.
fn grown(key: &[u8; 32], head: Head, actor: &str, count: i64) -> Vec<Kept> {
    let key = AuditKey::new(key);
    let mut before = head.hash;
    let row = |seq: i64| {
        let mut row = Kept { seq, actor: actor.to_owned(), hash: Vec::new() };
        before = key.link(&before, &text(&row));
        row.hash = before.to_vec();
        row
    };
    (head.seq + 1..=head.seq + count).map(row).collect()
}

fn head(row: &Kept) -> Head {
    Head { seq: row.seq, hash: row.hash.clone().try_into().unwrap() }
}

fn anchor(kind: AnchorKind, head: Head) -> Anchor {
    Anchor { kind, head, at: Moment(0), note: String::new() }
}

fn sealed(key: &[u8; 32], anchors: &[Anchor]) -> Vec<String> {
    let mut before = START;
    let line = |anchor: &Anchor| {
        let (line, seal) = anchor.line(&AuditKey::new(key), &before);
        before = seal;
        line
    };
    anchors.iter().map(line).collect()
}

fn read(lines: &[String]) -> Anchors {
    let mut anchors = Anchors::default();
    for line in lines {
        anchors.take(&AuditKey::new(&KEY).into(), line);
    }
    anchors
}

fn verdict_of(rows: &[Kept], anchors: Option<Anchors>) -> Verdict {
    let mut verifier = Verifier::new(AuditKey::new(&KEY), anchors, Vec::new(), Head::EMPTY);
    for row in rows {
        verifier.row(&text(row), &row.hash);
    }
    verifier.end()
}

/// Ten rows, anchored at 4 and 8.
fn world() -> (Vec<Kept>, Vec<String>) {
    let rows = grown(&KEY, Head::EMPTY, "a", 10);
    let anchors = [3, 7].map(|at| anchor(AnchorKind::Anchor, head(&rows[at])));
    let lines = sealed(&KEY, &anchors);
    (rows, lines)
}

fn found(rows: &[Kept], lines: &[String]) -> Vec<(FaultKind, i64)> {
    let verdict = verdict_of(rows, Some(read(lines)));
    assert_eq!(verdict.faults_total, u64::try_from(verdict.faults.len()).unwrap());
    verdict.faults.iter().map(|fault| (fault.kind, fault.at)).collect()
}

#[test]
fn a_trail_that_was_not_touched_is_whole() {
    let (rows, lines) = world();
    let verdict = verdict_of(&rows, Some(read(&lines)));
    assert!(verdict.is_good(), "{verdict:?}");
    assert_eq!((verdict.rows, verdict.anchors, verdict.head), (10, 2, head(&rows[9])));
    assert!(verdict_of(&[], None).is_good(), "an empty trail needs no anchors");
}

#[test]
fn an_edited_row_is_named() {
    let (mut rows, lines) = world();
    rows[4].actor = "b".to_owned();
    assert_eq!(found(&rows, &lines), [(FaultKind::Hash, 5)]);
}

#[test]
fn a_deleted_row_is_missed() {
    let (mut rows, lines) = world();
    rows.remove(4);
    assert_eq!(found(&rows, &lines), [(FaultKind::Gap, 6), (FaultKind::Hash, 6)]);
}

#[test]
fn swapped_rows_are_named() {
    let (mut rows, lines) = world();
    rows[4].actor = "b".to_owned();
    let rows_with_names = grown(&KEY, head(&rows[3]), "b", 1);
    rows[4].hash.clone_from(&rows_with_names[0].hash);
    let tail = grown(&KEY, head(&rows[4]), "a", 5);
    rows.truncate(5);
    rows.extend(tail);
    let lines_of = [3].map(|at| anchor(AnchorKind::Anchor, head(&rows[at])));
    let lines_of = sealed(&KEY, &lines_of);
    assert!(found(&rows, &lines_of).is_empty());
    // Rows 5 and 6 change places, and take each other's numbers.
    rows.swap(4, 5);
    (rows[4].seq, rows[5].seq) = (5, 6);
    let faults = found(&rows, &lines_of);
    assert!(faults.contains(&(FaultKind::Hash, 5)) && faults.contains(&(FaultKind::Hash, 6)), "{faults:?}");
    assert!(!lines.is_empty());
}

#[test]
fn renumbering_after_a_deletion_does_not_hide_it() {
    let (mut rows, lines) = world();
    rows.remove(4);
    for row in &mut rows[4..] {
        row.seq -= 1;
    }
    let faults = found(&rows, &lines);
    assert!(faults.contains(&(FaultKind::Hash, 5)), "{faults:?}");
    assert!(faults.contains(&(FaultKind::Anchor, 8)), "{faults:?}");
}

#[test]
fn a_tail_cut_behind_an_anchor_is_missed_by_it_alone() {
    let (mut rows, lines) = world();
    rows.truncate(7);
    assert_eq!(found(&rows, &lines), [(FaultKind::Cut, 8)]);
    rows.clear();
    assert_eq!(found(&rows, &lines), [(FaultKind::Cut, 8)]);
}

#[test]
fn a_rollback_that_went_on_with_the_right_key_is_found_by_the_anchor() {
    let (mut rows, lines) = world();
    rows.truncate(6);
    rows.extend(grown(&KEY, head(&rows[5]), "later", 6));
    assert_eq!(found(&rows, &lines), [(FaultKind::Anchor, 8)]);
}

#[test]
fn a_trail_written_anew_with_another_key_fits_nowhere() {
    let (_, lines) = world();
    let forged = grown(&[8; 32], Head::EMPTY, "a", 10);
    let faults = found(&forged, &lines);
    assert_eq!(faults.iter().filter(|(kind, _)| *kind == FaultKind::Hash).count(), 10);
    assert_eq!(faults.iter().filter(|(kind, _)| *kind == FaultKind::Anchor).count(), 2);
}

#[test]
fn anchors_cannot_be_changed_made_up_or_taken_out() {
    let (rows, lines) = world();
    let changed = [lines[0].replace("\"seq\":4", "\"seq\":3"), lines[1].clone()];
    assert_eq!(found(&rows, &changed)[0], (FaultKind::Seal, 1));
    assert_eq!(found(&rows, &lines[1..]), [(FaultKind::Seal, 1)]);
    let forged = sealed(&[8; 32], &[anchor(AnchorKind::Anchor, head(&rows[1]))]);
    assert_eq!(found(&rows, &forged), [(FaultKind::Seal, 1)]);
    assert_eq!(found(&rows, &["nonsense".to_owned(), lines[0].clone()]), [(FaultKind::Seal, 1)]);
    let verdict = verdict_of(&rows, None);
    assert_eq!(verdict.faults[0].kind, FaultKind::NoAnchors);
}

#[test]
fn a_restore_that_was_answered_for_gives_up_what_lay_beyond_it_and_is_told() {
    let (mut rows, _) = world();
    let mut anchors = [3, 7].map(|at| anchor(AnchorKind::Anchor, head(&rows[at]))).to_vec();
    rows.truncate(6);
    anchors.push(anchor(AnchorKind::Restore, head(&rows[5])));
    rows.extend(grown(&KEY, head(&rows[5]), "later", 6));
    anchors.push(anchor(AnchorKind::Anchor, head(&rows[9])));
    let verdict = verdict_of(&rows, Some(read(&sealed(&KEY, &anchors))));
    assert!(verdict.is_good(), "{verdict:?}");
    assert_eq!((verdict.anchors, verdict.restores.len()), (3, 1));
    // It gives up nothing before it.
    rows[3].actor = "b".to_owned();
    assert!(!verdict_of(&rows, Some(read(&sealed(&KEY, &anchors)))).is_good());
}

#[test]
fn an_anchor_from_elsewhere_counts_and_a_start_is_taken_as_given() {
    let (mut rows, _) = world();
    rows[0].actor = "b".to_owned();
    let given = anchor(AnchorKind::Anchor, head(&rows[8]));
    let mut verifier =
        Verifier::new(AuditKey::new(&KEY), Some(Anchors::default()), vec![given.clone()], head(&rows[0]));
    for row in &rows[1..] {
        verifier.row(&text(row), &row.hash);
    }
    let verdict = verifier.end();
    assert!(verdict.is_good() && verdict.anchors == 1, "{verdict:?}");
    let verifier = Verifier::new(AuditKey::new(&KEY), Some(Anchors::default()), vec![given], Head::EMPTY);
    assert_eq!(verifier.end().faults[0].kind, FaultKind::Cut);
}

#[test]
fn faults_are_counted_beyond_those_that_are_told() {
    let rows = grown(&[8; 32], Head::EMPTY, "a", 150);
    let verdict = verdict_of(&rows, Some(Anchors::default()));
    assert_eq!((verdict.faults.len(), verdict.faults_total), (100, 150));
}

#[test]
fn one_line_that_was_changed_is_one_fault() {
    let rows = grown(&KEY, Head::EMPTY, "a", 10);
    let mut lines = sealed(&KEY, &[1, 3, 7].map(|at| anchor(AnchorKind::Anchor, head(&rows[at]))));
    lines[1] = lines[1].replace("\"seq\":4", "\"seq\":5");
    let anchors = read(&lines);
    assert_eq!((anchors.broken.as_slice(), anchors.lines()), ([2].as_slice(), 3));
    let told: Vec<i64> = anchors.expected.iter().map(|anchor| anchor.head.seq).collect();
    assert_eq!(told, [2, 8]);
    assert_eq!(read(&[]).lines(), 0);
}

#[test]
fn a_restore_is_told_while_nothing_came_after_it_with_the_end_that_it_gave_up() {
    let rows = grown(&KEY, Head::EMPTY, "a", 10);
    let mut kept = [3, 7].map(|at| anchor(AnchorKind::Anchor, head(&rows[at]))).to_vec();
    let before = read(&sealed(&KEY, &kept));
    assert_eq!((before.restored(), before.lost), (None, None));
    assert_eq!(before.last().map(|last| last.head.seq), Some(8));
    kept.push(anchor(AnchorKind::Restore, head(&rows[5])));
    let restored = read(&sealed(&KEY, &kept));
    assert_eq!(restored.restored().map(|restore| restore.head.seq), Some(6));
    assert_eq!(restored.lost, Some(head(&rows[7])));
    kept.push(anchor(AnchorKind::Anchor, head(&rows[6])));
    let after = read(&sealed(&KEY, &kept));
    assert_eq!((after.restored(), after.last().map(|last| last.head.seq)), (None, Some(7)));
}

#[test]
fn a_verifier_tells_how_far_it_has_come() {
    let (rows, _) = world();
    let mut verifier = Verifier::new(AuditKey::new(&KEY), None, Vec::new(), head(&rows[2]));
    assert_eq!(verifier.last(), 3);
    verifier.row(&text(&rows[3]), &rows[3].hash);
    assert_eq!(verifier.last(), 4);
}

/// Faults, and from which row on each key was in use.
type FoundWith = (Vec<(FaultKind, i64)>, Vec<(usize, i64)>);

/// What a trail of several keys is found to be, with all of its keys at hand.
fn found_with(keys: &[[u8; 32]], rows: &[Kept]) -> FoundWith {
    let digits: Vec<String> = keys.iter().map(|key| hex(key)).collect();
    let ring = KeyRing::parse(&digits.join("\n")).unwrap();
    let mut verifier = Verifier::new(ring, Some(Anchors::default()), Vec::new(), Head::EMPTY);
    for row in rows {
        verifier.row(&text(row), &row.hash);
    }
    let verdict = verifier.end();
    let faults = verdict.faults.iter().map(|fault| (fault.kind, fault.at)).collect();
    (faults, verdict.keys.iter().map(|key| (key.number, key.first)).collect())
}

#[test]
fn a_key_that_was_replaced_proves_what_was_made_with_it_and_nothing_later() {
    let (second, third) = ([8; 32], [9; 32]);
    let keys = [KEY, second, third];
    let mut rows = grown(&KEY, Head::EMPTY, "a", 10);
    rows.extend(grown(&third, head(&rows[9]), "a", 5));
    // One key was never used, which is no fault.
    assert_eq!(found_with(&keys, &rows), (vec![], vec![(1, 1), (3, 11)]));
    assert_eq!(found_with(&keys[..2], &rows[..10]), (vec![], vec![(1, 1)]));
    // Who has an earlier key changes nothing and adds nothing.
    let mut touched = rows.clone();
    touched[4] = grown(&KEY, head(&rows[3]), "b", 1).remove(0);
    assert_eq!(
        found_with(&keys, &touched).0,
        [(FaultKind::Hash, 6)],
        "the row after it is chained to what was there"
    );
    for earlier in [KEY, second] {
        let mut longer = rows.clone();
        longer.extend(grown(&earlier, head(&rows[14]), "b", 2));
        assert_eq!(found_with(&keys, &longer).0, [(FaultKind::Hash, 16), (FaultKind::Hash, 17)]);
    }
    // In another order, or without the first, they are other keys.
    assert_eq!(found_with(&[third, KEY], &rows).0.len(), 5);
    assert_eq!(found_with(&[second, third], &rows).0.len(), 10);
}

#[test]
fn a_key_that_is_missing_is_told_from_rows_that_were_changed() {
    let (second, third) = ([8; 32], [9; 32]);
    let mut rows = grown(&KEY, Head::EMPTY, "a", 4);
    for (key, first) in [(&second, "audit.key"), (&third, "database.restore")] {
        rows.extend(grown(key, head(rows.last().unwrap()), first, 1));
        rows.extend(grown(key, head(rows.last().unwrap()), "a", 3));
    }
    let lacks_key = |keys: &[[u8; 32]], rows: &[Kept]| {
        let digits: Vec<String> = keys.iter().map(|key| hex(key)).collect();
        let ring = KeyRing::parse(&digits.join("\n")).unwrap();
        let mut verifier = Verifier::new(ring, Some(Anchors::default()), Vec::new(), Head::EMPTY);
        for row in rows {
            verifier.row(&text(row), &row.hash);
        }
        let verdict = verifier.end();
        (verdict.faults_total, verdict.lacks_key)
    };
    let all = [KEY, second, third];
    assert_eq!(lacks_key(&all, &rows), (0, false));
    // Whichever is missing, and all of them.
    for (keys, misfits) in [
        (vec![second, third], 4),
        (vec![KEY, third], 4),
        (vec![KEY, second], 4),
        (vec![KEY], 8),
        (vec![third], 8),
        (vec![[1; 32]], 12),
    ] {
        assert_eq!(lacks_key(&keys, &rows), (misfits, true), "{keys:?}");
    }
    // A row that was changed is in nobody's time: the first, one amid others, the last.
    for at in [0, 1, 5, 11] {
        let mut touched = rows.clone();
        touched[at].actor = "b".to_owned();
        assert_eq!(lacks_key(&all, &touched), (1, false), "row {at}");
        assert!(!lacks_key(&[KEY, second], &touched).1 || at == 11, "row {at} and a key");
    }
    // Nor is a row that is gone.
    let mut cut = rows.clone();
    cut.remove(2);
    assert!(!lacks_key(&all, &cut).1 && !lacks_key(&[[1; 32]], &cut).1);
}

#[test]
fn an_anchor_is_sealed_with_a_key_that_was_not_yet_replaced() {
    let (rows, _) = world();
    let second = [8; 32];
    let ring = KeyRing::parse(&[KEY, second].map(|key| hex(&key)).join("\n")).unwrap();
    let broken = |keys: &[[u8; 32]]| {
        let (mut before, mut anchors) = (START, Anchors::default());
        for (key, at) in keys.iter().zip(0..) {
            let (line, seal) = anchor(AnchorKind::Anchor, head(&rows[at])).line(&AuditKey::new(key), &before);
            anchors.take(&ring, &line);
            before = seal;
        }
        anchors.broken
    };
    assert_eq!(broken(&[KEY, KEY, second, second]), [0; 0]);
    assert_eq!(broken(&[second, second]), [0; 0]);
    assert_eq!(broken(&[KEY, second, KEY, second]), [3]);
    assert_eq!(broken(&[KEY, [9; 32], second]), [2]);
}
