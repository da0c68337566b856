//! One-time passwords by time (RFC 6238), as the apps on people's phones make them: SHA-1, six digits, thirty seconds.
//!
//! Nothing is kept that makes one: the secret follows from the server's secret and a salt. SHA-1 is what every such app
//! knows; what is used here is HMAC, which does not rest on collisions being hard to find (RFC 6238, section 1.2).

use crate::domain::hexadecimal::hex;
use crate::domain::moment::Moment;
use crate::random::{NoRandomness, Random};
use crate::workers::server_secret::ServerSecret;
use totp_rs::{Builder, Secret, Totp};
use uuid::Uuid;

/// What secrets are derived for.
const PURPOSE: &str = "second factor";
/// Seconds of a step.
const STEP: u64 = 30;
/// Steps a clock may be before or behind.
const SKEW: u16 = 1;
/// Bytes of a secret: as many as the hash has (RFC 4226, section 4, R6).
const SECRET_BYTES: usize = 20;

/// A secret to be put into an app, shown once.
#[derive(Debug)]
pub struct Enrolment {
    /// The secret in base 32, for typing.
    pub secret: String,
    /// The same as a URI, for a picture that is scanned.
    pub uri: String,
}

/// What tells a new factor's secret from those before.
///
/// # Errors
/// [`NoRandomness`].
pub fn salt(random: Random) -> Result<String, NoRandomness> {
    Ok(hex(&random.bytes::<16>()?))
}

/// The generators of a factor, one for each secret the server knows, the newest first.
fn generators(server: &ServerSecret, (user, salt): (Uuid, &str), account: &str) -> Vec<Totp> {
    let seeds = server.derived(PURPOSE, &format!("{user} {salt}"));
    let generator = |seed: &[u8; 32]| {
        let secret = Secret::from(seed.get(..SECRET_BYTES)?.to_vec());
        let builder = Builder::new()
            .with_secret(secret)
            .with_step_duration(STEP)
            .with_skew(SKEW)
            .with_account_name(account)
            .with_issuer(Some("Artifact"));
        builder.build().ok()
    };
    seeds.iter().filter_map(generator).collect()
}

/// What is shown of a new factor.
pub fn enrolment(server: &ServerSecret, factor: (Uuid, &str), account: &str) -> Option<Enrolment> {
    let generator = generators(server, factor, account).into_iter().next()?;
    Some(Enrolment { secret: generator.secret().to_base32(), uri: generator.to_url().ok()? })
}

/// The step whose password this is, at `now`: of the step before, this one or the next.
pub fn step(server: &ServerSecret, (user, salt): (Uuid, &str), password: &str, now: Moment) -> Option<i64> {
    let seconds = u64::try_from(now.0.div_euclid(1_000_000)).ok()?;
    let generators = generators(server, (user, salt), "");
    let found = generators.iter().find_map(|generator| generator.check(password, seconds));
    found.and_then(|step| i64::try_from(step).ok())
}
