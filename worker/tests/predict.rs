//! `worker predict` as people run it, with tiny random networks.
#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers may fail like the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use model::{SedModel, TensorFile, write_tensors};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tch::Tensor;
use types::{
    Architecture, BeatsSettings, CrnnSettings, DecibelFloor, EmbeddingPooling, MelEdges,
    ModelSettings, TransformerSettings,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A folder with a checkpoint or two and sounds.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn checkpoint(&self, name: &str, seed: u64) -> PathBuf {
        self.checkpoint_of(Architecture::AtstFrame, name, seed)
    }

    /// Student and teacher with different random weights.
    fn checkpoint_of(&self, architecture: Architecture, name: &str, seed: u64) -> PathBuf {
        let settings = ModelSettings {
            architecture,
            transformer: TransformerSettings {
                dim: 8,
                depth: 1,
                heads: 1,
                mlp_ratio: 1,
            },
            beats: BeatsSettings {
                patch_dim: 8,
                position_kernel: 8,
                position_groups: 2,
                ..BeatsSettings::PUBLISHED
            },
            audioset_head: None,
            embedding_pooling: EmbeddingPooling::AdaptiveAverage,
            crnn: CrnnSettings {
                channels: [2; 7],
                fusion_dim: 4,
                rnn_hidden: 4,
                rnn_layers: 1,
            },
            // with this one a window's result would depend on its batch
            atst_floor: DecibelFloor::Batch,
            fpasst_mel: MelEdges::FIXED,
            init_seed: 0,
        };
        let mut tensors = Vec::new();
        for (prefix, seed) in [("student.", seed), ("teacher.", seed + 1000)] {
            let model = SedModel::new(&settings, seed, tch::Device::Cpu).unwrap();
            tensors.extend(
                model
                    .store()
                    .iter()
                    .map(|(name, _, tensor)| (format!("{prefix}{name}"), tensor.detach())),
            );
        }
        let model = serde_json::to_string(&settings).unwrap();
        let metadata = BTreeMap::from([("model".to_owned(), model)]);
        let path = self.path(name);
        write_tensors(&path, &tensors, &metadata).unwrap();
        path
    }

    /// A chirp that differs from sound to sound.
    fn sound(&self, name: &str, seconds: f64, pitch: f32) -> PathBuf {
        let samples: Vec<f32> = (0..(seconds * 16_000.0) as usize)
            .map(|index| {
                let time = index as f32 / 16_000.0;
                (time * pitch * (6.0 + time.sin())).sin() * 0.4 * (time * 0.7).sin()
            })
            .collect();
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        audio::write_wav_i16(&path, &samples, 16_000).unwrap();
        path
    }

    /// Logits by sound.
    fn logits(&self, checkpoints: &[&Path], arguments: &[&str], sounds: &[&Path]) -> Logits {
        let file = self.path("logits.safetensors");
        let mut command = predict();
        for checkpoint in checkpoints {
            command.arg("--checkpoint").arg(checkpoint);
        }
        command.arg("--logits").arg(&file).args(arguments);
        succeeded(command.args(sounds).output().unwrap());
        let file = TensorFile::open(&file).unwrap();
        let tensors = file.names().map(|name| {
            let tensor = file.tensor(name).unwrap();
            assert_eq!(tensor.size()[1], 27);
            let values = Vec::<f32>::try_from(tensor.view([-1])).unwrap();
            (name.to_owned(), values)
        });
        tensors.collect()
    }
}

type Logits = BTreeMap<String, Vec<f32>>;

fn predict() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_worker"));
    command
        .args(["predict", "--threads", "1"])
        .stdin(Stdio::null());
    command
}

fn succeeded(output: Output) -> (String, String) {
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    (String::from_utf8(output.stdout).unwrap(), said)
}

