//! JSON web tokens (RFC 7519, RFC 8725): reading one without believing it, and judging it by a key that is known.
//!
//! A token is believed in this order and no other: its size, its three parts, its header, the issuer it names, the key
//! of that issuer with its `kid`, the one algorithm of that key, the signature, then the claims. What a header offers
//! beside (`jku`, `jwk`, `x5u`, `x5c`, `crit`) is refused: keys come from the configuration alone.

pub mod issuers;
pub mod signing;

use crate::domain::moment::Moment;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Longest token, in bytes.
pub const LENGTH_MAX: usize = 8 << 10;
/// How far clocks may stand apart, in microseconds.
pub const LEEWAY: i64 = 30_000_000;
/// How far ahead a token may expire, in microseconds: revocations need not be remembered for longer.
pub const LIFETIME_MAX: i64 = 24 * crate::domain::moment::HOUR;
/// Longest `kid`, `iss`, `sub` or `jti`, in bytes.
const NAME_MAX: usize = 255;

/// Why a token is not believed. For the log and the metrics; the client is told nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It is longer than [`LENGTH_MAX`].
    #[error("too_long")]
    TooLong,
    /// It is not three parts of base64url with JSON objects in the first two.
    #[error("malformed")]
    Malformed,
    /// Its header asks for something that is not done here.
    #[error("header_refused")]
    Header,
    /// Nobody here trusts that issuer.
    #[error("unknown_issuer")]
    UnknownIssuer,
    /// The issuer has no such key.
    #[error("unknown_key")]
    UnknownKey,
    /// It names another algorithm than its key has.
    #[error("wrong_algorithm")]
    WrongAlgorithm,
    /// The signature is not that of the key.
    #[error("bad_signature")]
    BadSignature,
    /// It is of another type: it tells who somebody is, renews others, or ends a login.
    #[error("wrong_type")]
    WrongType,
    /// It is for somebody else.
    #[error("wrong_audience")]
    WrongAudience,
    /// It has expired, or expires too far ahead.
    #[error("expired")]
    Expired,
    /// It is not valid yet, or was issued in the future.
    #[error("not_yet_valid")]
    NotYetValid,
    /// A claim is missing or of the wrong kind.
    #[error("bad_claims")]
    BadClaims,
    /// It, its user or its session was revoked.
    #[error("revoked")]
    Revoked,
}

/// The one algorithm of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA PSS with SHA-256.
    Ps256,
    /// Ed25519.
    EdDsa,
}

impl KeyAlgorithm {
    /// Its name in a header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Tells a key from another one under the same `kid`.
pub type KeyMark = [u8; 32];

/// A key that verifies.
#[derive(Debug, Clone)]
pub struct VerifyingKey {
    /// The only algorithm it is used with.
    pub algorithm: KeyAlgorithm,
    /// The key.
    pub key: DecodingKey,
    /// Which one it is.
    pub mark: KeyMark,
}

impl VerifyingKey {
    /// A key, with the parts it was made of.
    pub fn new(algorithm: KeyAlgorithm, key: DecodingKey, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new_with_prefix(algorithm.name());
        for part in parts {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self { algorithm, key, mark: hash.finalize().into() }
    }

    /// Whether a signature is that of this key.
    fn signed(&self, message: &[u8], signature: &str) -> bool {
        let algorithm = match self.algorithm {
            KeyAlgorithm::Hs256 => Algorithm::HS256,
            KeyAlgorithm::Rs256 => Algorithm::RS256,
            KeyAlgorithm::Ps256 => Algorithm::PS256,
            KeyAlgorithm::EdDsa => Algorithm::EdDSA,
        };
        jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }
}

/// What a header may not ask for: keys of its own, and ways to read the rest of the token.
const REFUSED: [&str; 8] = ["crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc"];

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

impl Header {
    fn is_plain(&self) -> bool {
        is_name(&self.kid) && REFUSED.iter().all(|name| !self.other.contains_key(*name))
    }
}

/// The type of a token for access (RFC 9068, section 2.1).
pub const ACCESS_TYPE: &str = "at+jwt";
/// The type of a token that does not say what it is for.
const PLAIN_TYPE: &str = "jwt";

/// A type as it is compared: a header may leave `application/` out, and letters may be of any case (RFC 7515, 4.1.9).
pub fn bare_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").map_or(typ.clone(), str::to_owned)
}

/// Claims that no token for access has: those of ID tokens (`OpenID` Connect Core, 2 and 3.3.2.11), and of events, such as
/// the end of a login (RFC 8417).
const NOT_FOR_ACCESS: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "events"];

