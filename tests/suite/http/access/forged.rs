//! Forged tokens (reliability.md A1), put together systematically: from each good token every change that must make it
//! a bad one. Most are signed with the right key: what refuses them is the rule and not the signature.

use super::{Guarded, Idp, PUBLIC, SHARED, b64, claims, header, hs256};
use crate::on_both;
use crate::support::Reply;
use artifact::domain::moment::Moment;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Forgeries by name.
type Forgeries = Vec<(String, String)>;

/// Names of algorithms, real ones and others.
const ALGORITHMS: [&str; 25] = [
    "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256",
    "PS512", "ES256", "ES256K", "ES384", "EdDSA", "Ed25519", "hs256", "rs256", "eddsa", "HMAC", "RS256 ",
    "dir", "A256KW",
];

/// What a header may not ask for.
fn asks(idp: &Idp) -> [(&'static str, Value); 16] {
    let url = json!("https://attacker.test/keys");
    [
        ("jku", url.clone()),
        ("x5u", url),
        ("jwk", idp.jwks()["keys"][0].clone()),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", Value::Null),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("typ", json!("JWE")),
        ("typ", json!("")),
        ("typ", json!(7)),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("secevent+jwt")),
    ]
}

/// Headers that ask for something else, signed with the right key.
fn headers(idp: &Idp, kind: &str, now: Moment) -> Forgeries {
    let good = header(kind);
    let changed = |name: &str, value: Value| {
        let mut header = good.clone();
        header[name] = value;
        header
    };
    let mut list: Vec<(String, Value)> = Vec::new();
    let right = good["alg"].as_str().unwrap();
    for alg in ALGORITHMS.iter().filter(|alg| **alg != right) {
        list.push((format!("alg {alg:?}"), changed("alg", json!(alg))));
    }
    for alg in [Value::Null, json!(256), json!([right]), json!({ "alg": right }), json!(true)] {
        list.push((format!("alg {alg}"), changed("alg", alg)));
    }
    let long = "k".repeat(300);
    let kids =
        ["", "unknown", "HS", " hs", "hs\u{0}", "../../../dev/null", "' OR '1'='1", "hs,ed", "*", &long];
    for kid in kids {
        list.push((format!("kid {kid:?}"), changed("kid", json!(kid))));
    }
    for other in ["hs", "ed", "rs", "ps"].iter().filter(|other| **other != kind) {
        list.push((format!("kid of {other}"), changed("kid", json!(other))));
    }
    for kid in [Value::Null, json!(1), json!([kind]), json!({ "kid": kind })] {
        list.push((format!("kid {kid}"), changed("kid", kid)));
    }
    for (name, value) in asks(idp) {
        list.push((format!("{name} {value}"), changed(name, value)));
    }
    for name in ["alg", "kid"] {
        let mut header = good.clone();
        header.as_object_mut().unwrap().remove(name);
        list.push((format!("no {name}"), header));
    }
    let claims = claims(kind, now).to_string();
    let mut forged: Forgeries = list
        .into_iter()
        .map(|(name, header)| (name, idp.signed(kind, &header.to_string(), &claims)))
        .collect();
    let twice = format!("{{\"alg\":\"none\",\"alg\":\"{right}\",\"kid\":\"{kind}\"}}");
    for (name, header) in [
        ("alg twice", twice.as_str()),
        ("no object", "[]"),
        ("no JSON", "{alg}"),
        ("empty", ""),
        ("null", "null"),
    ] {
        forged.push((format!("header {name}"), idp.signed(kind, header, &claims)));
    }
    forged
}