#[test]
fn events_are_a_table_or_json() {
    let folder = Folder::new();
    let checkpoint = folder.checkpoint("c.safetensors", 1);
    folder.sound("clips/b/short.wav", 3.0, 300.0);
    folder.sound("clips/clip.wav", 10.0, 500.0);
    let long = folder.sound("long.wav", 25.0, 700.0);
    let command = || {
        let mut command = predict();
        command.arg("--checkpoint").arg(&checkpoint);
        // every frame is above 0, none above 1
        command.args(["--threshold", "0", "--threshold", "Cat=1"]);
        command.args(["--classes", "Speech,Cat,car"]);
        command.arg(folder.path("clips")).arg(&long);
        command
    };
    let (table, said) = succeeded(command().output().unwrap());
    assert_eq!(
        table,
        "filename\tonset\toffset\tevent_label\n\
         b/short.wav\t0.000\t3.000\tSpeech\n\
         b/short.wav\t0.000\t3.000\tcar\n\
         clip.wav\t0.000\t9.984\tSpeech\n\
         clip.wav\t0.000\t9.984\tcar\n\
         long.wav\t0.000\t25.000\tSpeech\n\
         long.wav\t0.000\t25.000\tcar\n"
    );
    assert!(said.contains("3 files: 38.0 s of sound in "), "{said}");
    assert!(said.contains(" times real time"), "{said}");

    let file = folder.path("new/events.json");
    let mut json = command();
    json.args(["--format", "json", "--output"]).arg(&file);
    json.arg("--scores").arg(folder.path("scores"));
    let (out, _) = succeeded(json.output().unwrap());
    assert_eq!(out, "");
    let files: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(files[0]["filename"], "b/short.wav");
    assert_eq!(files[2]["duration"], 25.0);
    assert_eq!(files[2]["events"][1]["event_label"], "car");
    let confidence = files[2]["events"][0]["confidence"].as_f64().unwrap();
    assert!(confidence > 0.0 && confidence < 1.0);

    let (table, _) = succeeded(command().arg("--with-scores").output().unwrap());
    let expected = format!("long.wav\t0.000\t25.000\tSpeech\t{confidence:.4}");
    assert!(table.lines().any(|line| line == expected), "{table}");

    let scores = fs::read_to_string(folder.path("scores/b/short.tsv")).unwrap();
    let lines: Vec<&str> = scores.lines().collect();
    assert_eq!(lines[0], "onset\toffset\tCat\tSpeech\tcar");
    assert_eq!(lines.len(), 157);
    assert!(lines[1].starts_with("0\t0.064\t") && lines[156].starts_with("9.92\t9.984\t"));
    assert!(folder.path("scores/long.tsv").exists() && folder.path("scores/clip.tsv").exists());
}

#[test]
fn an_ensemble_is_the_mean_of_its_members_logits() {
    let folder = Folder::new();
    let (one, other) = (folder.checkpoint("1", 1), folder.checkpoint("2", 2));
    let sound = folder.sound("a.wav", 10.0, 400.0);
    let logits = |checkpoints: &[&Path], arguments: &[&str]| {
        folder.logits(checkpoints, arguments, &[&sound])["a.wav"].clone()
    };
    let (first, second) = (logits(&[&one], &[]), logits(&[&other], &[]));
    assert_ne!(first, second);
    let mean: Vec<f32> = first
        .iter()
        .zip(&second)
        .map(|(one, other)| ((f64::from(*one) + f64::from(*other)) / 2.0) as f32)
        .collect();
    assert_eq!(logits(&[&one, &other], &[]), mean);
    assert_ne!(logits(&[&one], &["--teacher"]), first);
}

#[test]
fn a_long_file_is_covered_and_its_windows_overlap() {
    let folder = Folder::new();
    let checkpoint = folder.checkpoint("c", 3);
    let long = folder.sound("long.wav", 23.7, 350.0);
    let samples = audio::read_mono(&long, 16_000).unwrap();
    let part = folder.path("part.wav");
    audio::write_wav_i16(&part, &samples[..160_000], 16_000).unwrap();
    let logits = folder.logits(&[&checkpoint], &[], &[&long, &part]);
    let (long, part) = (&logits["long.wav"], &logits["part.wav"]);
    assert_eq!(long.len(), 371 * 27); // 23.7 s / 64 ms, rounded up
    assert_eq!(part.len(), 156 * 27);
    // the second window begins at frame 78
    assert_eq!(long[..78 * 27], part[..78 * 27]);
    assert_ne!(long[78 * 27..156 * 27], part[78 * 27..]);
}

#[test]
fn a_file_s_result_depends_on_the_file_alone() {
    let folder = Folder::new();
    let members = Architecture::ALL
        .map(|architecture| folder.checkpoint_of(architecture, architecture.as_str(), 4));
    let members = members.each_ref().map(PathBuf::as_path);
    let sounds = [
        folder.sound("a.wav", 12.0, 450.0),
        folder.sound("b.wav", 2.0, 100.0),
        folder.sound("c.wav", 31.0, 900.0),
    ];
    let [a, b, c] = sounds.each_ref().map(PathBuf::as_path);
    let together = folder.logits(&members, &["--batch", "3"], &[a, b, c]);
    assert_eq!(together.len(), 3);
    let backwards = folder.logits(&members, &["--batch", "64"], &[c, b, a]);
    assert_eq!(backwards, together);
    for (name, path) in [("a.wav", a), ("b.wav", b), ("c.wav", c)] {
        let alone = folder.logits(&members, &["--batch", "1"], &[path]);
        assert_eq!(alone[name], together[name]);
    }
}

