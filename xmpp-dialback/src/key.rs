//! Keys (XEP-0185) and the Authoritative Server's whole work: [`verify`].

use std::fmt;

use data_encoding::HEXLOWER;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::{Pair, Question, Verdict};

/// The secret of a network of authoritative servers. Its content never shows in `Debug` and is wiped
/// when it is dropped.
///
/// All machines that may be reached under a domain need the same one. It should hold at least 128 bits
/// from a good random source: the keys made from it travel in the open.
#[derive(Clone)]
pub struct Secret {
    /// Hex of SHA-256 of the secret: what XEP-0185 uses as the HMAC key.
    hashed: Zeroizing<[u8; 64]>,
}

impl Secret {
    /// A secret of exactly these bytes.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        let mut digest = Zeroizing::new([0; 32]);
        Sha256::new_with_prefix(secret).finalize_into((&mut *digest).into());
        Self {
            hashed: Zeroizing::new(hex(&digest)),
        }
    }

    /// A secret as it stands in a file or a configuration: blanks and line ends around it do not count.
    pub fn from_text(text: &str) -> Result<Self, EmptySecret> {
        match text.trim() {
            "" => Err(EmptySecret),
            secret => Ok(Self::new(secret)),
        }
    }

    /// The key with which `pair.sender` asks `pair.target` on the stream whose response header had
    /// this id (XEP-0185 §2): `HMAC-SHA256(hex(SHA256(secret)), target ' ' sender ' ' id)` in hex.
    ///
    /// The blanks keep apart what may differ only in where one input ends (the "Wrong Number" attack).
    /// That needs domains without blanks: [`Initiating::request`](crate::Initiating::request) and
    /// [`verify`] refuse others.
    pub fn key(&self, pair: &Pair, stream_id: &str) -> Key {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.hashed.as_slice())
            .expect("HMAC takes keys of every length");
        mac.update(pair.target.as_bytes());
        mac.update(b" ");
        mac.update(pair.sender.as_bytes());
        mac.update(b" ");
        mac.update(stream_id.as_bytes());
        let digits = hex(&mac.finalize().into_bytes().into());
        Key(digits.iter().map(|&digit| char::from(digit)).collect())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The text held no secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the dialback secret is empty")]
pub struct EmptySecret;

/// A dialback key. To everyone but the Authoritative Server it is opaque text: other servers make
/// theirs in other ways. Compared in constant time; not shown in `Debug`, so that no log holds it.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// A key as it was received. White space around it is not part of it: XEP-0185 and XEP-0220 print
    /// it on a line of its own.
    pub fn from_text(text: &str) -> Self {
        Self(text.trim_matches([' ', '\t', '\r', '\n']).to_owned())
    }

    /// For the wire. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Key {}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The Authoritative Server (XEP-0220 §2.2.2): did this network make this key for this pair and this
