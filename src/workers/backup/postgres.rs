//! Backups of PostgreSQL, by its own programs: `pg_dump` in one snapshot, `pg_restore` and `psql` in one transaction.
//!
//! Passwords go into a file that only its owner reads and that is gone afterwards, never onto a command line or into an
//! environment: the programs get one of their own, without the secrets that this process may have in its. What is backed up and restored is the schema `public`.

use super::archive::private_file;
use super::drill::Proof;
use super::manifest::Manifest;
use super::target::aside;
use super::{BackupError, drill};
use crate::storage::database::Location;
use crate::storage::snapshot::{self, Snapshot};
use crate::workers::feeds::definition::Secret;
use reqwest::Url;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the password file in a scratch folder.
const PASSWORDS: &str = "passwords";
/// What of a URL's query the programs know.
const PARAMETERS: [&str; 8] =
    ["host", "port", "user", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey"];

/// What the programs are given of the environment.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// Variables without secrets: where programs and files are.
    pub variables: Vec<(&'static str, String)>,
    /// The password that the environment has for PostgreSQL; one in the URL comes first.
    pub password: Option<Secret>,
}

impl Programs {
    /// What may be among the variables.
    pub const KNOWN: [&'static str; 11] = [
        "PATH",
        "HOME",
        "TMPDIR",
        "PGHOST",
        "PGPORT",
        "PGUSER",
        "PGPASSFILE",
        "PGSSLMODE",
        "PGSSLROOTCERT",
        "PGSSLCERT",
        "PGSSLKEY",
    ];

    /// A program with that environment and no other.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(found(name));
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// How the programs reach a database.
#[derive(Debug)]
pub struct Reach {
    programs: Programs,
    /// The address, without a password.
    address: String,
    passwords: Option<PathBuf>,
    work: PathBuf,
}

fn unusable(why: impl Into<String>) -> BackupError {
    BackupError::Program { program: "PostgreSQL".to_owned(), said: why.into() }
}

/// The URL of another database of the same server.
///
/// # Errors
/// [`BackupError::Program`] for a URL that cannot be read.
pub fn beside(url: &str, database: &str) -> Result<String, BackupError> {
    let mut url = Url::parse(url).map_err(|error| unusable(format!("the database's URL: {error}")))?;
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != "dbname")
        .map(|(n, v)| (n.into_owned(), v.into_owned()))
        .collect();
    url.set_path(&format!("/{database}"));
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
    Ok(url.into())
}

impl Reach {
    /// Splits the password off a URL; it goes into a file in `work`.
    ///
    /// # Errors
    /// [`BackupError::Program`] for a URL that cannot be read, [`BackupError::File`].
    pub fn of(url: &str, programs: &Programs, work: &Path) -> Result<Self, BackupError> {
        let mut url = Url::parse(url).map_err(|error| unusable(format!("the database's URL: {error}")))?;
        let mut password = programs.password.as_ref().map(|password| password.expose().to_owned());
        password = url.password().map(decoded).or(password);
        let mut kept = Vec::new();
        for (name, value) in url.query_pairs() {
            let name = name.replace('-', "");
            if name == "password" {
                password = Some(value.into_owned());
            } else if PARAMETERS.contains(&name.as_str()) {
                kept.push((name, value.into_owned()));
            }
        }
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
        if url.password().is_some() && url.set_password(None).is_err() {
            return Err(unusable("the database's URL holds a password where none can be"));
        }
        let passwords = password.map(|password| write_password(work, &password)).transpose()?;
        Ok(Self { programs: programs.clone(), address: url.into(), passwords, work: work.to_owned() })
    }

    /// A program that knows where to connect to.
    fn program(&self, name: &'static str) -> Command {
        let mut command = self.programs.command(name);
        command.current_dir(&self.work).arg("--no-password").arg(format!("--dbname={}", self.address));
        if let Some(passwords) = &self.passwords {
            command.env("PGPASSFILE", passwords);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

fn write_password(work: &Path, password: &str) -> Result<PathBuf, BackupError> {
    let path = work.join(PASSWORDS);
    let escaped = password.replace('\\', "\\\\").replace(':', "\\:");
    let written = private_file(&path).and_then(|mut file| writeln!(file, "*:*:*:*:{escaped}"));
    written.map_err(|error| BackupError::File { path: path.clone(), error })?;
    Ok(path)
}

/// A part of a URL as it was meant.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let code = digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A program of PostgreSQL: the newest of those Debian keeps apart, which reads and writes every older server; else
/// whatever the path finds.
fn found(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let program = entry.path().join("bin").join(name);
            program.is_file().then_some((version, program))
        })
        .max();
    newest.map_or_else(|| PathBuf::from(name), |(_, program)| program)
}

/// Runs a program to its end; what it wrote to standard output.
fn run(command: &mut Command, program: &'static str) -> Result<Vec<u8>, BackupError> {
    let failed = |said: String| BackupError::Program { program: program.to_owned(), said };
    let output = command.output().map_err(|error| failed(format!("cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Dumps the database as a transaction that lent its snapshot sees it.
///
/// # Errors
/// [`BackupError::Program`] with what `pg_dump` said.
pub async fn dump(
    (url, programs): (&str, &Programs),
    snapshot: String,
    to: PathBuf,
) -> Result<(), BackupError> {
    let work = to.parent().unwrap_or(Path::new("/")).to_owned();
    let reach = Reach::of(url, programs, &work)?;
    aside(move || {
        let mut command = reach.program("pg_dump");
        command.args(["--format=custom", "--compress=0", "--schema=public", "--no-owner", "--no-privileges"]);
        command.arg(format!("--snapshot={snapshot}")).arg(format!("--file={}", to.display()));
        run(&mut command, "pg_dump").map(drop)
    })
    .await
}

/// Plays a dump back into the schema `public` of a database, in one transaction. With `former` a schema `public` that is
/// there is kept under that name; without it must be empty.
///
/// # Errors
/// [`BackupError::Program`] with what the programs said; then the database is as it was.
pub async fn play(
    (url, programs): (&str, &Programs),
    dump: PathBuf,
    former: Option<String>,
) -> Result<(), BackupError> {
    let work = dump.parent().unwrap_or(Path::new("/")).to_owned();
    let reach = Reach::of(url, programs, &work)?;
    aside(move || {
        let listed = run(reach.programs.command("pg_restore").arg("--list").arg(&dump), "pg_restore")?;
        let wanted: String = String::from_utf8_lossy(&listed)
            .lines()
            .filter(|line| !line.contains(" SCHEMA - ") && !line.contains(" - SCHEMA "))
            .fold(String::new(), |text, line| text + line + "\n");
        let list = work.join("list");
        std::fs::write(&list, wanted).map_err(|error| BackupError::File { path: list.clone(), error })?;
        let mut restore = reach.programs.command("pg_restore");
        restore.args(["--no-owner", "--no-privileges", "--file=-"]);
        restore.arg(format!("--use-list={}", list.display())).arg(&dump);
        let first =
            former.map(|name| format!("ALTER SCHEMA public RENAME TO {name};\nCREATE SCHEMA public;\n"));
        pipe(restore, &reach, first.unwrap_or_default().as_bytes())
    })
    .await
}

/// Feeds a beginning and what a program writes to `psql`, which keeps all of it or nothing.
fn pipe(mut from: Command, reach: &Reach, first: &[u8]) -> Result<(), BackupError> {
    let failed =
        |error: io::Error| BackupError::Program { program: "psql".to_owned(), said: error.to_string() };
    let mut psql = reach.program("psql");
    psql.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction", "--file=-"]);
    let mut psql = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().map_err(failed)?;
    let source = from.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut source = match source {
        Ok(source) => source,
        Err(error) => {
            // Without an end of its input it would wait for ever; nothing was sent that it could keep.
            psql.kill().map_err(failed)?;
            psql.wait().map_err(failed)?;
            return Err(BackupError::Program { program: "pg_restore".to_owned(), said: error.to_string() });
        }
    };
    let errors = source.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || {
            let mut said = Vec::new();
            io::Read::read_to_end(&mut stderr, &mut said).unwrap_or_default();
            said
        })
    });
    let fed = match (psql.stdin.take(), source.stdout.as_mut()) {
        (Some(mut input), Some(output)) => {
            input.write_all(first).and_then(|()| io::copy(output, &mut input).map(|_| input))
        }
        _ => Err(io::Error::other("no pipe")),
    };
    let complete = source.wait().map_err(failed)?.success();
    let errors = errors.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let input = match fed {
        Ok(input) if complete => input,
        outcome => {
            // psql ends its transaction at the end of its input, so it must not see one.
            psql.kill().map_err(failed)?;
            let said = psql.wait_with_output().map_err(failed)?;
            drop(outcome);
            let said = [errors, said.stderr].concat();
            let said = String::from_utf8_lossy(&said).trim().to_owned();
            return Err(BackupError::Program { program: "pg_restore".to_owned(), said });
        }
    };
    drop(input);
    let output = psql.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(BackupError::Program { program: "psql".to_owned(), said })
}

/// Goes through a dump in a database of its own, which is gone afterwards.
///
/// # Errors
/// As [`play`], and the database's. What is wrong with the data is no error but a fault.
pub async fn drill(
    (location, programs): (&Location, &Programs),
    dump: PathBuf,
    manifest: &Manifest,
    proof: &Proof,
) -> Result<drill::Drilled, BackupError> {
    drill::refuse_newer(manifest)?;
    let Location::Postgres { url, .. } = location else {
        let (backup, data) = (manifest.engine, super::Engine::Sqlite);
        return Err(BackupError::OtherEngine { backup, data });
    };
    if !snapshot::may_make_scratch(url).await? {
        return Err(BackupError::Untried(
            "it is restored into a database of its own, and the role of the database's URL may not make one: it lacks \
             CREATEDB (`ALTER ROLE .. CREATEDB`); or give the URL of a role that has it"
                .to_owned(),
        ));
    }
    let name = format!("artifact_drill_{}", manifest.id.simple());
    snapshot::make_scratch(url, &name).await?;
    let outcome = drill_in((&beside(url, &name)?, programs), dump, (manifest, proof)).await;
    snapshot::drop_scratch(url, &name).await?;
    outcome
}

async fn drill_in(
    (url, programs): (&str, &Programs),
    dump: PathBuf,
    (manifest, proof): (&Manifest, &Proof),
) -> Result<drill::Drilled, BackupError> {
    let contents = manifest.contents.as_ref().ok_or(BackupError::NoContents)?;
    play((url, programs), dump, None).await?;
    let copy = Snapshot::open_postgres(url).await?;
    let outcome = async {
        let faults = drill::counted(&copy, manifest, contents).await?;
        copy.migrate().await?;
        drill::compare(&copy, (manifest, contents), proof, faults).await
    }
    .await;
    copy.close().await;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_leaves_the_url_and_goes_into_a_private_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let work = std::env::temp_dir().join(format!("artifact-reach-{}", std::process::id()));
        std::fs::create_dir_all(&work).unwrap();
        for (url, address, line) in [
            ("postgres://u:p%3Aq@h:5/db", "postgres://u@h:5/db", Some("*:*:*:*:p\\:q\n")),
            (
                "postgres://u@h/db?password=s%5Cx&ssl-mode=require&statement-cache-capacity=3",
                "postgres://u@h/db?sslmode=require",
                Some("*:*:*:*:s\\\\x\n"),
            ),
            ("postgres://u@h/db", "postgres://u@h/db", None),
        ] {
            let programs = Programs { variables: vec![("PATH", "/usr/bin".to_owned())], password: None };
            let reach = Reach::of(url, &programs, &work).unwrap();
            assert_eq!(reach.address, address);
            assert_eq!(reach.passwords.is_some(), line.is_some(), "{url}");
            if let Some(path) = &reach.passwords {
                assert_eq!(std::fs::read_to_string(path).unwrap(), line.unwrap());
                assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
            }
            let shown = format!("{:?}", reach.program("pg_dump"));
            assert!(!shown.contains("p%3Aq") && !shown.contains("s%5Cx"), "{shown}");
            // It gets an environment of its own.
            assert!(shown.contains("env -i ") && shown.contains("PATH=\"/usr/bin\""), "{shown}");
        }
        // A password of the environment takes the same way, after one of the URL.
        let programs =
            Programs { variables: Vec::new(), password: Some(Secret::new("from-outside".to_owned())) };
        for (url, line) in
            [("postgres://u@h/db", "*:*:*:*:from-outside\n"), ("postgres://u:own@h/db", "*:*:*:*:own\n")]
        {
            let reach = Reach::of(url, &programs, &work).unwrap();
            assert_eq!(std::fs::read_to_string(reach.passwords.as_ref().unwrap()).unwrap(), line);
            let shown = format!("{reach:?} {:?}", reach.program("psql"));
            assert!(!shown.contains("from-outside"), "{shown}");
        }
        std::fs::remove_dir_all(work).unwrap();
    }

    #[test]
    fn another_database_of_the_server_keeps_everything_else() {
        let url = beside("postgres://u:p@h:5/db?sslmode=require&dbname=x", "drill").unwrap();
        assert_eq!(url, "postgres://u:p@h:5/drill?sslmode=require");
    }
}
