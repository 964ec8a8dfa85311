//! Checkpoints that are written while the training goes on.
//!
//! The training's own thread only copies what changes to main memory, into one buffer that is made once. A thread writes the copy
//! aside, syncs it, gives it its name and hands it over. One checkpoint is on its way at a time:
//!
//! - one that is due while the one before is still being written waits for it, so that every due checkpoint is made;
//! - while the one before waits for room on the disk, one that is due is left out and the training goes on; it is made up for after
//!   the first step that finds the way free;
//! - a stop waits for its checkpoint, which takes the place of one that waits for room; the end of the training waits, too.
//!
//! A checkpoint that the disk refuses is lost and said so: the one before stays, and the next is tried. What else goes wrong is a
//! mistake in here, and the training's failure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};

use tch::{Device, Kind, Tensor};
use types::{Step, TrainSpec};

use crate::checkpoint::{self, Content, Source};
use crate::context::Depot;
use crate::room::{RETRY, with_room};
use crate::validation::Best;
use crate::{Error, Learner, error};

/// Tensors begin at multiples of it: as wide as any element, and a cache line.
const ALIGNMENT: usize = 64;

/// Makes checkpoints beside the training.
pub(crate) struct Saver {
    depot: Arc<dyn Depot>,
    scratch: PathBuf,
    /// Here unless a checkpoint is on its way.
    buffer: Option<Buffer>,
    on_its_way: Option<OnItsWay>,
    left_out: bool,
}

struct OnItsWay {
    step: u64,
    thread: JoinHandle<(Buffer, Result<(), Error>)>,
    /// Says once if there is no room; ends with the thread.
    no_room: Receiver<()>,
    /// It has said so.
    waits: bool,
    /// Dropped when what waits for room is not wanted any more.
    wanted: Sender<()>,
}

impl Saver {
    pub(crate) fn new(depot: Arc<dyn Depot>, scratch: &Path) -> Self {
        Self {
            depot,
            scratch: scratch.to_owned(),
            buffer: None,
            on_its_way: None,
            left_out: false,
        }
    }

    /// Whether one that was left out can be made up for now.
    pub(crate) fn is_owing(&self) -> bool {
        let way = self.on_its_way.as_ref();
        self.left_out && way.is_none_or(|way| way.thread.is_finished())
    }

    /// Begins a checkpoint after `step` updates; see above for what becomes of it where another is on its way.
    ///
    /// # Errors
    /// What the one before failed of, if that was a mistake; or when the state cannot be copied.
    pub(crate) fn begin(
        &mut self,
        spec: &TrainSpec,
        step: u64,
        learner: &Learner,
        best: Option<&Best>,
    ) -> Result<(), Error> {
        if let Some(way) = &mut self.on_its_way {
            way.waits = way.waits || way.no_room.recv().is_ok();
            if way.waits && !way.thread.is_finished() {
                tracing::warn!("no checkpoint of step {step}: the one before waits for room");
                self.left_out = true;
                return Ok(());
            }
        }
        self.finish()?;
        self.start(spec, step, learner, best)
    }

    /// Makes a checkpoint after `step` updates and waits until it is handed over, or lost.
    ///
    /// # Errors
    /// As [`Saver::begin`].
    pub(crate) fn last(
        &mut self,
        spec: &TrainSpec,
        step: u64,
        learner: &Learner,
        best: Option<&Best>,
    ) -> Result<(), Error> {
        self.finish()?;
        self.start(spec, step, learner, best)?;
        let Some(way) = self.on_its_way.take() else {
            return Ok(());
        };
        let ended = way.thread.join();
        drop(way.wanted);
        self.settle(step, ended)
    }

