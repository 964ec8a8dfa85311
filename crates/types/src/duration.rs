use std::time::Duration;

/// A duration for a person: `12 s`, `3 min`, `2 h 05 min`, `4 d 3 h`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let minutes = (seconds + 30) / 60;
    match seconds {
        0..=99 => format!("{seconds} s"),
        100..=5999 => format!("{minutes} min"),
        6000..=172_799 => format!("{} h {:02} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
