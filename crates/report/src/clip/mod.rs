//! One sound as a picture: spectrogram, below it a row per class with what was found and what is true.

mod heat;

use std::fmt::Write as _;

use types::{CLASSES, Detection, ShownClip, SoundEvent, Spectrogram};

use crate::Error;
use crate::axis::{TimeAxis, clock};
use crate::text::clean;

/// Okabe and Ito's colours, which people with any colour vision can tell apart.
const FOUND: &str = "#0072b2";
const TRUE: &str = "#e69f00";
const SCORE: &str = "#56b4e9";

/// Where a reader prefers dark, what is black turns light; events and scores keep their colours.
const DARK: &str = "@media screen and (prefers-color-scheme:dark){.clip{fill:#e3e5e8}.clip .paper{fill:#15171a}.clip .band{fill:#1f2226}.clip .ink{stroke:#9aa0a8}.clip .tick{stroke:#fff}.clip .faint{fill:#9aa0a8}}";

const WIDTH: f64 = 1280.0;
/// The plots' edges.
const LEFT: f64 = 222.0;
const RIGHT: f64 = 1196.0;
const TOP: f64 = 76.0;
const SPECTROGRAM: f64 = 270.0;
const GAP: f64 = 16.0;
const ROW: f64 = 44.0;
/// Below the rows: the time axis.
const BOTTOM: f64 = 58.0;

/// The whole picture as SVG, the spectrogram in it as PNG.
///
/// # Errors
/// When the spectrogram cannot be packed.
pub fn clip_svg(clip: &ShownClip) -> Result<String, Error> {
    Picture(clip).svg(true)
}

/// The same for a place that names the clip itself.
pub(crate) fn untitled_svg(clip: &ShownClip) -> Result<String, Error> {
    Picture(clip).svg(false)
}

struct Picture<'a>(&'a ShownClip);

