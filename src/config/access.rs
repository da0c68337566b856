//! `[access]`: the server's secret, tokens of our own, and issuers whose tokens are believed.

use super::authorities;
use super::encryption::can_be_read;
use super::secret::{self, FileOf};
use super::{ConfigError, Environment, Origin, Setting, choose, parsed};
use crate::domain::access::{ADMIN, OwnersMeet, Scopes, check_owner_prefix};
use crate::domain::moment::DAY;
use crate::http::auth::SCOPES;
use crate::workers::gate::Settings;
use crate::workers::outbound::authorities::Authorities;
use crate::workers::outbound::target::Target;
use crate::workers::tokens::bare_type;
use crate::workers::tokens::issuers::{IssuerRules, KeySource, Strength};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file with the server's secret.
const SECRET_FILE: FileOf = FileOf {
    key: "access.secret_file",
    variable: "ARTIFACT_ACCESS__SECRET_FILE",
    credential: "artifact-secret",
};
/// Most issuers.
const ISSUERS_MAX: usize = 32;

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    secret_file: Option<String>,
    issuer: Option<String>,
    audience: Option<String>,
    access_minutes: Option<u32>,
    refresh_days: Option<u32>,
    session_days: Option<u32>,
    signing_key_days: Option<u32>,
    breached_passwords_file: Option<PathBuf>,
    second_factor: Option<String>,
    #[serde(default)]
    issuers: Vec<IssuerSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerSection {
    issuer: String,
    audience: String,
    jwks_file: Option<String>,
    jwks_url: Option<String>,
    secret_file: Option<String>,
    kid: Option<String>,
    scopes: Vec<String>,
    owner_claim: Option<String>,
    owner_prefix: Option<String>,
    authorities_file: Option<PathBuf>,
    typ: Option<String>,
    approved_only: Option<bool>,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Access {
    /// File with the server's secret; in the data directory unless named.
    pub secret_file: Setting<Option<PathBuf>>,
    /// `iss` of our own tokens.
    pub issuer: Setting<String>,
    /// `aud` of our own tokens.
    pub audience: Setting<String>,
    /// Life of an access token, in minutes.
    pub access_minutes: Setting<u32>,
    /// Days after which a refresh token that was not used is no longer good.
    pub refresh_days: Setting<u32>,
    /// Days after which a login ends.
    pub session_days: Setting<u32>,
    /// Days after which another key signs.
    pub signing_key_days: Setting<u32>,
    /// Whether every user needs a second factor to log in.
    pub second_factor_required: Setting<bool>,
    /// File of passwords that have leaked.
    pub breached_passwords_file: Setting<Option<PathBuf>>,
    /// Issuers whose tokens are believed.
    pub issuers: Setting<Vec<IssuerRules>>,
}

/// Whole numbers of a span.
fn within(least: u32, most: u32) -> impl Fn(&str) -> Option<u32> {
    move |text| text.parse().ok().filter(|number| (least..=most).contains(number))
}

fn one_word(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= 255 && !text.chars().any(char::is_whitespace);
    fits.then(|| text.to_owned())
}

impl Access {
    pub(super) fn load(section: Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let var = |name: &'static str| env(name).map(|value| (name, value));
        let text = |name, filed: Option<String>, default: &str| {
            choose(None, var(name), filed.map(|value| (path, value)), default.to_owned())
        };
        let number = |name, filed: Option<u32>, default: u32| {
            text(name, filed.map(|number| number.to_string()), &default.to_string())
        };
        let minutes = number("ARTIFACT_ACCESS__ACCESS_MINUTES", section.access_minutes, 10);
        let refresh = number("ARTIFACT_ACCESS__REFRESH_DAYS", section.refresh_days, 7);
        let session = number("ARTIFACT_ACCESS__SESSION_DAYS", section.session_days, 30);
        let signing = number("ARTIFACT_ACCESS__SIGNING_KEY_DAYS", section.signing_key_days, 90);
        let issuer = text("ARTIFACT_ACCESS__ISSUER", section.issuer, "artifact");
        let audience = text("ARTIFACT_ACCESS__AUDIENCE", section.audience, "artifact");
        let word = "must be one word of at most 255 characters";
        let access = Self {
            secret_file: secret::file(&SECRET_FILE, section.secret_file.map(|value| (path, value)), env)?,
            issuer: parsed("access.issuer", issuer, one_word, word)?,
            audience: parsed("access.audience", audience, one_word, word)?,
            access_minutes: parsed("access.access_minutes", minutes, within(1, 60), "must be 1 to 60")?,
            refresh_days: parsed("access.refresh_days", refresh, within(1, 365), "must be 1 to 365")?,
            session_days: parsed("access.session_days", session, within(1, 365), "must be 1 to 365")?,
            signing_key_days: parsed(
                "access.signing_key_days",
                signing,
                within(1, 3_650),
                "must be 1 to 3650",
            )?,
            second_factor_required: parsed(
                "access.second_factor",
                text("ARTIFACT_ACCESS__SECOND_FACTOR", section.second_factor, "optional"),
                |text| ["optional", "required"].contains(&text).then_some(text == "required"),
                "must be optional or required",
            )?,
            breached_passwords_file: choose(
                None,
                var("ARTIFACT_ACCESS__BREACHED_PASSWORDS_FILE")
                    .map(|(name, file)| (name, Some(PathBuf::from(file)))),
                section.breached_passwords_file.map(|file| (path, Some(file))),
                None,
            ),
            issuers: issuers(section.issuers, path, env)?,
        };
        let own = &access.issuer.value;
        if access.issuers.value.iter().any(|other| other.issuer == *own) {
            return Err(fault(
                path,
                own,
                "is the name of our own tokens (access.issuer); give one of the two another",
            ));
        }
        Ok(access)
    }

    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let file = self.secret_file.value.as_ref();
        let file =
            file.map_or_else(|| "(in the data directory)".to_owned(), |file| file.display().to_string());
        let breached = self.breached_passwords_file.value.as_ref();
        let breached = breached.map_or_else(|| "(none)".to_owned(), |file| file.display().to_string());
        let issuers: Vec<&str> = self.issuers.value.iter().map(|rules| rules.issuer.as_str()).collect();
        let number = |setting: &Setting<u32>| (setting.value.to_string(), setting.origin.to_string());
        let with = |name, (value, origin)| (name, value, origin);
        vec![
            ("access.secret_file", file, self.secret_file.origin.to_string()),
            ("access.issuer", self.issuer.value.clone(), self.issuer.origin.to_string()),
            ("access.audience", self.audience.value.clone(), self.audience.origin.to_string()),
            with("access.access_minutes", number(&self.access_minutes)),
            with("access.refresh_days", number(&self.refresh_days)),
            with("access.session_days", number(&self.session_days)),
            with("access.signing_key_days", number(&self.signing_key_days)),
            (
                "access.second_factor",
                if self.second_factor_required.value { "required" } else { "optional" }.to_owned(),
                self.second_factor_required.origin.to_string(),
            ),
            ("access.breached_passwords_file", breached, self.breached_passwords_file.origin.to_string()),
            ("access.issuers", issuers.join(", "), self.issuers.origin.to_string()),
        ]
    }

    /// The same for the gate.
    pub fn settings(&self) -> Settings {
        Settings {
            secret_file: self.secret_file.value.clone(),
            issuer: self.issuer.value.clone(),
            audience: self.audience.value.clone(),
            access: i64::from(self.access_minutes.value) * 60_000_000,
            refresh: i64::from(self.refresh_days.value) * DAY,
            session: i64::from(self.session_days.value) * DAY,
            signing_key: i64::from(self.signing_key_days.value) * DAY,
            issuers: self.issuers.value.clone(),
            second_factor_required: self.second_factor_required.value,
            breached_passwords_file: self.breached_passwords_file.value.clone(),
        }
    }
}

