//! Whatever bytes a file holds: an answer or an error, never a panic, never endless.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

/// Replaces, removes, inserts or cuts.
#[derive(Debug, Clone)]
enum Damage {
    Set(usize, u8),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    Cut(usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    // Half of the damage hits the header, where it matters most.
    let place = prop_oneof![0..128_usize, 0..20_000_usize];
    prop_oneof![
        6 => (place.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => (place.clone(), 1..64_usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        1 => (place.clone(), vec(any::<u8>(), 1..64)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => place.prop_map(Damage::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: Damage) {
    let len = bytes.len().max(1);
    match damage {
        Damage::Set(at, byte) => {
            if let Some(place) = bytes.get_mut(at % len) {
                *place = byte;
            }
        }
        Damage::Remove(at, count) => {
            let at = at % len;
            let end = (at + count).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
        Damage::Insert(at, new) => {
            let at = (at % len).min(bytes.len());
            bytes.splice(at..at, new);
        }
        Damage::Cut(at) => bytes.truncate(at % len),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_read_or_refused(which in 0..6_usize, damages in vec(damage(), 1..6)) {
        let names = [
            "sine_mono_16k_u8.wav",
            "sine_mono_16k_ima_adpcm.wav",
            "sine_mono_16k_ms_adpcm.wav",
            "sine_stereo_44k.flac",
            "sine_stereo_44k.ogg",
            "sine_stereo_44k.mp3",
        ];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
        let mut bytes = std::fs::read(folder.join(names[which])).unwrap();
        for damage in damages {
            apply(&mut bytes, damage);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(names[which]);
        std::fs::write(&path, &bytes).unwrap();
        let _ = audio::probe(&path);
        if let Ok(samples) = audio::read_mono(&path, 16_000) {
            prop_assert!(!samples.is_empty());
            prop_assert!(samples.iter().all(|x| x.is_finite()));
        }
    }
}
