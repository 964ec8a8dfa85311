//! The training loop (recipe 5 to 7, design.md section 8).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use collective::{Reducer, ReducerOptions, broadcast_tensors};
use dataset::{Sampler, TrainSet};
use model::{CrnnMel, FrontEnds, Mode, Part, SedModel, TensorFile};
use tch::{Device, Tensor};
use types::{MetricPoint, Progress, ProgressUnit, Step, TrainSpec};

use crate::account::{Account, Settled};
use crate::augment::{self, Inputs};
use crate::batch::{BatchSource, Itinerary, Prefetch};
use crate::context::{Outcome, RankContext};
use crate::data::check_data;
use crate::draws::{Draws, Place};
use crate::losses::{LossSettings, Losses, Outputs, losses};
use crate::pseudo_labels::PseudoLabels;
use crate::schedule::Calendar;
use crate::{Averager, Error, Layout, Optimizer, checkpoint};

/// People need no more than this.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Runs a `train` task.
pub(crate) fn run(spec: &TrainSpec, context: &mut RankContext<'_>) -> Result<Outcome, Error> {
    let mut training = Training::open(spec, context)?;
    let total = training.itinerary.calendar.total_steps();
    let every = spec.runtime.checkpoint_every_steps.max(1);
    let mut report = Report::new(spec, total);
    let mut step = training.itinerary.first_step;
    while step < total {
        let settled = training.step(step, context)?;
        step += 1;
        report.step(step, &settled, &training, context);
        if settled.stop && step < total {
            training.hand_over_checkpoint(step, context)?;
            return Ok(Outcome::Stopped);
        }
        if step.is_multiple_of(every) && step < total {
            training.hand_over_checkpoint(step, context)?;
        }
    }
    if context.is_first() {
        let path = training.save(step, context)?;
        Ok(Outcome::one("checkpoint", path))
    } else {
        Ok(Outcome::Finished(std::collections::BTreeMap::new()))
    }
}

/// Everything that a step needs.
struct Training<'a> {
    spec: &'a TrainSpec,
    device: Device,
    layout: Layout,
    loss_settings: LossSettings,
    draws: Draws,
    itinerary: Itinerary,
    front_ends: FrontEnds,
    student: SedModel,
    teacher: SedModel,
    averager: Averager,
    optimizer: Optimizer,
    reducer: Reducer,
    batches: Prefetch,
}

impl<'a> Training<'a> {
    fn open(spec: &'a TrainSpec, context: &RankContext<'_>) -> Result<Self, Error> {
        let settings = &spec.training;
        let device = context.device;
        let (rank, world_size) = ranks(spec, context)?;
        let source = Arc::new(open_data(spec, context)?);
        let calendar = Calendar {
            microbatches_per_epoch: source.sampler.microbatches_per_epoch() as u64,
            microbatches_per_step: settings.microbatches_per_step,
            epochs: settings.epochs,
        };

        let student = SedModel::new(&spec.model, spec.seed, device)?;
        let teacher = SedModel::new(&spec.model, spec.seed, device)?;
        teacher.store().set_trainable(|_| false);
        let total = calendar.total_steps();
        let optimizer = Optimizer::new(&student, &settings.optimizer, spec.stage, total);
        let first_step = match (context.resume, spec.stage) {
            (Some(path), _) => checkpoint::resume(path, &student, &teacher, &optimizer)?,
            (None, 1) => 0,
            (None, _) => {
                let file = TensorFile::open(context.input("init")?)?;
                checkpoint::load_networks(&file, &student, &teacher)?;
                0
            }
        };
        // Weights are drawn alike everywhere, but another kind of CPU may round a draw differently.
        for model in [&student, &teacher] {
            let tensors = model.store().iter().map(|(_, _, tensor)| tensor);
            tch::no_grad(|| broadcast_tensors(tensors, context.group))?;
        }
        let averager = Averager::new(&teacher, &student, settings.ema_factor);
        let parameters: Vec<Tensor> = optimizer.parameters().map(Tensor::shallow_clone).collect();
        let reducer = Reducer::new(&parameters, context.group, ReducerOptions::default())?;
        // From here on every gradient exists, so that each step adds to zeros, the first one included.
        backward(&idle_loss(&optimizer))?;

        let itinerary = Itinerary {
            calendar,
            first_step,
            rank,
            world_size,
        };
        let threads = spec.runtime.prefetch_threads as usize;
        Ok(Self {
            spec,
            device,
            layout: Layout::new(&settings.microbatch),
            loss_settings: LossSettings {
                stage: spec.stage,
                weights: settings.loss,
                self_supervised: settings.self_supervised,
            },
            draws: Draws::new(spec),
            itinerary,
            front_ends: FrontEnds::new(&spec.model, device),
            student,
            teacher,
            averager,
            optimizer,
            reducer,
            batches: Prefetch::start(&source, itinerary, threads)?,
        })
    }

