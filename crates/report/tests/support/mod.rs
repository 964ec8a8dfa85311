//! Pages for the tests.

use report::RunPage;
use types::{Detection, Found, ShownClip, SoundEvent, Spectrogram};

/// The demo's page.
pub(crate) fn demo() -> RunPage {
    serde_json::from_str(include_str!("../demo.json")).unwrap()
}

/// Ten seconds in which something is found and something else is true.
pub(crate) fn clip(name: &str, onset: f64) -> ShownClip {
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
