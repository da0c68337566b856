//! A table of the configuration file, read key by key: what is wrong is told by the whole name of its key, and what
//! nobody asked for is an error.

use std::time::Duration;
use toml::{Table, Value};

/// Characters of a value that are repeated in an error.
const QUOTED: usize = 60;

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {rule}")]
pub(super) struct KeyFault {
    /// Its whole name.
    pub(super) key: String,
    /// The rule it breaks.
    pub(super) rule: String,
}

/// A table, and where it stands.
#[derive(Debug)]
pub(super) struct Keys {
    place: String,
    table: Table,
}

impl Keys {
    /// The table at `place`.
    pub(super) fn new(place: impl Into<String>, table: Table) -> Self {
        Self { place: place.into(), table }
    }

    /// Calls the table by another name from now on.
    pub(super) fn rename(&mut self, place: impl Into<String>) {
        self.place = place.into();
    }

    /// The fault of a key.
    pub(super) fn fault(&self, key: &str, rule: impl Into<String>) -> KeyFault {
        KeyFault { key: format!("{}.{key}", self.place), rule: rule.into() }
    }

    /// Whether what is left of the table has this text in it.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.table.values().any(|value| mentions(value, text))
    }

    /// The value of a key, as it is.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    /// A text.
    ///
    /// # Errors
    /// [`KeyFault`] when it is something else.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, KeyFault> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(self.fault(key, "must be a text that is not empty")),
        }
    }

    /// A text that `read` understands; `rule` tells what it must be.
    ///
    /// # Errors
    /// [`KeyFault`] when it is something else.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        rule: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, KeyFault> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        let shown: String = text.chars().take(QUOTED).collect();
        read(&text).map(Some).ok_or_else(|| self.fault(key, format!("`{shown}` {rule}")))
    }

    /// true or false.
    ///
    /// # Errors
    /// [`KeyFault`] when it is something else.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, KeyFault> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.fault(key, "must be true or false")),
        }
    }

    /// A whole number from 1 to `max`.
    ///
    /// # Errors
    /// [`KeyFault`] when it is something else.
    pub(super) fn whole(&mut self, key: &str, max: u32) -> Result<Option<u32>, KeyFault> {
        let number = match self.take(key) {
            None => return Ok(None),
            Some(Value::Integer(number)) => u32::try_from(number).ok(),
            Some(_) => None,
        };
        let number = number.filter(|number| (1..=max).contains(number));
        number.map(Some).ok_or_else(|| self.fault(key, format!("must be a whole number from 1 to {max}")))
    }

    /// A time such as `30s`, at least `min`.
    ///
    /// # Errors
    /// [`KeyFault`] when it is something else.
    pub(super) fn duration(&mut self, key: &str, min: Duration) -> Result<Option<Duration>, KeyFault> {
        let rule = format!("must be a time of at least {min:?}, such as 500ms, 30s, 5m, 6h or 1d");
        self.parsed(key, &rule, |text| duration(text).filter(|time| *time >= min))
    }

    /// A size such as `4MiB`.
    ///
    /// # Errors
    /// [`KeyFault`] when it is something else.
    pub(super) fn size(&mut self, key: &str) -> Result<Option<usize>, KeyFault> {
        self.parsed(key, "must be a size such as 512KiB or 4MiB", size)
    }

    /// Names and what they stand for: a table of texts, or a list of texts that stand for themselves.
    ///
    /// # Errors
    /// [`KeyFault`] when it is something else.
    pub(super) fn pairs(&mut self, key: &str) -> Result<Vec<(String, String)>, KeyFault> {
        let (rule, value) = ("must be a table of texts (here = there) or a list of texts", self.take(key));
        let text = |value: Value| match value {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_)
            | Value::Table(_) => None,
        };
        let read = |value: Value| match value {
            Value::Table(table) => {
                table.into_iter().map(|(name, there)| text(there).map(|there| (name, there))).collect()
            }
            Value::Array(list) => {
                list.into_iter().map(|name| text(name).map(|name| (name.clone(), name))).collect()
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => None,
        };
        let read = |value: Value| read(value).ok_or_else(|| self.fault(key, rule));
        value.map_or(Ok(Vec::new()), read)
    }

    /// Refuses what nobody asked for.
    ///
    /// # Errors
    /// [`KeyFault`] that names the first such key.
    pub(super) fn finish(self) -> Result<(), KeyFault> {
        match self.table.keys().next() {
            Some(key) => Err(self.fault(key, "is not a key that is known here")),
            None => Ok(()),
        }
    }
}

fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own.contains(text),
        Value::Array(list) => list.iter().any(|value| mentions(value, text)),
        Value::Table(table) => table.values().any(|value| mentions(value, text)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => false,
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // Longer than a year is a mistake.
    number.checked_mul(millis).filter(|millis| *millis <= 366 * 86_400_000).map(Duration::from_millis)
}

fn size(text: &str) -> Option<usize> {
    let (number, unit) = split_unit(text)?;
    let bytes: u64 = match unit {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    usize::try_from(number.checked_mul(bytes)?).ok().filter(|size| (1..=1 << 30).contains(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Keys {
        Keys::new("feeds.x", text.parse().unwrap())
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key_and_rule() {
        let said = |text: &str| {
            let mut keys = keys(text);
            let outcome = keys
                .duration("every", Duration::from_secs(1))
                .map(drop)
                .and_then(|()| keys.whole("burst", 9).map(drop))
                .and_then(|()| keys.size("body_max").map(drop))
                .and_then(|()| keys.pairs("symbols").map(drop))
                .and_then(|()| keys.finish());
            outcome.unwrap_err().to_string()
        };
        for (text, wanted) in [
            ("every = \"soon\"", "feeds.x.every: `soon` must be a time"),
            ("every = \"10ms\"", "at least 1s"),
            ("every = 5", "feeds.x.every: must be a text"),
            ("every = \"99999999999999999999s\"", "feeds.x.every"),
            ("burst = 10", "feeds.x.burst: must be a whole number from 1 to 9"),
            ("burst = -1", "feeds.x.burst"),
            ("body_max = \"4GB\"", "feeds.x.body_max: `4GB` must be a size"),
            ("symbols = 1", "feeds.x.symbols"),
            ("symbols = { A = 1 }", "feeds.x.symbols"),
            ("evry = \"5s\"", "feeds.x.evry: is not a key that is known here"),
        ] {
            assert!(said(text).contains(wanted), "{text}: {}", said(text));
        }
    }

    #[test]
    fn times_sizes_and_pairs_are_read() {
        let mut read =
            keys("a = \"500ms\"\nb = \"6h\"\nc = \"4MiB\"\nd = [\"USD\"]\ne = { \"BTC-USD\" = \"BTCUSDT\" }");
        assert_eq!(read.duration("a", Duration::ZERO).unwrap(), Some(Duration::from_millis(500)));
        assert_eq!(read.duration("b", Duration::ZERO).unwrap(), Some(Duration::from_hours(6)));
        assert_eq!(read.size("c").unwrap(), Some(4 << 20));
        assert_eq!(read.pairs("d").unwrap(), [("USD".to_owned(), "USD".to_owned())]);
        assert_eq!(read.pairs("e").unwrap(), [("BTC-USD".to_owned(), "BTCUSDT".to_owned())]);
        assert!(read.finish().is_ok());
    }

    #[test]
    fn every_unit_is_what_it_says_and_empty_texts_are_none() {
        let seconds = |text: &str| duration(text).map(|time| time.as_secs());
        let read = ["2000ms", "45s", "5m", "2h", "3d", "366d", "367d", "5", "s", "5w"].map(seconds);
        let wanted = [
            Some(2),
            Some(45),
            Some(300),
            Some(7_200),
            Some(259_200),
            Some(31_622_400),
            None,
            None,
            None,
            None,
        ];
        assert_eq!(read, wanted);
        let sizes = ["1KiB", "512KiB", "1MiB", "1024MiB", "1025MiB", "0KiB", "1KB", "1"].map(size);
        let wanted =
            [Some(1_024), Some(524_288), Some(1_048_576), Some(1_073_741_824), None, None, None, None];
        assert_eq!(sizes, wanted);
        for empty in ["a = \"\"", "a = [\"\"]", "a = { b = \"\" }"] {
            let said = [keys(empty).text("a").is_err(), keys(empty).pairs("a").is_err()];
            assert_eq!(said, [true, true], "{empty}");
        }
        assert_eq!(keys("a = \"x\"").text("a").unwrap().as_deref(), Some("x"));
    }

    #[test]
    fn a_text_is_found_wherever_it_stands() {
        for holds in ["a = \"x{here}\"", "a = [1, \"{here}\"]", "a = { b = [{ c = \"{here}y\" }] }"] {
            assert!(keys(holds).mentions("{here}"), "{holds}");
        }
        for not in ["", "a = \"here\"", "a = [1, 2.5, true, 2026-01-01]", "\"{here}\" = 1"] {
            assert!(!keys(not).mentions("{here}"), "{not}");
        }
    }
}
