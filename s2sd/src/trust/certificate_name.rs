//! Which servers a certificate names: RFC 6120 §13.7.1.2 and §13.7.2.1, RFC 4985, RFC 9525 §6.3 and §7.1.
//!
//! Three kinds of name in the subjectAltName count. The common name never does (RFC 9525 §6.3), nor do
//! addresses of users (an xmppAddr with a local part), URIs or IP addresses.

use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_parser::{
    asn1_rs::{Any, Class, FromDer, Oid, Tag, oid},
    certificate::X509Certificate,
    extensions::GeneralName,
};
use xmpp_stream::Domain;

use crate::peer_text::PeerText;

/// RFC 4985 §2.
const ID_ON_DNS_SRV: Oid<'static> = oid!(1.3.6.1.5.5.7.8.7);
/// RFC 6120 §13.7.1.4.
const ID_ON_XMPP_ADDR: Oid<'static> = oid!(1.3.6.1.5.5.7.8.5);
/// RFC 6120 §14.7, the service of a server; `_xmpp-client` proves nothing between servers.
const SERVICE: &str = "_xmpp-server.";

/// A name in a certificate that can stand for a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CertificateName {
    /// DNS-ID: a host name. The whole left-most label may be `*`.
    Dns(String),
    /// SRV-ID: `_xmpp-server.` and a domain. This holds the domain.
    Srv(String),
    /// XmppAddr: a JID that is a domain.
    XmppAddr(String),
}

impl CertificateName {
    /// Does this name stand for `domain`?
    pub fn names(&self, domain: &Domain) -> bool {
        match self {
            Self::Dns(name) => match name.strip_prefix("*.") {
                Some(parent) => is_directly_below(domain, parent),
                None => is_host_name(name) && equals(domain, name),
            },
            Self::Srv(name) => is_host_name(name) && equals(domain, name),
            Self::XmppAddr(address) => self.parsed(address).is_some_and(|named| named == *domain),
        }
    }

    /// The kind and the name, for people.
    pub(crate) fn shown(&self) -> PeerText {
        PeerText::quoting(&self.to_string())
    }

    /// The one domain that this name stands for; none for a wildcard, or if it is not a domain.
    pub fn domain(&self) -> Option<Domain> {
        match self {
            Self::Dns(name) | Self::Srv(name) if !is_host_name(name) => None,
            Self::Dns(name) | Self::Srv(name) => {
                Domain::parse(name).ok().filter(|domain| !domain.is_ip())
            }
            Self::XmppAddr(address) => self.parsed(address),
        }
    }

    /// An xmppAddr may have U-labels, and upper case. It counts only if it is exactly a domain: no wildcard, and no
    /// final dot, which our domains do not have either.
    fn parsed(&self, address: &str) -> Option<Domain> {
        let plain = !address.contains('*') && !address.ends_with('.') && address.trim() == address;
        plain.then(|| Domain::parse(address).ok()).flatten()
    }
}

/// The kind and the name: `dNSName *.example.org`.
impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The owner of the certificate chose these bytes, and they end in logs and on terminals.
        match self {
            Self::Dns(name) => write!(f, "dNSName {}", PeerText::new(name)),
            Self::Srv(name) => write!(f, "SRVName {SERVICE}{}", PeerText::new(name)),
            Self::XmppAddr(name) => write!(f, "xmppAddr {}", PeerText::new(name)),
        }
    }
}

/// The certificate or its subjectAltName is not what X.509 says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

/// All names of a certificate that can stand for a server, in its order.
///
/// # Errors
///
/// The certificate cannot be parsed, or has two subjectAltName extensions.
pub fn identities(certificate: &CertificateDer<'_>) -> Result<Vec<CertificateName>, Unreadable> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| Unreadable)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| Unreadable)?;
    let Some(names) = names else {
        return Ok(Vec::new());
    };
    Ok(names
        .value
        .general_names
        .iter()
        .filter_map(identity)
        .collect())
}

fn identity(name: &GeneralName<'_>) -> Option<CertificateName> {
    match name {
        GeneralName::DNSName(name) => Some(CertificateName::Dns((*name).to_owned())),
        GeneralName::OtherName(kind, value) if *kind == ID_ON_DNS_SRV => {
            let name = string(value, Tag::Ia5String)?;
            // RFC 4985 §2: "The Service is case insensitive."
            let (service, name) = name.split_at_checked(SERVICE.len())?;
            service
                .eq_ignore_ascii_case(SERVICE)
                .then(|| CertificateName::Srv(name.to_owned()))
        }
        GeneralName::OtherName(kind, value) if *kind == ID_ON_XMPP_ADDR => {
            let address = string(value, Tag::Utf8String)?;
            // RFC 6120 §13.7.1.3: with a local part it is a user's, and does not name a server.
            (!address.contains(['@', '/'])).then(|| CertificateName::XmppAddr(address.to_owned()))
        }
        _ => None,
    }
}

