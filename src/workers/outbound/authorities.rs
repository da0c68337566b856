//! Whose word is good for the certificate of the other side.

use reqwest::{Certificate, ClientBuilder};
use std::fmt;
use std::io;
use std::path::Path;

/// The authorities a certificate must come from.
#[derive(Clone, Default)]
pub enum Authorities {
    /// Those this machine trusts.
    #[default]
    OfMachine,
    /// These and no others: an internal service is not what any public authority says it is.
    Only(Vec<Certificate>),
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfMachine => f.write_str("OfMachine"),
            Self::Only(certificates) => write!(f, "Only({})", certificates.len()),
        }
    }
}

/// Why a file names no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// It has none.
    #[error("holds no certificate in PEM")]
    None,
}

impl Authorities {
    /// Those of a file in PEM, and no others.
    ///
    /// # Errors
    /// [`AuthoritiesError`].
    pub fn of_file(path: &Path) -> Result<Self, AuthoritiesError> {
        let found = Certificate::from_pem_bundle(&std::fs::read(path)?);
        match found {
            Ok(found) if !found.is_empty() => Ok(Self::Only(found)),
            Ok(_) | Err(_) => Err(AuthoritiesError::None),
        }
    }

    /// Lets a client trust these.
    pub(super) fn given_to(&self, builder: ClientBuilder) -> ClientBuilder {
        match self {
            Self::OfMachine => builder,
            Self::Only(certificates) => builder.tls_certs_only(certificates.iter().cloned()),
        }
    }
}
