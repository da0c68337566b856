//! Bytes under a passphrase: a header, then chunks that each carry their own proof.
//!
//! The key comes from the passphrase by Argon2id with a random salt, so each file has a key of its own. A chunk is sealed
//! with AES-256-GCM under a nonce of a random prefix, its number and a mark of the last one, and together with the
//! header: a chunk that is changed, moved, left out or cut off does not open, and neither does a file without its end.

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::fmt;
use std::io::{self, Read, Write};

/// How a sealed file begins; the digit is the version of the format.
pub const MAGIC: &[u8; 8] = b"ARTSEAL1";
/// Bytes of content in a chunk.
const CHUNK: usize = 64 * 1024;
/// Bytes of proof behind each chunk.
const TAG: usize = 16;
/// Bytes of the header: magic, three parameters, salt and prefix.
const HEADER: usize = 8 + 12 + SALT + PREFIX;
const SALT: usize = 16;
const PREFIX: usize = 7;
/// Memory, passes and lanes of Argon2id: what one file costs whoever tries a passphrase.
const COST: [u32; 3] = [64 * 1024, 3, 1];
/// The most a file may ask for: 1 GiB, so that a forged header cannot take the machine's memory.
const COST_MAX: [u32; 3] = [1024 * 1024, 16, 16];

/// A passphrase; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Vec<u8>);

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(***)")
    }
}

impl Passphrase {
    /// The first line of a text; `None` when it is empty.
    pub fn of(text: &[u8]) -> Option<Self> {
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!line.is_empty()).then(|| Self(line.to_vec()))
    }
}

/// What is random in a sealed file.
pub type Salts = [u8; SALT + PREFIX];

fn refused(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn key(passphrase: &Passphrase, cost: [u32; 3], salt: &[u8]) -> io::Result<LessSafeKey> {
    let [memory, passes, lanes] = cost;
    let params =
        Params::new(memory, passes, lanes, Some(32)).map_err(|_| refused("its parameters are not valid"))?;
    let mut bytes = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(&passphrase.0, salt, &mut bytes)
        .map_err(|_| refused("no key could be made of the passphrase"))?;
    let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| refused("no key could be made"))?;
    Ok(LessSafeKey::new(key))
}

/// The nonces of one file, in order.
struct Nonces {
    prefix: [u8; PREFIX],
    next: u32,
}

impl Nonces {
    fn take(&mut self, last: bool) -> io::Result<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        let (prefix, rest) = nonce.split_at_mut(PREFIX);
        prefix.copy_from_slice(&self.prefix);
        let (number, mark) = rest.split_at_mut(4);
        number.copy_from_slice(&self.next.to_be_bytes());
        mark.copy_from_slice(&[u8::from(last)]);
        self.next = self.next.checked_add(1).ok_or_else(|| refused("the file is too large to be sealed"))?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

/// Seals what is written to it. Without [`Sealer::finish`] the file has no end and does not open.
pub struct Sealer<W> {
    inner: W,
    key: LessSafeKey,
    header: [u8; HEADER],
    nonces: Nonces,
    chunk: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Begins a file; `salts` must be fresh random bytes.
    ///
    /// # Errors
    /// What writing says.
    pub fn begin(mut inner: W, passphrase: &Passphrase, salts: &Salts) -> io::Result<Self> {
        let (salt, prefix) = salts.split_at(SALT);
        let costs = COST.map(u32::to_be_bytes);
        let parts = [MAGIC.as_slice(), &costs.concat(), salt, prefix].concat();
        let header: [u8; HEADER] = parts.try_into().map_err(|_| refused("the header has another length"))?;
        let prefix = prefix.try_into().map_err(|_| refused("the prefix has another length"))?;
        let key = key(passphrase, COST, salt)?;
        inner.write_all(&header)?;
        Ok(Self {
            inner,
            key,
            header,
            nonces: Nonces { prefix, next: 0 },
            chunk: Vec::with_capacity(CHUNK + TAG),
        })
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = self.nonces.take(last)?;
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::from(self.header), &mut self.chunk);
        sealed.map_err(|_| refused("a chunk could not be sealed"))?;
        self.inner.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }

