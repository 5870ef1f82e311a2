//! Randomness that depends on the seed alone.

use std::sync::Mutex;

use runlog_model::Random;

/// A sequence of numbers (SplitMix64). The same seed gives the same sequence on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6a09_e667_f3bc_c909)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when that is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or_default()
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.next() % (high - low + 1).max(1).unsigned_abs()).unwrap_or_default()
    }

    /// True in this number of a thousand cases.
    pub(crate) fn chance(&mut self, per_mille: usize) -> bool {
        self.below(1_000) < per_mille
    }

    /// Returns another, independent sequence.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }
}

/// Randomness of a node.
pub(crate) struct NodeRandom(pub(crate) Mutex<Numbers>);

impl Random for NodeRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut numbers = crate::locked(&self.0);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&numbers.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
