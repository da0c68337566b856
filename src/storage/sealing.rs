//! Sorting fresh blocks of prices into sealed ones, in steps: each is planned on a snapshot, beside the writer, and
//! applied in one transaction, so that a crash at any point leaves the old blocks or the new ones.
//!
//! A round takes the blocks written up to its beginning and goes through them by asset; `price_sealing` says how far it
//! has come, and readers pass over what it has sealed. Small blocks are gathered into larger ones between rounds.
//! Only one sealing may be under way: a plan applies when `price_sealing` still stands where it was made.

use crate::domain::ids::AssetKey;
use crate::domain::moment::Moment;
use crate::domain::price_version::{SeriesKey, Version, settle};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::price_blocks::{
    self, FreshBlock, FreshRange, PackedFresh, PackedSealed, Runs, SealedBlock, Sealing,
};

/// How large blocks and steps are.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Points of a sealed block, about.
    pub block: usize,
    /// Points that are worth a round.
    pub round: i64,
    /// Points of a step, about.
    pub step: i64,
    /// So many small blocks are gathered.
    pub gathered: usize,
}

impl Sizes {
    /// Those of the service.
    pub const USUAL: Self = Self { block: 4_096, round: 1 << 17, step: 1 << 17, gathered: 32 };
}

/// Bytes from which on a step ends with the asset it is at.
const STEP_BYTES: usize = 8 << 20;
/// What is small: blocks with fewer points than the least of these that so many have.
const GATHER_BELOW: [i64; 3] = [64, 1_024, 4_096];
/// A block is written anew when what comes after it is at least a quarter of it.
const GROWTH: usize = 4;
/// Points of a series that a commit may seal at once.
const AT_ONCE: usize = 2_048;
/// Blocks of a series rewritten at a time.
const BLOCKS: i64 = 8;

impl Sealing {
    /// The first asset that is not wholly sealed.
    const fn next_asset(self) -> i64 {
        if self.observed_at.0 == i64::MAX { self.asset_key.0.saturating_add(1) } else { self.asset_key.0 }
    }
}

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// What is worth it while the service runs.
    Routine,
    /// Before a stop: few blocks are left for the next start to read.
    Tidy,
    /// Everything.
    Everything,
}

/// One step, ready to be written.
#[derive(Debug)]
pub struct Plan {
    sizes: Sizes,
    from: Sealing,
    to: Sealing,
    gone_fresh: Vec<i64>,
    gone_sealed: Vec<i64>,
    fresh: Vec<PackedFresh>,
    sealed: Vec<PackedSealed>,
}

impl Plan {
    fn new(sizes: Sizes, from: Sealing, to: Sealing) -> Self {
        let (gone_fresh, gone_sealed) = (Vec::new(), Vec::new());
        Self { sizes, from, to, gone_fresh, gone_sealed, fresh: Vec::new(), sealed: Vec::new() }
    }

    fn size(&self) -> usize {
        self.sealed.iter().map(PackedSealed::size).sum()
    }
}

/// The next step; `None` when there is nothing worth doing.
pub async fn plan(tx: &mut Tx, effort: Effort, sizes: Sizes) -> Result<Option<Plan>, StorageError> {
    let sealing = price_blocks::sealing(tx).await?;
    let blocks = price_blocks::fresh_blocks(tx).await?;
    if sealing.upto_block != 0 {
        return step(tx, Plan::new(sizes, sealing, sealing), sealing, &blocks).await.map(Some);
    }
    let points: i64 = blocks.iter().map(|block| block.points).sum();
    if points >= sizes.round || (effort == Effort::Everything && points > 0) {
        // All of them: of two versions of a point the later must not be sealed before the earlier.
        let upto_block = blocks.last().map_or(0, |block| block.block_id);
        let begin = Sealing { upto_block, asset_key: AssetKey(i64::MIN), observed_at: Moment::MIN };
        return step(tx, Plan::new(sizes, sealing, begin), begin, &blocks).await.map(Some);
    }
    let many = if effort == Effort::Tidy { 2 } else { sizes.gathered };
    gather(tx, &blocks, many, Plan::new(sizes, sealing, sealing)).await
}

