use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use types::Spectrogram;

use crate::Error;

/// Decibels below the loudest that are still told apart.
const RANGE: f32 = 80.0;

/// From quiet to loud: a sequence from black over purple and orange to light yellow whose lightness only grows, so that it reads
/// the same in grey and with any colour vision.
const COLOURS: [[u8; 3]; 9] = [
    [0, 0, 4],
    [28, 16, 68],
    [79, 18, 123],
    [129, 37, 129],
    [181, 54, 122],
    [229, 80, 100],
    [251, 135, 97],
    [254, 194, 135],
    [252, 253, 191],
];

/// A spectrogram as pixels.
#[derive(Debug)]
pub(super) struct Heat {
    /// Its length.
    pub(super) seconds: f64,
    columns: usize,
    /// 0 to 1, (column, band).
    values: Vec<f32>,
    loudest: f32,
    quietest: f32,
}

impl Heat {
    /// At most so many columns; neighbours are averaged where there are more.
    pub(super) fn new(spectrogram: &Spectrogram, most: usize) -> Self {
        let bands = Spectrogram::BANDS;
        let together = spectrogram.columns().div_ceil(most).max(1);
        let mut values = Vec::new();
        for group in spectrogram.decibels.chunks(together * bands) {
            let count = (group.len() / bands) as f32;
            values.extend((0..bands).map(|band| {
                let levels = group.iter().skip(band).step_by(bands);
                levels.map(|level| f32::from(*level)).sum::<f32>() / count
            }));
        }
        let loudest = values.iter().copied().fold(f32::MIN, f32::max);
        let quietest = values.iter().copied().fold(f32::MAX, f32::min);
        let quietest = quietest.max(loudest - RANGE);
        let range = (loudest - quietest).max(1e-3);
        for value in &mut values {
            *value = ((*value - quietest) / range).clamp(0.0, 1.0);
        }
        let columns = values.len() / bands;
        Self {
            seconds: (columns * together) as f64 * Spectrogram::SECONDS_PER_COLUMN,
            columns,
            values,
            loudest,
            quietest,
        }
    }

    pub(super) fn png_base64(&self) -> Result<String, Error> {
        let bands = Spectrogram::BANDS;
        let mut pixels = Vec::with_capacity(self.values.len());
        // low bands at the bottom
        for band in (0..bands).rev() {
            for column in 0..self.columns {
                let value = self.values[column * bands + band];
                pixels.push((value * 255.0).round() as u8);
            }
        }
        png_base64(self.columns, bands, &pixels)
    }

    /// A bar that says which colour is how loud.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub(super) fn draw_scale(
        &self,
        svg: &mut String,
        x: f64,
        top: f64,
        height: f64,
    ) -> Result<(), Error> {
        let _ = write!(
            svg,
            r##"<image x="{x}" y="{top}" width="12" height="{height}" preserveAspectRatio="none" href="data:image/png;base64,{}"/><rect x="{x}" y="{top}" width="12" height="{height}" fill="none" stroke="#222" stroke-width=".75" class="ink"/>"##,
            png_base64(
                1,
                256,
                &std::array::from_fn::<u8, 256, _>(|row| 255 - row as u8)
            )?,
        );
        // relative to the loudest: an absolute level is not known
        let depth = f64::from(self.loudest - self.quietest);
        let step = if depth > 50.0 { 20.0 } else { 10.0 };
        let mut level = 0.0;
        while level <= depth {
            let y = top + height * level / depth.max(1e-3);
            let sign = if level > 0.0 { "−" } else { "" };
            let _ = write!(
                svg,
                r##"<text x="{}" y="{:.1}" font-size="13">{sign}{level}</text>"##,
                x + 18.0,
                y + 4.5,
            );
            level += step;
        }
        let _ = writeln!(
            svg,
            r##"<text x="{x}" y="{}" font-size="13">dB</text>"##,
            top - 8.0
        );
        Ok(())
    }
}

/// Pixels, row by row, each a place among [`COLOURS`].
fn png_base64(width: usize, height: usize, pixels: &[u8]) -> Result<String, Error> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width as u32, height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    let palette: Vec<u8> = (0..=255)
        .flat_map(|index| colour(f32::from(index as u8) / 255.0))
        .collect();
    encoder.set_palette(palette);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(STANDARD.encode(png))
}

/// 0 to 1 on [`COLOURS`].
fn colour(value: f32) -> [u8; 3] {
    let place = value * (COLOURS.len() - 1) as f32;
    let lower = (place as usize).min(COLOURS.len() - 2);
    let part = place - lower as f32;
    std::array::from_fn(|channel| {
        let from = f32::from(COLOURS[lower][channel]);
        let to = f32::from(COLOURS[lower + 1][channel]);
        (from + (to - from) * part).round() as u8
    })
}
