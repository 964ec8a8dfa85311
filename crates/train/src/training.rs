//! The training loop (recipe 5 to 7, ARCHITECTURE.md, "Sameness").

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dataset::{Sampler, SetKind, TrainSet};
use model::published::load_transformer;
use model::{Part, SedModel, TensorFile};
use tch::Device;
use types::{
    Keep, MetricPoint, Progress, ProgressUnit, Section, Step, TeacherInit, TrainSpec,
    ValidationSettings, world_sizes,
};

use crate::account::{Account, Settled};
use crate::augment::{Augmenter, draws_mel_edges};
use crate::batch::{BatchSource, Itinerary, Prefetch};
use crate::checkpoint::Content;
use crate::context::{Outcome, RankContext};
use crate::data::check_data;
use crate::draws::{Draws, Place};
use crate::features::{FeatureCache, FeatureMaker};
use crate::learner::Learner;
use crate::losses::Losses;
use crate::pseudo_labels::PseudoLabels;
use crate::room::write_with_room;
use crate::saver::Saver;
use crate::schedule::Calendar;
use crate::validation::{Best, OBJECTIVE, Validator};
use crate::{Error, Optimizer, checkpoint};

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
        context.host.section(Section::Step);
        let settled = training.step(step, context)?;
        step += 1;
        let scores = training.validate(step, context)?;
        report.step(step, &settled, scores, &training, context);
        if settled.stop && step < total {
            context.host.section(Section::Checkpoint);
            training.save_last(step)?;
            return Ok(Outcome::Stopped);
        }
        if step < total {
            training.save_if_due(step, every, context)?;
        }
    }
    if context.is_first() {
        context.host.section(Section::Checkpoint);
        let path = training.save_result(step, context)?;
        Ok(path.map_or(Outcome::Stopped, |path| Outcome::one("checkpoint", path)))
    } else {
        Ok(Outcome::Finished(BTreeMap::new()))
    }
}

/// Everything that a step needs.
struct Training<'a> {
    spec: &'a TrainSpec,
    device: Device,
    draws: Draws,
    itinerary: Itinerary,
    front_ends: FeatureMaker,
    learner: Learner,
    batches: Prefetch,
    validation: Option<Validation<'a>>,
    /// On rank 0.
    saver: Option<Saver>,
}

