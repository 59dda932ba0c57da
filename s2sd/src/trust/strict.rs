//! What others will hold against a chain of ours, besides the time, the purpose and the name of the certificate itself
//! (`judge_alone`): most of them at their own time, and without a word.
//!
//! Order and wholeness: RFC 5246 §7.4.2, RFC 8446 §4.4.2. Keys and signatures: RFC 9325 §4.5, and what OpenSSL takes at the
//! security level 2 that Debian and others set.

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    asn1_rs::{FromDer as _, oid},
    certificate::X509Certificate,
    public_key::PublicKey,
    x509::{SubjectPublicKeyInfo, X509Name},
};
use xmpp_stream::Domain;

use crate::peer_text::PeerText;
use crate::trust::bad_certificate::{BadCertificate, LARGEST, MAX_CERTIFICATES, Whose};
use crate::trust::certificate_name::{CertificateName, identities};
use crate::trust::chain::PeerChain;
use crate::trust::pkix::{judge_alone, verified};
use crate::trust::roots::Roots;

/// Something that others will hold against it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// Every strict peer refuses us for it. If `false`, some peers do, or we cannot know from here.
    pub refused: bool,
    /// The fault, and what it should be.
    pub found: String,
    /// What there is to do.
    pub change: String,
}

/// The smallest RSA key that is taken nearly everywhere.
const RSA_BITS: usize = 2048;

/// What others will hold against this chain, as it is shown for the domain. `known` are all the authorities that are known
/// here.
pub fn remarks(
    chain: &[CertificateDer<'static>],
    domain: &Domain,
    known: &Roots,
    now: UnixTime,
) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let parsed = chain.iter().map(|one| X509Certificate::from_der(one));
    let parsed: Result<Vec<_>, _> = parsed.collect();
    let (Ok(parsed), Some(leaf)) = (parsed, chain.first()) else {
        remarks.push(Remark {
            refused: true,
            found: "one of its certificates cannot be read".to_owned(),
            change: "fetch it from the authority again".to_owned(),
        });
        return remarks;
    };
    let parsed: Vec<X509Certificate<'_>> = parsed.into_iter().map(|(_, one)| one).collect();
    remarks.extend(bounds(chain));
    let path = path(&parsed);
    remarks.extend(order(&parsed, &path));
    let at_fault: Vec<Remark> = path
        .iter()
        .filter_map(|&at| Some((at, parsed.get(at)?)))
        .flat_map(|(at, one)| [weak_key(at, one), weak_signature(at, one)])
        .flatten()
        .collect();
    // Its own faults are reported already, and those of keys and signatures more exactly.
    if at_fault.is_empty() && judge_alone(leaf, now).is_ok() {
        remarks.extend(vouched(chain, &parsed, &path, known, now));
    }
    remarks.extend(at_fault);
    remarks.extend(kind_of_name(leaf, domain));
    remarks
}

/// Whether it is for servers alone, as public authorities issue them since 2026.
pub fn is_for_servers_alone(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    match certificate.extended_key_usage() {
        Ok(Some(usage)) => usage.value.server_auth && !usage.value.client_auth && !usage.value.any,
        _ => false,
    }
}

fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject() == certificate.issuer()
}

