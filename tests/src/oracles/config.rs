//! The plan of the paper against the settings in force for the reference's commands, key by key.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use plan::{Options, Plan, ReferenceValue, reference_settings};
use serde_json::Value;
use types::{Digest, TaskSpec, TrainSpec};

use super::case::{Case, entries, number_after};
use super::network;
use super::rows::Tolerance;

pub(crate) fn run(case: &Case) -> Result<()> {
    let specs = specs()?;
    for (command, settings) in entries(&case.json, "commands")? {
        let stage =
            number_after(command, "stage").with_context(|| format!("{command} names no stage"))?;
        let (_, name) = command
            .split_once('_')
            .context("a command names stage and architecture")?;
        let architecture = network::architecture(name)?;
        let spec = (specs.iter())
            .filter(|spec| spec.stage == stage && spec.model.architecture == architecture)
            .max_by_key(|spec| spec.iteration)
            .with_context(|| format!("the plan trains nothing like {command}"))?;
        compare(case, command, spec, settings);
    }
    Ok(())
}

/// What the plan of the paper trains.
fn specs() -> Result<Vec<TrainSpec>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/two_iterations.toml");
    let plan = Plan::load(&path, Options::default()).map_err(|problems| anyhow!("{problems}"))?;
    let graph = plan.graph(Digest::of(b"manifest"));
    let mut specs = Vec::new();
    for node in &graph.tasks {
        if let TaskSpec::Train(spec) = serde_json::from_str(&node.spec)? {
            specs.push(spec);
        }
    }
    ensure!(!specs.is_empty(), "{} trains nothing", path.display());
    Ok(specs)
}

fn compare(case: &Case, command: &str, spec: &TrainSpec, settings: &Value) {
    let ours = reference_settings(spec);
    let mut theirs = BTreeMap::new();
    flatten("", &settings["resolved"], &mut theirs);
    let (mut compared, mut unused) = (0_u32, 0_u32);
    for (key, theirs) in &theirs {
        let found = match ours.get(key) {
            None => format!("{theirs}, and nothing is said about it here"),
            Some(ours) if !ours.agrees_with(theirs) => format!("{ours:?}, expected {theirs}"),
            Some(ReferenceValue::Is(_)) => {
                compared += 1;
                continue;
            }
            Some(ReferenceValue::Unused(_)) => {
                unused += 1;
                continue;
            }
        };
        case.rows
            .check_text(&format!("{command}: {key}"), Err(found));
    }
    for (key, ours) in &ours {
        if let (ReferenceValue::Is(value), None) = (ours, theirs.get(key)) {
            let found = format!("{value}, which the command does not have");
            case.rows
                .check_text(&format!("{command}: {key}"), Err(found));
        }
    }
    let all = theirs.len() as f64;
    let name = format!("{command}: {compared} keys equal, {unused} of no use here");
    case.rows
        .check_number(&name, f64::from(compared + unused), all, Tolerance::EXACT);
}

/// Keys in dots.
fn flatten(path: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                flatten(&key, value, found);
            }
        }
        _ => drop(found.insert(path.to_owned(), value.clone())),
    }
}