/// Validation, and what it has found so far.
struct Validation<'a> {
    settings: &'a ValidationSettings,
    validator: Validator,
    /// On rank 0, where the best state is to be kept.
    best: Option<Best>,
    began: Instant,
    took: Duration,
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
        let total = calendar.total_steps();
        let optimizer = Optimizer::new(&student, &settings.optimizer, spec.stage, total);
        let (first_step, best) = match (context.resume, spec.stage) {
            (Some(path), _) => checkpoint::resume(path, &student, &teacher, &optimizer)?,
            (None, 1) => {
                start_from_pretrained(context, [&student, &teacher])?;
                (0, None)
            }
            (None, _) => {
                let file = TensorFile::open(context.input("init")?)?;
                let teacher_prefix = match settings.teacher_init {
                    TeacherInit::Teacher => checkpoint::TEACHER,
                    TeacherInit::Student => checkpoint::STUDENT,
                };
                checkpoint::load_networks(&file, &student, &teacher, teacher_prefix)?;
                (0, None)
            }
        };
        let validation = match &spec.validation {
            None => None,
            Some(settings) => {
                let validator = Validator::open(spec, settings, source.sets.held_back(), device)?;
                validator.map(|validator| Validation {
                    settings,
                    validator,
                    best: best.filter(|_| context.is_first()),
                    began: Instant::now(),
                    took: Duration::ZERO,
                })
            }
        };
        let learner = Learner::new(
            settings,
            spec.stage,
            student,
            teacher,
            optimizer,
            context.group,
        )?;
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
            draws: Draws::new(spec),
            itinerary,
            front_ends: FeatureMaker::new(&spec.model, device, Arc::clone(&source.cache)),
            learner,
            batches: Prefetch::start(&source, itinerary, threads)?,
            validation,
            saver: (context.is_first()).then(|| Saver::new(context.host.depot(), context.scratch)),
        })
    }

    /// One optimizer update; `step` updates have been made before it.
    fn step(&mut self, step: u64, context: &RankContext<'_>) -> Result<Settled, Error> {
        let of_step = self.itinerary.calendar.place(step);
        let mine = self.itinerary.of_step(step);
        let statistics = self.learner.student().statistics_len();
        let stop = context.host.stop_requested();
        let account = Account::new(&self.itinerary, statistics, stop, self.device);

        self.learner.begin_step(of_step.microbatches)?;
        for microbatch in mine.clone() {
            let place = Place {
                epoch: of_step.epoch,
                step,
                microbatch,
            };
            let batch = self.batches.next()?.moved_to(self.device);
            self.draws.seed_torch(place)?;
            let augmenter = Augmenter {
                spec: self.spec,
                layout: *self.learner.layout(),
                draws: &self.draws,
                front_ends: &self.front_ends,
                place,
            };
            let inputs = augmenter.inputs(batch)?;
            let last = microbatch + 1 == mine.end;
            let learned = self.learner.learn(step, microbatch, &inputs, last)?;
            account.enter(microbatch, &learned);
        }
        if mine.is_empty() {
            self.learner.sit_out(step)?;
        }

        let settled = account.settle(context.group, step)?;
        settled.fold_statistics(self.learner.student(), self.learner.teacher());
        self.learner.finish_step(step)?;
        Ok(settled)
    }

    /// Scores by name where the calendar has a validation after so many updates, on rank 0 alone; remembers the best state.
    fn validate(
        &mut self,
        step: u64,
        context: &mut RankContext<'_>,
    ) -> Result<BTreeMap<String, f64>, Error> {
        let calendar = &self.itinerary.calendar;
        let due = |validation: &&mut Validation<'_>| {
            calendar.validates_after(step, validation.settings.every_epochs)
        };
        let Some(validation) = self.validation.as_mut().filter(due) else {
            return Ok(BTreeMap::new());
        };
        context.host.section(Section::Validation);
        let began = Instant::now();
        let student = self.learner.student();
        let scores = validation.validator.scores(student, context.group)?;
        let Some(scores) = scores else {
            return Ok(BTreeMap::new());
        };
        let objective = scores.get(OBJECTIVE).copied().unwrap_or_default();
        let highest = validation.best.as_ref().map(|best| best.objective);
        // of equal ones the first, as the authors keep it
        if validation.settings.keep == Keep::Best
            && highest.is_none_or(|highest| objective > highest)
        {
            validation.best = Some(checkpoint::keep(step, objective, &self.learner));
        }
        validation.took += began.elapsed();
        let share = validation.took.as_secs_f64() / validation.began.elapsed().as_secs_f64();
        tracing::info!(
            step,
            objective,
            "validated in {:.2} s, {:.1} % of this attempt's time so far",
            began.elapsed().as_secs_f64(),
            share * 100.0,
        );
        Ok(scores)
    }

    fn best(&self) -> Option<&Best> {
        self.validation.as_ref()?.best.as_ref()
    }

    /// A checkpoint every so many steps, or where one is owing.
    fn save_if_due(
        &mut self,
        step: u64,
        every: u64,
        context: &mut RankContext<'_>,
    ) -> Result<(), Error> {
        let best = self.validation.as_ref().and_then(|it| it.best.as_ref());
        match &mut self.saver {
            Some(saver) if step.is_multiple_of(every) || saver.is_owing() => {
                context.host.section(Section::Checkpoint);
                saver.begin(self.spec, step, &self.learner, best)
            }
            _ => Ok(()),
        }
    }

    /// A checkpoint before a stop.
    fn save_last(&mut self, step: u64) -> Result<(), Error> {
        let best = self.validation.as_ref().and_then(|it| it.best.as_ref());
        match &mut self.saver {
            Some(saver) => saver.last(self.spec, step, &self.learner, best),
            None => Ok(()),
        }
    }

    /// The best state where that is what is kept, else the last one; none if there is no room for it and the host wants the task to stop.
    fn save_result(
        &mut self,
        step: u64,
        context: &mut RankContext<'_>,
    ) -> Result<Option<PathBuf>, Error> {
        if let Some(saver) = &mut self.saver {
            saver.finish()?;
        }
        let content = match self.best() {
            Some(best) => {
                tracing::info!(
                    step = best.step,
                    objective = best.objective,
                    "the best state of the validations is the result"
                );
                Content::best(self.spec, best)
            }
            None => Content::present(self.spec, step, &self.learner),
        };
        let path = checkpoint::path(context.scratch);
        let written = write_with_room(context.host, &path, content.bytes(), || {
            content.write(&path)
        })?;
        Ok(written.map(|()| path))
    }
}

