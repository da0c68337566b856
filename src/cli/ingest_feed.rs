//! `artifact ingest --source NAME` without a file: one feed asks once, for what it missed or for what is asked.

use super::client::{Client, Reply};
use super::ingest::IngestArgs;
use super::{Context, Failure, show, tell, text};
use crate::http::query::encoded;
use crate::workers::feeds::definition::Secret;
use serde_json::{Value, json};

/// Has a feed ask once, and says what it came to.
pub(super) async fn run(context: &Context, args: &IngestArgs) -> Result<(), Failure> {
    let client = Client::connect(&context.config).await?;
    let reply = ask(context, &client, args).await;
    client.close().await;
    let report = reply?.success()?;
    let count = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or_default();
    let mut lines = vec![format!(
        "{}: stored {}, duplicate {}, corrected {}, refused {}",
        text(&report, "feed"),
        count("stored"),
        count("duplicate"),
        count("corrected"),
        count("refused")
    )];
    if !text(&report, "first").is_empty() {
        lines.push(format!("from {} to {}", text(&report, "first"), text(&report, "last")));
    }
    let refusals = report.get("refusals").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for refusal in refusals {
        tell(&format!("{}: {}", text(refusal, "symbol"), text(refusal, "detail")));
    }
    show(context, &report, &lines)?;
    let error = text(&report, "error");
    if !error.is_empty() {
        return Err(Failure::failed(format!("feed {} ended early: {error}", text(&report, "feed"))));
    }
    if count("refused") > 0 {
        return Err(Failure::failed(format!("{} rows were refused", count("refused"))));
    }
    Ok(())
}

/// Asks the service; a feed of this command's environment that it does not know is told to it for this run.
async fn ask(context: &Context, client: &Client, args: &IngestArgs) -> Result<Reply, Failure> {
    let path = format!("/ingest/feeds/{}/run", encoded(&args.source));
    let asked = match &args.since {
        Some(since) => json!({ "since": since }),
        None => json!({}),
    };
    let reply = client.post(&path, &asked).await?;
    let here = context.config.feeds.value.iter().find(|feed| feed.name == args.source);
    let Some(feed) = here.filter(|_| text(&reply.body, "code") == "feed_not_found") else { return Ok(reply) };
    if !feed.of_environment {
        return Err(Failure::failed(format!(
            "the running service does not know feed {}: it was started with another configuration",
            args.source
        )));
    }
    let symbols: Vec<&str> = feed.symbols.iter().map(|pair| pair.venue.as_str()).collect();
    let key = feed.api_key.as_ref().map(Secret::expose);
    let feed = json!({ "kind": feed.kind, "symbols": symbols, "api_key": key });
    client.post(&path, &json!({ "since": args.since, "feed": feed })).await
}
