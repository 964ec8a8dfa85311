//! h5py reads what is written here, and what it writes is read here. Fetches h5py from PyPI, checked by its hashes, once per
//! build folder: `cargo test -p tensorfile --test h5py -- --ignored`, or `cargo xtask test`.

use std::path::{Path, PathBuf};
use std::process::Command;

use tensorfile::hdf5::{Predictions, write_predictions};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Exactly what requirements.txt names, installed on first use; put on the path of the machine's Python.
fn packages() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("h5py");
    let requirements = data("requirements.txt");
    let made_for = folder.join("made_for.txt");
    let wanted = std::fs::read(&requirements).expect("requirements.txt is committed");
    if std::fs::read(&made_for).is_ok_and(|made| made == wanted) {
        return folder;
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the build folder is writable");
    }
    run(Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--require-hashes", "--only-binary", ":all:", "--target"])
        .arg(&folder)
        .arg("--requirement")
        .arg(&requirements)
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1"));
    std::fs::write(&made_for, wanted).expect("the build folder is writable");
    folder
}

#[test]
#[ignore = "fetches h5py from PyPI"]
fn h5py_and_this_crate_read_each_other() {
    let packages = packages();
    let python = |script: &str| {
        let mut command = Command::new("python3");
        command.arg(data(script)).env("PYTHONPATH", &packages);
        command
    };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);

    let names: Vec<String> = ["Yab_30.000_40.000", "Straßenlärm", "日本", "d"]
        .map(str::to_owned)
        .into();
    let mut logits: Vec<f32> = (0..names.len() * 156 * 27)
        .map(|i| (i as f32).sin() * 9.0)
        .collect();
    logits[..3].copy_from_slice(&[-0.0, f32::MIN_POSITIVE / 2.0, f32::INFINITY]);
    write_predictions(&at("written.hdf5"), &names, [156, 27], &logits).unwrap();
    let bytes: Vec<u8> = logits
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    std::fs::write(at("logits"), bytes).unwrap();
    std::fs::write(at("names"), serde_json::to_vec(&names).unwrap()).unwrap();
    run(python("check_hdf5.py").args([at("written.hdf5"), at("logits"), at("names")]));

    // the committed files, made anew
    run(python("make_hdf5.py").arg(folder.path()));
    let mut compared = 0;
    for entry in std::fs::read_dir(data("")).unwrap() {
        let committed = entry.unwrap().path();
        let name = committed.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".hdf5") || name.starts_with("bad_") {
            continue;
        }
        let [old, new] = [&committed, &at(name)].map(|path| Predictions::open(path).unwrap());
        let count = old.names().len();
        assert_eq!(new.names(), old.names(), "{name}");
        assert_eq!(
            new.rows(0, count).unwrap(),
            old.rows(0, count).unwrap(),
            "{name}"
        );
        compared += 1;
    }
    assert_eq!(compared, 12);
}
