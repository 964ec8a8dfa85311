//! The field's metrics: numbers in, numbers out.
