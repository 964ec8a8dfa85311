//! The 27 classes of the output vector (recipe 2.1): `plan` checks names against them, `dataset` and `train` count by them.

/// Length of the output vector.
pub const NUM_CLASSES: usize = 27;

/// Every class in output order: the ten of DESED, then the seventeen of MAESTRO Real (recipe 2.1).
pub const CLASSES: [&str; NUM_CLASSES] = [
    "Alarm_bell_ringing",
    "Blender",
    "Cat",
    "Dishes",
    "Dog",
    "Electric_shaver_toothbrush",
    "Frying",
    "Running_water",
    "Speech",
    "Vacuum_cleaner",
    "cutlery and dishes",
    "furniture dragging",
    "people talking",
    "children voices",
    "coffee machine",
    "footsteps",
    "large_vehicle",
    "car",
    "brakes_squeaking",
    "cash register beeping",
    "announcement",
    "shopping cart",
    "metro leaving",
    "metro approaching",
    "door opens/closes",
    "wind_blowing",
    "birds_singing",
];

/// Classes of DESED: the first ten of [`CLASSES`].
pub const NUM_DESED_CLASSES: usize = 10;

/// The eleven MAESTRO classes that are scored, sorted by code point as every class list in evaluation is.
pub const MAESTRO_EVALUATED: [&str; 11] = [
    "birds_singing",
    "brakes_squeaking",
    "car",
    "children voices",
    "cutlery and dishes",
    "footsteps",
    "large_vehicle",
    "metro approaching",
    "metro leaving",
    "people talking",
    "wind_blowing",
];

/// The ten DESED classes, sorted.
#[must_use]
pub const fn desed_classes() -> &'static [&'static str] {
    CLASSES.split_at(NUM_DESED_CLASSES).0
}

/// The seventeen MAESTRO classes in output order.
#[must_use]
pub const fn maestro_classes() -> &'static [&'static str] {
    CLASSES.split_at(NUM_DESED_CLASSES).1
}

/// Where `name` stands in [`CLASSES`].
#[must_use]
pub fn class_index(name: &str) -> Option<usize> {
    CLASSES.iter().position(|class| *class == name)
}
