use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One thing that is wrong with a plan: what was found, where, what was expected, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in one line.
    pub message: String,
    /// The offending bytes of the plan's text; none when the file as a whole is meant.
    pub span: Option<Range<usize>>,
    /// Said right under the offending text.
    pub label: String,
    /// Another place that belongs to it, with what to say there.
    pub related: Option<(Range<usize>, String)>,
    /// What to do about it.
    pub hints: Vec<String>,
}

impl Problem {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: Some(span),
            label: String::new(),
            related: None,
            hints: Vec::new(),
        }
    }

    pub(crate) fn of_file(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            label: String::new(),
            related: None,
            hints: Vec::new(),
        }
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn related(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }
}

/// Everything that is wrong with one plan file, in the order of the file. Its `Display` is the plain rendering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    path: PathBuf,
    text: Arc<str>,
    list: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(path: &Path, text: &str, mut list: Vec<Problem>) -> Self {
        for problem in &mut list {
            if let Some(span) = &mut problem.span {
                *span = inside(text, span.clone());
            }
            if let Some((span, _)) = &mut problem.related {
                *span = inside(text, span.clone());
            }
        }
        list.sort_by_key(|problem| {
            problem
                .span
                .as_ref()
                .map_or((0, 0), |span| (span.start, span.end))
        });
        let mut seen: Vec<Problem> = Vec::with_capacity(list.len());
        for problem in list {
            // One wrong value can break the same rule in every iteration and member that inherits it: say it once.
            if !seen
                .iter()
                .any(|other| other.span == problem.span && other.message == problem.message)
            {
                seen.push(problem);
            }
        }
        Self {
            path: path.to_owned(),
            text: text.into(),
            list: seen,
        }
    }

    /// The plan file, as it was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The problems, in the order of the file; never empty.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many there are; at least one.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty list of problems is a plan"
    )]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Line and column of a problem, both from 1, the column in characters.
    #[must_use]
    pub fn position(&self, problem: &Problem) -> Option<(usize, usize)> {
        problem
            .span
            .as_ref()
            .map(|span| position(&self.text, span.start))
    }

    /// Each problem with its place, the offending text underlined and the hints; with terminal colours or without.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let path = self.path.display().to_string();
        let mut out = String::new();
        for problem in &self.list {
            let mut report = vec![self.group(problem, &path)];
            report.extend(
                problem
                    .hints
                    .iter()
                    .map(|hint| Group::with_title(Level::HELP.secondary_title(lines(hint)))),
            );
            out.push_str(&renderer.render(&report));
            out.push_str("\n\n");
        }
        let noun = if self.list.len() == 1 {
            "problem"
        } else {
            "problems"
        };
        out.push_str(&format!("{} {noun} in {path}\n", self.list.len()));
        out
    }

    fn group<'a>(&'a self, problem: &'a Problem, path: &'a str) -> Group<'a> {
        let title = Level::ERROR.primary_title(printable(&problem.message));
        let Some(span) = &problem.span else {
            return title.element(Origin::path(path));
        };
        let primary = AnnotationKind::Primary.span(span.clone());
        let primary = if problem.label.is_empty() {
            primary
        } else {
            primary.label(printable(&problem.label))
        };
        let mut snippet = Snippet::source(&*self.text).path(path).annotation(primary);
        if let Some((span, label)) = &problem.related {
            snippet = snippet.annotation(
                AnnotationKind::Context
                    .span(span.clone())
                    .label(printable(label)),
            );
        }
        title.element(snippet)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// Text from a plan may hold anything; a terminal must not obey it.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// The same for a text that may have several lines.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// The same span, cut to the text and to whole characters.
fn inside(text: &str, span: Range<usize>) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

/// Line and column (in characters) of a byte, both from 1.
fn position(text: &str, byte: usize) -> (usize, usize) {
    let before = &text[..byte.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The candidate that `found` is most likely a slip of, if any is near enough.
pub(crate) fn nearest<'a>(
    found: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = found.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            let length = candidate.len().min(found.len());
            *distance <= 1 + length / 4 && *distance < length
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// "did you mean …" where something is near, else the whole choice.
pub(crate) fn suggest<'a>(
    found: &str,
    what: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    match nearest(found, candidates.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let mut all: Vec<String> = candidates
                .into_iter()
                .map(|name| format!("`{name}`"))
                .collect();
            all.dedup();
            if all.is_empty() {
                format!("there is no {what}")
            } else {
                format!("{what}: {}", all.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_never_leaves_the_text_or_splits_a_character() {
        let text = "aäb";
        assert_eq!(inside(text, 2..9), 1..4);
        assert_eq!(inside(text, 90..95), 4..4);
        #[expect(clippy::reversed_empty_ranges, reason = "a parser's slip")]
        let reversed = 3..1;
        assert_eq!(inside(text, reversed), 3..3);
    }

    #[test]
    fn positions_count_characters_from_one() {
        assert_eq!(position("ä = 1\nb = 2", 3), (1, 3));
        assert_eq!(position("ä = 1\nb = 2", 7), (2, 1));
    }

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(nearest("epoch", ["epochs", "dropout"]), Some("epochs"));
        assert_eq!(nearest("banana", ["epochs", "dropout"]), None);
    }
}
