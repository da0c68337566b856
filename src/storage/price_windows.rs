//! Points of an asset in order of time, window by window: a stretch of time with everything that is known of it.
//!
//! A reader keeps its place between windows, and may read each in a transaction of its own. No point is lost at the
//! border of two, and none comes twice, whatever is sealed meanwhile: a window answers for every moment from its first
//! to its last out of one snapshot, and the next one begins with the moment after. Sealing takes versions from one table
//! to another in one commit and never to another moment, so every snapshot has each of them once. Where blocks end
//! decides how long a window is, and nothing else. What is recorded meanwhile counts where the reader has not been yet.

use crate::domain::candle::Run;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::moment::Moment;
use crate::domain::price::PricePoint;
use crate::domain::price_version::{SeriesKey, Version, in_force};
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::newest::Source;
use crate::storage::price_blocks::{self, Ended, FreshRange, Runs, SealedBlock};
use crate::storage::price_series::{self, between};
use crate::storage::prices::PriceRange;
use crate::storage::recall;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::vec::IntoIter;

/// Most sealed blocks of a window.
const BLOCKS: i64 = 16;

/// Who says what a point says.
#[derive(Debug, Clone)]
pub struct Teller {
    /// Name of the source.
    pub source: Arc<str>,
    /// Whether it adjusts prices for splits itself.
    pub split_adjusted: bool,
    /// Candle length; empty for ticks.
    pub candle: &'static str,
}

/// What a window has of one series.
#[derive(Debug)]
struct Part {
    teller: Teller,
    /// In order of time.
    pieces: VecDeque<Piece>,
}

#[derive(Debug)]
enum Piece {
    /// A block that nothing corrects, as far as it lies between two moments, both included.
    Block(SealedBlock, Moment, Moment),
    /// Points in force.
    Versions(Vec<Version>),
}

impl Piece {
    fn versions(self) -> Result<Vec<Version>, StorageError> {
        match self {
            Self::Block(block, from, to) => Ok(in_force(block.versions(from, to)?, Moment::MAX)),
            Self::Versions(versions) => Ok(versions),
        }
    }
}

/// Where a reader of a range is.
#[derive(Debug)]
struct Windows {
    range: PriceRange,
    /// Where the next window begins; `None` at the end.
    next: Option<Moment>,
    last: Moment,
    /// Blocks of the next window: few for who wants few points.
    blocks: i64,
    sources: HashMap<SourceKey, Source>,
}

/// A window while it is not told yet where it ends.
#[derive(Debug)]
struct Span {
    from: Moment,
    to: Moment,
    /// Blocks read of a series.
    most: i64,
    blocks: BTreeMap<SeriesKey, (Teller, Vec<SealedBlock>)>,
}

impl Windows {
    fn new(range: PriceRange) -> Self {
        let from = range.after.map_or(range.from, |(at, _)| at.max(range.from));
        let last = range.until.plus(-1);
        let next = (range.until > Moment::MIN && from <= last).then_some(from);
        Self { range, next, last, blocks: 1, sources: HashMap::new() }
    }

    /// What the next window has of each series; nothing at the end.
    async fn read(&mut self, tx: &mut Tx) -> Result<Vec<Part>, StorageError> {
        let Some(from) = self.next else { return Ok(Vec::new()) };
        let known = price_series::series_of(tx, self.range.asset, &Runs::new());
        let each = (self.blocks / i64::try_from(known.len()).unwrap_or(i64::MAX).max(1)).max(1);
        let mut span = Span { from, to: self.last, most: each, blocks: BTreeMap::new() };
        for series in known {
            self.read_blocks(tx, &mut span, series).await?;
        }
        let known_at = self.range.known_at;
        let range = FreshRange { from, to: span.to, known_at, ..FreshRange::of(self.range.asset) };
        let fresh = price_blocks::fresh(tx, range).await?;
        for series in fresh.keys() {
            if !span.blocks.contains_key(series) {
                self.read_blocks(tx, &mut span, *series).await?;
            }
        }
        let Span { to, blocks, .. } = span;
        let mut parts = Vec::with_capacity(blocks.len());
        for (series, (teller, blocks)) in blocks {
            let fresh = fresh.get(&series).map(Vec::as_slice).unwrap_or_default();
            let pieces = self.pieces(tx, series, (fresh, blocks), (from, to)).await?;
            if !pieces.is_empty() {
                parts.push(Part { teller, pieces });
            }
        }
        self.blocks = (self.blocks * 2).min(BLOCKS);
        self.next = (to < self.last).then(|| to.plus(1));
        Ok(parts)
    }

    /// Reads the blocks of a series that a window begins with, if the series is wanted. Where there may be more of them
    /// the window ends with the last.
    async fn read_blocks(
        &mut self,
        tx: &mut Tx,
        span: &mut Span,
        series: SeriesKey,
    ) -> Result<(), StorageError> {
        if !self.sources.contains_key(&series.source) {
            self.sources = recall::sources(tx, self.range.known_at).await?;
        }
        let source = self.sources.get(&series.source).filter(|source| self.range.has(series, source));
        let Some(Source { name, split_adjusted }) = source else { return Ok(()) };
        let teller =
            Teller { source: Arc::clone(name), split_adjusted: *split_adjusted, candle: series.candle };
        let blocks = price_blocks::current_from(tx, series, (span.from, span.to), span.most).await?;
        let full = i64::try_from(blocks.len()).is_ok_and(|count| count == span.most);
        if let Some(last) = blocks.last().filter(|_| full) {
            span.to = last.last_at.min(span.to);
        }
        span.blocks.insert(series, (teller, blocks));
        Ok(())
    }