impl Picture<'_> {
    fn svg(&self, titled: bool) -> Result<String, Error> {
        let axis = TimeAxis::new(self.0.found.duration, LEFT, RIGHT);
        let classes = self.classes();
        let rows = classes.len().max(1) as f64;
        let rows_top = TOP + SPECTROGRAM + GAP;
        let rows_end = rows_top + rows * ROW;
        // without a title the picture begins at its legend
        let first = if titled { 0.0 } else { 18.0 };
        let height = rows_end + BOTTOM - first;
        let mut svg = String::new();
        // writing to a string cannot fail, here and below
        let _ = write!(
            svg,
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 {first} {WIDTH} {height}" font-family="Inter, 'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="15" fill="#222" class="clip" role="img">
<title>{title}</title>
<style>{DARK}</style>
<rect y="{first}" width="100%" height="100%" fill="#fff" class="paper"/>
"##,
            title = escaped(&shortened(&self.0.name)),
        );
        if titled {
            let _ = writeln!(
                svg,
                r##"<text x="{LEFT}" y="38" font-size="20" font-weight="600">{}</text>"##,
                escaped(&shortened(&self.0.name))
            );
        }
        self.draw_legend(&mut svg);
        self.draw_spectrogram(&mut svg, &axis)?;
        for (index, class) in classes.iter().enumerate() {
            let top = rows_top + index as f64 * ROW;
            self.draw_row(&mut svg, &axis, class, top, index % 2 == 0);
        }
        if classes.is_empty() {
            let _ = writeln!(
                svg,
                r##"<rect x="{LEFT}" y="{rows_top}" width="{}" height="{ROW}" fill="#f4f5f7" class="band"/><text x="{}" y="{}" text-anchor="middle" fill="#666" class="faint">no event of any class</text>"##,
                RIGHT - LEFT,
                (LEFT + RIGHT) / 2.0,
                rows_top + ROW / 2.0 + 5.0,
            );
        }
        draw_time(&mut svg, &axis, rows_top, rows_end);
        svg.push_str("</svg>\n");
        Ok(svg)
    }

    /// Classes that were found or are true, in output order.
    fn classes(&self) -> Vec<&'static str> {
        let occurs = |class: &str| {
            self.0
                .found
                .events
                .iter()
                .any(|one| one.event.class == class)
                || self.0.truth.iter().flatten().any(|one| one.class == class)
        };
        CLASSES.into_iter().filter(|class| occurs(class)).collect()
    }

    fn draw_legend(&self, svg: &mut String) {
        let mut entries = vec!["score", "threshold", "found"];
        if self.0.truth.is_some() {
            entries.push("true");
        }
        // from the right edge leftwards
        let mut x = RIGHT;
        for name in entries.into_iter().rev() {
            x -= 8.2 * name.len() as f64 + 6.0;
            let _ = write!(svg, r##"<text x="{x:.1}" y="37">{name}</text>"##);
            x -= 34.0;
            let _ = match name {
                "found" => write!(
                    svg,
                    r##"<rect x="{x:.1}" y="26" width="26" height="11" rx="2" fill="{FOUND}"/>"##
                ),
                "true" => write!(
                    svg,
                    r##"<rect x="{x:.1}" y="26" width="26" height="11" rx="2" fill="{TRUE}"/>"##
                ),
                "score" => write!(
                    svg,
                    r##"<path d="M{x:.1} 38v-5l7-5 8 4 11-7v13z" fill="{SCORE}" fill-opacity=".35" stroke="{SCORE}" stroke-opacity=".9"/>"##
                ),
                _ => write!(
                    svg,
                    r##"<path d="M{x:.1} 32h26" stroke="#888" stroke-dasharray="4 3"/>"##
                ),
            };
            x -= 20.0;
        }
        svg.push('\n');
    }

    fn draw_spectrogram(&self, svg: &mut String, axis: &TimeAxis) -> Result<(), Error> {
        let heat = heat::Heat::new(&self.0.spectrogram, (RIGHT - LEFT) as usize);
        // the last column may reach a little beyond the end
        let end = axis.x(heat.seconds).min(RIGHT);
        let _ = write!(
            svg,
            r##"<image x="{LEFT}" y="{TOP}" width="{:.2}" height="{SPECTROGRAM}" preserveAspectRatio="none" href="data:image/png;base64,{}"/>
<rect x="{LEFT}" y="{TOP}" width="{}" height="{SPECTROGRAM}" fill="none" stroke="#222" stroke-width=".75" class="ink"/>
"##,
            end - LEFT,
            heat.png_base64()?,
            RIGHT - LEFT,
        );
        for kilohertz in [0.0, 0.5, 1.0, 2.0, 4.0, 8.0] {
            let y = TOP + SPECTROGRAM * (1.0 - Spectrogram::position(kilohertz * 1000.0));
            let _ = write!(
                svg,
                r##"<path d="M{LEFT} {y:.1}h-6" stroke="#222" stroke-width=".75" class="ink"/><text x="{}" y="{:.1}" text-anchor="end">{kilohertz}</text>"##,
                LEFT - 10.0,
                y + 5.0,
            );
        }
        let middle = TOP + SPECTROGRAM / 2.0;
        let _ = writeln!(
            svg,
            r##"<text transform="translate({} {middle}) rotate(-90)" text-anchor="middle">frequency in kHz</text>"##,
            LEFT - 48.0,
        );
        heat.draw_scale(svg, RIGHT + 14.0, TOP, SPECTROGRAM)
    }

    fn draw_row(&self, svg: &mut String, axis: &TimeAxis, class: &str, top: f64, shaded: bool) {
        let (fill, class_of_row) = if shaded {
            ("#f4f5f7", "band")
        } else {
            ("#fff", "paper")
        };
        let _ = write!(
            svg,
            r##"<rect x="{LEFT}" y="{top}" width="{}" height="{ROW}" fill="{fill}" class="{class_of_row}"/><text x="{}" y="{}" text-anchor="end">{}</text>"##,
            RIGHT - LEFT,
            LEFT - 10.0,
            top + ROW / 2.0 + 5.0,
            escaped(&class.replace('_', " ")),
        );
        self.draw_scores(svg, axis, class, top);
        // found above, true below, or found alone in the middle
        let (found_y, height) = match self.0.truth {
            Some(_) => (top + 7.0, 13.0),
            None => (top + 13.0, 18.0),
        };
        let found = self
            .0
            .found
            .events
            .iter()
            .filter(|one| one.event.class == class);
        for Detection { event, confidence } in found {
            let hint = format!(
                "found: {} to {}, mean score {confidence:.2}",
                clock(event.onset),
                clock(event.offset)
            );
            draw_bar(svg, axis, event, (found_y, height), FOUND, &hint);
        }
        let truth = self
            .0
            .truth
            .iter()
            .flatten()
            .filter(|one| one.class == class);
        for event in truth {
            let hint = format!("true: {} to {}", clock(event.onset), clock(event.offset));
            draw_bar(svg, axis, event, (top + 24.0, 13.0), TRUE, &hint);
        }
        svg.push('\n');
    }

    /// The class's scores as an area behind the events, and its threshold.
    fn draw_scores(&self, svg: &mut String, axis: &TimeAxis, class: &str, top: f64) {
        let Some(column) = self.0.found.classes.iter().position(|one| *one == class) else {
            return;
        };
        let base = top + ROW - 1.0;
        let y = |score: f64| base - score * (ROW - 3.0);
        let mut path = format!("M{LEFT} {base:.1}");
        // where several frames share a pixel, the highest shows
        let mut pixel = (LEFT, 0.0_f64);
        let rows = self.0.found.scores.chunks_exact(self.0.found.classes.len());
        for (bounds, scores) in self.0.found.boundaries.windows(2).zip(rows) {
            if bounds[0] >= self.0.found.duration {
                break;
            }
            pixel.1 = pixel.1.max(scores[column]);
            let end = axis.x(bounds[1].min(self.0.found.duration));
            if end - pixel.0 >= 1.0 {
                let _ = write!(path, "V{:.1}H{end:.1}", y(pixel.1));
                pixel = (end, 0.0);
            }
        }
        let _ = write!(path, "V{base:.1}z");
        let threshold = y(self.0.found.thresholds[column]);
        let _ = write!(
            svg,
            r##"<path d="{path}" fill="{SCORE}" fill-opacity=".28" stroke="{SCORE}" stroke-opacity=".7" stroke-width=".8"/><path d="M{LEFT} {threshold:.1}H{RIGHT}" stroke="#888" stroke-width=".8" stroke-dasharray="4 3"/>"##
        );
    }
}

