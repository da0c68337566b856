//! Versions of price points, and what follows from having several of one point: which is in force, and which are
//! kept only for those who ask what was known before.

use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::Quote;

/// What one source says about one asset at one length of candles. Ordered as blocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The asset.
    pub asset: AssetKey,
    /// The source.
    pub source: SourceKey,
    /// Name of the candle length; empty for ticks.
    pub candle: &'static str,
}

impl SeriesKey {
    /// The series with this candle length by name; `None` when there is no such length.
    pub fn named(asset: AssetKey, source: SourceKey, candle: &str) -> Option<Self> {
        let candle = if candle.is_empty() { "" } else { Interval::from_name(candle)?.name() };
        Some(Self { asset, source, candle })
    }
}

/// One version of one point of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The moment it is about.
    pub observed_at: Moment,
    /// Its place in the order of learning.
    pub seq: i64,
    /// When it was learned.
    pub recorded_at: Moment,
    /// When it was superseded, if that is known where it is kept; [`Moment::MAX`] while it is not.
    pub ended_at: Moment,
    /// Whether it hides the point instead of giving it.
    pub withdrawn: bool,
    /// What it says.
    pub quote: Quote,
}

impl Version {
    /// Whether somebody who knew everything up to `known_at` held it for true, as far as it tells itself: a version
    /// recorded later may still have taken its place.
    pub fn is_known(&self, known_at: Moment) -> bool {
        self.recorded_at <= known_at && (known_at < self.ended_at || self.ended_at == Moment::MAX)
    }
}

/// Of the versions of one series those in force at `known_at`, in order of time.
pub fn in_force(mut versions: Vec<Version>, known_at: Moment) -> Vec<Version> {
    let holds = |version: &Version| version.is_known(known_at) && !version.withdrawn;
    if versions.iter().all(holds) && versions.is_sorted_by(|a, b| a.observed_at < b.observed_at) {
        // As most are that come out of a block.
        return versions;
    }
    versions.retain(|version| version.is_known(known_at));
    let mut last = last_of_each(versions);
    last.retain(|version| !version.withdrawn);
    last
}

