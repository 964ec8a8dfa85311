//! Checkpoints of others: the authors' stage checkpoints, and the transformers that training starts from (recipe 4.4 to 4.7).
//!
//! Each kind of file has its own names for the same parameters. [`transformer_name`] is the table of these rules; everything else
//! applies it. No published file could be opened when this was written: the rules come from the authors' loading code, and are
//! held against `tests/oracles/keys/checkpoint_names.json`.

use std::collections::BTreeMap;

use types::{
    Architecture, BeatsSettings, CrnnSettings, DecibelFloor, EmbeddingPooling, MelEdges,
    ModelSettings, TransformerSettings,
};

use crate::{Error, SedModel, TensorFile};

/// Width of an attention head in every published transformer; the number of heads leaves no trace in shapes.
const HEAD_WIDTH: u32 = 64;
/// Entries of a file that hold a state dict: of Lightning, of Microsoft's BEATs.
const ENTRIES: [&str; 2] = ["state_dict/", "model/"];
/// The reference's name of the wrapper around a transformer.
const WRAPPER: &str = "as_model.";
/// What the wrapper adds (recipe 4.3).
const HEAD: &str = "head_linear_layer.";

/// Which of a checkpoint's two networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The trained one; predictions are its by default (recipe 8.2).
    Student,
    /// The student's moving average.
    Teacher,
}

impl Network {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Student => "student",
            Self::Teacher => "teacher",
        }
    }

    /// What a whole network's names begin with in `file`: `student.` as written here, `student/` as an entry of a stage checkpoint,
    /// or `state_dict/student.`. `None` if there is no such network.
    #[must_use]
    pub fn prefix(self, file: &TensorFile) -> Option<String> {
        let name = self.as_str();
        [
            format!("{name}."),
            format!("{name}/"),
            format!("state_dict/{name}."),
        ]
        .into_iter()
        .find(|prefix| file.names().any(|name| name.starts_with(prefix)))
    }
}

/// What was taken from a checkpoint of a transformer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Parameters that now have the file's values.
    pub parameters: usize,
    /// Parameters of the wrapper that keep their random values, as in the reference (recipe 4.3).
    pub left_random: Vec<String>,
}

/// The name of a tensor of a checkpoint inside the reference's `as_model`, where the transformer has no wrapper (`atst.…` for
/// ATST-Frame, the bare name for fPaSST, `model.…` for BEATs), or the wrapper's own `head_linear_layer.…`. `key` is the name in the
/// file's state dict. `bare`: the state dict has `net_strong.model.cls_token`, so that names below have one level less. `None`:
/// nothing of the transformer.
#[must_use]
pub fn transformer_name(architecture: Architecture, key: &str, bare: bool) -> Option<String> {
    match architecture {
        Architecture::AtstFrame => atst_name(key),
        Architecture::Fpasst => {
            let inside = key.strip_prefix("net_strong.model.")?;
            if bare {
                return Some(inside.to_owned());
            }
            head(inside).or_else(|| inside.strip_prefix("model.").map(str::to_owned))
        }
        Architecture::Beats => {
            if key.starts_with("predictor.") {
                return None;
            }
            let key = key
                .replace(".weight_g", ".parametrizations.weight.original0")
                .replace(".weight_v", ".parametrizations.weight.original1");
            Some(format!("model.{key}"))
        }
    }
}

fn head(inside: &str) -> Option<String> {
    inside.starts_with(HEAD).then(|| inside.to_owned())
}

/// Self-supervised, fine-tuned, cluster-to-frame, and AudioSet-strong checkpoints (recipe 4.4).
fn atst_name(key: &str) -> Option<String> {
    if let Some(inside) = key.strip_prefix("net_strong.model.") {
        return head(inside).or_else(|| inside.starts_with("atst.").then(|| inside.to_owned()));
    }
    let inside = if let Some(inside) = key.strip_prefix("model.teacher.encoder.") {
        match inside.strip_prefix("norm.") {
            Some(norm) => return Some(format!("atst.norm_frame.{norm}")),
            None => inside,
        }
    } else {
        let inside = key.strip_prefix("encoder.encoder.")?;
        if inside.starts_with("teacher_module.") {
            return None;
        }
        inside.strip_prefix("frame_encoder.").unwrap_or(inside)
    };
    (inside != "cls_token").then(|| format!("atst.{inside}"))
}

