//! `artifact ingest --source NAME` without a file: one feed asks once, for what it missed or for what is asked.

use super::client::{Client, Reply};
use super::ingest::IngestArgs;
use super::posting::{self, PostedOn};
use super::{Context, Failure, show, tell, text};
use crate::http::query::encoded;
use crate::workers::feeds::definition::Secret;
use serde_json::{Value, json};
use std::time::Duration;

/// Has a feed ask once, and says what it came to.
pub(super) async fn run(context: &Context, args: &IngestArgs) -> Result<(), Failure> {
    let client = Client::connect(&context.config).await?;
    let ran = ask_and_wait(context, &client, args).await;
    client.close().await;
    let (mut report, posted_on) = ran?;
    if let (Some(report), Some(posted_on)) = (report.as_object_mut(), &posted_on) {
        report.insert("posted_on".to_owned(), posted_on.report());
    }
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
    if let Some(posted_on) = &posted_on {
        lines.push(posted_on.line());
    }
    show(context, &report, &lines)?;
    let error = text(&report, "error");
    if !error.is_empty() {
        return Err(Failure::failed(format!("feed {} ended early: {error}", text(&report, "feed"))));
    }
    if count("refused") > 0 {
        return Err(Failure::failed(format!("{} rows were refused", count("refused"))));
    }
    posted_on.map_or(Ok(()), |posted_on| posted_on.verdict())
}

/// Has the feed ask, and waits for its latest prices to be posted on.
async fn ask_and_wait(
    context: &Context,
    client: &Client,
    args: &IngestArgs,
) -> Result<(Value, Option<PostedOn>), Failure> {
    let outbox = posting::begin(context, client).await?;
    let report = ask(context, client, args).await?.success()?;
    let posted_on = match outbox {
        Some(outbox) => Some(outbox.finish(client, Duration::from_secs(args.post_wait)).await?),
        None => None,
    };
    Ok((report, posted_on))
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
