//! Who is let in, by tables that were filled by hand.

use super::*;
use crate::domain::access::UserStatus;
use crate::random::Random;
use crate::workers::server_secret::SecretPlace;
use crate::workers::tokens::issuers::{IssuerRules, KeySource, Strength};
use serde_json::{Value, json};

const ISSUER: &str = "https://artifact.example";
/// When everything happens, in seconds.
const NOW: i64 = 1_800_000_000;

fn second(second: i64) -> Moment {
    Moment(second * 1_000_000)
}

fn secret(name: &str) -> ServerSecret {
    let folder = std::env::temp_dir().join(format!("artifact-directory-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    ServerSecret::load(&SecretPlace::Directory(folder), Random::System).unwrap()
}

fn user(name: &str, owner: &str) -> User {
    User {
        id: Uuid::from_u128(7),
        name: name.to_owned(),
        password_hash: String::new(),
        owner_id: owner.to_owned(),
        scopes: "portfolios:read".to_owned(),
        portfolios: None,
        status: UserStatus::Active,
        version: 3,
        valid_from: second(NOW - 100),
        created_at: second(NOW - 100),
        updated_at: second(NOW - 100),
    }
}

/// A directory with one key that signs and one user.
struct House {
    directory: Directory,
    signer: Arc<Signer>,
}

impl House {
    fn new(name: &str, user: User) -> Self {
        let secret = secret(name);
        let (kid, public_key) = Signer::make(&secret, Random::System).unwrap();
        let key = SigningKey { kid, public_key, created_at: second(NOW - 100), retired_at: None };
        let tokens = TokenKeys::of(&secret, vec![key], Vec::new());
        let signer = tokens.signer.clone().unwrap();
        let own = (ISSUER.to_owned(), "artifact".to_owned());
        let directory = Directory::new(secret, own, Vec::new());
        hold(&directory.tokens, tokens);
        hold(&directory.users, HashMap::from([(user.id, Arc::new(KnownUser::from(user)))]));
        Self { directory, signer }
    }

    /// What becomes of a token that was issued at a second, with other claims in place of the usual.
    fn judged(&self, issued: i64, other: &Value) -> Result<Identity, Refused> {
        let mut claims = json!({
            "iss": ISSUER, "aud": "artifact", "sub": Uuid::from_u128(7), "sid": Uuid::from_u128(9), "iat": issued,
            "exp": NOW + 60, "scope": "portfolios:read prices:write",
        });
        for (name, value) in other.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.directory.by_token(&self.signer.sign(&claims).unwrap(), second(NOW))
    }
}

const REVOKED: Refused = Refused::Token(TokenFault::Revoked);

#[test]
fn a_token_of_ours_lets_its_user_in_with_what_both_may() {
    let house = House::new("ours", user("alice", "alice"));
    let identity = house.judged(NOW - 10, &json!({})).unwrap();
    assert_eq!((identity.actor, identity.key_prefix), (actor_of(&user("alice", "alice")), None));
    assert_eq!(identity.scopes.names(), ["portfolios:read"]);
    assert!(!identity.reach.any_owner && identity.reach.owns("alice") && !identity.reach.owns("bob"));
    assert_eq!(house.judged(NOW - 10, &json!({ "sub": Uuid::from_u128(8) })).unwrap_err(), REVOKED);
}

#[test]
fn a_token_from_before_a_change_of_the_password_lets_nobody_in() {
    let house = House::new("password", user("alice", "alice"));
    let judged = |issued| house.judged(issued, &json!({})).map(drop);
    // Tokens tell whole seconds: one of the second of the change may be from after it.
    assert_eq!(judged(NOW - 100), Ok(()));
    assert_eq!(judged(NOW - 101), Err(REVOKED));
}

#[test]
fn whoever_was_disabled_or_logged_out_is_not_let_in() {
    let disabled = User { status: UserStatus::Disabled, ..user("alice", "alice") };
    assert_eq!(House::new("disabled", disabled).judged(NOW - 10, &json!({})).unwrap_err(), REVOKED);
    let house = House::new("ended", user("alice", "alice"));
    let standing = house.judged(NOW - 10, &json!({})).unwrap().standing;
    assert!(house.directory.stands(&standing, second(NOW)));
    hold(&house.directory.ended, HashSet::from([Uuid::from_u128(9)]));
    assert_eq!(house.judged(NOW - 10, &json!({})).unwrap_err(), REVOKED);
    assert!(!house.directory.stands(&standing, second(NOW)));
    house.judged(NOW - 10, &json!({ "sid": Uuid::from_u128(10) })).unwrap();
}

#[test]
fn what_let_somebody_in_stands_until_it_ends_or_its_user_changes() {
    let house = House::new("stands", user("alice", "alice"));
    let standing = house.judged(NOW - 10, &json!({})).unwrap().standing;
    // Half a minute is allowed for clocks.
    assert!(house.directory.stands(&standing, Moment(second(NOW + 90).0 - 1)));
    assert!(!house.directory.stands(&standing, second(NOW + 90)));
    let changed = User { version: 4, ..user("alice", "alice") };
    hold(&house.directory.users, HashMap::from([(changed.id, Arc::new(KnownUser::from(changed)))]));
    assert!(!house.directory.stands(&standing, second(NOW)));
}

/// A key hashed before there was a secret is good until it is hashed anew, and by its own secret alone.
#[test]
fn a_key_is_opened_by_its_own_secret_alone() {
    let directory = Directory::new(secret("keys"), (String::new(), String::new()), Vec::new());
    let (good, wrong) = ("ab".repeat(32), "cd".repeat(32));
    let key = |prefix: &str, secret_hash: String| ApiKey {
        id: Uuid::from_u128(1),
        prefix: prefix.to_owned(),
        lineage: "first".to_owned(),
        secret_hash,
        name: String::new(),
        owner_id: "alice".to_owned(),
        scopes: "admin".to_owned(),
        portfolios: None,
        created_at: second(0),
        expires_at: Some(second(NOW)),
        revoked_at: None,
        last_used_at: None,
    };
    let keys = [key("keyed", directory.key_hash("keyed", &good)), key("plain", plain_hash(&good))];
    let known = keys.into_iter().map(|key| (key.prefix.clone(), Arc::new(KnownKey::of(key, None))));
    hold(&directory.keys, known.collect());
    let opens = |prefix: &str, secret: &str, now| {
        directory.by_key(&format!("art_{prefix}_{secret}"), now).map(|identity| identity.actor)
    };
    let before = Moment(second(NOW).0 - 1);
    for prefix in ["keyed", "plain"] {
        assert_eq!(opens(prefix, &good, before), Ok("key:first".to_owned()), "{prefix}");
        assert_eq!(opens(prefix, &wrong, before), Err(Refused::Key), "{prefix}");
        assert_eq!(opens(prefix, &plain_hash(&good), before), Err(Refused::Key), "{prefix}");
        assert_eq!(opens(prefix, &good, second(NOW)), Err(Refused::Key), "{prefix} has ended");
    }
    assert_eq!(opens("other", &good, before), Err(Refused::Key));
}

#[test]
fn a_key_has_a_prefix_and_a_secret_of_64_letters() {
    let secret = "a".repeat(64);
    for (prefix, taken) in [("", false), ("a", true), (&*"p".repeat(64), true), (&*"p".repeat(65), false)] {
        assert_eq!(split_key(&format!("art_{prefix}_{secret}")).is_some(), taken, "{prefix}");
    }
    for other in
        [format!("art_a_{secret}a"), format!("art_a_{}", &secret[1..]), format!("a_{secret}"), "art_a".into()]
    {
        assert_eq!(split_key(&other), None, "{other}");
    }
}

/// Answers that are kept for one are given to nobody whose name reads like the other's with something of its reach.
#[test]
fn nobody_chooses_a_name_that_reads_like_that_of_somebody_else() {
    let pairs =
        [("a", "b@c"), ("a@b", "c"), ("a", "b/c"), ("a/b", "c"), ("a#b", "c"), ("a%40b", "c"), ("a", "*")];
    let admin = User { scopes: "admin".to_owned(), ..user("a", "b") };
    let bound = User { portfolios: Some(Uuid::from_u128(1).to_string()), ..user("a", "b") };
    let others = [actor_of(&user("a", "b")), actor_of(&admin), actor_of(&bound)];
    let names = pairs.iter().map(|(name, owner)| actor_of(&user(name, owner))).chain(others);
    let names: Vec<String> = names.collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    assert!(names.iter().all(|name| name.starts_with("user:a")), "{names:?}");
}

#[test]
fn what_was_refused_has_a_name_for_the_metrics_and_an_issuer_is_known() {
    // docs/MONITORING.md: `artifact_auth_failures_total` by kind.
    assert_eq!((Refused::Key.kind(), REVOKED.kind()), ("api_key", "token"));
    let rules = IssuerRules {
        issuer: "https://id.example".to_owned(),
        audience: "artifact".to_owned(),
        typ: None,
        keys: KeySource::File("keys.json".into()),
        strength: Strength::Usual,
        ceiling: Scopes::parse("prices:read"),
        owner_claim: "sub".to_owned(),
        owner_prefix: String::new(),
    };
    let issuers = vec![Arc::new(Issuer::new(rules))];
    let directory = Directory::new(secret("issuers"), (String::new(), String::new()), issuers);
    let known: Vec<&str> = directory.issuers().iter().map(|issuer| issuer.rules.issuer.as_str()).collect();
    assert_eq!(known, ["https://id.example"]);
}
