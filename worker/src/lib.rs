//! Obeys, supervises and survives.
