//! Configuration: flags over environment over file over defaults, and where each value came from.
//!
//! The only reader of the environment.

pub mod access;
pub mod audit;
mod authorities;
pub mod backup;
pub mod cors;
mod encryption;
mod feeds;
pub mod health;
mod keys;
pub mod limits;
pub mod metrics;
pub mod outbox;
pub mod proxy;
mod secret;
pub mod tls;

use crate::http::guard::Guard;
use crate::telemetry::LogFormat;
use crate::workers::feeds::definition::Definition;
use backup::BackupConfig;
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Address `serve` listens on unless told otherwise.
pub const LISTEN: &str = "127.0.0.1:7000";
/// Data directory unless told otherwise, below the current folder.
pub const DATA: &str = "artifact-data";
/// Name of the configuration file in a data directory.
pub const FILE: &str = "artifact.toml";
/// Log filter unless told otherwise.
pub const LOG: &str = "info";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag.
    Flag,
    /// An environment variable.
    Environment(&'static str),
    /// The configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be; unknown keys are errors.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A value is not of its kind.
    #[error("{name} ({origin}): `{value}` {rule}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// Where it came from.
        origin: Origin,
        /// The value.
        value: String,
        /// The rule.
        rule: &'static str,
    },
    /// Two settings exclude each other.
    #[error("--open-loopback needs a loopback address to listen on, not {0}")]
    OpenBeyondLoopback(SocketAddr),
    /// Keys and figures could be read on the way.
    #[error(
        "{name}: others reach {address}, and there is no TLS: set [tls], or listen on loopback, behind a proxy on this \
         machine too; where something else encrypts what goes there, or nobody else gets there, say unencrypted = true"
    )]
    PlainBeyondLoopback {
        /// The setting.
        name: &'static str,
        /// Where it listens.
        address: SocketAddr,
    },
    /// What is sent to another machine could be read on the way.
    #[error(
        "{name}: what goes to {place} could be read on the way, or by somebody else there: let it {should}; where \
         something else encrypts what goes there, or nobody else gets there, say unencrypted = true"
    )]
    Unencrypted {
        /// The setting.
        name: String,
        /// Where it leads, without secrets.
        place: String,
        /// What it should say.
        should: &'static str,
    },
}

