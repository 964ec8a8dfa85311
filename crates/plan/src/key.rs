//! What a task's result depends on.

use serde_json::Value;
use types::{Digest, DigestHasher, TaskSpec};

/// Raised whenever our numerics change, so that results of older code are not taken for those of newer code.
pub const NUMERICS_VERSION: u32 = 2;

/// The settings of a task that cannot change its result; the only ones outside its content key. A gang's size is
/// part of a `TaskSpec` only where the result depends on it; estimates never are. A rank's threads stay in: on CPUs libtorch
/// adds in another order with another number of them.
pub(crate) const NOT_IN_KEY: &[&[&str]] = &[
    &["data", "root"],
    &["runtime", "checkpoint_every_steps"],
    &["runtime", "keep_checkpoints"],
    &["runtime", "prefetch_threads"],
];

/// The digest of everything in a task's settings that can change its result: its canonical JSON (keys sorted) without
/// what `NOT_IN_KEY` lists, the data manifest's digest, and [`NUMERICS_VERSION`]. Inputs come on top of it, in
/// [`types::content_key`].
///
/// # Errors
/// When the settings cannot be written as JSON: a path in them is not UTF-8.
pub fn material(spec: &TaskSpec, manifest: &Digest) -> Result<Digest, serde_json::Error> {
    let mut canonical = String::new();
    write_canonical(&significant(serde_json::to_value(spec)?), &mut canonical);
    let mut hasher = DigestHasher::new();
    hasher
        .part(b"task material 1")
        .part(&NUMERICS_VERSION.to_le_bytes())
        .part(manifest.as_bytes())
        .part(canonical.as_bytes());
    Ok(hasher.finish())
}

/// A task's settings without those that cannot change its result.
pub(crate) fn significant(mut spec: Value) -> Value {
    for path in NOT_IN_KEY {
        let Some((last, parents)) = path.split_last() else {
            continue;
        };
        let parent = parents
            .iter()
            .try_fold(&mut spec, |value, key| value.get_mut(key));
        if let Some(parent) = parent.and_then(Value::as_object_mut) {
            parent.remove(*last);
        }
    }
    spec
}

/// JSON with sorted keys and no spaces, whatever order the map type keeps.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, value)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, value) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        leaf => out.push_str(&leaf.to_string()),
    }
}
