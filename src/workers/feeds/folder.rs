//! Watched folders: files of prices that are read as they come and on as they grow.
//!
//! How far a file was read is kept by its inode: a file that is moved away and replaced begins anew, one that is renamed does
//! not. A file that has become shorter, or changed without becoming longer, is read from its beginning; what was stored
//! before is a duplicate then. Only whole lines are taken: a last line without an end waits until the file has rested.
//! What a line says is stored before it is noted that it was read.

use crate::domain::moment::Moment;
use crate::storage::error::StorageError;
use crate::storage::feeds::{self as kept_feeds, Cursor};
use crate::workers::feeds::definition::Pair;
use crate::workers::feeds::failure::FeedError;
use crate::workers::feeds::generic::{self, FileFormat, Folder, Generic};
use crate::workers::feeds::session::Session;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Most files looked at in one go.
const FILES_MAX: usize = 10_000;
/// Most bytes of a file taken in one go, unless a line, or a whole body, is longer.
const PART: u64 = 4 << 20;
/// How long a file must have rested before a last line without an end is taken, in microseconds.
const REST: i64 = 10_000_000;
/// What the cursors of files are kept for.
const SERIES: &str = "files";

/// A file as it is now.
#[derive(Debug, Clone)]
struct Found {
    path: PathBuf,
    name: String,
    key: String,
    size: u64,
    changed_at: Moment,
    pair: Option<Pair>,
}

/// What was read of a file.
struct Part {
    body: Vec<u8>,
    /// How far the file is read then.
    end: u64,
    /// Whether more of it can be read at once.
    more: bool,
}

/// Takes up what is new in the folder of a feed.
///
/// # Errors
/// [`FeedError`]; what was stored before stays. A file that is not as the mapping expects stops none of the others.
pub(super) async fn fetch(session: &mut Session<'_>) -> Result<(), FeedError> {
    let definition = session.definition();
    let Some(generic) = definition.generic.as_deref() else { return Ok(()) };
    let Some(folder) = generic.folder.clone() else { return Ok(()) };
    let pairs = definition.symbols.clone();
    let looking = folder.clone();
    let found = blocking(move || list(&looking, &pairs)).await?;
    let read_to = read_so_far(session).await?;
    session.heard();
    let mut outcome = Ok(());
    for file in found {
        if session.is_stopped() {
            break;
        }
        let known = read_to.get(&file.key).copied();
        let taken = take(session, generic, &folder, &file, known).await;
        if let Err(error) = &taken {
            session.note(&format!("{}: {error}", file.name));
        }
        outcome = outcome.and(taken);
    }
    outcome
}

async fn read_so_far(session: &Session<'_>) -> Result<BTreeMap<String, Cursor>, FeedError> {
    let mut tx = session.database().read().await?;
    let kept = kept_feeds::cursors(&mut tx, &session.definition().name, SERIES).await?;
    Ok(kept.into_iter().collect())
}

/// Reads on in one file, part by part.
async fn take(
    session: &mut Session<'_>,
    generic: &Generic,
    folder: &Folder,
    file: &Found,
    known: Option<Cursor>,
) -> Result<(), FeedError> {
    let Some(mut start) = start_of(file, known) else { return Ok(()) };
    let max = u64::try_from(session.definition().place.body_max).unwrap_or(u64::MAX);
    loop {
        let (path, format, rested) =
            (file.path.clone(), folder.format, session.now().0 - file.changed_at.0 >= REST);
        let size = file.size;
        let part = blocking(move || read_part(&path, format, (start, size), max, rested)).await?;
        if part.end == start {
            return Ok(());
        }
        let faults = take_rows(session, generic, folder.format, file, &part.body)?;
        session.store().await?;
        session.flush().await?;
        let cursor = Cursor { observed_at: file.changed_at, number: Some(part.end) };
        note(session, file.key.clone(), cursor).await?;
        if let Some(first) = faults {
            let place = if start == 0 { String::new() } else { format!(" after byte {start}") };
            session.note(&format!("{}{place}: {first}", file.name));
        }
        if !part.more {
            return Ok(());
        }
        start = part.end;
    }
}

/// From which byte on a file is to be read: `None` when there is nothing new.
fn start_of(file: &Found, known: Option<Cursor>) -> Option<u64> {
    let Some(Cursor { observed_at, number: Some(end) }) = known else { return Some(0) };
    match file.size.cmp(&end) {
        std::cmp::Ordering::Greater => Some(end),
        // Written anew, with as much or less in it.
        std::cmp::Ordering::Equal if file.changed_at == observed_at => None,
        std::cmp::Ordering::Equal | std::cmp::Ordering::Less => Some(0),
    }
}

async fn note(session: &Session<'_>, key: String, cursor: Cursor) -> Result<(), FeedError> {
    let name = session.definition().name.clone();
    let work = session.database().writer().housekeep(move |tx| {
        Box::pin(async move { kept_feeds::advance(tx, &name, SERIES, &key, cursor).await })
    });
    let noted: Result<(), StorageError> = work.await;
    Ok(noted?)
}