/// Values that claims may not have.
fn wrong_values(kind: &str, good: &Value, seconds: i64) -> Vec<(&'static str, Value)> {
    let other = if kind == "hs" { PUBLIC } else { SHARED };
    let long = "s".repeat(300);
    vec![
        ("iss", json!("https://attacker.test/")),
        ("iss", json!(other)),
        ("iss", json!("artifact")),
        ("iss", json!("")),
        ("iss", json!([good["iss"]])),
        ("iss", json!(format!("{} ", good["iss"].as_str().unwrap()))),
        ("iss", json!(7)),
        ("iss", json!(good["iss"].as_str().unwrap().to_uppercase())),
        ("aud", json!("artifact")),
        ("aud", json!("artifact-api2")),
        ("aud", json!("ARTIFACT-API")),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!(["other"])),
        ("aud", json!([["artifact-api"]])),
        ("aud", json!(7)),
        // Tokens of the same issuer, for the same audience, by the same key, that are for something else.
        ("nonce", json!("n-0S6_WzA2Mj")),
        ("at_hash", json!("77QmUPtjPfzWtF2AnpK9RQ")),
        ("c_hash", json!("LDktKdoQak3Pk0cnXxCltA")),
        ("events", json!({ "http://schemas.openid.net/event/backchannel-logout": {} })),
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("typ", json!(7)),
        ("token_use", json!("id")),
        ("sub", json!("")),
        ("sub", json!("  ")),
        ("sub", json!(7)),
        ("sub", json!(["carol"])),
        ("sub", json!("a\u{0}b")),
        ("sub", json!("a\nb")),
        ("sub", json!(long)),
        ("exp", json!(seconds - 30)),
        ("exp", json!(seconds - 31)),
        ("exp", json!(seconds - 86_400)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!((seconds + 300).to_string())),
        ("exp", json!([seconds + 300])),
        ("exp", json!(1.5e300)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(u64::MAX)),
        ("exp", json!(seconds + 2 * 86_400)),
        ("nbf", json!(seconds + 31)),
        ("nbf", json!(seconds + 300)),
        ("nbf", json!("0")),
        ("nbf", json!(-1)),
        ("nbf", json!(i64::MAX)),
        ("iat", json!(seconds + 31)),
        ("iat", json!(seconds + 86_400)),
        ("iat", json!("0")),
        ("iat", json!({})),
        ("jti", json!(7)),
        ("jti", json!("")),
        ("jti", json!("a\u{1}")),
        ("scope", json!(7)),
        ("scope", json!([7])),
        ("scope", json!({ "admin": true })),
        ("sid", json!(7)),
    ]
}

/// Claims that are missing, wrong or of the wrong kind, signed with the right key.
fn wrong_claims(idp: &Idp, kind: &str, now: Moment) -> Forgeries {
    let good = claims(kind, now);
    let seconds = now.0 / 1_000_000;
    let mut list: Vec<(String, Value)> = Vec::new();
    for name in ["iss", "aud", "sub", "exp"] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        list.push((format!("no {name}"), claims));
        for value in [Value::Null, json!({}), json!(true)] {
            let mut claims = good.clone();
            claims[name] = value.clone();
            list.push((format!("{name} {value}"), claims));
        }
    }
    for (name, value) in wrong_values(kind, &good, seconds) {
        let mut claims = good.clone();
        claims[name] = value.clone();
        list.push((format!("{name} {}", value.to_string().chars().take(40).collect::<String>()), claims));
    }
    let header = header(kind).to_string();
    let mut forged: Forgeries = list
        .into_iter()
        .map(|(name, claims)| (name, idp.signed(kind, &header, &claims.to_string())))
        .collect();
    for name in ["iss", "sub", "aud", "exp"] {
        let twice = good.to_string().replacen('{', &format!("{{\"{name}\":{},", good[name]), 1);
        forged.push((format!("{name} twice"), idp.signed(kind, &header, &twice)));
    }
    for (name, text) in [
        ("list", "[]"),
        ("null", "null"),
        ("no JSON", "{"),
        ("empty", ""),
        ("a text", "\"a\""),
        ("a number", "1"),
        ("two objects", "{}{}"),
    ] {
        forged.push((format!("claims {name}"), idp.signed(kind, &header, text)));
    }
    let padded = format!("{{\"pad\":\"{}\",{}", "x".repeat(8_192), good.to_string().trim_start_matches('{'));
    forged.push(("too long".to_owned(), idp.signed(kind, &header, &padded)));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let deep = good.to_string().replacen('{', &format!("{{\"deep\":{deep},"), 1);
    forged.push(("too deep".to_owned(), idp.signed(kind, &header, &deep)));
    forged
}

