//! What the ranks tell each other at the end of a step: losses, batch-norm statistics, and whether to stop.

use collective::ProcessGroup;
use model::SedModel;
use tch::{Device, Kind, Tensor};

use crate::Error;
use crate::batch::Itinerary;
use crate::learner::Learned;
use crate::losses::Losses;

/// Columns before the losses: whether the micro-batch exists, whether its rank was asked to stop.
const FLAGS: i64 = 2;
const LOSSES: i64 = Losses::NAMES.len() as i64;

/// One row for each micro-batch of this rank's block.
#[derive(Debug)]
pub(crate) struct Account {
    rows: Tensor,
    first: u32,
    statistics: i64,
}

/// The same on every rank.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Means over the step's micro-batches, beside [`Losses::NAMES`].
    pub(crate) losses: [f64; Losses::NAMES.len()],
    /// Whether any rank was asked to stop.
    pub(crate) stop: bool,
    /// All micro-batches' rows in order.
    rows: Vec<Tensor>,
    statistics: i64,
}

impl Account {
    pub(crate) fn new(itinerary: &Itinerary, statistics: i64, stop: bool, device: Device) -> Self {
        let block = itinerary.calendar.microbatches_per_step / itinerary.world_size;
        let columns = FLAGS + LOSSES + 2 * statistics;
        let rows = Tensor::zeros([i64::from(block), columns], (Kind::Float, device));
        let _ = rows.narrow(1, 1, 1).fill_(f64::from(u8::from(stop)));
        Self {
            rows,
            first: itinerary.rank * block,
            statistics,
        }
    }

    /// Enters one micro-batch.
    pub(crate) fn enter(&self, microbatch: u32, learned: &Learned) {
        let row = self.rows.get(i64::from(microbatch - self.first));
        let _ = row.narrow(0, 0, 1).fill_(1.0);
        row.narrow(0, FLAGS, LOSSES).copy_(&learned.losses.values());
        for (index, measured) in (0..).zip(&learned.statistics) {
            if let Some(measured) = measured {
                let start = FLAGS + LOSSES + index * self.statistics;
                row.narrow(0, start, self.statistics).copy_(measured);
            }
        }
    }

    /// Exchanges the rows. Every rank adds up all of them in micro-batch order, so all come to the same values, whatever
    /// the number of ranks.
    ///
    /// # Errors
    /// When a rank is lost, or with [`Error::NotANumber`] for the first term that is none.
    pub(crate) fn settle(self, group: &ProcessGroup, step: u64) -> Result<Settled, Error> {
        let mut rows = Vec::new();
        let mut losses = [0.0; Losses::NAMES.len()];
        let mut stop = false;
        let blocks = group.all_gather(&self.rows)?;
        for (microbatch, row) in (0..).zip(blocks.iter().flat_map(|block| block.unbind(0))) {
            let head =
                Vec::<f32>::try_from(row.narrow(0, 0, FLAGS + LOSSES).to_device(Device::Cpu))?;
            stop |= head[1] > 0.0;
            if head[0] == 0.0 {
                continue;
            }
            let terms = &head[FLAGS as usize..];
            // the total comes first, but a term says more
            let order = (1..terms.len()).chain([0]);
            for index in order {
                let value = f64::from(terms[index]);
                if !value.is_finite() {
                    return Err(Error::NotANumber {
                        step,
                        microbatch,
                        term: Losses::NAMES[index],
                        value,
                    });
                }
                losses[index] += value;
            }
            rows.push(row);
        }
        for loss in &mut losses {
            *loss /= rows.len().max(1) as f64;
        }
        Ok(Settled {
            losses,
            stop,
            rows,
            statistics: self.statistics,
        })
    }
}

impl Settled {
    /// Micro-batches of the step.
    pub(crate) fn microbatches(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Folds batch-norm statistics in micro-batch order.
    pub(crate) fn fold_statistics(&self, student: &SedModel, teacher: &SedModel) {
        for row in &self.rows {
            for (index, model) in (0..).zip([student, teacher]) {
                let start = FLAGS + LOSSES + index * self.statistics;
                model.fold_statistics(&row.narrow(0, start, self.statistics));
            }
        }
    }
}
