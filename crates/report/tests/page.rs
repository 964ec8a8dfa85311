//! What stands on the page of a run: exactly what was stored, whatever the run looks like, and nothing that a browser would load or run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::collections::BTreeSet;

use report::{RunPage, RunState, TaskState, run_html};
use scraper::{ElementRef, Html, Selector};
use types::{
    Detection, Estimate, Found, ScoreReport, ShownClip, ShownClips, SoundEvent, Spectrogram,
    Subject,
};

/// A value's whole address on the page.
type Key = (u32, u32, String, String, String, String, String, String);

fn find<'a>(document: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    let selector = Selector::parse(selector).unwrap();
    document.select(&selector).collect()
}

fn text(element: ElementRef<'_>) -> String {
    element.text().collect()
}

fn subject(report: &ScoreReport) -> &str {
    match &report.subject {
        Subject::Member(name) => name.as_str(),
        Subject::Ensemble => "ensemble",
    }
}

/// An attribute of an element, or of the nearest one around it that has it.
fn inherited(element: ElementRef<'_>, attribute: &str) -> Option<String> {
    let around = element.ancestors().filter_map(ElementRef::wrap);
    std::iter::once(element)
        .chain(around)
        .find_map(|one| one.value().attr(attribute))
        .map(str::to_owned)
}

/// Every stored value that a page must show, with its address.
fn stored(page: &RunPage) -> Vec<(Key, f64)> {
    let mut values = Vec::new();
    for report in &page.scores {
        let mut put = |split: &str, after: &str, metric: &str, class: &str, estimate: Estimate| {
            let ends = estimate
                .interval
                .map(|[low, high]| [("low", low), ("high", high)]);
            let parts = [("value", estimate.value)];
            for (part, value) in parts.into_iter().chain(ends.into_iter().flatten()) {
                let words = [subject(report), split, after, metric, class, part].map(str::to_owned);
                let [subject, split, after, metric, class, part] = words;
                let key = (
                    report.iteration,
                    report.stage,
                    subject,
                    split,
                    after,
                    metric,
                    class,
                    part,
                );
                values.push((key, value));
            }
        };
        for (split, all) in &report.events {
            for scores in all {
                let (split, after) = (split.as_str(), scores.post_processing.as_str());
                put(split, after, "psds1", "", scores.psds1);
                put(split, after, "psds2", "", scores.psds2);
                put(
                    split,
                    after,
                    "psds1_class_mean",
                    "",
                    scores.psds1_class_mean,
                );
                for (class, score) in &scores.psds1_by_class {
                    put(split, after, "psds1_by_class", class, score.score);
                }
            }
        }
        if let Some(segments) = &report.segments {
            let split = segments.split.as_str();
            put(split, "raw", "mpauc", "", segments.mpauc);
            for (class, score) in &segments.pauc_by_class {
                put(split, "raw", "pauc_by_class", class, score.score);
            }
        }
        for (class, settings) in &report.csebbs {
            let parts = [
                ("step_seconds", Some(settings.step_seconds)),
                ("merge_relative", settings.merge_relative),
                ("merge_absolute", settings.merge_absolute),
            ];
            for (part, value) in parts {
                let Some(value) = value else { continue };
                let words = [subject(report), "", "", "csebbs", class, part].map(str::to_owned);
                let [subject, split, after, metric, class, part] = words;
                let key = (
                    report.iteration,
                    report.stage,
                    subject,
                    split,
                    after,
                    metric,
                    class,
                    part,
                );
                values.push((key, value));
            }
        }
    }
    values
}

fn key(element: ElementRef<'_>) -> Key {
    let word = |name: &str| inherited(element, name).unwrap_or_default();
    let number = |name: &str| word(name).parse().unwrap();
    (
        number("data-iteration"),
        number("data-stage"),
        word("data-subject"),
        word("data-split"),
        word("data-after"),
        word("data-metric"),
        word("data-class"),
        word("data-part"),
    )
}

