//! The shape of the source, kept by tests: which layer may use which, how long a file may be, where the clock
//! and the environment are read, and what storage owes its tests. Std only, and nothing is compiled.
//!
//! Each rule is a function from text to complaints (`file:line: what is wrong`), so that [`planted`] can show
//! it a violation: a rule that cannot fail checks nothing.

mod planted;
mod source;

use source::{File, Path, Token, paths, words};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

/// Most lines of a file.
const FILE_LINES: usize = 600;

/// Names that say nothing about what is in a file.
const EMPTY_NAMES: [&str; 11] = [
    "mod", "util", "utils", "helper", "helpers", "common", "manager", "managers", "service", "services",
    "misc",
];

/// One layer of the crate, by its top-level module.
struct Layer {
    name: &'static str,
    /// Modules of this crate it may use; `None` is all of them.
    uses: Option<&'static [&'static str]>,
    /// Crates and parts of std it never touches.
    never: &'static [&'static str],
}

/// Adding a top-level module means adding a line here.
const LAYERS: [Layer; 13] = [
    Layer {
        name: "domain",
        uses: Some(&["domain"]),
        never: &[
            "sqlx",
            "axum",
            "tokio",
            "tokio_util",
            "tracing",
            "hyper",
            "hyper_util",
            "tower",
            "tower_http",
            "utoipa",
            "clap",
            "getrandom",
            "rand",
            "futures_util",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
        ],
    },
    Layer { name: "clock", uses: Some(&["clock", "domain"]), never: &["sqlx", "axum"] },
    Layer { name: "random", uses: Some(&["random", "domain"]), never: &["sqlx", "axum"] },
    Layer {
        name: "storage",
        uses: Some(&["storage", "domain", "clock", "random", "telemetry"]),
        never: &["axum", "hyper", "tower", "tower_http", "utoipa", "clap"],
    },
    Layer {
        name: "workers",
        uses: Some(&["workers", "domain", "storage", "clock", "random", "telemetry"]),
        never: &["sqlx", "axum", "utoipa", "clap"],
    },
    Layer {
        name: "http",
        uses: Some(&["http", "domain", "storage", "workers", "clock", "random", "telemetry"]),
        never: &["sqlx", "clap"],
    },
    Layer {
        name: "dashboard",
        uses: Some(&["dashboard", "domain", "storage", "http", "clock", "telemetry"]),
        never: &["sqlx", "clap"],
    },
    // Names of metrics and the log: everybody may use it, so it uses nobody.
    Layer { name: "telemetry", uses: Some(&["telemetry"]), never: &["sqlx", "axum"] },
    Layer { name: "config", uses: None, never: &["sqlx"] },
    Layer { name: "cli", uses: None, never: &["sqlx"] },
    Layer { name: "app", uses: None, never: &["sqlx"] },
    Layer { name: "main", uses: None, never: &["sqlx"] },
    Layer { name: "lib", uses: None, never: &["sqlx"] },
];

/// Files of storage that every storage test goes through, so that none need name their functions.
const MACHINERY: [&str; 6] = ["database", "migrate", "writer", "columns", "error", "opening"];

/// The arrows between layers, and the crates each layer keeps out.
fn arrows(files: &[File]) -> Vec<String> {
    // A macro marked `#[macro_export]` is named `crate::it`, and belongs to the layer that wrote it.
    let mut macros = BTreeMap::new();
    for file in files {
        macros.extend(exported_macros(&file.code()).map(|name| (name, file.layer())));
    }
    let mut found = Vec::new();
    for file in files {
        let top = file.layer();
        let Some(layer) = LAYERS.iter().find(|layer| layer.name == top) else {
            let list = "LAYERS in tests/suite/architecture.rs";
            found.push(format!("{}:1: `{top}` is no layer of {list}", file.path));
            continue;
        };
        for path in paths(&file.code()) {
            let Some(module) = module_of_the_crate(&path, &file.module()) else { continue };
            let module = macros.get(module).copied().unwrap_or(module);
            if layer.uses.is_some_and(|uses| !uses.contains(&module)) {
                found.push(format!("{}:{}: {top} may not use `crate::{module}`", file.path, path.line));
            }
        }
        for path in paths(&file.shipped()) {
            if let Some(never) = layer.never.iter().find(|never| path.starts_with(never)) {
                found.push(format!("{}:{}: {top} may not use `{never}`", file.path, path.line));
            }
        }
    }
    found
}

fn exported_macros(code: &[Token]) -> impl Iterator<Item = String> {
    code.windows(5).filter_map(|five| match five {
        [mark, close, rules, bang, name]
            if [mark, close, rules, bang].map(|t| t.text.as_str())
                == ["macro_export", "]", "macro_rules", "!"] =>
        {
            Some(name.text.clone())
        }
        _ => None,
    })
}

