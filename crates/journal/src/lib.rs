//! The durable record of control's inputs.
