//! Who may do what: scopes, whose portfolios are in reach, and the rules of names and passwords.
//!
//! A scope says what may be done, a reach with whose portfolios. Both are needed: a caller without the scope learns that
//! it lacks it, a caller without the reach cannot tell a foreign portfolio from one that does not exist.

use crate::domain::ids::PortfolioId;
use crate::named_enum;

/// Scope that stands for every other, and reaches every owner.
pub const ADMIN: &str = "admin";
/// Shortest password, in characters.
pub const PASSWORD_MIN: usize = 12;
/// Longest password, in characters.
pub const PASSWORD_MAX: usize = 256;
/// Fewest different characters of a password.
const DIFFERENT_MIN: usize = 5;
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
    if name.len() >= 4 && password.to_lowercase().contains(&name.to_lowercase()) {
        return Err(WeakPassword::HoldsName);
    }
    Ok(())
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
    fn passwords_are_long_and_not_the_name() {
        assert_eq!(check_password("correct horse battery", "alice"), Ok(()));
        assert_eq!(check_password("elevenchars", "alice"), Err(WeakPassword::Length));
        assert_eq!(check_password(&"ab1c2d".repeat(43), "alice"), Err(WeakPassword::Length));
        assert_eq!(check_password("abababababababab", "alice"), Err(WeakPassword::Monotonous));
        assert_eq!(check_password("I am ALICE, hello", "alice"), Err(WeakPassword::HoldsName));
        // Twelve characters count, not twelve bytes.
        assert_eq!(check_password("\u{e9}\u{e8}\u{ea}\u{eb}ef", "x"), Err(WeakPassword::Length));
    }
}
