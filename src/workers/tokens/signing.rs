//! Our own tokens: Ed25519 keys whose private half follows from the server's secret, and what they sign.
//!
//! The database keeps the public halves alone. A key that was retired verifies for as long as a token of it can live.

use super::{ACCESS_TYPE, KeyAlgorithm, LEEWAY, VerifyingKey};
use crate::domain::hexadecimal::hex;
use crate::domain::moment::{HOUR, Moment};
use crate::random::{NoRandomness, Random};
use crate::storage::token_keys::SigningKey;
use crate::workers::server_secret::ServerSecret;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;

/// Longest life of an access token, in microseconds.
pub const ACCESS_MAX: i64 = HOUR;
/// What private halves are derived for.
const PURPOSE: &str = "token signing key";

/// A key that signs.
pub struct Signer {
    /// Its id.
    pub kid: String,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

impl Signer {
    /// A new key: its id, and its public half in hex.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn make(secret: &ServerSecret, random: Random) -> Result<(String, String), NoRandomness> {
        let kid = hex(&random.bytes::<8>()?);
        let seed = secret.derived(PURPOSE, &kid).into_iter().next().ok_or(NoRandomness)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| NoRandomness)?;
        let public = hex(pair.public_key().as_ref());
        Ok((kid, public))
    }

    /// The private half of a kept key; `None` when the secret it came from is not here.
    pub fn of(secret: &ServerSecret, key: &SigningKey) -> Option<Self> {
        let public = unhex(&key.public_key)?;
        let seeds = secret.derived(PURPOSE, &key.kid);
        let pair =
            seeds.iter().find_map(|seed| Ed25519KeyPair::from_seed_and_public_key(seed, &public).ok())?;
        Some(Self { kid: key.kid.clone(), pair })
    }

    /// A signed token.
    pub fn sign(&self, claims: &impl Serialize) -> Option<String> {
        let header =
            json!({ "alg": KeyAlgorithm::EdDsa.name(), "kid": self.kid, "typ": ACCESS_TYPE }).to_string();
        let claims = serde_json::to_string(claims).ok()?;
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()));
        Some(format!("{message}.{signature}"))
    }
}

/// Whether a token of this key can still be alive.
pub fn verifies(key: &SigningKey, now: Moment) -> bool {
    key.retired_at.is_none_or(|at| at.plus(ACCESS_MAX + LEEWAY) > now)
}

/// The public half, to verify with.
pub fn verifying(key: &SigningKey) -> Option<VerifyingKey> {
    let public = unhex(&key.public_key).filter(|public| public.len() == 32)?;
    Some(VerifyingKey::new(KeyAlgorithm::EdDsa, DecodingKey::from_ed_der(&public), &[&public]))
}

/// The public half as a JWK (RFC 8037).
pub fn jwk(key: &SigningKey) -> Option<Value> {
    let x = URL_SAFE_NO_PAD.encode(unhex(&key.public_key)?);
    Some(json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": x }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An access token lives for an hour at most, and clocks stand half a minute apart.
    #[test]
    fn a_retired_key_verifies_for_as_long_as_its_last_token_can_live() {
        let key = |retired_at| SigningKey {
            kid: String::new(),
            public_key: String::new(),
            created_at: Moment(0),
            retired_at,
        };
        let second = |second: i64| Moment(second * 1_000_000);
        assert!(verifies(&key(None), Moment::MAX));
        assert!(verifies(&key(Some(second(100))), second(100 + 3_600 + 29)));
        assert!(!verifies(&key(Some(second(100))), second(100 + 3_600 + 30)));
    }
}