    /// Waits for what is being written; what waits for room is given up.
    ///
    /// # Errors
    /// As [`Saver::begin`].
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let Some(way) = self.on_its_way.take() else {
            return Ok(());
        };
        if !way.waits {
            // until it has ended or cannot
            let _ = way.no_room.recv();
        }
        drop(way.wanted);
        let ended = way.thread.join();
        self.settle(way.step, ended)
    }

    fn start(
        &mut self,
        spec: &TrainSpec,
        step: u64,
        learner: &Learner,
        best: Option<&Best>,
    ) -> Result<(), Error> {
        let sources = checkpoint::sources(learner);
        let buffer = match self.buffer.take() {
            Some(buffer) => {
                buffer.fill(&sources)?;
                buffer
            }
            None => Buffer::new(&sources)?,
        };
        let content = Content::new(spec, step, buffer.tensors(), best);
        let path = checkpoint::path(&self.scratch);
        let depot = Arc::clone(&self.depot);
        let (says_no_room, no_room) = channel();
        let (wanted, still_wanted) = channel();
        let thread = Builder::new().name("checkpoint".to_owned());
        let thread = thread.spawn(move || {
            let wait = |first: bool| {
                if first {
                    // who waits for this thread learns that it takes longer
                    let _ = says_no_room.send(());
                }
                still_wanted.recv_timeout(RETRY) == Err(RecvTimeoutError::Timeout)
            };
            let needed = content.bytes();
            let written = with_room(&*depot, (&path, needed), wait, || content.write(&path));
            drop(content);
            let handed_over = written.and_then(|()| depot.checkpoint(Step(step), &path));
            (buffer, handed_over)
        });
        self.left_out = false;
        self.on_its_way = Some(OnItsWay {
            step,
            thread: thread.map_err(Error::io(&self.scratch))?,
            no_room,
            waits: false,
            wanted,
        });
        Ok(())
    }

    fn settle(
        &mut self,
        step: u64,
        ended: std::thread::Result<(Buffer, Result<(), Error>)>,
    ) -> Result<(), Error> {
        let (buffer, result) = ended.map_err(|panic| error::of_panic(&*panic))?;
        self.buffer = Some(buffer);
        match result {
            Err(error) if error.is_of_the_disk() => {
                tracing::warn!("checkpoint of step {step} is lost, the one before stays: {error}");
                Ok(())
            }
            result => result,
        }
    }
}

impl Drop for Saver {
    /// A training that fails leaves its last checkpoint behind all the same.
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::warn!("the last checkpoint is lost: {error}");
        }
    }
}

/// Main memory for one copy of everything that a checkpoint holds beside the best state: one block, made once.
struct Buffer(Vec<Slot>);

struct Slot {
    name: String,
    /// A part of the block, in the form of what is copied into it.
    tensor: Tensor,
    /// No step changes it.
    is_constant: bool,
}

impl Buffer {
    fn new(sources: &[Source]) -> Result<Self, Error> {
        let mut end = 0;
        let mut places = Vec::with_capacity(sources.len());
        for source in sources {
            let bytes = source.tensor.numel() * source.tensor.f_kind()?.elt_size_in_bytes();
            places.push((end as i64, bytes as i64));
            end += bytes.next_multiple_of(ALIGNMENT);
        }
        let mut block = Tensor::f_empty([end as i64], (Kind::Uint8, Device::Cpu))?;
        let device = sources.iter().map(|source| source.tensor.device());
        if let Some(device) = device.into_iter().find(|device| device.is_cuda()) {
            // a GPU copies several times faster into memory that stays where it is
            block = block.f_pin_memory(device)?;
        }
        let mut slots = Vec::with_capacity(sources.len());
        for (source, (start, bytes)) in sources.iter().zip(places) {
            let part = block.f_narrow(0, start, bytes)?;
            let part = part.f_view_dtype(source.tensor.f_kind()?)?;
            let tensor = part.f_view(source.tensor.size().as_slice())?;
            copy(&tensor, &source.tensor)?;
            slots.push(Slot {
                name: source.name.clone(),
                tensor,
                is_constant: source.is_constant,
            });
        }
        Ok(Self(slots))
    }

    fn fill(&self, sources: &[Source]) -> Result<(), Error> {
        for (slot, source) in self.0.iter().zip(sources) {
            if !slot.is_constant {
                copy(&slot.tensor, &source.tensor)?;
            }
        }
        Ok(())
    }

    /// Other names of the same memory.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let slots = self.0.iter();
        slots
            .map(|slot| (slot.name.clone(), slot.tensor.shallow_clone()))
            .collect()
    }
}

fn copy(to: &Tensor, from: &Tensor) -> Result<(), Error> {
    tch::no_grad(|| to.shallow_clone().f_copy_(from))?;
    Ok(())
}
