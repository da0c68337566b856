//! Rust text, read just well enough for the rules: what is code, what is a string, what is a comment, and
//! which paths the code names. A newcomer's mistake is to search the raw text: `// never sqlx` is not a use.

use std::collections::BTreeSet;

/// One file of the repository.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// From the root of the repository, with `/`.
    pub(super) path: String,
    /// What it says.
    pub(super) text: String,
}

/// A word or a sign, and the line it stands on (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: usize,
}

/// `a::b::c`, from a `use` tree (one path for each leaf) or inline.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// Follows `use` or `extern crate`: then one segment alone is a crate or a module as well.
    pub(super) imported: bool,
}

impl Path {
    /// Starts with these segments, written `a::b`.
    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        let named = self.segments.len() > 1 || self.imported;
        named
            && prefix.split("::").enumerate().all(|(i, part)| self.segments.get(i).is_some_and(|s| s == part))
    }

    /// Has these two segments side by side.
    pub(super) fn pairs(&self, left: &str, right: &str) -> bool {
        self.segments.windows(2).any(|pair| matches!(pair, [a, b] if a == left && b == right))
    }
}

impl File {
    /// Its code, without comments and strings.
    pub(super) fn code(&self) -> Vec<Token> {
        tokens(&separate(&self.text).0)
    }

    /// The words and signs inside its strings.
    pub(super) fn strings(&self) -> Vec<Token> {
        tokens(&separate(&self.text).1)
    }

    /// Its code without what only tests compile.
    pub(super) fn shipped(&self) -> Vec<Token> {
        let test_file = self.path.ends_with("/tests.rs") || self.path.contains("/tests/");
        if test_file { Vec::new() } else { without_tests(&self.code()) }
    }

    /// `src/domain/pnl/lots.rs` is the module `domain::pnl::lots`; the roots `main` and `lib` have no name.
    pub(super) fn module(&self) -> Vec<&str> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        if matches!(inner, "main" | "lib") { Vec::new() } else { inner.split('/').collect() }
    }

    /// The top-level module it belongs to; `main` and `lib` are their own.
    pub(super) fn layer(&self) -> &str {
        self.path.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default()
    }

    /// The name of the file without folders and ending.
    pub(super) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Text,
}

/// Code and strings apart, each on the lines where it stood.
fn separate(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut strings) = (String::new(), String::new());
    let mut rest = chars.as_slice();
    while !rest.is_empty() {
        let (part, length) = next_part(rest);
        let (these, tail) = rest.split_at(length.min(rest.len()));
        for &c in these {
            let keep = |wanted| if part == wanted || c == '\n' { c } else { ' ' };
            code.push(keep(Part::Code));
            strings.push(keep(Part::Text));
        }
        rest = tail;
    }
    (code, strings)
}

/// What begins here, and how many characters it has.
fn next_part(rest: &[char]) -> (Part, usize) {
    match rest {
        ['/', '/', ..] => (Part::Comment, rest.iter().take_while(|&&c| c != '\n').count()),
        ['/', '*', ..] => (Part::Comment, block_comment(rest)),
        ['r', tail @ ..] => raw_string(tail).map_or((Part::Code, 1), |length| (Part::Text, 1 + length)),
        ['"', tail @ ..] => (Part::Text, 1 + until_quote(tail, '"')),
        ['\'', '\\', _, tail @ ..] => (Part::Text, 3 + until_quote(tail, '\'')),
        ['\'', _, '\'', ..] => (Part::Text, 3),
        _ => (Part::Code, 1),
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut length) = (0_usize, 0);
    let mut rest = rest;
    loop {
        let step = match rest {
            ['/', '*', ..] => {
                depth += 1;
                2
            }
            ['*', '/', ..] => {
                depth = depth.saturating_sub(1);
                2
            }
            [] => return length,
            _ => 1,
        };
        length += step;
        rest = rest.split_at(step).1;
        if depth == 0 {
            return length;
        }
    }
}

/// The length of what follows the `r`, if that is a raw string.
fn raw_string(tail: &[char]) -> Option<usize> {
    let hashes = tail.iter().take_while(|&&c| c == '#').count();
    if tail.get(hashes) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    let body = tail.split_at(hashes + 1).1;
    let inside = body.windows(end.len()).position(|w| w == end).unwrap_or(body.len());
    Some(hashes + 1 + inside + end.len())
}

/// Up to and with the closing quote.
fn until_quote(tail: &[char], quote: char) -> usize {
    let mut escaped = false;
    for (i, &c) in tail.iter().enumerate() {
        if c == quote && !escaped {
            return i + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    tail.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut last = ' ';
        for c in line.chars() {
            let joins = (is_word(c) && is_word(last)) || (c == ':' && last == ':');
            match found.last_mut() {
                Some(token) if joins => token.text.push(c),
                _ if c.is_whitespace() => {}
                _ => found.push(Token { text: c.to_string(), line: number + 1 }),
            }
            last = c;
        }
    }
    found
}

/// Leaves out every item under `#[cfg(test)]`.
fn without_tests(code: &[Token]) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut rest = code;
    while let [first, tail @ ..] = rest {
        let marked = rest.len() >= MARK.len() && MARK.iter().zip(rest).all(|(mark, t)| t.text == *mark);
        if marked {
            let item = rest.split_at(MARK.len()).1;
            rest = item.split_at(item_length(item)).1;
        } else {
            kept.push(first.clone());
            rest = tail;
        }
    }
    kept
}

/// An item ends with its `;` or with the brace that closes its body.
fn item_length(item: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (i, token) in item.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(token.text.as_str(), ";" | "}") {
            return i + 1;
        }
    }
    item.len()
}

/// Every path the code names, `use` trees taken apart.
pub(super) fn paths(code: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let text = |i: usize| code.get(i).map_or("", |t| t.text.as_str());
    let mut i = 0;
    while i < code.len() {
        let left = if i > 1 && text(i - 1) == "::" { text(i - 2) } else { "" };
        let continues = left == ">" || (left.starts_with(is_word) && left != "use");
        if !text(i).starts_with(is_word) || text(i) == "use" || continues {
            i += 1;
            continue;
        }
        let mut before = i.wrapping_sub(1);
        if text(before) == "::" {
            before = before.wrapping_sub(1);
        }
        let imported =
            text(before) == "use" || (text(before) == "crate" && text(i.wrapping_sub(2)) == "extern");
        i = expand(code, i, &[], imported, &mut found);
    }
    found
}

/// Reads one path from `i` on, all its branches too, and says where it ends.
fn expand(code: &[Token], mut i: usize, prefix: &[String], imported: bool, found: &mut Vec<Path>) -> usize {
    let text = |i: usize| code.get(i).map_or("", |t| t.text.as_str());
    let line = code.get(i).map_or(0, |t| t.line);
    let mut segments = prefix.to_vec();
    loop {
        segments.push(text(i).to_owned());
        i += 1;
        match (text(i), text(i + 1)) {
            ("::", "{") => break,
            ("::", next) if next == "*" || next.starts_with(is_word) => i += 1,
            _ => {
                found.push(Path { segments, line, imported });
                return i;
            }
        }
    }
    i += 2;
    while i < code.len() && text(i) != "}" {
        match text(i) {
            "as" => i += 2,
            word if word == "*" || word.starts_with(is_word) => {
                i = expand(code, i, &segments, imported, found);
            }
            _ => i += 1,
        }
    }
    i + 1
}

/// The distinct words of the code.
pub(super) fn words(code: &[Token]) -> BTreeSet<&str> {
    code.iter().map(|t| t.text.as_str()).collect()
}
