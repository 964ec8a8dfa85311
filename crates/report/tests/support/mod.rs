//! Pages for the tests.

use report::RunPage;

/// The demo's page.
pub(crate) fn demo() -> RunPage {
    serde_json::from_str(include_str!("../demo.json")).unwrap()
}
