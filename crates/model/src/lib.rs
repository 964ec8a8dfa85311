//! Networks and their files (recipe sections 3 and 4): front-ends, CRNN, transformers, fusion, heads; reading and
//! writing checkpoints under the reference's parameter names.
//!
//! Shapes are written (batch, …). A clip is 10 s at 16 kHz: 160 000 samples, 626 CRNN mel frames, 1001 transformer mel
//! frames, 156 label frames.

mod atst_frame;
mod atst_mel;
mod batch_norm;
mod beats;
mod beats_fbank;
mod block;
mod cnn;
mod crnn_mel;
mod error;
mod fpasst;
mod fpasst_mel;
mod front_ends;
mod gru;
mod heads;
mod layers;
mod mel;
mod parameters;
pub mod published;
mod sed_model;
mod sizes;
mod tensor_file;
mod transformer;

pub use atst_frame::AtstFrame;
pub use atst_mel::{AtstMel, AtstMelSteps};
pub use beats::Beats;
pub use beats_fbank::{BeatsFbank, BeatsFbankSteps};
pub use cnn::CnnOutput;
pub use crnn_mel::CrnnMel;
pub use error::Error;
pub use fpasst::Fpasst;
pub use fpasst_mel::{FpasstMel, FpasstMelSteps, evaluation_edges, training_edges};
pub use front_ends::FrontEnds;
pub use heads::{HeadLogits, Predictions};
pub use parameters::{ParameterStore, Role};
pub use sed_model::{EmbeddingPath, Fused, Mode, Part, SedModel, pool_embeddings};
pub use tensor_file::{TensorFile, TensorWriter, write_tensors};
pub use transformer::{Transformer, TransformerMode};

/// Label frames of a clip (recipe 2.3).
pub const LABEL_FRAMES: i64 = 156;
/// Classes of the output (recipe 2.1).
pub const NUM_CLASSES: i64 = 27;