/// stream? Keeps nothing: the question holds all that goes into the key.
///
/// Answers [`Verdict::Valid`] or [`Verdict::Invalid`]. Whether `pair.sender` is a domain of ours at all
/// (else `item-not-found`) is for the caller to say, before asking.
pub fn verify(secret: &Secret, question: &Question) -> Verdict {
    if !question.pair.is_unambiguous() {
        return Verdict::Invalid;
    }
    if secret.key(&question.pair, &question.stream_id) == question.key {
        Verdict::Valid
    } else {
        Verdict::Invalid
    }
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    HEXLOWER.encode_mut(bytes, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const XEP: &str = "s3cr3tf0rd14lb4ck";

    #[track_caller]
    fn check(secret: &str, receiving: &str, originating: &str, id: &str, want: &str) {
        let pair = Pair::new(originating, receiving);
        let secret = Secret::new(secret);
        assert_eq!(secret.key(&pair, id).as_str(), want);
        let question = Question {
            pair,
            stream_id: id.to_owned(),
            key: Key::from_text(want),
        };
        assert_eq!(verify(&secret, &question), Verdict::Valid);
    }

    #[test]
    fn keys_are_those_of_xep_0185_and_xep_0220() {
        // XEP-0185 §3
        check(
            XEP,
            "xmpp.example.com",
            "example.org",
            "D60000229F",
            "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643",
        );
        // XEP-0220 §2.1.1
        check(
            XEP,
            "montague.example",
            "capulet.example",
            "D60000229F",
            "b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df3",
        );
        // XEP-0220 §2.2.2
        check(
            "d14lb4ck43v3r",
            "capulet.example",
            "montague.example",
            "417GAF25",
            "225cc5aa6a071133249d25fef42ae516fc7a86c523aa1c6980a7f73e784c972d",
        );
    }

    #[test]
    fn domains_go_into_the_key_as_they_are_written() {
        check(
            XEP,
            "xn--mller-kva.example",
            "example.org",
            "D60000229F",
            "f1d9a455dbab1ce6ef21b5a055bbab1f464b67cd717dbde869c7d06f255a89e8",
        );
    }

    #[test]
    fn secrets_and_ids_longer_than_a_hash_block_work() {
        check(
            &"x".repeat(200),
            "b.example",
            "a.example",
            &"0123456789abcdef".repeat(8),
            "945f4de42a2fb3c0fc3acf683391f1f73200441a5a33f56adc218fce26e8f84c",
        );
    }

    #[track_caller]
    fn refused(key: &str) {
        let question = Question {
            pair: Pair::new("capulet.example", "montague.example"),
            stream_id: "D60000229F".to_owned(),
            key: Key::from_text(key),
        };
        assert_eq!(verify(&Secret::new(XEP), &question), Verdict::Invalid);
    }

    #[test]
    fn a_key_for_something_else_is_invalid() {
        // other stream id, swapped domains, other secret, a subdomain
        refused("444e887f74a1a92e44711da3362774485e3700db5f76a2208897eb1229311cc5");
        refused("b23776fc0abd3a34b85abb4c33c396bebc147d2aac7416fa79c247ca6c0223b6");
        refused("b25675ec7b4b7e513a176624b2bcbffe66088730dc1f954bf783c15ed006d726");
        refused("a39edb8a275f600366e8e262d725146a368a84906b58e6a50299c34f6b2229f0");
    }

    #[test]
    fn a_mangled_key_is_invalid() {
        refused("");
        refused("b4835385f37fe2895af6c196b59097b1");
        refused("B4835385F37FE2895AF6C196B59097B16862406DB80559900D96BF6FA7D23DF3");
        refused("b4835385f37fe2895af6c196b59097b16862406db80559900d96bf6fa7d23df30");
        refused("b4835385f37fe289 5af6c196b59097b16862406db80559900d96bf6fa7d23df3");
    }

    #[test]
    fn white_space_around_a_key_does_not_count() {
        let bare = Key::from_text("1bac3ef56fed987cfe098c9785c654a5476ed765");
        let printed = Key::from_text("\n    1bac3ef56fed987cfe098c9785c654a5476ed765\r\n\t");
        assert_eq!(bare, printed);
        assert_eq!(printed.as_str(), "1bac3ef56fed987cfe098c9785c654a5476ed765");
    }

    // The "Wrong Number" attack (2016): where the inputs were joined without a separator, a key made
    // for one pair was good for another split of the same letters.
    #[test]
    fn another_split_of_the_same_letters_has_another_key() {
        let secret = Secret::new(XEP);
        let key = |target: &str, sender: &str, id: &str| secret.key(&Pair::new(sender, target), id);
        let honest = key("a", "bc", "id");
        assert_ne!(honest, key("ab", "c", "id"));
        assert_ne!(honest, key("a", "b", "cid"));
        assert_ne!(
            key("example.in", "form.example.org", "1"),
            key("example.info", "rm.example.org", "1"),
        );
    }

    #[test]
    fn a_blank_in_a_domain_does_not_move_the_split() {
        let secret = Secret::new(XEP);
        // The bytes under the HMAC are the same for all of these: "a x b id".
        let key = secret.key(&Pair::new("x", "a"), "b id");
        for (sender, target, id) in [("b", "a x", "id"), ("x b", "a", "id"), ("", "a x b", "id")] {
            let pair = Pair::new(sender, target);
            let question = Question {
                pair,
                stream_id: id.to_owned(),
                key: key.clone(),
            };
            assert_eq!(verify(&secret, &question), Verdict::Invalid, "{question:?}");
        }
    }

    #[test]
    fn secrets_and_keys_do_not_show_in_debug() {
        let secret = Secret::from_text(" hush\n").unwrap();
        let key = secret.key(&Pair::new("a", "b"), "1");
        let shown = format!("{secret:?} {key:?}");
        assert_eq!(shown, "Secret(..) Key(..)");
    }

    #[test]
    fn a_secret_from_a_file_is_trimmed_and_not_empty() {
        let pair = Pair::new("a", "b");
        let file = Secret::from_text("hush\n").unwrap();
        assert_eq!(file.key(&pair, "1"), Secret::new("hush").key(&pair, "1"));
        assert_eq!(Secret::from_text(" \n").unwrap_err(), EmptySecret);
    }
}
