//! DES keys, one block (ECB) and PCBC.

use std::fmt;

use ::des::Des;
use ::des::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub(super) const BLOCK: usize = 8;
pub(super) type Block = [u8; BLOCK];

/// A DES key with odd parity that is none of the weak ones. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Key(Zeroizing<Block>);

/// FIPS 74: keys that undo themselves or each other.
const WEAK: [u64; 16] = [
    0x0101_0101_0101_0101,
    0xfefe_fefe_fefe_fefe,
    0x1f1f_1f1f_0e0e_0e0e,
    0xe0e0_e0e0_f1f1_f1f1,
    0x01fe_01fe_01fe_01fe,
    0xfe01_fe01_fe01_fe01,
    0x1fe0_1fe0_0ef1_0ef1,
    0xe01f_e01f_f10e_f10e,
    0x01e0_01e0_01f1_01f1,
    0xe001_e001_f101_f101,
    0x1ffe_1ffe_0efe_0efe,
    0xfe1f_fe1f_fe0e_fe0e,
    0x011f_011f_010e_010e,
    0x1f01_1f01_0e01_0e01,
    0xe0fe_e0fe_f1fe_f1fe,
    0xfee0_fee0_fef1_fef1,
];

impl Key {
    /// `None` if the parity is wrong (a typing mistake, as a rule) or the key is weak.
    pub fn new(octets: [u8; 8]) -> Option<Self> {
        let odd = octets.iter().all(|octet| octet.count_ones() % 2 == 1);
        (odd && !WEAK.contains(&u64::from_be_bytes(octets))).then(|| Self(Zeroizing::new(octets)))
    }

    /// A key from random octets, which lose their parity bits.
    pub(super) fn from_random(octets: &Zeroizing<Block>) -> Self {
        let mut key = octets.clone();
        for octet in key.iter_mut() {
            *octet ^= u8::from(octet.count_ones() % 2 == 0);
        }
        // Two weak keys do not differ by this.
        if WEAK.contains(&u64::from_be_bytes(*key)) {
            key[7] ^= 0xf0;
        }
        Self(key)
    }

    pub(super) fn octets(&self) -> &Block {
        &self.0
    }

    fn cipher(&self) -> Des {
        Des::new((&*self.0).into())
    }

    pub(super) fn encrypt_block(&self, block: &mut Block) {
        self.cipher().encrypt_block(block.into());
    }

    pub(super) fn decrypt_block(&self, block: &mut Block) {
        self.cipher().decrypt_block(block.into());
    }

    /// PCBC over whole blocks; what is over is not touched. The initial vector is the key itself, as in MIT's libkrb
    /// and in Cyrus SASL (`plugins/kerberos4.c`); RFC 2222 does not say.
    pub(super) fn encrypt(&self, data: &mut [u8]) {
        let cipher = self.cipher();
        let mut chain = *self.0;
        for block in data.chunks_exact_mut(BLOCK) {
            let plain = to_block(block);
            let mut sealed = xor(plain, chain);
            cipher.encrypt_block((&mut sealed).into());
            chain = xor(plain, sealed);
            block.copy_from_slice(&sealed);
        }
    }

    /// The reverse of [`Key::encrypt`].
    pub(super) fn decrypt(&self, data: &mut [u8]) {
        let cipher = self.cipher();
        let mut chain = *self.0;
        for block in data.chunks_exact_mut(BLOCK) {
            let sealed = to_block(block);
            let mut plain = sealed;
            cipher.decrypt_block((&mut plain).into());
            plain = xor(plain, chain);
            chain = xor(plain, sealed);
            block.copy_from_slice(&plain);
        }
    }
}

fn to_block(octets: &[u8]) -> Block {
    octets.try_into().unwrap_or_default()
}

fn xor(a: Block, b: Block) -> Block {
    (u64::from_ne_bytes(a) ^ u64::from_ne_bytes(b)).to_ne_bytes()
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(octets: u64) -> Key {
        Key::new(octets.to_be_bytes()).unwrap()
    }

    #[test]
    fn one_block_is_that_of_fips_81() {
        // FIPS 81 appendix B: "Now is the time for all " in ECB.
        let key = key(0x0123_4567_89ab_cdef);
        for (plain, sealed) in [
            (b"Now is t", 0x3fa4_0e8a_984d_4815_u64),
            (b"he time ", 0x6a27_1787_ab88_83f9),
            (b"for all ", 0x893d_51ec_4b56_3b53),
        ] {
            let mut block = *plain;
            key.encrypt_block(&mut block);
            assert_eq!(u64::from_be_bytes(block), sealed);
            key.decrypt_block(&mut block);
            assert_eq!(block, *plain);
        }
    }

    #[test]
    fn a_change_damages_everything_that_follows() {
        let key = key(0x1334_5779_9bbc_dff1);
        let plain = b"Wherefore art thou, Romeo? Deny thy fath";
        let mut sealed = *plain;
        key.encrypt(&mut sealed);
        let mut opened = sealed;
        key.decrypt(&mut opened);
        assert_eq!(&opened, plain);
        for at in 0..sealed.len() {
            let mut changed = sealed;
            changed[at] ^= 1;
            key.decrypt(&mut changed);
            let first = at / BLOCK;
            for (index, (block, was)) in changed.chunks(BLOCK).zip(plain.chunks(BLOCK)).enumerate()
            {
                assert_eq!(block == was, index < first);
            }
        }
    }

    #[test]
    fn keys_are_strong_and_have_odd_parity() {
        assert!(Key::new([0; 8]).is_none());
        assert!(Key::new(0x0123_4567_89ab_cdee_u64.to_be_bytes()).is_none());
        for weak in WEAK {
            assert!(Key::new(weak.to_be_bytes()).is_none());
            let made = Key::from_random(&Zeroizing::new(weak.to_be_bytes()));
            assert!(Key::new(*made.octets()).is_some());
        }
        for octet in 0..=255 {
            let made = Key::from_random(&Zeroizing::new([octet, 1, 2, 3, 4, 5, 6, octet]));
            assert!(Key::new(*made.octets()).is_some());
        }
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", key(0x0123_4567_89ab_cdef)), "Key(…)");
    }
}
