//! The quotas of a credential: taken once somebody has looked at it, and counted for who holds it.
//!
//! What a request shows may be written in many ways, and one holder has many tokens: counting what is shown would give
//! each of them a quota of its own. Nor is anything counted for a holder before the credential was found to be good: else
//! whoever knows the public part of a key could use up its quota.

use super::{Asked, Guard, Policy};
use crate::http::error::{ApiError, Code};
use crate::http::meters::Reading;
use crate::telemetry::HTTP_TURNED_AWAY;
use crate::workers::directory::Standing;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Which of the quotas of a credential.
#[derive(Debug, Clone, Copy)]
enum Which {
    Key,
    Heavy,
}

/// What a request will be counted to once its sender is known; an extension of every request that is counted.
#[derive(Debug, Clone)]
pub struct Account {
    now: Duration,
    heavy: bool,
    charged: Arc<OnceLock<Option<(Which, Reading)>>>,
}

impl Account {
    pub(super) fn of(asked: &Asked) -> Self {
        Self { now: asked.now, heavy: asked.heavy, charged: Arc::default() }
    }

    /// Takes the request off the quotas of whoever was let in, once.
    ///
    /// # Errors
    /// [`Code::TooManyRequests`]; nothing was done then.
    pub fn charge(&self, guard: &Guard, standing: &Standing) -> Result<(), ApiError> {
        let charged = *self.charged.get_or_init(|| self.take(guard, standing));
        match charged {
            Some((which, reading)) if !reading.fits => match which.policy(guard) {
                Some(policy) => Err(too_many(policy, reading)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// What the client is told of: the quota that is used up, or the narrower one.
    fn take(&self, guard: &Guard, standing: &Standing) -> Option<(Which, Reading)> {
        let (policies, meters) = (&guard.policies, &guard.meters);
        let holder = meters.subject(standing.holder()?);
        let mut told = None;
        if let Some(heavy) = policies.heavy.as_ref().filter(|_| self.heavy) {
            // What one quota refuses costs nothing of the other.
            let key = policies.key.as_ref().map(|key| meters.look(key.quota, holder, self.now));
            if let Some(reading) = key.filter(|key| !key.fits) {
                return Some((Which::Key, reading));
            }
            let reading = meters.charge(heavy.quota, holder.rotate_left(32), self.now);
            told = Some((Which::Heavy, reading));
            if !reading.fits {
                return told;
            }
        }
        let key = policies.key.as_ref().map(|key| meters.charge(key.quota, holder, self.now));
        let key = key.map(|reading| (Which::Key, reading));
        told.filter(|_| key.is_none_or(|(_, reading)| reading.fits)).or(key)
    }

    /// How its holder stands, if it was counted.
    pub(super) fn told<'a>(&self, guard: &'a Guard) -> Option<(&'a Policy, Reading)> {
        let (which, reading) = self.charged.get().copied().flatten()?;
        Some((which.policy(guard)?, reading))
    }
}

impl Which {
    const fn policy(self, guard: &Guard) -> Option<&Policy> {
        match self {
            Self::Key => guard.policies.key.as_ref(),
            Self::Heavy => guard.policies.heavy.as_ref(),
        }
    }
}

/// That a quota is used up.
pub(super) fn too_many(policy: &Policy, reading: Reading) -> ApiError {
    metrics::counter!(HTTP_TURNED_AWAY, "reason" => policy.name).increment(1);
    let detail = match policy.name {
        "refused" => "too many keys from this address were not valid",
        _ => "too many requests",
    };
    let wait = super::wait(reading);
    ApiError::new(Code::TooManyRequests, format!("{detail}; nothing was done, try again in {wait} s"))
}
