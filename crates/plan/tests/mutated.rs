//! 100,000 plans that something happened to: never a panic, and every problem lies in the file.

use std::path::Path;

use plan::{Options, Plan};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

const PLANS: [&str; 3] = [
    include_str!("../../../configs/two_iterations.toml"),
    include_str!("../../../configs/demo.toml"),
    include_str!("../../../configs/smoke.toml"),
];

/// Bytes and words that mean something to TOML or to a plan.
const PIECES: [&str; 32] = [
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "\n",
    "\r\n",
    "\t",
    "\0",
    "\u{feff}",
    "ä",
    "\u{1f3b5}",
    "-",
    "0",
    "1e999",
    "nan",
    "true",
    "2026-11-22",
    "\"previous\"",
    "\"none\"",
    "99999999999999999999",
    "stage1",
    "loss = 3\n",
    "[[member]]\n",
];

/// One accident. Positions are shares of the text, so that they stay meaningful as it changes.
#[derive(Debug, Clone)]
enum Accident {
    DeleteBytes(u32, u8),
    InsertPiece(u32, usize),
    OverwriteByte(u32, u8),
    DeleteLine(u32),
    DuplicateLine(u32, u32),
    SwapLines(u32, u32),
    LineOfOtherPlan(u32, usize, u32),
    Truncate(u32),
}

fn accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        (any::<u32>(), 1..20u8).prop_map(|(at, count)| Accident::DeleteBytes(at, count)),
        (any::<u32>(), 0..PIECES.len()).prop_map(|(at, piece)| Accident::InsertPiece(at, piece)),
        (any::<u32>(), any::<u8>()).prop_map(|(at, byte)| Accident::OverwriteByte(at, byte)),
        any::<u32>().prop_map(Accident::DeleteLine),
        (any::<u32>(), any::<u32>()).prop_map(|(from, to)| Accident::DuplicateLine(from, to)),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| Accident::SwapLines(a, b)),
        (any::<u32>(), 0..PLANS.len(), any::<u32>())
            .prop_map(|(at, plan, line)| Accident::LineOfOtherPlan(at, plan, line)),
        any::<u32>().prop_map(Accident::Truncate),
    ]
}

fn place(share: u32, length: usize) -> usize {
    ((u64::from(share) * length as u64) >> 32) as usize
}

fn happen(text: &str, accident: &Accident) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut lines: Vec<&str> = text.lines().collect();
    match *accident {
        _ if text.is_empty() => return PIECES[0].to_owned(),
        Accident::DeleteBytes(at, count) => {
            let at = place(at, bytes.len());
            bytes.drain(at..(at + usize::from(count)).min(bytes.len()));
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Accident::InsertPiece(at, piece) => {
            let at = place(at, bytes.len());
            bytes.splice(at..at, PIECES[piece].bytes());
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Accident::OverwriteByte(at, byte) => {
            let at = place(at, bytes.len());
            bytes[at] = byte;
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Accident::Truncate(at) => {
            bytes.truncate(place(at, bytes.len()));
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        Accident::DeleteLine(at) => {
            lines.remove(place(at, lines.len()));
        }
        Accident::DuplicateLine(from, to) => {
            let line = lines[place(from, lines.len())];
            lines.insert(place(to, lines.len()), line);
        }
        Accident::SwapLines(a, b) => {
            let (a, b) = (place(a, lines.len()), place(b, lines.len()));
            lines.swap(a, b);
        }
        Accident::LineOfOtherPlan(at, plan, line) => {
            let others: Vec<&str> = PLANS[plan].lines().collect();
            lines.insert(place(at, lines.len()), others[place(line, others.len())]);
        }
    }
    lines.join("\n")
}

#[test]
fn mutated_plans_never_panic_and_problems_lie_in_the_file() {
    let config = Config {
        cases: 100_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let strategy = (0..PLANS.len(), prop::collection::vec(accident(), 1..4));
    let (valid, broken) = (std::cell::Cell::new(0u32), std::cell::Cell::new(0u32));
    let outcome = runner.run(&strategy, |(plan, accidents)| {
        let text = accidents
            .iter()
            .fold(PLANS[plan].to_owned(), |text, accident| {
                happen(&text, accident)
            });
        match Plan::parse(&text, Path::new("mutated.toml"), Options::default()) {
            Ok(plan) => {
                valid.set(valid.get() + 1);
                prop_assert!(!plan.members().is_empty() && !plan.iterations().is_empty());
            }
            Err(problems) => {
                broken.set(broken.get() + 1);
                prop_assert!(problems.len() > 0);
                for problem in problems.iter() {
                    let span = problem
                        .span
                        .clone()
                        .expect("every problem of a text has a place");
                    prop_assert!(
                        text.get(span.clone()).is_some(),
                        "{:?} is not in the text: {}",
                        span,
                        problem.message
                    );
                    prop_assert!(!problem.message.is_empty());
                    let (line, column) = problems.position(problem).unwrap();
                    prop_assert!(
                        line >= 1 && column >= 1 && line <= text.matches('\n').count() + 1
                    );
                }
                // Rendering is the slow part: every tenth shows that it copes too.
                if broken.get() % 10 == 0 {
                    prop_assert!(problems.render(false).contains("mutated.toml"));
                }
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // Both ways must have been taken often, else the accidents are too mild or too harsh.
    assert!(
        valid.get() > 10_000 && broken.get() > 10_000,
        "{} valid, {} broken",
        valid.get(),
        broken.get()
    );
}
