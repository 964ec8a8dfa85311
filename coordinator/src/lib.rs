//! Decides and remembers.
