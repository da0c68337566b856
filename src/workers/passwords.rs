//! Hashes of passwords: Argon2id with 46 MiB, two passes and one lane, more than OWASP's least (19 MiB, two passes).
//!
//! A hash is made to be dear, so few are made at once and few may wait; the others are told to come again.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// Memory of one hash, in KiB.
const MEMORY_KIB: u32 = 46 << 10;
/// Passes over that memory.
const PASSES: u32 = 2;
/// Hashes made at once.
const AT_ONCE: usize = 2;
/// Hashes that are made or may wait.
const WAITING: usize = 34;

/// A password on its way: it is never printed.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Takes a password up.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Its text, to hold it to the rules.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// Why a password was not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHashed {
    /// Too many wait already.
    #[error("too many logins at once")]
    Busy,
    /// The hash itself failed.
    #[error("the password could not be hashed")]
    Failed,
}

/// Makes and checks hashes.
#[derive(Debug)]
pub struct Passwords {
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
    computed: AtomicU64,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            admitted: Arc::new(Semaphore::new(WAITING)),
            running: Arc::new(Semaphore::new(AT_ONCE)),
            computed: AtomicU64::new(0),
        }
    }
}

fn argon2() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl Passwords {
    /// Hashes made so far: what a check costs, for tests of equal work.
    pub fn computed(&self) -> u64 {
        self.computed.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Option<T> + Send + 'static,
    ) -> Result<T, NotHashed> {
        let admitted = Arc::clone(&self.admitted).try_acquire_owned().map_err(|_| NotHashed::Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.map_err(|_| NotHashed::Failed)?;
        self.computed.fetch_add(1, Ordering::Relaxed);
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Held here and not outside: a caller that goes away does not make the work cheaper.
            drop((admitted, running));
            done
        });
        done.await.ok().flatten().ok_or(NotHashed::Failed)
    }

    /// The hash of a password, with this salt.
    ///
    /// # Errors
    /// [`NotHashed`].
    pub async fn hash(&self, password: Password, salt: [u8; 16]) -> Result<String, NotHashed> {
        self.run(move || {
            let hash = argon2()?.hash_password_with_salt(password.0.as_bytes(), &salt).ok()?;
            Some(hash.to_string())
        })
        .await
    }

    /// Whether a password has this hash. Without one the work is the same and the answer is no.
    ///
    /// # Errors
    /// [`NotHashed`].
    pub async fn matches(&self, password: Password, kept: Option<String>) -> Result<bool, NotHashed> {
        self.run(move || {
            let argon2 = argon2()?;
            let Some(kept) = kept else {
                argon2.hash_password_with_salt(password.0.as_bytes(), &[0; 16]).ok()?;
                return Some(false);
            };
            let kept = PasswordHash::new(&kept).ok()?;
            Some(argon2.verify_password(password.0.as_bytes(), &kept).is_ok())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_and_each_check_costs_one_hash() {
        let passwords = Passwords::default();
        let given = || Password::new("correct horse battery".to_owned());
        let kept = passwords.hash(given(), [7; 16]).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=47104,t=2,p=1$"), "{kept}");
        assert_ne!(kept, passwords.hash(given(), [8; 16]).await.unwrap());
        let before = passwords.computed();
        assert!(passwords.matches(given(), Some(kept.clone())).await.unwrap());
        assert!(
            !passwords.matches(Password::new("Correct horse battery".to_owned()), Some(kept)).await.unwrap()
        );
        assert!(!passwords.matches(given(), None).await.unwrap());
        assert_eq!(passwords.computed(), before + 3);
        assert_eq!(format!("{:?}", given()), "Password(***)");
    }

    #[tokio::test]
    async fn more_than_may_wait_are_turned_away() {
        let passwords = Passwords::default();
        let _all = Arc::clone(&passwords.admitted).acquire_many_owned(34).await.unwrap();
        let refused = passwords.matches(Password::new("x".to_owned()), None).await;
        assert_eq!(refused, Err(NotHashed::Busy));
    }
}
