//! Issuers whose tokens are believed: what the configuration says of each, and the keys it has at the moment.

use super::{KeyAlgorithm, KeyMark, VerifyingKey};
use crate::domain::access::Scopes;
use crate::workers::outbound::authorities::Authorities;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// Fewest bytes of a secret for HS256, as many as the hash has.
pub const SECRET_MIN: usize = 32;
/// Fewest bytes of the modulus of an RSA key: 2048 bits.
const MODULUS_MIN: usize = 256;
/// The same where 128 bits of security are demanded: 3072 bits (NIST SP 800-57, part 1, table 2).
const MODULUS_APPROVED: usize = 384;
/// Most bytes: 8192 bits; a longer one costs too much to verify with.
const MODULUS_MAX: usize = 1024;
/// Largest document of keys.
pub const JWKS_MAX: usize = 256 << 10;
/// Most keys of an issuer.
const KEYS_MAX: usize = 64;

/// Where the keys of an issuer come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A shared secret for HS256, in a file, under this `kid`.
    Secret {
        /// The file.
        file: PathBuf,
        /// Its id in tokens.
        kid: String,
    },
    /// A JWK set in a file.
    File(PathBuf),
    /// A JWK set at an address.
    Url {
        /// The address.
        url: String,
        /// Whose certificates it may show.
        authorities: Authorities,
    },
}

/// What keys for signatures must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// What most issuers have: RS256 and PS256 from 2048 bits, and Ed25519.
    Usual,
    /// What OWASP ASVS 5.0 approves of (appendix C) with 128 bits of security: PS256 from 3072 bits, and Ed25519.
    Approved,
}

/// What the configuration says of an issuer.
#[derive(Debug, Clone)]
pub struct IssuerRules {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The `aud` they must have.
    pub audience: String,
    /// The type its tokens for access have, as [`super::bare_type`] writes it; `JWT` or `at+jwt`, or none, unless it is
    /// named.
    pub typ: Option<String>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// What they must be.
    pub strength: Strength,
    /// The most its tokens may do, whatever they say.
    pub ceiling: Scopes,
    /// The claim that names the owner.
    pub owner_claim: String,
    /// What is put before the owner's name.
    pub owner_prefix: String,
}

/// Keys by `kid`.
pub type Keys = HashMap<String, VerifyingKey>;

/// An issuer with the keys it has at the moment.
#[derive(Debug)]
pub struct Issuer {
    /// What the configuration says.
    pub rules: IssuerRules,
    keys: RwLock<Arc<Keys>>,
}

impl Issuer {
    /// An issuer whose keys are not known yet.
    pub fn new(rules: IssuerRules) -> Self {
        Self { rules, keys: RwLock::default() }
    }

    /// The key with this id.
    pub fn key(&self, kid: &str) -> Option<VerifyingKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(kid).cloned()
    }

    /// Whether the key with this id is still that one.
    pub fn has(&self, kid: &str, mark: KeyMark) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(kid).is_some_and(|key| key.mark == mark)
    }

    /// Takes over the keys it has now; those that are gone verify nothing any more.
    pub fn set_keys(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

/// Why a document of keys was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is too large.
    #[error("is larger than {JWKS_MAX} bytes")]
    TooLarge,
    /// It is no JWK set.
    #[error("is not a JWK set: {0}")]
    Malformed(String),
    /// A key cannot be used as it says.
    #[error("key `{kid}` {rule}")]
    Key {
        /// The key.
        kid: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A secret is too short.
    #[error("has fewer than {SECRET_MIN} bytes")]
    ShortSecret,
    /// No key in it is one that is used here.
    #[error("holds no key for EdDSA, PS256 or, unless approved_only is set, RS256 with a kid")]
    NoKey,
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
}

impl Jwk {
    /// Whether it is for signatures, of a kind that is used here.
    fn is_ours(&self, strength: Strength) -> bool {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let known = match self.kty.as_str() {
            "RSA" => match self.alg.as_deref() {
                Some("PS256") => true,
                None | Some("RS256") => strength == Strength::Usual,
                Some(_) => false,
            },
            "OKP" => {
                self.crv.as_deref() == Some("Ed25519")
                    && self.alg.as_deref().is_none_or(|alg| alg == "EdDSA" || alg == "Ed25519")
            }
            _ => false,
        };
        signs && known
    }

    fn verifying(&self, strength: Strength) -> Result<VerifyingKey, &'static str> {
        let bytes = |text: &Option<String>| text.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        if self.kty == "OKP" {
            let x = bytes(&self.x).filter(|x| x.len() == 32).ok_or("has no `x` of 32 bytes")?;
            return Ok(VerifyingKey::new(KeyAlgorithm::EdDsa, DecodingKey::from_ed_der(&x), &[&x]));
        }
        let (n, e) = (bytes(&self.n).ok_or("has no `n`")?, bytes(&self.e).ok_or("has no `e`")?);
        let n = n.iter().position(|byte| *byte != 0).and_then(|first| n.get(first..)).unwrap_or_default();
        let (least, rule) = match strength {
            Strength::Usual => (MODULUS_MIN, "has not 2048 to 8192 bits"),
            Strength::Approved => (MODULUS_APPROVED, "has not 3072 to 8192 bits"),
        };
        if !(least..=MODULUS_MAX).contains(&n.len()) {
            return Err(rule);
        }
        if e.len() > 4 || e.last().is_none_or(|last| last % 2 == 0) || e == [1] {
            return Err("has an exponent that is not safe");
        }
        let pss = self.alg.as_deref() == Some("PS256");
        let algorithm = if pss { KeyAlgorithm::Ps256 } else { KeyAlgorithm::Rs256 };
        Ok(VerifyingKey::new(algorithm, DecodingKey::from_rsa_raw_components(n, &e), &[n, &e]))
    }
}

