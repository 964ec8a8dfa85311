use std::path::PathBuf;

use clap::Parser;
use eval::{ClipScores, PsdsSettings, SoundEvent, psds};
use serde_json::Value;

use super::*;
use crate::cli::{Cli, Other};

/// Files of a small system: three clips, two classes that sound and one that does not.
struct Files {
    folder: tempfile::TempDir,
    scores: Scores,
    truth: GroundTruth,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut truth = GroundTruth::default();
        let event = |onset: f64, offset: f64, class: &str| SoundEvent {
            onset,
            offset,
            class: class.to_owned(),
        };
        let mut clips = Vec::new();
        for (place, clip) in ["a", "b", "c"].into_iter().enumerate() {
            let start = place as f64;
            let events = vec![event(start, start + 2.0, "Dog"), event(5.0, 7.0, "Speech")];
            let heard = |at: f64, class: &str| {
                let inside = events
                    .iter()
                    .any(|event| event.class == class && at > event.onset && at < event.offset);
                if inside { 0.8 } else { 0.1 }
            };
            let values = (0..100).flat_map(|frame| {
                let at = (f64::from(frame) + 0.5) / 10.0;
                // a wrong bark in the last clip, and one that is heard late
                let wrong = if place == 2 && (8.0..9.0).contains(&at) {
                    0.9
                } else {
                    0.0
                };
                [heard(at, "Dog") + wrong, heard(at - 0.1, "Speech"), 0.05]
            });
            clips.push(ClipScores {
                clip: clip.to_owned(),
                boundaries: (0..=100).map(|frame| f64::from(frame) / 10.0).collect(),
                values: values.collect(),
            });
            truth.events.insert(clip.to_owned(), events);
            truth.durations.insert(clip.to_owned(), 10.0);
        }
        let classes = ["Dog", "Speech", "Cat"].map(str::to_owned).to_vec();
        let scores = Scores::new(classes, clips).unwrap();
        let files = Self {
            folder,
            scores,
            truth,
        };
        scorefiles::write_tsv_scores(&files.path("scores"), &files.scores).unwrap();
        scorefiles::write_ground_truth(&files.path("truth.tsv"), &files.truth.events).unwrap();
        scorefiles::write_durations(&files.path("durations.tsv"), &files.truth.durations).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, command: &str, more: &[&str]) -> Other {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let mut line = ["worker", command].map(str::to_owned).to_vec();
        for (option, file) in [
            ("--scores", "scores"),
            ("--ground-truth", "truth.tsv"),
            ("--durations", "durations.tsv"),
        ] {
            line.extend([option.to_owned(), path(file)]);
        }
        line.extend(more.iter().map(|word| (*word).to_owned()));
        Cli::try_parse_from(line).unwrap().other.unwrap()
    }

    fn evaluate(&self, more: &[&str]) -> Result<String> {
        match self.options("evaluate", more) {
            Other::Evaluate(options) => events::evaluate(&options),
            other => panic!("{other:?}"),
        }
    }

    fn tune(&self, more: &[&str]) -> Result<String> {
        match self.options("tune", more) {
            Other::Tune(options) => tuning::tune(&options),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn values_are_those_of_the_metrics() {
    let files = Files::new();
    let found: Value = serde_json::from_str(&files.evaluate(&["--json"]).unwrap()).unwrap();
    let sounding = files.scores.select_classes(&["Dog", "Speech"]).unwrap();
    for (name, settings) in [
        ("PSDS1", PsdsSettings::PSDS1),
        ("PSDS2", PsdsSettings::PSDS2),
    ] {
        let wanted = psds(&sounding, &files.truth, &settings).unwrap();
        let shown = &found["values"][name];
        assert_eq!(shown["value"].as_f64(), Some(wanted.value));
        let ends: Vec<f64> = serde_json::from_value(shown["interval"].clone()).unwrap();
        assert!(
            ends[0] <= wanted.value && wanted.value <= ends[1],
            "{shown}"
        );
        assert_eq!(
            found["classes"]["Dog"][name]["value"].as_f64(),
            Some(wanted.by_class[0])
        );
    }
    assert_eq!(found["classes"].as_object().unwrap().len(), 2, "{found}");
    // three barks and one that is none: precision 3 of 4, recall 3 of 3
    let dog = &found["classes"]["Dog"]["intersection F1 at 0.5"]["value"];
    assert!((dog.as_f64().unwrap() - 6.0 / 7.0).abs() < 1e-12, "{dog}");
    assert_eq!(found["number"], 3);
}

#[test]
fn every_value_has_an_interval() {
    let files = Files::new();
    let found: Value = serde_json::from_str(&files.evaluate(&["--json"]).unwrap()).unwrap();
    let of_classes = found["classes"].as_object().unwrap().values();
    let all = of_classes.chain([&found["values"]]);
    let mut number = 0;
    for (name, shown) in all.flat_map(|values| values.as_object().unwrap()) {
        let value = shown["value"].as_f64().unwrap();
        let ends: [f64; 2] = serde_json::from_value(shown["interval"].clone())
            .unwrap_or_else(|error| panic!("{name}: {error} in {shown}"));
        assert!(ends[0] <= value && value <= ends[1], "{name}: {shown}");
        number += 1;
    }
    assert_eq!(number, 3 + 8 + 2 * (2 + 8));
}

#[test]
fn weak_labels_need_no_lengths() {
    let files = Files::new();
    let labels = files.path("weak.tsv");
    std::fs::write(
        &labels,
        "filename\tevent_labels\na.wav\tDog\nb.wav\tDog,Speech\nc.wav\t\n",
    )
    .unwrap();
    let (scores, labels) = (files.path("scores"), labels.to_str().unwrap());
    let scores = scores.to_str().unwrap();
    let run = |more: &[&str]| {
        let line = [
            "worker",
            "evaluate",
            "--scores",
            scores,
            "--weak-labels",
            labels,
        ];
        match Cli::try_parse_from([&line, more].concat()).unwrap().other {
            Some(Other::Evaluate(options)) => clips::evaluate(&options, Path::new(labels)),
            other => panic!("{other:?}"),
        }
    };
    let found: Value = serde_json::from_str(&run(&["--json"]).unwrap()).unwrap();
    let weak = scorefiles::read_weak_labels(Path::new(labels)).unwrap();
    let chosen = files.scores.select_classes(&["Dog", "Speech"]).unwrap();
    let counts = eval::clip_counts(&chosen, &weak).unwrap();
    let wanted = eval::FScore::best(&counts).macro_average().f1;
    let shown = &found["values"]["clip F1, best thresholds"]["value"];
    assert_eq!(shown.as_f64(), Some(wanted));
    assert!(run(&[]).unwrap().contains("3 clips, 2 classes"));
    let error = told(&run(&["--classes", "Dog,Bird"]).unwrap_err());
    assert!(error.contains("Bird"), "{error}");
}

#[test]
fn tables_name_everything() {
    let files = Files::new();
    let text = files
        .evaluate(&["--per-class", "--replicates", "0"])
        .unwrap();
    for part in [
        "3 clips, 2 classes",
        "PSDS1",
        "PSDS2",
        "mean single-class PSDS1",
        "intersection F1 at 0.5",
        "collar F1, best thresholds",
        "segment F1",
        "Speech",
    ] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    assert!(
        !text.contains(" to "),
        "intervals were not asked for:\n{text}"
    );
}

#[test]
fn tuned_boxes_are_used() {
    let files = Files::new();
    let output = files.path("boxes.json");
    let said = files.tune(&["-o", output.to_str().unwrap()]).unwrap();
    assert!(said.contains("128 settings tried on 3 clips"), "{said}");
    let file = TunedFile::read(&output).unwrap();
    assert_eq!(file.csebbs.len(), 2);
    let boxes = output.to_str().unwrap();
    let json = ["--json", "--boxes", boxes, "--replicates", "0"];
    let found: Value = serde_json::from_str(&files.evaluate(&json).unwrap()).unwrap();
    assert!(
        found["values"]["mean single-class PSDS1"]["value"]
            .as_f64()
            .unwrap()
            >= 0.5,
        "{found}"
    );

    let one = [
        "--step",
        "0.4",
        "--relative",
        "2,3",
        "--metric",
        "collar-f1",
        "--shared",
    ];
    let said = files.tune(&[&one[..], &["-o", boxes]].concat()).unwrap();
    assert!(said.contains("2 settings tried"), "{said}");
    assert_eq!(TunedFile::read(&output).unwrap().thresholds.len(), 2);
}

#[test]
fn wrong_input_is_named() {
    let files = Files::new();
    let says = |result: Result<String>, part: &str| {
        let error = told(&result.unwrap_err());
        assert_eq!(
            error.matches("No such file").count().min(2),
            error.matches("No such file").count().min(1)
        );
        assert!(error.contains(part), "{error}");
    };
    says(files.evaluate(&["--classes", "Dog,Bird"]), "Bird");
    says(
        files.evaluate(&["--classes", "Dog,Cat"]),
        "\"Cat\" has no event",
    );
    says(
        files.evaluate(&["--boxes", "/nowhere.json"]),
        "cannot read /nowhere.json",
    );
    says(
        files.evaluate(&["--boxes", files.path("truth.tsv").to_str().unwrap()]),
        "holds no settings of boxes",
    );
    says(files.tune(&["--step=-1"]), "must be positive");
    says(
        files.tune(&["-o", "/no/such/folder/x.json"]),
        "cannot write",
    );
    std::fs::remove_file(files.path("scores/b.tsv")).unwrap();
    says(files.evaluate(&[]), "\"b\"");
}
