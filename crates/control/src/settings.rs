use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All times and limits of the core. They enter with [`crate::Input::CoordinatorStarted`], so a replay uses those that
/// were in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How often a worker lets itself be heard when it has nothing to say.
    pub heartbeat: Duration,
    /// A worker silent for so long is `Unknown`: shown and explained, given nothing new; what it runs goes on.
    pub unknown_after: Duration,
    /// The lease. A worker stops its ranks when its last acknowledged heartbeat was *sent* so long ago.
    pub lost_after: Duration,
    /// The coordinator gives a silent worker's tasks away only so much after `lost_after`, counted from when it last
    /// *heard* the worker: room for clocks of different rates, and for the worker to kill its ranks.
    pub lease_margin: Duration,
    /// How long after a gang's first failure the causes of its other ranks are waited for when the rest is on workers
    /// that have fallen silent.
    pub cause_grace: Duration,
    /// After a worker arrived, tasks that could have a larger gang wait so long for more workers.
    pub gather: Duration,
    /// How many failures of a task by its own fault are forgiven (see [`crate::Rule`]).
    pub retry_budget: u32,
    /// Wait before the first retry; doubles with every further failure without a new checkpoint in between,
    pub backoff_first: Duration,
    /// up to this.
    pub backoff_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(500),
            unknown_after: Duration::from_secs(5),
            lost_after: Duration::from_secs(120),
            lease_margin: Duration::from_secs(10),
            cause_grace: Duration::from_secs(1),
            gather: Duration::from_secs(2),
            retry_budget: 2,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
        }
    }
}
