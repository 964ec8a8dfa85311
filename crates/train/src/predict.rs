//! Frame logits of a split's clips (recipe 8.2).

use std::collections::BTreeMap;

use collective::rng::seed_from;
use dataset::{CLIP_SAMPLES, Clip, Purpose};
use model::{CrnnMel, FrontEnds, SedModel, TensorFile, TensorWriter};
use tch::{Kind, Tensor};
use types::{PredictSpec, Progress, ProgressUnit, Section};

use crate::context::{Outcome, RankContext};
use crate::data::check_data;
use crate::logits::{CLIPS, TENSOR};
use crate::room::write_with_room;
use crate::{CLASSES, Error, FRAMES, checkpoint};

/// Runs a `predict` task: the student in eval mode over one shard. A gang's other ranks have nothing to do.
pub(crate) fn run(spec: &PredictSpec, context: &mut RankContext<'_>) -> Result<Outcome, Error> {
    if !context.is_first() {
        return Ok(Outcome::Finished(BTreeMap::new()));
    }
    check_data(&spec.data, context.manifest)?;
    let clips = shard(spec)?;
    let model = SedModel::new(&spec.model, spec.seed, context.device)?;
    model.store().set_trainable(|_| false);
    if spec.stage > 0 {
        let file = TensorFile::open(context.input("checkpoint")?)?;
        model.store().load(&file, checkpoint::STUDENT)?;
    }
    let front_ends = FrontEnds::new(&spec.model, context.device);

    let names: Vec<&str> = clips.iter().map(|clip| clip.stem.as_str()).collect();
    let metadata = BTreeMap::from([
        (CLIPS.to_owned(), serde_json::json!(names).to_string()),
        ("split".to_owned(), spec.split.to_string()),
    ]);
    let shape = vec![clips.len() as i64, FRAMES, CLASSES];
    let path = context.scratch.join("logits.safetensors");
    let bytes = 4 * shape.iter().product::<i64>().unsigned_abs();
    let tensors = [(TENSOR.to_owned(), Kind::Float, shape)];
    let opened = write_with_room(context.host, &path, bytes, || {
        Ok(TensorWriter::create(&path, &tensors, &metadata)?)
    })?;
    let Some(mut writer) = opened else {
        return Ok(Outcome::Stopped);
    };

    let started = std::time::Instant::now();
    let mut done = 0;
    for batch in clips.chunks(spec.batch_size.max(1) as usize) {
        if context.host.stop_requested() {
            return Ok(Outcome::Stopped);
        }
        context.host.section(Section::Batch);
        let waveforms = waveforms(spec.seed, batch)?.to_device(context.device);
        let logits = frame_logits(&model, &front_ends, &waveforms);
        if logits.isfinite().all().int64_value(&[]) == 0 {
            return Err(Error::Artifact(format!(
                "the checkpoint gives logits that are no numbers on clips {} to {}",
                batch[0].stem,
                batch[batch.len() - 1].stem
            )));
        }
        writer.append(&logits)?;
        done += batch.len() as u64;
        context.host.progress(Progress {
            unit: ProgressUnit::Clips,
            done,
            total: clips.len() as u64,
            loss: None,
            clips_per_second: Some(done as f64 / started.elapsed().as_secs_f64().max(1e-9)),
        });
    }
    writer.finish()?;
    Ok(Outcome::one("logits", path))
}

/// Clips `k·len/n .. (k+1)·len/n` of the split.
fn shard(spec: &PredictSpec) -> Result<Vec<Clip>, Error> {
    if spec.shard >= spec.num_shards {
        return Err(Error::Configuration(format!(
            "shard {} of {}, expected 0 to {}",
            spec.shard,
            spec.num_shards,
            spec.num_shards.saturating_sub(1)
        )));
    }
    let mut clips = dataset::clips(&spec.data, spec.split, Purpose::Evaluation)?;
    let (shard, shards) = (spec.shard as usize, spec.num_shards as usize);
    let end = (shard + 1) * clips.len() / shards;
    let start = shard * clips.len() / shards;
    clips.truncate(end);
    Ok(clips.split_off(start))
}

/// Logits of all classes, without gradients, in eval mode: (clips, 156, 27).
pub(crate) fn frame_logits(model: &SedModel, front_ends: &FrontEnds, waveforms: &Tensor) -> Tensor {
    tch::no_grad(|| {
        let mel = CrnnMel::scale(&front_ends.crnn(waveforms));
        model.frame_logits(&mel, &front_ends.transformer(waveforms))
    })
}

/// (clips, 160 000).
pub(crate) fn waveforms(plan_seed: u64, clips: &[Clip]) -> Result<Tensor, Error> {
    let mut samples = Vec::with_capacity(clips.len() * CLIP_SAMPLES);
    for clip in clips {
        // clips longer than 10 s are cropped here too (recipe T21), in the same place in every prediction
        let seed = seed_from(&[
            ("purpose", "crop for prediction".into()),
            ("seed", plan_seed.into()),
            ("split", clip.split.as_str().into()),
            ("clip", clip.stem.as_str().into()),
        ]);
        samples.extend_from_slice(&clip.read(seed)?.samples);
    }
    Ok(Tensor::from_slice(&samples).view([clips.len() as i64, CLIP_SAMPLES as i64]))
}