fn fault(path: &Path, issuer: &str, rule: &'static str) -> ConfigError {
    ConfigError::Invalid {
        name: "access.issuers",
        origin: Origin::File(path.to_path_buf()),
        value: issuer.to_owned(),
        rule,
    }
}

fn issuers(
    sections: Vec<IssuerSection>,
    path: &Path,
    env: Environment<'_>,
) -> Result<Setting<Vec<IssuerRules>>, ConfigError> {
    let given = !sections.is_empty();
    if sections.len() > ISSUERS_MAX {
        return Err(fault(path, "access.issuers", "are more than 32"));
    }
    let mut read: Vec<IssuerRules> = Vec::new();
    for section in sections {
        let name = section.issuer.clone();
        let authorities = section.authorities_file.as_deref().map_or(Ok(Authorities::OfMachine), |file| {
            authorities::of_file("access.issuers.authorities_file", file, &Origin::File(path.to_path_buf()))
        })?;
        let rules = issuer(section, authorities, env).map_err(|rule| fault(path, &name, rule))?;
        if read.iter().any(|known| known.issuer == rules.issuer) {
            return Err(fault(path, &name, "is there twice"));
        }
        let prefixes: Vec<&str> = read.iter().map(|known| known.owner_prefix.as_str()).collect();
        check_owner_prefix(&rules.owner_prefix, &prefixes).map_err(|error| {
            let rule = match error {
                OwnersMeet::Users => {
                    "has an owner_prefix that does not end with what no user's name has, such as `:`"
                }
                OwnersMeet::Issuers => {
                    "has an owner_prefix that is the beginning of another one's, or begins with it: both could name \
                     one owner"
                }
            };
            fault(path, &name, rule)
        })?;
        read.push(rules);
    }
    let origin = if given { Origin::File(path.to_path_buf()) } else { Origin::Default };
    Ok(Setting { value: read, origin })
}

