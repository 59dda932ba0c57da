//! Certificates that their issuers revoked: certificate revocation lists from files (RFC 5280 §5).
//!
//! A list counts for the certificates of the authority that signed it, the server's own and those above it.
//! Certificates of an authority without a list are not checked. A list that is past its nextUpdate still counts, and
//! s2sd warns about it. Absent: fetching lists, delta and indirect lists, OCSP.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustls::pki_types::{CertificateRevocationListDer, UnixTime, pem::PemObject};
use webpki::{
    CertRevocationList, EndEntityCert, OwnedCertRevocationList, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_parser::{
    asn1_rs::FromDer, revocation_list::CertificateRevocationList as Parsed, time::ASN1Time,
};

/// The lists of a policy.
#[derive(Default)]
pub struct Revocations(Vec<List>);

struct List {
    file: PathBuf,
    der: CertificateRevocationListDer<'static>,
    list: CertRevocationList<'static>,
    from: i64,
    until: Option<UnixTime>,
}

/// The same lists in any order.
impl PartialEq for Revocations {
    fn eq(&self, other: &Self) -> bool {
        let same = |list: &List| other.0.iter().any(|known| known.der == list.der);
        self.0.len() == other.0.len() && self.0.iter().all(same)
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({})", self.0.len())
    }
}

impl Revocations {
    /// Reads a file: lists in PEM, or one in DER, as authorities publish it.
    pub(crate) fn read(file: &Path, text: &[u8]) -> Result<Self, String> {
        const SEQUENCE: u8 = 0x30;
        let found: Result<Vec<_>, _> = match text.first() {
            Some(&SEQUENCE) => Ok(vec![CertificateRevocationListDer::from(text.to_vec())]),
            _ => CertificateRevocationListDer::pem_slice_iter(text).collect(),
        };
        let found = found.map_err(|error| format!("is not PEM: {error}"))?;
        if found.is_empty() {
            return Err("holds no certificate revocation list (X509 CRL) in PEM".to_owned());
        }
        let lists = found.into_iter().map(|der| List::new(file, der));
        let lists: Result<Vec<_>, _> = lists.collect();
        Ok(Self(lists?))
    }

    /// Takes over the lists of another file.
    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
        // Of two lists of an authority the newer one counts: the search takes the first.
        self.0.sort_by_key(|list| std::cmp::Reverse(list.from));
    }

    /// Is there none?
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The files with an expired list, and when it expired.
    pub(crate) fn stale(&self, now: UnixTime) -> impl Iterator<Item = (&Path, UnixTime)> {
        let over = move |list: &List| list.until.filter(|until| *until < now);
        self.0
            .iter()
            .filter_map(move |list| Some((list.file.as_path(), over(list)?)))
    }

    /// Whether the certificate itself is on a list. For one that is trusted by itself, without its chain.
    pub(crate) fn has(&self, certificate: &EndEntityCert<'_>) -> bool {
        let issued = |list: &&List| list.list.issuer() == certificate.issuer();
        self.0
            .iter()
            .find(issued)
            // Unreadable lists were refused at loading. If one were left, the certificate would count as revoked.
            .is_some_and(|list| !matches!(list.list.find_serial(certificate.serial()), Ok(None)))
    }

    /// Calls `verify` with the lists as webpki takes them.
    pub(crate) fn asked<T>(&self, verify: impl FnOnce(Option<RevocationOptions<'_>>) -> T) -> T {
        let lists: Vec<&CertRevocationList<'_>> = self.0.iter().map(|list| &list.list).collect();
        let options = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            builder
                .with_status_policy(UnknownStatusPolicy::Allow)
                .build()
        });
        verify(options)
    }
}

impl List {
    fn new(file: &Path, der: CertificateRevocationListDer<'static>) -> Result<Self, String> {
        let unusable = |why: String| format!("holds a list that cannot be used: {why}");
        let list = OwnedCertRevocationList::from_der(&der)
            .map_err(|error| unusable(error.to_string()))?
            .into();
        let (_, parsed) = Parsed::from_der(&der).map_err(|error| unusable(error.to_string()))?;
        let time = |time: ASN1Time| {
            let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
            UnixTime::since_unix_epoch(Duration::from_secs(seconds))
        };
        Ok(Self {
            file: file.to_owned(),
            from: parsed.last_update().timestamp(),
            until: parsed.next_update().map(time),
            list,
            der,
        })
    }
}

#[cfg(test)]
mod tests {
    use xmpp_stream::Domain;

    use super::*;
    use crate::tools::demo::ca::{Authority, Issued, Leaf, Validity};
    use crate::trust::{
        BadCertificate, Because, Evidence, Judgement, PeerChain, Roots, judge, sole_identity,
    };

    fn lists(pems: &[&str]) -> Revocations {
        let mut lists = Revocations::default();
        for pem in pems {
            lists.extend(Revocations::read(Path::new("x.crl"), pem.as_bytes()).unwrap());
        }
        lists
    }

    fn leaf(authority: &Authority) -> Issued {
        authority.issue(&Leaf::domain("a.example"))
    }

