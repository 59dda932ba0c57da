//! The fault of a certificate that proves nothing, in words.

use std::fmt;

use rustls::pki_types::UnixTime;
use x509_parser::time::ASN1Time;

use super::certificate_name::{CertificateName, Unreadable};
use crate::peer_text::PeerText;

/// How many certificates are taken from a peer.
pub(crate) const MAX_CERTIFICATES: usize = 8;
/// How large they may be together, in bytes.
pub(crate) const LARGEST: usize = 16 << 10;

/// The fault of a certificate. There are words [to](Self::to_it) the operator of the server that showed it, and [of
/// it](Self::of_it) to others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadCertificate {
    /// The time of the certificate, or of one in its chain, is over.
    Expired {
        /// Which one.
        whose: Whose,
        /// Its notAfter.
        on: Day,
    },
    /// The time of the certificate, or of one in its chain, has not begun.
    NotYetValid {
        /// Which one.
        whose: Whose,
        /// Its notBefore.
        from: Day,
    },
    /// No trusted authority signed it, as far as the chain shows.
    UnknownIssuer {
        /// The issuer's distinguished name.
        issuer: PeerText,
        /// How many certificates were shown.
        sent: usize,
    },
    /// It is signed by its own key.
    SelfSigned,
    /// It is another server's.
    WrongName {
        /// The domain that was to be proved.
        domain: PeerText,
        /// The names it has instead, the first of them.
        found: Vec<PeerText>,
        /// How many others it has.
        more: usize,
    },
    /// Its extended key usage excludes servers.
    WrongPurpose,
    /// The authority that signed it, or one in its chain, took it back.
    Revoked,
    /// The domain publishes which certificate it is, and it is another one (RFC 7673 §4.2).
    NotInTlsa {
        /// Where the records are.
        at: PeerText,
    },
    /// The domain does not publish which one it is.
    NoTlsa,
    /// A look-up failed, so we do not know whether it does; the certificate is then not good (RFC 7673 §3.1, §3.4).
    Untold(PeerText),
    /// It is bad for one reason, and a document that the domain may publish by HTTPS does not make it good.
    NorPosh {
        /// The reason.
        pkix: Box<BadCertificate>,
        /// What became of the document.
        posh: PeerText,
        /// Whether it was read.
        read: bool,
    },
    /// More certificates came with it than are looked at.
    TooMany {
        /// How many were shown.
        sent: usize,
    },
    /// Together they are larger than s2sd reads.
    TooLarge {
        /// How large they are together.
        bytes: usize,
    },
    /// To find out whether it is good takes too long.
    Tangled,
    /// It cannot be parsed.
    Malformed,
    /// It is an authority's, not a server's.
    Authority,
    /// The list of what its issuer took back, as it is configured here, is not the issuer's.
    ListOfAnother,
    /// A signature in its chain is not that of its issuer's key.
    Signature,
    /// What signed it is no authority.
    SignedByServer,
    /// Its issuer may not certify the names in it.
    NameConstraints,
    /// Its chain is longer or more tangled than the search for a path allows.
    TooDeep,
    /// A signature algorithm in its chain is not accepted.
    Algorithm,
    /// It is not of X.509 version 3.
    Version,
    /// It has a critical extension that is not understood.
    CriticalExtension,
    /// Anything else, as the library that reads it puts it.
    Other(PeerText),
}

impl BadCertificate {
    /// Whether the certificate has a fault. If not, a look-up failed, so we do not know whether it is good.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Untold(_) | Self::NorPosh { read: false, .. })
    }

    /// For the operator of the server that showed it: "your certificate". It leaves out the results of look-ups and
    /// fetches that the server caused.
    pub fn to_it(&self) -> ToldOfCertificate<'_> {
        ToldOfCertificate {
            bad: self,
            person: Person::Second,
        }
    }

    /// For others, in our log and in what comes back to a sender: "its certificate".
    pub fn of_it(&self) -> ToldOfCertificate<'_> {
        ToldOfCertificate {
            bad: self,
            person: Person::Third,
        }
    }
}

/// The fault of a certificate, in words.
#[derive(Clone, Copy, Debug)]
pub struct ToldOfCertificate<'b> {
    bad: &'b BadCertificate,
    person: Person,
}

/// Whether the text speaks to the server that showed the certificate, or of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Person {
    Second,
    Third,
}

impl Person {
    fn pronoun(self) -> &'static str {
        match self {
            Self::Second => "you",
            Self::Third => "it",
        }
    }
}

/// "your", "its".
impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "your",
            Self::Third => "its",
        })
    }
}