/// Gathers small blocks into larger ones.
async fn gather(
    tx: &mut Tx,
    blocks: &[FreshBlock],
    many: usize,
    mut plan: Plan,
) -> Result<Option<Plan>, StorageError> {
    let small = |below: i64| blocks.iter().filter(move |block| block.points < below);
    let Some(below) = GATHER_BELOW.into_iter().find(|below| small(*below).count() >= many) else {
        return Ok(None);
    };
    let mut sum = 0;
    let these: Vec<i64> = small(below)
        .take_while(|block| {
            sum += block.points;
            sum <= Sizes::USUAL.step
        })
        .map(|block| block.block_id)
        .collect();
    let range = FreshRange { last: AssetKey(i64::MAX), ..FreshRange::of(AssetKey(i64::MIN)) };
    let runs = price_blocks::fresh_bodies(tx, &these, range, plan.from).await?;
    plan.to = Sealing::idle(these.last().copied().unwrap_or_default());
    plan.fresh = price_blocks::pack_fresh(runs.into_iter().collect())?;
    plan.gone_fresh = these;
    Ok(Some(plan))
}

/// How many points of a block are about assets up to `last` and not before `first`, if they are spread evenly.
fn about(block: &FreshBlock, first: i64, last: i64) -> i64 {
    let span = |from: i64, to: i64| (i128::from(to) - i128::from(from) + 1).max(0);
    let shared = span(block.first_asset.0.max(first), block.last_asset.0.min(last));
    let all = span(block.first_asset.0, block.last_asset.0).max(1);
    i64::try_from(i128::from(block.points) * shared / all).unwrap_or(i64::MAX)
}