#[test]
fn every_number_is_the_stored_one_and_every_stored_one_is_there() {
    let page = support::demo();
    let document = Html::parse_document(&run_html(&page));
    let stored = stored(&page);
    let expected: BTreeSet<(&Key, u64)> = stored
        .iter()
        .map(|(key, value)| (key, value.to_bits()))
        .collect();
    assert_eq!(expected.len(), stored.len(), "addresses are unique");
    let mut in_tables = BTreeSet::new();
    let mut in_bars = 0;
    for element in find(&document, "[data-part]") {
        let is_bar = element.value().attr("data-value").is_some();
        let written = element
            .value()
            .attr(if is_bar { "data-value" } else { "value" });
        let value: f64 = written.unwrap().parse().unwrap();
        if element.value().attr("data-part") == Some("num_reference") {
            continue;
        }
        let key = key(element);
        assert!(
            expected.contains(&(&key, value.to_bits())),
            "{key:?} is {value} on the page"
        );
        if is_bar {
            in_bars += 1;
            continue;
        }
        let shown: f64 = text(element).parse().unwrap();
        assert!(
            (shown - value).abs() <= 5.000_1e-4,
            "{key:?}: {value} reads {shown}"
        );
        in_tables.insert((key, value.to_bits()));
    }
    for (key, value) in &stored {
        assert!(
            in_tables.contains(&(key.clone(), value.to_bits())),
            "{key:?} is in no table"
        );
    }
    assert!(
        stored.len() > 2000 && in_bars > 100,
        "{} stored, {in_bars} in bars",
        stored.len()
    );
}

#[test]
fn counts_of_references_are_the_stored_ones() {
    let page = support::demo();
    let document = Html::parse_document(&run_html(&page));
    let counts = find(&document, "[data-part=num_reference]");
    assert!(counts.len() > 10);
    for count in counts {
        let word = |name: &str| inherited(count, name).unwrap_or_default();
        let (split, after, class) = (word("data-split"), word("data-after"), word("data-class"));
        let newest = page.scores.iter().rev().find_map(|report| {
            if word("data-metric") == "pauc_by_class" {
                return report.segments.as_ref()?.pauc_by_class.get(&class);
            }
            let (_, all) = report
                .events
                .iter()
                .find(|(one, _)| one.as_str() == split)?;
            let scores = all
                .iter()
                .find(|one| one.post_processing.as_str() == after)?;
            scores.psds1_by_class.get(&class)
        });
        assert_eq!(text(count), newest.unwrap().num_reference.to_string());
    }
}

#[test]
fn agreements_of_clips_are_the_stored_ones() {
    let page = support::demo();
    let document = Html::parse_document(&run_html(&page));
    let stored: Vec<f64> = page
        .clips
        .iter()
        .flat_map(|shown| &shown.clips)
        .map(|(agreement, _)| *agreement)
        .collect();
    let shown: Vec<f64> = find(&document, "#clips figcaption data")
        .into_iter()
        .map(|data| data.value().attr("value").unwrap().parse().unwrap())
        .collect();
    assert!(!stored.is_empty());
    assert_eq!(shown, stored);
    assert_eq!(find(&document, "#clips svg.clip").len(), stored.len());
}

/// (x, y) of every corner of a path of `M`, `H` and `V`.
fn corners(path: &str) -> Vec<(f64, f64)> {
    let mut at = (0.0, 0.0);
    let mut corners = Vec::new();
    for (start, _) in path.match_indices(['M', 'H', 'V']) {
        let rest = &path[start + 1..];
        let numbers = &rest[..rest.find(['H', 'V']).unwrap_or(rest.len())];
        let mut numbers = numbers
            .split(' ')
            .map(|number| number.parse::<f64>().unwrap());
        match &path[start..=start] {
            "M" => at = (numbers.next().unwrap(), numbers.next().unwrap()),
            "H" => at.0 = numbers.next().unwrap(),
            _ => at.1 = numbers.next().unwrap(),
        }
        corners.push(at);
    }
    corners
}

