//! Secrets: from a variable, from a file that a variable names, or from the credentials of the service manager.

use super::{ConfigError, Environment, Origin};
use std::path::Path;

/// Where the service manager puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Looks a secret up: the variable `name`, the file that `in_file` (`NAME_FILE`) names, or the credential `name`. The
/// text of a file is taken without the line end it may have.
///
/// # Errors
/// [`ConfigError::Unreadable`] for a file that was named and cannot be read.
pub fn find(
    env: Environment<'_>,
    (name, in_file): (&'static str, &'static str),
) -> Result<Option<(Origin, String)>, ConfigError> {
    if let Some(value) = env(name) {
        return Ok(Some((Origin::Environment(name), value)));
    }
    if let Some(path) = env(in_file) {
        return Ok(Some((Origin::Environment(in_file), read(Path::new(&path))?)));
    }
    let Some(folder) = env(CREDENTIALS) else { return Ok(None) };
    let path = Path::new(&folder).join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let value = read(&path)?;
    Ok(Some((Origin::File(path), value)))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.display().to_string(), source })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
