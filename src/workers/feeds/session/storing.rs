//! From what was gathered to the store, the files of the source, and the cursors, in this order.

use super::{Gathered, Key, Session, UNSAVED, series_of};
use crate::domain::audit::Actor;
use crate::domain::interval::Interval;
use crate::domain::moment::Moment;
use crate::domain::price::Quote;
use crate::storage::database::Tx;
use crate::storage::error::StorageError;
use crate::storage::feeds::{self as kept_feeds, Cursor};
use crate::storage::price_sources;
use crate::telemetry;
use crate::workers::feeds::definition::Kind;
use crate::workers::feeds::failure::FeedError;
use crate::workers::intake::{self, Counts, Refused, Rows, SeriesName, Tally};
use crate::workers::rate_intake::{self, PairRates};
use crate::workers::records::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Session<'_> {
    /// Stores what was gathered, in one commit.
    ///
    /// # Errors
    /// The database's; then nothing of it is stored.
    pub(in crate::workers::feeds) async fn store(&mut self) -> Result<(), FeedError> {
        let Gathered { points, rates, mut reached } = std::mem::take(&mut self.gathered);
        if !points.is_empty() {
            // Once somebody has added the asset, all of it is wanted.
            for symbol in self.store_points(points).await? {
                reached.remove(&symbol);
                self.tapes.remove(&symbol);
            }
        }
        if !rates.is_empty() {
            for code in self.store_rates(rates).await? {
                reached.remove(&code);
            }
        }
        for (symbol, cursor) in reached {
            let known = self.reached.entry(symbol).or_insert(cursor);
            if known.observed_at <= cursor.observed_at {
                *known = cursor;
            }
        }
        if self.unsaved.len() >= UNSAVED {
            self.flush().await?;
        }
        Ok(())
    }

    /// Stores points; the symbols that nobody knows.
    async fn store_points(&mut self, points: BTreeMap<Key, Quote>) -> Result<BTreeSet<String>, FeedError> {
        let (definition, now) = (self.definition(), self.now());
        let (source, adjusted) = (definition.source.clone(), definition.kind == Kind::Yahoo);
        let mut rows = Rows::default();
        let mut records = Vec::with_capacity(points.len());
        for (line, ((symbol, interval, at), quote)) in (0..).zip(points) {
            let name = SeriesName { symbol: symbol.clone(), source: source.clone(), interval };
            let place = rows.name(name);
            rows.push(place, line, at, quote.clone());
            let interval = interval.map_or("", Interval::name).to_owned();
            records.push(Record { observed_at: at, symbol, interval, quote });
        }
        let newest = records.iter().map(|record| record.observed_at).max();
        let stored: Result<(Tally, Vec<Refused>), StorageError> = self
            .context
            .db
            .writer()
            .write(Actor::system("feeds"), move |tx| {
                Box::pin(async move {
                    if adjusted {
                        mark_adjusted(tx, &source).await?;
                    }
                    let mut judged = intake::judge(tx, rows, now).await?;
                    let refused = std::mem::take(&mut judged.refused);
                    Ok((judged.record(tx).await?, refused))
                })
            })
            .await;
        let (tally, refused) = stored?;
        tally.publish();
        let is_refused: Vec<u64> = refused.iter().map(|refused| refused.line).collect();
        let symbol_of = |line: u64| {
            let record = usize::try_from(line).ok().and_then(|line| records.get(line));
            record.map(|record| record.symbol.clone()).unwrap_or_default()
        };
        let named: Vec<(String, Refused)> =
            refused.into_iter().map(|refused| (symbol_of(refused.line), refused)).collect();
        if definition.save_records {
            let good = (0..).zip(records).filter(|(line, _)| is_refused.binary_search(line).is_err());
            self.unsaved.extend(good.map(|(_, record)| record));
        }
        let unknown = unknown(&named);
        self.counted(tally.total(), named, newest);
        Ok(unknown)
    }

    /// Stores rates; the currencies that nobody knows.
    async fn store_rates(
        &mut self,
        rates: BTreeMap<String, PairRates>,
    ) -> Result<BTreeSet<String>, FeedError> {
        let (source, now) = (self.definition().source.clone(), self.now());
        let newest = rates.values().flat_map(|points| points.iter().map(|(at, _)| *at)).max();
        let stored: Result<_, StorageError> = self
            .context
            .db
            .writer()
            .write(Actor::system("feeds"), move |tx| {
                Box::pin(async move { rate_intake::record_known(tx, &source, "EUR", rates, now).await })
            })
            .await;
        let taken = stored?;
        let counts = taken.counts;
        Tally(BTreeMap::from([(self.definition().source.clone(), counts)])).publish();
        let unknown = unknown(&taken.refused);
        self.counted(counts, taken.refused, newest);
        Ok(unknown)
    }

    fn counted(&mut self, counts: Counts, refused: Vec<(String, Refused)>, newest: Option<Moment>) {
        self.counts += counts;
        self.status(|status| {
            status.counts += counts;
            status.last_event_at = status.last_event_at.max(newest);
            for (symbol, refused) in refused {
                status.refuse(symbol, &refused);
            }
        });
        let lag = newest.map(|newest| self.now().0.saturating_sub(newest.0)).unwrap_or_default();
        let lag = Duration::from_micros(u64::try_from(lag).unwrap_or_default()).as_secs_f64();
        metrics::gauge!(telemetry::INGEST_LAG, "source" => self.definition().source.clone()).set(lag);
    }

    /// Writes the files of the source, then notes how far the feed got; unless something before is missing.
    ///
    /// # Errors
    /// [`FeedError`]; then it is done again from where it was noted last.
    pub(in crate::workers::feeds) async fn flush(&mut self) -> Result<(), FeedError> {
        let definition = self.definition();
        if !self.unsaved.is_empty() {
            let records = std::mem::take(&mut self.unsaved);
            let write_id = self
                .context
                .random
                .uuid_v7(self.now())
                .map_err(|error| FeedError::Malformed(error.to_string()))?;
            self.context.records.write(definition.source.clone(), records, write_id).await?;
        }
        let moved: Vec<(String, Cursor)> = self
            .reached
            .iter()
            .filter(|(symbol, cursor)| {
                self.kept.get(*symbol) != Some(cursor) && !self.holes.contains_key(*symbol)
            })
            .map(|(symbol, cursor)| (symbol.clone(), *cursor))
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        let (name, series, rows) = (definition.name.clone(), series_of(definition), moved.clone());
        let noted: Result<(), StorageError> = self
            .context
            .db
            .writer()
            .housekeep(move |tx| Box::pin(async move { advance(tx, &name, &series, rows).await }))
            .await;
        noted?;
        self.kept.extend(moved);
        Ok(())
    }
}

/// The symbols, or currencies, that nobody knows.
fn unknown(refused: &[(String, Refused)]) -> BTreeSet<String> {
    let unknown =
        |(_, refused): &&(String, Refused)| matches!(refused.code, "unknown_symbol" | "unknown_currency");
    refused.iter().filter(unknown).map(|(symbol, _)| symbol.clone()).collect()
}

async fn advance(
    tx: &mut Tx,
    name: &str,
    series: &str,
    cursors: Vec<(String, Cursor)>,
) -> Result<(), StorageError> {
    for (symbol, cursor) in cursors {
        kept_feeds::advance(tx, name, series, &symbol, cursor).await?;
    }
    Ok(())
}

/// Says once of a source that it takes splits out of its prices itself.
async fn mark_adjusted(tx: &mut Tx, source: &str) -> Result<(), StorageError> {
    let known = price_sources::find(tx, source, Moment::MAX).await?;
    if known.is_some_and(|known| known.split_adjusted) {
        return Ok(());
    }
    price_sources::mark(tx, source, true).await
}
