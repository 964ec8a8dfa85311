//! The standard layout of recipe 1.1 as settings.

use std::collections::BTreeMap;
use std::path::Path;

use types::{DataSettings, Split};

/// Settings for `splits` at their standard places below `root`; exclude lists where they exist.
#[must_use]
pub fn standard(root: &Path, splits: &[Split]) -> DataSettings {
    let exclude: BTreeMap<Split, _> = splits
        .iter()
        .filter_map(|split| Some((*split, split.standard_exclude()?)))
        .filter(|(_, list)| root.join(list).is_file())
        .collect();
    DataSettings {
        root: root.to_owned(),
        sources: splits
            .iter()
            .map(|split| (*split, split.standard_files()))
            .collect(),
        exclude,
        impulse_responses: None,
        manifest: None,
    }
}
