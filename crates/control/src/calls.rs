use std::collections::{BTreeMap, VecDeque};

use types::{CallId, RunId};

/// So many are kept: a repetition comes within seconds, or from a network that held it back for a while.
const REMEMBERED: usize = 1000;

/// The latest calls of users that were obeyed, each with the run that it was about.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Calls {
    runs: BTreeMap<CallId, Option<RunId>>,
    order: VecDeque<CallId>,
}

impl Calls {
    /// What an obeyed call was about; none if it has not been obeyed.
    pub(crate) fn obeyed(&self, call: &CallId) -> Option<Option<RunId>> {
        self.runs.get(call).copied()
    }

    pub(crate) fn remember(&mut self, call: CallId, run: Option<RunId>) {
        if self.runs.insert(call.clone(), run).is_none() {
            self.order.push_back(call);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.runs.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_calls_are_known() {
        let mut calls = Calls::default();
        let call = |number| CallId::new(format!("c{number}")).unwrap();
        for number in 0..=REMEMBERED as u64 {
            calls.remember(call(number), Some(RunId(number)));
            calls.remember(call(number), Some(RunId(number)));
        }
        assert_eq!(calls.obeyed(&call(0)), None);
        assert_eq!(calls.obeyed(&call(1)), Some(Some(RunId(1))));
        assert_eq!(calls.obeyed(&call(1000)), Some(Some(RunId(1000))));
    }
}
