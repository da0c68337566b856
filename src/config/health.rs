//! `[health]`: from when on something counts as unwell.

use super::{ConfigError, Environment, Setting, choose, parsed};
use serde::Deserialize;
use std::path::Path;

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    disk_free_min_bytes: Option<u64>,
    backup_age_max_hours: Option<u64>,
}

/// Its settings.
#[derive(Debug, Clone)]
pub struct Health {
    /// With less room than this on the file system of the data the service counts as unhealthy.
    pub disk_free_min_bytes: Setting<u64>,
    /// A last good backup older than this is warned of.
    pub backup_age_max_hours: Setting<u64>,
}

impl Health {
    pub(super) fn load(section: &Section, path: &Path, env: Environment<'_>) -> Result<Self, ConfigError> {
        let number = |name, variable: &'static str, filed: Option<u64>, default: u64, rule| {
            let var = env(variable).map(|value| (variable, value));
            let filed = filed.map(|value| (path, value.to_string()));
            parsed(name, choose(None, var, filed, default.to_string()), |text| text.parse().ok(), rule)
        };
        Ok(Self {
            disk_free_min_bytes: number(
                "health.disk_free_min_bytes",
                "ARTIFACT_HEALTH__DISK_FREE_MIN_BYTES",
                section.disk_free_min_bytes,
                64 << 20,
                "must be a whole number of bytes",
            )?,
            backup_age_max_hours: number(
                "health.backup_age_max_hours",
                "ARTIFACT_HEALTH__BACKUP_AGE_MAX_HOURS",
                section.backup_age_max_hours,
                26,
                "must be a whole number of hours",
            )?,
        })
    }

    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let (disk, age) = (&self.disk_free_min_bytes, &self.backup_age_max_hours);
        vec![
            ("health.disk_free_min_bytes", disk.value.to_string(), disk.origin.to_string()),
            ("health.backup_age_max_hours", age.value.to_string(), age.origin.to_string()),
        ]
    }
}