/// Tokens whose signature is not that of the key, or that fell apart.
fn broken(idp: &Idp, kind: &str, now: Moment) -> Forgeries {
    let good = idp.token(kind, &json!({}), now);
    let parts: Vec<&str> = good.split('.').collect();
    let (header_part, claims_part, signature) = (parts[0], parts[1], parts[2]);
    let message = format!("{header_part}.{claims_part}");
    let raw = idp.signature(kind, message.as_bytes());
    let mut list: Forgeries = Vec::new();
    for at in [0, 1, raw.len() / 2, raw.len() - 1] {
        let mut flipped = raw.clone();
        flipped[at] ^= 1;
        list.push((format!("bit of byte {at}"), format!("{message}.{}", b64(&flipped))));
    }
    let longer = [raw.as_slice(), &[0]].concat();
    let signatures = [
        ("none", Vec::new()),
        ("shorter", raw[1..].to_vec()),
        ("longer", longer),
        ("half", raw[..raw.len() / 2].to_vec()),
        ("zeros", vec![0; raw.len()]),
        ("ones", vec![0xff; raw.len()]),
        ("of the claims", idp.signature(kind, claims_part.as_bytes())),
        ("of another", idp.signature(kind, b"other")),
    ];
    for (name, signature) in signatures {
        list.push((format!("signature {name}"), format!("{message}.{}", b64(signature))));
    }
    let mut richer = claims(kind, now);
    richer["scope"] = json!("admin");
    let richer = b64(richer.to_string());
    list.push(("claims exchanged".to_owned(), format!("{header_part}.{richer}.{signature}")));
    let none = b64(json!({ "alg": "none", "kid": kind }).to_string());
    list.push(("header exchanged".to_owned(), format!("{none}.{claims_part}.{signature}")));
    for alg in ["none", "None", "NONE"] {
        let header = b64(json!({ "alg": alg, "kid": kind }).to_string());
        list.push((format!("unsigned {alg}"), format!("{header}.{claims_part}.")));
    }
    let shapes = [
        good.replacen('.', "", 1),
        message.clone(),
        format!("{good}.extra"),
        format!("{good}."),
        format!(".{good}"),
        "..".to_owned(),
        ".".to_owned(),
        format!(".{claims_part}.{signature}"),
        format!("{header_part}..{signature}"),
        format!("{good}={}", ""),
        format!("{header_part}=.{claims_part}.{signature}"),
        format!("{message}.{signature}=="),
        format!("{message}.!{signature}"),
        format!("{message}.{}+/", &signature[..signature.len() - 2]),
        good.to_uppercase(),
        good.chars().rev().collect(),
        format!("{good}{good}"),
        format!("Bearer {good}"),
        format!("{good},{good}"),
        format!("{{\"token\":\"{good}\"}}"),
        "a.b.c".to_owned(),
        "eyJ.eyJ.eyJ".to_owned(),
        format!("{}.{claims_part}.{signature}", b64([0xff, 0xfe])),
        format!("{header_part}.{}.{signature}", b64([0xff, 0xfe])),
    ];
    list.extend(shapes.into_iter().enumerate().map(|(number, token)| (format!("shape {number}"), token)));
    list
}