/// The top-level module a path leads to, if it leaves the module it stands in.
fn module_of_the_crate<'a>(path: &'a Path, standing_in: &[&str]) -> Option<&'a str> {
    let segment = |i: usize| path.segments.get(i).map(String::as_str);
    match segment(0)? {
        "crate" | "artifact" => segment(1),
        "super" => {
            let up = path.segments.iter().take_while(|s| *s == "super").count();
            // Inside `mod tests { .. }` one `super` is the file itself: count only what is surely a layer.
            segment(up)
                .filter(|name| up >= standing_in.len() && LAYERS.iter().any(|layer| layer.name == *name))
        }
        _ => None,
    }
}

/// The clock is asked in one place, the environment read in one place.
fn ambient_reads(file: &File) -> Vec<String> {
    const CLOCK: [(&str, &str); 4] =
        [("Utc", "now"), ("Local", "now"), ("SystemTime", "now"), ("Instant", "now")];
    const ENVIRONMENT: [(&str, &str); 4] =
        [("env", "var"), ("env", "var_os"), ("env", "vars"), ("env", "vars_os")];
    let mut found = Vec::new();
    for (calls, home) in [(CLOCK, "src/clock.rs"), (ENVIRONMENT, "src/config.rs")] {
        if file.path == home {
            continue;
        }
        for path in paths(&file.shipped()) {
            if let Some((left, right)) = calls.iter().find(|(left, right)| path.pairs(left, right)) {
                found.push(format!("{}:{}: `{left}::{right}` belongs in {home}", file.path, path.line));
            }
        }
    }
    found
}

/// Money is no binary float. One module of the domain may compute statistics in them, and each of its files
/// that does says so.
fn floats(files: &[File]) -> Vec<String> {
    let is_float = |t: &Token| {
        t.text
            .split('_')
            .any(|part| matches!(part.trim_start_matches(|c: char| c.is_ascii_digit()), "f32" | "f64"))
    };
    let admits = |file: &File| {
        let docs: Vec<&str> = file.text.lines().filter_map(|line| line.strip_prefix("//!")).collect();
        file.path.starts_with("src/domain/") && docs.join("").contains("computed in binary floating point")
    };
    let mut found = Vec::new();
    let mut home: Option<String> = None;
    for file in files.iter().filter(|f| f.path.starts_with("src/domain") || f.path.starts_with("src/storage"))
    {
        let floats: Vec<Token> = file.code().into_iter().filter(is_float).collect();
        if !floats.is_empty() && admits(file) {
            let module = home.get_or_insert_with(|| file.path.trim_end_matches(".rs").to_owned());
            if file.path.trim_end_matches(".rs") == module || file.path.starts_with(&format!("{module}/")) {
                continue;
            }
        }
        found.extend(floats.iter().map(|t| format!("{}:{}: `{}` for money", file.path, t.line, t.text)));
    }
    found
}

/// What SQL may not say: sums go through a float in SQLite, and `*` changes under a migration.
fn careless_sql(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let text = file.strings();
    for pair in text.windows(2) {
        let [left, right] = pair else { continue };
        let complaint = match (left.text.to_ascii_uppercase().as_str(), right.text.as_str()) {
            ("SELECT" | "DISTINCT" | "RETURNING" | ".", "*") => "name the columns instead of `*`",
            ("SUM" | "TOTAL" | "AVG", "(") => "select the rows and let the domain add them up",
            _ => continue,
        };
        found.push(format!("{}:{}: {complaint}", file.path, left.line));
    }
    found
}

/// Whoever writes without a name is on this list: none of them changes a fact. All others go through
/// `WriterHandle::write`, which asks who it is and holds them to telling what they did.
const HOUSEKEEPERS: [&str; 10] = [
    "src/storage/writer.rs",
    "src/workers/directory.rs",
    "src/workers/sealing.rs",
    // An empty commit, to see that one can be made.
    "src/workers/vitals.rs",
    "src/http/price_stream.rs",
    // How far a feed got with its venue, or with a file.
    "src/workers/feeds/session/storing.rs",
    "src/workers/feeds/folder.rs",
    // Tries that failed, and batches and posts that are over for long.
    "src/workers/ingest_queue.rs",
    "src/workers/outbox.rs",
    // That a one-time password was used; what it was used for is told.
    "src/http/login.rs",
];

/// Writes that the audit trail is not told of.
fn untold_writes(file: &File) -> Vec<String> {
    if HOUSEKEEPERS.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let code = file.shipped();
    let calls = code.windows(2).filter(|two| matches!(two, [a, b] if a.text == "." && b.text == "housekeep"));
    let calls = calls.filter_map(|two| two.last());
    let why = "`housekeep` is told to nobody; use `write`, or add the file to HOUSEKEEPERS with a reason";
    calls.map(|call| format!("{}:{}: {why}", file.path, call.line)).collect()
}

