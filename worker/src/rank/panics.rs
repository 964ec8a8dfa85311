use std::sync::{Mutex, PoisonError};

static LAST: Mutex<String> = Mutex::new(String::new());

/// Keeps the text and place of each panic, besides showing it as usual.
pub(super) fn remember() {
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        shown(panic);
    }));
}

/// The last panic of any thread.
pub(super) fn last() -> String {
    LAST.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .replace('\n', " ")
}
