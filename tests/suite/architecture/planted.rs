//! A violation planted for each rule, and beside it what the rule must leave alone.

use super::source::{File, paths};
use super::{
    ambient_reads, arrows, careless_sql, floats, ignored_for_another_reason, lopsided_migrations,
    machine_paths, shapes_of_one_name, untested_queries, untold_writes, unwieldy, wrapping_profiles,
};
use std::collections::BTreeSet;

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

/// The complaints say `line` and contain `words`, and there is exactly one.
#[track_caller]
fn assert_one(found: &[String], line: usize, words: &str) {
    let hit = found
        .iter()
        .filter(|complaint| complaint.contains(&format!(":{line}: ")) && complaint.contains(words));
    assert!(hit.count() == 1 && found.len() == 1, "wanted line {line} and {words:?} once in {found:#?}");
}

fn arrows_of(file: File) -> Vec<String> {
    arrows(&[file])
}

fn named(path: &str, text: &str) -> Vec<String> {
    paths(&file(path, text).code()).iter().map(|path| path.segments.join("::")).collect()
}

#[test]
fn a_use_tree_is_taken_apart_and_inline_paths_are_seen() {
    let text = "use a::{b::{c, d as e}, f::*, self};\nfn g(x: &'a h::I) -> Vec<j::K> { <T as l::M>::n() }";
    let found = named("src/x.rs", text);
    for path in ["a::b::c", "a::b::d", "a::f::*", "a::self", "h::I", "j::K", "l::M"] {
        assert!(found.iter().any(|f| f == path), "{path} is missing in {found:?}");
    }
    assert!(
        !found.iter().any(|f| f == "c" || f == "f::*"),
        "a branch of a tree is no path of its own: {found:?}"
    );
    assert_eq!(named("src/x.rs", "use ::a::b;"), ["a::b"]);
}

#[test]
fn comments_strings_and_characters_are_not_code() {
    let text = r##"// sqlx::a
/* sqlx::b /* nested */ sqlx::c */
const A: &str = "sqlx::d \" sqlx::e";
const B: &str = r#"sqlx::f " sqlx::g"#;
const C: (char, char, char) = ('"', '\'', '\\');
fn after<'a>(_: &'a str) { sqlx::query() }"##;
    assert_one(&arrows_of(file("src/http/prices.rs", text)), 6, "http may not use `sqlx`");
}

#[test]
fn an_arrow_to_the_right_is_found_however_it_is_written() {
    for (line, text) in [
        (1, "use crate::storage::prices;"),
        (2, "\nuse crate::{domain::price, storage};"),
        (2, "\nfn f() { crate::storage::prices::latest() }"),
        (1, "use super::super::storage::prices;"),
        (1, "use artifact::storage;"),
        (2, "\n#[cfg(test)] mod tests { use crate::storage::prices; }"),
    ] {
        assert_one(
            &arrows_of(file("src/domain/price.rs", text)),
            line,
            "domain may not use `crate::storage`",
        );
    }
    let exported = file("src/storage/database.rs", "#[macro_export]\nmacro_rules! on { () => {} }");
    let using = file("src/domain/price.rs", "use crate::on;");
    assert_one(&arrows(&[exported, using]), 1, "domain may not use `crate::storage`");
    assert_one(&arrows_of(file("src/domain.rs", "use super::clock::Clock;")), 1, "`crate::clock`");
    assert_one(&arrows_of(file("src/domain/price.rs", "use crate::*;")), 1, "`crate::*`");
    assert_one(&arrows_of(file("src/storage/prices.rs", "use crate::http::page;")), 1, "`crate::http`");
    assert_one(&arrows_of(file("src/workers/backup.rs", "use crate::http;")), 1, "`crate::http`");
    assert_one(&arrows_of(file("src/http/prices.rs", "use crate::app::App;")), 1, "`crate::app`");
}