/// The version of each point that was learned last, in order of time; withdrawn ones too.
pub fn last_of_each(mut versions: Vec<Version>) -> Vec<Version> {
    if !versions.is_sorted_by_key(|version| (version.observed_at, version.seq)) {
        versions.sort_unstable_by_key(|version| (version.observed_at, version.seq));
    }
    versions.dedup_by(|later, kept| {
        let same = later.observed_at == kept.observed_at;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
    versions
}

/// Versions of one series, parted for sealing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Those in force, in order of time.
    pub current: Vec<Version>,
    /// Those superseded or withdrawn, in order of time, each with the moment it ended.
    pub superseded: Vec<Version>,
}

/// Parts versions of one series: of each point all versions must be among them that have no end yet.
pub fn settle(mut versions: Vec<Version>) -> Settled {
    if !versions.is_sorted_by_key(|version| (version.observed_at, version.seq)) {
        versions.sort_unstable_by_key(|version| (version.observed_at, version.seq));
    }
    let mut settled = Settled::default();
    let mut rest = versions.into_iter().peekable();
    while let Some(mut version) = rest.next() {
        let next = rest.peek().filter(|next| next.observed_at == version.observed_at);
        let ended_at = next.map(|next| next.recorded_at);
        // A withdrawal is in force for nobody: the version it hides has its own end.
        let ended_at = ended_at.or(version.withdrawn.then_some(version.recorded_at));
        match ended_at {
            None => settled.current.push(version),
            Some(ended_at) => {
                version.ended_at = ended_at;
                settled.superseded.push(version);
            }
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::decimal::Decimal;

    fn version(at: i64, seq: i64, price: Option<i64>) -> Version {
        Version {
            observed_at: Moment(at),
            seq,
            recorded_at: Moment(seq * 10),
            ended_at: Moment::MAX,
            withdrawn: price.is_none(),
            quote: Quote::tick(Decimal::from(price.unwrap_or_default())),
        }
    }

    fn shown(versions: &[Version]) -> Vec<(i64, i64)> {
        versions.iter().map(|v| (v.observed_at.0, v.seq)).collect()
    }

    /// A point corrected twice, one withdrawn, one withdrawn and given again.
    fn story() -> Vec<Version> {
        vec![
            version(1, 1, Some(5)),
            version(2, 2, Some(6)),
            version(1, 3, Some(7)),
            version(2, 4, None),
            version(3, 5, Some(1)),
            version(3, 6, None),
            version(3, 7, Some(1)),
            version(1, 8, Some(9)),
        ]
    }

    #[test]
    fn what_is_in_force_depends_on_what_is_known() {
        for (known_at, expected) in [
            (9, vec![]),
            (10, vec![(1, 1)]),
            (35, vec![(1, 3), (2, 2)]),
            (40, vec![(1, 3)]),
            (55, vec![(1, 3), (3, 5)]),
            (60, vec![(1, 3)]),
            (i64::MAX, vec![(1, 8), (3, 7)]),
        ] {
            assert_eq!(shown(&in_force(story(), Moment(known_at))), expected, "{known_at}");
        }
    }

    #[test]
    fn settled_versions_tell_the_same_at_every_moment() {
        let settled = settle(story());
        assert_eq!(shown(&settled.current), [(1, 8), (3, 7)]);
        assert_eq!(shown(&settled.superseded), [(1, 1), (1, 3), (2, 2), (2, 4), (3, 5), (3, 6)]);
        let all = [settled.current, settled.superseded].concat();
        for known_at in (0..90).chain([i64::MAX]) {
            let seqs = |versions: Vec<Version>| shown(&in_force(versions, Moment(known_at)));
            assert_eq!(seqs(all.clone()), seqs(story()), "{known_at}");
        }
    }

    #[test]
    fn superseded_versions_alone_hide_what_has_ended() {
        let superseded = settle(story()).superseded;
        assert_eq!(shown(&in_force(superseded.clone(), Moment(35))), [(1, 3), (2, 2)]);
        assert_eq!(shown(&in_force(superseded, Moment::MAX)), []);
    }

    #[test]
    fn settling_in_steps_is_settling_at_once() {
        let story_of_all = story();
        let (first, second) = story_of_all.split_at(4);
        let one = settle(first.to_vec());
        let two = settle([one.current, second.to_vec()].concat());
        let at_once = settle(story());
        assert_eq!(two.current, at_once.current);
        let mut superseded = [one.superseded, two.superseded].concat();
        superseded.sort_by_key(|v| (v.observed_at, v.seq));
        assert_eq!(superseded, at_once.superseded);
    }

    fn kept(at: i64, seq: i64, (recorded, ended): (i64, i64), withdrawn: bool) -> Version {
        let quote = Quote::new(Decimal::new(seq.into(), 0), crate::domain::price::Bar::default());
        let (observed_at, recorded_at, ended_at) = (Moment(at), Moment(recorded), Moment(ended));
        Version { observed_at, seq, recorded_at, ended_at, withdrawn, quote }
    }

    #[test]
    fn a_version_is_known_from_when_it_was_learned_until_another_took_its_place() {
        let ended = kept(1, 1, (10, 20), false);
        assert_eq!(
            [9, 10, 19, 20, 21].map(|at| ended.is_known(Moment(at))),
            [false, true, true, false, false]
        );
        let last = kept(1, 1, (10, i64::MAX), false);
        assert_eq!([9, 10, i64::MAX].map(|at| last.is_known(Moment(at))), [false, true, true]);
    }

    #[test]
    fn of_each_point_the_version_that_was_learned_last_is_in_force_unless_it_withdraws() {
        let of = |versions: &[Version], known_at: i64| -> Vec<i64> {
            in_force(versions.to_vec(), Moment(known_at)).iter().map(|kept| kept.seq).collect()
        };
        let open = i64::MAX;
        let plain = [kept(1, 1, (10, open), false), kept(2, 2, (11, open), false)];
        assert_eq!((of(&plain, 10), of(&plain, 11)), (vec![1], vec![1, 2]));
        // One point twice, in order of time and known both: only the later one holds.
        let twice = [kept(1, 1, (10, open), false), kept(1, 2, (12, open), false)];
        assert_eq!((of(&twice, 11), of(&twice, 12)), (vec![1], vec![2]));
        let turned = [kept(2, 2, (10, open), false), kept(1, 1, (10, open), false)];
        assert_eq!(of(&turned, 10), [1, 2]);
        let hidden =
            [kept(1, 1, (10, open), false), kept(1, 2, (12, open), true), kept(2, 3, (12, open), false)];
        assert_eq!((of(&hidden, 11), of(&hidden, 12)), (vec![1], vec![3]));
        assert_eq!(of(&[kept(1, 1, (10, open), true)], 10), [0; 0]);
    }
}
