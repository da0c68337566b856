//! The audit trail: who did what to what, and the chain that makes a row that was touched tell.
//!
//! A row carries the HMAC of its values and of the row before it. Without the key nobody can write a row that fits, and
//! nobody can take one out without breaking the next. What the chain cannot tell, a tail cut off, anchors outside the
//! database do (docs/AUDIT.md).

pub mod anchor;
pub mod key_ring;
pub mod verification;

use crate::domain::hexadecimal::{from_hex, hex};
use crate::domain::moment::Moment;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::fmt;

/// Longest `before` or `after` of a row, in bytes of JSON; a longer one is told by its length and hash.
const FACTS_MAX: usize = 16 * 1024;
/// Names of fields whose values are never written down.
const SECRET: [&str; 8] =
    ["secret", "password", "passphrase", "token", "key", "authorization", "credential", "private"];
/// What stands in place of a secret.
const MASK: &str = "[redacted]";

/// What kind of caller an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// An API key.
    Key,
    /// A user with a token.
    User,
    /// Whoever owns the machine: the socket in the data directory, or a command that opened the data.
    Owner,
    /// A caller without a key in the open-loopback mode.
    Loopback,
    /// The service itself: a worker, a schedule.
    System,
    /// Nobody known.
    Anonymous,
}

impl ActorKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::User => "user",
            Self::Owner => "owner",
            Self::Loopback => "loopback",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Who does something, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Its name: `key:<prefix>`, `user:<name>@<owner>`, `owner`, `loopback`, `system:<worker>`, `anonymous`.
    pub name: String,
    /// Its kind.
    pub kind: ActorKind,
    /// Public part of the API key it showed.
    pub key_prefix: Option<String>,
    /// Address it called from.
    pub address: Option<String>,
    /// The request it is part of.
    pub request_id: Option<String>,
}

impl Actor {
    /// An actor with nothing but its name.
    pub fn new(kind: ActorKind, name: impl Into<String>) -> Self {
        Self { name: name.into(), kind, key_prefix: None, address: None, request_id: None }
    }

    /// A part of the service that acts of its own accord: `system:<part>`.
    pub fn system(part: &str) -> Self {
        Self::new(ActorKind::System, format!("system:{part}"))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// How a deed ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// The caller was not let in, or may not do that.
    Denied,
    /// It was allowed, and failed.
    Failed,
}

impl Outcome {
    /// The names, for parameters.
    pub const NAMES: &'static [&'static str] = &["done", "denied", "failed"];

    /// The value a name stands for.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Done, Self::Denied, Self::Failed].into_iter().find(|one| one.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// What is told of one deed. The actor is known to the writer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What was done, `object.deed`: `portfolio.transaction.create`.
    pub action: Cow<'static, str>,
    /// What kind of thing it was done to.
    pub object_type: Cow<'static, str>,
    /// Which of them.
    pub object_id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Stable code of the refusal or failure.
    pub code: Option<String>,
    /// How it was before, as redacted JSON.
    pub before: Option<String>,
    /// How it is now.
    pub after: Option<String>,
}

impl Entry {
    /// A deed that was done to an object. The type of the object is the action without its deed.
    pub fn done(action: impl Into<Cow<'static, str>>, object: impl fmt::Display) -> Self {
        let action = action.into();
        let object_type = action.rsplit_once('.').map_or(action.as_ref(), |(object, _)| object).to_owned();
        Self {
            object_type: object_type.into(),
            action,
            object_id: Some(object.to_string()),
            outcome: Outcome::Done,
            code: None,
            before: None,
            after: None,
        }
    }

    /// Something new, as it is shown to callers.
    pub fn created(
        action: impl Into<Cow<'static, str>>,
        object: impl fmt::Display,
        new: &impl Serialize,
    ) -> Self {
        Self { after: Some(facts(&value_of(new))), ..Self::done(action, object) }
    }

    /// Something changed: of both shapes, the fields that differ.
    pub fn changed(
        action: impl Into<Cow<'static, str>>,
        object: impl fmt::Display,
        (old, new): (&impl Serialize, &impl Serialize),
    ) -> Self {
        let (old, new) = differing(value_of(old), value_of(new));
        Self { before: Some(facts(&old)), after: Some(facts(&new)), ..Self::done(action, object) }
    }

    /// Something taken away, as it was.
    pub fn removed(
        action: impl Into<Cow<'static, str>>,
        object: impl fmt::Display,
        old: &impl Serialize,
    ) -> Self {
        Self { before: Some(facts(&value_of(old))), ..Self::done(action, object) }
    }

    /// The same with something that came with the new object, if anything did.
    #[must_use]
    pub fn with(mut self, name: &str, part: Option<&impl Serialize>) -> Self {
        if let (Some(part), Some(Ok(Value::Object(mut after)))) =
            (part, self.after.as_deref().map(serde_json::from_str))
        {
            after.insert(name.to_owned(), value_of(part));
            self.after = Some(facts(&Value::Object(after)));
        }
        self
    }

