use tensorfile::hdf5::Predictions;

use super::*;

const ROW: usize = (FRAMES * CLASSES) as usize;
const SHAPE: [usize; 2] = [FRAMES as usize, CLASSES as usize];

/// Numbers that differ everywhere, with a long mantissa.
fn values(clips: usize, seed: u32) -> Vec<f32> {
    (0..clips * ROW)
        .map(|i| ((i as u32).wrapping_mul(2_654_435_761) ^ seed) as f32 / 1e9 - 2.0)
        .collect()
}

fn write(path: &Path, names: &[&str], seed: u32) {
    let owned: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    write_predictions(path, &owned, SHAPE, &values(names.len(), seed)).unwrap();
}

fn read(path: &Path) -> (Vec<String>, Vec<f32>) {
    let file = Predictions::open(path).unwrap();
    let names = file.names().to_vec();
    let values = file.rows(0, names.len()).unwrap();
    (names, values)
}

/// Names of what is in a folder.
fn ls(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn one_set_goes_to_our_format_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("a.hdf5"), &["x", "Straße", "z"], 1);
    let done = convert(&[at("a.hdf5")], None, &at("own.safetensors")).unwrap();
    assert_eq!(done.written, [(at("own.safetensors"), vec![(None, 3)])]);
    convert(&[at("own.safetensors")], None, &at("b.hdf5")).unwrap();
    assert_eq!(read(&at("b.hdf5")), read(&at("a.hdf5")));
    assert_eq!(
        std::fs::read(at("b.hdf5")).unwrap(),
        std::fs::read(at("a.hdf5")).unwrap()
    );
    let sizes = ["own.safetensors", "a.hdf5"].map(|name| at(name).metadata().unwrap().len());
    assert!(sizes[0] <= sizes[1], "{sizes:?}");
    assert_eq!(ls(folder.path()), ["a.hdf5", "b.hdf5", "own.safetensors"]);
}

#[test]
fn splits_go_to_a_folder_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("theirs")).unwrap();
    write(&at("theirs/maestro_real_train.hdf5"), &["m"], 1);
    write(&at("theirs/weak_train.hdf5"), &["a", "b"], 2);
    write(&at("theirs/eval_private.hdf5"), &["p"], 3);
    let done = convert(&[at("theirs")], None, &at("all.safetensors")).unwrap();
    let sets = vec![(Some(Split::MaestroTrain), 1), (Some(Split::WeakTrain), 2)];
    assert_eq!(done.written, [(at("all.safetensors"), sets)]);
    assert_eq!(done.left_out, [at("theirs/eval_private.hdf5")]);

    convert(&[at("all.safetensors")], None, &at("ours")).unwrap();
    let names = ["maestro_real_train.hdf5", "weak_train.hdf5"];
    assert_eq!(ls(&at("ours")), names);
    for name in names {
        let [ours, theirs] = ["ours", "theirs"].map(|folder| read(&at(folder).join(name)));
        assert_eq!(ours, theirs);
    }
    // what is there stays there
    let error = convert(&[at("all.safetensors")], None, &at("ours")).unwrap_err();
    assert!(error.to_string().contains("not an empty folder"), "{error}");

    let error = convert(&[at("all.safetensors")], None, &at("one.hdf5")).unwrap_err();
    assert!(
        error.to_string().contains("maestro_train, weak_train") && !at("one.hdf5").exists(),
        "{error}"
    );
    let weak = Some(Split::WeakTrain);
    convert(&[at("all.safetensors")], weak, &at("one.hdf5")).unwrap();
    assert_eq!(read(&at("one.hdf5")).0, ["a", "b"]);
    let synth = Some(Split::SynthTrain);
    let error = convert(&[at("all.safetensors")], synth, &at("two.hdf5")).unwrap_err();
    assert!(
        error.to_string().contains("not the split synth_train"),
        "{error}"
    );
    // a file that names no split gets the one that is asked for
    let done = convert(&[at("one.hdf5")], weak, &at("weak.safetensors")).unwrap();
    assert_eq!(done.written[0].1, [(weak, 2)]);
    let error = convert(&[at("one.hdf5")], None, &at("nameless")).unwrap_err();
    assert!(error.to_string().contains("--split"), "{error}");
    assert!(!at("nameless").exists());
}

