//! Metrics, post-processing and files: each case is a folder, whose README says what it may hold. Files are read as everybody's
//! are, by room `scorefiles`.

mod auroc;
mod boxes;
mod encoding;
mod expected;
mod fscore;
mod maestro;
mod median;
mod operating_points;
mod psds;
mod rejected;
mod tensors;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use eval::{GroundTruth, Scores};
use scorefiles::{read_durations, read_ground_truth, read_scored};

use super::listing;
use super::rows::{Rows, Tolerance};
use expected::{Expected, Node};
use fscore::Kind;

/// Values of metrics.
const VALUES: Tolerance = Tolerance {
    atol: 1e-9,
    rtol: 0.0,
};
/// Scores and thresholds.
const SCORES: Tolerance = Tolerance {
    atol: 1e-12,
    rtol: 0.0,
};

/// A case's folder and what is to be compared with it.
struct Folder<'a> {
    path: &'a Path,
    rows: &'a Rows,
}

pub(crate) fn run(path: &Path, rows: &Rows) -> Result<()> {
    let folder = Folder { path, rows };
    let files: Vec<_> = listing(path)?
        .into_iter()
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("expected") && name.ends_with(".json")
        })
        .collect();
    ensure!(
        !files.is_empty(),
        "there is no expected*.json in it: no case of metrics"
    );
    for path in files {
        let expected = Expected::open(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Err(error) = folder.compare(&name, expected.root()) {
            rows.check_text(&name, Err(format!("{error:#}")));
        }
        expected.report_unread(&name, rows);
    }
    Ok(())
}

impl Folder<'_> {
    /// Compares what is understood of one file; the rest stays unread.
    fn compare(&self, file: &str, expected: Node<'_>) -> Result<()> {
        match file {
            "expected_operating_points.json" => operating_points::compare(self, expected),
            "expected_csebbs.json" => boxes::compare(self, expected),
            name if name != "expected.json" => Ok(()),
            _ if self.has("maestro.tsv") => maestro::compare(self, expected),
            _ if self.has("ground_truth.tsv") => self.metrics(expected),
            _ if self.has("expected_tsv") => boxes::with_seconds(self, expected),
            _ if expected.get("cases").exists() => rejected::compare(self, expected),
            _ if expected.get("windows").exists() => median::compare(self, expected),
            _ if self.has("data.safetensors") => encoding::compare(self, expected),
            _ => Ok(()),
        }
    }

    /// Everything about clips with events.
    fn metrics(&self, expected: Node<'_>) -> Result<()> {
        let (scores, truth) = self.scored()?;
        let classes = expected.get("classes").texts()?;
        self.rows
            .check_equal("classes", &scores.classes().to_vec(), &classes);
        for (name, part) in expected.entries()? {
            let compared = match name {
                "psds" => psds::compare(self, &scores, &truth, part),
                "intersection_statistics" => psds::change_points(self, &scores, &truth, part),
                "segment_auroc" => auroc::compare(self, "segment_auroc", &scores, &truth, part),
                "intersection_fscore" => {
                    fscore::compare(self, Kind::Intersection, &scores, &truth, part)
                }
                "collar_fscore" => fscore::compare(self, Kind::Collar, &scores, &truth, part),
                "segment_fscore" => fscore::compare(self, Kind::Segment, &scores, &truth, part),
                _ => Ok(()),
            };
            compared.with_context(|| name.to_owned())?;
        }
        Ok(())
    }

    fn has(&self, file: &str) -> bool {
        self.path.join(file).exists()
    }

    /// Frame scores, in either form.
    fn scores(&self) -> Result<Scores> {
        let file = self.path.join("scores.safetensors");
        let path = if file.exists() {
            file
        } else {
            self.path.join("scores")
        };
        Ok(scorefiles::read_scores(&path)?)
    }

    /// Ground truth and durations.
    fn truth(&self) -> Result<GroundTruth> {
        Ok(GroundTruth {
            events: read_ground_truth(&self.path.join("ground_truth.tsv"))?,
            durations: read_durations(&self.path.join("durations.tsv"))?,
        })
    }

    /// Scores with ground truth and durations.
    fn scored(&self) -> Result<(Scores, GroundTruth)> {
        let file = self.path.join("scores.safetensors");
        let path = if file.exists() {
            file
        } else {
            self.path.join("scores")
        };
        let table = |name: &str| self.path.join(name);
        Ok(read_scored(
            &path,
            &table("ground_truth.tsv"),
            &table("durations.tsv"),
        )?)
    }
}

/// A value for each class, in the order of the classes.
fn by_class<'a, T>(
    classes: &[String],
    wanted: Node<'a>,
    read: impl Fn(Node<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    (classes.iter())
        .map(|class| read(wanted.get(class)).with_context(|| class.clone()))
        .collect()
}