/// Sizes and names of files.
fn unwieldy(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES {
        found.push(format!("{}:{lines}: longer than {FILE_LINES} lines", file.path));
    }
    if file.stem().rsplit('_').next().is_some_and(|last| EMPTY_NAMES.contains(&last)) {
        found.push(format!("{}:1: `{}` does not say what is in the file", file.path, file.stem()));
    }
    found
}

/// `make test` runs ignored tests when the folder beside the project is there, so nothing else may hide there.
fn ignored_for_another_reason(file: &File) -> Vec<String> {
    let code = file.code();
    let ignored = code.windows(3).filter_map(|three| match three {
        [hash, bracket, word] if hash.text == "#" && bracket.text == "[" && word.text == "ignore" => {
            Some(word.line)
        }
        _ => None,
    });
    ignored
        .filter(|line| {
            !file.text.lines().nth(line - 1).is_some_and(|l| l.contains("ignore = \"needs ../shared\""))
        })
        .map(|line| format!("{}:{line}: only tests that need ../shared may be ignored", file.path))
        .collect()
}

/// Of two shapes of one name the API document keeps one, and says it of both.
fn shapes_of_one_name(files: &[File]) -> Vec<String> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut twice = Vec::new();
    for file in files {
        let derived = file.text.split("#[derive(").skip(1).filter_map(|rest| rest.split_once(")]"));
        for (_, rest) in derived.filter(|(traits, _)| traits.contains("ToSchema")) {
            let code = rest.lines().filter(|line| !line.trim_start().starts_with("//"));
            let mut words = code.flat_map(|line| line.split([' ', '<', '(', ';']));
            let kind = words.by_ref().find(|word| matches!(*word, "struct" | "enum"));
            let Some(name) = kind.and_then(|_| words.next()) else { continue };
            if let Some(other) = seen.insert(name, &file.path) {
                twice.push(format!("{}: {other} has a {name} for the API document, too", file.path));
            }
        }
    }
    twice
}

/// Every public query is called by a test under `tests/suite/storage`, whose harness runs it on both databases.
fn untested_queries(storage: &[File], tests: &[File]) -> Vec<String> {
    let tests: Vec<(&File, Vec<Token>)> = tests.iter().map(|file| (file, file.code())).collect();
    let tested: Vec<Path> = tests.iter().flat_map(|(_, code)| paths(code)).collect();
    let mut found = Vec::new();
    for file in storage.iter().filter(|file| !MACHINERY.contains(&file.stem())) {
        let families = file.module();
        // A test file of the same name may import what it calls; elsewhere `prices::latest` is written out.
        let own: BTreeSet<&str> = tests
            .iter()
            .filter(|(test, _)| {
                families.iter().any(|family| test.path.contains(&format!("/storage/{family}")))
            })
            .flat_map(|(_, code)| words(code))
            .collect();
        for function in public_queries(&file.shipped()) {
            let named = |family: &&str| tested.iter().any(|path| path.pairs(family, &function.text));
            if !own.contains(function.text.as_str()) && !families.iter().any(named) {
                found.push(format!(
                    "{}:{}: no test under tests/suite/storage calls `{}`",
                    file.path, function.line, function.text
                ));
            }
        }
    }
    found
}

/// The names after `pub async fn`.
fn public_queries(code: &[Token]) -> impl Iterator<Item = Token> {
    code.windows(4).filter_map(|four| match four {
        [a, b, c, name] if a.text == "pub" && b.text == "async" && c.text == "fn" => Some(name.clone()),
        _ => None,
    })
}

/// The same migrations, by name, for both databases.
fn lopsided_migrations(sqlite: &BTreeSet<String>, postgres: &BTreeSet<String>) -> Vec<String> {
    let mut found: Vec<String> = sqlite
        .symmetric_difference(postgres)
        .map(|name| {
            let (here, there) =
                if sqlite.contains(name) { ("sqlite", "postgres") } else { ("postgres", "sqlite") };
            format!("migrations/{here}/{name}:1: has no counterpart in migrations/{there}")
        })
        .collect();
    if sqlite.is_empty() {
        found.push("migrations/sqlite:1: holds no migration".to_owned());
    }
    found
}

/// Folders of the machine somebody worked on.
fn machine_paths(file: &File) -> Vec<String> {
    // Put together here, or this file would be the first to break the rule.
    let folders = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for folder in &folders {
            let absolute = line.match_indices(folder.as_str()).any(|(at, _)| {
                // In the middle of a longer path (`assets/root/x`) it names nothing of the machine.
                let before = line.split_at(at).0.chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}'))
            });
            if absolute {
                found.push(format!("{}:{}: names `{folder}` of some machine", file.path, number + 1));
            }
        }
    }
    found
}