/// Whether claims are those of a token for access. Some issuers say what a token is for in a claim: `typ` (Keycloak) or
/// `token_use` (Cognito).
fn is_for_access(claims: &serde_json::Map<String, serde_json::Value>) -> bool {
    let says = |name: &str, allowed: &[&str]| {
        claims.get(name).is_none_or(|said| {
            said.as_str().is_some_and(|said| allowed.iter().any(|known| bare_type(said) == *known))
        })
    };
    NOT_FOR_ACCESS.iter().all(|name| !claims.contains_key(*name))
        && says("typ", &["bearer", ACCESS_TYPE, PLAIN_TYPE])
        && says("token_use", &["access"])
}

/// One text or a list of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: i64,
    nbf: Option<i64>,
    iat: Option<i64>,
    jti: Option<String>,
    sid: Option<String>,
    scope: Option<OneOrMany>,
    scp: Option<OneOrMany>,
    /// Every other claim: one of them may name the owner.
    #[serde(flatten)]
    other: serde_json::Map<String, serde_json::Value>,
}

/// A token as it came, read but not believed.
#[derive(Debug)]
pub struct Presented<'a> {
    /// Id of the key it says it was signed with.
    pub kid: String,
    /// Who says it issued it.
    pub issuer: String,
    typ: String,
    algorithm: String,
    message: &'a str,
    signature: &'a str,
    claims: Believed,
}

/// What a token says, once it is believed.
#[derive(Debug, Clone)]
pub struct Believed {
    /// Who it is about.
    pub sub: String,
    /// Its id.
    pub jti: Option<String>,
    /// The login it belongs to; of our own tokens.
    pub sid: Option<String>,
    /// When it was issued.
    pub issued_at: Option<Moment>,
    /// When it expires, leeway included.
    pub expires_at: Moment,
    /// What it says its holder may do.
    pub scopes: Vec<String>,
    audiences: Vec<String>,
    not_before: Option<Moment>,
    other: serde_json::Map<String, serde_json::Value>,
}

impl Believed {
    /// A claim with a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        if name == "sub" {
            return Some(&self.sub);
        }
        self.other.get(name).and_then(serde_json::Value::as_str).filter(|text| is_name(text))
    }
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= NAME_MAX && !text.chars().any(char::is_control)
}

/// Seconds since 1970 as a moment; far beyond any clock it is no moment.
fn moment(seconds: i64) -> Option<Moment> {
    (0..=253_402_300_799).contains(&seconds).then(|| Moment(seconds.saturating_mul(1_000_000)))
}

/// A JSON object out of a part of a token.
fn part(text: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let json = String::from_utf8(bytes).ok()?;
    json.starts_with('{').then_some(json)
}

