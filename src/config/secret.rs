//! Secrets: named in the configuration, kept elsewhere. A secret has no place in the file and none on a command line.
//!
//! The secret NAME is the environment variable `NAME`, else the text of the file that `NAME_FILE` names, else that of the
//! file `NAME` in `$CREDENTIALS_DIRECTORY`, where systemd puts credentials. What has a file of its own, such as the
//! server's secret, is named by a path; `credential:NAME` is a path among the credentials.

use super::{ConfigError, Environment, Origin, Setting, choose, parsed};
use crate::workers::feeds::definition::Secret;
use std::io;
use std::path::{Path, PathBuf};

/// Where the service manager puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// What a path begins with that names a credential.
const CREDENTIAL_MARK: &str = "credential:";
/// Longest secret in a file, in bytes.
const LENGTH_MAX: u64 = 64 << 10;

/// Where a secret was found.
enum Found {
    /// In its variable.
    Variable,
    /// In the file that its other variable names.
    NamedFile,
    /// Among the credentials.
    Credential(PathBuf),
}

/// Looks the secret `name` up; `in_file` is `NAME_FILE`. A file that cannot be read comes back with the reason.
fn look_up(
    env: Environment<'_>,
    (name, in_file): (&str, &str),
) -> Result<Option<(Found, String)>, (PathBuf, io::Error)> {
    if let Some(value) = env(name) {
        return Ok(Some((Found::Variable, value)));
    }
    if let Some(path) = env(in_file) {
        return read(Path::new(&path)).map(|text| Some((Found::NamedFile, text)));
    }
    let Some(path) = credential(env, name) else { return Ok(None) };
    let text = read(&path)?;
    Ok(Some((Found::Credential(path), text)))
}

/// The text of a file without the space around it.
fn read(path: &Path) -> Result<String, (PathBuf, io::Error)> {
    let text = || {
        if std::fs::metadata(path)?.len() > LENGTH_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "is too long to be a secret"));
        }
        std::fs::read_to_string(path)
    };
    text().map(|text| text.trim().to_owned()).map_err(|error| (path.to_owned(), error))
}

/// The file of a credential, if there is one.
pub(super) fn credential(env: Environment<'_>, name: &str) -> Option<PathBuf> {
    let path = Path::new(&env(CREDENTIALS)?).join(name);
    path.is_file().then_some(path)
}

/// Looks a secret up: the variable `name`, the file that `in_file` (`NAME_FILE`) names, or the credential `name`.
///
/// # Errors
/// [`ConfigError::Unreadable`] for a file that was named and cannot be read.
pub(super) fn find(
    env: Environment<'_>,
    names: (&'static str, &'static str),
) -> Result<Option<(Origin, String)>, ConfigError> {
    let unreadable =
        |(path, source): (PathBuf, _)| ConfigError::Unreadable { path: path.display().to_string(), source };
    let found = look_up(env, names).map_err(unreadable)?;
    Ok(found.map(|(found, text)| match found {
        Found::Variable => (Origin::Environment(names.0), text),
        Found::NamedFile => (Origin::Environment(names.1), text),
        Found::Credential(path) => (Origin::File(path), text),
    }))
}

/// Fills in every `${secret:NAME}` of a text. A text without one is not taken.
///
/// # Errors
/// The rule that is broken; the text is not part of it.
pub(super) fn filled(text: &str, env: Environment<'_>) -> Result<Secret, String> {
    let (mut whole, mut rest, mut found) = (String::new(), text, false);
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after
            .strip_prefix("secret:")
            .and_then(|after| after.split_once('}'))
            .ok_or("may hold ${secret:NAME} and nothing else in ${ }")?;
        whole.push_str(before);
        whole.push_str(&named(name, env)?);
        (rest, found) = (after, true);
    }
    if !found {
        return Err("must name a secret, as in ${secret:NAME}: no secret stands in this file".to_owned());
    }
    whole.push_str(rest);
    Ok(Secret::new(whole))
}

fn named(name: &str, env: Environment<'_>) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("names a secret with other characters than letters, digits, `_` and `-`".to_owned());
    }
    let found = look_up(env, (name, &format!("{name}_FILE"))).map_err(|(path, error)| {
        format!("needs a secret that cannot be read: {}: {error}", path.display())
    })?;
    found.map(|(_, text)| text).ok_or_else(|| {
        format!("needs the secret {name}: set {name}, {name}_FILE or a credential of that name")
    })
}

/// A path as it is written: `credential:NAME` is a file among the credentials.
pub(super) fn path(text: &str, env: Environment<'_>) -> Option<PathBuf> {
    match text.strip_prefix(CREDENTIAL_MARK) {
        None => Some(PathBuf::from(text)),
        Some(name) if name.is_empty() || name.contains('/') => None,
        Some(name) => env(CREDENTIALS).map(|directory| Path::new(&directory).join(name)),
    }
}

