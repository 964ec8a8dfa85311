//! The median filter.

use anyhow::{Context, Result};
use eval::median_filter;

use super::super::rows::Tolerance;
use super::Folder;
use super::expected::Node;
use super::tensors::Tensors;

/// `in/<name>` becomes `out/<name>/<window set>`.
pub(super) fn compare(folder: &Folder<'_>, expected: Node<'_>) -> Result<()> {
    let tensors = Tensors::open(&folder.path.join("data.safetensors"))?;
    expected.get("boundary").text()?;
    for input in expected.get("inputs").texts()? {
        tensors.get(&input)?;
    }
    for output in expected.get("outputs").texts()? {
        let (input, set) = (output.strip_prefix("out/"))
            .and_then(|rest| rest.rsplit_once('/'))
            .with_context(|| format!("{output} is not named out/<name>/<window set>"))?;
        let windows = expected.get("windows").get(set).numbers()?;
        let windows: Vec<usize> = windows.into_iter().map(|window| window as usize).collect();
        let (_, values) = tensors.get(&format!("in/{input}"))?;
        let (_, wanted) = tensors.get(&output)?;
        let got = median_filter(&values, &windows);
        folder
            .rows
            .check_numbers(&output, &got, &wanted, Tolerance::EXACT);
    }
    tensors.report_unread(folder.rows);
    Ok(())
}