/// From the first certificate on, each one and that of its issuer, as far as they are there.
fn path(chain: &[X509Certificate<'_>]) -> Vec<usize> {
    let mut path = vec![0];
    let mut last = chain.first();
    while let Some(one) = last.filter(|one| !is_self_issued(one)) {
        // Of several with the same name it is the next one.
        let next = path.last().map_or(0, |last| last + 1);
        let all = (next..chain.len()).chain(0..next);
        let mut left = all.filter(|at| !path.contains(at));
        let issuer = left.find(|&at| chain[at].subject() == one.issuer());
        last = issuer.and_then(|at| chain.get(at));
        path.extend(issuer);
    }
    path
}

fn bounds(chain: &[CertificateDer<'_>]) -> Option<Remark> {
    let bytes: usize = chain.iter().map(|one| one.len()).sum();
    let found = if chain.len() > MAX_CERTIFICATES {
        format!(
            "it has {} certificates, and s2sd and others take {MAX_CERTIFICATES} at most",
            chain.len()
        )
    } else if bytes > LARGEST {
        format!("its certificates have {bytes} bytes, and s2sd and others take {LARGEST} at most")
    } else {
        return None;
    };
    Some(Remark {
        refused: true,
        found,
        change: "leave in it the domain's certificate and those that lead from it to the root, and nothing else"
            .to_owned(),
    })
}

fn order(chain: &[X509Certificate<'_>], path: &[usize]) -> Option<Remark> {
    let number = |at: &usize| (at + 1).to_string();
    if !path.is_sorted() {
        let numbers: Vec<String> = path.iter().map(number).collect();
        return Some(Remark {
            refused: false,
            found: "its certificates are not in order: each one has to be signed by the next"
                .to_owned(),
            change: format!(
                "put them into the order {}, as they are numbered now",
                numbers.join(", ")
            ),
        });
    }
    let mut others = (0..chain.len()).filter(|at| !path.contains(at));
    let other = others.next()?;
    // A spare certificate beside a missing one is reported with that.
    let whole = path
        .last()
        .is_some_and(|&last| is_self_issued(&chain[last]));
    (whole || other < *path.last()?).then(|| Remark {
        refused: false,
        found: format!(
            "certificate number {} ({}) has no part in it: it signed none of the others",
            other + 1,
            name(chain[other].subject())
        ),
        change: "leave it out".to_owned(),
    })
}

/// Whether an authority that is known here vouches for it.
fn vouched(
    chain: &[CertificateDer<'static>],
    parsed: &[X509Certificate<'_>],
    path: &[usize],
    known: &Roots,
    now: UnixTime,
) -> Option<Remark> {
    // If we know no authority, it means nothing that none of them vouches.
    if known.anchors().is_empty() {
        return None;
    }
    let bad = verified(&PeerChain::new(chain)?, known, now).err()?;
    let last = parsed.get(*path.last()?)?;
    let issuer = name(last.issuer());
    let (refused, found, change) = match bad {
        // Reported above.
        BadCertificate::TooMany { .. } | BadCertificate::TooLarge { .. } => return None,
        BadCertificate::SelfSigned => (false, "it is signed by its own key, and no authority vouches for it".to_owned(), SELF_SIGNED.to_owned()),
        BadCertificate::UnknownIssuer { .. } if path.len() == 1 && is_self_issued(last) => (
            false,
            "it is signed by its own key, and no authority vouches for it".to_owned(),
            SELF_SIGNED.to_owned(),
        ),
        BadCertificate::UnknownIssuer { .. } if is_self_issued(last) => (
            false,
            format!("it leads to \"{issuer}\", which is no authority that is known on this machine"),
            "for a network of your own, name that authority in `trust` here and at all peers; else get a certificate \
             from an authority that others know"
                .to_owned(),
        ),
        BadCertificate::UnknownIssuer { .. } => (
            false,
            format!(
                "certificate number {} was signed by \"{issuer}\", which is neither in the file nor an authority that is \
                 known on this machine: an intermediate certificate is missing, unless it is an authority of your own",
                path.last()? + 1
            ),
            format!(
                "put the certificate of \"{issuer}\" after it (ACME clients write the whole chain into fullchain.pem); an \
                 authority of your own has to be in `trust` here and at all peers"
            ),
        ),
        BadCertificate::Expired { whose: Whose::Issuer, on } => (
            true,
            format!("a certificate above the domain's own expired on {on}"),
            "fetch the present ones of the authority, and put them in its place".to_owned(),
        ),
        bad => (true, bad.of_it().to_string(), "get another certificate".to_owned()),
    };
    Some(Remark {
        refused,
        found,
        change,
    })
}

const SELF_SIGNED: &str = "peers that are strict refuse it, others ask for dialback: get a certificate from an authority, or \
                           publish it by DANE (TLSA) or POSH";

fn weak_key(at: usize, certificate: &X509Certificate<'_>) -> Option<Remark> {
    let key = certificate.public_key();
    let what = match key.parsed().ok()? {
        PublicKey::RSA(rsa) if rsa.key_size() < RSA_BITS => {
            format!(
                "an RSA key of {} bits, and {RSA_BITS} are the least that is taken",
                rsa.key_size()
            )
        }
        PublicKey::EC(_) if !is_usual_curve(key) => {
            "a key on a curve that others do not take; P-256 and P-384 are taken everywhere"
                .to_owned()
        }
        PublicKey::DSA(_) => "a DSA key, which servers no longer accept".to_owned(),
        _ => return None,
    };
    Some(weak(at, &what))
}

fn is_usual_curve(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref();
    let curve = curve.and_then(|any| any.as_oid().ok());
    let usual = [
        oid!(1.2.840.10045.3.1.7),
        oid!(1.3.132.0.34),
        oid!(1.3.132.0.35),
    ];
    curve.is_some_and(|curve| usual.contains(&curve))
}

/// The signature of a root is not checked by any server.
fn weak_signature(at: usize, certificate: &X509Certificate<'_>) -> Option<Remark> {
    let hash = match certificate
        .signature_algorithm
        .algorithm
        .to_id_string()
        .as_str()
    {
        "1.2.840.113549.1.1.2" => "MD2",
        "1.2.840.113549.1.1.4" => "MD5",
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" | "1.2.840.10040.4.3" | "1.3.14.3.2.29" => {
            "SHA-1"
        }
        _ => return None,
    };
    let what = format!("a signature made with {hash}, which servers no longer accept");
    (!is_self_issued(certificate)).then(|| weak(at, &what))
}

fn weak(at: usize, what: &str) -> Remark {
    let (whose, change) = match at {
        0 => (
            "it".to_owned(),
            "make a new key (P-256, or RSA of 2048 bits) and get a certificate for it",
        ),
        _ => (
            format!("certificate number {}", at + 1),
            "ask the authority for the certificates that it uses now",
        ),
    };
    Remark {
        refused: true,
        found: format!("{whose} has {what}"),
        change: change.to_owned(),
    }
}

/// A name that counts, but of a kind that some servers do not look for.
fn kind_of_name(leaf: &CertificateDer<'_>, domain: &Domain) -> Option<Remark> {
    let names = identities(leaf).ok()?;
    let mut named = names.iter().filter(|name| name.names(domain)).peekable();
    let first = named.peek()?.shown();
    let by_dns = named.any(|name| matches!(name, CertificateName::Dns(_)));
    (!by_dns).then(|| Remark {
        refused: false,
        found: format!("it names {domain} as {first} alone, and many servers look for a dNSName"),
        change: format!("get one that has the dNSName {domain} as well"),
    })
}

fn name(name: &X509Name<'_>) -> PeerText {
    PeerText::quoting(&name.to_string())
}

#[cfg(test)]
mod tests;