/// An event at (top, height).
fn draw_bar(
    svg: &mut String,
    axis: &TimeAxis,
    event: &SoundEvent,
    (y, height): (f64, f64),
    colour: &str,
    hint: &str,
) {
    let (start, end) = (
        axis.x(event.onset).min(RIGHT),
        axis.x(event.offset).min(RIGHT),
    );
    // a short event in a long sound is still to be seen
    let width = (end - start).max(1.5);
    let _ = write!(
        svg,
        r##"<rect x="{start:.2}" y="{y}" width="{width:.2}" height="{height}" rx="2" fill="{colour}"><title>{hint}</title></rect>"##
    );
}

fn draw_time(svg: &mut String, axis: &TimeAxis, rows_top: f64, rows_end: f64) {
    let spectrogram_end = TOP + SPECTROGRAM;
    for tick in axis.ticks() {
        let x = axis.x(tick);
        let _ = write!(
            svg,
            r##"<path d="M{x:.1} {spectrogram_end}v5M{x:.1} {rows_end}v6" stroke="#222" stroke-width=".75" class="ink"/><path d="M{x:.1} {rows_top}V{rows_end}" stroke="#000" stroke-opacity=".1" class="tick"/><text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"##,
            rows_end + 23.0,
            axis.label(tick),
        );
    }
    let _ = writeln!(
        svg,
        r##"<rect x="{LEFT}" y="{rows_top}" width="{}" height="{}" fill="none" stroke="#222" stroke-width=".75" class="ink"/><text x="{}" y="{}" text-anchor="middle">{}</text>"##,
        RIGHT - LEFT,
        rows_end - rows_top,
        (LEFT + RIGHT) / 2.0,
        rows_end + 46.0,
        axis.name(),
    );
}

/// A name that leaves room for the legend, its end kept.
fn shortened(name: &str) -> String {
    const LONGEST: usize = 52;
    let length = name.chars().count();
    if length <= LONGEST {
        return name.to_owned();
    }
    let end: String = name.chars().skip(length - LONGEST + 1).collect();
    format!("…{end}")
}

fn escaped(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use types::Found;

    use super::*;

    fn found(duration: f64, events: Vec<Detection>) -> Found {
        let frames = (duration / 0.064).ceil() as usize;
        Found {
            duration,
            classes: ["Dog", "Speech", "door opens/closes"]
                .map(str::to_owned)
                .to_vec(),
            thresholds: vec![0.5; 3],
            boundaries: (0..=frames).map(|frame| frame as f64 * 0.064).collect(),
            scores: (0..3 * frames)
                .map(|i| (i as f64 * 0.1).sin().abs())
                .collect(),
            events,
        }
    }

    fn event(class: &str, onset: f64, offset: f64) -> SoundEvent {
        SoundEvent {
            onset,
            offset,
            class: class.to_owned(),
        }
    }

    fn draw(found: &Found, truth: Option<Vec<SoundEvent>>) -> String {
        let columns = (found.duration * 62.5).ceil() as usize;
        let spectrogram = Spectrogram {
            decibels: (0..columns * Spectrogram::BANDS)
                .map(|i| (i % 97) as i8)
                .collect(),
        };
        clip_svg(&ShownClip {
            name: "a <b> & c.wav".to_owned(),
            found: found.clone(),
            truth,
            spectrogram,
        })
        .unwrap()
    }

    #[test]
    fn only_classes_that_occur_have_a_row() {
        let detection = Detection {
            event: event("Dog", 1.0, 2.0),
            confidence: 0.7,
        };
        let found = found(10.0, vec![detection]);
        let svg = draw(&found, Some(vec![event("door opens/closes", 3.0, 4.5)]));
        assert!(svg.contains(">Dog</text>") && svg.contains(">door opens/closes</text>"));
        assert!(!svg.contains(">Speech</text>"));
        assert!(svg.contains("a &lt;b&gt; &amp; c.wav"));
        assert!(svg.contains("found: 1.00 s to 2.00 s, mean score 0.70"));
        assert!(svg.contains("true: 3.00 s to 4.50 s"));
        // 1 s of 10 s
        let width = format!(r#"width="{:.2}" height="13""#, (RIGHT - LEFT) / 10.0);
        assert!(svg.contains(&width), "{width}");
    }

    #[test]
    fn nothing_found_is_said() {
        let svg = draw(&found(0.3, Vec::new()), None);
        assert!(svg.contains("no event of any class"));
        assert!(!svg.contains(">true</text>"));
    }

    #[test]
    fn an_hour_fits_into_a_picture() {
        let svg = draw(
            &found(
                3600.0,
                vec![Detection {
                    event: event("Dog", 10.0, 10.1),
                    confidence: 0.9,
                }],
            ),
            None,
        );
        assert!(svg.len() < 400_000, "{}", svg.len());
        assert!(svg.contains("time in min"));
    }
}
