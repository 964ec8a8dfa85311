use std::path::Path;

use dataset::Manifest;
use types::DataSettings;

use crate::Error;

/// Holds this machine's copy of the data against the coordinator's manifest, before anything is learned from it.
pub(crate) fn check_data(data: &DataSettings, manifest: Option<&Path>) -> Result<(), Error> {
    let Some(path) = manifest else { return Ok(()) };
    let expected = Manifest::read(path)?;
    // The rank's digests are remembered beside nothing of the user's: in the system's own folder for such things.
    let cache = std::env::temp_dir().join(format!(
        "tutti-manifest-{}.json",
        types::Digest::of(data.root.as_os_str().as_encoded_bytes()).short()
    ));
    // a cache that cannot be kept costs time, nothing else
    let here = Manifest::build(data, Some(&cache)).or_else(|_| Manifest::build(data, None))?;
    match here.first_difference(&expected) {
        None => Ok(()),
        Some(difference) => Err(Error::OtherData {
            root: data.root.clone(),
            difference: Box::new(difference),
        }),
    }
}
