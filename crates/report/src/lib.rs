//! What people look at: pictures of sounds, and the page of a whole run. Plain data in, SVG and HTML out.

mod axis;
mod clip;
mod page;
mod text;

pub use clip::clip_svg;
pub use page::{Attempt, Curves, RunPage, RunState, Settings, Task, TaskState, run_html};

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spectrogram could not be packed as PNG.
    #[error("the spectrogram cannot be written as PNG")]
    Png(#[from] png::EncodingError),
}
