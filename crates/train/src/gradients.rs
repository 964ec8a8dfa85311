//! How the gradients of a step's micro-batches come together (ARCHITECTURE.md, "Sameness").

use collective::{Ordered, OrderedOptions, ProcessGroup, Reducer, ReducerOptions, Waiting};
use tch::Tensor;
use types::{Reduction, TrainingSettings, tree_levels};

use crate::{Error, Optimizer};

/// Sums gradients over the micro-batches of a step, on all ranks.
pub(crate) struct Gradients {
    way: Way,
    /// What a loss is multiplied by before backward, so that the sum is divided by the full number of micro-batches, even where the
    /// step is short (recipe T22).
    scale: f64,
}

enum Way {
    Ordered(Box<Ordered>),
    Fast(Reducer),
}

impl Gradients {
    pub(crate) fn new(
        settings: &TrainingSettings,
        optimizer: &Optimizer,
        group: &ProcessGroup,
    ) -> Result<Self, Error> {
        let parameters: Vec<Tensor> = optimizer.parameters().map(Tensor::shallow_clone).collect();
        let per_step = settings.microbatches_per_step;
        let full = f64::from(per_step);
        Ok(match settings.reduction {
            Reduction::Ordered => Self {
                way: Way::Ordered(Box::new(Ordered::new(
                    &parameters,
                    &tree_levels(per_step),
                    group,
                    OrderedOptions::default(),
                )?)),
                scale: 1.0 / full,
            },
            Reduction::Fast => {
                let reducer = Reducer::new(&parameters, group, ReducerOptions::default())?;
                // From here on every gradient exists, so that each step adds to zeros, the first one included.
                backward(&idle_loss(optimizer))?;
                Self {
                    way: Way::Fast(reducer),
                    // the reducer takes the mean over ranks
                    scale: group.size() as f64 / full,
                }
            }
        })
    }

    /// Forgets the step before; `microbatches`: of the step, on all ranks together.
    pub(crate) fn begin_step(
        &mut self,
        optimizer: &Optimizer,
        microbatches: u32,
    ) -> Result<(), Error> {
        match &mut self.way {
            Way::Ordered(ordered) => ordered.begin_step(microbatches)?,
            Way::Fast(_) => optimizer.zero_gradients(),
        }
        Ok(())
    }

    /// Backward from one micro-batch's loss. `partial`: it may not reach every parameter.
    pub(crate) fn add(
        &mut self,
        loss: &Tensor,
        optimizer: &Optimizer,
        partial: bool,
        last: bool,
    ) -> Result<(), Error> {
        let mut loss = loss * self.scale;
        match &mut self.way {
            Way::Ordered(ordered) => {
                ordered.backward(&loss)?;
                if last {
                    ordered.finish_step()?;
                }
            }
            Way::Fast(reducer) => {
                if last {
                    reducer.prepare()?;
                }
                if partial {
                    // what was left out still has to tell the reducer that its gradient is there
                    loss += idle_loss(optimizer);
                }
                // gradients are exchanged while backward runs
                let waiting = (last && !reducer.is_solo()).then(Waiting::begin);
                backward(&loss)?;
                drop(waiting);
            }
        }
        Ok(())
    }

    /// What a rank does that a short step leaves without a micro-batch.
    pub(crate) fn sit_out(&mut self, optimizer: &Optimizer) -> Result<(), Error> {
        match &mut self.way {
            Way::Ordered(ordered) => ordered.finish_step()?,
            Way::Fast(reducer) => {
                // zeros complete the others' mean
                reducer.prepare()?;
                let waiting = (!reducer.is_solo()).then(Waiting::begin);
                backward(&idle_loss(optimizer))?;
                drop(waiting);
            }
        }
        Ok(())
    }
}

/// A loss of 0 in which every trained parameter takes part.
fn idle_loss(optimizer: &Optimizer) -> Tensor {
    let sums: Vec<Tensor> = optimizer
        .parameters()
        .map(|parameter| parameter.sum(None) * 0.0)
        .collect();
    Tensor::stack(&sums, 0).sum(None)
}

/// A lost peer shows here, because gradients are exchanged while backward runs.
fn backward(loss: &Tensor) -> Result<(), Error> {
    loss.f_backward()
        .map_err(|error| collective::Error::from_backward(&error).into())
}
