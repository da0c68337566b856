//! `[outbox]`: the instance that prices are posted on to.

use super::authorities::{self, Named};
use super::{ConfigError, Environment, Origin, Setting, choose, secret};
use crate::workers::outbound::{NoClient, Outbound};
use crate::workers::outbound::{address::Reach, secret as secret_header, target::Target};
use crate::workers::outbox::{Pace, Remote};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    url: Option<String>,
    key: Option<String>,
    authorities_file: Option<PathBuf>,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Outbox {
    /// Root of the other instance; none unless it is set.
    pub url: Setting<Option<Target>>,
    /// The key it asks for.
    key: Setting<Option<String>>,
    /// Whose certificates it may show.
    authorities: Setting<Named>,
}

impl Outbox {
    pub(super) fn load(section: Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let var = |name: &'static str| env(name).map(|value| (name, value));
        let trusted = choose(
            None,
            var("ARTIFACT_OUTBOX__AUTHORITIES_FILE").map(|(name, file)| (name, Some(PathBuf::from(file)))),
            section.authorities_file.map(|file| (path, Some(file))),
            None,
        );
        let url = var("INFRA_API_URL").or_else(|| var("ARTIFACT_OUTBOX__URL"));
        let url = choose(None, url, section.url.map(|url| (path, url)), String::new());
        let target = match url.value.as_str() {
            "" => None,
            text => Some(target(text, &url.origin)?),
        };
        let found = match secret::find(env, ("INFRA_API_KEY", "INFRA_API_KEY_FILE"))? {
            Some(found) => Some(found),
            None => secret::find(env, ("ARTIFACT_OUTBOX__KEY", "ARTIFACT_OUTBOX__KEY_FILE"))?,
        };
        let filed = section.key.map(|key| (Origin::File(path.to_path_buf()), key));
        let key = match found.or(filed) {
            Some((origin, value)) => Setting { value: Some(value), origin },
            None => Setting { value: None, origin: Origin::Default },
        };
        if key.value.as_ref().is_some_and(|key| bearer(key).is_none()) {
            let (value, rule) = ("***".to_owned(), "must have visible ASCII characters only");
            return Err(ConfigError::Invalid { name: "outbox.key", origin: key.origin, value, rule });
        }
        let authorities = authorities::read("outbox.authorities_file", trusted)?;
        Ok(Self { url: Setting { value: target, origin: url.origin }, key, authorities })
    }

    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let url = self.url.value.as_ref().map_or_else(|| "(none)".to_owned(), ToString::to_string);
        let key = if self.key.value.is_some() { "***" } else { "(none)" };
        vec![
            ("outbox.url", url, self.url.origin.to_string()),
            ("outbox.key", key.to_owned(), self.key.origin.to_string()),
            authorities::shown("outbox.authorities_file", &self.authorities),
        ]
    }

    /// The way to the other instance, if there is one. The operator has named it, so it may be a private address.
    ///
    /// # Errors
    /// [`NoClient`].
    pub fn remote(&self) -> Result<Option<Remote>, NoClient> {
        let Some(url) = &self.url.value else { return Ok(None) };
        let key = self.key.value.as_deref().and_then(bearer);
        let client = Outbound::trusting(Reach::Anywhere, &self.authorities.value.1)?;
        Ok(Some(Remote::new(client, url, key, Pace::USUAL)))
    }
}

fn bearer(key: &str) -> Option<reqwest::header::HeaderValue> {
    let visible = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic());
    if visible { secret_header(&format!("Bearer {key}")).ok() } else { None }
}

fn target(text: &str, origin: &Origin) -> Result<Target, ConfigError> {
    let rule = "must be the root of an instance, such as http://127.0.0.1:7000";
    let read = Target::parse(text).ok().filter(|target| !target.is_web_socket());
    // What is no URL may hold a password all the same.
    read.ok_or_else(|| ConfigError::Invalid {
        name: "outbox.url",
        origin: origin.clone(),
        value: super::masked(text),
        rule,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(section: Section, env: &dyn Fn(&str) -> Option<String>) -> Result<Outbox, ConfigError> {
        Outbox::load(section, Path::new("artifact.toml"), env)
    }

    #[test]
    fn the_names_of_the_earlier_system_come_first_and_a_key_is_never_shown() {
        let env = |name: &str| match name {
            "INFRA_API_URL" => Some("http://me:hunter2@127.0.0.1:7000/?k=hunter2".to_owned()),
            "INFRA_API_KEY" => Some("hunter2".to_owned()),
            _ => None,
        };
        let section = Section {
            url: Some("http://other".to_owned()),
            key: Some("other".to_owned()),
            ..Section::default()
        };
        let outbox = load(section, &env).unwrap();
        assert_eq!(outbox.url.origin, Origin::Environment("INFRA_API_URL"));
        assert_eq!(outbox.key.value.as_deref(), Some("hunter2"));
        let shown = format!("{:?} {:?}", outbox.shown(), outbox.remote().unwrap());
        assert!(!shown.contains("hunter2") && shown.contains("http://127.0.0.1:7000/"), "{shown}");
    }

    #[test]
    fn a_key_may_stand_in_a_file() {
        let file = std::env::temp_dir().join(format!("artifact-key-{}", std::process::id()));
        std::fs::write(&file, "art_a_b\n").unwrap();
        let env = |name: &str| (name == "INFRA_API_KEY_FILE").then(|| file.display().to_string());
        let outbox = load(Section::default(), &env).unwrap();
        assert_eq!(outbox.key.value.as_deref(), Some("art_a_b"));
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(load(Section::default(), &env), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn what_is_no_address_is_named_with_its_setting_and_without_its_secrets() {
        for text in ["127.0.0.1:7000", "ftp://h", "ws://h", "http://me:hunter2@"] {
            let error = load(Section::default(), &|name| (name == "INFRA_API_URL").then(|| text.to_owned()))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("outbox.url (environment INFRA_API_URL)"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error =
            load(Section { key: Some("a b".to_owned()), ..Section::default() }, &|_| None).unwrap_err();
        assert!(!error.to_string().contains("a b"), "{error}");
    }
}
