//! DESED and MAESTRO Real: manifests, label grid, masks, splits, sampler.
