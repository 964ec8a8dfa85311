//! What is read is what was written; what cannot be scored is refused by name.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use eval::{ClipScores, Scores, SoundEvent};
use scorefiles::*;
use tempfile::TempDir;
use tensorfile::{Dtype, Info, TensorWriter};

fn oracle(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/oracles/metrics")
        .join(case)
}

fn clip(name: &str, boundaries: &[f64], values: &[f64]) -> ClipScores {
    ClipScores {
        clip: name.to_owned(),
        boundaries: boundaries.to_vec(),
        values: values.to_vec(),
    }
}

fn scores(classes: &[&str], clips: Vec<ClipScores>) -> Scores {
    Scores::new(
        classes.iter().map(|class| (*class).to_owned()).collect(),
        clips,
    )
    .unwrap()
}

fn written(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What a reader says about a folder, without the folder's place.
fn said<T>(folder: &TempDir, result: Result<T, Error>) -> String {
    let error = result.err().expect("this must be refused").to_string();
    error.replace(&format!("{}", folder.path().display()), "<folder>")
}

fn event(onset: f64, offset: f64, class: &str) -> SoundEvent {
    SoundEvent {
        onset,
        offset,
        class: class.to_owned(),
    }
}

#[test]
fn both_forms_read_back_what_was_written() {
    let odd = scores(
        &["cat", "cutlery and dishes"],
        vec![
            clip(
                "a.b-c_00-0-1000",
                &[0.0, 0.064, 0.5, 9.0],
                &[0.1, 1e-9, 0.25, f64::NEG_INFINITY, 1e300, -3.0],
            ),
            clip("z", &[0.3, 0.7], &[0.0, 1.0]),
        ],
    );
    let same_grid = scores(
        &["cat"],
        vec![
            clip("a", &[0.0, 0.1, 0.2], &[0.5, f64::from(0.9_f32)]),
            clip("b", &[0.0, 0.1, 0.2], &[0.0, 1.0]),
        ],
    );
    for (scores, tensors) in [(odd, 4), (same_grid, 3)] {
        let folder = tempfile::tempdir().unwrap();
        let (tables, file) = (
            folder.path().join("new/tsv"),
            folder.path().join("s.safetensors"),
        );
        write_tsv_scores(&tables, &scores).unwrap();
        assert_eq!(read_scores(&tables).unwrap(), scores);
        write_safetensors_scores(&file, &scores).unwrap();
        assert_eq!(read_scores(&file).unwrap(), scores);
        assert_eq!(
            tensorfile::TensorFile::open(&file).unwrap().names().count(),
            tensors
        );
    }
}

#[test]
fn the_published_cases_are_read() {
    for case in [
        "edge_clips",
        "mixed_durations",
        "ties_quantised",
        "synth_64ms",
        "synth_40ms",
    ] {
        let folder = oracle(case);
        let (scores, truth) = read_scored(
            &folder.join("scores.safetensors"),
            &folder.join("ground_truth.tsv"),
            &folder.join("durations.tsv"),
        )
        .unwrap();
        assert_eq!(scores.clips().len(), truth.events.len());
        let again = tempfile::tempdir().unwrap();
        let path = |name: &str| again.path().join(name);
        write_tsv_scores(&path("scores"), &scores).unwrap();
        write_ground_truth(&path("truth.tsv"), &truth.events).unwrap();
        write_durations(&path("durations.tsv"), &truth.durations).unwrap();
        let read =
            read_scored(&path("scores"), &path("truth.tsv"), &path("durations.tsv")).unwrap();
        assert_eq!(read, (scores, truth), "{case}");
    }
}

#[test]
fn tables_are_read_as_people_write_them() {
    let folder = written(&[
        (
            "a.tsv",
            "\u{feff}onset\toffset\tcat\tdog\r\n0.0\t0.1\t0.5\t1\r\n0.1\t0.2\t0\t-inf\r\n\r\n",
        ),
        // another order of classes, and times that were added up in another way
        (
            "b.v1.tsv",
            "onset\toffset\tdog\tcat\n0\t0.30000000000000004\t0.25\t0.75\n0.3\t0.4\t0\t1",
        ),
        ("README.md", "not a table"),
    ]);
    let read = read_tsv_scores(folder.path()).unwrap();
    let expected = scores(
        &["cat", "dog"],
        vec![
            clip("a", &[0.0, 0.1, 0.2], &[0.5, 1.0, 0.0, f64::NEG_INFINITY]),
            clip(
                "b.v1",
                &[0.0, 0.300_000_000_000_000_04, 0.4],
                &[0.75, 0.25, 1.0, 0.0],
            ),
        ],
    );
    assert_eq!(read, expected);
}

#[test]
fn faulty_tables_of_scores_are_refused_by_file_and_line() {
    const HEAD: &str = "onset\toffset\tcat\n";
    for (rows, expected) in [
        ("", "line 1: there are no rows, expected one for each frame"),
        ("0\t1\n", "line 2: the row has 2 cells, the header has 3"),
        (
            "0\t1\t0.5\t0.5\n",
            "line 2: the row has 4 cells, the header has 3",
        ),
        (
            "x\t1\t0.5\n",
            "line 2: the onset is \"x\", expected a number of seconds, 0 or more",
        ),
        (
            "-1\t1\t0.5\n",
            "line 2: the onset is \"-1\", expected a number of seconds, 0 or more",
        ),
        (
            "0\tinf\t0.5\n",
            "line 2: the offset is \"inf\", expected a number of seconds, 0 or more",
        ),
        (
            "1\t1\t0.5\n",
            "line 2: the frame ends at 1 s, not after its onset at 1 s",
        ),
        (
            "0\t1\t\n",
            "line 2: the score of class \"cat\" from 0 s to 1 s is \"\", expected a number",
        ),
        (
            "0\t1\tnan\n",
            "line 2: the score of class \"cat\" from 0 s to 1 s is \"nan\", expected a number",
        ),
        (
            "0\t1\t0.5\n0.5\t2\t0.5\n",
            "line 3: the frame begins at 0.5 s, before the previous one ends at 1 s (frames follow each other)",
        ),
        (
            "0\t1\t0.5\n1\t2\t0.5\n0\t1\t0.5\n",
            "line 4: the frame begins at 0 s, before the previous one ends at 2 s (frames follow each other)",
        ),
        (
            "0\t1\t0.5\n1.5\t2\t0.5\n",
            "line 3: the frame begins at 1.5 s, after the previous one ended at 1 s (frames follow each other without a gap)",
        ),
    ] {
        let folder = written(&[("a.tsv", &format!("{HEAD}{rows}"))]);
        let expected = format!("<folder>/a.tsv: {expected}");
        assert_eq!(said(&folder, read_tsv_scores(folder.path())), expected);
    }
    for (header, expected) in [
        (
            "",
            "found \"\", expected a header: onset, offset and the classes, separated by tabs",
        ),
        (
            "0.0\t0.1\t0.5",
            "found \"0.0\\t0.1\\t0.5\", expected a header: onset, offset and the classes, separated by tabs",
        ),
        (
            "onset\toffset",
            "found \"onset\\toffset\", expected a header: onset, offset and the classes, separated by tabs",
        ),
        (
            "onset\toffset\tcat\t",
            "column 4 of the header has no name, expected a class",
        ),
        ("onset\toffset\tcat\tcat", "class \"cat\" has two columns"),
    ] {
        let folder = written(&[("a.tsv", &format!("{header}\n0\t1\t0.5\t0.5\n"))]);
        let expected = format!("<folder>/a.tsv: line 1: {expected}");
        assert_eq!(said(&folder, read_tsv_scores(folder.path())), expected);
    }
}

#[test]
fn faulty_folders_of_scores_are_refused() {
    let folder = written(&[("a.csv", "")]);
    assert_eq!(
        said(&folder, read_tsv_scores(folder.path())),
        "<folder>: the folder has no .tsv file among its 1 entries, expected one for each clip"
    );
    let good = "onset\toffset\tcat\tdog\n0\t1\t0\t0\n";
    let folder = written(&[
        ("a.tsv", good),
        ("b.tsv", "onset\toffset\tcat\tcow\n0\t1\t0\t0\n"),
    ]);
    assert_eq!(
        said(&folder, read_tsv_scores(folder.path())),
        "<folder>/b.tsv: line 1: class \"cow\" has a column here, but none in <folder>/a.tsv"
    );
    let folder = written(&[("a.tsv", good), ("b.tsv", "onset\toffset\tdog\n0\t1\t0\n")]);
    assert_eq!(
        said(&folder, read_tsv_scores(folder.path())),
        "<folder>/b.tsv: line 1: class \"cat\" has no column here, but one in <folder>/a.tsv"
    );
    let folder = written(&[]);
    fs::write(
        folder.path().join("a.tsv"),
        b"onset\toffset\tcat\n0\t1\t\xff\n",
    )
    .unwrap();
    assert!(
        said(&folder, read_tsv_scores(folder.path()))
            .starts_with("<folder>/a.tsv: line 2: the text is not UTF-8")
    );
    let scores = scores(&["cat"], vec![clip("../a", &[0.0, 1.0], &[0.5])]);
    assert!(
        said(&folder, write_tsv_scores(folder.path(), &scores))
            .contains("\"../a\" cannot be the name of a clip")
    );
}

/// A safetensors file with tensors of zeros but for `classes`.
fn tensors(classes: Option<&str>, tensors: &[(&str, Dtype, &[usize])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tensors: Vec<(String, Info)> = (tensors.iter())
        .map(|(name, dtype, shape)| {
            let (dtype, shape) = (*dtype, shape.to_vec());
            ((*name).to_owned(), Info { dtype, shape })
        })
        .collect();
    let metadata = classes.map(|classes| ("classes".to_owned(), classes.to_owned()));
    let path = folder.path().join("s.safetensors");
    let mut writer =
        TensorWriter::create(&path, &tensors, &metadata.into_iter().collect()).unwrap();
    for position in writer.order().to_vec() {
        let (name, info) = &tensors[position];
        let count: usize = info.shape.iter().product();
        let bytes: Vec<u8> = match name.starts_with("timestamps") {
            true => (0..count)
                .flat_map(|frame| (frame as f64).to_le_bytes())
                .collect(),
            false => vec![0; count * info.dtype.width()],
        };
        writer.append(&bytes[..count * info.dtype.width()]).unwrap();
    }
    writer.finish().unwrap();
    folder
}

#[test]
fn faulty_files_of_scores_are_refused() {
    use Dtype::{F32, F64, I64};
    let cat = Some("[\"cat\"]");
    for (classes, holding, expected) in [
        (
            None,
            vec![("scores/a", F32, &[2, 1][..])],
            "the metadata has nothing as \"classes\", expected the list of classes as JSON text",
        ),
        (
            Some("cat"),
            vec![],
            "the metadata has \"cat\" as \"classes\", expected the list of classes as JSON text",
        ),
        (
            cat,
            vec![("timestamps", F64, &[3])],
            "there are no scores in it, expected a tensor scores/<clip> for each clip",
        ),
        (
            cat,
            vec![("scores/a", F32, &[2, 1])],
            "clip \"a\" has scores but no timestamps (expected timestamps/a or timestamps)",
        ),
        (
            cat,
            vec![("scores/a", F32, &[2, 1]), ("timestamps/b", F64, &[3])],
            "clip \"b\" has timestamps but no scores",
        ),
        (
            cat,
            vec![("scores/a", F32, &[2, 1]), ("times", F64, &[3])],
            "tensor \"times\" is not known, expected scores/<clip>, timestamps/<clip> or timestamps",
        ),
        (
            cat,
            vec![("scores/a/b", F32, &[2, 1])],
            "\"a/b\" cannot be the name of a clip: it would be no file in a folder",
        ),
        (
            cat,
            vec![("scores/a", F32, &[2, 1]), ("timestamps", F64, &[1])],
            "tensor \"timestamps\" is F64 of shape [1], expected F64 of shape [frames + 1], with one frame at least",
        ),
        (
            cat,
            vec![("scores/a", F32, &[2, 1]), ("timestamps", F32, &[3])],
            "tensor \"timestamps\" is F32 of shape [3], expected F64 of shape [frames + 1], with one frame at least",
        ),
        (
            cat,
            vec![("scores/a", F32, &[2, 2]), ("timestamps", F64, &[3])],
            "tensor \"scores/a\" is F32 of shape [2, 2], expected F32 or F64 of shape [2, 1] (frames, classes)",
        ),
        (
            cat,
            vec![("scores/a", I64, &[2, 1]), ("timestamps", F64, &[3])],
            "tensor \"scores/a\" is I64 of shape [2, 1], expected F32 or F64 of shape [2, 1] (frames, classes)",
        ),
    ] {
        let folder = tensors(classes, &holding);
        let path = folder.path().join("s.safetensors");
        let expected = format!("<folder>/s.safetensors: {expected}");
        assert_eq!(said(&folder, read_scores(&path)), expected);
    }
    let folder = tensors(
        Some("[\"cat\", \"cat\"]"),
        &[("scores/a", F32, &[2, 2]), ("timestamps", F64, &[3])],
    );
    let read = read_scores(&folder.path().join("s.safetensors"));
    assert_eq!(
        said(&folder, read),
        "<folder>/s.safetensors: class \"cat\" is there twice"
    );
    assert!(said(&folder, read_scores(&folder.path().join("none"))).starts_with("<folder>/none: "));
}

#[test]
fn tables_of_events_are_read_and_refused() {
    let read = |rows: &str| {
        let folder = written(&[(
            "t.tsv",
            &format!("filename\tonset\toffset\tevent_label\n{rows}"),
        )]);
        let result = read_ground_truth(&folder.path().join("t.tsv"));
        (folder, result)
    };
    let (_, found) = read("b.x.wav\t1\t2\tcat\na-1.wav\t\t\t\nb.x.wav\t0.5\t3\tdog\n");
    let expected = BTreeMap::from([
        ("a-1".to_owned(), vec![]),
        (
            "b.x".to_owned(),
            vec![event(1.0, 2.0, "cat"), event(0.5, 3.0, "dog")],
        ),
    ]);
    assert_eq!(found.unwrap(), expected);
    for (rows, expected) in [
        ("", "line 1: the table has no rows"),
        (
            "a.wav\t1\t2\n",
            "line 2: the row has 3 fields, the header has 4",
        ),
        (
            "a.wav\t1\t\tcat\n",
            "line 2, column \"offset\": the field is empty, expected a number of seconds",
        ),
        (
            "a.wav\t1\t2\t\n",
            "line 2, column \"event_label\": the field is empty, expected a class",
        ),
        (
            "a.wav\t2\t1\tcat\n",
            "line 2, column \"offset\": the event ends before it begins: onset 2, offset 1",
        ),
        (
            "a.wav\t1\t1\tcat\n",
            "line 2, column \"offset\": the event ends where it begins, at 1",
        ),
        (
            "a.wav\tnan\t1\tcat\n",
            "line 2, column \"onset\": found \"nan\", expected a number of seconds",
        ),
        (
            "a.wav\t1\t2\tcat\na.wav\t1\t2.0\tcat\n",
            "line 3, column \"filename\": \"a: cat from 1 to 2\" has a row already, on line 2",
        ),
        (
            "a.wav\t\t\t\na.wav\t1\t2\tcat\n",
            "line 2, column \"onset\": the field is empty, expected an event, or no other row about this clip",
        ),
        (
            "x/a.wav\t1\t2\tcat\n",
            "line 2, column \"filename\": found \"x/a.wav\", expected the plain name",
        ),
    ] {
        let (folder, result) = read(rows);
        let error = said(&folder, result);
        assert!(
            error.starts_with(&format!("<folder>/t.tsv: {expected}")),
            "{error}"
        );
    }
    let folder = written(&[("t.tsv", "a.wav\t1\t2\tcat\n")]);
    let error = said(&folder, read_ground_truth(&folder.path().join("t.tsv")));
    assert!(
        error.contains("line 1, column \"filename\": no such column"),
        "{error}"
    );
    let error = said(&folder, read_ground_truth(&folder.path().join("none.tsv")));
    assert!(
        error.starts_with("<folder>/none.tsv: cannot read: "),
        "{error}"
    );
}

#[test]
fn durations_and_weak_labels_are_read_and_refused() {
    let folder = written(&[
        ("d.tsv", "filename\tduration\na.b.wav\t10\nc.flac\t0.5\n"),
        (
            "w.tsv",
            "filename\tevent_labels\na.wav\tSpeech,Dog\nb.wav\t\n",
        ),
        ("again.tsv", "filename\tduration\na.wav\t10\na.wav\t11\n"),
        ("none.tsv", "filename\tduration\na.wav\t0\n"),
        (
            "twice.tsv",
            "filename\tevent_labels\na.wav\tDog\na.wav\tDog\n",
        ),
        ("comma.tsv", "filename\tevent_labels\na.wav\tDog,\n"),
    ]);
    let path = |name: &str| folder.path().join(name);
    let durations = read_durations(&path("d.tsv")).unwrap();
    assert_eq!(
        durations,
        BTreeMap::from([("a.b".to_owned(), 10.0), ("c".to_owned(), 0.5)])
    );
    let labels = read_weak_labels(&path("w.tsv")).unwrap();
    let both = ["Dog", "Speech"].map(str::to_owned);
    assert_eq!(
        labels,
        BTreeMap::from([
            ("a".to_owned(), both.into()),
            ("b".to_owned(), BTreeSet::new())
        ])
    );
    write_weak_labels(&path("w2.tsv"), &labels).unwrap();
    assert_eq!(read_weak_labels(&path("w2.tsv")).unwrap(), labels);
    for (error, expected) in [
        (
            said(&folder, read_durations(&path("again.tsv"))),
            "again.tsv: line 3, column \"filename\": \"a\" has a row already",
        ),
        (
            said(&folder, read_durations(&path("none.tsv"))),
            "none.tsv: line 2, column \"duration\": found \"0\", expected",
        ),
        (
            said(&folder, read_weak_labels(&path("twice.tsv"))),
            "twice.tsv: line 3, column \"filename\": \"a\" has a row already",
        ),
        (
            said(&folder, read_weak_labels(&path("comma.tsv"))),
            "comma.tsv: line 2, column \"event_labels\": found \"Dog,\", expected names",
        ),
    ] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn soft_labels_become_events_of_recordings() {
    let folder = written(&[(
        "m.tsv",
        "filename\tonset\toffset\tevent_label\tconfidence\n\
         a-b_00-0-1000.wav\t0\t1\tcar\t0.5\n\
         a-b_00-0-1000.wav\t1\t2\tcar\t0.51\n\
         a-b_00-150-1150.wav\t1\t3\tcar\t0.9\n\
         a-b_00-150-1150.wav\t4\t5\tcow\t0.9\n\
         c-0-1000.wav\t4\t5\tcar\t0.2\n",
    )]);
    let path = folder.path().join("m.tsv");
    let found = read_maestro(&path, &["car"]).unwrap();
    let recordings = BTreeMap::from([
        ("a-b_00".to_owned(), vec![event(1.0, 4.0, "car")]),
        ("c".to_owned(), vec![]),
    ]);
    assert_eq!(found.recordings, recordings);
    let clips: Vec<(&str, usize)> = found
        .clips
        .iter()
        .map(|(clip, events)| (clip.as_str(), events.len()))
        .collect();
    assert_eq!(
        clips,
        [
            ("a-b_00-0-1000", 1),
            ("a-b_00-150-1150", 1),
            ("c-0-1000", 0)
        ]
    );

    for (row, expected) in [
        (
            "a-0.wav\t0\t1\tcar\t0.5",
            "column \"filename\": found \"a-0.wav\", expected <recording>-<start>-<end>.wav",
        ),
        (
            "a-0-1.wav\t0\t1\tcow\t1.5",
            "column \"confidence\": found \"1.5\", expected a number from 0 to 1",
        ),
    ] {
        fs::write(
            &path,
            format!("filename\tonset\toffset\tevent_label\tconfidence\n{row}\n"),
        )
        .unwrap();
        let error = said(&folder, read_maestro(&path, &["car"]));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let scored = |truth: &str, durations: &str| {
        let folder = written(&[
            (
                "truth.tsv",
                &format!("filename\tonset\toffset\tevent_label\n{truth}"),
            ),
            ("durations.tsv", &format!("filename\tduration\n{durations}")),
        ]);
        let scores = scores(
            &["cat"],
            vec![
                clip("a", &[0.0, 1.0, 2.0], &[0.0, 1.0]),
                clip("b", &[0.0, 1.0, 2.0], &[0.0, 1.0]),
            ],
        );
        let path = |name: &str| folder.path().join(name);
        write_tsv_scores(&path("s"), &scores).unwrap();
        let read = read_scored(&path("s"), &path("truth.tsv"), &path("durations.tsv"));
        match read {
            Ok(_) => "accepted".to_owned(),
            Err(_) => said(&folder, read),
        }
    };
    let truth = "a.wav\t0\t1\tcat\nb.wav\t\t\t\n";
    // frames may end before the audio and after it
    for durations in ["a.wav\t5\nb.wav\t1.5\n", "a.wav\t2\nb.wav\t1.001\n"] {
        assert_eq!(scored(truth, durations), "accepted");
    }
    let files = "<folder>/s, <folder>/truth.tsv, <folder>/durations.tsv: ";
    for (truth, durations, expected) in [
        (truth, "a.wav\t2\nb.wav\t1\n", "<folder>/s: clip \"b\" has a frame from 1 s to 2 s, but lasts 1 s by <folder>/durations.tsv (the last frame begins before the audio ends)".to_owned()),
        (truth, "a.wav\t2\n", format!("{files}clip \"b\" has scores but no duration")),
        ("a.wav\t0\t1\tcat\n", "a.wav\t2\nb.wav\t2\n", format!("{files}clip \"b\" has scores but no ground truth")),
        ("a.wav\t0\t1\tcat\nb.wav\t\t\t\nc.wav\t\t\t\n", "a.wav\t2\nb.wav\t2\n", format!("{files}clip \"c\" has ground truth but no scores")),
        ("a.wav\t0\t1\tcow\nb.wav\t\t\t\n", "a.wav\t2\nb.wav\t2\n", format!("{files}ground truth of clip \"a\": class \"cow\" (0 s to 1 s) is not among the scored classes")),
        ("a.wav\t0\t1\tcat\na.wav\t1\t2\tcat\nb.wav\t\t\t\n", "a.wav\t2\nb.wav\t2\n", format!("{files}ground truth of clip \"a\": \"cat\" from 1 s to 2 s touches or overlaps the one from 0 s to 1 s (merge them first)")),
    ] {
        assert_eq!(scored(truth, durations), expected);
    }
}
