//! The file of anchors: what was not written to its end does not count, and is written over.

use crate::support::Scratch;
use artifact::domain::audit::anchor::{Anchor, AnchorKind};
use artifact::domain::audit::key_ring::KeyRing;
use artifact::domain::audit::{AuditKey, Head};
use artifact::domain::moment::Moment;
use artifact::storage::anchor_file::AnchorFile;
use std::os::unix::fs::PermissionsExt as _;

fn anchor(seq: i64) -> Anchor {
    Anchor {
        kind: AnchorKind::Anchor,
        head: Head { seq, hash: [3; 32] },
        at: Moment(seq),
        note: String::new(),
    }
}

#[test]
fn anchors_are_added_across_restarts_and_a_torn_line_is_written_over() {
    let scratch = Scratch::new();
    let key = KeyRing::from(AuditKey::new(&[1; 32]));
    assert!(AnchorFile::under(&scratch.0).read(&key).unwrap().is_none());
    for seq in 1..=300 {
        // Every other one by a process that has not seen the file before.
        let file = AnchorFile::under(&scratch.0);
        file.append(&key, &anchor(2 * seq)).unwrap();
        file.append(&key, &anchor(2 * seq + 1)).unwrap();
        if seq % 50 == 0 {
            let text = std::fs::read(file.path()).unwrap();
            let torn = [text.as_slice(), b"{\"kind\":\"anchor\",\"se"].concat();
            std::fs::write(file.path(), torn).unwrap();
        }
        let read = file.read(&key).unwrap().unwrap();
        assert_eq!((read.lines(), read.broken.len()), (u64::try_from(2 * seq).unwrap(), 0));
        assert_eq!(read.last().map(|last| last.head.seq), Some(2 * seq + 1));
    }
    let file = AnchorFile::under(&scratch.0);
    assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    // A line taken out of the middle is missed.
    let text = std::fs::read_to_string(file.path()).unwrap();
    // The last one is torn.
    let whole = text.lines().take(600);
    let kept: Vec<&str> = whole.enumerate().filter(|(at, _)| *at != 9).map(|(_, line)| line).collect();
    std::fs::write(file.path(), format!("{}\n", kept.join("\n"))).unwrap();
    assert_eq!(file.read(&key).unwrap().unwrap().broken, [10]);
}
