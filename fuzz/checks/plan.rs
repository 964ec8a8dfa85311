//! Any text is a plan or a list of problems that lie in it; a plan makes tasks, not too many, and its tables.

use std::path::Path;

use plan::{Options, Plan};
use types::Digest;

pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Plan::parse(text, Path::new("fuzzed.toml"), Options::default()) {
        Ok(plan) => {
            let graph = plan.graph(Digest::of(b"data"));
            assert!(!graph.tasks.is_empty());
            assert!(graph.tasks.len() <= 20_000, "{} tasks", graph.tasks.len());
        }
        Err(problems) => {
            assert!(problems.len() > 0);
            for problem in problems.iter() {
                let span = problem
                    .span
                    .clone()
                    .expect("every problem of a text has a place");
                assert!(
                    text.get(span.clone()).is_some(),
                    "{span:?} is not in the text"
                );
                assert!(!problem.message.is_empty());
                assert!(problems.position(problem).is_some());
            }
            assert!(problems.render(false).contains("fuzzed.toml"));
        }
    }
}