/// Rank and world size, held against the plan's micro-batches.
fn ranks(spec: &TrainSpec, context: &RankContext<'_>) -> Result<(u32, u32), Error> {
    let too_many = |_| Error::Configuration("a gang of more than 2³² ranks".to_owned());
    let rank = u32::try_from(context.group.rank()).map_err(too_many)?;
    let size = u32::try_from(context.group.size()).map_err(too_many)?;
    let per_step = spec.training.microbatches_per_step;
    let allowed = match spec.world_size {
        Some(fixed) => vec![fixed],
        None => world_sizes(per_step),
    };
    if per_step == 0 || !per_step.is_multiple_of(size) || !allowed.contains(&size) {
        return Err(Error::Configuration(format!(
            "{per_step} micro-batches per step cannot be shared by {size} ranks, expected a gang of {allowed:?}"
        )));
    }
    Ok((rank, size))
}

/// Transformers from the plan's `init`, if it has one; the CRNN starts from scratch.
fn start_from_pretrained(context: &RankContext<'_>, networks: [&SedModel; 2]) -> Result<(), Error> {
    let Ok(path) = context.input("pretrained") else {
        return Ok(());
    };
    let file = TensorFile::open(path)?;
    for network in networks {
        let loaded = load_transformer(network, &file)?;
        tracing::info!(
            parameters = loaded.parameters,
            left_random = ?loaded.left_random,
            "transformer taken over from the pretrained checkpoint"
        );
    }
    Ok(())
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
        let clips = SetKind::ALL.into_iter().flat_map(|kind| sets.set(kind));
        let clips = clips.map(|clip| (clip.split, clip.stem.as_str()));
        Some(PseudoLabels::open(context.inputs, clips)?)
    } else {
        None
    };
    let clips: usize = sets.sizes().iter().sum();
    let cache = if draws_mel_edges(spec) {
        FeatureCache::none()
    } else {
        FeatureCache::new(clips, context.device)
    };
    let responses = if settings.augmentation.impulse_probability > 0.0 {
        dataset::impulse_responses(&spec.data)?
    } else {
        Vec::new()
    };
    Ok(BatchSource {
        cache: Arc::new(cache),
        draws: Draws::new(spec),
        augmentation: settings.augmentation,
        responses,
        sets,
        sampler,
        pseudo,
        seed: spec.seed,
    })
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
        scores: BTreeMap<String, f64>,
        training: &Training<'_>,
        context: &mut RankContext<'_>,
    ) {
        if context.is_first() {
            let losses = Losses::NAMES.iter().zip(settled.losses);
            let mut values: BTreeMap<String, f64> = losses
                .map(|(name, value)| ((*name).to_owned(), value))
                .chain(scores)
                .collect();
            for (part, rate) in training.learner.optimizer().rates(done - 1) {
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
