//! Decode, mix to mono, resample.
