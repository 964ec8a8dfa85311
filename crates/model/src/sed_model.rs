//! CRNN and transformer fused, with both heads (recipe 4.2, 4.3).

use tch::{Device, Tensor};
use types::{EmbeddingPooling, ModelSettings};

use crate::cnn::{Cnn, CnnOutput};
use crate::gru::BidirectionalGru;
use crate::heads::HeadLogits;
use crate::layers::Linear;
use crate::parameters::ParameterStore;
use crate::sizes::check_sizes;
use crate::transformer::layer_group;
use crate::{Error, LABEL_FRAMES, NUM_CLASSES, Transformer, TransformerMode};

/// Steps that the AudioSet wrapper brings every sequence to.
const WRAPPER_STEPS: i64 = 250;

/// How a forward pass behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Running statistics, no dropout.
    Eval,
    /// The batch's own statistics, dropout with this probability at every dropout place of the CRNN.
    Train {
        /// Chance that a value is dropped.
        dropout: f64,
    },
}

impl Mode {
    pub(crate) fn dropout(self, x: &Tensor) -> Tensor {
        match self {
            Self::Train { dropout } if dropout > 0.0 => x.dropout(dropout, true),
            _ => x.shallow_clone(),
        }
    }

    fn is_train(self) -> bool {
        matches!(self, Self::Train { .. })
    }
}

/// Which learning rate a parameter follows (recipe 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The convolution stack.
    Cnn,
    /// Fusion, GRU and heads.
    Rnn,
    /// The transformer's layer group, counted from the output side.
    Transformer(usize),
    /// The frozen projection to AudioSet classes (recipe T1).
    AudiosetHead,
    /// Stored for the sake of the published names; no forward pass reads it, so it never has a gradient.
    Unused,
}

/// What the fused CRNN gives, from the inside out.
#[derive(Debug)]
pub struct Fused {
    /// The convolution stack's output.
    pub cnn: CnnOutput,
    /// (batch, 156, fusion_dim), after the fusion layer.
    pub fused: Tensor,
    /// (batch, 156, 2·hidden).
    pub rnn: Tensor,
    /// Both heads.
    pub logits: HeadLogits,
}

/// The transformer with its projection: features in, the embeddings that the CRNN is given out.
#[derive(Debug)]
pub struct EmbeddingPath {
    transformer: Transformer,
    audioset_head: Option<Linear>,
}

impl EmbeddingPath {
    /// (batch, 1, bands, frames) to (batch, tokens, embedding dim).
    pub fn forward(&self, features: &Tensor, mode: TransformerMode<'_>) -> Tensor {
        self.project(&self.transformer.forward(features, mode))
    }

    /// The transformer alone.
    #[must_use]
    pub fn transformer(&self) -> &Transformer {
        &self.transformer
    }

    /// The wrapper's part: 250 steps, then the frozen projection; nothing where there is no wrapper.
    pub fn project(&self, x: &Tensor) -> Tensor {
        let Some(head) = &self.audioset_head else {
            return x.shallow_clone();
        };
        if x.size()[1] == WRAPPER_STEPS {
            head.forward(x)
        } else {
            let x = x
                .transpose(1, 2)
                .adaptive_avg_pool1d(WRAPPER_STEPS)
                .transpose(1, 2);
            head.forward(&x)
        }
    }
}

/// A member's whole network.
#[derive(Debug)]
pub struct SedModel {
    settings: ModelSettings,
    store: ParameterStore,
    cnn: Cnn,
    rnn: BidirectionalGru,
    dense: Linear,
    dense_softmax: Linear,
    embedding: EmbeddingPath,
    cat_tf: Linear,
}