    /// The same of an object of another type than the action says.
    #[must_use]
    pub fn on(mut self, object_type: &'static str, object: impl fmt::Display) -> Self {
        self.object_type = object_type.into();
        self.object_id = Some(object.to_string());
        self
    }
}

fn value_of(shape: &impl Serialize) -> Value {
    serde_json::to_value(shape).unwrap_or_else(|error| Value::String(format!("unreadable: {error}")))
}

/// The fields of two objects that are not the same in both.
fn differing(old: Value, new: Value) -> (Value, Value) {
    let (Value::Object(old), Value::Object(new)) = (&old, &new) else { return (old, new) };
    let only = |of: &Map<String, Value>, other: &Map<String, Value>| {
        let differs = |(name, value): &(&String, &Value)| other.get(*name) != Some(value);
        Value::Object(of.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    (only(old, new), only(new, old))
}

/// A value as it is written into a row: without secrets, and of bounded length.
fn facts(value: &Value) -> String {
    let text = redacted(value).to_string();
    if text.len() <= FACTS_MAX {
        return text;
    }
    let hash = hex(&Sha256::digest(text.as_bytes()));
    serde_json::json!({ "omitted_bytes": text.len(), "sha256": hash }).to_string()
}

/// The value with secrets masked, by the names of their fields.
fn redacted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let masked = fields.iter().map(|(name, value)| {
                let secret = name_is_secret(name) && !value.is_null();
                (name.clone(), if secret { Value::String(MASK.to_owned()) } else { redacted(value) })
            });
            Value::Object(masked.collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(redacted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Whether a field of this name may hold a secret. Public parts of keys have longer names.
fn name_is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|word| name == *word || name.strip_suffix(word).is_some_and(|rest| rest.ends_with('_')))
        || name.ends_with("_hash")
        || name.starts_with("secret_")
        || name.starts_with("password_")
}

/// Link of the chain: what a row's hash is.
pub type Link = [u8; 32];

/// What stands before the first row.
pub const START: Link = [0; 32];

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the last row; 0 when there is none.
    pub seq: i64,
    /// Its hash.
    pub hash: Link,
}

impl Head {
    /// The end of a chain without rows.
    pub const EMPTY: Self = Self { seq: 0, hash: START };
}

/// The secret that makes links.
#[derive(Clone)]
pub struct AuditKey(Hmac<Sha256>);

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey")
    }
}

