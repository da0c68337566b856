//! Answers of any length, written piece by piece, as NDJSON or CSV.

use crate::named_enum;
use crate::storage::error::StorageError;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use std::future::Future;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

named_enum! {
    /// How records are written one after another.
    StreamFormat {
        /// One JSON object a line.
        Ndjson = "ndjson",
        /// A table with a header.
        Csv = "csv",
    }
}

/// What an answer, or the work for one, is made from.
pub trait Chunks<T = Bytes>: Sized + Send + 'static {
    /// The next piece; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<T>, StorageError>> + Send;
}

/// Pieces that a task makes beside the work on those before. At most two wait to be taken; it ends with who takes them.
#[derive(Debug)]
pub struct Ahead<T> {
    pieces: mpsc::Receiver<Result<Option<T>, StorageError>>,
    _task: JoinSet<()>,
}

impl<T: Send + 'static> Ahead<T> {
    /// Begins to make them.
    pub fn of(mut chunks: impl Chunks<T>) -> Self {
        let (sender, pieces) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let piece = chunks.next().await;
                let goes_on = matches!(piece, Ok(Some(_)));
                if sender.send(piece).await.is_err() || !goes_on {
                    break;
                }
            }
        });
        Self { pieces, _task: task }
    }

    /// The next piece; `None` at the end, which the task has to tell: when it only falls silent, pieces are missing.
    pub async fn next(&mut self) -> Result<Option<T>, StorageError> {
        self.pieces.recv().await.unwrap_or(Err(StorageError::Panicked))
    }
}

/// An answer that is written as fast as the client reads; `name` is what a browser calls the file.
pub fn respond(chunks: impl Chunks, format: StreamFormat, name: &str) -> Response {
    let kind = match format {
        StreamFormat::Ndjson => "application/x-ndjson",
        StreamFormat::Csv => "text/csv; charset=utf-8; header=present",
    };
    let name = format!("attachment; filename=\"{name}.{format}\"");
    let pieces = futures_util::stream::unfold(Some(Ahead::of(chunks)), async |pieces| {
        let mut pieces = pieces?;
        match pieces.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(pieces))),
            Ok(None) => None,
            Err(error) => {
                // The answer has begun: all that is left is to break it off.
                tracing::error!(error = ?error, "an answer broke off");
                Some((Err(error), None))
            }
        }
    });
    // Who packs an answer asks once more after its end.
    let pieces = pieces.fuse();
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    (headers, Body::from_stream(pieces)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end, an error or a panic.
    type End = fn() -> Result<Option<u8>, StorageError>;

    /// So many pieces, and then that.
    struct Numbers(u8, End);

    impl Chunks<u8> for Numbers {
        async fn next(&mut self) -> Result<Option<u8>, StorageError> {
            match self.0.checked_sub(1) {
                Some(left) => {
                    self.0 = left;
                    Ok(Some(left))
                }
                None => self.1(),
            }
        }
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_no_end_is_taken_for_another() {
        let broken = || Err(StorageError::Corrupt("torn".to_owned()));
        let ends: [(End, &str); 3] = [
            (|| Ok(None), "Ok(None)"),
            (broken, "Err(Corrupt(\"torn\"))"),
            (|| panic!("a piece cannot be made"), "Err(Panicked)"),
        ];
        for (end, shown) in ends {
            let mut pieces = Ahead::of(Numbers(9, end));
            for left in (0..9).rev() {
                assert_eq!(pieces.next().await.unwrap(), Some(left));
            }
            assert_eq!(format!("{:?}", pieces.next().await), shown);
        }
    }

    #[tokio::test]
    async fn whoever_takes_no_more_ends_the_work() {
        struct Forever(mpsc::UnboundedSender<()>);
        impl Chunks<u8> for Forever {
            async fn next(&mut self) -> Result<Option<u8>, StorageError> {
                Ok(self.0.send(()).ok().map(|()| 1))
            }
        }
        let (sender, mut made) = mpsc::unbounded_channel();
        let mut pieces = Ahead::of(Forever(sender));
        pieces.next().await.unwrap();
        drop(pieces);
        let mut count = 0;
        // Closed when the task has dropped its sender.
        while made.recv().await.is_some() {
            count += 1;
        }
        assert!(count <= 3, "{count} pieces for one that was taken");
    }
}
