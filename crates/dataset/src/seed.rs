//! Randomness as a function: a generator for each purpose, seeded with a hash (ARCHITECTURE.md, "Sameness").

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use types::DigestHasher;

/// The generator that belongs to these parts.
pub(crate) fn generator(parts: &[&[u8]]) -> ChaCha8Rng {
    let mut hasher = DigestHasher::new();
    hasher.part(b"tutti dataset 1");
    for part in parts {
        hasher.part(part);
    }
    ChaCha8Rng::from_seed(*hasher.finish().as_bytes())
}