fn issuer(
    section: IssuerSection,
    authorities: Authorities,
    env: Environment<'_>,
) -> Result<IssuerRules, &'static str> {
    let file = |text: String| {
        secret::path(&text, env).ok_or("names a credential, and there is no CREDENTIALS_DIRECTORY")
    };
    let keys = match (section.jwks_file, section.jwks_url, section.secret_file, section.kid) {
        (Some(jwks), None, None, None) => KeySource::File(file(jwks)?),
        (None, Some(url), None, None) => KeySource::Url { url: checked_url(url)?, authorities },
        (None, None, Some(secret), Some(kid)) if !kid.is_empty() => {
            KeySource::Secret { file: file(secret)?, kid }
        }
        (None, None, Some(_), _) => return Err("needs a kid beside its secret_file"),
        _ => return Err("needs one of jwks_file, jwks_url, and secret_file with kid"),
    };
    if section.scopes.is_empty() {
        return Err("needs scopes: the most its tokens may do");
    }
    let Some(owner_prefix) = section.owner_prefix else {
        return Err(
            "needs an owner_prefix, such as \"idp:\"; \"\", of an only issuer, makes its owners those of users and keys",
        );
    };
    let known = |name: &String| name == ADMIN || SCOPES.contains(&name.as_str());
    if !section.scopes.iter().all(known) {
        return Err("has a scope that does not exist; see GET /openapi.json or docs/ACCESS.md");
    }
    if section.typ.as_deref().is_some_and(|typ| one_word(typ).is_none()) {
        return Err("has a typ that is not one word, such as at+jwt");
    }
    if one_word(&section.issuer).is_none() || one_word(&section.audience).is_none() {
        return Err("needs an issuer and an audience of one word each");
    }
    Ok(IssuerRules {
        issuer: section.issuer,
        audience: section.audience,
        typ: section.typ.as_deref().map(bare_type),
        strength: if section.approved_only == Some(true) { Strength::Approved } else { Strength::Usual },
        keys,
        ceiling: section.scopes.into_iter().collect::<Scopes>(),
        owner_claim: section.owner_claim.unwrap_or_else(|| "sub".to_owned()),
        owner_prefix,
    })
}