/// Reads a JWK set: its keys for RS256, PS256 and `EdDSA`. An RSA key that does not say which is one for RS256. Keys of other
/// kinds and without a `kid` are passed over; a secret in it is never used.
///
/// # Errors
/// [`KeysError`].
pub fn read_jwks(document: &[u8], strength: Strength) -> Result<Keys, KeysError> {
    if document.len() > JWKS_MAX {
        return Err(KeysError::TooLarge);
    }
    let set: JwkSet =
        serde_json::from_slice(document).map_err(|error| KeysError::Malformed(error.to_string()))?;
    let mut keys = Keys::new();
    for jwk in set.keys.iter().filter(|jwk| jwk.is_ours(strength)).take(KEYS_MAX) {
        let Some(kid) = jwk.kid.clone().filter(|kid| !kid.is_empty()) else { continue };
        let key = jwk.verifying(strength).map_err(|rule| KeysError::Key { kid: kid.clone(), rule })?;
        if keys.insert(kid.clone(), key).is_some() {
            return Err(KeysError::Key { kid, rule: "is there twice" });
        }
    }
    if keys.is_empty() { Err(KeysError::NoKey) } else { Ok(keys) }
}

/// The key of a shared secret. A line end after it is not part of it.
///
/// # Errors
/// [`KeysError::ShortSecret`].
pub fn read_secret(secret: &[u8], kid: &str) -> Result<Keys, KeysError> {
    let secret = secret.strip_suffix(b"\n").unwrap_or(secret);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.len() < SECRET_MIN {
        return Err(KeysError::ShortSecret);
    }
    let key = DecodingKey::from_secret(secret).map_err(|_| KeysError::ShortSecret)?;
    Ok(Keys::from([(kid.to_owned(), VerifyingKey::new(KeyAlgorithm::Hs256, key, &[secret]))]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn okp(kid: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode([7; 32]) })
    }

    fn rsa(bytes: usize, e: &[u8]) -> Value {
        json!({ "kty": "RSA", "kid": "r", "n": URL_SAFE_NO_PAD.encode(vec![0xc5; bytes]), "e": URL_SAFE_NO_PAD.encode(e) })
    }

    fn read(keys: &Value) -> Result<Vec<String>, String> {
        read_as(keys, Strength::Usual)
    }

    fn read_as(keys: &Value, strength: Strength) -> Result<Vec<String>, String> {
        let document = json!({ "keys": keys }).to_string();
        let keys = read_jwks(document.as_bytes(), strength).map_err(|error| error.to_string())?;
        let mut kids: Vec<String> =
            keys.iter().map(|(kid, key)| format!("{kid} {}", key.algorithm.name())).collect();
        kids.sort();
        Ok(kids)
    }

    #[test]
    fn each_key_has_one_algorithm_by_its_kind() {
        assert_eq!(read(&json!([okp("a"), rsa(256, &[1, 0, 1])])).unwrap(), ["a EdDSA", "r RS256"]);
        let other = json!({ "kty": "EC", "crv": "P-256", "kid": "e", "x": "AA", "y": "AA" });
        let secret = json!({ "kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode([1; 64]) });
        let mut encrypting = okp("enc");
        encrypting["use"] = json!("enc");
        let mut other_algorithm = rsa(256, &[1, 0, 1]);
        other_algorithm["alg"] = json!("RS512");
        let mut nameless = okp("");
        nameless.as_object_mut().unwrap().remove("kid");
        let mixed = json!([okp("a"), other, secret, encrypting, other_algorithm, nameless]);
        assert_eq!(read(&mixed).unwrap(), ["a EdDSA"], "what is not used here is passed over");
        assert!(read(&json!([secret])).is_err(), "a secret in a set is never a key");
    }

    #[test]
    fn where_only_what_is_approved_counts_keys_are_longer_and_padded_by_pss() {
        let alg = |bytes: usize, kid: &str, alg: &str| {
            let mut key = rsa(bytes, &[1, 0, 1]);
            (key["kid"], key["alg"]) = (json!(kid), json!(alg));
            key
        };
        let set = json!([okp("a"), alg(384, "p", "PS256"), alg(384, "r", "RS256"), rsa(512, &[1, 0, 1])]);
        assert_eq!(read_as(&set, Strength::Approved).unwrap(), ["a EdDSA", "p PS256"]);
        let short = json!([okp("a"), alg(383, "p", "PS256")]);
        assert!(read_as(&short, Strength::Approved).unwrap_err().contains("`p` has not 3072"));
        assert_eq!(read(&json!([alg(256, "p", "PS256")])).unwrap(), ["p PS256"]);
        assert!(read_as(&json!([rsa(384, &[1, 0, 1])]), Strength::Approved).is_err());
    }

    #[test]
    fn weak_and_broken_keys_are_refused_by_name() {
        assert!(read(&json!([rsa(255, &[1, 0, 1])])).unwrap_err().contains("`r` has not 2048"));
        assert!(read(&json!([rsa(1025, &[1, 0, 1])])).is_err());
        for exponent in [&[1_u8][..], &[2], &[], &[1, 0, 0, 0, 1]] {
            assert!(read(&json!([rsa(256, exponent)])).unwrap_err().contains("exponent"), "{exponent:?}");
        }
        assert!(read(&json!([okp("a"), okp("a")])).unwrap_err().contains("twice"));
        let mut short = okp("a");
        short["x"] = json!("AAAA");
        assert!(read(&json!([short])).unwrap_err().contains("32 bytes"));
        assert!(
            read_jwks(b"{}", Strength::Usual).is_err()
                && read_jwks(b"[]", Strength::Usual).is_err()
                && read_jwks(&vec![b' '; JWKS_MAX + 1], Strength::Usual).is_err()
        );
    }

    #[test]
    fn a_secret_is_long_enough_and_ends_before_its_line_end() {
        assert!(read_secret(b"short", "k").is_err());
        assert!(read_secret(&[b"x".repeat(31), b"\n".to_vec()].concat(), "k").is_err());
        assert_eq!(read_secret(&[b'x'; 32], "k").unwrap()["k"].algorithm, KeyAlgorithm::Hs256);
    }

    #[test]
    fn a_key_says_what_it_may_be_used_for() {
        let with = |name: &str, value: Value| {
            let mut key = okp("a");
            key[name] = value;
            read(&json!([key]))
        };
        let taken = Ok(vec!["a EdDSA".to_owned()]);
        assert_eq!(with("key_ops", json!(["verify"])), taken);
        assert_eq!(with("key_ops", json!(["sign", "verify"])), taken);
        assert!(with("key_ops", json!(["encrypt"])).is_err());
        assert!(with("key_ops", json!([])).is_err());
        assert_eq!(with("alg", json!("EdDSA")), taken);
        assert_eq!(with("alg", json!("Ed25519")), taken);
        assert!(with("alg", json!("ES256")).is_err());
        assert!(with("crv", json!("X25519")).is_err());
        assert_eq!(with("use", json!("sig")), taken);
    }

    #[test]
    fn an_exponent_has_four_bytes_and_a_set_256_kib() {
        assert_eq!(read(&json!([rsa(256, &[1, 0, 0, 1])])).unwrap(), ["r RS256"]);
        let mut document = json!({ "keys": [okp("a")] }).to_string().into_bytes();
        document.resize(262_144, b' ');
        assert_eq!(read_jwks(&document, Strength::Usual).unwrap().len(), 1);
        document.push(b' ');
        assert!(matches!(read_jwks(&document, Strength::Usual), Err(KeysError::TooLarge)));
    }
}