impl<'a> Presented<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn read(token: &'a str) -> Result<Self, TokenFault> {
        if token.len() > LENGTH_MAX {
            return Err(TokenFault::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenFault::Malformed)?;
        // Also refuses what is not base64url of its own: padding, blanks, bits left over.
        URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenFault::Malformed)?;
        let header = part(header).ok_or(TokenFault::Malformed)?;
        let payload = part(payload).ok_or(TokenFault::Malformed)?;
        // A member that stands twice is refused by serde.
        let header: Header = serde_json::from_str(&header).map_err(|_| TokenFault::Header)?;
        if !header.is_plain() {
            return Err(TokenFault::Header);
        }
        let claims: Claims = serde_json::from_str(&payload).map_err(|_| TokenFault::BadClaims)?;
        let optional =
            |seconds: Option<i64>| seconds.map(|seconds| moment(seconds).ok_or(TokenFault::BadClaims));
        let named = [Some(&claims.iss), Some(&claims.sub), claims.jti.as_ref(), claims.sid.as_ref()];
        if !named.into_iter().flatten().all(|text| is_name(text)) {
            return Err(TokenFault::BadClaims);
        }
        let scopes = [&claims.scope, &claims.scp].into_iter().flatten().flat_map(OneOrMany::names);
        let scopes = scopes.flat_map(|names| names.split(' ')).filter(|name| !name.is_empty());
        let believed = Believed {
            scopes: scopes.map(str::to_owned).collect(),
            audiences: claims.aud.names().to_vec(),
            issued_at: optional(claims.iat).transpose()?,
            not_before: optional(claims.nbf).transpose()?,
            expires_at: moment(claims.exp).ok_or(TokenFault::BadClaims)?.plus(LEEWAY),
            sub: claims.sub,
            jti: claims.jti,
            sid: claims.sid,
            other: claims.other,
        };
        Ok(Self {
            kid: header.kid,
            issuer: claims.iss,
            typ: header.typ.as_deref().map_or_else(|| PLAIN_TYPE.to_owned(), bare_type),
            algorithm: header.alg,
            message,
            signature,
            claims: believed,
        })
    }

    /// Believes a token that this key has signed for access to this audience, at this moment. Where the issuer gives its
    /// tokens a type, it must be that one.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn believe(
        self,
        key: &VerifyingKey,
        (audience, typ): (&str, Option<&str>),
        now: Moment,
    ) -> Result<Believed, TokenFault> {
        if self.algorithm != key.algorithm.name() {
            return Err(TokenFault::WrongAlgorithm);
        }
        if !key.signed(self.message.as_bytes(), self.signature) {
            return Err(TokenFault::BadSignature);
        }
        let claims = self.claims;
        let typed = typ.map_or([PLAIN_TYPE, ACCESS_TYPE].contains(&self.typ.as_str()), |typ| self.typ == typ);
        if !typed || !is_for_access(&claims.other) {
            return Err(TokenFault::WrongType);
        }
        if !claims.audiences.iter().any(|named| named == audience) {
            return Err(TokenFault::WrongAudience);
        }
        if claims.expires_at <= now || claims.expires_at > now.plus(LIFETIME_MAX + 2 * LEEWAY) {
            return Err(TokenFault::Expired);
        }
        let early = |at: &Moment| *at > now.plus(LEEWAY);
        if claims.not_before.iter().chain(&claims.issued_at).any(early) {
            return Err(TokenFault::NotYetValid);
        }
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_apart_or_refused_however_odd_it_is() {
        let parts = [
            r#"{"alg":"EdDSA","kid":"k1","typ":"JWT"}"#,
            r#"{"iss":"https://id.example","sub":"alice","aud":["artifact"],"exp":1767225600,"nbf":0,"iat":1767222000,"jti":"1","scope":"markets:read prices:read","scp":["admin"]}"#,
        ];
        let read = |header: &[u8], payload: &[u8]| {
            let token =
                format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload), "c2ln");
            let Ok(presented) = Presented::read(&token) else { return };
            assert!(is_name(&presented.kid) && is_name(&presented.issuer) && is_name(&presented.claims.sub));
            assert!(presented.claims.expires_at >= Moment(0).plus(LEEWAY));
        };
        crate::domain::hammer::hammer(&parts, |part| {
            read(part, parts[1].as_bytes());
            read(parts[0].as_bytes(), part);
            if let Ok(token) = std::str::from_utf8(part) {
                drop(Presented::read(token));
            }
        });
    }

    /// A token of our own that ends at this second, and the key it is signed with.
    fn signed(expires: i64, more: &serde_json::Value) -> (String, VerifyingKey) {
        let place = std::env::temp_dir().join(format!("artifact-tokens-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let place = crate::workers::server_secret::SecretPlace::Directory(place);
        let random = crate::random::Random::System;
        let secret = crate::workers::server_secret::ServerSecret::load(&place, random).unwrap();
        let (kid, public_key) = signing::Signer::make(&secret, random).unwrap();
        let key = crate::storage::token_keys::SigningKey {
            kid,
            public_key,
            created_at: Moment(0),
            retired_at: None,
        };
        let mut claims = serde_json::json!({ "iss": "https://id.example", "sub": "alice", "aud": "artifact", "exp": expires });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let token = signing::Signer::of(&secret, &key).unwrap().sign(&claims).unwrap();
        (token, signing::verifying(&key).unwrap())
    }

    /// What becomes of it at a second.
    fn believed(token: &str, key: &VerifyingKey, now: i64) -> Result<(), TokenFault> {
        Presented::read(token)?.believe(key, ("artifact", None), Moment(now * 1_000_000)).map(drop)
    }

    #[test]
    fn a_token_lives_for_a_day_and_clocks_stand_half_a_minute_apart() {
        let (expires, nothing) = (1_800_000_000, serde_json::json!({}));
        let (token, key) = signed(expires, &nothing);
        // It is made a day before it ends, by a clock that is 30 s ahead; and it is good for 30 s more.
        let made = expires - 86_400 - 30;
        assert_eq!(believed(&token, &key, made - 1), Err(TokenFault::Expired));
        assert_eq!(believed(&token, &key, made), Ok(()));
        assert_eq!(believed(&token, &key, expires + 29), Ok(()));
        assert_eq!(believed(&token, &key, expires + 30), Err(TokenFault::Expired));
        let now = expires - 600;
        for claim in ["nbf", "iat"] {
            let (token, key) = signed(expires, &serde_json::json!({ claim: now + 30 }));
            assert_eq!(believed(&token, &key, now), Ok(()), "{claim}");
            assert_eq!(believed(&token, &key, now - 1), Err(TokenFault::NotYetValid), "{claim}");
        }
    }

    #[test]
    fn a_token_is_as_long_as_eight_kib_and_not_longer() {
        let whole = "x".repeat(8_192);
        assert_eq!(Presented::read(&whole).unwrap_err(), TokenFault::Malformed);
        assert_eq!(Presented::read(&format!("{whole}x")).unwrap_err(), TokenFault::TooLong);
    }
}
