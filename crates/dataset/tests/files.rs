//! From files to training sets and ground truth, on the procedural data set; and what is said about files that are broken.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dataset::synthetic::{self, Sizes};
use dataset::{
    Annotation, CLIP_SAMPLES, Error, Manifest, Purpose, SetKind, TrainSet, clips, desed_classes,
    desed_truth, maestro_truth, recording_of,
};
use types::{DataSettings, Split};

const SIZES: Sizes = Sizes {
    clip_seconds: 2.0,
    ..SMALL
};

const SMALL: Sizes = Sizes {
    maestro_train_scenes: 2,
    maestro_validation: 2,
    recording_seconds: 12,
    strong: 4,
    external_strong: 2,
    synth: 6,
    weak: 10,
    unlabeled: 4,
    synth_validation: 2,
    desed_validation: 5,
    public_eval: 2,
    clip_seconds: 10.0,
};

fn data() -> (tempfile::TempDir, DataSettings) {
    let folder = tempfile::tempdir().unwrap();
    let data = synthetic::write(folder.path(), &SIZES, 3).unwrap();
    (folder, data)
}

fn set_of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let digest = |seed| {
        let folder = tempfile::tempdir().unwrap();
        let data = synthetic::write(folder.path(), &SIZES, seed).unwrap();
        Manifest::build(&data, None).unwrap().digest()
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn five_training_sets_with_parts_held_back() {
    let (_folder, data) = data();
    let set = TrainSet::open(&data).unwrap();
    // Two of four recordings of three windows each; real and external strong; nine of ten weak clips.
    assert_eq!(set.sizes(), [6, 6, 6, 9, 4]);
    assert_eq!(set.held_back().weak.len(), 1);
    assert_eq!(set.held_back().maestro.len(), 6);
    let recordings = |clips: &[dataset::Clip]| -> BTreeSet<String> {
        let names = clips.iter().map(|clip| recording_of(&clip.stem).to_owned());
        names.collect()
    };
    assert!(
        recordings(set.set(SetKind::Maestro)).is_disjoint(&recordings(&set.held_back().maestro))
    );
    let strong: Vec<Split> = set
        .set(SetKind::Strong)
        .iter()
        .map(|clip| clip.split)
        .collect();
    assert_eq!(strong[..4], [Split::StrongTrain; 4]);
    assert_eq!(strong[4..], [Split::ExternalStrongTrain; 2]);
    for kind in SetKind::ALL {
        let clip = set.item(kind, 0).unwrap();
        assert_eq!(clip.purpose, Purpose::Training);
        let waveform = clip.read(0).unwrap();
        assert_eq!(waveform.samples.len(), CLIP_SAMPLES);
        let peak = waveform.samples.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        assert!(peak > 0.01 && peak <= 1.0, "{kind:?}: {peak}");
    }
    assert!(set.item(SetKind::Weak, 9).is_none());
}

#[test]
fn excluded_clips_are_not_learned_from() {
    let (_folder, data) = data();
    let list = |split: Split| data.root.join(split.standard_exclude().unwrap());
    let held_back = &TrainSet::open(&data).unwrap().held_back().weak[0]
        .stem
        .clone();
    fs::write(
        list(Split::StrongTrain),
        "filename\nstrong_train_0001.wav\n",
    )
    .unwrap();
    fs::write(
        list(Split::UnlabeledTrain),
        "filename\nunlabeled_train_0000.wav\n",
    )
    .unwrap();
    fs::write(
        list(Split::WeakTrain),
        format!("filename\n{held_back}.wav\n"),
    )
    .unwrap();
    let set = TrainSet::open(&data).unwrap();
    assert_eq!(set.sizes(), [6, 5, 6, 9, 3]);
    assert_eq!(set.held_back().weak.len(), 1, "validation ignores the list");
}

#[test]
fn weak_rows_without_audio_and_repeated_rows_are_skipped() {
    let (_folder, data) = data();
    let table = data.root.join("metadata/train/weak.tsv");
    let text = fs::read_to_string(&table).unwrap();
    let text = format!("{text}not_there.wav\tDog\nweak_train_0003.wav\tCat\n");
    fs::write(&table, text).unwrap();
    let all = clips(&data, Split::WeakTrain, Purpose::Evaluation).unwrap();
    assert_eq!(all.len(), 10);
    assert_ne!(all[3].annotation, Annotation::Weak(vec![2]));
}

#[test]
fn clips_without_events_are_no_examples() {
    let (_folder, data) = data();
    let table = data.root.join("metadata/validation/validation.tsv");
    let text = fs::read_to_string(&table).unwrap();
    fs::write(&table, format!("{text}silent.wav\t\t\t\n")).unwrap();
    let all = clips(&data, Split::DesedValidation, Purpose::Evaluation).unwrap();
    assert_eq!(all.len(), 5);
    let truth = desed_truth(&data, Split::DesedValidation, &set_of(desed_classes())).unwrap();
    assert_eq!(truth.events.len(), 5);
    assert!(truth.durations.values().all(|duration| *duration == 2.0));
    let sounding: BTreeSet<&String> = truth
        .events
        .values()
        .flatten()
        .map(|event| &event.class)
        .collect();
    assert_eq!(sounding.len(), 10);
}

#[test]
fn truth_of_windows_is_truth_of_recordings() {
    let (_folder, data) = data();
    let classes = set_of(&dataset::MAESTRO_EVALUATED);
    let truth = maestro_truth(&data, Split::MaestroValidation, &classes).unwrap();
    let recordings = &truth.recordings;
    let names: Vec<&String> = recordings.events.keys().collect();
    assert_eq!(names, ["cafe_restaurant_50", "city_center_50"]);
    assert!(recordings.durations.values().all(|x| *x == 12.0));
    let mut sounding = BTreeSet::new();
    for events in recordings.events.values() {
        let mut last: BTreeMap<&str, f64> = BTreeMap::new();
        for event in events {
            // Made in seconds: two in a row, cut only by the recording's ends.
            assert!(event.offset - event.onset <= 2.0 && event.offset <= 12.0);
            if let Some(end) = last.insert(&event.class, event.offset) {
                assert!(event.onset > end, "touching events are one");
            }
            sounding.insert(event.class.clone());
        }
    }
    assert_eq!(sounding, classes);
    assert_eq!(truth.active_windows.len(), 4);
}

#[test]
fn a_manifest_names_the_first_file_that_differs() {
    let (folder, data) = data();
    let cache = folder.path().join("cache.json");
    let before = Manifest::build(&data, Some(&cache)).unwrap();
    assert_eq!(before, Manifest::build(&data, Some(&cache)).unwrap());
    let stored = folder.path().join("manifest.json");
    fs::write(&stored, before.to_json()).unwrap();
    assert_eq!(Manifest::read(&stored).unwrap(), before);
    assert!(before.first_difference(&before).is_none());

    let table = data.root.join("metadata/train/weak.tsv");
    let mut text = fs::read_to_string(&table).unwrap();
    text.push('\n');
    fs::write(&table, text).unwrap();
    let after = Manifest::build(&data, Some(&cache)).unwrap();
    let difference = before.first_difference(&after).unwrap();
    assert_eq!(difference.path, "metadata/train/weak.tsv");
    assert!(
        difference.to_string().contains("bytes here"),
        "{difference}"
    );
    assert_ne!(before.digest(), after.digest());

    fs::write(&cache, "no json").unwrap();
    assert_eq!(Manifest::build(&data, Some(&cache)).unwrap(), after);
    fs::write(&stored, "{}").unwrap();
    let error = Manifest::read(&stored).unwrap_err().to_string();
    assert!(error.contains("not a data manifest"), "{error}");
}

#[test]
fn a_missing_file_is_named_with_who_needs_it() {
    let (_folder, data) = data();
    let audio = data
        .root
        .join("audio/train/strong_label_real_16k/strong_train_0002.wav");
    fs::remove_file(&audio).unwrap();
    for error in [
        TrainSet::open(&data).unwrap_err(),
        Manifest::build(&data, None).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("strong_train_0002.wav"), "{text}");
        assert!(text.contains("audioset_strong.tsv line"), "{text}");
    }
    fs::remove_dir_all(data.root.join("audio/train/unlabel_in_domain_16k")).unwrap();
    let error = clips(&data, Split::UnlabeledTrain, Purpose::Training).unwrap_err();
    assert!(error.to_string().contains("audio folder"), "{error}");
    let no_split = clips(
        &DataSettings {
            sources: BTreeMap::new(),
            ..data
        },
        Split::WeakTrain,
        Purpose::Training,
    );
    assert!(no_split.unwrap_err().to_string().contains("weak_train"));
}

