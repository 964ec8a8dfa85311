use std::collections::BTreeMap;

use types::Digest;

use super::{Curve, House};

/// What a run leaves that must not depend on what happened to it: every output of every task, and every curve.
#[derive(Debug)]
pub struct Remains {
    outputs: BTreeMap<(String, String), Digest>,
    curves: BTreeMap<String, BTreeMap<u64, BTreeMap<String, f64>>>,
}

impl Remains {
    /// Of the newest run of a house.
    pub fn of(house: &House) -> Self {
        let history = house.history();
        let mut curves = BTreeMap::new();
        for task in history.cluster.tasks(history.run()) {
            let name = task.task.name.to_string();
            let curve = Curve::read(&house.run_dir(), &name);
            curve.assert_whole();
            curves.insert(name, curve.by_step());
        }
        Self {
            outputs: history.outputs(),
            curves,
        }
    }

    /// Compares this undisturbed run with another.
    pub fn assert_same(&self, other: &Self) {
        for (name, digest) in &self.outputs {
            assert_eq!(Some(digest), other.outputs.get(name), "{name:?}");
        }
        assert_eq!(self.outputs.len(), other.outputs.len());
        for (task, curve) in &self.curves {
            assert_eq!(Some(curve), other.curves.get(task), "the curve of {task}");
        }
    }
}