/// Keys that are fetched without encryption are anybody's.
fn checked_url(url: String) -> Result<String, &'static str> {
    let target = Target::parse(&url).map_err(|_| "has a jwks_url that is no URL")?;
    if target.is_web_socket() || can_be_read(&url) {
        Err("has a jwks_url that is not https://")
    } else {
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Access, String> {
        let section: Section = toml::from_str(toml).map_err(|error| error.message().to_owned())?;
        let look =
            |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Access::load(section, Path::new("artifact.toml"), &look).map_err(|error| error.to_string())
    }

    const ISSUER: &str = "[[issuers]]\nissuer = \"https://idp/\"\naudience = \"artifact\"\nscopes = [\"markets:read\"]\n\
        owner_prefix = \"idp:\"\n";

    #[test]
    fn an_issuer_needs_one_source_of_keys_and_a_ceiling() {
        let with = |more: &str| load(&format!("{ISSUER}{more}"), &[("CREDENTIALS_DIRECTORY", "/run/c")]);
        let keys = |more: &str| with(more).unwrap().issuers.value.remove(0).keys;
        assert!(
            matches!(keys("jwks_file = \"/etc/jwks\""), KeySource::File(file) if file == Path::new("/etc/jwks"))
        );
        assert!(matches!(
            keys("jwks_url = \"https://idp/jwks\""),
            KeySource::Url { url, authorities: Authorities::OfMachine } if url == "https://idp/jwks"
        ));
        assert!(matches!(
            keys("secret_file = \"credential:jwt\"\nkid = \"one\""),
            KeySource::Secret { file, kid } if file == Path::new("/run/c/jwt") && kid == "one"
        ));
        assert!(with("").unwrap_err().contains("needs one of jwks_file"));
        assert!(with("secret_file = \"/s\"").unwrap_err().contains("kid"));
        assert!(with("jwks_file = \"/a\"\njwks_url = \"https://b\"").is_err());
        for url in ["http://idp/jwks", "http://127.0.0.1.evil/", "ftp://idp/", "idp"] {
            assert!(with(&format!("jwks_url = \"{url}\"")).unwrap_err().contains("jwks_url"), "{url}");
        }
        assert!(with("jwks_url = \"http://127.0.0.1:8000/jwks\"").is_ok());
        let unknown = ISSUER.replace("markets:read", "markets:raed");
        assert!(load(&format!("{unknown}jwks_file = \"/a\""), &[]).unwrap_err().contains("scope"));
        assert!(
            load(&format!("{ISSUER}jwks_file = \"/a\"\n{ISSUER}jwks_file = \"/a\""), &[])
                .unwrap_err()
                .contains("twice")
        );
        let own = format!("issuer = \"https://idp/\"\n{ISSUER}jwks_file = \"/a\"");
        assert!(load(&own, &[]).unwrap_err().contains("our own tokens"));
    }

    #[test]
    fn owners_of_issuers_are_told_apart_by_what_stands_before_them() {
        let with = |prefix: &str| {
            format!("{}jwks_file = \"/a\"\n", ISSUER.replace("\"idp:\"", &format!("{prefix:?}")))
        };
        let two = |one: &str, other: &str| {
            load(&format!("{}{}", with(one), with(other).replace("https://idp/", "https://other/")), &[])
        };
        assert_eq!(load(&with(""), &[]).unwrap().issuers.value[0].owner_prefix, "");
        assert_eq!(two("idp:", "other:").unwrap().issuers.value[1].owner_prefix, "other:");
        for (one, other) in [("idp:", "idp:"), ("", "idp:"), ("idp:", ""), ("idp:", "idp:x:")] {
            let said = two(one, other).unwrap_err();
            assert!(said.contains("https://other/") && said.contains("both could name one owner"), "{said}");
        }
        let said = load(&with("idp"), &[]).unwrap_err();
        assert!(said.contains("owner_prefix that does not end with"), "{said}");
        let without = with("x:").replace("owner_prefix = \"x:\"\n", "");
        assert!(load(&without, &[]).unwrap_err().contains("needs an owner_prefix"), "{without}");
    }

    #[test]
    fn numbers_have_bounds_and_the_environment_beats_the_file() {
        let access = load("access_minutes = 5", &[("ARTIFACT_ACCESS__ACCESS_MINUTES", "15")]).unwrap();
        assert_eq!(access.settings().access, 15 * 60_000_000);
        for wrong in ["access_minutes = 0", "access_minutes = 61", "session_days = 366", "acess_minutes = 5"]
        {
            assert!(load(wrong, &[]).is_err(), "{wrong}");
        }
        let named = load("secret_file = \"credential:s\"", &[]).unwrap_err();
        assert!(named.contains("CREDENTIALS_DIRECTORY"), "{named}");
        assert_eq!(load("", &[]).unwrap().secret_file.value, None);
    }

    #[test]
    fn what_is_shown_and_what_the_gate_is_told_are_the_settings_with_their_origins() {
        let toml = format!(
            "audience = \"desk\"\nsecret_file = \"/s\"\nsession_days = 20\nsigning_key_days = 60\n\
             second_factor = \"required\"\nbreached_passwords_file = \"/leaked\"\n\
             {ISSUER}jwks_file = \"/a\"\ntyp = \"Application/AT+JWT\"\napproved_only = true"
        );
        let access = load(&toml, &[("ARTIFACT_ACCESS__REFRESH_DAYS", "5")]).unwrap();
        let file = Origin::File(PathBuf::from("artifact.toml")).to_string();
        let (default, variable) =
            (Origin::Default.to_string(), Origin::Environment("ARTIFACT_ACCESS__REFRESH_DAYS").to_string());
        let wanted = [
            ("access.secret_file", "/s", &file),
            ("access.issuer", "artifact", &default),
            ("access.audience", "desk", &file),
            ("access.access_minutes", "10", &default),
            ("access.refresh_days", "5", &variable),
            ("access.session_days", "20", &file),
            ("access.signing_key_days", "60", &file),
            ("access.second_factor", "required", &file),
            ("access.breached_passwords_file", "/leaked", &file),
            ("access.issuers", "https://idp/", &file),
        ];
        let wanted = wanted.map(|(name, value, origin)| (name, value.to_owned(), origin.clone()));
        assert_eq!(access.shown(), wanted);
        let (settings, day) = (access.settings(), 86_400_000_000);
        assert_eq!((settings.access, settings.refresh), (600_000_000, 5 * day));
        assert_eq!((settings.session, settings.signing_key), (20 * day, 60 * day));
        assert_eq!((settings.issuer.as_str(), settings.audience.as_str()), ("artifact", "desk"));
        assert_eq!(settings.secret_file, Some(PathBuf::from("/s")));
        assert_eq!(settings.breached_passwords_file, Some(PathBuf::from("/leaked")));
        assert!(settings.second_factor_required);
        let issuer = &settings.issuers[0];
        assert_eq!((issuer.typ.as_deref(), issuer.strength), (Some("at+jwt"), Strength::Approved));
        let plain = load("", &[]).unwrap();
        assert!(
            !plain.settings().second_factor_required && plain.settings().breached_passwords_file.is_none()
        );
        assert!(load("second_factor = \"often\"", &[]).unwrap_err().contains("optional or required"));
        let usual = load(&format!("{ISSUER}jwks_file = \"/a\""), &[]).unwrap().issuers.value.remove(0);
        assert_eq!((usual.typ, usual.strength), (None, Strength::Usual));
        let two_words = load(&format!("{ISSUER}jwks_file = \"/a\"\ntyp = \"at jwt\""), &[]).unwrap_err();
        assert!(two_words.contains("a typ that is not one word"), "{two_words}");
        assert_eq!(plain.issuers.origin, Origin::Default);
        assert_eq!(plain.shown()[0].1, "(in the data directory)");
    }

    #[test]
    fn names_of_issuers_and_audiences_are_one_word_and_there_are_at_most_32_issuers() {
        let long = "x".repeat(255);
        for (word, fits) in [("", false), ("a b", false), (long.as_str(), true), (&format!("{long}x"), false)]
        {
            for key in ["issuer", "audience"] {
                assert_eq!(load(&format!("{key} = \"{word}\""), &[]).is_ok(), fits, "{key} {word}");
                let given = if key == "issuer" { "https://idp/" } else { "artifact" };
                let of_another =
                    ISSUER.replace(&format!("{key} = \"{given}\""), &format!("{key} = \"{word}\""));
                let read = load(&format!("{of_another}jwks_file = \"/a\""), &[]);
                assert_eq!(read.is_ok(), fits, "{key} {word} {read:?}");
            }
        }
        let many = |count: u32| {
            let one = |n: u32| {
                ISSUER
                    .replace("https://idp/", &format!("https://idp{n}/"))
                    .replace("idp:", &format!("idp{n}:"))
                    + "jwks_file = \"/a\"\n"
            };
            load(&(0..count).map(one).collect::<String>(), &[])
        };
        assert_eq!(many(32).unwrap().issuers.value.len(), 32);
        assert!(many(33).unwrap_err().contains("more than 32"));
        let nameless = load(&format!("{ISSUER}secret_file = \"/s\"\nkid = \"\""), &[]).unwrap_err();
        assert!(nameless.contains("needs a kid"), "{nameless}");
    }
}
