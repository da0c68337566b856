//! `artifact users`. A password comes from standard input or from a file, never from the command line, which every
//! process of the machine can read.

use super::client::Client;
use super::keys::{every, scopes, step};
use super::{Context, Failure, show, text};
use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

/// Longest password file.
const FILE_MAX: u64 = 4_096;

/// What `users` does.
#[derive(Debug, Subcommand)]
pub(super) enum UsersCommand {
    /// Make a user; the password is read from standard input or a file
    #[command(
        after_help = "Examples:\n  artifact users create alice --scopes markets:read,portfolios:read < password.txt\n  artifact users create root --admin --password-file /run/secrets/root"
    )]
    Create(CreateArgs),
    /// List users
    #[command(after_help = "Example:\n  artifact users list")]
    List,
    /// Give a user another password, and end its logins
    #[command(after_help = "Example:\n  artifact users passwd alice < password.txt")]
    Passwd {
        /// Name or id
        user: String,
        /// File with the password [default: standard input]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Keep a user from logging in, and end its logins
    #[command(after_help = "Example:\n  artifact users disable alice")]
    Disable {
        /// Name or id
        user: String,
    },
    /// Take a user's second factor away, for one who has lost it, and end its logins
    #[command(after_help = "Example:\n  artifact users forget-factor alice")]
    ForgetFactor {
        /// Name or id
        user: String,
    },
    /// Let a user log in again
    #[command(after_help = "Example:\n  artifact users enable alice")]
    Enable {
        /// Name or id
        user: String,
    },
}

/// What `users create` takes.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Its name
    name: String,
    /// A user that may do everything
    #[arg(long, conflicts_with_all = ["scopes", "portfolio"], required_unless_present = "scopes")]
    admin: bool,
    /// What it may do, separated by commas
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Whose portfolios it sees [default: its name]
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// The only portfolios it reaches, by id
    #[arg(long, value_name = "ID")]
    portfolio: Vec<String>,
    /// File with the password [default: standard input]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// The password out of a file or standard input, without the line end after it.
fn password(file: Option<&Path>) -> Result<String, Failure> {
    let mut text = String::new();
    match file {
        Some(path) => {
            let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
        }
        None if std::io::stdin().is_terminal() => {
            return Err(Failure::usage(
                "a password typed here would be seen: pipe it in (artifact users ... < FILE), or use --password-file FILE",
            ));
        }
        None => {
            std::io::stdin().lock().take(FILE_MAX).read_to_string(&mut text)?;
        }
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.contains('\n') {
        return Err(Failure::usage("the password must be one line"));
    }
    Ok(line.to_owned())
}

/// Does one of them.
pub(super) async fn run(context: &Context, command: UsersCommand) -> Result<(), Failure> {
    // Before anything is opened: whoever has to type it again should not have waited.
    let given = match &command {
        UsersCommand::Create(CreateArgs { password_file, .. })
        | UsersCommand::Passwd { password_file, .. } => Some(password(password_file.as_deref())?),
        UsersCommand::List
        | UsersCommand::Disable { .. }
        | UsersCommand::ForgetFactor { .. }
        | UsersCommand::Enable { .. } => None,
    };
    let client = Client::connect(&context.config).await?;
    let done = on(context, &client, command, given.unwrap_or_default()).await;
    client.close().await;
    done
}

async fn on(context: &Context, client: &Client, command: UsersCommand, given: String) -> Result<(), Failure> {
    let (value, said) = match command {
        UsersCommand::Create(args) => {
            let made = client.post("/users", &wanted(&args, &given)).await?.success()?;
            let said = format!("{} {}", text(&made, "id"), text(&made, "name"));
            (made, vec![said])
        }
        UsersCommand::List => {
            let users = every(client, "/users").await?;
            let lines = users.iter().map(line).collect();
            (Value::Array(users), lines)
        }
        UsersCommand::Passwd { user, .. } => {
            let path = format!("/users/{}/password", step(&user));
            let changed = client.post(&path, &json!({ "password": given })).await?.success()?;
            (changed, vec![format!("{user} has another password; its logins were ended")])
        }
        UsersCommand::Disable { user } => act(client, &user, "disable").await?,
        UsersCommand::Enable { user } => act(client, &user, "enable").await?,
        UsersCommand::ForgetFactor { user } => {
            let path = format!("/users/{}/second-factor", step(&user));
            client.send(Method::DELETE, &path, None).await?.success()?;
            let said = format!("{user} has no second factor any more; its logins were ended");
            (json!({ "name": user, "second_factor": false }), vec![said])
        }
    };
    show(context, &value, &said)
}

async fn act(client: &Client, user: &str, action: &str) -> Result<(Value, Vec<String>), Failure> {
    let path = format!("/users/{}/{action}", step(user));
    let changed = client.send(Method::POST, &path, None).await?.success()?;
    let said = format!("{} is {}", text(&changed, "name"), text(&changed, "status"));
    Ok((changed, vec![said]))
}

fn wanted(args: &CreateArgs, password: &str) -> Value {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(args.name));
    body.insert("password".to_owned(), json!(password));
    if args.admin {
        body.insert("admin".to_owned(), json!(true));
    } else {
        body.insert("scopes".to_owned(), json!(args.scopes));
    }
    if let Some(owner) = &args.owner {
        body.insert("owner_id".to_owned(), json!(owner));
    }
    if !args.portfolio.is_empty() {
        body.insert("portfolios".to_owned(), json!(args.portfolio));
    }
    Value::Object(body)
}

fn line(user: &Value) -> String {
    format!(
        "{}  {:<8} {:<24} {:<16} {}",
        text(user, "id"),
        text(user, "status"),
        text(user, "name"),
        text(user, "owner_id"),
        scopes(user)
    )
}
