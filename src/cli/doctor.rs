//! `artifact doctor` and `artifact health`.

use super::client::{Client, Reply};
use super::{Context, Failure, show, text};
use crate::app::SOCKET;
use crate::clock::Stopwatch;
use crate::http::auth::Access;
use axum::http::Method;
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::{TcpListener, UnixStream};

/// What `doctor` takes.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Tell the running service that its clock is right, after it ran more than an hour ahead
    #[arg(long)]
    accept_clock: bool,
}

/// What `health` takes.
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Ask again until it is healthy, for so many seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u32,
}

/// Time between two questions: what a look of the service found holds for a second.
const AGAIN: Duration = Duration::from_millis(500);

/// What was looked at, whether it is well, and what to know of it.
type Finding = (&'static str, bool, String);

/// Looks at everything a service needs.
pub(super) async fn run(context: &Context, args: &DoctorArgs) -> Result<(), Failure> {
    if args.accept_clock {
        let client = Client::connect(&context.config).await?;
        let answer = client.send(Method::POST, "/clock/accept", None).await;
        client.close().await;
        let health = answer?.success()?;
        return show(context, &health, &["the clock is followed again".to_owned()]);
    }
    let socket = context.config.data.value.join(SOCKET);
    let running = UnixStream::connect(&socket).await.is_ok();
    let mut findings: Vec<Finding> = vec![("configuration", true, "valid".to_owned())];
    findings.push(directory(context));
    if running {
        let client = Client::connect(&context.config).await?;
        let reply = client.send(Method::GET, "/health", None).await?;
        let warnings = reply.body.get("warnings").and_then(Value::as_array).map(Vec::as_slice);
        let warnings: Vec<&str> = warnings.unwrap_or_default().iter().filter_map(Value::as_str).collect();
        let look =
            if warnings.is_empty() { String::new() } else { format!("; look at {}", warnings.join(", ")) };
        findings.push((
            "service",
            reply.status.is_success(),
            format!("running, {}{look}", text(&reply.body, "status")),
        ));
    } else {
        findings.push(("service", true, "not running".to_owned()));
        findings.extend(data(context).await);
        let address = context.config.listen.value;
        let free = TcpListener::bind(address).await;
        let said = free
            .as_ref()
            .map_or_else(|error| format!("{address}: {error}"), |_| format!("{address} is free"));
        findings.push(("address", free.is_ok(), said));
    }
    let well = findings.iter().all(|(_, well, _)| *well);
    let lines: Vec<String> = findings
        .iter()
        .map(|(what, well, said)| format!("{:<5} {what:<14} {said}", if *well { "ok" } else { "FAIL" }))
        .collect();
    let value: Vec<Value> = findings
        .iter()
        .map(|(what, well, said)| json!({ "check": what, "ok": well, "detail": said }))
        .collect();
    show(context, &json!({ "ok": well, "checks": value }), &lines)?;
    if well { Ok(()) } else { Err(Failure::failed("something needs attention")) }
}

fn directory(context: &Context) -> Finding {
    use std::os::unix::fs::PermissionsExt as _;
    let path = &context.config.data.value;
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            ("data directory", true, format!("{} will be made", path.display()))
        }
        Err(error) => ("data directory", false, format!("{}: {error}", path.display())),
        Ok(found) if !found.is_dir() => {
            ("data directory", false, format!("{} is no directory", path.display()))
        }
        Ok(found) if found.permissions().mode() & 0o077 != 0 => (
            "data directory",
            true,
            format!("{} can be entered by others; chmod 700 is safer", path.display()),
        ),
        Ok(_) => ("data directory", true, path.display().to_string()),
    }
}

/// Opens the data and looks it over. A directory that is not there yet is not made for that.
async fn data(context: &Context) -> Vec<Finding> {
    if context.config.database_url.value.is_none() && !context.config.data.value.exists() {
        return Vec::new();
    }
    let app = match super::open(&context.config, Access::Keys).await {
        Ok(app) => app,
        Err(error) => return vec![("database", false, error.message)],
    };
    let engine = match app.state.db.engine().await {
        Ok(engine) => ("database", true, engine),
        Err(error) => ("database", false, Failure::from(error).message),
    };
    let damage = match app.state.db.damage().await {
        Ok(found) if found.is_empty() => ("integrity", true, "no damage found".to_owned()),
        Ok(found) => ("integrity", false, found.join("; ")),
        Err(error) => ("integrity", false, Failure::from(error).message),
    };
    let clock = app.state.db.stamps().clock_health();
    let said =
        if clock.behind { "behind the last recorded moment; stamps go on from there" } else { "plausible" };
    let clock = ("clock", !clock.behind, said.to_owned());
    app.state.db.close().await;
    vec![engine, damage, clock]
}

/// Asks the running service how it is, and again while it is not well and there is time; fails when it is not well or
/// not there at the end.
pub(super) async fn health(context: &Context, args: &HealthArgs) -> Result<(), Failure> {
    let (asked, longest) = (Stopwatch::start(), Duration::from_secs(args.wait.into()));
    let mut found = ask(context).await;
    while found.as_ref().map_or(true, |reply| !reply.status.is_success()) && asked.elapsed() < longest {
        tokio::time::sleep(AGAIN.min(longest.saturating_sub(asked.elapsed()))).await;
        found = ask(context).await;
    }
    let reply = found?;
    let status = text(&reply.body, "status").to_owned();
    show(context, &reply.body, std::slice::from_ref(&status))?;
    if reply.status.is_success() {
        return Ok(());
    }
    let failed = failed(reply.body.get("checks").unwrap_or(&Value::Null)).join(", ");
    Err(Failure::failed(format!("the service is {status}: {failed}")))
}

async fn ask(context: &Context) -> Result<Reply, Failure> {
    let socket = context.config.data.value.join(SOCKET);
    if UnixStream::connect(&socket).await.is_err() {
        return Err(Failure::failed(format!(
            "no service is running on {}",
            context.config.data.value.display()
        )));
    }
    Client::Running(socket).send(Method::GET, "/health", None).await
}

/// Names of the checks for which a service answers 503.
fn failed(checks: &Value) -> Vec<&'static str> {
    let is_well = |name: &str, check: &Value| match name {
        "database" => !check.is_null(),
        "disk" => check.get("ok").is_some_and(|ok| ok == true),
        "draining" => check != true,
        _ => check == true,
    };
    let names = ["database_write", "database", "migrations", "disk", "draining"];
    names.into_iter().filter(|name| !is_well(name, checks.get(*name).unwrap_or(&Value::Null))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unhealthy_answer_names_what_failed() {
        let mut checks = json!({ "database_write": true, "database": "SQLite 3.51.3", "schema": 16, "migrations": true,
            "disk": { "ok": true, "free_bytes": 9 }, "writes_stopped": false, "clock_behind": true, "draining": false });
        assert_eq!(failed(&checks), [""; 0], "what is only warned of has not failed");
        for (name, value) in [
            ("database_write", json!(false)),
            ("database", json!(null)),
            ("migrations", json!(false)),
            ("disk", json!({ "ok": false, "free_bytes": null })),
            ("draining", json!(true)),
        ] {
            let well = std::mem::replace(&mut checks[name], value);
            assert_eq!(failed(&checks), [name]);
            checks[name] = well;
        }
    }
}
