//! What is wrong with a certificate that proves nothing, in words.

use std::fmt;

use rustls::pki_types::UnixTime;
use x509_parser::time::ASN1Time;

use super::certificate_name::{CertificateName, Unreadable};
use crate::peer_text::PeerText;

/// How many certificates are taken from a peer.
pub(crate) const MAX_CERTIFICATES: usize = 8;
/// How large they may be together, in bytes.
pub(crate) const LARGEST: usize = 16 << 10;

/// What is wrong with a certificate. The text speaks to the operator of the server that showed it, and says nothing of
/// what came of look-ups and fetches that the server made us do: [`BadCertificate::of_it`] does.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadCertificate {
    /// The time of the certificate, or of one in its chain, is over.
    #[error("{} expired on {on}", .whose.text())]
    Expired {
        /// Which one.
        whose: Whose,
        /// Its notAfter.
        on: Day,
    },
    /// The time of the certificate, or of one in its chain, has not begun.
    #[error("{} is not valid before {from}", .whose.text())]
    NotYetValid {
        /// Which one.
        whose: Whose,
        /// Its notBefore.
        from: Day,
    },
    /// No trusted authority signed it, as far as the chain shows.
    #[error(
        "no authority trusted here signed your certificate (its issuer is \"{issuer}\"): either that \
         authority is not trusted, or an intermediate certificate is missing from the {sent} you sent"
    )]
    UnknownIssuer {
        /// The issuer's distinguished name.
        issuer: PeerText,
        /// How many certificates were shown.
        sent: usize,
    },
    /// It is signed by its own key.
    #[error("your certificate is self-signed")]
    SelfSigned,
    /// It is another server's.
    #[error("your certificate is not for {domain}: {}", names(.found, *.more))]
    WrongName {
        /// The domain that was to be proved.
        domain: PeerText,
        /// The names it has instead, the first of them.
        found: Vec<PeerText>,
        /// How many others it has.
        more: usize,
    },
    /// Its extended key usage excludes servers.
    #[error("your certificate is not for servers (its extended key usage lacks serverAuth)")]
    WrongPurpose,
    /// The authority that signed it, or one in its chain, took it back.
    #[error("your certificate, or one in the chain above it, has been revoked by its issuer")]
    Revoked,
    /// The domain publishes which certificate it is, and it is another one (RFC 7673 §4.2).
    #[error("your certificate matches no TLSA record at {at}")]
    NotInTlsa {
        /// Where the records are.
        at: PeerText,
    },
    /// The domain does not publish which one it is.
    #[error("your domain publishes no TLSA records that DNSSEC proves, and here they are required")]
    NoTlsa,
    /// Whether it does cannot be told, so that the certificate is not believed (RFC 7673 §3.1, §3.4).
    #[error("whether your DNS says another certificate is the right one cannot be told")]
    Untold(PeerText),
    /// It is bad for one reason, and a document that the domain may publish by HTTPS does not make it good. What came of
    /// asking for the document is not for who had us ask.
    #[error("{pkix}; and by POSH it is not known either")]
    NorPosh {
        /// The reason.
        pkix: Box<BadCertificate>,
        /// What is with the document.
        posh: PeerText,
        /// Whether it was read.
        read: bool,
    },
    /// More certificates came with it than are looked at.
    #[error(
        "your certificate chain is too long: you sent {sent} certificates, and at most {MAX_CERTIFICATES} are taken"
    )]
    TooMany {
        /// How many were shown.
        sent: usize,
    },
    /// They are larger together than what is looked at.
    #[error(
        "your certificate chain is too large: you sent {bytes} bytes of certificates, and at most {LARGEST} are taken"
    )]
    TooLarge {
        /// How large they are together.
        bytes: usize,
    },
    /// To find out whether it is good takes too long.
    #[error(
        "your certificate chain is too tangled: there are too many ways to put together the certificates that you sent, \
         or too many names and constraints in them"
    )]
    Tangled,
    /// It cannot be parsed.
    #[error("your certificate is malformed")]
    Malformed,
    /// Anything else.
    #[error("{0}")]
    Other(PeerText),
}

impl BadCertificate {
    /// Whether something is wrong with the certificate. Else it is not known to be good, since what was asked did not
    /// answer.
    pub fn is_certain(&self) -> bool {
        !matches!(self, Self::Untold(_) | Self::NorPosh { read: false, .. })
    }

    /// The same for others than the operator of that server: in our log, and in what comes back to a sender.
    pub fn of_it(&self) -> String {
        if let Self::NorPosh { pkix, posh, .. } = self {
            return format!(
                "{}; and by POSH it is not known either: {posh}",
                pkix.of_it()
            );
        }
        if let Self::Untold(why) = self {
            return format!(
                "whether its DNS says another certificate is the right one cannot be told: {why}"
            );
        }
        let text = self.to_string();
        // The names in it are the peer's own words, and may be any.
        let end = text.find([':', '"', '(']).unwrap_or(text.len());
        let (ours, rest) = text.split_at(end);
        let ours = ours
            .replace("above yours", "above its own")
            .replace("your ", "its ");
        ours + &rest.replace(" you sent", " it sent")
    }
}

/// Whose certificate is out of its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// The server's own.
    Own,
    /// One above it.
    Issuer,
}

impl Whose {
    fn text(self) -> &'static str {
        match self {
            Self::Own => "your certificate",
            Self::Issuer => "a certificate in the chain above yours",
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

fn names(found: &[PeerText], more: usize) -> String {
    if found.is_empty() {
        return "it has no dNSName, SRVName or xmppAddr (the common name does not count)"
            .to_owned();
    }
    let mut text = format!("it has {}", found.join(", "));
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
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
