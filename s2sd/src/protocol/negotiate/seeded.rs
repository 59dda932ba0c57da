//! Random numbers for one step of a SASL exchange, which may be made on another thread than the stream's.

use std::fmt;

use sha2::{Digest, Sha256};
use xmpp_sasl::Random;
use zeroize::Zeroizing;

/// As many random numbers as it takes, made of 256 random bits: the hash of them and of a count.
pub(super) struct Seeded {
    seed: Zeroizing<[u8; 32]>,
    count: u64,
}

impl Seeded {
    /// A new source, from another.
    pub(super) fn from(random: &mut (dyn Random + Send)) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        random.fill(seed.as_mut_slice());
        Self { seed, count: 0 }
    }
}

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(32) {
            let hash = Sha256::new()
                .chain_update(self.seed.as_slice())
                .chain_update(self.count.to_be_bytes())
                .finalize();
            self.count += 1;
            part.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        }
    }
}

impl fmt::Debug for Seeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seeded(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_blocks_are_alike() {
        let mut seeded = Seeded::from(&mut |out: &mut [u8]| out.fill(7));
        let (mut first, mut second) = ([0; 80], [0; 80]);
        seeded.fill(&mut first);
        seeded.fill(&mut second);
        let blocks: Vec<&[u8]> = first.chunks(16).chain(second.chunks(16)).collect();
        for (at, block) in blocks.iter().enumerate() {
            assert!(!blocks[..at].contains(block));
        }
    }
}