impl SedModel {
    /// A network with fresh weights, a function of `seed` plus the settings' own.
    ///
    /// # Errors
    /// When sizes contradict each other.
    pub fn new(settings: &ModelSettings, seed: u64, device: Device) -> Result<Self, Error> {
        check_sizes(settings)?;
        let mut store = ParameterStore::new(seed.wrapping_add(settings.init_seed), device);
        let crnn = &settings.crnn;
        let hidden = i64::from(crnn.rnn_hidden);
        let fusion = i64::from(crnn.fusion_dim);
        let channels = i64::from(crnn.channels[crnn.channels.len() - 1]);
        let dim = i64::from(settings.transformer.dim);

        let cnn = Cnn::new(store.scope("cnn.cnn"), &crnn.channels);
        let rnn = BidirectionalGru::new(
            store.scope("rnn.rnn"),
            fusion,
            hidden,
            i64::from(crnn.rnn_layers),
        );
        let dense = Linear::new(store.scope("dense"), 2 * hidden, NUM_CLASSES);
        let dense_softmax = Linear::new(store.scope("dense_softmax"), 2 * hidden, NUM_CLASSES);
        // the wrapper adds a level to the transformer's names (recipe 4.7)
        let prefix = match settings.audioset_head {
            Some(_) => "as_model.model",
            None => "as_model",
        };
        let transformer = Transformer::new(store.scope(prefix), settings);
        let audioset_head = settings.audioset_head.map(|outputs| {
            Linear::new(
                store.scope("as_model.head_linear_layer"),
                dim,
                i64::from(outputs),
            )
        });
        let embedding_dim = settings.audioset_head.map_or(dim, i64::from);
        let cat_tf = Linear::new(store.scope("cat_tf"), channels + embedding_dim, fusion);
        Ok(Self {
            settings: settings.clone(),
            store,
            cnn,
            rnn,
            dense,
            dense_softmax,
            embedding: EmbeddingPath {
                transformer,
                audioset_head,
            },
            cat_tf,
        })
    }

    /// What it was built by.
    #[must_use]
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// All named tensors.
    #[must_use]
    pub fn store(&self) -> &ParameterStore {
        &self.store
    }

    /// The transformer and its projection.
    #[must_use]
    pub fn embedding(&self) -> &EmbeddingPath {
        &self.embedding
    }

    /// Scores a batch. `crnn_input`: (batch, 1, 128, frames) as [`crate::CrnnMel::scale`] gives it; `embeddings`:
    /// (batch, tokens, dim) as [`EmbeddingPath::forward`] gives them.
    #[must_use]
    pub fn forward(&self, crnn_input: &Tensor, embeddings: &Tensor, mode: Mode) -> Fused {
        let cnn = self.cnn.forward(&crnn_input.transpose(2, 3), mode);
        // (batch, channels, frames, 1) to (batch, frames, channels)
        let local = cnn.features.squeeze_dim(3).transpose(1, 2);
        let global = pool_embeddings(embeddings, self.settings.embedding_pooling, local.size()[1]);
        let fused = self
            .cat_tf
            .forward(&mode.dropout(&Tensor::cat(&[local, global], 2)));
        let rnn = self.rnn.forward(&fused, mode.is_train());
        let x = mode.dropout(&rnn);
        let logits = HeadLogits {
            strong: self.dense.forward(&x),
            attention: self.dense_softmax.forward(&x),
        };
        Fused {
            cnn,
            fused,
            rnn,
            logits,
        }
    }

    /// Frame logits in eval mode from both front-ends' outputs: (batch, 156, 27).
    pub fn frame_logits(&self, crnn_input: &Tensor, transformer_features: &Tensor) -> Tensor {
        tch::no_grad(|| {
            let embeddings = self
                .embedding
                .forward(transformer_features, TransformerMode::Eval);
            self.forward(crnn_input, &embeddings, Mode::Eval)
                .logits
                .strong
        })
    }

    /// Folds one micro-batch's statistics ([`CnnOutput::statistics`]) into the running ones.
    pub fn fold_statistics(&self, statistics: &Tensor) {
        self.cnn.fold(statistics);
    }

    /// Length of a vector of statistics.
    #[must_use]
    pub fn statistics_len(&self) -> i64 {
        self.cnn.statistics_len()
    }

    /// The part that a parameter belongs to.
    #[must_use]
    pub fn part(&self, name: &str) -> Part {
        if name.starts_with("cnn.") {
            Part::Cnn
        } else if name.starts_with("as_model.head_linear_layer.") {
            Part::AudiosetHead
        } else if name.ends_with(".mask_embed") {
            Part::Unused
        } else if name.starts_with("as_model.") {
            Part::Transformer(layer_group(&self.settings, name))
        } else {
            Part::Rnn
        }
    }
}

/// (batch, tokens, dim) to (batch, frames, dim).
pub fn pool_embeddings(embeddings: &Tensor, pooling: EmbeddingPooling, frames: i64) -> Tensor {
    let x = embeddings.transpose(1, 2);
    let x = match pooling {
        EmbeddingPooling::AdaptiveAverage => x.adaptive_avg_pool1d(frames),
        EmbeddingPooling::NearestExact => x.internal_upsample_nearest_exact1d(frames, None),
        EmbeddingPooling::Nearest => x.upsample_nearest1d(frames, None),
    };
    x.transpose(1, 2)
}

const _: () = assert!(LABEL_FRAMES == 626 / 2 / 2);