    /// Under this root and these lists.
    fn judged(issued: &Issued, root: &Authority, pems: &[&str]) -> Judgement {
        let (roots, _) = Roots::new([root.der().clone()]);
        let roots = roots.without(lists(pems));
        let chain = PeerChain::new(&issued.chain());
        let (domain, now) = (Domain::parse("a.example").unwrap(), UnixTime::now());
        let judged = judge(&Evidence::new(chain.as_ref(), &roots, &domain, now));
        // EXTERNAL without `from` is under the same law.
        let sole = sole_identity(chain.as_ref(), &roots, now);
        assert_eq!(sole.is_some(), judged.is_certified());
        judged
    }

    fn revoked() -> Judgement {
        Because::Bad(BadCertificate::Revoked).into()
    }

    #[test]
    fn what_its_issuer_revoked_is_bad_and_nothing_else() {
        let (root, other) = (Authority::new("root"), Authority::new("other"));
        let (bad, good) = (leaf(&root), leaf(&root));
        let list = root.revoke(&[&bad, &leaf(&root)], Validity::Now);
        assert_eq!(judged(&bad, &root, &[&list]), revoked());
        assert!(judged(&good, &root, &[&list]).is_certified());
        assert!(judged(&bad, &root, &[]).is_certified());
        // Of an authority without a list nothing is asked.
        assert!(judged(&leaf(&other), &other, &[&list]).is_certified());
        let text = BadCertificate::Revoked.to_it().to_string();
        assert!(text.contains("has been revoked by its issuer"), "{text}");
    }

    #[test]
    fn a_certificate_above_the_servers_can_be_revoked_too() {
        let root = Authority::new("root");
        let middle = root.intermediate("middle");
        let issued = leaf(&middle);
        let itself = Issued {
            chain_pem: middle.pem().to_owned(),
            key_pem: String::new(),
        };
        let by_root = root.revoke(&[&itself], Validity::Now);
        assert_eq!(judged(&issued, &root, &[&by_root]), revoked());
        let by_middle = middle.revoke(&[&issued], Validity::Now);
        assert_eq!(judged(&issued, &root, &[&by_middle]), revoked());
        let nobody = middle.revoke(&[], Validity::Now);
        assert!(judged(&issued, &root, &[&nobody]).is_certified());
    }

    #[test]
    fn of_two_lists_the_newer_one_counts() {
        let root = Authority::new("root");
        let issued = leaf(&root);
        let older = root.revoke(&[], Validity::Expired);
        let newer = root.revoke(&[&issued], Validity::Now);
        assert_eq!(judged(&issued, &root, &[&older, &newer]), revoked());
        assert_eq!(judged(&issued, &root, &[&newer, &older]), revoked());
        let both = format!("{older}{newer}");
        assert_eq!(judged(&issued, &root, &[&both]), revoked());
    }

    #[test]
    fn a_list_that_is_out_of_date_still_counts_and_is_told_of() {
        let root = Authority::new("root");
        let issued = leaf(&root);
        let list = root.revoke(&[&issued], Validity::Expired);
        assert_eq!(judged(&issued, &root, &[&list]), revoked());
        let now = UnixTime::now();
        assert_eq!(lists(&[&list]).stale(now).count(), 1);
        let fresh = root.revoke(&[], Validity::Now);
        assert_eq!(lists(&[&fresh]).stale(now).count(), 0);
    }

    #[test]
    fn a_list_that_its_issuer_did_not_sign_proves_nobody() {
        let (root, forger) = (Authority::new("root"), Authority::new("root"));
        let issued = leaf(&root);
        let judged = judged(&issued, &root, &[&forger.revoke(&[], Validity::Now)]);
        let bad = judged.bad().expect("not believed");
        assert_eq!(*bad, BadCertificate::ListOfAnother);
    }

    #[test]
    fn a_certificate_that_is_believed_for_itself_can_be_revoked() {
        let root = Authority::new("root");
        let issued = leaf(&root);
        let (roots, _) = Roots::new([issued.chain()[0].clone()]);
        let chain = PeerChain::new(&issued.chain());
        let (domain, now) = (Domain::parse("a.example").unwrap(), UnixTime::now());
        assert!(judge(&Evidence::new(chain.as_ref(), &roots, &domain, now)).is_certified());
        let other = Authority::new("other").revoke(&[&issued], Validity::Now);
        let roots = roots.without(lists(&[&other]));
        assert!(judge(&Evidence::new(chain.as_ref(), &roots, &domain, now)).is_certified());
        let roots = roots.without(lists(&[&root.revoke(&[&issued], Validity::Now)]));
        assert_eq!(
            judge(&Evidence::new(chain.as_ref(), &roots, &domain, now)),
            revoked()
        );
    }

    #[test]
    fn lists_are_read_in_pem_and_der() {
        let root = Authority::new("root");
        let issued = leaf(&root);
        let pem = root.revoke(&[&issued], Validity::Now);
        let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap();
        let read = |text: &[u8]| Revocations::read(Path::new("x.crl"), text);
        assert_eq!(read(&der).unwrap(), read(pem.as_bytes()).unwrap());
        for (text, want) in [
            (&b""[..], "holds no certificate revocation list"),
            (
                root.pem().as_bytes(),
                "holds no certificate revocation list",
            ),
            (b"-----BEGIN X509 CRL-----\nMA", "is not PEM"),
            (&der[..40], "holds a list that cannot be used"),
            (b"0", "holds a list that cannot be used"),
            (root.der(), "holds a list that cannot be used"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.starts_with(want), "{why}");
        }
    }
}
