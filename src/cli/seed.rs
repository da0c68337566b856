//! `artifact seed`: sample data through the ordinary routes. What is there already is left alone.

use super::client::Client;
use super::{Context, Failure, show};
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Seeds by name: one JSON object a line, each a thing to create.
const SEEDS: &[(&str, &str)] = &[("gold-bitcoin", include_str!("../../seeds/gold-bitcoin.ndjson"))];

/// What `seed` takes.
#[derive(Debug, Args)]
pub(super) struct SeedArgs {
    /// Which seed: gold-bitcoin
    name: String,
}

/// One thing to create.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// What it is, for people.
    say: String,
    /// Name under which its id stands in later paths.
    #[serde(rename = "as")]
    named: Option<String>,
    /// How to find it when it is there already.
    unless: Unless,
    /// Where it is created.
    path: String,
    /// What is sent.
    body: Value,
}

/// A list, and the fields that tell the thing in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Unless {
    path: String,
    #[serde(rename = "where")]
    fields: Map<String, Value>,
}

/// What became of a seed.
#[derive(Debug, Default)]
pub(super) struct Seeded {
    /// Things created.
    pub(super) created: Vec<String>,
    /// Things that were there.
    pub(super) existing: Vec<String>,
    /// Ids by name.
    pub(super) ids: BTreeMap<String, String>,
}

/// Plants a seed.
pub(super) async fn plant(client: &Client, name: &str) -> Result<Seeded, Failure> {
    let names: Vec<&str> = SEEDS.iter().map(|(name, _)| *name).collect();
    let (_, text) = SEEDS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| Failure::usage(format!("there is no seed `{name}`; there is {}", names.join(", "))))?;
    let mut seeded = Seeded::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let step: Step = serde_json::from_str(line).map_err(Failure::other)?;
        let fill = |path: &str| {
            seeded
                .ids
                .iter()
                .fold(path.to_owned(), |path, (name, id)| path.replace(&format!("{{{name}}}"), id))
        };
        let there = client.get(&fill(&step.unless.path)).await?;
        let found = there
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .find(|one| step.unless.fields.iter().all(|(field, value)| one.get(field) == Some(value)));
        let one = if let Some(known) = found {
            seeded.existing.push(step.say);
            known.clone()
        } else {
            let made = client.post(&fill(&step.path), &step.body).await?.success()?;
            seeded.created.push(step.say);
            made
        };
        let id = one.get("id").cloned().unwrap_or_default();
        if let (Some(name), Some(id)) = (step.named, id.as_str()) {
            seeded.ids.insert(name, id.to_owned());
        }
    }
    Ok(seeded)
}

/// Plants a seed and says what it did.
pub(super) async fn run(context: &Context, args: &SeedArgs) -> Result<(), Failure> {
    let client = Client::connect(&context.config).await?;
    let outcome = plant(&client, &args.name).await;
    client.close().await;
    let seeded = outcome?;
    let mut lines: Vec<String> = seeded.created.iter().map(|what| format!("created  {what}")).collect();
    lines.extend(seeded.existing.iter().map(|what| format!("exists   {what}")));
    if seeded.created.is_empty() {
        lines.push("everything was there already: nothing changed".to_owned());
    }
    let value = json!({ "created": seeded.created, "existing": seeded.existing, "ids": seeded.ids });
    show(context, &value, &lines)
}
