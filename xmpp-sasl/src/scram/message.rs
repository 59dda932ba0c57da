//! The four messages of SCRAM, read and written (RFC 5802 §7).
//!
//! What is hashed is what was on the wire, so nothing is ever written again from what was read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::{Malformed, malformed};
use crate::ScramError;
use crate::scram_keys::positive_number;

/// No message is longer, either way. Names are 1023 bytes at most, the longest JID 3071.
pub(super) const MESSAGE_BOUND: usize = 8192;

/// `gs2-cbind-flag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BindingFlag<'a> {
    /// `n`: the client has no channel binding.
    None,
    /// `y`: it has, but thinks that the server has not.
    NotOffered,
    /// `p=`: it binds to this type.
    Bound(&'a str),
}

/// `client-first-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// `gs2-header`, with its last comma.
    pub(super) gs2_header: &'a str,
    pub(super) flag: BindingFlag<'a>,
    pub(super) authzid: Option<String>,
    /// `client-first-message-bare`.
    pub(super) bare: &'a str,
    pub(super) username: String,
    pub(super) nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let text = text(message)?;
        let (flag, rest) = text.split_once(',').ok_or(NO_GS2_HEADER)?;
        let (authzid, bare) = rest.split_once(',').ok_or(NO_GS2_HEADER)?;
        let flag = match flag.split_once('=') {
            None if flag == "n" => BindingFlag::None,
            None if flag == "y" => BindingFlag::NotOffered,
            Some(("p", name)) if is_cb_name(name) => BindingFlag::Bound(name),
            _ => return Err(malformed("the channel-binding flag is none of n, y, p=")),
        };
        let authzid = match authzid {
            "" => None,
            authzid => Some(unescape(attribute(Some(authzid), 'a')?)?),
        };
        let gs2_header = text
            .get(..text.len().saturating_sub(bare.len()))
            .ok_or(NO_GS2_HEADER)?;

        let mut parts = bare.split(',');
        let first = parts.next();
        refuse_mandatory(first)?;
        let username = unescape(attribute(first, 'n')?)?;
        let nonce = nonce(parts.next())?;
        for part in parts {
            extension(part)?;
        }
        Ok(Self {
            gs2_header,
            flag,
            authzid,
            bare,
            username,
            nonce,
        })
    }
}

/// `server-first-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    /// `None`: more than can be counted here.
    pub(super) iterations: Option<u32>,
    /// XEP-0474.
    pub(super) downgrade_protection: Option<&'a str>,
}

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut parts = text(message)?.split(',');
        let first = parts.next();
        refuse_mandatory(first)?;
        let nonce = nonce(first)?;
        let salt = decode(attribute(parts.next(), 's')?)?;
        let iterations = positive_number(attribute(parts.next(), 'i')?)
            .ok_or(malformed("the iteration count is not a positive number"))?;
        let mut downgrade_protection = None;
        for part in parts {
            if let ('h', value) = extension(part)?
                && downgrade_protection.replace(value).is_some()
            {
                return Err(malformed("h= stands there twice"));
            }
        }
        Ok(Self {
            nonce,
            salt,
            iterations,
            downgrade_protection,
        })
    }
}

/// `client-final-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    /// `client-final-message-without-proof`.
    pub(super) without_proof: &'a str,
    /// `c=`, in base64.
    pub(super) channel_binding: &'a str,
    pub(super) nonce: &'a str,
    pub(super) proof: Vec<u8>,
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let text = text(message)?;
        let (without_proof, proof) = text
            .rsplit_once(',')
            .ok_or(malformed("the proof is missing"))?;
        let proof = decode(attribute(Some(proof), 'p')?)?;
        let mut parts = without_proof.split(',');
        let channel_binding = attribute(parts.next(), 'c')?;
        let nonce = nonce(parts.next())?;
        for part in parts {
            extension(part)?;
        }
        Ok(Self {
            without_proof,
            channel_binding,
            nonce,
            proof,
        })
    }
}

