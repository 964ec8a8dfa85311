//! All clips in one file of tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use eval::{ClipScores, Scores};
use rayon::prelude::*;
use tensorfile::{Dtype, Format, Info, TensorFile, TensorWriter};

use crate::{Error, Problem, is_file_name};

const SCORES: &str = "scores/";
const TIMESTAMPS: &str = "timestamps";

/// Reads `scores/<clip>` (frames × classes, F32 or F64) and the boundaries of its frames, `timestamps/<clip>` or else `timestamps`
/// (frames + 1, F64), of every clip. The class list is JSON text in the metadata, key `classes`. F32 is widened.
///
/// # Errors
/// A file that is none or in another format, no class list, no clips, tensors of other names, types or shapes, boundaries that do
/// not grow, scores that are no numbers.
pub fn read_safetensors_scores(path: &Path) -> Result<Scores, Error> {
    let file = TensorFile::open(path)?;
    if file.format() != Format::Safetensors {
        return Err(Error::file(path, Problem::NotSafetensors));
    }
    let classes = classes(&file).map_err(|problem| Error::file(path, problem))?;
    let clips = clips(&file).map_err(|problem| Error::file(path, problem))?;
    let shared = match file.info(TIMESTAMPS) {
        Some(_) => Some(boundaries(&file, TIMESTAMPS)?),
        None => None,
    };
    let clips = clips
        .par_iter()
        .map(|clip| {
            let own = format!("{TIMESTAMPS}/{clip}");
            let boundaries = match (file.info(&own), &shared) {
                (Some(_), _) => boundaries(&file, &own)?,
                (None, Some(shared)) => shared.clone(),
                (None, None) => {
                    let clip = (*clip).to_owned();
                    return Err(Error::file(path, Problem::NoTimestamps { clip }));
                }
            };
            let values = values(&file, clip, boundaries.len() - 1, classes.len())?;
            Ok(ClipScores {
                clip: (*clip).to_owned(),
                boundaries,
                values,
            })
        })
        .collect::<Result<_, Error>>()?;
    Scores::new(classes, clips).map_err(Error::scores(&[path]))
}

fn classes(file: &TensorFile) -> Result<Vec<String>, Problem> {
    let Some(text) = file.metadata("classes") else {
        let found = "nothing".to_owned();
        return Err(Problem::ClassList { found });
    };
    let listed: Option<Vec<String>> = serde_json::from_str(text).ok();
    listed.filter(|classes| !classes.is_empty()).ok_or_else(|| {
        let shown: String = text.chars().take(200).collect();
        let found = format!("{shown:?}");
        Problem::ClassList { found }
    })
}

/// The clips of a file, all of whose names are understood.
fn clips(file: &TensorFile) -> Result<Vec<&str>, Problem> {
    let mut clips = BTreeSet::new();
    let mut timed = Vec::new();
    for name in file.names() {
        if let Some(clip) = name.strip_prefix(SCORES) {
            if !is_file_name(clip) {
                let name = clip.to_owned();
                return Err(Problem::NotAClip { name });
            }
            clips.insert(clip);
        } else if let Some(rest) = name.strip_prefix(TIMESTAMPS) {
            match rest.strip_prefix('/') {
                Some(clip) => timed.push(clip),
                None if rest.is_empty() => {}
                None => {
                    let name = name.to_owned();
                    return Err(Problem::UnknownTensor { name });
                }
            }
        } else {
            let name = name.to_owned();
            return Err(Problem::UnknownTensor { name });
        }
    }
    if clips.is_empty() {
        return Err(Problem::NoClips);
    }
    match timed.into_iter().find(|clip| !clips.contains(clip)) {
        Some(clip) => Err(Problem::NoScores {
            clip: clip.to_owned(),
        }),
        None => Ok(clips.into_iter().collect()),
    }
}

/// Boundaries of frames, of which there is one at least.
fn boundaries(file: &TensorFile, name: &str) -> Result<Vec<f64>, Error> {
    let fits =
        |info: &&Info| info.dtype == Dtype::F64 && matches!(info.shape[..], [length] if length > 1);
    if file.info(name).filter(fits).is_none() {
        let expected = "F64 of shape [frames + 1], with one frame at least".to_owned();
        return Err(unfit(file, name, expected));
    }
    let times = doubles(&file.bytes(name)?);
    match times.first() {
        Some(first) if *first < 0.0 => {
            let problem = Problem::Time {
                column: "onset",
                found: first.to_string(),
            };
            Err(Error::file(file.path(), problem))
        }
        _ => Ok(times),
    }
}

