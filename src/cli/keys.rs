//! `artifact keys` and `artifact signing-keys`, through the owner's socket of a running service or on the data itself.

use super::client::Client;
use super::{Context, Failure, show, text};
use crate::domain::access::public_part;
use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

/// What `keys` does.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a key; it is shown once
    #[command(
        after_help = "Examples:\n  artifact keys create --admin --name desk\n  artifact keys create --name feed --owner alice --scopes prices:write,assets:read\n  artifact keys create --name view --owner alice --scopes portfolios:read --portfolio 0198c1d2-7c7a-7b1e-9a55-3f2b8d0c4e11 --expires 2027-01-31"
    )]
    Create(CreateArgs),
    /// List keys, without their secrets
    #[command(after_help = "Example:\n  artifact keys list --json")]
    List,
    /// Revoke a key; it is felt at once
    #[command(after_help = "Example:\n  artifact keys revoke 8f14e45fceea")]
    Revoke {
        /// Its id: the part between `art_` and the secret; or the whole key
        id: String,
    },
    /// Make another key in the place of one; both are good for a while
    #[command(after_help = "Example:\n  artifact keys rotate 8f14e45fceea --overlap 3600")]
    Rotate {
        /// Its id: the part between `art_` and the secret; or the whole key
        id: String,
        /// Seconds for which both are good
        #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
        overlap: u32,
    },
}

/// What `keys create` takes.
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// A key that may do everything
    #[arg(long, conflicts_with_all = ["scopes", "portfolio"], required_unless_present = "scopes")]
    admin: bool,
    /// What it may do, separated by commas
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    scopes: Vec<String>,
    /// Whose portfolios it reaches
    #[arg(long, value_name = "OWNER", required_unless_present = "admin")]
    owner: Option<String>,
    /// The only portfolios it reaches, by id
    #[arg(long, value_name = "ID")]
    portfolio: Vec<String>,
    /// When it stops working: a moment, or a day at whose end in UTC it does
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Name to know it by
    #[arg(long, default_value = "admin")]
    name: String,
}

/// What `signing-keys` does.
#[derive(Debug, Subcommand)]
pub(super) enum SigningKeysCommand {
    /// List the keys that verify our tokens
    #[command(after_help = "Example:\n  artifact signing-keys list")]
    List,
    /// Sign with another key from now on; the one before goes on verifying
    #[command(after_help = "Example:\n  artifact signing-keys rotate")]
    Rotate,
}

/// A part of a path as it may be written there.
pub(super) fn step(text: &str) -> String {
    crate::http::query::encoded(text)
}

/// Does one of them.
pub(super) async fn run(context: &Context, command: KeysCommand) -> Result<(), Failure> {
    let client = Client::connect(&context.config).await?;
    let done = on(context, &client, command).await;
    client.close().await;
    done
}

async fn on(context: &Context, client: &Client, command: KeysCommand) -> Result<(), Failure> {
    match command {
        KeysCommand::Create(args) => {
            let made = client.post("/keys", &wanted(&args)).await?.success()?;
            show(context, &made, &[text(&made, "key").to_owned()])
        }
        KeysCommand::List => {
            let keys = every(client, "/keys").await?;
            let lines: Vec<String> = keys.iter().map(line).collect();
            show(context, &Value::Array(keys), &lines)
        }
        KeysCommand::Revoke { id } => {
            let id = public_part(&id);
            client.send(Method::DELETE, &format!("/keys/{}", step(id)), None).await?.success()?;
            show(context, &json!({ "success": true, "id": id }), &[format!("{id} is revoked")])
        }
        KeysCommand::Rotate { id, overlap } => {
            let id = public_part(&id);
            let path = format!("/keys/{}/rotate", step(id));
            let made = client.post(&path, &json!({ "overlap_seconds": overlap })).await?.success()?;
            super::tell(&format!("{id} is good until {}", text(&made, "previous_expires_at")));
            show(context, &made, &[text(&made, "key").to_owned()])
        }
    }
}

fn wanted(args: &CreateArgs) -> Value {
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(args.name));
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
    if let Some(expires) = &args.expires {
        body.insert("expires_at".to_owned(), json!(expires));
    }
    Value::Object(body)
}

/// Every row of a list, page by page.
pub(super) async fn every(client: &Client, path: &str) -> Result<Vec<Value>, Failure> {
    let (mut rows, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next.take() {
        let reply = client.send(Method::GET, &path, None).await?;
        next.clone_from(&reply.next);
        let body = reply.success()?;
        if let Value::Array(page) = body {
            rows.extend(page);
        } else {
            rows.push(body);
        }
    }
    Ok(rows)
}

/// Names of scopes, as one column.
pub(super) fn scopes(row: &Value) -> String {
    let names = row.get("scopes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

fn line(key: &Value) -> String {
    let or = |name: &str, none: &'static str| match text(key, name) {
        "" => none.to_owned(),
        said => said.to_owned(),
    };
    format!(
        "{:<12}  {:<8} {:<20} {:<16} expires {:<27} used {:<27} {}",
        text(key, "id"),
        text(key, "status"),
        text(key, "name"),
        text(key, "owner_id"),
        or("expires_at", "never"),
        or("last_used_at", "never"),
        scopes(key),
    )
}

/// Lists keys that sign, or makes another one.
pub(super) async fn run_signing(context: &Context, command: &SigningKeysCommand) -> Result<(), Failure> {
    let client = Client::connect(&context.config).await?;
    let done = match command {
        SigningKeysCommand::List => list_signing(context, &client).await,
        SigningKeysCommand::Rotate => rotate_signing(context, &client).await,
    };
    client.close().await;
    done
}

async fn list_signing(context: &Context, client: &Client) -> Result<(), Failure> {
    let set = client.get("/.well-known/jwks.json").await?;
    let keys = set.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let lines: Vec<String> =
        keys.iter().map(|key| format!("{} {}", text(key, "kid"), text(key, "alg"))).collect();
    show(context, &set, &lines)
}

async fn rotate_signing(context: &Context, client: &Client) -> Result<(), Failure> {
    let made = client.send(Method::POST, "/signing-keys/rotate", None).await?.success()?;
    show(context, &made, &[format!("{} signs from now on", text(&made, "kid"))])
}
