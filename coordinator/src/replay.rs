use anyhow::{Context, Result, anyhow};
use control::{Cluster, Record};

/// The cluster as its journal left it: every record applied again, what followed from it ignored.
///
/// # Errors
/// A record that cannot be read, or that the history before it refuses.
pub fn replay(records: impl Iterator<Item = Result<Record, journal::Error>>) -> Result<Cluster> {
    let mut cluster = Cluster::new();
    for record in records {
        let record = record?;
        cluster
            .apply(record.at, record.input)
            .map_err(|rejection| anyhow!("{rejection}"))
            .context("the journal holds an input that its own history refuses: it was written by another version or is damaged")?;
    }
    Ok(cluster)
}
