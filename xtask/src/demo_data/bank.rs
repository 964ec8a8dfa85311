//! The recordings that the set is made of: the list in `bank.tsv`, and the sounds themselves once they are here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::sound;

/// The list. One line per file: what it is used for, whether it is a recording of just that or a stand-in, the part of the set
/// that it may be heard in, Debian package, path in the package, SHA-256, licence, author.
pub(super) const LIST: &str = include_str!("bank.tsv");

/// Where a `both` recording is cut: training hears what comes before.
const TRAIN_SHARE: f64 = 0.6;

/// A part of the set. A recording is heard in one of them only, or each hears its own stretch of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Train,
    Validation,
}

/// One line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// A class, or `bed:<name>` for a background.
    pub(super) used_for: String,
    /// Not a recording of the class, but something that sounds like it.
    pub(super) stand_in: bool,
    /// `None`: both, in different stretches.
    pub(super) part: Option<Part>,
    pub(super) package: String,
    pub(super) path: String,
    pub(super) sha256: String,
    pub(super) licence: String,
    pub(super) author: String,
}

impl Source {
    /// Its place in the cache.
    pub(super) fn file(&self, cache: &Path) -> PathBuf {
        cache.join("files").join(&self.package).join(&self.path)
    }
}

/// Parses the list.
///
/// # Errors
/// A line that is not as described at [`LIST`].
pub(super) fn sources(list: &str) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for (index, line) in list.lines().enumerate().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let place = || format!("bank.tsv line {}", index + 1);
        let &[used_for, kind, part, package, path, sha256, licence, author] = fields.as_slice()
        else {
            bail!("{}: {} columns, expected 8", place(), fields.len());
        };
        let stand_in = match kind {
            "recording" => false,
            "stand-in" => true,
            other => bail!(
                "{}: kind '{other}', expected recording or stand-in",
                place()
            ),
        };
        let part = match part {
            "train" => Some(Part::Train),
            "validation" => Some(Part::Validation),
            "both" => None,
            other => bail!(
                "{}: part '{other}', expected train, validation or both",
                place()
            ),
        };
        ensure!(
            sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()),
            "{}: '{sha256}' is no SHA-256",
            place()
        );
        ensure!(
            !path.starts_with('/') && !path.split('/').any(|step| step == ".."),
            "{}: path '{path}' leads out of the package",
            place()
        );
        sources.push(Source {
            used_for: used_for.to_owned(),
            stand_in,
            part,
            package: package.to_owned(),
            path: path.to_owned(),
            sha256: sha256.to_owned(),
            licence: licence.to_owned(),
            author: author.to_owned(),
        });
    }
    Ok(sources)
}

/// SHA-256 as hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The sounds by use and part: mono, 16 kHz, level 1.
pub(super) struct Bank(BTreeMap<(String, Part), Vec<Vec<f32>>>);

impl Bank {
    /// Reads all `sources` from the cache.
    ///
    /// # Errors
    /// A file that cannot be read as sound.
    pub(super) fn load(sources: &[Source], cache: &Path) -> Result<Self> {
        let mut bank = Self(BTreeMap::new());
        for source in sources {
            let sound = audio::read_mono(&source.file(cache), sound::RATE)?;
            bank.insert(&source.used_for, source.part, sound::prepared(sound));
        }
        Ok(bank)
    }

    /// An empty one, for tests.
    #[cfg(test)]
    pub(super) fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds one sound; one for both parts is cut in two.
    pub(super) fn insert(&mut self, used_for: &str, part: Option<Part>, mut sound: Vec<f32>) {
        let mut put = |part, sound| {
            self.0
                .entry((used_for.to_owned(), part))
                .or_default()
                .push(sound);
        };
        match part {
            Some(part) => put(part, sound),
            None => {
                let rest = sound.split_off((sound.len() as f64 * TRAIN_SHARE) as usize);
                put(Part::Train, sound);
                put(Part::Validation, rest);
            }
        }
    }

    /// The sounds for a use.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn get(&self, used_for: &str, part: Part) -> Result<&[Vec<f32>]> {
        self.0
            .get(&(used_for.to_owned(), part))
            .map(Vec::as_slice)
            .with_context(|| format!("bank.tsv has no file for '{used_for}' in {part:?}"))
    }
}

/// The ATTRIBUTION file: who made the recordings, under which licence, and where they are heard.
pub(super) fn attribution(sources: &[Source]) -> String {
    let mut text = String::from(
        "This data set was made by `cargo xtask demo-data` from recordings in Debian packages. It has the layout of DESED and\n\
         MAESTRO Real and nothing else of them: scores on it are not DESED or MAESTRO scores.\n\n\
         The sound files are mixtures of the recordings below (cut, repeated, transposed, mixed with noise). Each recording keeps its\n\
         licence, so the files are for use on this machine: look at the licences before you pass them on. The full texts are in\n\
         /usr/share/doc/<package>/copyright of each package.\n\n\
         stand-in: not a recording of that class, but something that sounds like it.\n\
         both: heard in training and in validation, but not the same stretch (the first 60 % and the last 40 %).\n\
         Cutlery and dishes are made of the recordings for Dishes, people talking and announcement of those for Speech.\n\
         All speech is one voice; training and validation have different sentences.\n\n\
         used for\tkind\tpart\tpackage\tpath\tlicence\tauthor\n",
    );
    for source in sources {
        let kind = match source.stand_in {
            true => "stand-in",
            false => "recording",
        };
        let part = match source.part {
            Some(Part::Train) => "train",
            Some(Part::Validation) => "validation",
            None => "both",
        };
        let _ = writeln!(
            text,
            "{}\t{kind}\t{part}\t{}\t{}\t{}\t{}",
            source.used_for, source.package, source.path, source.licence, source.author
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_is_sound_and_no_file_is_heard_twice() {
        let sources = sources(LIST).unwrap();
        let files: BTreeSet<_> = sources.iter().map(|s| (&s.package, &s.path)).collect();
        assert_eq!(files.len(), sources.len());
        let digests: BTreeSet<_> = sources.iter().map(|s| &s.sha256).collect();
        assert_eq!(digests.len(), sources.len());
    }

    #[test]
    fn broken_lists_are_named_by_line() {
        let said = |line: &str| sources(&format!("head\n{line}\n")).unwrap_err().to_string();
        assert!(said("a\tb").contains("line 2: 2 columns, expected 8"));
        let digest = "0".repeat(64);
        let line = |kind, part, path| format!("Dog\t{kind}\t{part}\tp\t{path}\t{digest}\tl\ta");
        assert!(said(&line("real", "train", "x")).contains("kind 'real'"));
        assert!(said(&line("recording", "test", "x")).contains("part 'test'"));
        assert!(said(&line("recording", "both", "a/../../x")).contains("leads out"));
        assert!(sources(&format!("head\n{}\n", line("stand-in", "both", "x"))).is_ok());
    }
}
