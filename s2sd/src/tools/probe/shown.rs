//! A certificate as it was shown, for people.

use data_encoding::HEXLOWER;
use rustls::pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time};

use super::findings::Shown;
use crate::peer_text::PeerText;
use crate::trust::certificate_name::CertificateName;
use crate::trust::{PeerChain, identities};

/// A chain may be as long as a handshake allows; ten are enough to read.
const MAX_SHOWN: usize = 10;
/// The same with names.
const NAMES: usize = 30;

pub(super) fn chain(chain: &PeerChain, now: UnixTime) -> Vec<Shown> {
    let all = std::iter::once(chain.leaf()).chain(chain.intermediates());
    all.take(MAX_SHOWN).map(|der| shown(der, now)).collect()
}

fn shown(der: &CertificateDer<'_>, now: UnixTime) -> Shown {
    let sha256 = HEXLOWER.encode(&Sha256::digest(der));
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Shown {
            subject: "(malformed)".into(),
            sha256,
            ..Shown::default()
        };
    };
    let names = identities(der).unwrap_or_default();
    let validity = certificate.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let left = validity.not_after.timestamp().saturating_sub(now);
    Shown {
        subject: PeerText::new(&certificate.subject().to_string()),
        issuer: PeerText::new(&certificate.issuer().to_string()),
        names: names
            .iter()
            .take(NAMES)
            .map(CertificateName::shown)
            .collect(),
        not_before: day(validity.not_before),
        not_after: day(validity.not_after),
        days_left: left.div_euclid(24 * 60 * 60),
        sha256,
    }
}

fn day(time: ASN1Time) -> String {
    let time = time.to_datetime();
    let month = u8::from(time.month());
    format!("{:04}-{month:02}-{:02}", time.year(), time.day())
}
