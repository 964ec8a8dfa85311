//! No bytes bring a reader down, and what it accepts is what it would write.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use scorefiles::*;

const SCORES: &str = "onset\toffset\tcat\tcutlery and dishes\n0.0\t0.064\t0.25\t1e-05\n0.064\t0.128\t-inf\t0.5\n0.128\t10.0\t1.0\t0.0\n";
const EVENTS: &str = "filename\tonset\toffset\tevent_label\na.b.wav\t0.0\t1.5\tcat\nb.wav\t\t\t\na.b.wav\t2\t3e0\tdog\n";
const DURATIONS: &str = "filename\tduration\na.b.wav\t10.0\nb.wav\t0.5\n";
const WEAK: &str = "filename\tevent_labels\na.b.wav\tcat,dog\nb.wav\t\n";
const SOFT: &str = "filename\tonset\toffset\tevent_label\tconfidence\na-b-0-1000.wav\t0\t1\tcar\t0.7\na-b-100-1100.wav\t0\t1\tcar\t0.3\n";

/// Places, and what comes in there: bytes that mean something in a table as often as any others.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, Vec<u8>)>> {
    let telling = prop::sample::select(b"\t\n\r,.-+eE0129 naif\"/\\\xef\xbb\xbf\xff\0".to_vec());
    let byte = prop_oneof![telling, any::<u8>()];
    let text = prop_oneof![
        prop::collection::vec(byte, 0..4),
        prop::sample::select(vec![
            "nan",
            "inf",
            "-1",
            "1e999",
            "9e15",
            "\t",
            "\n\n",
            "cat",
            "0.1\t0.2\t",
            "-0"
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), 0_u8..6, text), 1..6)
}

fn changed(original: &[u8], changes: &[(prop::sample::Index, u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for (place, removed, text) in changes {
        let start = place.index(bytes.len() + 1);
        let end = (start + usize::from(*removed)).min(bytes.len());
        bytes.splice(start..end, text.iter().copied());
    }
    bytes
}

fn tables(folder: &Path, kind: usize, bytes: &[u8]) {
    let path = folder.join("a.tsv");
    fs::write(&path, bytes).unwrap();
    let again = folder.join("again/a.tsv");
    match kind {
        0 => {
            if let Ok(scores) = read_scores(folder) {
                write_tsv_scores(&folder.join("again"), &scores).unwrap();
                assert_eq!(read_scores(&folder.join("again")).unwrap(), scores);
                let file = folder.join("s.safetensors");
                write_safetensors_scores(&file, &scores).unwrap();
                assert_eq!(read_scores(&file).unwrap(), scores);
            }
        }
        1 => {
            if let Ok(events) = read_ground_truth(&path) {
                write_ground_truth(&again, &events).unwrap();
                assert_eq!(read_ground_truth(&again).unwrap(), events);
            }
        }
        2 => {
            if let Ok(durations) = read_durations(&path) {
                write_durations(&again, &durations).unwrap();
                assert_eq!(read_durations(&again).unwrap(), durations);
            }
        }
        3 => {
            if let Ok(labels) = read_weak_labels(&path) {
                write_weak_labels(&again, &labels).unwrap();
                assert_eq!(read_weak_labels(&again).unwrap(), labels);
            }
        }
        _ => {
            if let Ok(maestro) = read_maestro(&path, &["car"]) {
                assert!(!maestro.clips.is_empty());
            }
        }
    }
}

static TENSORS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.tsv"), SCORES).unwrap();
    fs::write(folder.path().join("b.tsv"), SCORES.replace("10.0", "9.0")).unwrap();
    let scores = read_scores(folder.path()).unwrap();
    let file = folder.path().join("s.safetensors");
    write_safetensors_scores(&file, &scores).unwrap();
    fs::read(&file).unwrap()
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn of_a_table(kind in 0_usize..5, changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        let original = [SCORES, EVENTS, DURATIONS, WEAK, SOFT][kind];
        tables(folder.path(), kind, &changed(original.as_bytes(), &changes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn of_a_file_of_tensors(changes in changes(), in_the_header in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = match in_the_header {
            // of the same length, so that more than the length's own check is met
            true => {
                let mut bytes = TENSORS.clone();
                for (place, _, text) in &changes {
                    let start = 8 + place.index(bytes.len() - 8);
                    for (byte, new) in bytes[start..].iter_mut().zip(text) {
                        *byte = *new;
                    }
                }
                bytes
            }
            false => changed(&TENSORS, &changes),
        };
        let file = folder.path().join("s.safetensors");
        fs::write(&file, bytes).unwrap();
        if let Ok(scores) = read_scores(&file) {
            write_safetensors_scores(&file, &scores).unwrap();
            assert_eq!(read_scores(&file).unwrap(), scores);
        }
    }
}
