//! What the reference's values do not show; those are compared by `cargo xtask oracles`.

use dataset::{LabelGrid, LabeledEvent};

#[test]
fn the_later_row_wins_on_a_shared_frame() {
    let event = |onset: f64, confidence| LabeledEvent {
        onset,
        offset: onset + 1.0,
        class: 17,
        confidence,
    };
    let grid = LabelGrid::strong(&[event(0.0, 0.3), event(1.0, 0.7)], 0.0);
    let car = grid.class(17);
    assert!(car[..15].iter().all(|x| *x == 0.3));
    assert!(car[15..32].iter().all(|x| *x == 0.7));
    assert!(car[32..].iter().all(|x| *x == 0.0));
}