/// The string in `[0] EXPLICIT` of an otherName (RFC 5280 §4.2.1.6), if it is of this type and nothing follows.
fn string(value: &[u8], tag: Tag) -> Option<&str> {
    let (rest, outer) = Any::from_der(value).ok()?;
    if !rest.is_empty() || outer.class() != Class::ContextSpecific || outer.tag() != Tag(0) {
        return None;
    }
    let (rest, inner) = Any::from_der(outer.data).ok()?;
    if !rest.is_empty() || inner.class() != Class::Universal || inner.tag() != tag {
        return None;
    }
    std::str::from_utf8(inner.data).ok()
}

/// RFC 9525 §6.3: compared as A-labels without regard to case. A domain that is an IP address has no host name.
fn equals(domain: &Domain, name: &str) -> bool {
    !domain.is_ip() && domain.ascii().eq_ignore_ascii_case(name)
}

/// RFC 6120 §13.7.1.2.1, RFC 9525 §7.1: `*` stands for exactly one whole label. Below a top-level domain it would stand
/// for every registered domain there, so the rest has two labels at least.
fn is_directly_below(domain: &Domain, parent: &str) -> bool {
    if domain.is_ip() || !is_host_name(parent) || !parent.contains('.') {
        return false;
    }
    match domain.ascii().split_once('.') {
        Some((label, rest)) => !label.is_empty() && rest.eq_ignore_ascii_case(parent),
        None => false,
    }
}

