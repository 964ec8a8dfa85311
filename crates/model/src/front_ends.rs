use tch::{Device, Tensor};
use types::{Architecture, ModelSettings};

use crate::{AtstMel, BeatsFbank, CrnnMel, FpasstMel};

/// The front-end that belongs to a transformer.
#[derive(Debug)]
enum TransformerFrontEnd {
    Atst(AtstMel),
    Fpasst(FpasstMel),
    Beats(BeatsFbank),
}

/// Both front-ends of a member's network.
#[derive(Debug)]
pub struct FrontEnds {
    crnn: CrnnMel,
    transformer: TransformerFrontEnd,
}

impl FrontEnds {
    /// Front-ends for this network, on `device`.
    #[must_use]
    pub fn new(settings: &ModelSettings, device: Device) -> Self {
        let transformer = match settings.architecture {
            Architecture::AtstFrame => {
                TransformerFrontEnd::Atst(AtstMel::new(settings.atst_floor, device))
            }
            Architecture::Fpasst => {
                TransformerFrontEnd::Fpasst(FpasstMel::new(settings.fpasst_mel, device))
            }
            Architecture::Beats => TransformerFrontEnd::Beats(BeatsFbank::new(device)),
        };
        Self {
            crnn: CrnnMel::new(device),
            transformer,
        }
    }

    /// (batch, samples) to the linear CRNN mel (batch, 1, 128, 626).
    pub fn crnn(&self, waveforms: &Tensor) -> Tensor {
        self.crnn.forward(waveforms)
    }

    /// (batch, samples) to the transformer's normalised features (batch, 1, bands, frames), as in evaluation.
    pub fn transformer(&self, waveforms: &Tensor) -> Tensor {
        match &self.transformer {
            TransformerFrontEnd::Atst(mel) => mel.forward(waveforms),
            TransformerFrontEnd::Fpasst(mel) => mel.forward(waveforms),
            TransformerFrontEnd::Beats(fbank) => fbank.forward(waveforms),
        }
    }

    /// As [`Self::transformer`], with fPaSST's mel bank between these edges in Hz ([`crate::training_edges`]); the other
    /// front-ends have fixed ones.
    pub fn transformer_between(&self, waveforms: &Tensor, edges: (f64, f64)) -> Tensor {
        match &self.transformer {
            TransformerFrontEnd::Fpasst(mel) => mel.forward_between(waveforms, edges),
            _ => self.transformer(waveforms),
        }
    }

    /// The part of [`Self::transformer`] that looks at each clip alone, so that it can be kept: (batch, samples) to
    /// (batch, bands, frames).
    pub fn transformer_by_clip(&self, waveforms: &Tensor) -> Tensor {
        match &self.transformer {
            TransformerFrontEnd::Atst(mel) => mel.by_clip(waveforms),
            TransformerFrontEnd::Fpasst(mel) => mel.forward(waveforms).squeeze_dim(1),
            TransformerFrontEnd::Beats(fbank) => fbank.forward(waveforms).squeeze_dim(1),
        }
    }

    /// The rest of [`Self::transformer`], which may look at the whole batch (recipe T8).
    pub fn finish_transformer(&self, by_clip: &Tensor) -> Tensor {
        match &self.transformer {
            TransformerFrontEnd::Atst(mel) => mel.finish(by_clip),
            TransformerFrontEnd::Fpasst(_) | TransformerFrontEnd::Beats(_) => by_clip.unsqueeze(1),
        }
    }
}
