//! Section `[backup]`: when backups are taken, where they go, how many are kept and what they are encrypted with.

use super::authorities::{self, Named};
use super::secret::{self, FileOf};
use super::{ConfigError, Environment, Setting, choose, parsed};
use crate::workers::backup::schedule::Schedule;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// When backups are taken unless told otherwise: each night.
pub const SCHEDULE: &str = "30 2 * * *";
/// When the newest one is restored into a scratch place and compared: on Sundays.
pub const VERIFY_SCHEDULE: &str = "30 4 * * 0";

/// What stands for `encrypt` where nobody set it.
const ENCRYPT_AS_BEFORE: &str = "as the newest backup";

/// The file whose first line is the passphrase.
const PASSPHRASE_FILE: FileOf = FileOf {
    key: "backup.passphrase_file",
    variable: "ARTIFACT_BACKUP__PASSPHRASE_FILE",
    credential: "backup-passphrase",
};

/// The file with the id and the secret of the key to a storage.
const S3_CREDENTIALS_FILE: FileOf = FileOf {
    key: "backup.s3_credentials_file",
    variable: "ARTIFACT_BACKUP__S3_CREDENTIALS_FILE",
    credential: "s3-credentials",
};

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    schedule: Option<String>,
    verify_schedule: Option<String>,
    folder: Option<PathBuf>,
    passphrase_file: Option<String>,
    encrypt: Option<bool>,
    keep_daily: Option<u32>,
    keep_weekly: Option<u32>,
    keep_monthly: Option<u32>,
    before_migration: Option<bool>,
    s3_bucket: Option<String>,
    s3_prefix: Option<String>,
    s3_endpoint: Option<String>,
    s3_region: Option<String>,
    s3_credentials_file: Option<String>,
    s3_authorities_file: Option<PathBuf>,
}

/// Storage that speaks S3.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// Bucket; backups go into a folder when it is empty.
    pub bucket: Setting<String>,
    /// What comes before each name.
    pub prefix: Setting<String>,
    /// Where it is; Amazon when it is empty.
    pub endpoint: Setting<String>,
    /// Region.
    pub region: Setting<String>,
    /// File of two lines: id and secret of the access key.
    pub credentials_file: Setting<Option<PathBuf>>,
    /// The same from the environment.
    pub credentials: Option<(String, String)>,
    /// Whose certificates it may show.
    pub authorities: Setting<Named>,
}

/// How backups are taken.
#[derive(Debug, Clone)]
pub struct BackupConfig {
    /// When; never when `None`.
    pub schedule: Setting<Option<Schedule>>,
    /// When the newest one is verified; never when `None`.
    pub verify_schedule: Setting<Option<Schedule>>,
    /// Where; `backups` in the data directory when `None`.
    pub folder: Setting<Option<PathBuf>>,
    /// File whose first line is the passphrase.
    pub passphrase_file: Setting<Option<PathBuf>>,
    /// The passphrase itself, from the environment.
    pub passphrase: Setting<Option<String>>,
    /// Whether a backup is refused without a passphrase; when `None`, it is where the newest one is encrypted.
    pub encrypt: Setting<Option<bool>>,
    /// Days of which the newest backup is kept.
    pub keep_daily: Setting<u32>,
    /// Weeks of which it is kept.
    pub keep_weekly: Setting<u32>,
    /// Months of which it is kept.
    pub keep_monthly: Setting<u32>,
    /// Whether one is taken before the schema of existing data changes.
    pub before_migration: Setting<bool>,
    /// Where, when it is no folder.
    pub s3: S3Config,
}

/// Whether a backup without a passphrase is refused.
fn encrypt(
    env: Environment<'_>,
    filed: Option<bool>,
    path: &Path,
) -> Result<Setting<Option<bool>>, ConfigError> {
    let var = env("ARTIFACT_BACKUP__ENCRYPT").map(|value| ("ARTIFACT_BACKUP__ENCRYPT", value));
    let filed = filed.map(|yes| (path, yes.to_string()));
    let read = |text: &str| {
        if text == ENCRYPT_AS_BEFORE { Some(None) } else { text.parse().ok().map(Some) }
    };
    let asked = choose(None, var, filed, ENCRYPT_AS_BEFORE.to_owned());
    parsed("backup.encrypt", asked, read, "must be true or false")
}