/// Names of a setting that is the file of a secret.
pub(super) struct FileOf {
    /// The setting.
    pub(super) key: &'static str,
    /// Its variable.
    pub(super) variable: &'static str,
    /// The credential it is when nobody names a file.
    pub(super) credential: &'static str,
}

/// The file of a secret: as it is named, else the credential, if there is one.
///
/// # Errors
/// [`ConfigError::Invalid`] for a credential where there are none.
pub(super) fn file(
    names: &FileOf,
    filed: Option<(&Path, String)>,
    env: Environment<'_>,
) -> Result<Setting<Option<PathBuf>>, ConfigError> {
    let var = env(names.variable).map(|value| (names.variable, value));
    let asked = choose(None, var, filed, String::new());
    if asked.origin != Origin::Default {
        let rule = "names no file; credential:NAME needs CREDENTIALS_DIRECTORY and a plain name";
        return parsed(names.key, asked, |text| path(text, env).map(Some), rule);
    }
    Ok(match credential(env, names.credential) {
        Some(file) => Setting { value: Some(file), origin: Origin::Environment(CREDENTIALS) },
        None => Setting { value: None, origin: Origin::Default },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("artifact-secrets-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_secret_comes_from_the_environment_or_a_file_and_is_never_shown() {
        let folder = folder("filled");
        std::fs::write(folder.join("DESK"), "hunter2\n").unwrap();
        let file = folder.join("DESK").display().to_string();
        let named = |name: &str| (name == "KEY").then(|| "hunter1".to_owned());
        let filed = |name: &str| (name == "OTHER_FILE").then(|| file.clone());
        let credential = |name: &str| (name == CREDENTIALS).then(|| folder.display().to_string());
        assert_eq!(filled("${secret:KEY}", &named).unwrap().expose(), "hunter1");
        assert_eq!(filled("Bearer ${secret:OTHER}", &filed).unwrap().expose(), "Bearer hunter2");
        let secret = filled("${secret:DESK}", &credential).unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("hunter2", "***"));
        for text in ["hunter3", "${KEY}", "${secret:KEY", "${secret:../x}", "${secret:}", "${secret:ABSENT}"]
        {
            let said = filled(text, &named).unwrap_err();
            assert!(!said.contains("hunter"), "{said}");
        }
        std::fs::write(&file, vec![b'x'; 65_537]).unwrap();
        assert!(filled("${secret:OTHER}", &filed).unwrap_err().contains("too long"));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_file_of_a_secret_is_the_one_that_is_named_else_the_credential() {
        let folder = folder("file");
        let names = FileOf { key: "audit.key_file", variable: "ARTIFACT_X_FILE", credential: "audit-key" };
        let here = folder.display().to_string();
        let credentials = |name: &str| (name == CREDENTIALS).then(|| here.clone());
        let read = |filed: Option<&str>, env: Environment<'_>| {
            file(&names, filed.map(|text| (Path::new("artifact.toml"), text.to_owned())), env)
        };
        assert_eq!(read(None, &credentials).unwrap(), Setting { value: None, origin: Origin::Default });
        std::fs::write(folder.join("audit-key"), "k").unwrap();
        assert_eq!(read(None, &credentials).unwrap().value, Some(folder.join("audit-key")));
        assert_eq!(read(Some("/a/key"), &credentials).unwrap().value, Some(PathBuf::from("/a/key")));
        assert_eq!(read(Some("credential:other"), &credentials).unwrap().value, Some(folder.join("other")));
        let variable = |name: &str| (name == names.variable).then(|| "/b/key".to_owned());
        let found = read(Some("/a/key"), &variable).unwrap();
        assert_eq!(
            (found.value, found.origin),
            (Some(PathBuf::from("/b/key")), Origin::Environment(names.variable))
        );
        for text in ["credential:", "credential:../key", "credential:key"] {
            assert!(read(Some(text), &|_| None).is_err(), "{text}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn names_of_secrets_are_plain_and_a_secret_has_at_most_64_kib() {
        let folder = folder("plain");
        let here = folder.display().to_string();
        let credentials = |name: &str| (name == CREDENTIALS).then(|| here.clone());
        for name in ["A", "a_b", "a-b", "A9"] {
            std::fs::write(folder.join(name), format!(" of {name}\n")).unwrap();
            let found = filled(&format!("${{secret:{name}}}"), &credentials).unwrap();
            assert_eq!(found.expose(), format!("of {name}"));
        }
        for name in ["", "a b", "a.b", "a/b", "\u{e9}"] {
            let said = filled(&format!("${{secret:{name}}}"), &credentials).unwrap_err();
            assert!(said.contains("other characters"), "{name}: {said}");
        }
        std::fs::write(folder.join("A"), vec![b'x'; 65_536]).unwrap();
        assert_eq!(filled("${secret:A}", &credentials).unwrap().expose().len(), 65_536);
        assert_eq!(path("credential:A", &credentials), Some(folder.join("A")));
        for text in ["credential:", "credential:a/b", "credential:/etc/passwd"] {
            assert_eq!(path(text, &credentials), None, "{text}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