/// Labels of letters, digits, hyphens and underscores: no NUL, no `*`, no empty label, no final dot.
fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::tools::demo::ca::{Issued, Leaf};

    fn leaf_names(leaf: &Leaf) -> Vec<CertificateName> {
        identities(&Issued::self_signed(leaf).chain()[0]).unwrap()
    }

    #[track_caller]
    fn check(leaf: &Leaf, domain: &str, want: bool) {
        let domain = Domain::parse(domain).unwrap();
        let names = leaf_names(leaf);
        let got = names.iter().any(|identity| identity.names(&domain));
        assert_eq!(got, want, "{names:?} and {domain}");
    }

    fn dns(name: &str) -> Leaf {
        Leaf::domain(name).common_name("x")
    }

    fn srv(name: &str) -> Leaf {
        Leaf::default().srv(name).common_name("x")
    }

    fn xmpp_addr(name: &str) -> Leaf {
        Leaf::default().xmpp_addr(name).common_name("x")
    }

    #[test]
    fn a_dns_name_is_compared_whole_and_without_case() {
        check(&dns("a.example"), "a.example", true);
        check(&dns("A.ExAmPle"), "a.example", true);
        check(&dns("b.example"), "a.example", false);
        check(&dns("a.example"), "conference.a.example", false);
        check(&dns("conference.a.example"), "a.example", false);
        check(&dns("a.example.evil.example"), "a.example", false);
        check(&dns("evila.example"), "a.example", false);
        check(&dns("a.example."), "a.example", false);
        check(&dns(""), "a.example", false);
        check(&dns("a.example\0.evil.example"), "a.example", false);
        check(&dns("b.example").dns("a.example"), "a.example", true);
    }

    #[test]
    fn a_wildcard_is_one_whole_left_most_label() {
        check(&dns("*.a.example"), "conference.a.example", true);
        check(&dns("*.A.example"), "conference.a.example", true);
        check(&dns("*.a.example"), "a.example", false);
        check(&dns("*.a.example"), "badxa.example", false);
        check(&dns("*.a.example"), "x.conference.a.example", false);
        check(&dns("conf*.a.example"), "conference.a.example", false);
        check(&dns("*ference.a.example"), "conference.a.example", false);
        check(&dns("conference.*.example"), "conference.a.example", false);
        check(&dns("*.*.example"), "conference.a.example", false);
        check(&dns("*"), "example", false);
        check(&dns("*."), "example", false);
        check(&dns("*.example"), "a.example", false);
    }

    #[test]
    fn an_srv_name_is_for_the_server_service() {
        check(&srv("_xmpp-server.a.example"), "a.example", true);
        check(&srv("_XMPP-Server.A.example"), "a.example", true);
        check(&srv("_xmpp-client.a.example"), "a.example", false);
        check(&srv("_imap.a.example"), "a.example", false);
        check(&srv("a.example"), "a.example", false);
        check(&srv("_xmpp-server."), "a.example", false);
        check(&srv("_xmpp-server.*.a.example"), "x.a.example", false);
    }

    #[test]
    fn an_xmpp_addr_is_a_domain_and_nothing_more() {
        check(&xmpp_addr("a.example"), "a.example", true);
        check(&xmpp_addr("A.Example"), "a.example", true);
        check(&xmpp_addr("*.a.example"), "conference.a.example", false);
        check(&xmpp_addr("juliet@a.example"), "a.example", false);
        check(&xmpp_addr("a.example/x"), "a.example", false);
        check(&xmpp_addr("a.example."), "a.example", false);
        check(&xmpp_addr(" a.example"), "a.example", false);
    }

    #[test]
    fn international_names_meet_as_a_labels() {
        for domain in ["müller.example", "xn--mller-kva.example", "MÜLLER.example"] {
            check(&dns("xn--mller-kva.example"), domain, true);
            check(&dns("XN--MLLER-KVA.example"), domain, true);
            check(&srv("_xmpp-server.xn--mller-kva.example"), domain, true);
            check(&xmpp_addr("müller.example"), domain, true);
            check(&xmpp_addr("xn--mller-kva.example"), domain, true);
            check(&dns("muller.example"), domain, false);
            // RFC 5280 §7.2: a dNSName is in ASCII.
            check(&dns("müller.example"), domain, false);
        }
        check(&dns("*.xn--mller-kva.example"), "x.müller.example", true);
    }

    #[test]
    fn the_common_name_never_counts() {
        check(
            &Leaf::default().common_name("a.example"),
            "a.example",
            false,
        );
        check(
            &dns("b.example").common_name("a.example"),
            "a.example",
            false,
        );
        check(
            &xmpp_addr("b.example").common_name("a.example"),
            "a.example",
            false,
        );
        // CVE-2025-59154: a subject that reads as if it held the victim's common name.
        for subject in [
            "x, CN=victim.example",
            "x/CN=victim.example",
            "x\nCN=victim.example",
        ] {
            check(
                &Leaf::default().common_name(subject),
                "victim.example",
                false,
            );
        }
    }

    #[test]
    fn a_host_name_that_looks_like_an_address_is_none() {
        check(&dns("192.0.2.7"), "192.0.2.7", false);
        check(&dns("*.0.2.7"), "192.0.2.7", false);
    }

    #[test]
    fn only_a_plain_name_stands_for_one_domain() {
        let sole = |leaf: &Leaf| {
            leaf_names(leaf)[0]
                .domain()
                .map(|domain| domain.to_string())
        };
        assert_eq!(sole(&dns("a.example")).as_deref(), Some("a.example"));
        assert_eq!(
            sole(&srv("_xmpp-server.a.example")).as_deref(),
            Some("a.example")
        );
        assert_eq!(
            sole(&xmpp_addr("müller.example")).as_deref(),
            Some("müller.example")
        );
        assert_eq!(sole(&dns("*.a.example")), None);
        assert_eq!(sole(&dns("192.0.2.7")), None);
        assert_eq!(sole(&dns("a.example\0")), None);
    }

    #[test]
    fn names_are_printed_without_control_characters() {
        let names = leaf_names(&dns("a\u{1b}[31m.example"));
        assert_eq!(names[0].to_string(), "dNSName a\\u{1b}[31m.example");
    }

    /// Made with OpenSSL, so that our reader is not only tested with our own writer.
    const BY_OPENSSL: &str = include_str!("by_openssl.pem");

    #[test]
    fn openssls_other_names_are_read() {
        let certificate = CertificateDer::from_pem_slice(BY_OPENSSL.as_bytes()).unwrap();
        let names = identities(&certificate).unwrap();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "dNSName a.example",
                "xmppAddr a.example",
                "SRVName _xmpp-server.a.example"
            ]
        );
    }

    #[test]
    fn a_string_of_another_type_or_with_a_rest_is_no_name() {
        let ok = [0xa0, 3, 0x0c, 1, b'a'];
        assert_eq!(string(&ok, Tag::Utf8String), Some("a"));
        assert_eq!(string(&ok, Tag::Ia5String), None);
        assert_eq!(string(&[0xa0, 4, 0x0c, 1, b'a', 0], Tag::Utf8String), None);
        assert_eq!(string(&[0xa0, 3, 0x0c, 1, b'a', 0], Tag::Utf8String), None);
        assert_eq!(string(&[0xa1, 3, 0x0c, 1, b'a'], Tag::Utf8String), None);
        assert_eq!(string(&[0xa0, 3, 0x0c, 1, 0xff], Tag::Utf8String), None);
        assert_eq!(string(&[0xa0, 3, 0x0c, 9, b'a'], Tag::Utf8String), None);
        assert_eq!(string(&[], Tag::Utf8String), None);
    }

    #[test]
    fn what_is_no_certificate_is_unreadable() {
        let mut der = Issued::self_signed(&dns("a.example")).chain()[0].to_vec();
        assert_eq!(identities(&CertificateDer::from(&[][..])), Err(Unreadable));
        der.truncate(100);
        assert_eq!(identities(&CertificateDer::from(der)), Err(Unreadable));
    }
}