#[test]
fn curves_go_through_the_stored_points() {
    let page = support::demo();
    let document = Html::parse_document(&run_html(&page));
    let last = page
        .scores
        .iter()
        .rfind(|report| report.subject == Subject::Ensemble)
        .unwrap();
    let (_, all) = last.events.first_key_value().unwrap();
    let chart = find(&document, "#roc .big svg")[0];
    let lines = Selector::parse("path.line").unwrap();
    let mut lines = chart.select(&lines);
    // the two kinds that are drawn, in the order of the legend
    for scores in &all[1..] {
        let path = lines.next().unwrap().value().attr("d").unwrap();
        let corners = corners(path);
        let [(left, bottom), .., (right, _)] = corners[..] else {
            panic!("{path}")
        };
        let top = 8.0;
        let curve = scores.roc.efpr.iter().zip(&scores.roc.tpr);
        let within: Vec<_> = curve.take_while(|(rate, _)| **rate <= 100.0).collect();
        let steps: Vec<(f64, f64)> = corners[1..corners.len() - 1]
            .chunks(2)
            .map(|pair| pair[1])
            .collect();
        assert_eq!(steps.len(), within.len());
        for ((x, y), (rate, found)) in steps.into_iter().zip(within) {
            assert!(
                ((x - left) / (right - left) * 100.0 - rate).abs() < 0.02,
                "{x}: {rate}"
            );
            assert!(
                ((bottom - y) / (bottom - top) - found).abs() < 3e-4,
                "{y}: {found}"
            );
        }
    }
    assert!(lines.next().is_none());
}

/// What a browser would fetch, run or send.
fn assert_closed(html: &str) {
    let document = Html::parse_document(html);
    let policy = find(&document, "head > meta[http-equiv=Content-Security-Policy]");
    let policy = policy[0].value().attr("content").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"));
    for name in [
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "img",
        "foreignObject",
        "use",
    ] {
        assert!(find(&document, name).is_empty(), "<{name}>");
    }
    for element in find(&document, "*") {
        for (name, value) in element.value().attrs() {
            assert!(!name.starts_with("on"), "{name}={value:?}");
            if ["href", "src", "xlink:href", "action", "srcset"].contains(&name) {
                let inside = value.starts_with('#') || value.starts_with("data:image/png;base64,");
                assert!(inside, "{name}={value:?}");
            }
        }
    }
    for style in find(&document, "style") {
        let style = text(style);
        assert!(!style.contains("url(") && !style.contains("@import"));
    }
    let ids: Vec<&str> = find(&document, "[id]")
        .into_iter()
        .map(|one| one.value().attr("id").unwrap())
        .collect();
    let unique: BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    for link in find(&document, "a") {
        let target = link.value().attr("href").unwrap();
        assert!(ids.contains(&&target[1..]), "{target} leads nowhere");
    }
}

#[test]
fn nothing_is_loaded_or_run() {
    assert_closed(&run_html(&support::demo()));
}

const HOSTILE: &str = "</style></title><script src=//evil.example></script><img src=x onerror='a'>\"'&\u{0}\u{1b}[2J\u{202e}";

#[test]
fn text_from_outside_stays_text() {
    let mut page = support::demo();
    page.plan = HOSTILE.to_owned();
    page.notice = Some(HOSTILE.to_owned());
    page.plan_text = HOSTILE.to_owned();
    page.state = RunState::Failed;
    page.tasks[3].state = TaskState::Failed;
    page.tasks[3].failure = vec![HOSTILE.to_owned()];
    page.tasks[4].reason = Some(HOSTILE.to_owned());
    for attempt in &mut page.tasks[5].attempts {
        attempt.workers = vec![HOSTILE.to_owned()];
        attempt.cause = Some(HOSTILE.to_owned());
    }
    page.settings.same = vec![(HOSTILE.to_owned(), HOSTILE.to_owned())];
    page.settings.different = vec![(
        HOSTILE.to_owned(),
        vec![HOSTILE.to_owned(); page.settings.tasks.len()],
    )];
    for curves in &mut page.curves {
        let line = curves.lines["loss"].clone();
        for name in ["loss/", "lr/", "validation/"] {
            curves
                .lines
                .insert(format!("{name}{HOSTILE}"), line.clone());
        }
    }
    for report in &mut page.scores {
        for scores in report.events.values_mut().flatten() {
            let class = scores.psds1_by_class.values().next().unwrap().clone();
            scores.psds1_by_class.insert(HOSTILE.to_owned(), class);
            let curve = scores.roc.clone();
            scores.roc_by_class.insert(HOSTILE.to_owned(), curve);
        }
        if let Some(settings) = report.csebbs.values().next().copied() {
            report.csebbs.insert(HOSTILE.to_owned(), settings);
        }
    }
    let mut clip = clip(HOSTILE, 1.0);
    clip.found.classes[0] = HOSTILE.to_owned();
    clip.found.events[0].event.class = HOSTILE.to_owned();
    page.clips.as_mut().unwrap().clips.push((0.5, clip));
    let html = run_html(&page);
    assert_closed(&html);
    assert!(!html.contains(['\u{0}', '\u{1b}']));
    let document = Html::parse_document(&html);
    let title = text(find(&document, "h1")[0]);
    assert_eq!(title, HOSTILE.replace(['\u{0}', '\u{1b}'], "\u{fffd}"));
    assert!(text(find(&document, ".cause")[0]).contains("evil.example"));
}

