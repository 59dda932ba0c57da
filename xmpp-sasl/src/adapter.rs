//! Our mechanisms behind the traits of the crate [`sasl`], for code that was written for it.
//!
//! [`client`] and [`server`] have types that take the place of those in `sasl::client::mechanisms` and
//! `sasl::server::mechanisms`: made of the same credentials, providers and validators, used through the same traits.
//! What is different is what they accept; see the table. [`client::Adapter::of`] and [`server::Adapter::of`] put any
//! other mechanism of this crate behind those traits.
//!
//! | | `sasl` 0.5.2 | here |
//! |---|---|---|
//! | server, `n,,` from a client without channel binding | refused | accepted |
//! | server, `tls-exporter` | never works | works, as `-PLUS` |
//! | server, `p=` with a type it has no data of | accepted at first | refused |
//! | client, no data to bind to | says `y,,` by default, which a server with channel binding has to refuse | says `n,,` |
//! | client, nonce of the server that is not ours with more after it | answered | refused |
//! | client, iteration count | any, from 0 | 4096 to 1,000,000 |
//! | client, `m=` | ignored | refused |
//! | client, password derived before | the wrong salt and count are accepted, the right ones are not | the other way round |
//! | `,` and `=` in names | sent as they are | escaped |
//! | names and passwords | as they are | SASLprep |
//! | ANONYMOUS, name of a guest | `[fc, df, …]` | `fcdf…` |
//! | PLAIN, authorization identity | ignored | has to be the name itself |
//! | PLAIN, more parts than three, empty names | accepted | refused |
//! | comparisons | stop at the first difference | in constant time |
//! | an unknown name | refused at once | refused like a wrong password |
//! | SHA-512, EXTERNAL, DIGEST-MD5, `e=` | – | here |
//!
//! Code that is not bound to those traits is better off without them: they cannot say that an exchange has ended, nor
//! let a computation be moved away, nor take random numbers from the caller.

pub mod client;
pub mod server;
mod sha512;

pub use sha512::{Pbkdf2Sha512, Sha512};

use std::fmt;

use sasl::common::ChannelBinding;
use sasl::common::scram::{ScramProvider, Sha1, Sha256, generate_nonce};
use zeroize::Zeroizing;

use crate::{ChannelBindingType, ChannelBindings, Random, ScramHash};

/// A [`ScramProvider`] that a mechanism of this crate stands behind.
pub trait Hash: ScramProvider {
    /// The hash function.
    const HASH: ScramHash;
}

impl Hash for Sha1 {
    const HASH: ScramHash = ScramHash::Sha1;
}

impl Hash for Sha256 {
    const HASH: ScramHash = ScramHash::Sha256;
}

impl Hash for Sha512 {
    const HASH: ScramHash = ScramHash::Sha512;
}

/// RFC 5802 §6: who has no data to bind to says "n", whether it thinks that the server has some or not.
fn bindings(binding: ChannelBinding) -> ChannelBindings {
    let none = ChannelBindings::none();
    match binding {
        ChannelBinding::None | ChannelBinding::Unsupported => none,
        ChannelBinding::TlsUnique(data) => none.with(ChannelBindingType::TlsUnique, data),
        ChannelBinding::TlsExporter(data) => none.with(ChannelBindingType::TlsExporter, data),
    }
}

fn scram_name(hash: ScramHash, bindings: &ChannelBindings) -> &'static str {
    if bindings.is_empty() {
        hash.mechanism()
    } else {
        hash.mechanism_plus()
    }
}

/// Random numbers, as many as are wanted, from a seed of the operating system's: the traits of `sasl` take none.
struct Stream {
    seed: Zeroizing<String>,
    drawn: u64,
}

impl Stream {
    /// From 32 random bytes. The error is the server's, and holds that of the `getrandom` that `sasl` uses.
    fn seed() -> Result<Self, sasl::server::MechanismError> {
        let seed = generate_nonce()?;
        Ok(Self {
            seed: Zeroizing::new(seed),
            drawn: 0,
        })
    }

    /// For an exchange that will not take place.
    fn unseeded() -> Self {
        Self {
            seed: Zeroizing::default(),
            drawn: 0,
        }
    }
}

impl Random for Stream {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block = ScramHash::Sha256.hmac(self.seed.as_bytes(), &self.drawn.to_be_bytes());
            self.drawn = self.drawn.wrapping_add(1);
            chunk
                .iter_mut()
                .zip(block.iter())
                .for_each(|(to, from)| *to = *from);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_does_not_repeat_itself() {
        let mut stream = Stream::seed().unwrap();
        let mut blocks = std::collections::HashSet::new();
        for length in [18, 16, 32, 64, 40] {
            let mut out = vec![0; length];
            stream.fill(&mut out);
            for block in out.chunks(8) {
                assert!(blocks.insert(block.to_vec()));
            }
        }
        assert_eq!(format!("{stream:?}"), "Stream(…)");
    }
}