fn values(file: &TensorFile, clip: &str, frames: usize, classes: usize) -> Result<Vec<f64>, Error> {
    let name = format!("{SCORES}{clip}");
    let dtype = (file.info(&name))
        .filter(|info| info.shape == [frames, classes])
        .map(|info| info.dtype);
    match dtype {
        Some(Dtype::F64) => Ok(doubles(&file.bytes(&name)?)),
        Some(Dtype::F32) => {
            let bytes = file.bytes(&name)?;
            let (singles, _) = bytes.as_chunks();
            Ok(singles
                .iter()
                .map(|four| f64::from(f32::from_le_bytes(*four)))
                .collect())
        }
        _ => {
            let expected = format!("F32 or F64 of shape [{frames}, {classes}] (frames, classes)");
            Err(unfit(file, &name, expected))
        }
    }
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    let (doubles, _) = bytes.as_chunks();
    doubles
        .iter()
        .map(|eight| f64::from_le_bytes(*eight))
        .collect()
}

fn unfit(file: &TensorFile, name: &str, expected: String) -> Error {
    let found = file.info(name).map_or_else(
        || "not there".to_owned(),
        |info| format!("{} of shape {:?}", info.dtype, info.shape),
    );
    let name = name.to_owned();
    let problem = Problem::Tensor {
        name,
        found,
        expected,
    };
    Error::file(file.path(), problem)
}

/// Writes all clips in the form that [`read_safetensors_scores`] reads. Nothing is lost: scores become F32 where all of them are
/// float32 numbers and F64 otherwise; boundaries are stored once where all clips have the same.
///
/// # Errors
/// A clip whose name is no file's, clips without frames, no clips, and whatever the operating system says.
pub fn write_safetensors_scores(path: &Path, scores: &Scores) -> Result<(), Error> {
    let clips = scores.clips();
    let Some(first) = clips.first() else {
        return Err(Error::file(path, Problem::NoClips));
    };
    for clip in clips {
        if !is_file_name(&clip.clip) {
            let name = clip.clip.clone();
            return Err(Error::file(path, Problem::NotAClip { name }));
        }
        if clip.num_frames() == 0 {
            return Err(Error::file(path, Problem::NoFrames));
        }
    }
    let single = (clips.par_iter()).all(|clip| {
        clip.values
            .iter()
            .all(|value| f64::from(*value as f32) == *value)
    });
    let shared = clips.iter().all(|clip| clip.boundaries == first.boundaries);
    let info = |dtype, shape: &[usize]| Info {
        dtype,
        shape: shape.to_vec(),
    };

    let mut tensors = Vec::new();
    let mut contents: Vec<(Dtype, &[f64])> = Vec::new();
    for clip in clips {
        let dtype = if single { Dtype::F32 } else { Dtype::F64 };
        let shape = [clip.num_frames(), scores.classes().len()];
        tensors.push((format!("{SCORES}{}", clip.clip), info(dtype, &shape)));
        contents.push((dtype, &clip.values));
        if !shared {
            let name = format!("{TIMESTAMPS}/{}", clip.clip);
            tensors.push((name, info(Dtype::F64, &[clip.boundaries.len()])));
            contents.push((Dtype::F64, &clip.boundaries));
        }
    }
    if shared {
        let length = first.boundaries.len();
        tensors.push((TIMESTAMPS.to_owned(), info(Dtype::F64, &[length])));
        contents.push((Dtype::F64, &first.boundaries));
    }
    let classes = serde_json::json!(scores.classes()).to_string();
    let metadata = BTreeMap::from([("classes".to_owned(), classes)]);
    let mut writer = TensorWriter::create(path, &tensors, &metadata)?;
    for position in writer.order().to_vec() {
        let (dtype, values) = contents[position];
        let bytes: Vec<u8> = match dtype {
            Dtype::F32 => values
                .iter()
                .flat_map(|value| (*value as f32).to_le_bytes())
                .collect(),
            _ => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        };
        writer.append(&bytes)?;
    }
    Ok(writer.finish()?)
}
