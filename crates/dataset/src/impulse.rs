//! Impulse responses of recording devices (recipe 6.2).

use std::fs;
use std::path::{Path, PathBuf};

use types::DataSettings;

use crate::clip::SAMPLE_RATE;
use crate::error::Error;

/// Decodes all responses: the mean of their channels, at 16 kHz, in the order of their paths. Responses at another rate go through
/// the resampler of room `audio`, where the original has a sinc with a Kaiser window: give them at 16 kHz to have the same taps.
///
/// # Errors
/// When the plan names no folder, it is missing or holds no WAV file, or a file cannot be read.
pub fn impulse_responses(data: &DataSettings) -> Result<Vec<Vec<f32>>, Error> {
    let paths = impulse_files(data)?;
    if paths.is_empty() {
        let (path, what) = match &data.impulse_responses {
            Some(folder) => (data.root.join(folder), "WAV file in the folder"),
            None => (data.root.clone(), "data.impulse_responses in the plan"),
        };
        return Err(missing(&path, what));
    }
    paths
        .iter()
        .map(|path| Ok(audio::read_mono(&data.root.join(path), SAMPLE_RATE)?))
        .collect()
}

/// Paths of all responses relative to the data root, sorted; none if the plan names no folder.
pub(crate) fn impulse_files(data: &DataSettings) -> Result<Vec<PathBuf>, Error> {
    let Some(folder) = &data.impulse_responses else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(relative) = folders.pop() {
        let path = data.root.join(&relative);
        let entries = fs::read_dir(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => missing(&path, "folder of impulse responses"),
            _ => Error::io(&path, "list the folder")(source),
        })?;
        for entry in entries {
            let entry = entry.map_err(Error::io(&path, "list the folder"))?;
            let name = relative.join(entry.file_name());
            let kind = entry
                .file_type()
                .map_err(Error::io(&path, "list the folder"))?;
            let is_wav = name
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("wav"));
            if kind.is_dir() {
                folders.push(name);
            } else if is_wav {
                found.push(name);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn missing(path: &Path, what: &'static str) -> Error {
    Error::Missing {
        path: path.to_owned(),
        what,
        needed_by: "augmentation.impulse_probability, which is above 0; set it to 0 to do without"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_found_at_any_depth_in_the_order_of_their_paths() {
        let root = tempfile::tempdir().unwrap();
        let mut data = crate::layout::standard(root.path(), &[]);
        assert!(impulse_files(&data).unwrap().is_empty());
        let error = impulse_responses(&data).unwrap_err().to_string();
        assert!(error.contains("data.impulse_responses"), "{error}");

        data.impulse_responses = Some("dirs".into());
        let error = impulse_responses(&data).unwrap_err().to_string();
        assert!(error.contains("folder of impulse responses"), "{error}");

        let deep = root.path().join("dirs/a/b");
        fs::create_dir_all(&deep).unwrap();
        audio::write_wav_i16(&root.path().join("dirs/z.wav"), &[0.5, 0.25], SAMPLE_RATE).unwrap();
        audio::write_wav_i16(&deep.join("y.wav"), &[1.0; 3], SAMPLE_RATE).unwrap();
        fs::write(deep.join("readme.txt"), "no sound").unwrap();
        let files = impulse_files(&data).unwrap();
        assert_eq!(
            files,
            [Path::new("dirs/a/b/y.wav"), Path::new("dirs/z.wav")]
        );
        let lengths: Vec<usize> = impulse_responses(&data)
            .unwrap()
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(lengths, [3, 2]);
    }
}