#[test]
fn broken_files_do_not_stop_the_others() {
    let folder = Folder::new();
    let checkpoint = folder.checkpoint("c", 5);
    let good = folder.sound("clips/good.wav", 1.0, 400.0);
    folder.sound("clips/z.wav", 1.0, 300.0);
    let bytes = fs::read(&good).unwrap();
    fs::write(folder.path("clips/cut.wav"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(folder.path("clips/empty.wav"), "").unwrap();
    fs::write(folder.path("clips/text.mp3"), "not a sound at all").unwrap();
    fs::create_dir(folder.path("nothing")).unwrap();
    let output = predict()
        .arg("--checkpoint")
        .arg(&checkpoint)
        .args(["--threshold", "0", "--classes", "Dog"])
        .arg(folder.path("clips"))
        .arg(folder.path("missing.wav"))
        .arg(folder.path("nothing"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        table,
        "filename\tonset\toffset\tevent_label\n\
         good.wav\t0.000\t1.000\tDog\n\
         z.wav\t0.000\t1.000\tDog\n"
    );
    let said = String::from_utf8(output.stderr).unwrap();
    for name in ["cut.wav", "empty.wav", "text.mp3", "missing.wav", "nothing"] {
        let named = |line: &str| line.starts_with("error: ") && line.contains(name);
        assert!(said.lines().any(named), "{name}: {said}");
    }
    assert!(said.contains("2 files (5 more failed)"), "{said}");
}

#[test]
fn what_is_no_checkpoint_is_said_before_anything_is_heard() {
    let folder = Folder::new();
    let sound = folder.sound("a.wav", 1.0, 400.0);
    let other = folder.path("other.safetensors");
    let tensors = [("x".to_owned(), Tensor::from_slice(&[1.0_f32]))];
    write_tensors(&other, &tensors, &BTreeMap::new()).unwrap();
    for (checkpoint, word) in [
        (
            &other,
            "other.safetensors: no student, expected a checkpoint",
        ),
        (&sound, "a.wav: "),
        (&folder.path("gone"), "gone: "),
    ] {
        let output = predict()
            .arg("--checkpoint")
            .arg(checkpoint)
            .arg(&sound)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("error: ") && said.contains(word), "{said}");
    }
}

#[test]
fn pictures_show_found_and_true_events() {
    let folder = Folder::new();
    let checkpoint = folder.checkpoint("c", 6);
    let sound = folder.sound("d/a.wav", 10.0, 400.0);
    let truth = folder.path("truth.tsv");
    fs::write(
        &truth,
        "filename\tonset\toffset\tevent_label\na.wav\t1.5\t2.5\tVacuum_cleaner\na.wav\t1\t2\tcar\n",
    )
    .unwrap();
    let mut command = predict();
    command.arg("--checkpoint").arg(&checkpoint);
    command.args([
        "--classes",
        "desed",
        "--threshold",
        "1",
        "--threshold",
        "Dog=0",
    ]);
    command.arg("--picture").arg(folder.path("pictures"));
    command.arg("--ground-truth").arg(&truth).arg(&sound);
    succeeded(command.output().unwrap());
    let svg = fs::read_to_string(folder.path("pictures/a.svg")).unwrap();
    assert!(svg.contains(">Dog</text>") && svg.contains(">Vacuum cleaner</text>"));
    assert!(svg.contains("true: 1.50 s to 2.50 s") && svg.contains("found: 0.00 s to 9.98 s"));
    assert!(!svg.contains(">car</text>"), "no chosen class");
    assert!(svg.contains("data:image/png;base64,iVBOR"));
}

#[test]
fn an_interrupted_run_leaves_nothing_half_written() {
    let folder = Folder::new();
    let checkpoint = folder.checkpoint("c", 7);
    for index in 0..40 {
        folder.sound(&format!("clips/{index:02}.wav"), 120.0, 400.0);
    }
    let output = folder.path("out/events.tsv");
    let scores = folder.path("out/scores");
    let mut process = predict()
        .arg("--checkpoint")
        .arg(&checkpoint)
        .arg("--output")
        .arg(&output)
        .arg("--scores")
        .arg(&scores)
        .arg(folder.path("clips"))
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !scores.join("00.tsv").exists() {
        assert!(started.elapsed() < LIMIT && process.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = Pid::from_raw(i32::try_from(process.id()).unwrap());
    kill(id, Signal::SIGINT).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert!(!output.exists());
    let names = |folder: &Path| -> Vec<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names(&folder.path("out")), ["scores"]);
    // those that are there are whole
    let written = names(&scores);
    assert!(written.len() < 40, "it was done before the signal came");
    for name in written {
        let table = fs::read_to_string(scores.join(&name)).unwrap();
        assert_eq!(table.lines().count(), 1 + 1875, "{name}");
    }
}

#[test]
fn the_help_says_what_is_done() {
    let (help, _) = succeeded(predict().arg("--help").output().unwrap());
    insta::assert_snapshot!(help);
}

#[test]
fn a_gpu_that_is_not_there_is_said() {
    if fs::exists("/dev/nvidiactl").unwrap() {
        return; // this machine may have that GPU
    }
    let folder = Folder::new();
    let output = predict()
        .args(["--gpu", "0", "--checkpoint", "c"])
        .arg(folder.path("a.wav"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("GPU 0 cannot be used"), "{said}");
}
