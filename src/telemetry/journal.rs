//! Standard error as systemd's journal reads it: a line that begins with `<N>` has the priority N, any other is `info`.
//!
//! Only where standard error is the journal; elsewhere the mark would stand in the way of whoever reads.

use std::io::{self, Write};
use std::sync::OnceLock;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Whether standard error is the journal. Unknown, it is not.
static CONNECTED: OnceLock<bool> = OnceLock::new();

/// Looks whether standard error is the journal: `stream` is `JOURNAL_STREAM`, by which systemd names the device and inode
/// of what it connected. A process whose standard error was sent elsewhere since inherits the name all the same.
pub fn look(stream: Option<&str>) {
    let found = rustix::fs::fstat(io::stderr())
        .is_ok_and(|about| stream == Some(format!("{}:{}", about.st_dev, about.st_ino).as_str()));
    // Whoever looked first has seen the same.
    CONNECTED.set(found).unwrap_or_default();
    if found {
        std::panic::set_hook(Box::new(|panic| tell(Priority::Error, &panic.to_string())));
    }
}

/// Whether standard error is the journal.
pub fn is_connected() -> bool {
    CONNECTED.get() == Some(&true)
}

/// How bad it is, as syslog counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Something failed.
    Error,
    /// Somebody should look.
    Warning,
    /// What is done.
    Info,
    /// How it is done.
    Debug,
}

impl Priority {
    const fn mark(self) -> &'static [u8] {
        match self {
            Self::Error => b"<3>",
            Self::Warning => b"<4>",
            Self::Info => b"<6>",
            Self::Debug => b"<7>",
        }
    }

    const fn of(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            Level::DEBUG | Level::TRACE => Self::Debug,
        }
    }
}

/// The lines of a text, each with a mark at its beginning: the journal takes each for itself.
fn marked(text: &[u8], mark: &[u8]) -> Vec<u8> {
    let mut found = Vec::with_capacity(text.len() + mark.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        found.extend_from_slice(mark);
        found.extend_from_slice(line);
    }
    found
}

/// Writes a line to standard error.
pub fn tell(priority: Priority, line: &str) {
    let line = format!("{line}\n");
    // Nothing can be done about a closed standard error.
    Lines(priority).write_all(line.as_bytes()).unwrap_or_default();
}

/// Standard error for whole lines of one priority: the log writes each event at once.
#[derive(Debug)]
pub struct Lines(Priority);

impl Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if is_connected() {
            io::stderr().lock().write_all(&marked(text, self.0.mark()))?;
            return Ok(text.len());
        }
        io::stderr().lock().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Where the log is written.
#[derive(Debug, Clone, Copy)]
pub struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        Lines(Priority::Info)
    }

    fn make_writer_for(&self, about: &Metadata<'_>) -> Lines {
        Lines(Priority::of(*about.level()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_mark_and_nothing_is_added_at_the_end() {
        let mark = Priority::of(Level::WARN).mark();
        assert_eq!(marked(b"a\nb\n", mark), b"<4>a\n<4>b\n");
        assert_eq!(marked(b"a\n\nb", mark), b"<4>a\n<4>\n<4>b");
        assert_eq!(marked(b"", mark), b"");
        let all = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE].map(Priority::of);
        assert_eq!(all.map(|one| one.mark()[1]), *b"34677");
    }
}