/// Puts the section together.
pub(super) fn load(env: Environment<'_>, file: Section, path: &Path) -> Result<BackupConfig, ConfigError> {
    let var = |name: &'static str| env(name).map(|value| (name, value));
    let text = |name, filed: Option<String>, default: &str| {
        choose(None, var(name), filed.map(|value| (path, value)), default.to_owned())
    };
    let place = |name, filed: Option<PathBuf>| {
        let named = var(name).map(|(name, value)| (name, Some(PathBuf::from(value))));
        choose(None, named, filed.map(|value| (path, Some(value))), None)
    };
    let number = |name, key, filed: Option<u32>, default: &str| {
        let asked = text(name, filed.map(|value| value.to_string()), default);
        parsed(key, asked, |text| text.parse().ok(), "must be a whole number from 0")
    };
    let when = |name, key, filed, default| {
        let read = |text: &str| if text == "off" { Some(None) } else { Schedule::parse(text).map(Some) };
        let rule = "is no cron expression such as 30 2 * * * (UTC), nor off";
        parsed(key, text(name, filed, default), read, rule)
    };
    let passphrase_file =
        secret::file(&PASSPHRASE_FILE, file.passphrase_file.map(|value| (path, value)), env)?;
    let before =
        text("ARTIFACT_BACKUP__BEFORE_MIGRATION", file.before_migration.map(|yes| yes.to_string()), "true");
    let s3 = S3Config {
        bucket: text("ARTIFACT_BACKUP__S3_BUCKET", file.s3_bucket, ""),
        prefix: text("ARTIFACT_BACKUP__S3_PREFIX", file.s3_prefix, "artifact"),
        endpoint: text("ARTIFACT_BACKUP__S3_ENDPOINT", file.s3_endpoint, ""),
        region: text("ARTIFACT_BACKUP__S3_REGION", file.s3_region, "us-east-1"),
        credentials_file: secret::file(
            &S3_CREDENTIALS_FILE,
            file.s3_credentials_file.map(|value| (path, value)),
            env,
        )?,
        credentials: env("AWS_ACCESS_KEY_ID").zip(env("AWS_SECRET_ACCESS_KEY")),
        authorities: authorities::read(
            "backup.s3_authorities_file",
            place("ARTIFACT_BACKUP__S3_AUTHORITIES_FILE", file.s3_authorities_file),
        )?,
    };
    Ok(BackupConfig {
        schedule: when("ARTIFACT_BACKUP__SCHEDULE", "backup.schedule", file.schedule, SCHEDULE)?,
        verify_schedule: when(
            "ARTIFACT_BACKUP__VERIFY_SCHEDULE",
            "backup.verify_schedule",
            file.verify_schedule,
            VERIFY_SCHEDULE,
        )?,
        s3,
        folder: place("ARTIFACT_BACKUP__FOLDER", file.folder),
        passphrase_file,
        passphrase: choose(
            None,
            var("ARTIFACT_BACKUP_PASSPHRASE").map(|(name, value)| (name, Some(value))),
            None,
            None,
        ),
        encrypt: encrypt(env, file.encrypt, path)?,
        keep_daily: number("ARTIFACT_BACKUP__KEEP_DAILY", "backup.keep_daily", file.keep_daily, "7")?,
        keep_weekly: number("ARTIFACT_BACKUP__KEEP_WEEKLY", "backup.keep_weekly", file.keep_weekly, "4")?,
        keep_monthly: number(
            "ARTIFACT_BACKUP__KEEP_MONTHLY",
            "backup.keep_monthly",
            file.keep_monthly,
            "12",
        )?,
        before_migration: parsed(
            "backup.before_migration",
            before,
            |text| text.parse().ok(),
            "must be true or false",
        )?,
    })
}

impl BackupConfig {
    /// Each setting with its value and origin; the passphrase is masked.
    pub(super) fn shown(&self) -> Vec<(&'static str, String, String)> {
        let when = |schedule: &Option<Schedule>| schedule.as_ref().map_or("off", Schedule::text).to_owned();
        let place = |path: &Option<PathBuf>, none: &str| {
            path.as_ref().map_or_else(|| none.to_owned(), |path| path.display().to_string())
        };
        let secret = if self.passphrase.value.is_some() { "***" } else { "(none)" };
        vec![
            ("backup.schedule", when(&self.schedule.value), self.schedule.origin.to_string()),
            (
                "backup.verify_schedule",
                when(&self.verify_schedule.value),
                self.verify_schedule.origin.to_string(),
            ),
            ("backup.folder", place(&self.folder.value, "(data)/backups"), self.folder.origin.to_string()),
            (
                "backup.passphrase_file",
                place(&self.passphrase_file.value, "(none)"),
                self.passphrase_file.origin.to_string(),
            ),
            ("backup.passphrase", secret.to_owned(), self.passphrase.origin.to_string()),
            (
                "backup.encrypt",
                self.encrypt.value.map_or_else(|| ENCRYPT_AS_BEFORE.to_owned(), |yes| yes.to_string()),
                self.encrypt.origin.to_string(),
            ),
            ("backup.keep_daily", self.keep_daily.value.to_string(), self.keep_daily.origin.to_string()),
            ("backup.keep_weekly", self.keep_weekly.value.to_string(), self.keep_weekly.origin.to_string()),
            (
                "backup.keep_monthly",
                self.keep_monthly.value.to_string(),
                self.keep_monthly.origin.to_string(),
            ),
            (
                "backup.before_migration",
                self.before_migration.value.to_string(),
                self.before_migration.origin.to_string(),
            ),
            ("backup.s3_bucket", self.s3.bucket.value.clone(), self.s3.bucket.origin.to_string()),
            ("backup.s3_prefix", self.s3.prefix.value.clone(), self.s3.prefix.origin.to_string()),
            ("backup.s3_endpoint", self.s3.endpoint.value.clone(), self.s3.endpoint.origin.to_string()),
            ("backup.s3_region", self.s3.region.value.clone(), self.s3.region.origin.to_string()),
            (
                "backup.s3_credentials_file",
                place(&self.s3.credentials_file.value, "(none)"),
                self.s3.credentials_file.origin.to_string(),
            ),
            authorities::shown("backup.s3_authorities_file", &self.s3.authorities),
        ]
    }
}