    /// The points of a series in a window. A block stays one piece unless something is known of its time that it does
    /// not tell.
    async fn pieces(
        &self,
        tx: &mut Tx,
        series: SeriesKey,
        (fresh, blocks): (&[Version], Vec<SealedBlock>),
        (from, to): (Moment, Moment),
    ) -> Result<VecDeque<Piece>, StorageError> {
        let known_at = self.range.known_at;
        let mut others = between(fresh, from, to).to_vec();
        if known_at != Moment::MAX {
            let ended = Ended { from, to, known_at: Some(known_at) };
            others.extend(price_blocks::superseded(tx, series, ended).await?);
            others.sort_by_key(|version| (version.observed_at, version.seq));
        }
        let mut pieces = VecDeque::new();
        let told = |mut versions: Vec<Version>, others: &[Version]| {
            versions.extend_from_slice(others);
            let points = in_force(versions, known_at);
            (!points.is_empty()).then_some(Piece::Versions(points))
        };
        // What was not told yet begins here; `None` when all is.
        let mut rest = Some(from);
        for block in blocks {
            let (first, last) = (block.first_at.max(from), block.last_at.min(to));
            let Some(begin) = rest.filter(|_| first <= last) else { break };
            if begin < first {
                pieces.extend(told(Vec::new(), between(&others, begin, first.plus(-1))));
            }
            let own = between(&others, first, last);
            if own.is_empty() && block.last_recorded_at <= known_at {
                pieces.push_back(Piece::Block(block, first, last));
            } else {
                pieces.extend(told(block.versions(first, last)?, own));
            }
            rest = (last < to).then(|| last.plus(1));
        }
        if let Some(begin) = rest {
            pieces.extend(told(Vec::new(), between(&others, begin, to)));
        }
        Ok(pieces)
    }
}

/// Points of a range in order of time and of learning.
#[derive(Debug)]
pub struct Points {
    windows: Windows,
    feeds: Vec<Feed>,
}

/// Points of one series of a window that were not given yet.
#[derive(Debug)]
struct Feed {
    teller: Teller,
    pieces: VecDeque<Piece>,
    ahead: IntoIter<Version>,
}

impl Feed {
    /// Unpacks what comes next, if nothing is left of what was unpacked before.
    fn fill(&mut self, after: Option<(Moment, i64)>) -> Result<(), StorageError> {
        while self.ahead.as_slice().is_empty()
            && let Some(piece) = self.pieces.pop_front()
        {
            let mut versions = piece.versions()?;
            if let Some(after) = after {
                versions.retain(|version| (version.observed_at, version.seq) > after);
            }
            self.ahead = versions.into_iter();
        }
        Ok(())
    }

    fn first(&self) -> Option<(Moment, i64)> {
        self.ahead.as_slice().first().map(|first| (first.observed_at, first.seq))
    }
}

impl Points {
    /// Before the first. The range's `limit` is the caller's to keep.
    pub fn new(range: PriceRange) -> Self {
        Self { windows: Windows::new(range), feeds: Vec::new() }
    }

    /// Whether everything was read.
    pub const fn are_read(&self) -> bool {
        self.windows.next.is_none()
    }

    /// Reads the next window. Everything that was read before must have been given.
    pub async fn read(&mut self, tx: &mut Tx) -> Result<(), StorageError> {
        let feed = |part: Part| {
            let Part { teller, pieces } = part;
            Feed { teller, pieces, ahead: Vec::new().into_iter() }
        };
        self.feeds = self.windows.read(tx).await?.into_iter().map(feed).collect();
        Ok(())
    }

    /// Takes out the next point of what was read, and who tells it.
    pub fn take(&mut self) -> Result<Option<(&Teller, Version)>, StorageError> {
        for feed in &mut self.feeds {
            feed.fill(self.windows.range.after)?;
        }
        let first = |feed: &&mut Feed| feed.first();
        let next = self.feeds.iter_mut().filter(|feed| feed.first().is_some()).min_by_key(first);
        Ok(next.and_then(|feed| Some((&feed.teller, feed.ahead.next()?))))
    }
}

/// Points of a range as candles are made of them: by column where nothing corrects them, each series for itself.
#[derive(Debug)]
pub struct Bars(Windows);

impl Bars {
    /// Before the first.
    pub fn new(range: PriceRange) -> Self {
        Self(Windows::new(range))
    }

    /// Whether everything was read.
    pub const fn are_read(&self) -> bool {
        self.0.next.is_none()
    }

    /// Everything of the next window.
    pub async fn read(&mut self, tx: &mut Tx) -> Result<Vec<(Teller, Run)>, StorageError> {
        let parts = self.0.read(tx).await?;
        let mut runs = Vec::with_capacity(parts.len());
        for part in parts {
            let mut run = Run::default();
            for piece in part.pieces {
                let quotes = match &piece {
                    Piece::Block(block, from, to) => block.quotes(*from, *to)?,
                    Piece::Versions(_) => None,
                };
                match quotes {
                    Some((columns, rows)) => run.push_columns(columns, rows),
                    None => run.push_versions(piece.versions()?),
                }
            }
            runs.push((part.teller, run));
        }
        Ok(runs)
    }
}

impl Teller {
    /// What it says as a point.
    pub fn point(&self, asset: AssetKey, version: Version) -> PricePoint {
        PricePoint {
            asset,
            source: self.source.as_ref().to_owned(),
            interval: self.candle.to_owned(),
            observed_at: version.observed_at,
            recorded_at: version.recorded_at,
            split_adjusted: self.split_adjusted,
            quote: version.quote,
        }
    }
}
