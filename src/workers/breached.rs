//! Passwords that have leaked elsewhere: a file of their hashes, as "Have I Been Pwned" gives it out for use without a
//! network (one line a password, the SHA-1 in hexadecimal, `:` and how often it was seen, in the order of the hashes).
//!
//! The file has tens of gigabytes, so it is searched where it lies: some forty reads of a line. SHA-1 is how that list
//! names its passwords; nothing is kept or proven by it here.

use crate::domain::hexadecimal::hex;
use aws_lc_rs::digest;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Hexadecimal digits of a hash.
const DIGITS: usize = 40;
/// Longest line: a hash, `:`, a count of 64 bits, and its end.
const LINE_MAX: usize = DIGITS + 1 + 20 + 2;

/// A list of passwords that have leaked.
#[derive(Debug, Clone)]
pub struct Breached(Arc<List>);

#[derive(Debug)]
struct List {
    path: PathBuf,
    file: File,
}

impl Breached {
    /// Opens a list.
    ///
    /// # Errors
    /// When it cannot be read, or does not begin with a hash.
    pub fn open(path: &Path) -> io::Result<Self> {
        let list = List { path: path.to_path_buf(), file: File::open(path)? };
        list.line_at(0, list.file.metadata()?.len())?;
        Ok(Self(Arc::new(list)))
    }

    /// Whether a password is in the list.
    ///
    /// # Errors
    /// What the file says.
    pub async fn holds(&self, password: &str) -> io::Result<bool> {
        let wanted = hash(password);
        let list = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || list.holds(&wanted)).await.map_err(io::Error::other)?
    }
}

/// The name of a password in the list.
fn hash(password: &str) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    hex(digest.as_ref()).to_uppercase()
}

impl List {
    fn holds(&self, wanted: &str) -> io::Result<bool> {
        // Lines that begin in `from..to` may be the one.
        let length = self.file.metadata()?.len();
        let (mut from, mut to) = (0, length);
        while from < to {
            let middle = self.line_around(from + (to - from) / 2, from, length)?;
            let (hash, next) = self.line_at(middle, length)?;
            match hash.as_str().cmp(wanted) {
                std::cmp::Ordering::Equal => return Ok(true),
                std::cmp::Ordering::Less => from = next,
                // No line begins between the one looked at and where it was looked for.
                std::cmp::Ordering::Greater if middle == from => return Ok(false),
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        Ok(false)
    }

    /// Where the last line begins that begins at or before `at`, and not before `from`, which is where a line begins.
    fn line_around(&self, at: u64, from: u64, length: u64) -> io::Result<u64> {
        let back = at.saturating_sub(u64::try_from(LINE_MAX).unwrap_or(0)).max(from);
        let bytes = self.bytes(back, usize::try_from(at - back).unwrap_or(LINE_MAX), length)?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n');
        match end {
            Some(end) => Ok(back + u64::try_from(end).unwrap_or(0) + 1),
            None if back == from => Ok(from),
            None => Err(self.malformed(back)),
        }
    }

    /// The hash in the line that begins at `at`, and where the next one begins.
    fn line_at(&self, at: u64, length: u64) -> io::Result<(String, u64)> {
        let bytes = self.bytes(at, LINE_MAX, length)?;
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let line = bytes.get(..end).unwrap_or_default();
        let hash = line.get(..DIGITS).unwrap_or_default();
        let rest = line.get(DIGITS..).unwrap_or_default();
        let named = hash.len() == DIGITS && hash.iter().all(u8::is_ascii_hexdigit);
        let ended = rest.first().is_none_or(|byte| matches!(byte, b':' | b'\r'));
        let whole = end < bytes.len() || at + u64::try_from(end).unwrap_or(0) == length;
        if !(named && ended && whole) {
            return Err(self.malformed(at));
        }
        let next = at + u64::try_from(end).unwrap_or(0) + 1;
        Ok((String::from_utf8_lossy(hash).to_uppercase(), next))
    }

    fn bytes(&self, at: u64, most: usize, length: u64) -> io::Result<Vec<u8>> {
        let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(left)];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }

    fn malformed(&self, at: u64) -> io::Error {
        let text = format!(
            "{} has no line HASH:COUNT at byte {at}, with the SHA-1 of a password in hexadecimal",
            self.path.display()
        );
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// A list of these passwords, beside the temporary files; gone with it.
    struct Listed(PathBuf);

    impl Listed {
        fn of(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("artifact-breached-{name}-{}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }
    }

    impl Drop for Listed {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn a_password_is_named_as_the_list_names_it() {
        // FIPS 180-2, A.1, and the example of the list's documentation for `password`.
        assert_eq!(hash("abc"), "A9993E364706816ABA3E25717850C26C9CD0D89D");
        assert_eq!(hash("password"), "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8");
    }

    #[tokio::test]
    async fn what_is_in_the_list_is_found_and_nothing_else() {
        for (name, end, counted, last) in
            [("crlf", "\r\n", true, true), ("lf", "\n", false, true), ("open", "\n", true, false)]
        {
            for count in [1, 2, 3, 4, 7, 100, 1_000] {
                let mut lines: Vec<String> = (0..count)
                    .map(|number| {
                        let mut line = hash(&format!("leaked {number}"));
                        if counted {
                            write!(line, ":{}", 10_u64.pow(number % 19)).unwrap();
                        }
                        line
                    })
                    .collect();
                lines.sort_unstable();
                let text = lines.join(end) + if last { end } else { "" };
                let listed = Listed::of(name, &text);
                let breached = Breached::open(&listed.0).unwrap();
                for number in 0..count {
                    assert!(
                        breached.holds(&format!("leaked {number}")).await.unwrap(),
                        "{name} {count} {number}"
                    );
                }
                for other in 0..200 {
                    assert!(
                        !breached.holds(&format!("kept {other}")).await.unwrap(),
                        "{name} {count} {other}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_list_is_told_and_lets_nothing_pass() {
        for text in ["", "password\n", "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD:3\n", &"A".repeat(200)] {
            let listed = Listed::of("none", text);
            assert!(Breached::open(&listed.0).is_err(), "{text}");
        }
        let damaged = format!("{}:1\n{}\n", "0".repeat(40), "x".repeat(400));
        let listed = Listed::of("damaged", &damaged);
        let error = Breached::open(&listed.0).unwrap().holds("anything").await.unwrap_err();
        assert!(error.to_string().contains("has no line HASH:COUNT"), "{error}");
    }
}
