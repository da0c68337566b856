//! `[cors]`: pages from elsewhere that may use the service from a browser.

use super::{ConfigError, Environment, Setting, choose, parsed};
use axum::http::{HeaderValue, Uri};
use serde::Deserialize;
use std::path::Path;

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    origins: Option<Vec<String>>,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Origins, each exactly as browsers send it; none unless named.
    pub origins: Setting<Vec<HeaderValue>>,
}

impl Cors {
    pub(super) fn load(section: Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let var = env("ARTIFACT_CORS__ORIGINS").map(|value| ("ARTIFACT_CORS__ORIGINS", value));
        let filed = section.origins.map(|origins| (path, origins.join(",")));
        let origins = choose(None, var, filed, String::new());
        let rule =
            "is no list of origins such as https://desk.example or http://localhost:3000; `*` is not taken";
        Ok(Self { origins: parsed("cors.origins", origins, exact, rule)? })
    }

    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let origins: Vec<&str> = self.origins.value.iter().filter_map(|value| value.to_str().ok()).collect();
        vec![("cors.origins", origins.join(","), self.origins.origin.to_string())]
    }
}

/// Origins, separated by commas: scheme, host and, if it is not the scheme's own, a port.
fn exact(text: &str) -> Option<Vec<HeaderValue>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(origin).collect()
}

fn origin(text: &str) -> Option<HeaderValue> {
    let (scheme, place) = text.split_once("://")?;
    let uri: Uri = text.parse().ok()?;
    let whole = uri.authority().is_some_and(|authority| authority.as_str() == place && !place.contains('@'));
    let plain = matches!(scheme, "http" | "https") && whole && !place.contains('*');
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if plain && lower { HeaderValue::from_str(text).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        assert_eq!(exact("https://desk.example, http://localhost:3000").unwrap().len(), 2);
        assert_eq!(exact("").unwrap().len(), 0);
        for wrong in [
            "*",
            "https://*.example",
            "https://desk.example/",
            "https://desk.example/page",
            "https://Desk.example",
            "https://me@desk.example",
            "desk.example",
            "null",
            "file://x",
        ] {
            assert!(exact(wrong).is_none(), "{wrong}");
        }
    }
}
