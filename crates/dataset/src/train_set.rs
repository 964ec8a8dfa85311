//! The five sets that training draws from, and the parts of them that are held back for validation (recipe 1.6, 1.7).

use std::collections::{BTreeMap, BTreeSet};

use types::{DataSettings, Split};

use crate::classes::Purpose;
use crate::clip::Clip;
use crate::error::Error;
use crate::listing::{Source, clips, for_purpose};
use crate::partition::{maestro_recordings, recording_of, scene, weak_rows};
use crate::sampler::SetKind;

/// The training sets of one plan. A set whose splits are not in use is empty.
#[derive(Debug, Clone)]
pub struct TrainSet {
    sets: [Vec<Clip>; 5],
    held_back: HeldBack,
}

/// Clips of training splits that training never sees; labels without aliases.
#[derive(Debug, Clone, Default)]
pub struct HeldBack {
    /// Every tenth or so of the weak clips, exclude list not applied.
    pub weak: Vec<Clip>,
    /// All windows of one or so of ten recordings of each MAESTRO scene.
    pub maestro: Vec<Clip>,
}

impl TrainSet {
    /// Lists the clips of all training splits in use. Reads tables and folders, no audio.
    ///
    /// # Errors
    /// As [`clips`].
    pub fn open(data: &DataSettings) -> Result<Self, Error> {
        let used = |split| data.sources.contains_key(&split);
        let train = |split| {
            if used(split) {
                clips(data, split, Purpose::Training)
            } else {
                Ok(Vec::new())
            }
        };
        let mut held_back = HeldBack::default();
        let mut maestro = Vec::new();
        if used(Split::MaestroTrain) {
            let all = clips(data, Split::MaestroTrain, Purpose::Evaluation)?;
            (maestro, held_back.maestro) = cut_maestro(all);
            maestro = for_purpose(maestro, Purpose::Training);
        }
        let mut weak = Vec::new();
        if used(Split::WeakTrain) {
            (weak, held_back.weak) = cut_weak(data)?;
            weak = for_purpose(weak, Purpose::Training);
        }
        let mut strong = train(Split::StrongTrain)?;
        strong.extend(train(Split::ExternalStrongTrain)?);
        let sets = [
            maestro,
            strong,
            train(Split::SynthTrain)?,
            weak,
            train(Split::UnlabeledTrain)?,
        ];
        Ok(Self { sets, held_back })
    }

    /// Number of clips of each set, in batch order.
    #[must_use]
    pub fn sizes(&self) -> [usize; 5] {
        self.sets.each_ref().map(Vec::len)
    }

    /// All clips of a set.
    #[must_use]
    pub fn set(&self, kind: SetKind) -> &[Clip] {
        &self.sets[kind as usize]
    }

    /// One clip of a set, as [`crate::Sampler::microbatch`] numbers them; `None` past the end.
    #[must_use]
    pub fn item(&self, kind: SetKind, index: usize) -> Option<&Clip> {
        self.set(kind).get(index)
    }

    /// What training never sees.
    #[must_use]
    pub fn held_back(&self) -> &HeldBack {
        &self.held_back
    }
}

/// Cuts the rows first and drops rows afterwards, because the published permutation runs over all rows.
fn cut_weak(data: &DataSettings) -> Result<(Vec<Clip>, Vec<Clip>), Error> {
    let source = Source::open(data, Split::WeakTrain)?;
    let rows = source.weak_rows()?;
    let (train, held_back) = weak_rows(rows.len());
    let pick = |numbers: Vec<usize>| -> Vec<_> {
        numbers.into_iter().map(|row| rows[row].clone()).collect()
    };
    Ok((
        source.weak(&pick(train), &source.excluded()?)?,
        source.weak(&pick(held_back), &BTreeSet::new())?,
    ))
}

/// Clips keep the order of the table within a scene; scenes follow each other.
fn cut_maestro(all: Vec<Clip>) -> (Vec<Clip>, Vec<Clip>) {
    let mut recordings: Vec<&str> = Vec::new();
    let mut seen = BTreeSet::new();
    for clip in &all {
        let recording = recording_of(&clip.stem);
        if seen.insert(recording) {
            recordings.push(recording);
        }
    }
    let (train, held_back) = maestro_recordings(&recordings);
    let by_scene = |chosen: &[&str]| -> Vec<Clip> {
        // The cut lists recordings scene by scene, so a scene's rank is where it first occurs.
        let mut scene_rank = BTreeMap::new();
        for recording in chosen {
            let next = scene_rank.len();
            scene_rank.entry(scene(recording)).or_insert(next);
        }
        let chosen: BTreeSet<&str> = chosen.iter().copied().collect();
        let mut clips: Vec<Clip> = all
            .iter()
            .filter(|clip| chosen.contains(recording_of(&clip.stem)))
            .cloned()
            .collect();
        clips.sort_by_key(|clip| scene_rank.get(scene(recording_of(&clip.stem))).copied());
        clips
    };
    (by_scene(&train), by_scene(&held_back))
}
