//! What became of the prices that a command has put into the outbox, to be posted on to another instance.

use super::client::Client;
use super::{Context, Failure};
use crate::clock::Clock;
use serde_json::{Value, json};
use std::time::Duration;

/// Time between two looks at the outbox.
const LOOK: Duration = Duration::from_millis(100);

/// The outbox before a command.
#[derive(Debug)]
pub(super) struct Outbox {
    destination: String,
    before: Value,
}

/// Looks at the outbox before a command; `None` when prices are posted nowhere.
///
/// # Errors
/// When this command line names another instance and the running service does not.
pub(super) async fn begin(context: &Context, client: &Client) -> Result<Option<Outbox>, Failure> {
    let before = client.get("/ingest/outbox").await?;
    let destination = before.get("destination").and_then(Value::as_str).map(str::to_owned);
    match (destination, &context.config.outbox.url.value) {
        (Some(destination), _) => Ok(Some(Outbox { destination, before })),
        (None, None) => Ok(None),
        (None, Some(url)) => Err(Failure::usage(format!(
            "prices are to be posted on to {url} ({}), but the running service, which stores them, posts them \
             nowhere: configure it there, or unset it here",
            context.config.outbox.url.origin
        ))),
    }
}

fn count(outbox: &Value, name: &str) -> i64 {
    outbox.get(name).and_then(Value::as_i64).unwrap_or_default()
}

/// What became of the prices of a command.
#[derive(Debug)]
pub(super) struct PostedOn {
    destination: String,
    delivered: i64,
    superseded: i64,
    refused: i64,
    pending: i64,
}

impl Outbox {
    /// Waits until what is in the outbox now was dealt with, but no longer than `longest`.
    ///
    /// # Errors
    /// When the service is gone.
    pub(super) async fn finish(self, client: &Client, longest: Duration) -> Result<PostedOn, Failure> {
        let clock = Clock::system();
        let mut now = client.get("/ingest/outbox").await?;
        if let Some(until) = now.get("last").and_then(Value::as_i64) {
            let path = format!("/ingest/outbox?until={until}");
            loop {
                now = client.get(&path).await?;
                if count(&now, "depth") == 0 || clock.elapsed() >= longest {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        let grown = |name: &str| count(&now, name) - count(&self.before, name);
        let (delivered, superseded, refused) = (grown("delivered"), grown("superseded"), grown("refused"));
        let pending = count(&now, "depth");
        Ok(PostedOn { destination: self.destination, delivered, superseded, refused, pending })
    }
}

impl PostedOn {
    /// For a report.
    pub(super) fn report(&self) -> Value {
        json!({
            "destination": self.destination,
            "delivered": self.delivered,
            "superseded": self.superseded,
            "refused": self.refused,
            "pending": self.pending,
        })
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let Self { destination, delivered, superseded, refused, pending } = self;
        format!(
            "posted on to {destination}: delivered {delivered}, superseded {superseded}, refused {refused}, pending {pending}"
        )
    }

    /// Fails when not all of it was delivered.
    ///
    /// # Errors
    /// What is left, and where to read of it.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.refused > 0 {
            return Err(Failure::failed(format!(
                "{} of the prices were refused by {}; see GET /ingest/outbox/dead-letters",
                self.refused, self.destination
            )));
        }
        if self.pending > 0 {
            return Err(Failure::pending(format!(
                "{} of the prices wait to be posted on to {}; they are kept, and sent by the service or the next command",
                self.pending, self.destination
            )));
        }
        Ok(())
    }
}
