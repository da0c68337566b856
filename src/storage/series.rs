//! Price series held in memory for reads over time.
//!
//! What every price of an asset within a span of time says, versions that no longer count left out, in as few bytes as it
//! takes. A series is held until a price of its asset changes ([`super::ticks`]); reads "as known at" some moment, and
//! reads inside a write, neither use nor hold one.

use crate::domain::decimal::Decimal;
use crate::domain::ids::{AssetKey, SourceKey};
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::Close;
use crate::storage::newest::Source;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Points held, all series together: 32 bytes each.
const POINTS_MAX: usize = 2_000_000;
/// The scale of a price that does not fit 64 bits: its mantissa is a place among the wide ones.
const WIDE: u16 = u16::MAX;

/// One price.
#[derive(Debug, Clone, Copy)]
struct Point {
    observed_at: Moment,
    seq: i64,
    mantissa: i64,
    scale: u16,
    /// Place among the kinds.
    kind: u16,
}

/// The prices of an asset, in order of time.
#[derive(Debug, Default)]
pub(super) struct Series {
    /// Sources and lengths of candles.
    kinds: Vec<(SourceKey, String)>,
    points: Vec<Point>,
    wide: Vec<Decimal>,
}

impl Series {
    /// Adds a price that comes after those before, or at the same moment.
    pub(super) fn push(&mut self, observed_at: Moment, of: (SourceKey, &str), seq: i64, price: Decimal) {
        let known = self.kinds.iter().position(|(source, candle)| (*source, candle.as_str()) == of);
        let kind = known.unwrap_or_else(|| {
            self.kinds.push((of.0, of.1.to_owned()));
            self.kinds.len() - 1
        });
        let narrow = price.small().and_then(|(mantissa, scale)| Some((mantissa, u16::try_from(scale).ok()?)));
        let (mantissa, scale) = narrow.filter(|(_, scale)| *scale != WIDE).unwrap_or_else(|| {
            self.wide.push(price);
            (i64::try_from(self.wide.len() - 1).unwrap_or_default(), WIDE)
        });
        self.points.push(Point {
            observed_at,
            seq,
            mantissa,
            scale,
            kind: u16::try_from(kind).unwrap_or(u16::MAX),
        });
    }

    fn price(&self, point: &Point) -> Decimal {
        if point.scale != WIDE {
            return Decimal::new(i128::from(point.mantissa), u32::from(point.scale));
        }
        let place = usize::try_from(point.mantissa).unwrap_or_default();
        self.wide.get(place).cloned().unwrap_or_default()
    }

    /// The price that values the asset at each of these moments, told where it changes: the greatest moment, the order
    /// of sources, the later recorded.
    pub(super) fn closes<'a>(
        &self,
        ends: &[Moment],
        sources: &HashMap<SourceKey, Source>,
        priority: impl Fn(Moment) -> &'a [String],
    ) -> Vec<Close> {
        let of_kind = |(source, candle): &(SourceKey, String)| {
            let source = sources.get(source);
            let daily = Interval::from_name(candle).is_some_and(Interval::is_daily_or_longer);
            (daily, source.is_some_and(|source| source.split_adjusted), source.map(|s| s.name.as_ref()))
        };
        let kinds: Vec<(bool, bool, Option<&str>)> = self.kinds.iter().map(of_kind).collect();
        let mut chosen = Vec::with_capacity(ends.len().min(self.points.len()));
        let (mut last, mut passed) = (None, 0);
        for (slot, end) in ends.iter().enumerate() {
            while self.points.get(passed).is_some_and(|point| point.observed_at <= *end) {
                passed += 1;
            }
            let before = self.points.get(..passed).unwrap_or_default();
            let Some(newest) = before.last() else { continue };
            let ties = || before.iter().rev().take_while(|point| point.observed_at == newest.observed_at);
            let best = if ties().nth(1).is_none() {
                newest
            } else {
                let order = priority(*end);
                let rank = |point: &Point| {
                    let name = kinds.get(usize::from(point.kind)).and_then(|(_, _, name)| *name);
                    let place = name.and_then(|name| order.iter().position(|listed| listed == name));
                    (place.unwrap_or(usize::MAX), Reverse(point.seq))
                };
                ties().min_by_key(|point| rank(point)).unwrap_or(newest)
            };
            let this = (best.observed_at, best.kind);
            if last == Some(this) {
                continue;
            }
            last = Some(this);
            let (daily, split_adjusted, _) =
                kinds.get(usize::from(best.kind)).copied().unwrap_or((false, false, None));
            let price = self.price(best);
            chosen.push(Close { slot, observed_at: best.observed_at, price, daily, split_adjusted });
        }
        chosen
    }
}

/// A series, the span it covers, and the tick it was read at.
#[derive(Debug, Clone)]
struct Held {
    series: Arc<Series>,
    from: Moment,
    until: Moment,
    tick: u64,
}

/// The series held.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<HashMap<AssetKey, Held>>);

impl Shelf {
    /// The series of an asset, if one is held that covers the span and is as new as the last change of the asset.
    pub(super) fn get(
        &self,
        asset: AssetKey,
        (from, until): (Moment, Moment),
        changed_at: u64,
    ) -> Option<Arc<Series>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.get(&asset)?;
        let covers = known.from <= from && until <= known.until && changed_at <= known.tick;
        covers.then(|| Arc::clone(&known.series))
    }

    /// Holds a series that covers a span, as read at a tick.
    pub(super) fn keep(
        &self,
        asset: AssetKey,
        (from, until): (Moment, Moment),
        tick: u64,
        series: &Arc<Series>,
    ) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(asset, Held { series: Arc::clone(series), from, until, tick });
        let points: usize = held.values().map(|one| one.series.points.len()).sum();
        if points > POINTS_MAX {
            // Whoever is asked for again comes back; this one is in use.
            held.retain(|known, _| *known == asset);
        }
    }
}