/// Takes up the rows of a part. The first line at fault, if there is one; the others are taken.
fn take_rows(
    session: &mut Session<'_>,
    generic: &Generic,
    format: FileFormat,
    file: &Found,
    body: &[u8],
) -> Result<Option<String>, FeedError> {
    let (mut rows, mut missing) = (Vec::new(), 0);
    let (table, mut faults) =
        if format == FileFormat::Csv { readable(body) } else { (Cow::Borrowed(body), Vec::new()) };
    let bodies: Vec<&[u8]> = match format {
        FileFormat::Ndjson => {
            body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect()
        }
        FileFormat::Csv | FileFormat::Json => vec![&table],
    };
    for (number, body) in (1_usize..).zip(bodies) {
        let mut own = Vec::new();
        match generic.mapping.rows_but(body, &mut own) {
            Ok(reading) => {
                missing += reading.missing;
                rows.extend(reading.rows);
            }
            Err(fault) if format == FileFormat::Ndjson => own.push(fault),
            Err(fault) => return Err(FeedError::Malformed(fault.to_string())),
        }
        let line = if format == FileFormat::Ndjson { format!("line {number}: ") } else { String::new() };
        faults.extend(own.into_iter().map(|fault| format!("{line}{fault}")));
    }
    session.missing(missing);
    let count = u64::try_from(faults.len()).unwrap_or(u64::MAX);
    session.status(|status| status.malformed += count);
    let pairs = session.definition().symbols.clone();
    for pair in &pairs {
        let is_own = |symbol: Option<&String>| match symbol {
            Some(symbol) => *symbol == pair.venue,
            None => file.pair.as_ref().is_none_or(|own| own == pair),
        };
        let own: Vec<_> = rows.iter().filter(|row| is_own(row.symbol.as_ref())).cloned().collect();
        generic::take(session, pair, own);
    }
    Ok(faults.into_iter().next())
}

/// The lines of a table that are text, and what is wrong with the others.
fn readable(body: &[u8]) -> (Cow<'_, [u8]>, Vec<String>) {
    if std::str::from_utf8(body).is_ok() {
        return (Cow::Borrowed(body), Vec::new());
    }
    let (mut text, mut faults) = (Vec::with_capacity(body.len()), Vec::new());
    for (number, line) in (1_usize..).zip(body.split_inclusive(|byte| *byte == b'\n')) {
        if std::str::from_utf8(line).is_ok() {
            text.extend_from_slice(line);
        } else {
            faults.push(format!("line {number}: is not UTF-8 text"));
        }
    }
    (Cow::Owned(text), faults)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, FeedError> {
    let broken = |said: String| FeedError::Malformed(said);
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| broken(error.to_string()))?
        .map_err(|error| broken(error.to_string()))
}