    /// One optimizer update; `step` updates have been made before it.
    fn step(&mut self, step: u64, context: &RankContext<'_>) -> Result<Settled, Error> {
        let of_step = self.itinerary.calendar.place(step);
        let mine = self.itinerary.of_step(step);
        let statistics = self.student.statistics_len();
        let stop = context.host.stop_requested();
        let account = Account::new(&self.itinerary, statistics, stop, self.device);
        // The reducer takes the mean over ranks; the step wants the sum over micro-batches divided by their full number,
        // even where the window is short (recipe T22).
        let scale = f64::from(self.itinerary.world_size)
            / f64::from(self.itinerary.calendar.microbatches_per_step);

        self.optimizer.zero_gradients();
        for microbatch in mine.clone() {
            let place = Place {
                epoch: of_step.epoch,
                step,
                microbatch,
            };
            let batch = self.batches.next()?.to_device(self.device);
            self.draws.seed_torch(place)?;
            let inputs = augment::inputs(
                self.spec.stage,
                &self.layout,
                &self.front_ends,
                batch,
                &self.spec.training.augmentation,
                &self.draws,
                place,
            )?;
            if microbatch + 1 == mine.end {
                self.reducer.prepare()?;
            }
            let (outputs, statistics) = self.forward(place, &inputs);
            let losses = losses(
                &self.loss_settings,
                &self.layout,
                step,
                &outputs,
                &inputs.targets,
                inputs.mixup.as_ref(),
            );
            backward(&(&losses.total * scale))?;
            account.enter(microbatch, &losses, statistics);
        }
        if mine.is_empty() {
            // A short window has left this rank without work; its zeros complete the others' mean.
            self.reducer.prepare()?;
            backward(&idle_loss(&self.optimizer))?;
            self.averager.update_once(step);
        }

        let settled = account.settle(context.group, step)?;
        settled.fold_statistics(&self.student, &self.teacher);
        self.optimizer.step(step)?;
        Ok(settled)
    }

    /// Student, then teacher. The teacher is moved once per step, between the first micro-batch's forward and its backward
    /// (recipe T7): so only the step's micro-batch 0 sees the teacher of the step before, whichever rank computes it.
    fn forward(&mut self, place: Place, inputs: &Inputs) -> (Outputs, [Option<Tensor>; 2]) {
        let mode = Mode::Train {
            dropout: self.spec.training.dropout,
        };
        let student_input = tch::no_grad(|| CrnnMel::scale(&inputs.student.mel));
        let frozen = self.spec.stage == 1;
        let embeddings = if frozen {
            tch::no_grad(|| {
                self.student
                    .embedding()
                    .forward(&inputs.student.transformer)
            })
        } else {
            self.student
                .embedding()
                .forward(&inputs.student.transformer)
        };
        let student = self.student.forward(&student_input, &embeddings, mode);

        if place.microbatch > 0 {
            self.averager.update_once(place.step);
        }
        let no_class_mask = self.loss_settings.self_supervised.no_class_mask;
        let (teacher, teacher_statistics) = tch::no_grad(|| {
            let fused = if frozen {
                // both transformers are the same frozen one, and both see the same input
                self.teacher.forward(&student_input, &embeddings, mode)
            } else {
                let input = CrnnMel::scale(&inputs.teacher.mel);
                let embeddings = self
                    .teacher
                    .embedding()
                    .forward(&inputs.teacher.transformer);
                self.teacher.forward(&input, &embeddings, mode)
            };
            let mask = (!no_class_mask).then_some(&inputs.mask);
            (fused.logits.predictions(mask), fused.cnn.statistics)
        });
        self.averager.update_once(place.step);

        let outputs = Outputs {
            student: student.logits.predictions(Some(&inputs.mask)),
            student_unmasked: student.logits.predictions(None),
            teacher,
        };
        (outputs, [student.cnn.statistics, teacher_statistics])
    }

