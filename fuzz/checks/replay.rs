//! For the rooms' tests: what once broke a reader, again.

use std::path::Path;

/// Hands every file of `fuzz/regressions/<target>` to `check`; says which one it was if that panics.
///
/// `package` is the `CARGO_MANIFEST_DIR` of the test, two folders below the workspace's root.
pub(crate) fn replay(
    package: &str,
    target: &str,
    check: impl Fn(&[u8]) + std::panic::RefUnwindSafe,
) {
    let folder = Path::new(package)
        .join("../../fuzz/regressions")
        .join(target);
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("fuzz/regressions has a folder for each target")
    {
        let path = entry.expect("the folder can be listed").path();
        let input = std::fs::read(&path).expect("the input can be read");
        let result = std::panic::catch_unwind(|| check(&input));
        assert!(result.is_ok(), "{} broke the reader again", path.display());
        seen += 1;
    }
    assert!(seen > 0, "{} holds no input", folder.display());
}
