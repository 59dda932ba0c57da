//! Why rxml refuses what it refuses.

use memchr::memrchr;
use rxml::error::Error;

use crate::limits::TOKEN;
use crate::{DecodeError, Restricted};

/// What it says of a name or an attribute's value that is longer than it buffers.
const LONG: &str = "long name or reference";

/// What rxml's verdict is in the words of RFC 6120; `seen` ends where it was reached.
pub(crate) fn translate(error: Error, seen: &[u8]) -> DecodeError {
    match error {
        Error::InvalidUtf8Byte(_) => DecodeError::NotUtf8,
        Error::UndeclaredEntity => {
            let reference = memrchr(b'&', seen).and_then(|at| seen.get(at + 1..));
            match reference {
                // Longer than the number of any character; leading zeros are none of rxml's business.
                Some([b'#', ..]) => DecodeError::NotWellFormed,
                _ => DecodeError::Restricted(Restricted::Entity),
            }
        }
        Error::UndeclaredNamespacePrefix(_) => DecodeError::UndeclaredPrefix,
        Error::ReservedNamespacePrefix | Error::ReservedNamespaceName => {
            DecodeError::ReservedNamespace
        }
        Error::RestrictedXml(LONG) => DecodeError::TokenTooLong { limit: TOKEN },
        Error::RestrictedXml("processing instructions") => {
            DecodeError::Restricted(Restricted::ProcessingInstruction)
        }
        Error::RestrictedXml(_)
        | Error::InvalidSyntax(_)
        | Error::UnexpectedByte(..)
        | Error::UnexpectedChar(..)
        | Error::UnexpectedToken(..) => {
            let start = memrchr(b'<', seen).unwrap_or_default();
            match seen.get(start..).unwrap_or_default() {
                [b'<', b'?', ..] => DecodeError::Restricted(Restricted::ProcessingInstruction),
                [b'<', b'!', b'-', b'-', ..] => DecodeError::Restricted(Restricted::Comment),
                [b'<', b'!', b'A'..=b'Z', ..] => DecodeError::Restricted(Restricted::DocumentType),
                _ => DecodeError::NotWellFormed,
            }
        }
        Error::InvalidEof(_)
        | Error::InvalidChar(..)
        | Error::DuplicateAttribute
        | Error::ElementMismatch
        | Error::MultiColonName(_)
        | Error::EmptyNamePart(_)
        | Error::InvalidLocalName(_)
        | Error::EmptyNamespaceUri => DecodeError::NotWellFormed,
    }
}
