use std::collections::BTreeSet;

use types::Digest;

use crate::run::Phase;
use crate::state::State;

impl State {
    pub(crate) fn referenced(&self) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        for outputs in self.memo.values() {
            found.extend(outputs.values());
        }
        for kept in self.checkpoints.values() {
            found.extend(kept.iter().map(|checkpoint| checkpoint.digest));
        }
        for run in self.runs.values() {
            for (node, task) in run.graph.tasks.iter().zip(&run.tasks) {
                found.extend(node.files.values());
                found.extend(task.inputs.values());
                if let Phase::Done { outputs, .. } = &task.phase {
                    found.extend(outputs.values());
                }
            }
        }
        for attempt in self.attempts.values() {
            found.extend(attempt.resumed.map(|checkpoint| checkpoint.digest));
            found.extend(attempt.outputs.iter().flat_map(|outputs| outputs.values()));
        }
        found
    }
}
