//! A certificate authority made on the spot, for `s2sd demo` and for tests.
//!
//! Makes what the trust code has to tell apart: the three kinds of names that RFC 6120 §13.7.1.2.1 knows, every
//! extended key usage, certificates out of their time, chains with an intermediate, self-signed ones. Keys are
//! P-256. Nothing here is for production: keys live in memory.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use time::{Duration, OffsetDateTime};
use yasna::{Tag, models::ObjectIdentifier, tags::TAG_IA5STRING};

/// What a leaf certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// dNSName entries, as they go into the certificate (A-labels, `*.` allowed).
    pub dns: Vec<String>,
    /// SRVName entries (RFC 4985), with their service: `_xmpp-server.example.org`.
    pub srv: Vec<String>,
    /// id-on-xmppAddr entries (RFC 6120 §13.7.1.4).
    pub xmpp_addr: Vec<String>,
    /// The subject's common name, if any.
    pub common_name: Option<String>,
    /// The extended key usage.
    pub purpose: Purpose,
    /// When it is valid.
    pub validity: Validity,
    /// Whether it has a critical extension that means nothing to anybody.
    pub with_unknown_extension: bool,
}

/// The extended key usage of a leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// serverAuth and clientAuth.
    #[default]
    Both,
    /// serverAuth only, as public authorities issue since 2026.
    Server,
    /// clientAuth only.
    Client,
    /// No extended key usage extension: any purpose.
    None,
}

/// When a leaf is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validity {
    /// Since yesterday, for 90 days.
    #[default]
    Now,
    /// Since yesterday, for so many days from now, and half a day.
    Days(u16),
    /// Until yesterday.
    Expired,
    /// From tomorrow on.
    NotYet,
}

impl Validity {
    fn between(self) -> (OffsetDateTime, OffsetDateTime) {
        let now = OffsetDateTime::now_utc();
        let day = Duration::days(1);
        match self {
            Self::Now => (now - day, now + day * 90),
            Self::Days(days) => (now - day, now + day * i32::from(days) + day / 2),
            Self::Expired => (now - day * 90, now - day),
            Self::NotYet => (now + day, now + day * 90),
        }
    }
}

impl Leaf {
    /// What a public authority would issue for a domain: one dNSName, both purposes, valid now.
    pub fn domain(name: &str) -> Self {
        Self::default().dns(name)
    }

    /// Adds a dNSName.
    pub fn dns(mut self, name: &str) -> Self {
        self.dns.push(name.to_owned());
        self
    }

    /// Adds an SRVName, with its service: `_xmpp-server.example.org`.
    pub fn srv(mut self, name: &str) -> Self {
        self.srv.push(name.to_owned());
        self
    }

    /// Adds an id-on-xmppAddr.
    pub fn xmpp_addr(mut self, name: &str) -> Self {
        self.xmpp_addr.push(name.to_owned());
        self
    }

    /// Sets the common name.
    pub fn common_name(mut self, name: &str) -> Self {
        self.common_name = Some(name.to_owned());
        self
    }

    /// Sets the extended key usage.
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = purpose;
        self
    }

    /// Sets the validity.
    pub fn validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Adds a critical extension that means nothing to anybody.
    pub fn unknown_extension(mut self) -> Self {
        self.with_unknown_extension = true;
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = &self.common_name {
            params
                .distinguished_name
                .push(DnType::CommonName, name.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match self.purpose {
            Purpose::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::None => Vec::new(),
        };
        (params.not_before, params.not_after) = self.validity.between();
        if !(self.dns.is_empty() && self.srv.is_empty() && self.xmpp_addr.is_empty()) {
            params.custom_extensions.push(self.subject_alt_name());
        }
        if self.with_unknown_extension {
            let null = yasna::construct_der(|writer| writer.write_null());
            let mut extension = CustomExtension::from_oid_content(UNKNOWN, null);
            extension.set_criticality(true);
            params.custom_extensions.push(extension);
        }
        params
    }

    /// RFC 5280 §4.2.1.6. Written by hand because rcgen has no IA5String for otherName, which SRVName needs.
    /// Names are put in as given, so that a test can also have ones that no authority would sign.
    fn subject_alt_name(&self) -> CustomExtension {
        let der = yasna::construct_der(|writer| {
            writer.write_sequence(|names| {
                for name in &self.dns {
                    names
                        .next()
                        .write_tagged_implicit(Tag::context(2), |writer| {
                            writer.write_bytes(name.as_bytes());
                        });
                }
                for name in &self.srv {
                    other_name(names.next(), SRV_NAME, |writer| {
                        writer.write_tagged_implicit(TAG_IA5STRING, |writer| {
                            writer.write_bytes(name.as_bytes());
                        });
                    });
                }
                for name in &self.xmpp_addr {
                    other_name(names.next(), XMPP_ADDR, |writer| {
                        writer.write_utf8_string(name);
                    });
                }
            });
        });
        let mut extension = CustomExtension::from_oid_content(SUBJECT_ALT_NAME, der);
        // RFC 5280 §4.2.1.6: critical when the subject is empty.
        extension.set_criticality(self.common_name.is_none());
        extension
    }
}

/// From the arc for examples (2.999).
const UNKNOWN: &[u64] = &[2, 999, 1];
const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
/// RFC 4985 §2: id-on-dnsSRV.
const SRV_NAME: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 8, 7];
/// RFC 6120 §13.7.1.4: id-on-xmppAddr.
const XMPP_ADDR: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 8, 5];

