//! Who may do what: scopes, whose portfolios are in reach, and the rules of names and passwords.
//!
//! A scope says what may be done, a reach with whose portfolios. Both are needed: a caller without the scope learns that
//! it lacks it, a caller without the reach cannot tell a foreign portfolio from one that does not exist.

use crate::domain::ids::PortfolioId;
use crate::named_enum;

/// Scope that stands for every other, and reaches every owner.
pub const ADMIN: &str = "admin";
/// Scope of who reads the audit trail, which tells of every owner.
const AUDIT: &str = "audit:read";
/// How the scopes begin that count for one owner; what the others open belongs to nobody.
const OF_AN_OWNER: &str = "portfolios:";
/// Shortest password, in characters.
pub const PASSWORD_MIN: usize = 12;
/// Longest password, in characters.
pub const PASSWORD_MAX: usize = 256;
/// Fewest different characters of a password.
const DIFFERENT_MIN: usize = 5;
/// What no password contains, for whoever guesses tries it first: the name of the service.
const CONTEXT: &str = "artifact";
/// Passwords that are guessed first, in lower case; lines with `#` say where they are from.
const COMMON: &str = include_str!("common_passwords.txt");
/// Longest name of a user.
pub const NAME_MAX: usize = 64;

named_enum! {
    /// Whether a user may log in.
    UserStatus {
        /// May log in.
        Active = "active",
        /// May not.
        Disabled = "disabled",
    }
}

/// Whose portfolios a caller may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Whose portfolios it makes.
    pub owner_id: String,
    /// Whether it may act for any owner.
    pub any_owner: bool,
    /// The only portfolios in reach; all of the owner's when `None`.
    pub portfolios: Option<Vec<PortfolioId>>,
}

impl Reach {
    /// Everything of everybody.
    pub fn everything(owner_id: &str) -> Self {
        Self { owner_id: owner_id.to_owned(), any_owner: true, portfolios: None }
    }

    /// Whether a portfolio is in reach.
    pub fn sees(&self, owner_id: &str, portfolio: PortfolioId) -> bool {
        let named = self.portfolios.as_ref().is_none_or(|only| only.contains(&portfolio));
        named && self.owns(owner_id)
    }

    /// Whether portfolios of this owner may be in reach.
    pub fn owns(&self, owner_id: &str) -> bool {
        self.any_owner || self.owner_id == owner_id
    }
}

/// What a caller may do: names of scopes, each once, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<String>);

impl Scopes {
    /// Reads scopes as they are kept and as tokens carry them: separated by blanks.
    pub fn parse(text: &str) -> Self {
        text.split(' ').filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// Whether it holds this scope, by its name or by `admin`.
    pub fn allows(&self, scope: &str) -> bool {
        self.0.iter().any(|held| held == scope || held == ADMIN)
    }

    /// Whether it holds `admin`.
    pub fn is_admin(&self) -> bool {
        self.0.iter().any(|held| held == ADMIN)
    }

    /// Whether the audit trail is open to a holder: to whoever acts for one owner it is not, since it tells of all.
    pub fn audits(&self) -> bool {
        self.is_admin() || (self.allows(AUDIT) && !self.0.iter().any(|held| held.starts_with(OF_AN_OWNER)))
    }

    /// Whether it holds the scope of the audit trail beside one that keeps it shut.
    pub fn audits_in_vain(&self) -> bool {
        self.allows(AUDIT) && !self.audits()
    }

    /// What both hold; `admin` on one side takes what the other has.
    #[must_use]
    pub fn within(&self, ceiling: &Self) -> Self {
        if ceiling.is_admin() {
            return self.clone();
        }
        if self.is_admin() {
            return ceiling.clone();
        }
        self.0.iter().filter(|held| ceiling.0.contains(held)).cloned().collect()
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether it holds nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<String> for Scopes {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }
}

impl std::fmt::Display for Scopes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// A user's name as it is kept: lower case, 1 to 64 of letters, digits and `._@+-`.
pub fn user_name(text: &str) -> Option<String> {
    let name = text.to_ascii_lowercase();
    let fits = !name.is_empty() && name.len() <= NAME_MAX;
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._@+-".contains(&b));
    (fits && plain).then_some(name)
}

/// Why the beginning of an issuer's owners is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnersMeet {
    /// A user could be called like an owner of it.
    Users,
    /// Another issuer could name an owner of it.
    Issuers,
}

/// Holds the beginning of an issuer's owners to those of the others: nobody is to become the owner of what is
/// somebody else's. An empty one, of an only issuer, means the owners of users and keys.
///
/// # Errors
/// [`OwnersMeet`].
pub fn check_owner_prefix(prefix: &str, others: &[&str]) -> Result<(), OwnersMeet> {
    if prefix.chars().next_back().is_some_and(|last| user_name(last.encode_utf8(&mut [0; 4])).is_some()) {
        return Err(OwnersMeet::Users);
    }
    let meets = |other: &&str| other.starts_with(prefix) || prefix.starts_with(other);
    if others.iter().any(meets) { Err(OwnersMeet::Issuers) } else { Ok(()) }
}

/// Why a password is not taken. The password itself is never part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Too short or too long.
    #[error("must have {PASSWORD_MIN} to {PASSWORD_MAX} characters")]
    Length,
    /// Few different characters.
    #[error("must have at least {DIFFERENT_MIN} different characters")]
    Monotonous,
    /// It holds the user's name.
    #[error("must not contain the user's name")]
    HoldsName,
    /// It holds the name of the service.
    #[error("must not contain `{CONTEXT}`, the name of this service")]
    HoldsContext,
    /// Others have it.
    #[error("must not be one of the 5,000 most common passwords")]
    Common,
    /// It stands in the operator's list of passwords that have leaked.
    #[error("must not be one that has leaked elsewhere")]
    Leaked,
}