impl fmt::Display for ToldOfCertificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use BadCertificate as Bad;
        let (its, it) = (self.person, self.person.pronoun());
        match self.bad {
            Bad::Expired { whose, on } => write!(f, "{} expired on {on}", whose.text(its)),
            Bad::NotYetValid { whose, from } => {
                write!(f, "{} is not valid before {from}", whose.text(its))
            }
            Bad::UnknownIssuer { issuer, sent } => write!(
                f,
                "no authority trusted here signed {its} certificate (its issuer is \"{issuer}\"): either that authority \
                 is not trusted, or an intermediate certificate is missing from the {sent} {it} sent"
            ),
            Bad::SelfSigned => write!(f, "{its} certificate is self-signed"),
            Bad::WrongName {
                domain,
                found,
                more,
            } => write!(
                f,
                "{its} certificate is not for {domain}: {}",
                Names(found, *more)
            ),
            Bad::WrongPurpose => write!(
                f,
                "{its} certificate is not for servers (its extended key usage lacks serverAuth)"
            ),
            Bad::Revoked => write!(
                f,
                "{its} certificate, or one in the chain above it, has been revoked by its issuer"
            ),
            Bad::NotInTlsa { at } => {
                write!(f, "{its} certificate matches no TLSA record at {at}")
            }
            Bad::NoTlsa => write!(
                f,
                "{its} domain publishes no TLSA records that DNSSEC proves, and here they are required"
            ),
            Bad::Untold(why) => {
                write!(
                    f,
                    "whether {its} DNS says another certificate is the right one cannot be told"
                )?;
                match self.person {
                    Person::Second => Ok(()),
                    Person::Third => write!(f, ": {why}"),
                }
            }
            Bad::NorPosh { pkix, posh, .. } => {
                let pkix = Self {
                    bad: pkix,
                    person: self.person,
                };
                write!(f, "{pkix}; and by POSH it is not known either")?;
                match self.person {
                    Person::Second => Ok(()),
                    Person::Third => write!(f, ": {posh}"),
                }
            }
            Bad::TooMany { sent } => write!(
                f,
                "{its} certificate chain is too long: {it} sent {sent} certificates, and at most {MAX_CERTIFICATES} are taken"
            ),
            Bad::TooLarge { bytes } => write!(
                f,
                "{its} certificate chain is too large: {it} sent {bytes} bytes of certificates, and at most {LARGEST} are taken"
            ),
            Bad::Tangled => write!(
                f,
                "{its} certificate chain is too tangled: there are too many ways to put together the certificates that \
                 {it} sent, or too many names and constraints in them"
            ),
            Bad::Malformed => write!(f, "{its} certificate is malformed"),
            Bad::Authority => write!(f, "{its} certificate is an authority's, not a server's"),
            Bad::ListOfAnother => write!(
                f,
                "whether {its} certificate has been revoked cannot be told: the list that is configured here in the name \
                 of its issuer is not signed by it"
            ),
            Bad::Signature => write!(
                f,
                "a signature in {its} certificate's chain is not that of its issuer's key"
            ),
            Bad::SignedByServer => write!(
                f,
                "{its} certificate was signed by a certificate that is not an authority's"
            ),
            Bad::NameConstraints => write!(
                f,
                "{its} certificate's issuer is not allowed to certify the names in it"
            ),
            Bad::TooDeep => write!(
                f,
                "{its} certificate's chain is longer or more tangled than is allowed"
            ),
            Bad::Algorithm => write!(
                f,
                "{its} certificate's chain uses a signature algorithm that is not accepted"
            ),
            Bad::Version => write!(f, "{its} certificate is not an X.509 version 3 certificate"),
            Bad::CriticalExtension => write!(
                f,
                "{its} certificate has a critical extension that is not understood"
            ),
            Bad::Other(why) => write!(f, "{its} certificate is not accepted: {why}"),
        }
    }
}

/// The certificate that is expired or not yet valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The server's own.
    Own,
    /// One above it.
    Issuer,
}

impl Whose {
    fn text(self, its: Person) -> &'static str {
        match (self, its) {
            (Self::Own, Person::Second) => "your certificate",
            (Self::Own, Person::Third) => "its certificate",
            (Self::Issuer, Person::Second) => "a certificate in the chain above yours",
            (Self::Issuer, Person::Third) => "a certificate in the chain above its own",
        }
    }
}

/// A day in UTC; prints as `2026-03-31`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Day(UnixTime);

impl Day {
    pub(crate) fn of(time: UnixTime) -> Self {
        Self(time)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0.as_secs()).unwrap_or(i64::MAX);
        match ASN1Time::from_timestamp(seconds) {
            Ok(time) => {
                let time = time.to_datetime();
                let month = u8::from(time.month());
                write!(f, "{:04}-{month:02}-{:02}", time.year(), time.day())
            }
            Err(_) => f.write_str("an unknown day"),
        }
    }
}

/// A certificate can hold thousands of names; a log line cannot.
const NAMES_SHOWN: usize = 8;

/// Names that it has, and how many more.
struct Names<'n>(&'n [PeerText], usize);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(found, more) = self;
        if found.is_empty() {
            return f.write_str(
                "it has no dNSName, SRVName or xmppAddr (the common name does not count)",
            );
        }
        write!(f, "it has {}", found.join(", "))?;
        match more {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The certificate has these names and not the one that was to be proved.
pub(crate) fn wrong_name(wanted: &str, found: &[CertificateName]) -> BadCertificate {
    let shown = found.iter().take(NAMES_SHOWN);
    BadCertificate::WrongName {
        domain: PeerText::new(wanted),
        found: shown.map(CertificateName::shown).collect(),
        more: found.len().saturating_sub(NAMES_SHOWN),
    }
}

impl From<Unreadable> for BadCertificate {
    fn from(Unreadable: Unreadable) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests;