fn other_name(
    writer: yasna::DERWriter<'_>,
    kind: &[u64],
    value: impl FnOnce(yasna::DERWriter<'_>),
) {
    writer.write_tagged_implicit(Tag::context(0), |writer| {
        writer.write_sequence(|parts| {
            parts.next().write_oid(&ObjectIdentifier::from_slice(kind));
            parts.next().write_tagged(Tag::context(0), value);
        });
    });
}

/// An authority: signs leaves, and further authorities below itself.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// What a leaf's chain holds after the leaf: this authority and those above it, without the root.
    above_leaf: String,
}

impl Authority {
    /// A new root with this common name and a key of its own.
    pub fn new(name: &str) -> Self {
        let (params, key) = authority_params(name);
        let certificate = params.self_signed(&key).expect(SIGNING);
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            above_leaf: String::new(),
        }
    }

    /// An authority signed by this one. Its leaves come with its certificate in their chain.
    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| {})
    }

    /// The same, that may sign only for this domain and those below it (RFC 5280 §4.2.1.10).
    pub fn intermediate_for(&self, name: &str, domain: &str) -> Self {
        self.intermediate_with(name, |params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName(domain.to_owned())],
                excluded_subtrees: Vec::new(),
            });
        })
    }

    /// The same with parameters of the caller's.
    pub(crate) fn intermediate_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let (mut params, key) = authority_params(name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect(SIGNING);
        Self {
            above_leaf: certificate.pem() + &self.above_leaf,
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A list of certificates that it has taken back (RFC 5280 §5): of each of these chains the first. `validity` is the
    /// list's.
    pub fn revoke(&self, revoked: &[&Issued], validity: Validity) -> String {
        let (this_update, next_update) = validity.between();
        let revoked = revoked.iter().map(|issued| {
            let chain = issued.chain();
            let certificate = webpki::EndEntityCert::try_from(&chain[0]);
            let serial = certificate.expect("written by this file").serial().to_vec();
            RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: this_update,
                reason_code: None,
                invalidity_date: None,
            }
        });
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect(SIGNING);
        list.pem().expect(SIGNING)
    }

    /// A new key and a certificate for it.
    pub fn issue(&self, leaf: &Leaf) -> Issued {
        let key = new_key();
        let mut params = leaf.params();
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).expect(SIGNING);
        Issued {
            chain_pem: certificate.pem() + &self.above_leaf,
            key_pem: key.serialize_pem(),
        }
    }
}

fn authority_params(name: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(365);
    params.not_after = now + Duration::days(365);
    (params, new_key())
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system has random numbers for a P-256 key")
}

const SIGNING: &str = "parameters made in this file can be encoded and signed by a P-256 key";

/// A certificate with its chain, and its key.
#[derive(Clone)]
pub struct Issued {
    /// The leaf first, then intermediates; no root.
    pub chain_pem: String,
    /// PKCS #8.
    pub key_pem: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Issued")
            .field("chain_pem", &self.chain_pem)
            .finish_non_exhaustive()
    }
}

impl Issued {
    /// The same without what is above the leaf: a chain as it is shown by who forgot the intermediate.
    #[must_use]
    pub fn without_intermediates(self) -> Self {
        const END: &str = "-----END CERTIFICATE-----";
        let end = self.chain_pem.find(END).map(|at| at + END.len());
        let chain_pem = self.chain_pem[..end.unwrap_or(0)].to_owned();
        Self { chain_pem, ..self }
    }