#[test]
fn a_damaged_clip_is_an_error_that_names_it() {
    let (_folder, data) = data();
    let clip = clips(&data, Split::SynthTrain, Purpose::Training).unwrap()[0].clone();
    let bytes = fs::read(&clip.path).unwrap();
    fs::write(&clip.path, &bytes[..bytes.len() / 2]).unwrap();
    let error = clip.read(0).unwrap_err();
    assert!(matches!(error, Error::Audio(_)));
    assert!(
        error.to_string().contains("synth_train_0000.wav"),
        "{error}"
    );
}

/// What reading a strong table with this text complains about.
fn complaint(split: Split, text: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.tsv");
    fs::write(&path, text).unwrap();
    let error = dataset::read_strong(&path, split).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn broken_tables_are_described() {
    let strong = |rows: &str| {
        let text = format!("filename\tonset\toffset\tevent_label\n{rows}");
        complaint(Split::SynthTrain, text.as_bytes())
    };
    let cases = [
        (
            strong("a.wav\t0\t1\tCat\nb.wav\t0,5\t1\tDog\n"),
            r#"t.tsv: line 3, column "onset": found "0,5", expected a number of seconds from 0 to 86400 (a day)"#,
        ),
        (
            strong("a.wav\t-1\t1\tCat\n"),
            r#"t.tsv: line 2, column "onset": found "-1", expected a number of seconds from 0 to 86400 (a day)"#,
        ),
        (
            strong("a.wav\t2\t1.5\tCat\n"),
            r#"t.tsv: line 2, column "offset": the event ends before it begins: onset 2, offset 1.5 (swap or remove them)"#,
        ),
        (
            strong("a.wav\t2\t3\n"),
            r#"t.tsv: line 2: the row has 3 fields, the header has 4: "a.wav\t2\t3" (fields are separated by one tab each)"#,
        ),
        (
            strong("../a.wav\t2\t3\tCat\n"),
            r#"t.tsv: line 2, column "filename": found "../a.wav", expected the plain name of an audio file (no folder)"#,
        ),
        (
            strong(""),
            "t.tsv: line 1: the table has no rows with annotations (expected at least one)",
        ),
        (
            complaint(Split::SynthTrain, b"filename,onset,offset,event_label\n"),
            r#"t.tsv: line 1, column "filename": no such column; the header has filename,onset,offset,event_label, expected filename, onset, offset, event_label separated by tabs (this one looks comma-separated)"#,
        ),
        (
            complaint(Split::SynthTrain, b""),
            "t.tsv: line 1: the file is empty, expected a header row with tab-separated columns filename, onset, offset, event_label",
        ),
        (
            complaint(
                Split::SynthTrain,
                b"filename\tonset\toffset\tevent_label\na\xff\t0\t1\tCat\n",
            ),
            "t.tsv: line 2: the text is not UTF-8 (save the table as UTF-8)",
        ),
        (
            complaint(
                Split::MaestroTrain,
                b"filename\tonset\toffset\tevent_label\n",
            ),
            r#"t.tsv: line 1, column "confidence": no such column; the header has filename, onset, offset, event_label, expected filename, onset, offset, event_label, confidence separated by tabs"#,
        ),
        (
            complaint(
                Split::MaestroTrain,
                b"filename\tonset\toffset\tevent_label\tconfidence\na-0-1.wav\t0\t1\tcar\t1.5\n",
            ),
            r#"t.tsv: line 2, column "confidence": found "1.5", expected a number from 0 to 1"#,
        ),
    ];
    for (got, want) in cases {
        assert_eq!(got, want);
    }
    let unknown = strong("a.wav\t0\t1\tdog\n");
    assert!(unknown.starts_with(
        r#"t.tsv: line 2, column "event_label": unknown class "dog", did you mean "Dog"?; expected one of: Alarm_bell_ringing, "#
    ), "{unknown}");
    let other = strong("a.wav\t0\t1\tcar\n");
    assert!(other.contains("class of the other corpus"), "{other}");
}

#[test]
fn tables_with_other_line_ends_and_columns_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.tsv");
    let text = "\u{feff}offset\tfilename\tmore\tonset\tevent_label\r\n1.5\ta.wav\t\"\t0.5\tCat\r\n";
    fs::write(&path, text).unwrap();
    let rows = dataset::read_strong(&path, Split::SynthTrain).unwrap();
    assert_eq!(
        (rows[0].onset, rows[0].offset, rows[0].class),
        (0.5, 1.5, 2)
    );
}

