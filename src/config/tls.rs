//! `[tls]`: a certificate of the service's own.

use super::{ConfigError, Environment, Setting, choose, parsed};
use crate::http::tls::CertificateFiles;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    certificate: Option<String>,
    key: Option<String>,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate and those that lead to a root, in PEM; without it the service speaks plain HTTP.
    pub certificate: Setting<Option<PathBuf>>,
    /// Its private key, in PEM.
    pub key: Setting<Option<PathBuf>>,
}

impl Tls {
    pub(super) fn load(section: Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let var = |name: &'static str| env(name).map(|value| (name, value));
        let filed = |value: Option<String>| value.map(|value| (path, value));
        let certificate =
            choose(None, var("ARTIFACT_TLS__CERTIFICATE"), filed(section.certificate), String::new());
        let key = choose(None, var("ARTIFACT_TLS__KEY"), filed(section.key), String::new());
        let lonely = certificate.value.is_empty() != key.value.is_empty();
        let whole = |text: &str| (!lonely).then(|| Some(PathBuf::from(text)).filter(|_| !text.is_empty()));
        let rule = "goes with tls.key: set both, or neither";
        Ok(Self {
            certificate: parsed("tls.certificate", certificate, whole, rule)?,
            key: parsed("tls.key", key, whole, rule)?,
        })
    }

    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let path = |setting: &Setting<Option<PathBuf>>| {
            setting.value.as_ref().map_or_else(|| "(none)".to_owned(), |path| path.display().to_string())
        };
        vec![
            ("tls.certificate", path(&self.certificate), self.certificate.origin.to_string()),
            ("tls.key", path(&self.key), self.key.origin.to_string()),
        ]
    }

    /// The files, if there are any.
    pub fn files(&self) -> Option<CertificateFiles> {
        let (certificate, key) = (self.certificate.value.clone()?, self.key.value.clone()?);
        Some(CertificateFiles { certificate, key })
    }
}
