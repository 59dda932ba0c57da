//! The trusted authorities, and the certificates that they revoked.

use std::{collections::HashSet, fmt, sync::Arc};

use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::spki_for_anchor;

use super::chain::Marked;
use super::revocation::Revocations;

/// The authorities whose signature counts, and single certificates that count by themselves.
#[derive(Default)]
pub struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    /// The same as certificates, in the same order.
    certificates: Vec<Marked>,
    revoked: Revocations,
    /// The identity of this value: results remember it.
    token: Arc<()>,
}

impl Roots {
    /// Takes certificates as roots. The second value counts those that cannot be one.
    pub fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> (Self, usize) {
        let mut roots = Self::default();
        let mut known = HashSet::new();
        let mut refused = 0;
        for certificate in certificates {
            match webpki::anchor_from_trusted_cert(&certificate) {
                Ok(anchor) => {
                    if known.insert(certificate.clone()) {
                        let (anchor, spki) = (anchor.to_owned(), spki_for_anchor(&anchor));
                        roots.anchors.push(anchor);
                        roots.certificates.push(Marked::new(certificate, spki));
                    }
                }
                Err(_) => refused += 1,
            }
        }
        (roots, refused)
    }

    /// The same, without the certificates that these lists revoke.
    #[must_use]
    pub fn without(self, revoked: Revocations) -> Self {
        Self {
            revoked,
            token: Arc::default(),
            ..self
        }
    }

    /// What paths may end in.
    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The same with their certificates.
    pub(crate) fn marked(&self) -> impl Iterator<Item = (&Marked, &TrustAnchor<'static>)> {
        self.certificates.iter().zip(&self.anchors)
    }

    /// Is this one of them?
    pub(crate) fn has(&self, certificate: &CertificateDer<'_>) -> bool {
        let mut all = self.certificates.iter();
        all.any(|known| known.certificate == *certificate)
    }

    /// The revocation lists.
    pub(crate) fn revoked(&self) -> &Revocations {
        &self.revoked
    }

    /// Which value this is.
    pub(crate) fn token(&self) -> &Arc<()> {
        &self.token
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    /// Is it empty? Then nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }
}

/// The same certificates and lists in any order are the same roots.
impl PartialEq for Roots {
    fn eq(&self, other: &Self) -> bool {
        let set = |roots: &Self| -> HashSet<CertificateDer<'static>> {
            let all = roots.certificates.iter();
            all.map(|known| known.certificate.clone()).collect()
        };
        set(self) == set(other) && self.revoked == other.revoked
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.len())
    }
}
