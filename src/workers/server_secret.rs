//! The secret of this service, kept outside the database: hashes of keys are keyed by it, and keys that sign are derived
//! from it. Whoever has the database alone can neither check a guess nor forge a token.
//!
//! It is a text file, one secret a line. The first makes new hashes; the others are from before and still check old
//! ones, so that it can be changed while keys are in use.

use crate::domain::hexadecimal::hex;
use crate::random::{NoRandomness, Random};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Name of the file in a data directory.
pub const SECRET_FILE: &str = "artifact.secret";
/// Fewest characters of a secret.
const LENGTH_MIN: usize = 32;
/// Mark of a keyed hash.
const KEYED: &str = "hmac";

/// Where the secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// A file that somebody else provides; it must be there.
    Given(PathBuf),
    /// A data directory; the file is made there when it is missing.
    Directory(PathBuf),
}

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or made.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A line is too short.
    #[error(
        "{path}: line {line} must have at least {LENGTH_MIN} characters, such as `openssl rand -hex 32` writes"
    )]
    Short {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// There is no line in it.
    #[error(
        "{path}: is empty; put back the secret that was there, or remove the file to have a new one made"
    )]
    Empty {
        /// The file.
        path: String,
    },
    /// Others than its owner may read it.
    #[error("{path}: others may read it (mode {mode:03o}); run `chmod 600 {path}`")]
    Open {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// No randomness to make one from.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

struct Part {
    fingerprint: String,
    /// Ready for a message.
    mac: Hmac<Sha256>,
}

/// The secret, and those before it.
#[derive(Clone)]
pub struct ServerSecret(Arc<[Part]>);

impl fmt::Debug for ServerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|part| part.fingerprint.as_str()).collect();
        write!(f, "ServerSecret({})", names.join(", "))
    }
}

impl Part {
    fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
        mac(self.mac.clone(), purpose, parts)
    }
}

fn mac(mut mac: Hmac<Sha256>, purpose: &str, parts: &[&[u8]]) -> [u8; 32] {
    // Each part with its length: no two lists of parts are the same bytes.
    for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

impl ServerSecret {
    /// Reads the secret, or makes it in a data directory that has none.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn load(place: &SecretPlace, random: Random) -> Result<Self, SecretError> {
        let path = match place {
            SecretPlace::Given(path) => path.clone(),
            SecretPlace::Directory(directory) => directory.join(SECRET_FILE),
        };
        let failed = |source| SecretError::File { path: path.display().to_string(), source };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let SecretPlace::Directory(directory) = place else { return Err(failed(error)) };
                make(directory, random)?
            }
            Err(error) => return Err(failed(error)),
        };
        let mode = fs::metadata(&path).map_err(failed)?.mode() & 0o777;
        // What a container or systemd mounts has rights of their choosing; only the world is kept out of it.
        let others = if matches!(place, SecretPlace::Directory(_)) { 0o077 } else { 0o007 };
        if mode & others != 0 {
            return Err(SecretError::Open { path: path.display().to_string(), mode });
        }
        Self::parse(&text, &path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, SecretError> {
        let path = path.display().to_string();
        let mut parts = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let key = line.trim().as_bytes();
            if key.len() < LENGTH_MIN {
                return Err(SecretError::Short { path, line: number + 1 });
            }
            // A key of any length will do.
            let Ok(keyed) = Hmac::<Sha256>::new_from_slice(key) else { continue };
            let [a, b, c, d, ..] = mac(keyed.clone(), "fingerprint", &[]);
            parts.push(Part { fingerprint: hex(&[a, b, c, d]), mac: keyed });
        }
        if parts.is_empty() {
            return Err(SecretError::Empty { path });
        }
        Ok(Self(parts.into()))
    }

    /// A keyed hash, with the fingerprint of the secret that made it.
    pub fn hash(&self, purpose: &str, parts: &[&[u8]]) -> String {
        let current = self.0.first();
        let (fingerprint, mac) =
            current.map_or(("", [0; 32]), |part| (part.fingerprint.as_str(), part.mac(purpose, parts)));
        format!("{KEYED}:{fingerprint}:{}", hex(&mac))
    }

    /// Whether a kept hash is of these parts. It takes as long for a hash that is of nothing.
    pub fn matches(&self, kept: Option<&str>, purpose: &str, parts: &[&[u8]]) -> bool {
        let named = kept.and_then(|kept| kept.strip_prefix(KEYED)?.strip_prefix(':')?.split_once(':'));
        let known = named.and_then(|(name, _)| self.0.iter().find(|part| part.fingerprint == name));
        let computed = known.or(self.0.first()).map_or([0; 32], |part| part.mac(purpose, parts));
        let computed = hex(&computed);
        let digits = named.map_or("", |(_, digits)| digits);
        bool::from(computed.as_bytes().ct_eq(digits.as_bytes())) && known.is_some()
    }

    /// Whether a kept hash was made with a secret that is here.
    pub fn knows(&self, kept: &str) -> bool {
        let mut named = kept.split(':');
        let keyed = named.next() == Some(KEYED);
        let name = named.next().unwrap_or_default();
        keyed && self.0.iter().any(|part| part.fingerprint == name)
    }

    /// 32 bytes that follow from the secret and `name`, of each secret that is here: the current one first.
    pub fn derived(&self, purpose: &str, name: &str) -> Vec<[u8; 32]> {
        self.0.iter().map(|part| part.mac(purpose, &[name.as_bytes()])).collect()
    }
}