#[test]
fn a_table_of_no_split_has_classes_of_both_corpora() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("truth.tsv");
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        dataset::read_events(&path)
    };
    let hard = "filename\tonset\toffset\tevent_label\na.wav\t0\t1\tDog\na.wav\t1\t2\tcar\n";
    let rows = read(hard).unwrap();
    let found: Vec<_> = rows.iter().map(|row| (row.class, row.confidence)).collect();
    assert_eq!(found, [(4, 1.0), (17, 1.0)]);
    let soft = "filename\tonset\toffset\tevent_label\tconfidence\na.wav\t0\t1\tcar\t0.25\n";
    assert_eq!(read(soft).unwrap()[0].confidence, 0.25);
    let wrong = read(&soft.replace("0.25", "2")).unwrap_err().to_string();
    assert!(wrong.contains("a number from 0 to 1"), "{wrong}");
    let wrong = read(&hard.replace("Dog", "dog")).unwrap_err().to_string();
    assert!(wrong.contains("did you mean \"Dog\"?"), "{wrong}");
}

#[test]
fn durations_and_weak_tables_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let durations = |text: &str| {
        let path = write("d.tsv", text);
        dataset::read_durations(&path, Split::DesedValidation)
    };
    let good = durations("filename\tduration\na.b-c.wav\t10.0\nbare\t3\n").unwrap();
    assert_eq!(good.keys().collect::<Vec<_>>(), ["a.b-c", "bare"]);
    let twice = durations("filename\tduration\na.wav\t10.0\na.wav\t9\n").unwrap_err();
    assert!(twice.to_string().contains("on line 2"), "{twice}");
    let zero = durations("filename\tduration\na.wav\t0\n").unwrap_err();
    assert!(zero.to_string().contains("above 0"), "{zero}");

    let path = write("w.tsv", "filename\tevent_labels\na.wav\tDog,Speach\n");
    let error = dataset::read_weak(&path, Split::WeakTrain).unwrap_err();
    assert!(error.to_string().contains(r#""Speach""#), "{error}");
    let missing = dataset::read_weak(Path::new("/nowhere/w.tsv"), Split::WeakTrain).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("/nowhere/w.tsv: no such table"),
        "{missing}"
    );
}

