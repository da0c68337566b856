//! Points of one series on their way into candles.

use crate::domain::moment::Moment;
use crate::domain::price_block::Columns;
use crate::domain::price_version::Version;
use std::collections::VecDeque;
use std::ops::Range;
use std::vec::IntoIter;

/// Points of one series in order of time: columns where nothing corrects them, versions where something does.
#[derive(Debug, Default)]
pub struct Run(VecDeque<Piece>);

#[derive(Debug)]
enum Piece {
    /// Columns, and the rows that were not taken out yet.
    Columns(Box<Columns>, Range<usize>),
    Versions(IntoIter<Version>),
}

impl Piece {
    fn first(&self) -> Option<Moment> {
        match self {
            Self::Columns(columns, rows) => {
                columns.moments.get(rows.clone())?.first().map(|first| Moment(*first))
            }
            Self::Versions(versions) => versions.as_slice().first().map(|first| first.observed_at),
        }
    }
}

/// What is taken out of a run at a time.
#[derive(Debug)]
pub(super) enum Taken<'a> {
    /// Rows of columns.
    Rows(&'a Columns, Range<usize>),
    /// One point.
    Point(Version),
}

impl Run {
    /// Adds rows of columns, which come after all that is in it.
    pub fn push_columns(&mut self, columns: Columns, rows: Range<usize>) {
        self.push(Piece::Columns(Box::new(columns), rows));
    }

    /// Adds versions in force, which come after all that is in it, in order of time.
    pub fn push_versions(&mut self, versions: Vec<Version>) {
        self.push(Piece::Versions(versions.into_iter()));
    }

    fn push(&mut self, piece: Piece) {
        if piece.first().is_some() {
            self.0.push_back(piece);
        }
    }

    /// The moment of the first point that was not taken out yet.
    pub fn first(&self) -> Option<Moment> {
        self.0.iter().find_map(Piece::first)
    }

    /// Takes out the next points up to `last` that are of one kind.
    pub(super) fn take(&mut self, last: Moment) -> Option<Taken<'_>> {
        while self.0.front().is_some_and(|piece| piece.first().is_none()) {
            self.0.pop_front();
        }
        match self.0.front_mut()? {
            Piece::Columns(columns, rows) => {
                let moments = columns.moments.get(rows.clone())?;
                // Each row is passed over once, whatever the length of the candles.
                let count = moments.iter().position(|at| *at > last.0).unwrap_or(moments.len());
                let taken = rows.start..rows.start + count;
                rows.start = taken.end;
                (count > 0).then_some(Taken::Rows(columns, taken))
            }
            Piece::Versions(versions) => {
                versions.as_slice().first().filter(|first| first.observed_at <= last)?;
                versions.next().map(Taken::Point)
            }
        }
    }
}