/// Tokens that take something public for a secret, or bring a key of their own.
fn confused(idp: &Idp, now: Moment) -> Forgeries {
    let attacker = Ed25519KeyPair::generate().unwrap();
    let jwks = idp.jwks();
    let n = jwks["keys"][1]["n"].as_str().unwrap();
    let x = jwks["keys"][0]["x"].as_str().unwrap();
    let raw =
        |text: &str| base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap();
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("modulus", raw(n)),
        ("modulus in base64", n.as_bytes().to_vec()),
        ("jwk of rs", jwks["keys"][1].to_string().into_bytes()),
        ("point", raw(x)),
        ("point in base64", x.as_bytes().to_vec()),
        ("jwk of ed", jwks["keys"][0].to_string().into_bytes()),
        ("jwks", jwks.to_string().into_bytes()),
        ("nothing", Vec::new()),
        ("zeros", vec![0; 32]),
        ("secret", b"secret".to_vec()),
    ];
    let mut list = Vec::new();
    for (name, secret) in secrets {
        for kid in ["rs", "ed", "hs"] {
            let header = json!({ "alg": "HS256", "kid": kid });
            let message = format!("{}.{}", b64(header.to_string()), b64(claims(kid, now).to_string()));
            let signature = b64(hs256(&secret, message.as_bytes()));
            list.push((format!("{name} as the secret of {kid}"), format!("{message}.{signature}")));
        }
    }
    let own = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(attacker.public_key()) });
    for header in [
        json!({ "alg": "EdDSA", "kid": "ed", "jwk": own }),
        json!({ "alg": "EdDSA", "kid": "ed" }),
        json!({ "alg": "EdDSA", "kid": "mine" }),
    ] {
        let message = format!("{}.{}", b64(header.to_string()), b64(claims("ed", now).to_string()));
        list.push((
            format!("attacker's key, {header}"),
            format!("{message}.{}", b64(attacker.sign(message.as_bytes()))),
        ));
    }
    list
}

/// A failure without what differs from request to request.
fn shape(reply: &Reply) -> String {
    let mut body = reply.json();
    body.as_object_mut().unwrap().remove("request_id");
    format!("{} {body}", reply.status)
}

/// Sends each forgery; all are refused, and nothing is told of why.
async fn refuse_all(guarded: &Guarded, forgeries: Forgeries, least: usize) {
    // A header line can carry neither line ends nor bytes beyond ASCII: those never reach the service.
    let sent: Forgeries =
        forgeries.into_iter().filter(|(_, token)| token.bytes().all(|b| (0x20..0x7f).contains(&b))).collect();
    let different: BTreeSet<&String> = sent.iter().map(|(_, token)| token).collect();
    assert!(different.len() >= least, "only {} different ones", different.len());
    let mut shapes = BTreeSet::new();
    for (name, token) in &sent {
        let reply = guarded.by(token, "GET", "/auth/me", None).await;
        assert_eq!(reply.status.as_u16(), 401, "{name}: {token}: {}", reply.text());
        assert_eq!(reply.headers["www-authenticate"], "Bearer error=\"invalid_token\"", "{name}");
        assert!(token.len() < 20 || !reply.text().contains(token.as_str()), "{name} is told again");
        shapes.insert(shape(&reply));
    }
    assert!(shapes.len() <= 3, "{shapes:#?}");
    eprintln!("{} forged tokens refused, in {} shape(s) of an answer", different.len(), shapes.len());
}

