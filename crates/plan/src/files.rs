//! Whether the files that a plan names are there.

use std::path::Path;

use types::DataSettings;

use crate::plan::{Iteration, PseudoLabels};
use crate::problem::Problem;
use crate::read::{IterationDraft, MemberDraft};
use crate::resolve::Network;
use crate::walk::Origins;

/// Reports each folder and file that is missing under the data folder, at the place in the plan that names it.
pub(crate) fn check(data: &DataSettings, origins: &Origins, problems: &mut Vec<Problem>) {
    let root_span = origins.get("data.root").cloned().unwrap_or_default();
    if !data.root.is_dir() {
        problems.push(
            Problem::new(root_span, format!("there is no folder {}", data.root.display()))
                .label("no such folder")
                .hint("it must hold DESED and MAESTRO Real in their published layout; relative paths start at the plan file"),
        );
        return;
    }
    let span_of = |key: &str| {
        origins
            .get(key)
            .cloned()
            .unwrap_or_else(|| root_span.clone())
    };
    for (split, files) in &data.sources {
        let mut expect = |path: &Path, what: &str, found: fn(&Path) -> bool| {
            let full = data.root.join(path);
            if !found(&full) {
                problems.push(
                    Problem::new(span_of(&format!("data.files.{split}")), format!("{what} of split `{split}` is missing: {}", full.display()))
                        .label(format!("`{split}` needs it"))
                        .hint(format!(
                            "put it there, give its place as `data.files.{split}`, or leave the split out of the plan"
                        )),
                );
            }
        };
        expect(&files.audio, "the audio folder", Path::is_dir);
        if let Some(path) = &files.metadata {
            expect(path, "the annotation file", Path::is_file);
        }
        if let Some(path) = &files.durations {
            expect(path, "the file of durations", Path::is_file);
        }
    }
    for (split, path) in &data.exclude {
        let full = data.root.join(path);
        if !full.is_file() {
            problems.push(
                Problem::new(
                    span_of(&format!("data.exclude.{split}")),
                    format!(
                        "the exclude list of split `{split}` is missing: {}",
                        full.display()
                    ),
                )
                .label("no such file"),
            );
        }
    }
    if let Some(path) = &data.impulse_responses {
        let full = data.root.join(path);
        if !full.is_dir() {
            problems.push(
                Problem::new(
                    span_of("data.impulse_responses"),
                    format!("the folder of impulse responses is missing: {}", full.display()),
                )
                .label("no such folder")
                .hint(
                    "put it there, give its place as `data.impulse_responses`, or write `augmentation.impulse_probability = 0` for every stage",
                ),
            );
        }
    }
}

/// Reports each file from outside the run that is missing, at the place in the plan that names it.
pub(crate) fn check_external(
    drafts: &[MemberDraft<'_>],
    networks: &[Network],
    rounds: &[IterationDraft<'_>],
    iterations: &[Iteration],
    problems: &mut Vec<Problem>,
) {
    for (draft, network) in drafts.iter().zip(networks) {
        if let Some(path) = network
            .member
            .init
            .as_deref()
            .filter(|path| !path.is_file())
        {
            let span = draft.origins.get("init").unwrap_or(&draft.header).clone();
            problems.push(
                Problem::new(
                    span,
                    format!("the checkpoint to start from is missing: {}", path.display()),
                )
                .label("no such file")
                .hint("put it there (relative paths start at the plan file), or remove `init` to start from random weights"),
            );
        }
    }
    for (round, iteration) in rounds.iter().zip(iterations) {
        let Some(PseudoLabels::Files(files)) = &iteration.pseudo_labels else {
            continue;
        };
        for (split, path) in files.iter().filter(|(_, path)| !path.is_file()) {
            let span = round
                .origins
                .get(&format!("pseudo_labels.{split}"))
                .unwrap_or(&round.header)
                .clone();
            problems.push(
                Problem::new(
                    span,
                    format!(
                        "the pseudo-labels of split `{split}` are missing: {}",
                        path.display()
                    ),
                )
                .label("no such file")
                .hint("put the file there (relative paths start at the plan file), or write `pseudo_labels = \"previous\"`"),
            );
        }
    }
}