/// The files of a folder, in order of name.
fn list(folder: &Folder, pairs: &[Pair]) -> std::io::Result<Vec<Found>> {
    let named = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("{}: {error}", folder.path.display()))
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder.path).map_err(named)? {
        let entry = entry.map_err(named)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pair) = matching(&folder.pattern, &name, pairs) else { continue };
        let about = entry.metadata().map_err(named)?;
        if !about.is_file() {
            continue;
        }
        let changed_at =
            Moment(about.mtime().saturating_mul(1_000_000).saturating_add(about.mtime_nsec() / 1_000));
        let key = format!("{}:{}", about.dev(), about.ino());
        found.push(Found { path: entry.path(), name, key, size: about.len(), changed_at, pair });
        if found.len() >= FILES_MAX {
            break;
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Whether a name is of the pattern, and whose file it is then when the pattern says so.
#[expect(clippy::option_option, reason = "a name may be of the pattern and be nobody's in particular")]
fn matching(pattern: &str, name: &str, pairs: &[Pair]) -> Option<Option<Pair>> {
    if !pattern.contains("{symbol}") {
        return is_like(pattern, name).then_some(None);
    }
    let own = |pair: &&Pair| is_like(&pattern.replace("{symbol}", &pair.venue), name);
    // The longest, so that `BTC` does not take the files of `BTC2`.
    let pair = pairs.iter().filter(own).max_by_key(|pair| pair.venue.len())?;
    Some(Some(pair.clone()))
}

fn is_like(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// Whole lines of a file from a byte on; of a table with its header before them. A JSON body is read whole.
fn read_part(
    path: &Path,
    format: FileFormat,
    (start, size): (u64, u64),
    max: u64,
    rested: bool,
) -> std::io::Result<Part> {
    let mut file = std::fs::File::open(path)?;
    if format == FileFormat::Json {
        if size > max {
            return Err(std::io::Error::other(format!("is larger than max_body, {max} bytes")));
        }
        // What is being written is read once it is done.
        if !rested {
            return Ok(Part { body: Vec::new(), end: start, more: false });
        }
        let mut body = Vec::new();
        file.take(max).read_to_end(&mut body)?;
        return Ok(Part { body, end: size, more: false });
    }
    let mut head = Vec::new();
    if start > 0 {
        if format == FileFormat::Csv {
            head = first_line(&mut file, max)?;
        }
        file.seek(SeekFrom::Start(start))?;
    }
    let wanted = (size - start).min(PART.min(max));
    let mut body = Vec::new();
    std::io::Read::by_ref(&mut file).take(wanted).read_to_end(&mut body)?;
    let whole = start + u64::try_from(body.len()).unwrap_or_default() >= size;
    let end = match body.iter().rposition(|byte| *byte == b'\n') {
        _ if whole && rested => body.len(),
        Some(last) => last + 1,
        None if !whole => return Err(std::io::Error::other("has a line longer than max_body")),
        None => 0,
    };
    body.truncate(end);
    let end = start + u64::try_from(end).unwrap_or_default();
    head.extend_from_slice(&body);
    Ok(Part { body: head, end, more: end < size && end > start && !whole })
}

/// The header of a table, with the end of its line.
fn first_line(file: &mut std::fs::File, max: u64) -> std::io::Result<Vec<u8>> {
    use std::io::BufRead as _;
    let mut line = Vec::new();
    std::io::BufReader::new(file.take(max)).read_until(b'\n', &mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_by_their_pattern() {
        let pairs =
            ["btc", "btc2"].map(|venue| Pair { symbol: venue.to_uppercase(), venue: venue.to_owned() });
        for (pattern, name, wanted) in [
            ("*.csv", "a.csv", Some("")),
            ("*.csv", "a.csv.tmp", None),
            ("a*b*c", "a-b-b-c", Some("")),
            ("a*b*c", "a-c", None),
            ("x.csv", "x.csv", Some("")),
            ("x.csv", "xx.csv", None),
            ("{symbol}*.csv", "btc-2024.csv", Some("BTC")),
            ("{symbol}*.csv", "btc2-2024.csv", Some("BTC2")),
            ("{symbol}.csv", "eth.csv", None),
        ] {
            let found =
                matching(pattern, name, &pairs).map(|pair| pair.map_or(String::new(), |pair| pair.symbol));
            assert_eq!(found.as_deref(), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn a_file_is_read_in_whole_lines_and_a_table_keeps_its_header() {
        let path = std::env::temp_dir().join(format!("artifact-part-{}", std::process::id()));
        let text = "t,c\n1,10\n2,20\n3,3";
        std::fs::write(&path, text).unwrap();
        let size = u64::try_from(text.len()).unwrap();
        let read = |start: u64, rested: bool| {
            let part = read_part(&path, FileFormat::Csv, (start, size), 1 << 20, rested).unwrap();
            (String::from_utf8(part.body).unwrap(), part.end)
        };
        assert_eq!(read(0, false), ("t,c\n1,10\n2,20\n".to_owned(), 14));
        assert_eq!(read(14, false), ("t,c\n".to_owned(), 14));
        assert_eq!(read(14, true), ("t,c\n3,3".to_owned(), size));
        assert_eq!(read(4, false), ("t,c\n1,10\n2,20\n".to_owned(), 14));
        // Lines of JSON go on where they were left; they have no header.
        let text = "{\"t\":1}\n{\"t\":2}\n";
        std::fs::write(&path, text).unwrap();
        let part = read_part(&path, FileFormat::Ndjson, (8, 16), 1 << 20, false).unwrap();
        assert_eq!((part.body.as_slice(), part.end), (&b"{\"t\":2}\n"[..], 16));
        let part = read_part(&path, FileFormat::Ndjson, (0, 16), 8, false).unwrap();
        assert_eq!((part.body.as_slice(), part.end, part.more), (&b"{\"t\":1}\n"[..], 8, true));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_line_of_a_table_that_is_no_text_is_passed_over() {
        let (text, faults) = readable(b"t,c\n1,10\n2,\xff\n3,30");
        assert_eq!(text.as_ref(), b"t,c\n1,10\n3,30");
        assert_eq!(faults, ["line 3: is not UTF-8 text"]);
        assert!(matches!(readable(b"t,c\n"), (Cow::Borrowed(_), faults) if faults.is_empty()));
    }

    #[test]
    fn a_file_that_was_written_anew_is_read_from_its_beginning() {
        let file = |size: u64, changed_at: i64| Found {
            path: PathBuf::new(),
            name: String::new(),
            key: String::new(),
            size,
            changed_at: Moment(changed_at),
            pair: None,
        };
        let known = Some(Cursor { observed_at: Moment(5), number: Some(100) });
        assert_eq!(start_of(&file(100, 5), None), Some(0));
        assert_eq!(start_of(&file(100, 5), known), None);
        assert_eq!(start_of(&file(150, 6), known), Some(100));
        assert_eq!(start_of(&file(100, 6), known), Some(0));
        assert_eq!(start_of(&file(50, 6), known), Some(0));
    }
}