/// Holds a password to the rules.
///
/// # Errors
/// [`WeakPassword`].
pub fn check_password(password: &str, name: &str) -> Result<(), WeakPassword> {
    let length = password.chars().count();
    if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&length) {
        return Err(WeakPassword::Length);
    }
    let mut different: Vec<char> = password.chars().collect();
    different.sort_unstable();
    different.dedup();
    if different.len() < DIFFERENT_MIN {
        return Err(WeakPassword::Monotonous);
    }
    let lower = password.to_lowercase();
    if name.len() >= 4 && lower.contains(&name.to_lowercase()) {
        return Err(WeakPassword::HoldsName);
    }
    if lower.contains(CONTEXT) {
        return Err(WeakPassword::HoldsContext);
    }
    if COMMON.lines().any(|common| common == lower) {
        return Err(WeakPassword::Common);
    }
    Ok(())
}

/// The public part of an API key, where that or the whole key may be given: whoever has to revoke a key has it at hand.
pub fn public_part(named: &str) -> &str {
    let rest = named.trim().strip_prefix("art_");
    rest.map_or(named, |rest| rest.split_once('_').map_or(rest, |(prefix, _)| prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_scope_is_allowed_by_its_name_or_by_admin_and_by_nothing_alike() {
        let scopes = Scopes::parse("prices:write  markets:read prices:write");
        assert_eq!(scopes.to_string(), "markets:read prices:write");
        assert!(scopes.allows("prices:write") && scopes.allows("markets:read"));
        for other in ["prices:read", "prices", "prices:write ", "PRICES:WRITE", "admin", ""] {
            assert!(!scopes.allows(other), "{other}");
        }
        assert!(Scopes::parse("admin").allows("anything") && !Scopes::parse("administrator").is_admin());
        assert!(Scopes::parse(" ").is_empty() && !Scopes::default().allows(""));
    }

    #[test]
    fn the_trail_is_shut_to_whoever_acts_for_one_owner() {
        for open in ["audit:read", "audit:read metrics:read prices:write", "admin", "admin portfolios:read"] {
            let scopes = Scopes::parse(open);
            assert!(scopes.audits() && !scopes.audits_in_vain(), "{open}");
        }
        for shut in ["audit:read portfolios:read", "audit:read portfolios:write"] {
            let scopes = Scopes::parse(shut);
            assert!(!scopes.audits() && scopes.audits_in_vain(), "{shut}");
        }
        let without = Scopes::parse("portfolios:read metrics:read");
        assert!(!without.audits() && !without.audits_in_vain());
    }

    #[test]
    fn owners_of_one_issuer_are_nobody_elses() {
        assert_eq!(check_owner_prefix("idp:", &["desk:", "id:"]), Ok(()));
        assert_eq!(check_owner_prefix("", &[]), Ok(()));
        for user in ["idp", "idp-", "idp.", "IdP", "7"] {
            assert_eq!(check_owner_prefix(user, &[]), Err(OwnersMeet::Users), "{user}");
        }
        // `a:` with the name `b:c` is `a:b:` with the name `c`.
        for (one, other) in [("a:", "a:"), ("a:", "a:b:"), ("a:b:", "a:"), ("", "a:"), ("a:", ""), ("", "")] {
            assert_eq!(check_owner_prefix(one, &[other]), Err(OwnersMeet::Issuers), "{one} {other}");
        }
    }

    #[test]
    fn scopes_within_a_ceiling_never_exceed_either() {
        let (few, ceiling) = (Scopes::parse("a:read b:write"), Scopes::parse("a:read c:read"));
        assert_eq!(few.within(&ceiling), Scopes::parse("a:read"));
        assert_eq!(Scopes::parse("admin").within(&ceiling), ceiling);
        assert_eq!(few.within(&Scopes::parse("admin")), few);
        assert!(few.within(&Scopes::default()).is_empty());
    }

    #[test]
    fn a_portfolio_is_in_reach_by_owner_and_by_name() {
        let (one, two) = (PortfolioId(Uuid::from_u128(1)), PortfolioId(Uuid::from_u128(2)));
        let own = Reach { owner_id: "alice".to_owned(), any_owner: false, portfolios: None };
        assert!(own.sees("alice", one) && !own.sees("bob", one) && !own.sees("Alice", one));
        let bound = Reach { portfolios: Some(vec![one]), ..own.clone() };
        assert!(bound.sees("alice", one) && !bound.sees("alice", two));
        assert!(!bound.sees("bob", one), "a name does not reach beyond the owner");
        assert!(!Reach { portfolios: Some(Vec::new()), ..own }.sees("alice", one));
        assert!(Reach::everything("admin").sees("bob", two));
    }

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(user_name("Alice.B@example").as_deref(), Some("alice.b@example"));
        for bad in ["", "a b", "a\u{e9}", "a/b", "a\n", "\0", &"x".repeat(65)] {
            assert_eq!(user_name(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn common_passwords_are_those_that_no_other_rule_refuses() {
        let common: Vec<&str> = COMMON.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(common.len(), 5_000);
        for password in common {
            assert_eq!(check_password(password, "x"), Err(WeakPassword::Common), "{password}");
        }
    }

    #[test]
    fn passwords_are_long_and_not_the_name() {
        assert_eq!(check_password("correct horse battery", "alice"), Ok(()));
        assert_eq!(check_password("elevenchars", "alice"), Err(WeakPassword::Length));
        assert_eq!(check_password(&"ab1c2d".repeat(43), "alice"), Err(WeakPassword::Length));
        assert_eq!(check_password("abababababababab", "alice"), Err(WeakPassword::Monotonous));
        assert_eq!(check_password("I am ALICE, hello", "alice"), Err(WeakPassword::HoldsName));
        for guessed in ["1qaz2wsx3edc", "Qwerty123456", "PasswordPassword"] {
            assert_eq!(check_password(guessed, "alice"), Err(WeakPassword::Common), "{guessed}");
        }
        assert_eq!(check_password("the Artifact is mine", "alice"), Err(WeakPassword::HoldsContext));
        assert_eq!(check_password("1qaz2wsx3edc, and more", "alice"), Ok(()));
        // Twelve characters count, not twelve bytes.
        assert_eq!(check_password("\u{e9}\u{e8}\u{ea}\u{eb}ef", "x"), Err(WeakPassword::Length));
    }

    #[test]
    fn scopes_are_told_in_order_each_once_and_only_none_at_all_are_empty() {
        let scopes = Scopes::parse("b:write  a:read b:write");
        assert_eq!(scopes.names(), ["a:read", "b:write"]);
        assert!(!scopes.is_empty() && Scopes::parse(" ").is_empty());
    }
}