/// Whether a kept hash is one from before there was a secret.
pub fn is_plain(kept: &str) -> bool {
    !kept.starts_with(KEYED)
}

/// Makes the file, on disk before it is used.
fn make(directory: &Path, random: Random) -> Result<String, SecretError> {
    let path = directory.join(SECRET_FILE);
    let failed = |source| SecretError::File { path: path.display().to_string(), source };
    let text = format!("{}\n", hex(&random.bytes::<32>()?));
    let early = directory.join(format!(".{SECRET_FILE}"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&early)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&early, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("artifact-secret-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn it_is_made_once_and_for_its_owner_only() {
        let folder = folder("made");
        let place = SecretPlace::Directory(folder.clone());
        let first = ServerSecret::load(&place, Random::System).unwrap();
        let again = ServerSecret::load(&place, Random::System).unwrap();
        assert_eq!(fs::metadata(folder.join(SECRET_FILE)).unwrap().mode() & 0o777, 0o600);
        let hash = first.hash("key", &[b"a", b"b"]);
        assert!(again.matches(Some(&hash), "key", &[b"a", b"b"]));
        let text = fs::read_to_string(folder.join(SECRET_FILE)).unwrap();
        assert!(!format!("{first:?}").contains(text.trim()), "a secret is never printed");
        fs::set_permissions(folder.join(SECRET_FILE), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            ServerSecret::load(&place, Random::System),
            Err(SecretError::Open { mode: 0o640, .. })
        ));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_given_file_must_be_there_and_long_enough() {
        let folder = folder("given");
        let file = folder.join("secret");
        let place = SecretPlace::Given(file.clone());
        let load = |text: &str| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o440)).unwrap();
            let loaded = ServerSecret::load(&place, Random::System);
            fs::remove_file(&file).unwrap();
            loaded
        };
        assert!(matches!(ServerSecret::load(&place, Random::System), Err(SecretError::File { .. })));
        assert!(matches!(load("\n \n"), Err(SecretError::Empty { .. })));
        let error = load(&format!("{}\nhunter2\n", "x".repeat(32))).unwrap_err();
        assert!(
            matches!(error, SecretError::Short { line: 2, .. }) && !error.to_string().contains("hunter2")
        );
        load(&"x".repeat(32)).unwrap();
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_hash_is_of_its_purpose_its_parts_and_its_secret() {
        let (old, new) = ("o".repeat(40), "n".repeat(40));
        let secret = |text: &str| ServerSecret::parse(text, Path::new("secret")).unwrap();
        let hash = secret(&old).hash("key", &[b"ab", b"c"]);
        assert!(secret(&old).matches(Some(&hash), "key", &[b"ab", b"c"]));
        for (purpose, parts) in [
            ("key", [&b"a"[..], b"bc"]),
            ("key", [b"ab", b"d"]),
            ("ke", [b"ab", b"c"]),
            ("key", [b"", b"abc"]),
        ] {
            assert!(!secret(&old).matches(Some(&hash), purpose, &parts), "{purpose} {parts:?}");
        }
        assert!(!secret(&new).matches(Some(&hash), "key", &[b"ab", b"c"]) && !secret(&new).knows(&hash));
        let both = secret(&format!("{new}\n{old}\n"));
        assert!(both.matches(Some(&hash), "key", &[b"ab", b"c"]) && both.knows(&hash));
        assert!(!both.hash("key", &[b"ab", b"c"]).eq(&hash), "the first line makes new hashes");
        for broken in ["", "hmac", "hmac:", "hmac::", "plain", &hash.replace("hmac", "sha")] {
            assert!(!both.matches(Some(broken), "key", &[b"ab", b"c"]), "{broken}");
        }
        assert!(!both.matches(None, "key", &[b"ab", b"c"]));
    }

    #[test]
    fn what_follows_from_a_secret_is_one_of_each_and_a_plain_hash_is_of_none() {
        let parse = |text: &str| ServerSecret::parse(text, Path::new("secret")).unwrap();
        let (old, new) = ("x".repeat(32), "y".repeat(32));
        let both = parse(&format!("{new}\n{old}\n"));
        assert_eq!(
            both.derived("a", "b"),
            [parse(&new).derived("a", "b"), parse(&old).derived("a", "b")].concat()
        );
        assert_ne!(both.derived("a", "b"), both.derived("a", "c"));
        assert!(is_plain(&"0".repeat(64)) && !is_plain(&both.hash("a", &[])));
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_not_made_anew() {
        let folder = folder("unreadable");
        // It is there, and no text.
        fs::write(folder.join(SECRET_FILE), [0xff, 0xfe]).unwrap();
        let loaded = ServerSecret::load(&SecretPlace::Directory(folder.clone()), Random::System);
        assert!(matches!(loaded, Err(SecretError::File { .. })));
        assert_eq!(fs::read(folder.join(SECRET_FILE)).unwrap(), [0xff, 0xfe]);
        fs::remove_dir_all(folder).unwrap();
    }
}