/// Reads a transformer (and the wrapper's projection where the file has it) into `model`, whatever kind of checkpoint it is: one of
/// a transformer alone, AudioSet-strong or self-supervised, or a whole network's.
///
/// # Errors
/// [`Error::Keys`] with all missing, surplus and misshapen tensors at once, and nothing is changed; a BEATs configuration that this
/// network does not have.
pub fn load_transformer(model: &SedModel, file: &TensorFile) -> Result<Loaded, Error> {
    check_beats_configuration(model.settings(), file)?;
    let found = transformer_tensors(model.settings(), file);
    let mut missing = Vec::new();
    let mut misshapen = Vec::new();
    let mut left_random = Vec::new();
    let mut pairs = Vec::new();
    for (name, tensor) in model.store().parameters() {
        let Some(inside) = name.strip_prefix(WRAPPER) else {
            continue;
        };
        let Some(key) = found.get(inside) else {
            if inside.starts_with(HEAD) {
                left_random.push(name.to_owned());
            } else {
                missing.push(name.to_owned());
            }
            continue;
        };
        let shape = file.shape(key).map(|(shape, _)| shape.to_vec());
        if shape.as_deref() != Some(tensor.size().as_slice()) {
            let shape = shape.unwrap_or_default();
            misshapen.push(format!("{key}: {shape:?}, expected {:?}", tensor.size()));
        }
        pairs.push((key, tensor));
    }
    let known = |inside: &str| model.store().get(&format!("{WRAPPER}{inside}")).is_some();
    let surplus: Vec<String> = found
        .iter()
        .filter(|(inside, _)| !known(inside))
        .map(|(_, key)| key.clone())
        .collect();
    if !(missing.is_empty() && surplus.is_empty() && misshapen.is_empty()) {
        return Err(Error::Keys {
            path: file.path().to_owned(),
            missing,
            surplus,
            misshapen,
        });
    }
    tch::no_grad(|| {
        for (key, tensor) in &pairs {
            tensor.shallow_clone().f_copy_(&file.tensor(key)?)?;
        }
        Ok::<_, Error>(())
    })?;
    Ok(Loaded {
        parameters: pairs.len(),
        left_random,
    })
}

/// Full names in the file by the names that they have inside the network's `as_model`.
fn transformer_tensors(settings: &ModelSettings, file: &TensorFile) -> BTreeMap<String, String> {
    if let Some(prefix) = Network::Student.prefix(file) {
        let below = format!("{prefix}{WRAPPER}");
        return file
            .names()
            .filter_map(|key| Some((key.strip_prefix(&below)?.to_owned(), key.to_owned())))
            .collect();
    }
    let entry = ENTRIES
        .into_iter()
        .find(|entry| file.names().any(|name| name.starts_with(entry)))
        .unwrap_or_default();
    let bare = file
        .shape(&format!("{entry}net_strong.model.cls_token"))
        .is_some();
    let wrapper = match settings.audioset_head {
        Some(_) => "model.",
        None => "",
    };
    file.names()
        .filter_map(|key| {
            let inside = key.strip_prefix(entry)?;
            let name = transformer_name(settings.architecture, inside, bare)?;
            let name = match name.starts_with(HEAD) {
                true => name,
                false => format!("{wrapper}{name}"),
            };
            Some((name, key.to_owned()))
        })
        .collect()
}

/// A BEATs file carries its configuration; the choices that this network has not are refused by name.
fn check_beats_configuration(settings: &ModelSettings, file: &TensorFile) -> Result<(), Error> {
    if settings.architecture != Architecture::Beats {
        return Ok(());
    }
    let fixed = [
        ("deep_norm", "True"),
        ("layer_norm_first", "False"),
        ("relative_position_embedding", "True"),
        ("gru_rel_pos", "True"),
        ("conv_bias", "False"),
        ("activation_fn", "gelu"),
        ("input_patch_size", "16"),
    ];
    for (key, expected) in fixed {
        if let Ok(found) = file.metadata(&format!("cfg/{key}"))
            && found != expected
        {
            return Err(file.content(
                format!("a BEATs configuration with {key} = {found}"),
                format!("{key} = {expected}, the only form that is built here"),
            ));
        }
    }
    Ok(())
}

/// The network of a stage checkpoint that says nothing about itself: architecture and sizes by names and shapes, the rest as the
/// authors trained it (recipe 10.1).
///
/// # Errors
/// When the file has no such network, or a tensor that tells a size is missing.
pub fn settings_of(file: &TensorFile, network: Network) -> Result<ModelSettings, Error> {
    let prefix = network.prefix(file).ok_or_else(|| {
        file.content(
            format!("no {}", network.as_str()),
            "a checkpoint of a whole network: of this program, or a stage checkpoint of the reference".to_owned(),
        )
    })?;
    Shapes { file, prefix }.settings()
}

/// Shapes of one network in a file.
struct Shapes<'a> {
    file: &'a TensorFile,
    prefix: String,
}