#[test]
fn a_crate_outside_its_layer_is_found() {
    for (path, text, words) in [
        ("src/domain/price.rs", "use tokio::sync::Mutex;", "`tokio`"),
        ("src/domain/price.rs", "#[derive(utoipa::ToSchema)] struct A;", "`utoipa`"),
        ("src/domain/price.rs", "use std::{fmt, fs};", "`std::fs`"),
        ("src/domain/price.rs", "use std::{fmt, env::var};", "`std::env`"),
        ("src/storage/prices.rs", "use axum::Json;", "`axum`"),
        ("src/workers/backup.rs", "fn f() { sqlx::query(\"\") }", "`sqlx`"),
        ("src/http/prices.rs", "use sqlx as db;", "`sqlx`"),
        ("src/cli.rs", "use sqlx::Row;", "`sqlx`"),
        ("src/app.rs", "use ::sqlx::Row;", "`sqlx`"),
        ("src/main.rs", "extern crate sqlx;", "`sqlx`"),
        ("src/config.rs", "use sqlx::Row;", "`sqlx`"),
    ] {
        assert_one(&arrows_of(file(path, text)), 1, words);
    }
}

#[test]
fn arrows_to_the_left_are_allowed() {
    for (path, text) in [
        ("src/domain/pnl/lots.rs", "use crate::domain::price; use super::super::decimal; use std::fmt;"),
        ("src/domain.rs", "pub mod decimal; #[cfg(test)] mod tests { use super::*; }"),
        ("src/domain/pnl/tests.rs", "fn golden() { std::fs::read(\"\") }"),
        ("src/storage/prices.rs", "use crate::{clock::Clock, domain::price}; use sqlx::Row; use tokio::fs;"),
        (
            "src/http/prices.rs",
            "use crate::{storage::prices, workers::ingest}; pub(crate) fn tower() { sqlx() }",
        ),
        ("src/app.rs", "use crate::{http, storage}; use axum::Router;"),
        ("src/main.rs", "use artifact::cli;"),
    ] {
        assert_eq!(arrows_of(file(path, text)), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_module_of_no_layer_is_found() {
    assert_one(&arrows_of(file("src/engine/core.rs", "")), 1, "`engine` is no layer");
}

#[test]
fn a_clock_read_outside_the_clock_is_found() {
    let text = "use chrono::Utc;\nfn f() { Utc::now() }\n#[cfg(test)]\nmod tests { fn g() { Utc::now() } }\n";
    assert_one(&ambient_reads(&file("src/http/prices.rs", text)), 2, "`Utc::now` belongs in src/clock.rs");
    for call in ["std::time::SystemTime::now()", "tokio::time::Instant::now()", "chrono::Local::now()"] {
        let text = format!("#[cfg(test)] use a::{{B, C}};\nfn f() {{ {call} }}");
        assert_one(&ambient_reads(&file("src/storage/writer.rs", &text)), 2, "src/clock.rs");
        assert_eq!(ambient_reads(&file("src/clock.rs", &text)), Vec::<String>::new());
    }
}

#[test]
fn the_environment_read_outside_the_configuration_is_found() {
    for text in ["use std::env::{args, var};", "fn f() { std::env::var_os(\"A\") }", "fn f() { env::vars() }"]
    {
        assert_one(&ambient_reads(&file("src/cli.rs", text)), 1, "belongs in src/config.rs");
        assert_eq!(ambient_reads(&file("src/config.rs", text)), Vec::<String>::new());
    }
    assert_eq!(ambient_reads(&file("src/cli.rs", "fn f() { std::env::args() }")), Vec::<String>::new());
}

#[test]
fn a_float_in_domain_or_storage_is_found() {
    for text in ["fn f(price: f64) {}", "const A: u8 = 1.5f32 as u8;", "fn f() { price.to_f64() }"] {
        assert_one(&floats(&[file("src/domain/price.rs", text)]), 1, "for money");
        assert_one(&floats(&[file("src/storage/prices.rs", text)]), 1, "for money");
        assert_eq!(floats(&[file("src/http/prices.rs", text)]), Vec::<String>::new());
    }
    assert_eq!(floats(&[file("src/domain/price.rs", "// no f64\nfn of64() {}")]), Vec::<String>::new());
}

#[test]
fn one_module_of_the_domain_alone_may_compute_statistics_in_floats() {
    let text = "//! Ratios without a unit, computed in binary floating\n//! point.\nfn root(x: f64) {}";
    let statistics = file("src/domain/statistics.rs", &text.replace("floating\n//! point", "floating point"));
    let another = file("src/domain/another.rs", &statistics.text);
    assert_eq!(floats(std::slice::from_ref(&statistics)), Vec::<String>::new());
    assert_one(&floats(&[statistics.clone(), another]), 2, "src/domain/another.rs");
    let below = file("src/domain/statistics/roots.rs", &statistics.text);
    let silent = file("src/domain/statistics/silent.rs", "fn root(x: f64) {}");
    let beside = file("src/domain/statistics_too.rs", &statistics.text);
    assert_eq!(floats(&[statistics.clone(), below.clone()]), Vec::<String>::new());
    assert_one(&floats(&[statistics.clone(), below, silent]), 1, "src/domain/statistics/silent.rs");
    assert_one(&floats(&[statistics.clone(), beside]), 2, "src/domain/statistics_too.rs");
    assert_one(&floats(&[file("src/storage/prices.rs", &statistics.text)]), 2, "for money");
}

#[test]
fn careless_sql_is_found() {
    let careless = |text: &str| careless_sql(&file("src/storage/prices.rs", text));
    assert_one(&careless("const SQL: &str = \"\n    select\n    * FROM prices\";"), 2, "name the columns");
    assert_one(&careless("const SQL: &str = r#\"SELECT p.* FROM prices p\"#;"), 1, "name the columns");
    assert_one(&careless("const SQL: &str = \"DELETE FROM a RETURNING *\";"), 1, "name the columns");
    assert_one(&careless("const SQL: &str = \"SELECT a,\n sum (b) FROM c\";"), 2, "let the domain add");
    let fine =
        "// SELECT * and SUM(a)\nconst SQL: &str = \"SELECT COUNT(*), a * b FROM c\"; fn f() { sum(*a) }";
    assert_eq!(careless(fine), Vec::<String>::new());
}

#[test]
fn a_write_that_nobody_is_told_of_is_found() {
    let text = "fn f() {\n    db.writer()\n        .housekeep(work) }";
    assert_one(&untold_writes(&file("src/http/markets.rs", text)), 3, "HOUSEKEEPERS");
    assert_eq!(untold_writes(&file("src/workers/sealing.rs", text)), Vec::<String>::new());
    assert_eq!(
        untold_writes(&file("src/http/markets.rs", "fn f() { db.writer().write(by, work) }")),
        Vec::<String>::new()
    );
}

#[test]
fn a_long_file_and_an_empty_name_are_found() {
    assert_one(&unwieldy(&file("tests/suite/support.rs", &"\n".repeat(601))), 601, "longer than 600");
    assert_eq!(unwieldy(&file("src/storage/prices.rs", &"\n".repeat(600))), Vec::<String>::new());
    for path in ["src/http/mod.rs", "src/utils.rs", "tests/suite/helpers.rs", "src/domain/price_service.rs"] {
        assert_one(&unwieldy(&file(path, "")), 1, "does not say what is in the file");
    }
}

#[test]
fn two_shapes_of_one_name_are_found() {
    let shape = |path, name: &str| {
        let text = format!(
            "#[derive(Debug, ToSchema)]\n#[schema(example = 1)]\n/// A struct.\npub struct {name} {{}}\n"
        );
        file(path, &text)
    };
    let apart = [shape("src/http/a.rs", "KeyView"), shape("src/http/b.rs", "KeyUseView")];
    assert_eq!(shapes_of_one_name(&apart), [""; 0]);
    let plain = file("src/http/c.rs", "#[derive(Debug)]\nstruct KeyView;\n");
    assert_eq!(shapes_of_one_name(&[shape("src/http/a.rs", "KeyView"), plain]), [""; 0]);
    let found = shapes_of_one_name(&[shape("src/http/a.rs", "KeyView"), shape("src/http/b.rs", "KeyView")]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_test_ignored_for_another_reason_is_found() {
    let ignored = |text: &str| ignored_for_another_reason(&file("tests/suite/cases.rs", text));
    assert_one(&ignored("#[test]\n#[ignore]\nfn a() {}"), 2, "only tests that need ../shared");
    assert_one(&ignored("#[test]\n#[ignore = \"slow\"]\nfn a() {}"), 2, "only tests that need ../shared");
    assert_eq!(ignored("#[test]\n#[ignore = \"needs ../shared\"]\nfn a() {}"), Vec::<String>::new());
}

#[test]
fn a_query_without_a_test_is_found() {
    let query = "pub async fn latest(tx: &mut Tx) {}\npub(crate) async fn inner() {}\nasync fn own() {}";
    let prices = || vec![file("src/storage/prices.rs", query)];
    let untested = |path: &str, text: &str| untested_queries(&prices(), &[file(path, text)]);

    assert_one(&untested("tests/suite/storage/markets.rs", "// prices::latest"), 1, "calls `latest`");
    assert_one(&untested("tests/suite/storage/markets.rs", "fn f() { fx::latest() }"), 1, "calls `latest`");
    for (path, text) in [
        ("tests/suite/storage/markets.rs", "fn f() { storage::prices::latest() }"),
        ("tests/suite/storage/markets.rs", "use artifact::storage::prices::{latest, upsert};"),
        ("tests/suite/storage/prices.rs", "fn f() { latest() }"),
        ("tests/suite/storage/prices/newest.rs", "fn f() { db.latest() }"),
    ] {
        assert_eq!(untested(path, text), Vec::<String>::new(), "{path}: {text}");
    }
    let machinery = [file("src/storage/database.rs", query)];
    assert_eq!(untested_queries(&machinery, &[]), Vec::<String>::new());
}

#[test]
fn a_migration_for_one_database_alone_is_found() {
    let names = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|&name| name.to_owned()).collect() };
    let (one, two) = (names(&["0001_a.sql"]), names(&["0001_a.sql", "0002_b.sql"]));
    assert_one(&lopsided_migrations(&two, &one), 1, "migrations/sqlite/0002_b.sql");
    assert_one(&lopsided_migrations(&one, &two), 1, "migrations/postgres/0002_b.sql");
    assert_one(&lopsided_migrations(&names(&[]), &names(&[])), 1, "holds no migration");
    assert_eq!(lopsided_migrations(&two, &two), Vec::<String>::new());
}

#[test]
fn a_release_whose_sums_wrap_around_is_found() {
    let good = "[profile.release]\nopt-level = 3\n[profile.release.package.artifact]\noverflow-checks = true # always\n";
    assert_eq!(wrapping_profiles(good), Vec::<String>::new());
    assert_eq!(wrapping_profiles("[profile.release]\noverflow-checks = true\n"), Vec::<String>::new());
    for bad in [
        "",
        "[profile.release]\n",
        "[profile.dev]\noverflow-checks = true\n",
        "[profile.release.package.sqlx]\noverflow-checks = true\n",
        "# [profile.release]\n# overflow-checks = true\n",
    ] {
        assert_one(&wrapping_profiles(bad), 1, "no profile of the release");
    }
    let off = format!("{good}[profile.bench]\noverflow-checks = false\n");
    assert_one(&wrapping_profiles(&off), 6, "[profile.bench] lets sums wrap around");
}

#[test]
fn a_folder_of_some_machine_is_found() {
    let (work, root) = (["/wo", "rk/"].concat(), ["/ro", "ot/"].concat());
    let named = |text: String| machine_paths(&file("docs/API.md", &text));
    assert_one(&named(format!("fine\nsee {work}main")), 2, "of some machine");
    assert_one(&named(format!("DIR={root}x")), 1, "of some machine");
    assert_one(&named(format!("file://{root}x")), 1, "of some machine");
    assert_eq!(named(format!("assets{root}x and ..{work}y")), Vec::<String>::new());
}
