//! Who may do what: keys, tokens, users, owners.

mod forged;
mod keys;
mod login;
mod owners;
mod revocation;
mod scopes;
mod second_factor;
mod trail;

use crate::support::{Backend, Reply, START, Scratch, TestApp, fresh_location};
use artifact::clock::Clock;
use artifact::domain::access::Scopes;
use artifact::domain::moment::Moment;
use artifact::http::auth::Access;
use artifact::workers::gate::Settings;
use artifact::workers::tokens::issuers::{IssuerRules, KeySource, Strength};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::path::Path;

/// A service that lets nobody in without a credential.
struct Guarded {
    app: TestApp,
    admin: String,
    scratch: Scratch,
}

impl Guarded {
    async fn start(backend: Backend) -> Self {
        Self::start_with(backend, |_| Settings::default()).await
    }

    /// With access set up from files in a folder of its own.
    async fn start_with(backend: Backend, settings: impl FnOnce(&Path) -> Settings) -> Self {
        let scratch = Scratch::new();
        let location = fresh_location(backend, &scratch).await;
        let clock = Clock::manual(Moment::parse(START).unwrap());
        let settings = settings(&scratch.0);
        let app = TestApp::start_with(location, clock, Access::Keys, settings).await;
        let admin = app.app.admin_key("first").await.unwrap();
        Self { app, admin, scratch }
    }

    /// Sends a request with a credential, a key or a token; an empty one is none.
    async fn by(&self, credential: &str, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let bearer = format!("Bearer {credential}");
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let mut headers = Vec::new();
        if !credential.is_empty() {
            headers.push(("authorization", bearer.as_str()));
        }
        let bytes = body.map(|body| {
            headers.push(("content-type", kind));
            body.to_string().into_bytes()
        });
        self.app.send(method, path, &headers, &bytes.unwrap_or_default()).await
    }

    async fn admin(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.by(&self.admin, method, path, Some(body)).await
    }

    /// A key with these scopes, of an owner.
    async fn key(&self, scopes: &[&str], owner: &str) -> String {
        let body = json!({ "name": owner, "scopes": scopes, "owner_id": owner });
        self.admin("POST", "/keys", &body).await.expect(201)["key"].as_str().unwrap().to_owned()
    }

    /// A user with the password [`PASSWORD`], and the tokens of a login.
    async fn user(&self, name: &str, scopes: &[&str]) -> Value {
        let body = json!({ "name": name, "password": PASSWORD, "scopes": scopes });
        self.admin("POST", "/users", &body).await.expect(201);
        self.login(name, PASSWORD).await.expect(200)
    }

    async fn login(&self, name: &str, password: &str) -> Reply {
        self.by("", "POST", "/auth/login", Some(&json!({ "name": name, "password": password }))).await
    }
}

/// A password that keeps the rules.
const PASSWORD: &str = "correct horse battery staple";

/// A field of an answer that is a text.
fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap()
}

/// The id of a key: its public part.
fn id_of(key: &str) -> &str {
    key.split('_').nth(1).unwrap()
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer outside the service, with a key of each kind.
struct Idp {
    secret: Vec<u8>,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

/// `iss` of the tokens with a shared secret, and of those with public keys.
const SHARED: &str = "https://shared.test/";
const PUBLIC: &str = "https://public.test/";

impl Idp {
    fn new() -> Self {
        let secret = b"0123456789abcdef0123456789abcdef!".to_vec();
        Self {
            secret,
            ed: Ed25519KeyPair::generate().unwrap(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
        }
    }

    fn jwks(&self) -> Value {
        let n = self.rsa.public_key().modulus().big_endian_without_leading_zero().to_vec();
        json!({ "keys": [
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "use": "sig", "alg": "EdDSA", "x": b64(self.ed.public_key()) },
            { "kty": "RSA", "kid": "rs", "use": "sig", "alg": "RS256", "n": b64(&n), "e": "AQAB" },
            { "kty": "RSA", "kid": "ps", "use": "sig", "alg": "PS256", "n": b64(n), "e": "AQAB" },
        ] })
    }

    /// Puts its keys into files, and says that both issuers are trusted with these scopes.
    fn trusted(&self, folder: &Path, scopes: &str) -> Settings {
        std::fs::write(folder.join("jwks.json"), self.jwks().to_string()).unwrap();
        std::fs::write(folder.join("shared.secret"), &self.secret).unwrap();
        let rules = |issuer: &str, keys| IssuerRules {
            issuer: issuer.to_owned(),
            audience: "artifact-api".to_owned(),
            typ: None,
            strength: Strength::Usual,
            keys,
            ceiling: Scopes::parse(scopes),
            owner_claim: "sub".to_owned(),
            owner_prefix: String::new(),
        };
        let shared = KeySource::Secret { file: folder.join("shared.secret"), kid: "hs".to_owned() };
        let issuers = vec![rules(SHARED, shared), rules(PUBLIC, KeySource::File(folder.join("jwks.json")))];
        Settings { issuers, ..Settings::default() }
    }

    /// The signature of a message by the key of a kind: `hs`, `ed` or `rs`.
    fn signature(&self, kind: &str, message: &[u8]) -> Vec<u8> {
        match kind {
            "hs" => hs256(&self.secret, message),
            "ed" => self.ed.sign(message).as_ref().to_vec(),
            _ => {
                let padding: &dyn RsaEncoding =
                    if kind == "ps" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// A token with this header and these claims, whatever they are, signed by the key of a kind.
    fn signed(&self, kind: &str, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(claims));
        let signature = self.signature(kind, message.as_bytes());
        format!("{message}.{}", b64(signature))
    }

    /// A good token of a kind with these claims over the usual ones.
    fn token(&self, kind: &str, over: &Value, now: Moment) -> String {
        let mut claims = claims(kind, now);
        for (name, value) in over.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.signed(kind, &header(kind).to_string(), &claims.to_string())
    }
}

fn hs256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn header(kind: &str) -> Value {
    let alg = match kind {
        "hs" => "HS256",
        "ed" => "EdDSA",
        "ps" => "PS256",
        _ => "RS256",
    };
    json!({ "alg": alg, "kid": kind, "typ": "JWT" })
}

fn claims(kind: &str, now: Moment) -> Value {
    let seconds = now.0 / 1_000_000;
    let issuer = if kind == "hs" { SHARED } else { PUBLIC };
    json!({ "iss": issuer, "aud": "artifact-api", "sub": "carol", "jti": "one", "iat": seconds, "exp": seconds + 300,
        "scope": "portfolios:read markets:read" })
}