/// What flags said.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--database-url`
    pub database_url: Option<String>,
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--open-loopback`
    pub open_loopback: bool,
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    data: Option<PathBuf>,
    database_url: Option<String>,
    listen: Option<String>,
    open_loopback: Option<bool>,
    unencrypted: Option<bool>,
    docs: Option<bool>,
    log: Option<String>,
    log_format: Option<String>,
    #[serde(default)]
    backup: backup::Section,
    #[serde(default)]
    access: access::Section,
    #[serde(default)]
    audit: audit::Section,
    #[serde(default)]
    outbox: outbox::Section,
    #[serde(default)]
    feeds: Vec<toml::Table>,
    #[serde(default)]
    health: health::Section,
    #[serde(default)]
    metrics: metrics::Section,
    #[serde(default)]
    proxy: proxy::Section,
    #[serde(default)]
    limits: limits::Section,
    #[serde(default)]
    cors: cors::Section,
    #[serde(default)]
    tls: tls::Section,
}

/// The configuration of one process.
#[derive(Debug, Clone)]
pub struct Config {
    /// Data directory.
    pub data: Setting<PathBuf>,
    /// PostgreSQL, when SQLite is not enough.
    pub database_url: Setting<Option<String>>,
    /// Address to listen on.
    pub listen: Setting<SocketAddr>,
    /// Let loopback callers in without a key.
    pub open_loopback: Setting<bool>,
    /// Let connections to and from other machines be without TLS.
    pub unencrypted: Setting<bool>,
    /// Serve the pages and the document that describe the service.
    pub docs: Setting<bool>,
    /// Log filter.
    pub log: Setting<String>,
    /// How log lines look.
    pub log_format: Setting<LogFormat>,
    /// How backups are taken.
    pub backup: BackupConfig,
    /// The server's secret and tokens.
    pub access: access::Access,
    /// What the audit trail is held to.
    pub audit: audit::Audit,
    /// What this service goes and gets.
    pub feeds: Setting<Vec<Definition>>,
    /// From when on something counts as unwell.
    pub health: health::Health,
    /// Where prices are posted on to.
    pub outbox: outbox::Outbox,
    /// Where Prometheus reads.
    pub metrics: metrics::Metrics,
    /// Proxies that are believed.
    pub proxy: proxy::Proxy,
    /// What one client may take.
    pub limits: limits::Limits,
    /// Pages from elsewhere.
    pub cors: cors::Cors,
    /// A certificate of its own.
    pub tls: tls::Tls,
}

/// Looks a variable up. A test passes its own.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process.
#[expect(clippy::disallowed_methods, reason = "this is the one reader of the environment")]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn choose<T>(
    flag: Option<T>,
    env: Option<(&'static str, T)>,
    file: Option<(&Path, T)>,
    default: T,
) -> Setting<T> {
    if let Some(value) = flag {
        return Setting { value, origin: Origin::Flag };
    }
    if let Some((name, value)) = env {
        return Setting { value, origin: Origin::Environment(name) };
    }
    match file {
        Some((path, value)) => Setting { value, origin: Origin::File(path.to_path_buf()) },
        None => Setting { value: default, origin: Origin::Default },
    }
}

/// The line, from 1, at which a part of a text begins, and the key that line sets.
fn place_of(text: &str, part: Option<std::ops::Range<usize>>) -> String {
    let before = part.and_then(|part| text.get(..part.start)).unwrap_or_default();
    let number = before.matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default();
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    format!("line {} {key}", number + 1).trim_end().to_owned()
}

fn read_file(path: &Path, must_exist: bool) -> Result<Option<File>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map(Some).map_err(|error| ConfigError::Malformed {
            path: path.display().to_string(),
            // The value stays out of the message: it may hold a password.
            reason: format!("{}: {}", place_of(&text, error.span()), error.message()),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { path: path.display().to_string(), source }),
    }
}

impl Config {
    /// What guards the service.
    pub fn guard(&self) -> Guard {
        Guard::new(self.limits.values(), self.proxy.proxies(), self.cors.origins.value.clone())
    }

    /// Puts the configuration together.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting, where it came from and the rule it breaks.
    pub fn load(flags: Flags, env: Environment<'_>) -> Result<Self, ConfigError> {
        let var = |name: &'static str| env(name).map(|value| (name, value));
        let named = flags.config.clone().or_else(|| env("ARTIFACT_CONFIG").map(PathBuf::from));
        let early = flags.data.clone().or_else(|| env("ARTIFACT_DATA").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| early.unwrap_or_else(|| PathBuf::from(DATA)).join(FILE));
        let file = read_file(&path, named.is_some())?.unwrap_or_default();
        let filed = |value: Option<String>| value.map(|value| (path.as_path(), value));
        let data = choose(
            flags.data,
            var("ARTIFACT_DATA").map(|(name, value)| (name, PathBuf::from(value))),
            file.data.map(|value| (path.as_path(), value)),
            PathBuf::from(DATA),
        );
        let url = database_url(flags.database_url, filed(file.database_url), env)?;
        // The earlier service took a port alone.
        let port = var("INFRA_PORT").map(|(name, port)| (name, format!("127.0.0.1:{port}")));
        let listen =
            choose(flags.listen, var("ARTIFACT_LISTEN").or(port), filed(file.listen), LISTEN.to_owned());
        let open = choose(
            flags.open_loopback.then(|| "true".to_owned()),
            var("ARTIFACT_OPEN_LOOPBACK"),
            filed(told(file.open_loopback)),
            "false".to_owned(),
        );
        let unencrypted =
            choose(None, var("ARTIFACT_UNENCRYPTED"), filed(told(file.unencrypted)), "false".to_owned());
        let docs = choose(None, var("ARTIFACT_DOCS"), filed(told(file.docs)), "true".to_owned());
        let log =
            choose(None, var("ARTIFACT_LOG").or_else(|| var("RUST_LOG")), filed(file.log), LOG.to_owned());
        let format = choose(None, var("ARTIFACT_LOG_FORMAT"), filed(file.log_format), "text".to_owned());
        let backup = backup::load(env, file.backup, &path)?;
        let feeds = read_feeds(&path, file.feeds, env)?;
        let config = Self {
            backup,
            data,
            database_url: url,
            listen: parsed(
                "listen",
                listen,
                |text| text.parse().ok(),
                "is not an address such as 127.0.0.1:7000",
            )?,
            open_loopback: yes_or_no("open_loopback", open)?,
            unencrypted: yes_or_no("unencrypted", unencrypted)?,
            docs: yes_or_no("docs", docs)?,
            log,
            log_format: parsed("log_format", format, log_format, "must be text or json")?,
            access: access::Access::load(file.access, &path, env)?,
            audit: audit::Audit::load(file.audit, &path, env)?,
            feeds,
            health: health::Health::load(&file.health, &path, env)?,
            outbox: outbox::Outbox::load(file.outbox, &path, env)?,
            metrics: metrics::Metrics::load(file.metrics, &path, env)?,
            proxy: proxy::Proxy::load(file.proxy, &path, env)?,
            limits: limits::Limits::load(&file.limits, &path, env)?,
            cors: cors::Cors::load(file.cors, &path, env)?,
            tls: tls::Tls::load(file.tls, &path, env)?,
        };
        config.check_connections()?;
        Ok(config)
    }

    /// Each setting with its value and origin; the password of a database URL is masked.
    pub fn shown(&self) -> Vec<(&'static str, String, String)> {
        let url = self.database_url.value.as_deref().map_or_else(|| "(SQLite)".to_owned(), masked);
        let format = if self.log_format.value == LogFormat::Json { "json" } else { "text" };
        let mut shown = vec![
            ("data", self.data.value.display().to_string(), self.data.origin.to_string()),
            ("database_url", url, self.database_url.origin.to_string()),
            ("listen", self.listen.value.to_string(), self.listen.origin.to_string()),
            ("open_loopback", self.open_loopback.value.to_string(), self.open_loopback.origin.to_string()),
            ("unencrypted", self.unencrypted.value.to_string(), self.unencrypted.origin.to_string()),
            ("docs", self.docs.value.to_string(), self.docs.origin.to_string()),
            ("log", self.log.value.clone(), self.log.origin.to_string()),
            ("log_format", format.to_owned(), self.log_format.origin.to_string()),
            ("feeds", shown_feeds(&self.feeds.value), self.feeds.origin.to_string()),
        ];
        shown.extend(self.backup.shown());
        shown.extend(self.access.shown());
        shown.extend(self.audit.shown());
        shown.extend(self.health.shown());
        shown.extend(self.outbox.shown());
        shown.extend(self.metrics.shown());
        shown.extend(self.proxy.shown());
        shown.extend(self.limits.shown());
        shown.extend(self.cors.shown());
        shown.extend(self.tls.shown());
        shown
    }
}

/// The feeds of the file; and those the environment asks for, unless the file has one of that name.
fn read_feeds(
    path: &Path,
    tables: Vec<toml::Table>,
    env: Environment<'_>,
) -> Result<Setting<Vec<Definition>>, ConfigError> {
    let malformed = |fault: keys::KeyFault| ConfigError::Malformed {
        path: path.display().to_string(),
        reason: fault.to_string(),
    };
    let origin = if tables.is_empty() { Origin::Default } else { Origin::File(path.to_path_buf()) };
    let mut value = feeds::read(tables, env).map_err(malformed)?;
    let asked = feeds::of_environment(env).map_err(|fault| ConfigError::Malformed {
        path: "environment".to_owned(),
        reason: fault.to_string(),
    })?;
    let is_new = |feed: &Definition| value.iter().all(|known| known.name != feed.name);
    let asked: Vec<Definition> = asked.into_iter().filter(is_new).collect();
    value.extend(asked);
    Ok(Setting { value, origin })
}

fn shown_feeds(feeds: &[Definition]) -> String {
    let shown = |feed: &Definition| {
        let off = if feed.enabled { "" } else { ", off" };
        format!("{} ({} {} {}{off})", feed.name, feed.kind, feed.transport, feed.channel)
    };
    let shown: Vec<String> = feeds.iter().map(shown).collect();
    if shown.is_empty() { "(none)".to_owned() } else { shown.join(", ") }
}

fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

fn parsed<T>(
    name: &'static str,
    setting: Setting<String>,
    read: impl Fn(&str) -> Option<T>,
    rule: &'static str,
) -> Result<Setting<T>, ConfigError> {
    match read(&setting.value) {
        Some(value) => Ok(Setting { value, origin: setting.origin }),
        None => Err(ConfigError::Invalid { name, origin: setting.origin, value: setting.value, rule }),
    }
}

/// A choice as it stands in the environment.
fn told(choice: Option<bool>) -> Option<String> {
    choice.map(|choice| choice.to_string())
}

fn yes_or_no(name: &'static str, setting: Setting<String>) -> Result<Setting<bool>, ConfigError> {
    parsed(name, setting, |text| text.parse().ok(), "must be true or false")
}

/// The URL of PostgreSQL. It may hold a password, so it is looked for where secrets are.
fn database_url(
    flag: Option<String>,
    filed: Option<(&Path, String)>,
    env: Environment<'_>,
) -> Result<Setting<Option<String>>, ConfigError> {
    if let Some(url) = flag.as_deref().filter(|url| has_password(url)) {
        return Err(ConfigError::Invalid {
            name: "database_url",
            origin: Origin::Flag,
            value: masked(url),
            rule: "has a password, and every process of this machine can read a command line: put it into \
                   ARTIFACT_DATABASE_URL, or a file that ARTIFACT_DATABASE_URL_FILE names",
        });
    }
    let found = secret::find(env, ("ARTIFACT_DATABASE_URL", "ARTIFACT_DATABASE_URL_FILE"))?;
    let setting = match (flag, found) {
        (None, Some((origin, value))) => Setting { value, origin },
        (flag, _) => choose(flag, None, filed, String::new()),
    };
    if setting.origin == Origin::Default {
        return Ok(Setting { value: None, origin: Origin::Default });
    }
    if setting.value.starts_with("postgres://") || setting.value.starts_with("postgresql://") {
        return Ok(Setting { value: Some(setting.value), origin: setting.origin });
    }
    let value = masked(&setting.value);
    Err(ConfigError::Invalid {
        name: "database_url",
        origin: setting.origin,
        value,
        rule: "must begin with postgres://",
    })
}

/// Whether a URL of PostgreSQL tells a password: before its host, or as a parameter.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let user = place.rsplit_once('@').map(|(user, _)| user).unwrap_or_default();
    let told =
        |one: &str| one.split_once('=').is_some_and(|(name, value)| name == "password" && !value.is_empty());
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty()) || parameters.split('&').any(told)
}

/// A URL without its password.
pub fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    let rest = rest.split('?').next().unwrap_or_default();
    // The last `@`, so that one in a password, or a `/` there, hides more and never less.
    match rest.rsplit_once('@') {
        Some((user, place)) => {
            let name = user.split(':').next().unwrap_or_default();
            let password = if user.contains(':') { ":***" } else { "" };
            format!("{scheme}://{name}{password}@{place}")
        }
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn a_password_on_the_command_line_is_refused_wherever_it_stands_in_the_url() {
        for place in ["u:hush@127.0.0.1/db", "u:hush@127.0.0.1/db?a=b", "u@127.0.0.1/db?a=b&password=hush"] {
            let url = format!("postgres://{place}");
            let flags = Flags { database_url: Some(url.clone()), ..Flags::default() };
            let said = Config::load(flags, &none).unwrap_err().to_string();
            assert!(said.contains("ARTIFACT_DATABASE_URL") && !said.contains("hush"), "{said}");
            let told = |name: &str| (name == "ARTIFACT_DATABASE_URL").then(|| url.clone());
            assert_eq!(
                Config::load(Flags::default(), &told).unwrap().database_url.value.as_ref(),
                Some(&url)
            );
        }
        for place in ["u@127.0.0.1/db", "/db?host=/run&user=u", "u:@127.0.0.1/db"] {
            let url = format!("postgres://{place}");
            let flags = Flags { database_url: Some(url.clone()), ..Flags::default() };
            assert_eq!(Config::load(flags, &none).unwrap().database_url.value, Some(url));
        }
    }

    #[test]
    fn flags_beat_environment_beats_file_beats_defaults() {
        let folder = std::env::temp_dir().join(format!("artifact-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(FILE), "listen = \"127.0.0.1:1\"\nlog = \"warn\"\n").unwrap();
        let env = |name: &str| (name == "ARTIFACT_LISTEN").then(|| "127.0.0.1:2".to_owned());
        let flags = Flags { data: Some(folder.clone()), ..Flags::default() };
        let config = Config::load(flags.clone(), &env).unwrap();
        assert_eq!(
            (config.listen.value.port(), config.listen.origin),
            (2, Origin::Environment("ARTIFACT_LISTEN"))
        );
        assert_eq!((config.log.value.as_str(), config.log.origin), ("warn", Origin::File(folder.join(FILE))));
        let flagged = Flags { listen: Some("127.0.0.1:3".to_owned()), ..flags.clone() };
        assert_eq!(Config::load(flagged, &env).unwrap().listen.value.port(), 3);
        assert_eq!(Config::load(flags, &none).unwrap().listen.value.port(), 1);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let file = std::env::temp_dir().join(format!("artifact-config-{}.toml", std::process::id()));
        std::fs::write(&file, "lisen = \"127.0.0.1:1\"\n").unwrap();
        let flags = Flags { config: Some(file.clone()), ..Flags::default() };
        let error = Config::load(flags, &none).unwrap_err().to_string();
        assert!(error.contains("lisen"), "{error}");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_malformed_file_is_told_by_its_line_and_never_quoted() {
        let file = std::env::temp_dir().join(format!("artifact-secret-{}.toml", std::process::id()));
        std::fs::write(&file, "log = \"info\"\ndatabase_url = \"postgres://u:hunter2@h/db\n").unwrap();
        let flags = Flags { config: Some(file.clone()), ..Flags::default() };
        let error = Config::load(flags, &none).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn open_loopback_refuses_any_other_address() {
        let flags =
            Flags { open_loopback: true, listen: Some("0.0.0.0:7000".to_owned()), ..Flags::default() };
        assert!(matches!(Config::load(flags, &none), Err(ConfigError::OpenBeyondLoopback(_))));
    }

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(masked("postgres://u:p%40w@h:5/db?sslpassword=x"), "postgres://u:***@h:5/db");
        assert_eq!(masked("postgres://h/db"), "postgres://h/db");
        assert_eq!(masked("postgres://u:p/w@h/db"), "postgres://u:***@h/db");
        assert_eq!(masked("postgres://u:p@/w@h/db"), "postgres://u:***@h/db");
    }
}
