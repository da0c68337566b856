//! Secrets that were pasted where they do not belong: what a caller sends as a name is told in logs and answers, without
//! the part of it that would let somebody in.

use std::borrow::Cow;

/// What stands in the place of a secret.
const MASK: &str = "***";
/// Fewest letters that are taken for a secret: parts of ordinary names are shorter.
const LEAST: usize = 16;
/// How a secret begins, and where in what follows the part that is no one's to know does.
type Beginning = (&'static str, fn(&str) -> Option<usize>);
/// How our own secrets begin, and how a token does: `{"` in base64url.
const BEGINNINGS: [Beginning; 3] = [("art_", of_key), ("art-refresh_", of_refresh), ("eyJ", of_token)];

fn run(text: &str, other: &[u8]) -> usize {
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || other.contains(byte)).count()
}

/// Where the secret of a key begins, after `art_`: its prefix is public.
fn of_key(rest: &str) -> Option<usize> {
    let prefix = run(rest, b"");
    let secret = rest.get(prefix..)?.strip_prefix('_')?;
    (run(secret, b"") >= LEAST).then_some(prefix + 1)
}

fn of_refresh(rest: &str) -> Option<usize> {
    (run(rest, b"_") >= LEAST).then_some(0)
}

/// Its first part says nothing; what has no other is none.
fn of_token(rest: &str) -> Option<usize> {
    let whole = rest.get(..run(rest, b"-_."))?;
    let (header, other) = whole.split_once('.')?;
    (other.len() >= LEAST).then_some(header.len() + 1)
}

/// The first secret of a text: where it begins and where it ends.
fn secret(text: &str) -> Option<(usize, usize)> {
    let found = BEGINNINGS.iter().flat_map(|(beginning, secret)| {
        text.match_indices(beginning).filter_map(|(at, _)| {
            let rest = at + beginning.len();
            let begins = rest + secret(text.get(rest..)?)?;
            Some((begins, begins + run(text.get(begins..)?, b"-_.")))
        })
    });
    found.min()
}

/// A text without the secrets in it.
pub fn masked(text: &str) -> Cow<'_, str> {
    let Some((mut begins, mut ends)) = secret(text) else { return Cow::Borrowed(text) };
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    loop {
        out.push_str(rest.get(..begins).unwrap_or_default());
        out.push_str(MASK);
        rest = rest.get(ends..).unwrap_or_default();
        let Some(next) = secret(rest) else { break };
        (begins, ends) = next;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The same of a text that is at hand.
pub fn mask(text: &mut String) {
    if let Cow::Owned(other) = masked(text) {
        *text = other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_nothing_else() {
        let (secret, id) = ("c0ffee".repeat(10) + "beef", "0198c1d27c7a7b1e9a553f2b8d0c4e11");
        for (text, left) in [
            (format!("/keys/art_0123456789ab_{secret}/rotate"), "/keys/art_0123456789ab_***/rotate"),
            (format!("art_a_{secret}, art_b_{secret}."), "art_a_***, art_b_***"),
            (format!("x=art-refresh_{id}_{secret}"), "x=art-refresh_***"),
            (format!("Key not found: art_a_{}", &secret[..16]), "Key not found: art_a_***"),
            (format!("/eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJhIn0.{secret}/x"), "/eyJhbGciOiJFZERTQSJ9.***/x"),
        ] {
            assert_eq!(masked(&text), left, "{text}");
        }
        for plain in [
            "/keys/art_0123456789ab",
            "/portfolios/art_of_war",
            "/assets/art_of_the_possible",
            "eyJhIjoxfQ",
            "/markets",
            "ärt_a_é",
        ] {
            assert!(matches!(masked(plain), Cow::Borrowed(_)), "{plain}");
        }
    }
}