impl AuditKey {
    /// A key from its 32 bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        // A key shorter than a block is filled up with zeros (RFC 2104).
        let mut block = [0; 64];
        for (place, byte) in block.iter_mut().zip(bytes) {
            *place = *byte;
        }
        Self(Hmac::new(&block.into()))
    }

    /// The key written as 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex::<32>(text.trim()).map(|bytes| Self::new(&bytes))
    }

    /// The link of a row that follows another.
    pub fn link(&self, before: &Link, row: &RowText<'_>) -> Link {
        let mut mac = self.0.clone();
        mac.update(b"artifact audit row 1\n");
        mac.update(before);
        mac.update(&row.seq.to_be_bytes());
        mac.update(&row.recorded_at.0.to_be_bytes());
        for text in row.texts {
            match text {
                // The length goes first, so that no text can pass for two.
                Some(text) => {
                    mac.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
                    mac.update(text.as_bytes());
                }
                None => mac.update(&[0xff; 8]),
            }
        }
        mac.finalize().into_bytes().into()
    }

    /// The seal of a text outside the database.
    pub fn seal(&self, text: &str) -> Link {
        let mut mac = self.0.clone();
        mac.update(b"artifact audit anchor 1\n");
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// The values of a row, in the order in which they enter its link.
#[derive(Debug, Clone, Copy)]
pub struct RowText<'a> {
    /// Its number, from 1, without gaps.
    pub seq: i64,
    /// When it was committed.
    pub recorded_at: Moment,
    /// actor, kind, key prefix, address, action, object type, object id, outcome, code, request id, before, after
    pub texts: [Option<&'a str>; 12],
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(seq: i64, texts: [Option<&str>; 12]) -> RowText<'_> {
        RowText { seq, recorded_at: Moment(7), texts }
    }

    #[test]
    fn a_link_depends_on_every_value_on_its_place_and_on_the_row_before() {
        let key = AuditKey::new(&[1; 32]);
        let texts = [Some("a"); 12];
        let link = key.link(&START, &row(1, texts));
        assert_eq!(link, key.link(&START, &row(1, texts)));
        assert_ne!(link, key.link(&link, &row(1, texts)));
        assert_ne!(link, key.link(&START, &row(2, texts)));
        assert_ne!(link, AuditKey::new(&[2; 32]).link(&START, &row(1, texts)));
        assert_ne!(link, key.link(&START, &RowText { recorded_at: Moment(8), ..row(1, texts) }));
        for place in 0..texts.len() {
            for other in [None, Some(""), Some("b"), Some("aa")] {
                let mut changed = texts;
                changed[place] = other;
                assert_ne!(link, key.link(&START, &row(1, changed)), "{place} {other:?}");
            }
        }
    }

    #[test]
    fn a_text_cannot_be_moved_into_its_neighbour() {
        let key = AuditKey::new(&[1; 32]);
        let mut one = [None; 12];
        let mut two = one;
        (one[0], one[1]) = (Some("ab"), Some("c"));
        (two[0], two[1]) = (Some("a"), Some("bc"));
        assert_ne!(key.link(&START, &row(1, one)), key.link(&START, &row(1, two)));
        (one[0], one[1]) = (Some(""), None);
        (two[0], two[1]) = (None, Some(""));
        assert_ne!(key.link(&START, &row(1, one)), key.link(&START, &row(1, two)));
    }

    /// HMAC-SHA-256 with Python's hmac over the bytes that docs/AUDIT.md describes.
    #[test]
    fn a_link_is_the_hmac_that_the_page_describes() {
        let key = AuditKey::parse(&"0b".repeat(32)).unwrap();
        let texts = [
            Some("key:8f14e45fceea"),
            Some("key"),
            Some("8f14e45fceea"),
            None,
            Some("market.create"),
            Some("market"),
            Some("1"),
            Some("done"),
            None,
            Some("r-1"),
            None,
            Some("{\"code\":\"XÄ\"}"),
        ];
        let row = RowText { seq: 1, recorded_at: Moment(1_780_000_000_000_000), texts };
        assert_eq!(
            hex(&key.link(&START, &row)),
            "c16135a9c1f791b6ff0c103629cb2e5eca786a62046ec66beb3b475a62bf9188"
        );
    }

    #[test]
    fn a_change_tells_the_fields_that_differ() {
        let (old, new) = (json!({"a": 1, "b": "x", "c": null}), json!({"a": 1, "b": "y", "d": 2}));
        let entry = Entry::changed("market.update", 7, (&old, &new));
        assert_eq!((entry.object_type.as_ref(), entry.object_id.as_deref()), ("market", Some("7")));
        assert_eq!(entry.before.as_deref(), Some(r#"{"b":"x","c":null}"#));
        assert_eq!(entry.after.as_deref(), Some(r#"{"b":"y","d":2}"#));
    }

    #[test]
    fn secrets_are_masked_at_any_depth_and_public_parts_stay() {
        let shape = json!({"key": "art_1_2", "key_prefix": "1", "deep": [{"client_secret": "s", "password": "p",
            "refresh_token": "t", "secret_hash": "h", "name": "n", "token": null}]});
        let entry = Entry::created("key.create", "1", &shape);
        let expected = json!({"key": MASK, "key_prefix": "1", "deep": [{"client_secret": MASK, "password": MASK,
            "refresh_token": MASK, "secret_hash": MASK, "name": "n", "token": null}]});
        assert_eq!(serde_json::from_str::<Value>(&entry.after.unwrap()).unwrap(), expected);
    }

    #[test]
    fn what_is_too_long_is_told_by_its_length_and_hash() {
        // The quotes around it are two bytes of the sixteen KiB.
        let whole = Entry::created("market.create", 1, &"x".repeat(16_382)).after.unwrap();
        assert_eq!(whole.len(), 16_384);
        let entry = Entry::created("market.create", 1, &"x".repeat(FACTS_MAX));
        let told: Value = serde_json::from_str(&entry.after.unwrap()).unwrap();
        assert_eq!(told["omitted_bytes"], FACTS_MAX + 2);
        assert_eq!(told["sha256"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn who_did_what_and_how_it_ended_has_the_names_of_the_page() {
        // docs/AUDIT.md
        let kinds = [
            ActorKind::Key,
            ActorKind::User,
            ActorKind::Owner,
            ActorKind::Loopback,
            ActorKind::System,
            ActorKind::Anonymous,
        ];
        let names = ["key", "user", "owner", "loopback", "system", "anonymous"];
        assert_eq!(kinds.map(ActorKind::name), names);
        assert_eq!(Actor::system("sealing").to_string(), "system:sealing");
        let outcomes = [Outcome::Done, Outcome::Denied, Outcome::Failed];
        assert_eq!(outcomes.map(Outcome::name), ["done", "denied", "failed"]);
        assert_eq!(Outcome::NAMES, outcomes.map(Outcome::name));
        for outcome in outcomes {
            assert_eq!(Outcome::from_name(outcome.name()), Some(outcome));
        }
        assert_eq!(Outcome::from_name("Done"), None);
    }

    #[test]
    fn what_is_taken_away_is_told_as_it_was() {
        let entry = Entry::removed("mapping.delete", 7, &json!({"name": "n", "token": "t"}));
        assert_eq!(entry.before.as_deref(), Some(&*format!(r#"{{"name":"n","token":"{MASK}"}}"#)));
        assert_eq!(entry.after, None);
    }

    #[test]
    fn a_key_shows_nothing_of_itself() {
        assert_eq!(format!("{:?}", AuditKey::new(&[1; 32])), "AuditKey");
    }
}