impl Shapes<'_> {
    fn settings(&self) -> Result<ModelSettings, Error> {
        let head = format!("{WRAPPER}{HEAD}weight");
        let audioset_head = match self.has(&head) {
            true => Some(self.length(&head, 0)?),
            false => None,
        };
        let root = match audioset_head {
            Some(_) => format!("{WRAPPER}model."),
            None => WRAPPER.to_owned(),
        };
        let (architecture, transformer, beats) = self.transformer(&root)?;
        let embedding_pooling = match architecture {
            Architecture::AtstFrame => EmbeddingPooling::AdaptiveAverage,
            Architecture::Fpasst | Architecture::Beats => EmbeddingPooling::NearestExact,
        };
        let fpasst_mel = match architecture {
            Architecture::Fpasst => MelEdges { low: 1, high: 2000 },
            _ => MelEdges::FIXED,
        };
        Ok(ModelSettings {
            architecture,
            transformer,
            beats,
            audioset_head,
            embedding_pooling,
            crnn: self.crnn()?,
            atst_floor: DecibelFloor::Batch,
            fpasst_mel,
            init_seed: 0,
        })
    }

    fn transformer(
        &self,
        root: &str,
    ) -> Result<(Architecture, TransformerSettings, BeatsSettings), Error> {
        let unused = BeatsSettings::PUBLISHED;
        let vision = |position: &str, axis| -> Result<TransformerSettings, Error> {
            let dim = self.length(position, axis)?;
            let (blocks, _) = position.rsplit_once('.').unwrap_or_default();
            let blocks = format!("{blocks}.blocks.");
            Ok(TransformerSettings {
                dim,
                depth: self.count(&blocks),
                heads: (dim / HEAD_WIDTH).max(1),
                mlp_ratio: self.length(&format!("{blocks}0.mlp.fc1.weight"), 0)? / dim.max(1),
            })
        };
        let atst = format!("{root}atst.pos_embed");
        if self.has(&atst) {
            return Ok((Architecture::AtstFrame, vision(&atst, 2)?, unused));
        }
        let fpasst = format!("{root}cls_token");
        if self.has(&fpasst) {
            return Ok((Architecture::Fpasst, vision(&fpasst, 2)?, unused));
        }
        let root = format!("{root}model.");
        if !self.has(&format!("{root}post_extract_proj.weight")) {
            return Err(self.file.content(
                format!("no transformer below {}{WRAPPER}", self.prefix),
                "ATST-Frame, fPaSST or BEATs".to_owned(),
            ));
        }
        let layers = format!("{root}encoder.layers.");
        let dim = self.length(&format!("{root}post_extract_proj.weight"), 0)?;
        let position = format!("{root}encoder.pos_conv.0.parametrizations.weight.original1");
        let sizes = TransformerSettings {
            dim,
            depth: self.count(&layers),
            heads: self.length(&format!("{layers}0.self_attn.grep_a"), 1)?,
            mlp_ratio: self.length(&format!("{layers}0.fc1.weight"), 0)? / dim.max(1),
        };
        let bias = format!("{layers}0.self_attn.relative_attention_bias.weight");
        let beats = BeatsSettings {
            patch_dim: self.length(&format!("{root}patch_embedding.weight"), 0)?,
            position_kernel: self.length(&position, 2)?,
            position_groups: dim / self.length(&position, 1)?.max(1),
            buckets: self.length(&bias, 0)?,
            ..unused
        };
        Ok((Architecture::Beats, sizes, beats))
    }

    fn crnn(&self) -> Result<CrnnSettings, Error> {
        let mut channels = CrnnSettings::PUBLISHED.channels;
        for (index, channels) in channels.iter_mut().enumerate() {
            *channels = self.length(&format!("cnn.cnn.conv{index}.weight"), 0)?;
        }
        let hidden = "rnn.rnn.weight_hh_l0";
        let mut rnn_layers = 0;
        while self.has(&format!("rnn.rnn.weight_hh_l{rnn_layers}")) {
            rnn_layers += 1;
        }
        Ok(CrnnSettings {
            channels,
            fusion_dim: self.length("cat_tf.weight", 0)?,
            rnn_hidden: self.length(hidden, 1)?,
            rnn_layers,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.file.shape(&format!("{}{name}", self.prefix)).is_some()
    }

    /// One axis of a tensor.
    fn length(&self, name: &str, axis: usize) -> Result<u32, Error> {
        let key = format!("{}{name}", self.prefix);
        let shape = self.file.shape(&key).map(|(shape, _)| shape);
        let length = shape.and_then(|shape| shape.get(axis).copied());
        length
            .and_then(|length| u32::try_from(length).ok())
            .ok_or_else(|| {
                self.file.content(
                    format!("{key} of shape {:?}", shape.unwrap_or_default()),
                    format!("a tensor with at least {} axes", axis + 1),
                )
            })
    }

    /// How many indices follow this beginning, from 0 on.
    fn count(&self, beginning: &str) -> u32 {
        let beginning = format!("{}{beginning}", self.prefix);
        self.file
            .names()
            .filter_map(|name| {
                let (index, _) = name.strip_prefix(&beginning)?.split_once('.')?;
                index.parse::<u32>().ok()
            })
            .max()
            .map_or(0, |last| last.saturating_add(1))
    }
}
