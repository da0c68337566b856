//! Why a feed stops, and what follows from that.

use crate::storage::error::StorageError;
use crate::workers::feeds::tokens::Malformed;
use crate::workers::outbound::{NoClient, OutboundError, retry_after};
use crate::workers::records::RecordsError;
use std::time::Duration;

/// Shortest wait after an answer that says there were too many requests and does not say how long to wait.
const TOO_MANY: Duration = Duration::from_mins(1);
/// The same for a ban.
const BANNED: Duration = Duration::from_mins(2);

/// Why a feed stops.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The way out is barred or broken.
    #[error(transparent)]
    Outbound(Box<OutboundError>),
    /// There is no way out of this machine.
    #[error(transparent)]
    NoClient(#[from] NoClient),
    /// An answer of another status than 200.
    #[error("{place} answered {status}: {said}")]
    Answered {
        /// Who.
        place: String,
        /// The status.
        status: u16,
        /// The beginning of the body.
        said: String,
        /// How long to wait.
        retry_after: Option<Duration>,
    },
    /// A refusal within an answer or a frame.
    #[error("refused: {said}")]
    Refused {
        /// What was said.
        said: String,
        /// Whether asking again is of no use.
        hopeless: bool,
        /// How long to wait.
        retry_after: Option<Duration>,
    },
    /// Not what the venue documents.
    #[error("not understood: {0}")]
    Malformed(String),
    /// No frame for too long.
    #[error("no frame for {0:?}, not even a sign of life")]
    Silent(Duration),
    /// The venue closed the connection.
    #[error("the connection was closed: {0}")]
    Closed(String),
    /// Nothing was stored.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The files of the source could not be written.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The venue may not be asked for so long.
    #[error("may not be asked for {0:?}")]
    NotYet(Duration),
    /// The service stops.
    #[error("stopped")]
    Stopped,
}

impl From<OutboundError> for FeedError {
    fn from(error: OutboundError) -> Self {
        Self::Outbound(Box::new(error))
    }
}

impl From<Malformed> for FeedError {
    fn from(Malformed(said): Malformed) -> Self {
        Self::Malformed(said)
    }
}

impl FeedError {
    /// A refusal in the provider's words, of which the configuration says whether it may pass.
    pub(super) fn said(said: String, passes: bool) -> Self {
        let retry_after = passes.then_some(TOO_MANY);
        let refused = Self::refused(said);
        if let Self::Refused { said, retry_after: asked, .. } = refused {
            return Self::Refused { said, hopeless: false, retry_after: retry_after.or(asked) };
        }
        refused
    }

    /// A refusal that may pass.
    pub(super) fn refused(said: String) -> Self {
        let many = ["rate limit", "too many"].iter().any(|sign| said.to_lowercase().contains(sign));
        let hopeless = ["EQuery:", "EGeneral:Invalid"].iter().any(|sign| said.starts_with(sign));
        Self::Refused { said, hopeless, retry_after: many.then_some(TOO_MANY) }
    }

    /// Whether it is no fault of the venue: then nothing can be done.
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self, Self::Storage(_) | Self::Records(_) | Self::NoClient(_) | Self::Stopped)
    }

    /// How long the venue wants to be left alone.
    pub(super) fn retry_after(&self, now: i64) -> Option<Duration> {
        match self {
            Self::Answered { status, retry_after, .. } => retry_after.or(match status {
                429 => Some(TOO_MANY),
                418 => Some(BANNED),
                _ => None,
            }),
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Outbound(error) => match error.as_ref() {
                OutboundError::NoSocket { headers, .. } => retry_after(headers, now),
                OutboundError::Forbidden { .. }
                | OutboundError::Redirected { .. }
                | OutboundError::Late { .. }
                | OutboundError::TooLong { .. }
                | OutboundError::Unreachable { .. }
                | OutboundError::Broken { .. }
                | OutboundError::WrongScheme { .. } => None,
            },
            Self::NoClient(_)
            | Self::Malformed(_)
            | Self::Silent(_)
            | Self::Closed(_)
            | Self::Storage(_)
            | Self::Records(_)
            | Self::Stopped => None,
            Self::NotYet(wait) => Some(*wait),
        }
    }

    /// Whether trying again soon is of no use: somebody has to change something.
    pub(super) fn is_hopeless(&self) -> bool {
        match self {
            Self::Answered { status, .. } => {
                *status >= 400 && *status < 500 && !matches!(*status, 408 | 418 | 425 | 429)
            }
            Self::Refused { hopeless, .. } => *hopeless,
            Self::Outbound(error) => matches!(error.as_ref(), OutboundError::Forbidden { .. }),
            Self::NoClient(_)
            | Self::Malformed(_)
            | Self::Silent(_)
            | Self::Closed(_)
            | Self::Storage(_)
            | Self::Records(_)
            | Self::NotYet(_)
            | Self::Stopped => false,
        }
    }
}
