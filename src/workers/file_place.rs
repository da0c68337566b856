//! Where the fault of a whole file lies, for those who tell it: a request names parameters, a command line its flags.

/// What is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// What was asked for: a parameter of the request.
    Parameter(&'static str),
    /// A line of the file, the first being 1.
    Line(u64),
    /// A column of the file.
    Column(String),
    /// The file as a whole.
    File,
}

/// A text that names parameters of a request, in the words of a command line: ``the parameter `bid_ask` `` is the flag
/// `--bid-ask`, ``the parameter `stamp=end` `` the flag `--stamp end`, and ``the parameter `dry_run=true` `` is `--dry-run`.
pub fn in_flags(text: &str) -> String {
    const NAMED: &str = "the parameter `";
    let mut parts = text.split(NAMED);
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (parameter, rest) = part.split_once('`').unwrap_or((part, ""));
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, "true"));
        told.push_str(&flag(name));
        if value != "true" {
            told.push(' ');
            told.push_str(value);
        }
        told.push_str(rest);
    }
    told
}

/// The flag that stands for a parameter.
pub fn flag(parameter: &str) -> String {
    format!("--{}", parameter.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_flags_and_everything_else_stays() {
        let told = |text: &str| in_flags(text);
        assert_eq!(told("no column among `a`, `tz`"), "no column among `a`, `tz`");
        assert_eq!(told("name it with the parameter `map=price=COLUMN`"), "name it with --map price=COLUMN");
        assert_eq!(
            told("the parameter `stamp=end` needs a length: add the parameter `interval`"),
            "--stamp end needs a length: add --interval"
        );
        assert_eq!(told("; the parameter `dry_run=true` reports every row"), "; --dry-run reports every row");
        assert_eq!(told("the parameter `bid_ask"), "--bid-ask");
    }
}
