//! The image: it is not built here, so what must hold of it is read from its text.

use super::{file, text};

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
