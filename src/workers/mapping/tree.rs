//! A JSON body as a tree of its tokens, and pointers into it.

use super::{BodyFault, Cells, Field, Mapping, Place, Token, unlike};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Deepest nesting.
const DEPTH: usize = 64;

/// A value, its scalars as they are written.
#[derive(Debug)]
pub(super) enum Tree<'a> {
    /// A string with its quotes, a number, `true`, `false` or `null`.
    Scalar(&'a str),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl<'a> Tree<'a> {
    /// Reads a text.
    pub(super) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        Self::of(serde_json::from_str(text)?, DEPTH)
    }

    fn of(raw: &'a RawValue, depth: usize) -> Result<Self, serde_json::Error> {
        let text = raw.get();
        let Some(depth) = depth.checked_sub(1) else {
            return Err(serde::de::Error::custom(format!("it nests deeper than {DEPTH}")));
        };
        Ok(match text.as_bytes().first() {
            Some(b'[') => {
                let list: Vec<&RawValue> = serde_json::from_str(text)?;
                Self::Array(list.into_iter().map(|raw| Self::of(raw, depth)).collect::<Result<_, _>>()?)
            }
            Some(b'{') => {
                let Members(list) = serde_json::from_str(text)?;
                let member = |(name, raw)| Ok((name, Self::of(raw, depth)?));
                Self::Object(list.into_iter().map(member).collect::<Result<_, serde_json::Error>>()?)
            }
            _ => Self::Scalar(text),
        })
    }

    /// The value a pointer leads to.
    pub(super) fn at(&self, pointer: &str) -> Option<&Self> {
        steps(pointer).try_fold(self, |value, step| value.member(&step))
    }

    fn member(&self, step: &str) -> Option<&Self> {
        match self {
            Self::Scalar(_) => None,
            Self::Array(list) => {
                let plain = step == "0" || !step.starts_with('0');
                let digits = plain && step.bytes().all(|byte| byte.is_ascii_digit());
                list.get(step.parse::<usize>().ok().filter(|_| digits)?)
            }
            Self::Object(list) => list.iter().rev().find(|(name, _)| name == step).map(|(_, value)| value),
        }
    }

    /// The text of a scalar: a string without its quotes, a token as it stands; `None` for null and what is no scalar.
    pub(super) fn text(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Scalar("null") | Self::Array(_) | Self::Object(_) => None,
            Self::Scalar(token) if token.starts_with('"') => {
                serde_json::from_str::<String>(token).ok().map(Cow::Owned)
            }
            Self::Scalar(token) => Some(Cow::Borrowed(token)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Scalar(token) => match token.as_bytes().first() {
                Some(b'"') => "a string",
                Some(b't' | b'f') => "a truth value",
                Some(b'n') => "null",
                _ => "a number",
            },
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    /// The value a pointer leads to, or how far it leads.
    fn found(&self, pointer: &str) -> Result<&Self, BodyFault> {
        let (mut value, mut so_far) = (self, String::new());
        for (step, written) in steps(pointer).zip(pointer.split('/').skip(1)) {
            let Some(next) = value.member(&step) else {
                let there = if let Self::Array(list) = value {
                    format!("an array of {}", list.len())
                } else {
                    value.kind().to_owned()
                };
                let place = if so_far.is_empty() { "the body".to_owned() } else { format!("`{so_far}`") };
                return Err(unlike(pointer, format!("is not there: {place} is {there} without `{step}`")));
            };
            value = next;
            so_far.push('/');
            so_far.push_str(written);
        }
        Ok(value)
    }

    /// The token of a scalar.
    fn token(&self, pointer: String) -> Result<Token<'a>, BodyFault> {
        match self {
            Self::Array(_) | Self::Object(_) => {
                Err(unlike(pointer, format!("is {}, not a number or a text", self.kind())))
            }
            Self::Scalar(_) => Ok(Token { pointer, text: self.text() }),
        }
    }
}

/// The members of an object, in order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(member) = map.next_entry()? {
                    list.push(member);
                }
                Ok(Members(list))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// The steps of a pointer, unescaped.