#[test]
fn several_inputs_become_their_mean() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // more clips than one chunk
    let names: Vec<String> = (0..CHUNK + 3).map(|i| format!("clip{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (file, seed) in [("a.hdf5", 1), ("b.hdf5", 99), ("c.hdf5", 12345)] {
        write(&at(file), &names, seed);
    }
    convert(&[at("b.hdf5")], None, &at("b.safetensors")).unwrap();
    let inputs = [at("a.hdf5"), at("b.safetensors"), at("c.hdf5")];
    convert(&inputs, None, &at("mean.hdf5")).unwrap();
    let (found_names, found) = read(&at("mean.hdf5"));
    assert_eq!(found_names, names);
    let members = [1, 99, 12345].map(|seed| values(names.len(), seed));
    for (i, &mean) in found.iter().enumerate() {
        let expected = members.iter().map(|one| f64::from(one[i])).sum::<f64>() / 3.0;
        assert!(
            (f64::from(mean) - expected).abs() < 1e-6,
            "{i}: {mean}, expected {expected}"
        );
    }
}

#[test]
fn a_mean_needs_the_same_clips() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(&at("a.hdf5"), &["x", "y", "z"], 1);
    write(&at("b.hdf5"), &["x", "z", "y"], 1);
    write(&at("c.hdf5"), &["x", "y"], 1);
    for (other, part) in [
        ("b.hdf5", "in row 1, "),
        ("b.hdf5", "b.hdf5 has clip \"z\" where "),
        ("c.hdf5", "in row 2, "),
        ("c.hdf5", "c.hdf5 has no more clips where "),
    ] {
        let inputs = [at("a.hdf5"), at(other)];
        let error = convert(&inputs, None, &at("mean.hdf5"))
            .unwrap_err()
            .to_string();
        assert!(error.contains(part), "{error}");
        assert!(!at("mean.hdf5").exists());
    }
    let weak = Some(Split::WeakTrain);
    convert(&[at("a.hdf5")], weak, &at("weak.safetensors")).unwrap();
    let inputs = [at("a.hdf5"), at("weak.safetensors")];
    let error = convert(&inputs, None, &at("mean.hdf5"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("holds weak_train, but"), "{error}");
    convert(&inputs, weak, &at("mean.hdf5")).unwrap();
}

#[test]
fn what_is_no_predictions_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("text.hdf5"), "no predictions at all").unwrap();
    std::fs::create_dir(at("empty")).unwrap();
    write(&at("good.hdf5"), &["x"], 1);
    let whole = std::fs::read(at("good.hdf5")).unwrap();
    std::fs::write(at("cut.hdf5"), &whole[..whole.len() / 2]).unwrap();
    let narrow = ["x".to_owned()];
    write_predictions(&at("narrow.hdf5"), &narrow, [2, 3], &[0.0; 6]).unwrap();
    let other = [(
        "w".to_owned(),
        tch::Tensor::zeros([2], (Kind::Float, tch::Device::Cpu)),
    )];
    model::write_tensors(&at("other.safetensors"), &other, &BTreeMap::new()).unwrap();
    for (input, part) in [
        ("text.hdf5", "text.hdf5"),
        ("absent.hdf5", "absent.hdf5"),
        ("cut.hdf5", "cut.hdf5"),
        ("empty", "names like weak_train.hdf5"),
        ("narrow.hdf5", "[2, 3]"),
        ("other.safetensors", "no logits by clip"),
    ] {
        let out = at("out.safetensors");
        let error = convert(&[at(input)], None, &out).unwrap_err().to_string();
        assert!(error.contains(part), "{input}: {error}");
        assert!(!out.exists());
    }
    let error = convert(&[at("good.hdf5")], None, &at("out.txt"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"txt\""), "{error}");
    let inputs: [PathBuf; 0] = [];
    assert!(convert(&inputs, None, &at("out.hdf5")).is_err());
}
