use tch::Tensor;
use types::MicrobatchSizes;

/// A run of consecutive rows of a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The first row,
    pub start: i64,
    /// and how many.
    pub len: i64,
}

impl Rows {
    /// These rows of a tensor whose first axis is the batch.
    pub fn of(self, tensor: &Tensor) -> Tensor {
        tensor.narrow(0, self.start, self.len)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    const fn to(self, last: Self) -> Self {
        Self {
            start: self.start,
            len: last.start + last.len - self.start,
        }
    }
}

/// Which rows of a micro-batch are what: maestro, strong, synth, weak, unlabeled (recipe 1.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// MAESTRO.
    pub maestro: Rows,
    /// Real strong clips, external ones included.
    pub strong: Rows,
    /// Synthetic clips.
    pub synth: Rows,
    /// Weakly labeled clips.
    pub weak: Rows,
    /// Unlabeled clips.
    pub unlabeled: Rows,
}

impl Layout {
    /// The layout of a micro-batch of these sizes.
    #[must_use]
    pub fn new(sizes: &MicrobatchSizes) -> Self {
        let mut start = 0;
        let mut next = |len: u32| {
            let rows = Rows {
                start,
                len: i64::from(len),
            };
            start += rows.len;
            rows
        };
        Self {
            maestro: next(sizes.maestro),
            strong: next(sizes.strong),
            synth: next(sizes.synth),
            weak: next(sizes.weak),
            unlabeled: next(sizes.unlabeled),
        }
    }

    /// MAESTRO, strong and synthetic: the rows with frame labels.
    #[must_use]
    pub const fn joint_strong(&self) -> Rows {
        self.maestro.to(self.synth)
    }

    /// Strong and synthetic.
    #[must_use]
    pub const fn desed_strong(&self) -> Rows {
        self.strong.to(self.synth)
    }

    /// Everything but MAESTRO.
    #[must_use]
    pub const fn desed(&self) -> Rows {
        self.strong.to(self.unlabeled)
    }

    /// Everything.
    #[must_use]
    pub const fn all(&self) -> Rows {
        self.maestro.to(self.unlabeled)
    }
}
