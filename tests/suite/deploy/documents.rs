//! Commands in the documents, as the user they speak to may run them: one with `sudo`, who is neither root nor the owner of
//! the data. The data directory is 0700, the journal root's.

use super::text;

/// Programs that show or change what is not an ordinary user's.
const PRIVILEGED: [&str; 5] = ["journalctl", "dmesg", "fuser", "pidstat", "apt-get"];
/// Words of systemctl that only look.
const LOOKING: [&str; 4] = ["status", "list-timers", "cat", "show"];
/// Where an installed machine has what is closed to others.
const CLOSED: [&str; 4] = [
    "/var/lib/artifact",
    "/var/backups/artifact",
    "/etc/artifact/credentials",
    "/etc/artifact/artifact.toml",
];

/// Every command of a page: in blocks, and in the text between backticks, which may go on in the next line.
fn commands(page: &str) -> Vec<String> {
    let (mut found, mut prose, mut block) = (Vec::new(), String::new(), None);
    for line in page.lines() {
        let trimmed = line.trim();
        match (trimmed.strip_prefix("```"), block) {
            (Some(kind), None) => block = Some(["sh", "console"].contains(&kind)),
            (Some(_), Some(_)) => block = None,
            (None, Some(true)) => found.push(trimmed.to_owned()),
            // A configuration is no command.
            (None, Some(false)) => {}
            (None, None) if line.starts_with("    artifact ") || line.starts_with("    sudo ") => {
                found.push(trimmed.to_owned());
            }
            (None, None) => {
                prose.push_str(trimmed);
                prose.push(' ');
            }
        }
    }
    found.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    let simple = |line: String| -> Vec<String> {
        let line = line.trim_start_matches("$ ").replace("&&", ";").replace('|', ";");
        let parts = line.split(';').map(|part| part.trim().to_owned());
        parts.filter(|part| part.contains(' ') || part == "dmesg").collect()
    };
    found.into_iter().flat_map(simple).collect()
}

/// What is wrong with a command, if something is.
fn fault(command: &str, in_runbook: bool) -> Option<&'static str> {
    let mut words =
        command.split_whitespace().skip_while(|word| ["do", "then", "until", "if", "!"].contains(word));
    let first = words.next()?;
    let names = |place: &str| command.contains(place);
    match first {
        "artifact" if in_runbook || CLOSED.iter().any(|place| names(place)) => {
            Some("the data is open to the user artifact alone: sudo -u artifact artifact")
        }
        "systemctl" if !words.next().is_some_and(|verb| LOOKING.contains(&verb)) => Some("it takes sudo"),
        _ if PRIVILEGED.contains(&first) => Some("it takes sudo"),
        "sudo" if command.contains("sudo artifact ") => {
            Some("root leaves files that the service cannot open")
        }
        "sudo" if command.starts_with("sudo -u artifact artifact") => {
            let whole = command.contains("--data /var/lib/artifact")
                && command.contains("--config /etc/artifact/artifact.toml");
            (!whole && command.len() > "sudo -u artifact artifact".len())
                .then_some("it names neither data nor configuration of an installed machine")
        }
        // Programs that read or write a place; in the text a place alone is named, too.
        "du" | "ls" | "cat" | "cp" | "mv" | "rm" | "tar" | "chmod" | "chown" | "install"
            if CLOSED.iter().any(|place| names(place)) =>
        {
            Some("the place is closed to others")
        }
        _ => None,
    }
}

#[test]
fn every_documented_command_is_one_that_its_reader_may_run() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for name in ["docs/OPERATIONS.md", "docs/RESTORE.md", "docs/AUDIT.md"] {
        let page = text(name);
        let (before, runbooks) = page.split_once("\n## Runbooks\n").unwrap_or((&page, ""));
        let (runbooks, after) = runbooks.split_once("\n## ").unwrap_or((runbooks, ""));
        for (part, in_runbook) in [(before, false), (runbooks, true), (after, false)] {
            for command in commands(part) {
                seen += usize::from(command.starts_with("sudo "));
                wrong.extend(fault(&command, in_runbook).map(|fault| format!("{name}: {command}: {fault}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 60, "only {seen} commands were found");
}

#[test]
fn a_command_that_would_fail_is_noticed() {
    for (command, in_runbook) in [
        ("artifact health --wait 60 --data /var/lib/artifact", false),
        ("artifact doctor --accept-clock", true),
        ("sudo artifact backup list --data /var/lib/artifact", false),
        ("sudo -u artifact artifact audit verify --data /var/lib/artifact", false),
        ("journalctl -u artifact -p err", true),
        ("do systemctl restart artifact", false),
        ("du -xh /var/lib/artifact", true),
    ] {
        assert!(fault(command, in_runbook).is_some(), "{command}");
    }
    let page = "a `b\nc` d\n```sh\nx 1 && y 2 || z 3\n```\n```toml\nk = 1\n```\nand `e f`";
    assert_eq!(commands(page), ["x 1", "y 2", "z 3", "b c", "e f"]);
}

#[test]
fn what_debian_does_not_bring_is_installed_where_it_is_used() {
    let page = text("docs/OPERATIONS.md");
    for (program, package) in [("fuser", "psmisc"), ("iostat", "sysstat"), ("pidstat", "sysstat")] {
        for paragraph in page.split("\n\n").filter(|paragraph| paragraph.contains(&format!("{program} -"))) {
            assert!(paragraph.contains(&format!("apt-get install {package}")), "{paragraph}");
        }
    }
}
