//! Things that several tests need.

use std::collections::BTreeMap;
use std::sync::Arc;

use types::{Fence, MetricPoint, Rank, Step, TaskName};

use crate::Assignment;

pub(crate) fn assignment(fence: u64, rank: u32) -> Arc<Assignment> {
    Arc::new(Assignment {
        fence: Fence(fence),
        task: TaskName::new("i1.pseudo_label").unwrap(),
        rank: Rank(rank),
        world_size: 2,
        spec: testkit::host_spec(),
        inputs: BTreeMap::new(),
        outputs: vec!["pseudo_labels".to_owned()],
        resume: None,
        manifest: None,
    })
}

pub(crate) fn training(fence: u64, rank: u32) -> Arc<Assignment> {
    Arc::new(Assignment {
        task: TaskName::new("i1.s1.tiny.train").unwrap(),
        spec: testkit::train_spec(),
        outputs: vec!["checkpoint".to_owned()],
        ..Assignment::clone(&assignment(fence, rank))
    })
}

pub(crate) fn point(step: u64) -> MetricPoint {
    MetricPoint {
        step: Step(step),
        values: BTreeMap::from([("loss".to_owned(), 0.5)]),
    }
}