#[test]
fn a_clip_without_duration_and_a_file_that_is_no_window_are_named() {
    let (_folder, data) = data();
    let root = &data.root;
    fs::write(
        root.join("metadata/validation/validation_durations.tsv"),
        "filename\tduration\nother.wav\t10\n",
    )
    .unwrap();
    let classes = set_of(desed_classes());
    let error = desed_truth(&data, Split::DesedValidation, &classes).unwrap_err();
    assert!(
        error.to_string().contains("desed_validation_0000"),
        "{error}"
    );
    fs::write(
        root.join("metadata/maestro_real_validation.tsv"),
        "filename\tonset\toffset\tevent_label\tconfidence\nabc.wav\t0\t1\tcar\t0.9\n",
    )
    .unwrap();
    let classes = set_of(&dataset::MAESTRO_EVALUATED);
    let error = maestro_truth(&data, Split::MaestroValidation, &classes).unwrap_err();
    assert!(
        error.to_string().contains("hundredths of a second"),
        "{error}"
    );
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Text that is often nearly a table.
    fn nearly_a_table() -> impl Strategy<Value = String> {
        let field = prop_oneof![
            Just("a.wav".to_owned()),
            Just("0.5".to_owned()),
            Just("Cat".to_owned()),
            Just("1e999".to_owned()),
            Just("\"".to_owned()),
            ".{0,4}",
        ];
        let row = prop::collection::vec(field, 0..6).prop_map(|fields| fields.join("\t"));
        (any::<bool>(), prop::collection::vec(row, 0..5)).prop_map(|(header, rows)| {
            let header = if header {
                "filename\tonset\toffset\tevent_label\tconfidence\tevent_labels\tduration\n"
            } else {
                ""
            };
            format!("{header}{}", rows.join("\n"))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn no_text_is_too_broken_to_be_described(text in nearly_a_table()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("t.tsv");
            fs::write(&path, text).unwrap();
            let split = Split::MaestroTrain;
            let errors = [
                dataset::read_strong(&path, split).err(),
                dataset::read_weak(&path, Split::WeakTrain).err(),
                dataset::read_durations(&path, split).err(),
                dataset::read_exclude(&path, split).err(),
            ];
            for error in errors.into_iter().flatten() {
                prop_assert!(error.to_string().contains("t.tsv: line "), "{error}");
            }
        }
    }
}
