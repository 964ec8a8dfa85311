//! `worker predict`: what people use a trained system with.
//!
//! A thread decodes files ahead; `hearing` gathers their windows into batches and runs the networks (all tensor work is
//! `train::inference`); `events` decodes each file's logits; `output` and room `report` write.

mod events;
mod hearing;
mod inputs;
pub mod options;
mod output;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, Result};
use train::inference::{self, FrameLogits, Network, System, Windows};
use types::{ShownClip, SoundEvent};

use duty::protocol::Device;

use crate::exit;
use events::Decoder;
use hearing::{Heard, Hearing};
use inputs::Input;
use options::Options;
use output::Events;
use watch::Progress;

/// Decoded files that may wait for the networks.
const AHEAD: usize = 4;

/// Runs the command; gives the process's exit code.
#[must_use]
pub fn run(options: &Options) -> u8 {
    let device = match crate::rank::open_device(options.device()) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("error: {} cannot be used: {error}", options.device());
            return exit::NO_DEVICE;
        }
    };
    match predict(options, device) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit::FAILED
        }
    }
}

fn predict(options: &Options, device: tch::Device) -> Result<u8> {
    let own_files = options.scores.is_some() || options.picture.is_some();
    let (inputs, problems) = inputs::collect(&options.paths, own_files)?;
    let truth = match &options.ground_truth {
        Some(path) => Some(inference::annotations(path)?),
        None => None,
    };
    prepare_places(options)?;
    let stop = watch::interruption()?;
    let threads = options.threads.map_or_else(
        || std::thread::available_parallelism().map_or(1, usize::from),
        |threads| threads as usize,
    );
    collective::runtime::set_threads(threads);
    // ten bits of mantissa would make GPUs disagree with CPUs
    collective::runtime::allow_tf32(false)?;
    let network = if options.teacher {
        Network::Teacher
    } else {
        Network::Student
    };
    let system = System::load(&options.checkpoint, network, device)?;

    let mut progress = Progress::new(inputs.len());
    for problem in &problems {
        progress.failed(problem);
    }
    let mut results = Results {
        options,
        decoder: Decoder::new(options),
        truth,
        events: Events::new(options.format, options.with_scores),
        logits: Vec::new(),
    };
    let batch = match options.device() {
        Device::Cpu => 1,
        Device::Gpu(_) => options.batch as usize,
    };
    let mut hearing = Hearing::new(&system, batch, Windows::hop_frames(options.hop));
    let complete = listen(inputs, &mut hearing, &mut results, &mut progress, &stop)?;
    if !complete {
        progress.stopped();
        return Ok(exit::INTERRUPTED);
    }
    results.write()?;
    let failed = progress.any_failed();
    progress.finish();
    Ok(if failed { exit::FAILED } else { exit::OK })
}

/// Makes folders now, so that what cannot be written is not found out after hours.
fn prepare_places(options: &Options) -> Result<()> {
    for folder in [&options.scores, &options.picture].into_iter().flatten() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    for file in [&options.output, &options.logits].into_iter().flatten() {
        output::make_folder_of(file)
            .with_context(|| format!("cannot make the folder of {}", file.display()))?;
        if file.is_dir() {
            anyhow::bail!("{} is a folder, expected a file to write", file.display());
        }
    }
    Ok(())
}

/// Hears all inputs; `false` if it was stopped before the end.
fn listen<'a>(
    inputs: Vec<Input>,
    hearing: &mut Hearing<'a, Input>,
    results: &mut Results<'_>,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<bool> {
    let sounds = decode(inputs);
    let mut more = true;
    while more || hearing.waiting() > 0 {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if more && !hearing.is_ready() {
            match sounds.recv() {
                Ok((input, Ok(samples))) => hearing.push(input, samples),
                Ok((_, Err(message))) => progress.failed(&message),
                Err(_) => more = false,
            }
            continue;
        }
        for heard in hearing.step()? {
            progress.file(heard.logits.seconds);
            results.add(heard)?;
        }
        progress.moved(hearing.fraction());
    }
    Ok(!stop.load(Ordering::Relaxed))
}

/// What decoding gave: samples, or why not.
type Decoded = (Input, Result<Vec<f32>, String>);

/// Decodes in order, a few files ahead of whoever receives.
fn decode(inputs: Vec<Input>) -> Receiver<Decoded> {
    let (send, receive) = sync_channel(AHEAD);
    std::thread::spawn(move || {
        for input in inputs {
            let samples = inference::read(&input.path).map_err(|error| error.to_string());
            if send.send((input, samples)).is_err() {
                break;
            }
        }
    });
    receive
}

/// Where results go.
struct Results<'a> {
    options: &'a Options,
    decoder: Decoder,
    truth: Option<BTreeMap<String, Vec<SoundEvent>>>,
    events: Events,
    logits: Vec<(String, FrameLogits)>,
}

impl Results<'_> {
    fn add(&mut self, heard: Heard<Input>) -> Result<()> {
        let Heard {
            tag: input,
            sound,
            logits,
        } = heard;
        let found = self.decoder.decode(&logits);
        self.events.add(&input.name, &found);
        if let Some(folder) = &self.options.scores {
            let path = output::beside(folder, input.stem(), "tsv");
            output::write_file(&path, output::score_table(&found).as_bytes())?;
        }
        if let Some(folder) = &self.options.picture {
            let clip = ShownClip {
                name: input.name.clone(),
                found,
                truth: self.true_events(&input),
                spectrogram: inference::spectrogram(&sound),
            };
            let path = output::beside(folder, input.stem(), "svg");
            output::write_file(&path, report::clip_svg(&clip)?.as_bytes())?;
        }
        if self.options.logits.is_some() {
            self.logits.push((input.name, logits));
        }
        Ok(())
    }

    /// The chosen classes' true events of a file, which tables know by its file name.
    fn true_events(&self, input: &Input) -> Option<Vec<SoundEvent>> {
        let truth = self.truth.as_ref()?;
        let stem = PathBuf::from(input.stem());
        let name = stem.file_name()?.to_str()?;
        let chosen = &self.options.classes.0;
        let mut events = truth.get(name).cloned().unwrap_or_default();
        events.retain(|event| {
            types::class_index(&event.class).is_some_and(|class| chosen.contains(&class))
        });
        Some(events)
    }

    fn write(self) -> Result<()> {
        if let Some(path) = &self.options.logits {
            inference::write_logits(path, &self.logits)?;
        }
        self.events.write(self.options.output.as_deref())
    }
}
