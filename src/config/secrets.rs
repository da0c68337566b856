//! Secrets: named in the configuration, kept elsewhere.
//!
//! `${secret:NAME}` is the environment variable `NAME`, else the content of the file that `NAME_FILE` names, else that of
//! the file `NAME` in `$CREDENTIALS_DIRECTORY`, where systemd puts credentials. A text without it is not taken: a secret
//! has no place in the file.

use crate::config::Environment;
use crate::workers::feeds::definition::Secret;
use std::path::Path;

/// Longest secret in a file, in bytes.
const LENGTH_MAX: u64 = 64 << 10;

/// Fills in every `${secret:NAME}` of a text.
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
        whole.push_str(&looked_up(name, env)?);
        (rest, found) = (after, true);
    }
    if !found {
        return Err("must name a secret, as in ${secret:NAME}: no secret stands in this file".to_owned());
    }
    whole.push_str(rest);
    Ok(Secret::new(whole))
}

fn looked_up(name: &str, env: Environment<'_>) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("names a secret with other characters than letters, digits, `_` and `-`".to_owned());
    }
    if let Some(value) = env(name) {
        return Ok(value);
    }
    if let Some(path) = env(&format!("{name}_FILE")) {
        return read(Path::new(&path));
    }
    let folder = env("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        format!("needs the secret {name}: set {name}, {name}_FILE or a credential of that name")
    })?;
    read(&Path::new(&folder).join(name))
}

fn read(path: &Path) -> Result<String, String> {
    let failed =
        |error: std::io::Error| format!("needs a secret that cannot be read: {}: {error}", path.display());
    if std::fs::metadata(path).map_err(failed)?.len() > LENGTH_MAX {
        return Err(format!("needs a secret, and {} is too long to be one", path.display()));
    }
    Ok(std::fs::read_to_string(path).map_err(failed)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_the_environment_or_a_file_and_is_never_shown() {
        let folder = std::env::temp_dir().join(format!("artifact-secrets-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("DESK"), "hunter2\n").unwrap();
        let file = folder.join("DESK").display().to_string();
        let named = |name: &str| (name == "KEY").then(|| "hunter1".to_owned());
        let filed = |name: &str| (name == "OTHER_FILE").then(|| file.clone());
        let credential = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| folder.display().to_string());
        assert_eq!(filled("${secret:KEY}", &named).unwrap().expose(), "hunter1");
        assert_eq!(filled("Bearer ${secret:OTHER}", &filed).unwrap().expose(), "Bearer hunter2");
        let secret = filled("${secret:DESK}", &credential).unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("hunter2", "***"));
        for text in ["hunter3", "${KEY}", "${secret:KEY", "${secret:../x}", "${secret:}", "${secret:ABSENT}"]
        {
            let said = filled(text, &named).unwrap_err();
            assert!(!said.contains("hunter"), "{said}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