fn steps(pointer: &str) -> impl Iterator<Item = Cow<'_, str>> {
    pointer.split('/').skip(1).map(|step| {
        if step.contains('~') { Cow::Owned(step.replace("~1", "/").replace("~0", "~")) } else { step.into() }
    })
}

/// An element of an array, or a member of an object.
struct Row<'t, 'a> {
    pointer: String,
    value: &'t Tree<'a>,
    key: Option<&'t str>,
}

impl<'a> Cells<'a> for Row<'_, 'a> {
    fn token(&self, field: &Field) -> Result<Token<'a>, BodyFault> {
        let pointer = format!("{}{}", self.pointer, field.at);
        match self.value.at(&field.at) {
            Some(value) => value.token(pointer),
            None if field.optional => Ok(Token { pointer, text: None }),
            None => {
                let fault = self.value.found(&field.at).err();
                let Some(BodyFault::Unlike { rule, .. }) = fault else {
                    return Err(unlike(pointer, "is not there"));
                };
                Err(unlike(pointer, rule.replacen("the body", "the row", 1)))
            }
        }
    }

    fn key(&self) -> Option<Token<'a>> {
        self.key.map(|key| Token { pointer: self.pointer.clone(), text: Some(Cow::Owned(key.to_owned())) })
    }
}

/// One place of arrays beside each other.
struct Across<'t, 'a> {
    root: &'t Tree<'a>,
    place: usize,
}

impl<'a> Cells<'a> for Across<'_, 'a> {
    fn token(&self, field: &Field) -> Result<Token<'a>, BodyFault> {
        let pointer = format!("{}/{}", field.at, self.place);
        match self.root.at(&field.at) {
            Some(Tree::Array(list)) => match list.get(self.place) {
                Some(value) => value.token(pointer),
                None => Err(unlike(pointer, "is not there: the arrays of rows.zip differ in length")),
            },
            Some(other) => Err(unlike(field.at.clone(), format!("is {}, not an array", other.kind()))),
            None if field.optional => Ok(Token { pointer, text: None }),
            None => Err(self.root.found(&field.at).err().unwrap_or_else(|| unlike(pointer, "is not there"))),
        }
    }

    fn key(&self) -> Option<Token<'a>> {
        None
    }
}

/// Calls `take` with each row of a body, in the order they stand there.
pub(super) fn each_row<'a>(
    root: &Tree<'a>,
    place: &Place,
    mapping: &Mapping,
    mut take: impl FnMut(&dyn Cells<'a>) -> Result<(), BodyFault>,
) -> Result<(), BodyFault> {
    match place {
        Place::Rows(at) => match root.found(at)? {
            Tree::Array(list) => list.iter().enumerate().try_for_each(|(number, value)| {
                take(&Row { pointer: format!("{at}/{number}"), value, key: None })
            }),
            value @ Tree::Object(_) => take(&Row { pointer: at.clone(), value, key: None }),
            // What a provider writes when it has nothing.
            Tree::Scalar("null") => Ok(()),
            value @ Tree::Scalar(_) => {
                Err(unlike(at.clone(), format!("is {}, not an array of rows", value.kind())))
            }
        },
        Place::Members(at) => match root.found(at)? {
            Tree::Object(list) => list.iter().try_for_each(|(key, value)| {
                let step = key.replace('~', "~0").replace('/', "~1");
                take(&Row { pointer: format!("{at}/{step}"), value, key: Some(key) })
            }),
            value @ (Tree::Array(_) | Tree::Scalar(_)) => {
                let rule = format!("is {}, not an object with times as keys (rows.keys)", value.kind());
                Err(unlike(at.clone(), rule))
            }
        },
        Place::Zip => {
            let time = mapping.time.as_ref().map(|field| field.at.as_str()).unwrap_or_default();
            match root.found(time)? {
                Tree::Array(list) => (0..list.len()).try_for_each(|place| take(&Across { root, place })),
                Tree::Scalar("null") => Ok(()),
                value @ (Tree::Object(_) | Tree::Scalar(_)) => {
                    Err(unlike(time, format!("is {}, not an array", value.kind())))
                }
            }
        }
    }
}