#[test]
fn a_run_that_has_just_begun_has_a_page() {
    let demo = support::demo();
    let page = RunPage {
        state: RunState::Running,
        ended: None,
        scores: Vec::new(),
        curves: Vec::new(),
        clips: None,
        tasks: demo
            .tasks
            .iter()
            .cloned()
            .map(|task| report::Task {
                state: TaskState::Waiting,
                reason: Some("waits for a worker".to_owned()),
                attempts: Vec::new(),
                ..task
            })
            .collect(),
        ..demo
    };
    let html = run_html(&page);
    assert_closed(&html);
    let document = Html::parse_document(&html);
    assert!(text(find(&document, ".state")[0]).starts_with("0 of 78 tasks done"));
    assert!(text(find(&document, "#scores")[0]).contains("No scores yet"));
    assert!(text(find(&document, "#training")[0]).contains("No training step"));
    assert!(find(&document, "#clips").is_empty());
    let nothing = RunPage {
        tasks: Vec::new(),
        ..page
    };
    let document = Html::parse_document(&run_html(&nothing));
    assert!(text(find(&document, "#tasks")[0]).contains("no tasks"));
}

#[test]
fn a_failed_run_names_the_task_and_what_it_said_at_the_top() {
    let mut page = support::demo();
    page.state = RunState::Failed;
    page.clips = Some(ShownClips {
        clips: Vec::new(),
        ..page.clips.unwrap()
    });
    page.tasks[7].state = TaskState::Failed;
    page.tasks[7].failure = vec![
        "out of memory: rank 1 was killed".to_owned(),
        "last line".to_owned(),
    ];
    let name = page.tasks[7].name.to_string();
    let document = Html::parse_document(&run_html(&page));
    let cause = text(find(&document, "header .cause")[0]);
    assert!(
        cause.contains(&name) && cause.contains("rank 1 was killed\nlast line"),
        "{cause}"
    );
    assert!(text(find(&document, ".state")[0]).contains("1 failed"));
    let row = find(&document, ".tasks tr")
        .into_iter()
        .find(|row| text(*row).starts_with(&name));
    assert!(text(row.unwrap()).contains("✕ failed"));
}

/// Ten seconds in which something is found and something else is true.
fn clip(name: &str, onset: f64) -> ShownClip {
    let event = |class: &str, onset: f64, offset: f64| SoundEvent {
        onset,
        offset,
        class: class.to_owned(),
    };
    let frames = 156_usize;
    let score = |frame: usize, class: usize| {
        let place = frame as f64 / 12.0 + class as f64 * 2.0 + onset;
        (place.sin() * 0.5 + 0.5).powi(2)
    };
    let level = |column: usize, band: usize| {
        let tone = ((column as f64 / 40.0).sin() * 30.0 + 60.0 - band as f64).abs() / 4.0;
        (-20.0 - tone.min(50.0) - ((column * 31 + band * 17) % 13) as f64) as i8
    };
    ShownClip {
        name: name.to_owned(),
        found: Found {
            duration: 10.0,
            classes: vec!["Dog".to_owned(), "Speech".to_owned()],
            thresholds: vec![0.5, 0.4],
            boundaries: (0..=frames)
                .map(|frame| frame as f64 * 10.0 / frames as f64)
                .collect(),
            scores: (0..frames)
                .flat_map(|frame| [score(frame, 0), score(frame, 1)])
                .collect(),
            events: vec![Detection {
                event: event("Dog", onset, onset + 2.0),
                confidence: 0.8,
            }],
        },
        truth: Some(vec![
            event("Dog", 1.1, 3.0),
            event("Speech", onset + 1.0, 9.5),
        ]),
        spectrogram: Spectrogram {
            decibels: (0..625)
                .flat_map(|column| (0..Spectrogram::BANDS).map(move |band| level(column, band)))
                .collect(),
        },
    }
}
