//! Why a peer is believed, or not: one value that the log, the bounce and everything else shows.
//!
//! Who vouches for a peer is a matter of degree, so [`Trust`] has an order; what exactly was found is [`Because`]. A
//! certificate is judged from [`Evidence`] by [`judge`]; what SASL and dialback prove has its place on the same scale.
//! Pure: the chain, the roots and the time are arguments.

use std::fmt;

use rustls::pki_types::UnixTime;
use xmpp_stream::Domain;

use super::trust::{self, BadCertificate, PeerChain, Roots};

/// How well it is known that a peer speaks for its domain: by who vouches for it, the best last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Trust {
    /// A certificate was shown, and it is not one for the domain.
    Contradicted,
    /// Nobody vouches.
    Nothing,
    /// Whoever answers where the domain's DNS leads (XEP-0220).
    Dialback,
    /// An authority, for the domain.
    Pkix,
    /// The operators of both sides themselves, who gave each other a password, or share a Kerberos realm.
    Agreed,
}

impl Trust {
    /// The word for logs and for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contradicted => "contradicted",
            Self::Nothing => "nothing",
            Self::Dialback => "dialback",
            Self::Pkix => "PKIX",
            Self::Agreed => "agreed",
        }
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Because {
    /// The certificate is bad.
    Bad(BadCertificate),
    /// There is no TLS, so nothing was shown.
    NoTls,
    /// No certificate was shown.
    NoCertificate,
    /// The domain's authoritative server knows the key.
    Dialback,
    /// The certificate is good and has the domain's name.
    Name {
        /// Which name: `dNSName *.example.org`.
        matched: String,
    },
    /// A SASL mechanism that rests on what both sides were given.
    Mechanism(&'static str),
}

impl Because {
    fn trust(&self) -> Trust {
        match self {
            Self::Bad(_) => Trust::Contradicted,
            Self::NoTls | Self::NoCertificate => Trust::Nothing,
            Self::Dialback => Trust::Dialback,
            Self::Name { .. } => Trust::Pkix,
            Self::Mechanism(_) => Trust::Agreed,
        }
    }
}

/// For everybody but the operator of the other server, whose certificate it is.
impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(bad) => f.write_str(&bad.of_it()),
            Self::NoTls => f.write_str("no encryption"),
            Self::NoCertificate => f.write_str("no certificate was shown"),
            Self::Dialback => f.write_str("its authoritative server knows the key"),
            Self::Name { matched } => f.write_str(matched),
            Self::Mechanism(name) => f.write_str(name),
        }
    }
}

/// What is known of a peer: how well, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judgement {
    trust: Trust,
    because: Because,
}

impl Judgement {
    /// How well the peer is known.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// Why.
    pub fn because(&self) -> &Because {
        &self.because
    }

    /// Does the certificate prove the domain?
    pub fn is_certified(&self) -> bool {
        match self.trust {
            Trust::Contradicted | Trust::Nothing | Trust::Dialback | Trust::Agreed => false,
            Trust::Pkix => true,
        }
    }

    /// What is wrong with the certificate, if something is.
    pub fn bad(&self) -> Option<&BadCertificate> {
        match &self.because {
            Because::Bad(bad) => Some(bad),
            _ => None,
        }
    }
}

/// How well the peer is known follows from what was found.
impl From<Because> for Judgement {
    fn from(because: Because) -> Self {
        Self {
            trust: because.trust(),
            because,
        }
    }
}

/// `PKIX: dNSName example.org`.
impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.trust, self.because)
    }
}

/// Everything that a certificate is judged by.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// What was shown in the handshake.
    pub chain: Option<&'a PeerChain>,
    /// Whose signature counts.
    pub roots: &'a Roots,
    /// The domain to be proved.
    pub domain: &'a Domain,
    /// The time.
    pub now: UnixTime,
}

impl<'a> Evidence<'a> {
    /// A certificate and the authorities: what PKIX needs, and nothing beyond it.
    pub fn new(
        chain: Option<&'a PeerChain>,
        roots: &'a Roots,
        domain: &'a Domain,
        now: UnixTime,
    ) -> Self {
        Self {
            chain,
            roots,
            domain,
            now,
        }
    }
}

/// Does the certificate prove that the peer is `domain`?
pub fn judge(evidence: &Evidence<'_>) -> Judgement {
    let Some(chain) = evidence.chain else {
        return Because::NoCertificate.into();
    };
    match trust::matched(chain, evidence.roots, evidence.domain, evidence.now) {
        Ok(matched) => Because::Name { matched }.into(),
        Err(bad) => Because::Bad(bad).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_vouches_has_an_order() {
        let order = [
            Trust::Contradicted,
            Trust::Nothing,
            Trust::Dialback,
            Trust::Pkix,
            Trust::Agreed,
        ];
        assert!(order.is_sorted_by(|less, more| less < more));
    }

    #[test]
    fn a_judgement_reads_as_what_it_rests_on() {
        let name = Because::Name {
            matched: "dNSName a.example".to_owned(),
        };
        for (because, want, certified) in [
            (name, "PKIX: dNSName a.example", true),
            (
                Because::Dialback,
                "dialback: its authoritative server knows the key",
                false,
            ),
            (
                Because::Mechanism("SCRAM-SHA-256"),
                "agreed: SCRAM-SHA-256",
                false,
            ),
            (Because::NoTls, "nothing: no encryption", false),
            (
                Because::NoCertificate,
                "nothing: no certificate was shown",
                false,
            ),
            (
                Because::Bad(BadCertificate::SelfSigned),
                "contradicted: its certificate is self-signed",
                false,
            ),
        ] {
            let judgement = Judgement::from(because);
            assert_eq!(judgement.to_string(), want);
            assert_eq!(judgement.is_certified(), certified, "{want}");
            assert_eq!(judgement.bad().is_some(), want.starts_with("contra"));
        }
    }
}