/// Where a step that begins at `at` ends: the last asset, and of that the last moment.
fn end_of_step(at: Sealing, most: i64, blocks: &[&FreshBlock]) -> (AssetKey, Moment) {
    let from = at.next_asset();
    let left = || blocks.iter().filter(|block| block.last_asset.0 >= from);
    let first = left().map(|block| block.first_asset.0).min().unwrap_or_default().max(from);
    let last = left().map(|block| block.last_asset.0).max().unwrap_or_default();
    let points = |to: i64| left().map(|block| about(block, first, to)).sum::<i64>();
    if points(first) > most {
        // One asset is more than a step: so many of its blocks as are one, by time.
        let mut own: Vec<&FreshBlock> = left()
            .copied()
            .filter(|block| block.first_asset.0 <= first && first <= block.last_asset.0)
            .collect();
        own.sort_unstable_by_key(|block| block.first_at);
        let begun = if at.asset_key.0 == first { at.observed_at } else { Moment::MIN };
        let mut sum = 0;
        let cut = own.iter().find(|block| {
            let full = sum > most && block.first_at.0.saturating_sub(1) > begun.0;
            sum += if block.first_at > begun { block.points } else { 0 };
            full
        });
        return (AssetKey(first), cut.map_or(Moment::MAX, |block| block.first_at.plus(-1)));
    }
    let (mut low, mut high) = (first, last.max(first));
    while low < high {
        let middle = i64::try_from(i128::midpoint(i128::from(low), i128::from(high) + 1)).unwrap_or(high);
        if points(middle) <= most {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    (AssetKey(low), Moment::MAX)
}

/// The step of a round that begins at `at`.
async fn step(tx: &mut Tx, mut plan: Plan, at: Sealing, blocks: &[FreshBlock]) -> Result<Plan, StorageError> {
    let round: Vec<&FreshBlock> = blocks.iter().filter(|block| block.block_id <= at.upto_block).collect();
    let (last, moment) = end_of_step(at, plan.sizes.step, &round);
    let mut to = Sealing { upto_block: at.upto_block, asset_key: last, observed_at: moment };
    let these: Vec<i64> = round
        .iter()
        .filter(|block| block.first_asset <= last && block.last_asset.0 >= at.next_asset())
        .filter(|block| block.first_at <= moment)
        .map(|block| block.block_id)
        .collect();
    // A part of an asset's time is a step of its own.
    let first = AssetKey(at.next_asset());
    let range = FreshRange { first, last, to: moment, ..FreshRange::of(last) };
    let runs = price_blocks::fresh_bodies(tx, &these, range, at).await?;
    if let Some(asset) = seal(tx, &mut plan, runs).await? {
        to = Sealing { asset_key: asset, observed_at: Moment::MAX, ..to };
    }
    let left = round.iter().map(|block| block.last_asset).max();
    let finished = to.observed_at == Moment::MAX && left.is_none_or(|left| left <= to.asset_key);
    plan.to = if finished { Sealing::idle(at.upto_block) } else { to };
    if finished {
        plan.gone_fresh = round.iter().map(|block| block.block_id).collect();
    }
    Ok(plan)
}

/// Seals versions, series by series; the asset at which it stopped because there was too much.
async fn seal(tx: &mut Tx, plan: &mut Plan, runs: Runs) -> Result<Option<AssetKey>, StorageError> {
    let mut before = None;
    for (series, versions) in runs {
        if let Some(asset) = before.filter(|asset| *asset != series.asset && plan.size() > STEP_BYTES) {
            return Ok(Some(asset));
        }
        before = Some(series.asset);
        if !versions.is_empty() {
            seal_series(tx, plan, series, versions).await?;
        }
    }
    Ok(None)
}

/// Sorts versions of one series in between those that are sealed.
async fn seal_series(
    tx: &mut Tx,
    plan: &mut Plan,
    series: SeriesKey,
    versions: Vec<Version>,
) -> Result<(), StorageError> {
    let mut superseded = Vec::new();
    let mut rest = versions;
    while let (Some(first), Some(last)) = (rest.first(), rest.last()) {
        let (first, last) = (first.observed_at, last.observed_at);
        let mut old = price_blocks::current_from(tx, series, (first, last), BLOCKS).await?;
        // More than are rewritten at a time: those up to where the last of them begins.
        let following =
            if i64::try_from(old.len()).is_ok_and(|count| count == BLOCKS) { old.pop() } else { None };
        let end = following.map(|block| block.first_at);
        let later = end.map_or(rest.len(), |end| rest.partition_point(|version| version.observed_at < end));
        let later = rest.split_off(later);
        let new = std::mem::replace(&mut rest, later);
        if new.is_empty() {
            // The first of them begins after every block but the one taken out.
            let end = end.unwrap_or(Moment::MAX);
            return Err(StorageError::Corrupt(format!("blocks of prices overlap at {end}")));
        }
        let mut all = smaller_before(tx, plan, series, (first, &new)).await?;
        for block in &old {
            all.append(&mut block.versions(Moment::MIN, Moment::MAX)?);
            plan.gone_sealed.push(block.block_id);
        }
        all.extend(new);
        let mut settled = settle(all);
        superseded.append(&mut settled.superseded);
        for part in parts(&settled.current, plan.sizes.block) {
            plan.sealed.push(PackedSealed::of(series, false, part)?);
        }
    }
    if superseded.is_empty() { Ok(()) } else { keep_superseded(tx, plan, series, superseded).await }
}

/// The versions of small blocks that end before `first`: they are written anew together with what follows.
async fn smaller_before(
    tx: &mut Tx,
    plan: &mut Plan,
    series: SeriesKey,
    (first, new): (Moment, &[Version]),
) -> Result<Vec<Version>, StorageError> {
    let target = plan.sizes.block;
    let mut all: Vec<Version> = Vec::new();
    let mut before = first;
    while before > Moment::MIN {
        let block = price_blocks::current_before(tx, series, before.plus(-1)).await?;
        let size = all.len() + new.len();
        let small = |block: &SealedBlock| {
            let points = usize::try_from(block.points).unwrap_or(usize::MAX);
            points < target && points < size.saturating_mul(GROWTH)
        };
        let known = |block: &SealedBlock| plan.gone_sealed.contains(&block.block_id);
        let Some(block) = block.filter(|block| block.last_at < first && small(block) && !known(block)) else {
            break;
        };
        let mut these = block.versions(Moment::MIN, Moment::MAX)?;
        these.append(&mut all);
        all = these;
        before = block.first_at;
        plan.gone_sealed.push(block.block_id);
        if all.len() >= target {
            break;
        }
    }
    Ok(all)
}

/// Versions in parts of about a block each.
fn parts(versions: &[Version], target: usize) -> impl Iterator<Item = &[Version]> {
    let count = versions.len();
    let whole = count <= target + target / 2;
    let size = if whole { count } else { count.div_ceil(count.div_ceil(target)) };
    versions.chunks(size.max(1))
}

/// Adds versions to those superseded, in a block of their own or with the one written last.
async fn keep_superseded(
    tx: &mut Tx,
    plan: &mut Plan,
    series: SeriesKey,
    mut versions: Vec<Version>,
) -> Result<(), StorageError> {
    if let Some(block) = price_blocks::newest_superseded(tx, series).await? {
        let points = usize::try_from(block.points).unwrap_or(usize::MAX);
        if points < plan.sizes.block && points < versions.len().saturating_mul(GROWTH) {
            versions.append(&mut block.versions(Moment::MIN, Moment::MAX)?);
            plan.gone_sealed.push(block.block_id);
        }
    }
    versions.sort_unstable_by_key(|version| (version.observed_at, version.seq));
    for part in parts(&versions, plan.sizes.block) {
        plan.sealed.push(PackedSealed::of(series, true, part)?);
    }
    Ok(())
}

/// Writes a step; `false` when something else was sealed since it was planned, and nothing was done.
pub async fn apply(tx: &mut Tx, plan: Plan) -> Result<bool, StorageError> {
    if !price_blocks::set_sealing(tx, plan.from, plan.to).await? {
        return Ok(false);
    }
    write(tx, plan).await?;
    Ok(true)
}

async fn write(tx: &mut Tx, plan: Plan) -> Result<(), StorageError> {
    for block in &plan.gone_sealed {
        if !price_blocks::delete_sealed(tx, *block).await? {
            return Err(StorageError::Corrupt(format!("sealed block {block} of prices is gone")));
        }
    }
    price_blocks::delete_fresh(tx, &plan.gone_fresh).await?;
    for block in &plan.sealed {
        block.insert(tx).await?;
    }
    for block in &plan.fresh {
        block.insert(tx).await?;
    }
    Ok(())
}

/// Writes what a commit has recorded. A long run of points that all come after everything known of their series needs
/// no sorting and is sealed at once; the rest is fresh.
pub(super) async fn write_recorded(
    tx: &mut Tx,
    runs: Vec<(SeriesKey, Vec<Version>)>,
) -> Result<(), StorageError> {
    let mut fresh = Vec::new();
    for (series, mut versions) in runs {
        if !versions.is_sorted_by_key(|version| (version.observed_at, version.seq)) {
            versions.sort_unstable_by_key(|version| (version.observed_at, version.seq));
        }
        let before = tx.pending.written_to(series);
        let before = before.max(tx.newest.state().end(series).map(|end| end.last_at));
        let (first, last) = (versions.first(), versions.last().map(|version| version.observed_at));
        let later = first.is_some_and(|first| before.is_none_or(|before| before < first.observed_at));
        if let Some(last) = last {
            tx.pending.note_written(series, last);
        }
        let plain = || {
            versions.is_sorted_by(|a, b| a.observed_at < b.observed_at)
                && versions.iter().all(|version| !version.withdrawn)
        };
        if later && versions.len() >= AT_ONCE && plain() {
            for part in parts(&versions, Sizes::USUAL.block) {
                PackedSealed::of(series, false, part)?.insert(tx).await?;
            }
        } else {
            fresh.push((series, versions));
        }
    }
    price_blocks::insert_fresh(tx, fresh).await
}

/// Seals versions at once, as those of a table of rows are when it is carried over.
pub(super) async fn seal_now(tx: &mut Tx, runs: Runs) -> Result<(), StorageError> {
    let mut plan = Plan::new(Sizes::USUAL, Sealing::idle(0), Sealing::idle(0));
    for (series, versions) in runs {
        seal_series(tx, &mut plan, series, versions).await?;
    }
    write(tx, plan).await
}