on_both! {
    async fn no_forged_token_of_a_shared_secret_comes_in(backend) {
        let idp = Idp::new();
        let guarded = Guarded::start_with(backend, |folder| idp.trusted(folder, "portfolios:read markets:read")).await;
        let now = guarded.app.clock.now();
        guarded.by(&idp.token("hs", &json!({}), now), "GET", "/auth/me", None).await.expect(200);
        let forged = [headers(&idp, "hs", now), wrong_claims(&idp, "hs", now), broken(&idp, "hs", now), confused(&idp, now)].concat();
        refuse_all(&guarded, forged, 115).await;
        guarded.app.stop().await;
    }

    async fn no_forged_token_of_a_public_key_comes_in(backend) {
        let idp = Idp::new();
        let guarded = Guarded::start_with(backend, |folder| idp.trusted(folder, "portfolios:read markets:read")).await;
        let now = guarded.app.clock.now();
        for kind in ["rs", "ps", "ed"] {
            guarded.by(&idp.token(kind, &json!({}), now), "GET", "/auth/me", None).await.expect(200);
            let forged = [headers(&idp, kind, now), wrong_claims(&idp, kind, now), broken(&idp, kind, now), confused(&idp, now)].concat();
            refuse_all(&guarded, forged, 127).await;
        }
        guarded.app.stop().await;
    }

    async fn good_tokens_come_in_within_the_leeway_and_do_no_more_than_their_issuer_may(backend) {
        let idp = Idp::new();
        let guarded = Guarded::start_with(backend, |folder| idp.trusted(folder, "portfolios:read markets:read")).await;
        let now = guarded.app.clock.now();
        let seconds = now.0 / 1_000_000;
        for over in [json!({ "exp": seconds - 29 }), json!({ "nbf": seconds + 30 }), json!({ "iat": seconds + 30 }),
            json!({ "aud": ["other", "artifact-api"] }), json!({ "jti": null, "iat": null }), json!({ "scope": null, "scp": ["markets:read"] })] {
            for kind in ["hs", "ed", "rs", "ps"] {
                guarded.by(&idp.token(kind, &over, now), "GET", "/auth/me", None).await.expect(200);
            }
        }
        let greedy = idp.token("ed", &json!({ "scope": "admin portfolios:write markets:read" }), now);
        let me = guarded.by(&greedy, "GET", "/auth/me", None).await.expect(200);
        assert_eq!(me["scopes"], json!(["markets:read", "portfolios:read"]), "admin is cut down to what the issuer may grant");
        assert_eq!((me["owner_id"].as_str(), me["any_owner"].as_bool()), (Some("carol"), Some(false)));
        assert_eq!(guarded.by(&greedy, "POST", "/keys", Some(&json!({}))).await.code(403), "forbidden");
        let modest = idp.token("ed", &json!({ "scope": "portfolios:read" }), now);
        guarded.by(&modest, "GET", "/portfolios", None).await.expect(200);
        assert_eq!(guarded.by(&modest, "GET", "/markets", None).await.code(403), "forbidden");
        let token = idp.token("hs", &json!({}), now);
        let lower = [("authorization", format!("bearer {token}"))];
        guarded.app.send("GET", "/auth/me", &[(lower[0].0, &lower[0].1)], b"").await.expect(200);
        // A token is no API key, and one of two credentials is none.
        assert_eq!(guarded.app.send("GET", "/auth/me", &[("x-api-key", &token)], b"").await.code(401), "unauthorized");
        let both = [(lower[0].0, lower[0].1.as_str()), ("x-api-key", guarded.admin.as_str())];
        assert_eq!(guarded.app.send("GET", "/auth/me", &both, b"").await.code(401), "unauthorized");
        guarded.app.stop().await;
    }

    async fn an_issuer_that_gives_its_tokens_a_type_is_held_to_it(backend) {
        let idp = Idp::new();
        let guarded = Guarded::start_with(backend, |folder| {
            let mut settings = idp.trusted(folder, "markets:read");
            settings.issuers[1].typ = Some("at+jwt".to_owned());
            settings
        })
        .await;
        let now = guarded.app.clock.now();
        let typed = |kind: &str, typ: Value| {
            let mut header = header(kind);
            header["typ"] = typ;
            idp.signed(kind, &header.to_string(), &claims(kind, now).to_string())
        };
        // RFC 9068, 2.1: the type with or without `application/`; RFC 7515, 4.1.9: in any letters.
        for good in ["at+jwt", "application/at+jwt", "AT+JWT"] {
            guarded.by(&typed("ed", json!(good)), "GET", "/auth/me", None).await.expect(200);
        }
        for other in [json!("JWT"), Value::Null] {
            let reply = guarded.by(&typed("rs", other.clone()), "GET", "/auth/me", None).await;
            assert_eq!(reply.code(401), "unauthorized", "{other}");
        }
        guarded.by(&typed("hs", json!("JWT")), "GET", "/auth/me", None).await.expect(200);
        // What says in its claims that it is for access, is.
        for said in [json!({ "typ": "Bearer" }), json!({ "token_use": "access" })] {
            guarded.by(&idp.token("hs", &said, now), "GET", "/auth/me", None).await.expect(200);
        }
        guarded.app.stop().await;
    }
}