/// Every text file under `folder`, in order of path. What git ignores is left out.
fn files(folder: &str) -> io::Result<Vec<File>> {
    let ignored = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.gitignore"))?;
    let is_ignored = |path: &str| {
        path == ".git"
            || ignored.lines().any(|line| match (line.strip_prefix('/'), line.strip_prefix('*')) {
                (Some(exact), _) => path == exact.trim_end_matches('/'),
                (_, Some(ending)) => path.ends_with(ending),
                _ => false,
            })
    };
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            if is_ignored(&path) {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                match fs::read_to_string(entry.path()) {
                    Ok(text) => found.push(File { path, text }),
                    // A picture, or gone since the folder was listed.
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The Rust files under the folders; never none, or every rule would hold of nothing.
fn rust(folders: &[&str]) -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    for folder in folders {
        found.extend(files(folder)?);
    }
    found.retain(|file| file.path.rsplit('.').next() == Some("rs"));
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no Rust file under {folders:?}")));
    }
    Ok(found)
}

fn storage() -> io::Result<Vec<File>> {
    let mut found = rust(&["src/storage"])?;
    found.extend(rust(&["src"])?.into_iter().filter(|file| file.path == "src/storage.rs"));
    Ok(found)
}

#[track_caller]
fn assert_none(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_layer_uses_only_the_layers_to_its_left() -> io::Result<()> {
    assert_none(arrows(&rust(&["src"])?));
    Ok(())
}

/// Profiles in which whole numbers that do not fit become others without a word. The release takes part only where it says
/// so; other profiles check unless they say that they do not.
fn wrapping_profiles(manifest: &str) -> Vec<String> {
    const SAYS: [&str; 2] = ["profile.release", "profile.release.package.artifact"];
    let (mut section, mut checked, mut complaints) = (String::new(), false, Vec::new());
    for (number, line) in (1..).zip(manifest.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.replace('"', "");
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        if key.trim() != "overflow-checks" || !section.starts_with("profile.") {
            continue;
        }
        if value.trim() == "true" {
            checked |= SAYS.contains(&section.as_str());
        } else {
            complaints.push(format!("Cargo.toml:{number}: [{section}] lets sums wrap around"));
        }
    }
    if !checked {
        complaints.push("Cargo.toml:1: no profile of the release checks sums of this package".to_owned());
    }
    complaints
}

#[test]
fn the_clock_and_the_environment_are_read_in_one_place_each() -> io::Result<()> {
    assert_none(rust(&["src"])?.iter().flat_map(ambient_reads));
    Ok(())
}

#[test]
fn money_is_never_a_binary_float() -> io::Result<()> {
    assert_none(floats(&rust(&["src"])?));
    Ok(())
}

#[test]
fn sql_names_its_columns_and_adds_nothing_up() -> io::Result<()> {
    assert_none(storage()?.iter().flat_map(careless_sql));
    Ok(())
}

#[test]
fn every_write_that_changes_a_fact_names_its_actor() -> io::Result<()> {
    assert_none(rust(&["src"])?.iter().flat_map(untold_writes));
    Ok(())
}

#[test]
fn files_are_short_and_named_after_what_is_in_them() -> io::Result<()> {
    assert_none(rust(&["src", "tests", "benches"])?.iter().flat_map(unwieldy));
    Ok(())
}

#[test]
fn tests_are_ignored_only_for_want_of_the_shared_folder() -> io::Result<()> {
    assert_none(rust(&["src", "tests"])?.iter().flat_map(ignored_for_another_reason));
    Ok(())
}

#[test]
fn every_shape_of_the_api_has_a_name_of_its_own() -> io::Result<()> {
    assert_none(shapes_of_one_name(&rust(&["src"])?));
    Ok(())
}

#[test]
fn every_public_query_is_called_by_a_storage_test() -> io::Result<()> {
    assert_none(untested_queries(&storage()?, &rust(&["tests/suite/storage"])?));
    Ok(())
}

#[test]
fn both_databases_have_the_same_migrations() -> io::Result<()> {
    let names = |folder: &str| -> io::Result<BTreeSet<String>> {
        let paths = files(folder)?.into_iter().map(|file| file.path);
        Ok(paths.filter_map(|path| path.rsplit('/').next().map(str::to_owned)).collect())
    };
    assert_none(lopsided_migrations(&names("migrations/sqlite")?, &names("migrations/postgres")?));
    Ok(())
}

#[test]
fn a_sum_that_does_not_fit_ends_in_an_error_in_the_release_too() -> io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    assert_none(wrapping_profiles(&fs::read_to_string(path)?));
    Ok(())
}

#[test]
fn no_file_names_a_folder_of_somebodys_machine() -> io::Result<()> {
    assert_none(files("")?.iter().flat_map(machine_paths));
    Ok(())
}
