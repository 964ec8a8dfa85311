//! From head logits to frame and clip probabilities (recipe 4.2, 2.5).

use tch::{Kind, Tensor};

/// Raw outputs of both heads, before any mask.
#[derive(Debug)]
pub struct HeadLogits {
    /// (batch, frames, classes); what pseudo-labels are made of.
    pub strong: Tensor,
    /// (batch, frames, classes).
    pub attention: Tensor,
}

/// Probabilities.
#[derive(Debug)]
pub struct Predictions {
    /// (batch, classes, frames).
    pub strong: Tensor,
    /// (batch, classes).
    pub weak: Tensor,
}

impl HeadLogits {
    /// Probabilities of all classes, or with 0 for the classes that `mask` (batch, classes; true = valid) excludes.
    ///
    /// The attention is a softmax over classes, clamped to [1e-7, 1] and normalised over frames (recipe T2).
    #[must_use]
    pub fn predictions(&self, mask: Option<&Tensor>) -> Predictions {
        let invalid = mask.map(|mask| mask.to_kind(Kind::Bool).logical_not());
        let attention = match &invalid {
            // float32 only: -1e30 is not a half
            Some(invalid) => self.attention.masked_fill(&invalid.unsqueeze(1), -1e30),
            None => self.attention.shallow_clone(),
        };
        let attention = attention.softmax(-1, Kind::Float).clamp(1e-7, 1.0);
        let strong = self.strong.sigmoid();
        let over_frames = |x: &Tensor| x.sum_dim_intlist([1].as_slice(), false, Kind::Float);
        let weak = over_frames(&(&strong * &attention)) / over_frames(&attention);
        let strong = strong.transpose(1, 2);
        match invalid {
            Some(invalid) => Predictions {
                strong: strong.masked_fill(&invalid.unsqueeze(-1), 0.0),
                weak: weak.masked_fill(&invalid, 0.0),
            },
            None => Predictions { strong, weak },
        }
    }
}

impl Predictions {
    /// The same values outside the graph.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self {
            strong: self.strong.detach(),
            weak: self.weak.detach(),
        }
    }
}
