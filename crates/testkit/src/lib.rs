//! Fake clock, scripted network, builders; only ever a dev-dependency.
