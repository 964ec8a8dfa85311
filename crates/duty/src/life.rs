use types::{Bug, Incarnation, Timestamp, planted};

/// The number of a worker's new life: its start time, but larger than its last life's, for wall clocks are set back now and then and
/// a coordinator refuses whoever seems to come from the past.
#[must_use]
pub fn next_incarnation(now: Timestamp, last: Option<Incarnation>) -> Incarnation {
    if planted(Bug::LifeFromClockAlone) {
        return Incarnation(now.0);
    }
    Incarnation(now.0.max(last.map_or(0, |last| last.0 + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_newer_than_the_one_before_whatever_the_clock_says() {
        assert_eq!(next_incarnation(Timestamp(50), None), Incarnation(50));
        let last = Some(Incarnation(50));
        assert_eq!(next_incarnation(Timestamp(90), last), Incarnation(90));
        assert_eq!(next_incarnation(Timestamp(20), last), Incarnation(51));
    }
}