    /// A certificate signed by its own key.
    pub fn self_signed(leaf: &Leaf) -> Self {
        let key = new_key();
        let certificate = leaf.params().self_signed(&key).expect(SIGNING);
        Self {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// The leaf as X.509 version 1 has it: the same key and names of persons, no extensions, and so no domain. What its
    /// issuer signed is another certificate.
    #[must_use]
    pub fn version_1(self) -> Self {
        let parts = yasna::parse_der(&self.chain()[0], |reader| {
            reader.read_sequence(|reader| {
                // RFC 5280 §4.1: version, six parts that every version has, extensions.
                let every = reader.next().read_sequence(|reader| {
                    let all: Result<Vec<_>, _> = (0..8).map(|_| reader.next().read_der()).collect();
                    Ok(all?[1..7].to_vec())
                })?;
                let signed = [reader.next().read_der()?, reader.next().read_der()?];
                Ok((every, signed))
            })
        });
        let (every, signed) = parts.expect("certificates of this file have extensions");
        let der = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    every.iter().for_each(|part| writer.next().write_der(part));
                });
                signed.iter().for_each(|part| writer.next().write_der(part));
            });
        });
        let base64 = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
        Self {
            chain_pem: format!(
                "-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n"
            ),
            ..self
        }
    }

    /// The chain as rustls takes it.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .collect::<Result<_, _>>()
            .expect("written by this file")
    }

    /// The key as rustls takes it.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("written by this file")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
    use x509_parser::{
        asn1_rs::Any, certificate::X509Certificate, extensions::GeneralName, prelude::FromDer,
    };

    /// Is this chain good for this purpose under this root?
    fn judge(issued: &Issued, root: &Authority, usage: KeyUsage) -> Result<(), webpki::Error> {
        let chain = issued.chain();
        let anchors = [anchor_from_trusted_cert(root.der()).unwrap()];
        EndEntityCert::try_from(&chain[0])?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                &chain[1..],
                rustls::pki_types::UnixTime::now(),
                usage,
                None,
                None,
            )
            .map(|_| ())
    }

    #[test]
    fn a_leaf_is_good_under_its_own_root_only() {
        let (root, other) = (Authority::new("root"), Authority::new("root"));
        let issued = root.issue(&Leaf::domain("a.example"));
        assert_eq!(judge(&issued, &root, KeyUsage::server_auth()), Ok(()));
        assert!(judge(&issued, &other, KeyUsage::server_auth()).is_err());
    }

    #[test]
    fn an_intermediate_is_in_the_chain() {
        let root = Authority::new("root");
        let issued = root
            .intermediate("middle")
            .intermediate("lower")
            .issue(&Leaf::domain("a.example"));
        assert_eq!(issued.chain().len(), 3);
        assert_eq!(judge(&issued, &root, KeyUsage::server_auth()), Ok(()));
    }

    #[test]
    fn the_purpose_is_what_was_asked() {
        let root = Authority::new("root");
        let good = |purpose, usage| {
            let leaf = Leaf::domain("a.example").purpose(purpose);
            judge(&root.issue(&leaf), &root, usage).is_ok()
        };
        let table = [
            (Purpose::Both, true, true),
            (Purpose::Server, true, false),
            (Purpose::Client, false, true),
            (Purpose::None, true, true),
        ];
        for (purpose, server, client) in table {
            assert_eq!(
                good(purpose, KeyUsage::server_auth()),
                server,
                "{purpose:?}"
            );
            assert_eq!(
                good(purpose, KeyUsage::client_auth()),
                client,
                "{purpose:?}"
            );
        }
    }

    #[test]
    fn the_validity_is_what_was_asked() {
        let root = Authority::new("root");
        let judged = |validity| {
            let leaf = Leaf::domain("a.example").validity(validity);
            judge(&root.issue(&leaf), &root, KeyUsage::server_auth())
        };
        assert_eq!(judged(Validity::Now), Ok(()));
        assert!(matches!(
            judged(Validity::Expired),
            Err(webpki::Error::CertExpired { .. })
        ));
        assert!(matches!(
            judged(Validity::NotYet),
            Err(webpki::Error::CertNotValidYet { .. })
        ));
    }

    #[test]
    fn names_are_of_the_kinds_that_were_asked() {
        let leaf = Leaf::domain("a.example")
            .dns("*.a.example")
            .srv("_xmpp-server.b.example")
            .xmpp_addr("c.example");
        let chain = Issued::self_signed(&leaf).chain();
        let (rest, certificate) = X509Certificate::from_der(&chain[0]).unwrap();
        assert!(rest.is_empty());
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert!(names.critical);
        let mut found = Vec::new();
        for name in &names.value.general_names {
            found.push(match name {
                GeneralName::DNSName(name) => format!("dns {name}"),
                GeneralName::OtherName(oid, value) => {
                    let (_, value) = Any::from_der(value).unwrap();
                    let (_, value) = Any::from_der(value.data).unwrap();
                    let tag = value.tag();
                    format!("{oid} {tag} {}", std::str::from_utf8(value.data).unwrap())
                }
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(
            found,
            [
                "dns a.example",
                "dns *.a.example",
                "1.3.6.1.5.5.7.8.7 Ia5String _xmpp-server.b.example",
                "1.3.6.1.5.5.7.8.5 Utf8String c.example",
            ]
        );
    }

    #[test]
    fn keys_are_not_printed() {
        let issued = Issued::self_signed(&Leaf::domain("a.example"));
        assert!(!format!("{issued:?}").contains("PRIVATE"));
    }
}