    /// Writes the last chunk and gives back what it wrote to.
    ///
    /// # Errors
    /// What writing says.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk is sealed only when more comes: the last one carries the mark.
        if self.chunk.len() == CHUNK && !bytes.is_empty() {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads what a [`Sealer`] wrote; never a byte that is not proven.
pub struct Opener<R> {
    inner: R,
    key: LessSafeKey,
    header: [u8; HEADER],
    nonces: Nonces,
    /// The sealed chunk after the one that is open.
    ahead: Vec<u8>,
    open: Vec<u8>,
    read: usize,
    over: bool,
}

impl<R: Read> Opener<R> {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is not sealed; a wrong passphrase shows at the first byte.
    pub fn begin(mut inner: R, passphrase: &Passphrase) -> io::Result<Self> {
        let mut header = [0; HEADER];
        inner.read_exact(&mut header)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(refused("it is not a sealed file"));
        }
        let (costs, rest) = rest.split_at(12);
        let mut cost = [0; 3];
        for (to, from) in cost.iter_mut().zip(costs.chunks_exact(4)) {
            *to = u32::from_be_bytes(from.try_into().unwrap_or_default());
        }
        if cost.iter().zip(COST_MAX).any(|(asked, most)| *asked > most) {
            return Err(refused("its parameters ask for too much"));
        }
        let (salt, prefix) = rest.split_at(SALT);
        let prefix = prefix.try_into().map_err(|_| refused("the prefix has another length"))?;
        let key = key(passphrase, cost, salt)?;
        let nonces = Nonces { prefix, next: 0 };
        let mut opener =
            Self { inner, key, header, nonces, ahead: Vec::new(), open: Vec::new(), read: 0, over: false };
        opener.ahead = opener.chunk()?;
        Ok(opener)
    }

    /// The next sealed chunk; empty at the end of the file.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::with_capacity(CHUNK + TAG);
        let most = u64::try_from(CHUNK + TAG).unwrap_or(u64::MAX);
        self.inner.by_ref().take(most).read_to_end(&mut chunk)?;
        Ok(chunk)
    }

    fn advance(&mut self) -> io::Result<()> {
        let next = self.chunk()?;
        let mut sealed = std::mem::replace(&mut self.ahead, next);
        self.over = self.ahead.is_empty();
        let nonce = self.nonces.take(self.over)?;
        let opened = self.key.open_in_place(nonce, Aad::from(self.header), &mut sealed);
        let length = opened.map_err(|_| refused("the passphrase is wrong, or the file is damaged"))?.len();
        sealed.truncate(length);
        (self.open, self.read) = (sealed, 0);
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.open.len() {
            if self.over {
                return Ok(0);
            }
            self.advance()?;
        }
        let left = self.open.get(self.read..).unwrap_or_default();
        let count = left.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALTS: Salts = [7; SALT + PREFIX];

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::of(text.as_bytes()).unwrap()
    }

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::begin(Vec::new(), &passphrase("correct horse"), &SALTS).unwrap();
        sealer.write_all(content).unwrap();
        sealer.finish().unwrap()
    }

    fn opened(file: &[u8], with: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        Opener::begin(file, &passphrase(with))?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn what_was_sealed_is_read_again_at_every_length() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let content: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let file = sealed(&content);
            assert_eq!(opened(&file, "correct horse").unwrap(), content, "{length}");
            assert!(length < 32 || !file.windows(32).any(|part| part == &content[..32]));
        }
    }

    #[test]
    fn another_passphrase_opens_nothing() {
        let file = sealed(b"figures");
        assert!(opened(&file, "correct horses").unwrap_err().to_string().contains("passphrase"));
    }

    #[test]
    fn a_file_that_is_changed_anywhere_does_not_open() {
        let file = sealed(&vec![1; 2 * CHUNK + 5]);
        // The costs in the header are left out: greater ones are refused elsewhere, and smaller ones are another key.
        for at in [0, 9, 21, HEADER - 1, HEADER, HEADER + CHUNK, HEADER + CHUNK + TAG + 9, file.len() - 1] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(opened(&changed, "correct horse").is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_file_that_is_cut_swapped_or_continued_does_not_open() {
        let file = sealed(&vec![1; 2 * CHUNK + 5]);
        let step = CHUNK + TAG;
        for length in [HEADER, HEADER + step, HEADER + 2 * step, file.len() - 1] {
            assert!(opened(&file[..length], "correct horse").is_err(), "cut to {length}");
        }
        let mut swapped = file.clone();
        let (one, two) = (HEADER, HEADER + step);
        for at in 0..step {
            swapped.swap(one + at, two + at);
        }
        assert!(opened(&swapped, "correct horse").is_err(), "swapped");
        let continued = [file.as_slice(), &file[HEADER..]].concat();
        assert!(opened(&continued, "correct horse").is_err(), "continued");
    }

    #[test]
    fn a_header_may_not_ask_for_all_memory() {
        let mut file = sealed(b"figures");
        file[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(opened(&file, "correct horse").unwrap_err().to_string().contains("too much"));
    }

    #[test]
    fn a_passphrase_is_the_first_line_and_never_shown() {
        assert_eq!(passphrase("one\ntwo"), passphrase("one\r\n"));
        assert_eq!(Passphrase::of(b"\n"), None);
        assert_eq!(format!("{:?}", passphrase("hunter2")), "Passphrase(***)");
    }
}
