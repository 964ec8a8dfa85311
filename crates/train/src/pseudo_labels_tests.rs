use model::write_tensors;
use tensorfile::hdf5::write_predictions;

use super::*;
use crate::logits::{CLIPS, TENSOR};

const ROW: usize = (FRAMES * CLASSES) as usize;

fn logits(clips: usize) -> Vec<f32> {
    (0..clips * ROW)
        .map(|i| (i % 1013) as f32 / 100.0 - 5.0)
        .collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn tensors(path: &Path, name: &str, key: &str, clips: &[&str]) {
    let values = Tensor::from_slice(&logits(clips.len())).view([-1, FRAMES, CLASSES]);
    let metadata = BTreeMap::from([(key.to_owned(), serde_json::json!(clips).to_string())]);
    write_tensors(path, &[(name.to_owned(), values)], &metadata).unwrap();
}

#[test]
fn every_kind_of_file_gives_the_same_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    let hdf5 = folder.path().join("weak.hdf5");
    let shape = [FRAMES as usize, CLASSES as usize];
    // with and without an ending; a dot inside a stem is none
    let stems = ["Yab_30.000_40.000", "b", "c"];
    let stored = names(&["Yab_30.000_40.000", "b.wav", "c.flac"]);
    write_predictions(&hdf5, &stored, shape, &logits(3)).unwrap();
    let own = folder.path().join("logits.safetensors");
    tensors(&own, TENSOR, CLIPS, &stems);
    let artifact = folder.path().join("pseudo_labels.safetensors");
    tensors(&artifact, "weak_train", "clips/weak_train", &stems);

    let role = "pseudo_labels/weak_train".to_owned();
    for inputs in [
        BTreeMap::from([(role.clone(), hdf5.clone())]),
        BTreeMap::from([(role.clone(), own)]),
        BTreeMap::from([(role.clone(), artifact.clone())]),
        BTreeMap::from([(ROLE.to_owned(), artifact.clone())]),
        BTreeMap::from([(ROLE.to_owned(), artifact), (role, hdf5)]),
    ] {
        let clips = stems.map(|stem| (Split::WeakTrain, stem));
        let labels = PseudoLabels::open(&inputs, clips).unwrap();
        for (row, stem) in stems.iter().enumerate().rev() {
            let found = labels.probabilities(Split::WeakTrain, stem).unwrap();
            let expected = Tensor::from_slice(&logits(3)[row * ROW..][..ROW])
                .view([FRAMES, CLASSES])
                .sigmoid();
            assert_eq!(found, expected, "{inputs:?}, {stem}");
        }
    }
}

#[test]
fn missing_clips_are_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weak.hdf5");
    let shape = [FRAMES as usize, CLASSES as usize];
    write_predictions(&path, &names(&["a"]), shape, &logits(1)).unwrap();
    let inputs = BTreeMap::from([("pseudo_labels/weak_train".to_owned(), path)]);
    let clips = [
        (Split::WeakTrain, "a"),
        (Split::WeakTrain, "b"),
        (Split::WeakTrain, "c"),
        (Split::SynthTrain, "s"),
    ];
    let error = PseudoLabels::open(&inputs, clips).unwrap_err().to_string();
    assert!(
        error.contains("for 2 clips of split weak_train, among them b, c"),
        "{error}"
    );
    assert!(
        error.contains("no pseudo-labels for split synth_train (1 clips)"),
        "{error}"
    );
    assert!(PseudoLabels::open(&inputs, [clips[0]]).is_ok());
    let nothing = PseudoLabels::open(&BTreeMap::new(), []).unwrap_err();
    assert!(matches!(nothing, Error::MissingInput { .. }));
}

#[test]
fn other_shapes_and_doubled_stems_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weak.hdf5");
    let inputs = BTreeMap::from([("pseudo_labels/weak_train".to_owned(), path.clone())]);
    write_predictions(&path, &names(&["a"]), [2, 3], &[0.0; 6]).unwrap();
    let error = PseudoLabels::open(&inputs, []).unwrap_err().to_string();
    assert!(
        error.contains("[2, 3]") && error.contains("[156, 27]"),
        "{error}"
    );
    let shape = [FRAMES as usize, CLASSES as usize];
    write_predictions(&path, &names(&["a", "a.wav"]), shape, &logits(2)).unwrap();
    let error = PseudoLabels::open(&inputs, []).unwrap_err().to_string();
    assert!(error.contains("\"a\" is there more than once"), "{error}");
}