    fn save(&self, step: u64, context: &RankContext<'_>) -> Result<PathBuf, Error> {
        let path = context.scratch.join("checkpoint.safetensors");
        let networks = (&self.student, &self.teacher);
        checkpoint::save(&path, self.spec, step, networks, &self.optimizer)?;
        Ok(path)
    }

    fn hand_over_checkpoint(&self, step: u64, context: &mut RankContext<'_>) -> Result<(), Error> {
        if !context.is_first() {
            return Ok(());
        }
        let path = self.save(step, context)?;
        context.host.checkpoint(Step(step), &path)
    }
}

/// Rank and world size, held against the plan's micro-batches.
fn ranks(spec: &TrainSpec, context: &RankContext<'_>) -> Result<(u32, u32), Error> {
    let too_many = |_| Error::Configuration("a gang of more than 2³² ranks".to_owned());
    let rank = u32::try_from(context.group.rank()).map_err(too_many)?;
    let size = u32::try_from(context.group.size()).map_err(too_many)?;
    let per_step = spec.training.microbatches_per_step;
    if per_step == 0 || !per_step.is_multiple_of(size) {
        return Err(Error::Configuration(format!(
            "{per_step} micro-batches per step cannot be shared by {size} ranks, expected a multiple of {size}"
        )));
    }
    Ok((rank, size))
}

fn open_data(spec: &TrainSpec, context: &RankContext<'_>) -> Result<BatchSource, Error> {
    check_data(&spec.data, context.manifest)?;
    let sets = TrainSet::open(&spec.data)?;
    let settings = &spec.training;
    let sampler = Sampler::new(
        sets.sizes(),
        settings.microbatch,
        settings.microbatches_per_step,
        spec.into(),
    )?;
    let pseudo = if settings.loss.pseudo > 0.0 {
        Some(PseudoLabels::open(context.input("pseudo_labels")?)?)
    } else {
        None
    };
    Ok(BatchSource {
        sets,
        sampler,
        pseudo,
        seed: spec.seed,
    })
}

/// A loss of 0 in which every trained parameter takes part.
fn idle_loss(optimizer: &Optimizer) -> Tensor {
    let sums: Vec<Tensor> = optimizer
        .parameters()
        .map(|parameter| parameter.sum(None) * 0.0)
        .collect();
    Tensor::stack(&sums, 0).sum(None)
}

/// A lost peer shows here, because gradients are exchanged while backward runs.
fn backward(loss: &Tensor) -> Result<(), Error> {
    loss.f_backward()
        .map_err(|error| collective::Error::from_backward(&error).into())
}

/// Tells the host how it goes.
struct Report {
    total: u64,
    clips_per_microbatch: u64,
    since: Instant,
    clips: u64,
    loss_sum: f64,
    steps: u64,
}

impl Report {
    fn new(spec: &TrainSpec, total: u64) -> Self {
        Self {
            total,
            clips_per_microbatch: u64::from(spec.training.microbatch.total()),
            since: Instant::now(),
            clips: 0,
            loss_sum: 0.0,
            steps: 0,
        }
    }

    fn step(
        &mut self,
        done: u64,
        settled: &Settled,
        training: &Training<'_>,
        context: &mut RankContext<'_>,
    ) {
        if context.is_first() {
            let losses = Losses::NAMES.iter().zip(settled.losses);
            let mut values: std::collections::BTreeMap<String, f64> = losses
                .map(|(name, value)| ((*name).to_owned(), value))
                .collect();
            for (part, rate) in training.optimizer.rates(done - 1) {
                let name = match part {
                    Part::Cnn => "lr/cnn".to_owned(),
                    Part::Rnn => "lr/rnn".to_owned(),
                    Part::Transformer(group) => format!("lr/transformer{group}"),
                    Part::AudiosetHead | Part::Unused => continue,
                };
                values.insert(name, rate);
            }
            context.host.metrics(MetricPoint {
                step: Step(done),
                values,
            });
        }
        self.clips += settled.microbatches() * self.clips_per_microbatch;
        self.loss_sum += settled.losses[0];
        self.steps += 1;
        let elapsed = self.since.elapsed();
        if elapsed < PROGRESS_EVERY && done < self.total {
            return;
        }
        context.host.progress(Progress {
            unit: ProgressUnit::Steps,
            done,
            total: self.total,
            loss: Some(self.loss_sum / self.steps as f64),
            clips_per_second: Some(self.clips as f64 / elapsed.as_secs_f64().max(1e-9)),
        });
        self.since = Instant::now();
        (self.clips, self.loss_sum, self.steps) = (0, 0.0, 0);
    }
}
