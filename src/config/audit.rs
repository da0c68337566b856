//! `[audit]`: the key of the audit trail, and from where on the trail is held to it.

use super::secret::{self, FileOf};
use super::{ConfigError, Environment, Setting, choose, parsed};
use crate::storage::audit_key::Settings;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file with the key.
const KEY_FILE: FileOf =
    FileOf { key: "audit.key_file", variable: "ARTIFACT_AUDIT__KEY_FILE", credential: "audit-key" };

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    key_file: Option<String>,
    after: Option<i64>,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Audit {
    /// File with the key; in the data directory unless named.
    pub key_file: Setting<Option<PathBuf>>,
    /// Rows up to this one are taken as they are: their key is lost.
    pub after: Setting<i64>,
}

impl Audit {
    pub(super) fn load(section: Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let filed = section.after.map(|after| (path, after.to_string()));
        let var = env("ARTIFACT_AUDIT__AFTER").map(|value| ("ARTIFACT_AUDIT__AFTER", value));
        let after = choose(None, var, filed, "0".to_owned());
        let number = |text: &str| text.parse().ok().filter(|row: &i64| *row >= 0);
        Ok(Self {
            key_file: secret::file(&KEY_FILE, section.key_file.map(|value| (path, value)), env)?,
            after: parsed("audit.after", after, number, "must be the number of a row")?,
        })
    }

    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let file = self.key_file.value.as_ref();
        let file =
            file.map_or_else(|| "(in the data directory)".to_owned(), |file| file.display().to_string());
        vec![
            ("audit.key_file", file, self.key_file.origin.to_string()),
            ("audit.after", self.after.value.to_string(), self.after.origin.to_string()),
        ]
    }

    /// The same for the trail.
    pub fn settings(&self) -> Settings {
        Settings { file: self.key_file.value.clone(), after: self.after.value }
    }
}
