//! `authorities_file` of what is internal: the authorities its certificate must come from.

use super::{ConfigError, Origin, Setting};
use crate::workers::outbound::authorities::{Authorities, AuthoritiesError};
use std::path::{Path, PathBuf};

/// Authorities, and the file that names them.
pub(super) type Named = (Option<PathBuf>, Authorities);

/// Reads the file a setting names, if it names one.
///
/// # Errors
/// [`ConfigError`] names the setting and the file.
pub(super) fn read(
    name: &'static str,
    file: Setting<Option<PathBuf>>,
) -> Result<Setting<Named>, ConfigError> {
    let Setting { value, origin } = file;
    let Some(path) = value else { return Ok(Setting { value: (None, Authorities::OfMachine), origin }) };
    let authorities = of_file(name, &path, &origin)?;
    Ok(Setting { value: (Some(path), authorities), origin })
}

/// The authorities of a file.
///
/// # Errors
/// The same.
pub(super) fn of_file(name: &'static str, path: &Path, origin: &Origin) -> Result<Authorities, ConfigError> {
    Authorities::of_file(path).map_err(|error| match error {
        AuthoritiesError::Unreadable(source) => {
            ConfigError::Unreadable { path: path.display().to_string(), source }
        }
        AuthoritiesError::None => ConfigError::Invalid {
            name,
            origin: origin.clone(),
            value: path.display().to_string(),
            rule: "holds no certificate in PEM",
        },
    })
}

/// How a file is shown.
pub(super) fn shown(name: &'static str, setting: &Setting<Named>) -> (&'static str, String, String) {
    let file = setting.value.0.as_ref();
    let file = file.map_or_else(|| "(the machine's)".to_owned(), |path| path.display().to_string());
    (name, file, setting.origin.to_string())
}
