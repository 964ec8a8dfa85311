//! Front-ends, CRNN, transformers, fusion; checkpoints.