/// `server-final-message`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerFinal {
    /// `v=`: `ServerSignature`.
    Verifier(Vec<u8>),
    /// `e=`.
    Error(ScramError),
}

impl ServerFinal {
    pub(super) fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let mut parts = text(message)?.split(',');
        let first = parts.next();
        let parsed = match first.and_then(|part| part.strip_prefix("e=")) {
            Some(name) => Self::Error(ScramError::from_name(name)),
            None => Self::Verifier(decode(attribute(first, 'v')?)?),
        };
        for part in parts {
            extension(part)?;
        }
        Ok(parsed)
    }

    /// An error may also stand where the first message of the server is expected.
    pub(super) fn error(message: &[u8]) -> Option<ScramError> {
        match Self::parse(message) {
            Ok(Self::Error(error)) => Some(error),
            Ok(Self::Verifier(_)) | Err(_) => None,
        }
    }
}

/// `saslname`, written. `None` if the name cannot be written: it is empty or has a NUL.
pub(super) fn escape(name: &str) -> Option<String> {
    (!name.is_empty() && !name.contains('\0')).then(|| name.replace('=', "=3D").replace(',', "=2C"))
}

/// `saslname`, read.
fn unescape(text: &str) -> Result<String, Malformed> {
    const BAD: Malformed = Malformed {
        why: "an equals sign in a name that is neither =2C nor =3D",
        error: ScramError::InvalidUsernameEncoding,
    };
    let mut pieces = text.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (character, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return Err(BAD),
        };
        name.push(character);
        name.push_str(rest);
    }
    Ok(name)
}

const NO_GS2_HEADER: Malformed = malformed("the GS2 header is missing");

fn text(message: &[u8]) -> Result<&str, Malformed> {
    if message.len() > MESSAGE_BOUND {
        return Err(malformed("the message is too long"));
    }
    let text = std::str::from_utf8(message).map_err(|_| Malformed {
        why: "the message is not in UTF-8",
        error: ScramError::InvalidEncoding,
    })?;
    if text.contains('\0') {
        return Err(malformed("there is a NUL in the message"));
    }
    Ok(text)
}

/// The value of an attribute that has to be here: `1*value-char`.
fn attribute(part: Option<&str>, name: char) -> Result<&str, Malformed> {
    part.and_then(|part| part.strip_prefix(name)?.strip_prefix('='))
        .filter(|value| !value.is_empty())
        .ok_or(malformed("an attribute is missing or in the wrong place"))
}

/// An optional extension: its name, not one of the known attributes, and its value.
fn extension(part: &str) -> Result<(char, &str), Malformed> {
    refuse_mandatory(Some(part))?;
    let mut characters = part.chars();
    let name = characters
        .next()
        .filter(|name| name.is_ascii_alphabetic() && !"anrcsipve".contains(*name))
        .ok_or(malformed("an attribute stands where none may"))?;
    Ok((name, attribute(Some(part), name)?))
}

/// §5.1: the presence of `m` "MUST cause authentication failure".
fn refuse_mandatory(part: Option<&str>) -> Result<(), Malformed> {
    match part {
        Some(part) if part.starts_with("m=") => Err(Malformed {
            why: "an unknown mandatory extension",
            error: ScramError::ExtensionsNotSupported,
        }),
        _ => Ok(()),
    }
}

/// `nonce = "r=" 1*printable`.
fn nonce(part: Option<&str>) -> Result<&str, Malformed> {
    let value = attribute(part, 'r')?;
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(value)
    } else {
        Err(malformed("the nonce has characters that are not printable"))
    }
}

fn is_cb_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

fn decode(text: &str) -> Result<Vec<u8>, Malformed> {
    STANDARD.decode(text).map_err(|_| Malformed {
        why: "a value is not in base64",
        error: ScramError::InvalidEncoding,
    })
}

#[cfg(test)]
mod tests;
