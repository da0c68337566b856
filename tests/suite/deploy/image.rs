//! The image: it is not built here, so what must hold of it is read from its text.

use super::{file, run, said, text};

/// The instructions of the Dockerfile with their arguments, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let joined = text("deploy/Dockerfile").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.split_once(' ').unwrap_or((line, "")))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}

#[test]
fn the_image_runs_without_rights_and_says_how_it_is() {
    const KNOWN: [&str; 12] = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "ARG",
        "USER",
        "ENV",
        "VOLUME",
        "EXPOSE",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
    ];
    let all = instructions();
    for (name, arguments) in &all {
        assert!(KNOWN.contains(&name.as_str()) || name == "CMD", "{name} is no instruction");
        assert!(!arguments.contains("ADD ") && !arguments.contains(":latest"), "{name} {arguments}");
    }
    let second = all.iter().rposition(|(name, _)| name == "FROM").unwrap();
    assert!(second > 0, "one stage would ship the compiler");
    let last = |wanted: &str| {
        all[second..].iter().rev().find(|(name, _)| name == wanted).map(|(_, arguments)| arguments.as_str())
    };
    let user = last("USER").expect("USER");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user} has rights");
    assert!(last("HEALTHCHECK").expect("HEALTHCHECK").contains("[\"artifact\", \"health\"]"));
    assert_eq!(last("ENTRYPOINT"), Some("[\"artifact\"]"));
    // The compiler of the image is the one the package asks for.
    let package: toml::Table = text("Cargo.toml").parse().unwrap();
    let version = package["package"]["rust-version"].as_str().unwrap();
    assert!(all[0].1.starts_with(&format!("rust:{version}")), "{}", all[0].1);
    // Only what is there is copied by name.
    for (name, arguments) in all[..second].iter().filter(|(name, _)| name == "COPY") {
        let mut parts: Vec<&str> = arguments.split_whitespace().collect();
        parts.pop();
        assert!(parts.iter().all(|part| file(part).exists()), "{name} {arguments}");
    }
}

#[test]
fn the_containers_can_do_little_and_are_reached_from_this_machine_only() {
    let compose = text("deploy/compose.yml");
    assert!(compose.contains("read_only: true"));
    assert_eq!(compose.matches("cap_drop: [ALL]").count(), 3);
    assert_eq!(compose.matches("no-new-privileges:true").count(), 3);
    for line in compose
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("- \"") && line.matches(':').count() >= 2)
    {
        assert!(line.starts_with("- \"127.0.0.1:"), "{line} is open to others");
    }
    for line in compose.lines().map(str::trim).filter(|line| line.starts_with("- ./")) {
        let path = line.trim_start_matches("- ./").split(':').next().unwrap();
        assert!(file(&format!("deploy/{path}")).exists(), "{path} is not there");
    }
}

#[test]
fn what_the_containers_run_is_there() {
    let binary = env!("CARGO_BIN_EXE_artifact");
    let quoted = |arguments: &str| -> Vec<String> {
        let list = &arguments[arguments.find('[').expect("a list")..];
        serde_json::from_str(list).unwrap()
    };
    let all = instructions();
    let find =
        |wanted: &str| all.iter().find(|(name, _)| name == wanted).map(|(_, arguments)| quoted(arguments));
    // With `--help` at its end a command says that it and its flags are known, and does nothing.
    let known = |words: &[String]| {
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        words.push("--help");
        assert!(run(binary, &words).status.success(), "{words:?}");
    };
    let health = find("HEALTHCHECK").unwrap();
    assert_eq!(health[0], "artifact");
    known(&health[1..]);
    known(&find("CMD").unwrap());
    let compose = text("deploy/compose.yml");
    let example =
        compose.lines().find_map(|line| line.split_once("run --rm artifact ")).expect("the first key").1;
    known(&example.split(' ').map(str::to_owned).collect::<Vec<_>>());
    assert!(!run(binary, &["health", "--bogus", "--help"]).status.success(), "a flag that is not known");
    // What the program needs of the second stage is in every image of Debian; a library more would have to be installed.
    let libraries = said("ldd", &[binary]);
    for line in libraries.lines().map(str::trim) {
        let name = line.split([' ', '(']).next().unwrap().rsplit('/').next().unwrap();
        let base = ["linux-vdso.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];
        let others = ["ld-linux-aarch64.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"];
        assert!(base.contains(&name) || others.contains(&name), "{line}");
    }
}

#[test]
fn nothing_the_build_reads_is_kept_from_it() {
    for kept in text(".dockerignore").lines() {
        assert!([".git", "target", ".bench", "artifact-data"].contains(&kept), "{kept}");
    }
}
