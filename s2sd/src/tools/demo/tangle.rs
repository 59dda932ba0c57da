//! Chains as a stranger makes them to have us search: certificates that no known authority signed, tied to each other by
//! nothing but their names.

use rcgen::{CertificateParams, CustomExtension, GeneralSubtree, NameConstraints};
use rustls::pki_types::CertificateDer;

use super::ca::{Authority, Issued, Leaf};

/// A leaf below so many layers of authorities, each of which has so many certificates: every certificate of a layer
/// could be the issuer of every one below it. `junk` is the size of an extension that nothing knows, in bytes.
pub fn layered(leaf: &Leaf, layers: usize, width: usize, junk: usize) -> Issued {
    let mut issued = Authority::new("0").issue(leaf);
    for layer in 0..layers {
        let above = Authority::new(&(layer + 1).to_string());
        for _ in 0..width {
            let one = above.intermediate_with(&layer.to_string(), |it| pad(it, junk));
            issued.chain_pem.push_str(one.pem());
        }
    }
    issued
}

/// A leaf with so many authorities that all have one name, so that each could be the issuer of each.
pub fn ring(leaf: &Leaf, others: usize, junk: usize) -> Issued {
    let mut issued = Authority::new("x").issue(leaf);
    for other in ring_of(others, junk) {
        issued.chain_pem.push_str(other.pem());
    }
    issued
}

/// The authorities of a [`ring`].
pub fn ring_of(others: usize, junk: usize) -> Vec<Authority> {
    let above = Authority::new("x");
    let one = |_| above.intermediate_with("x", |it| pad(it, junk));
    (0..others).map(one).collect()
}

/// An authority below this one, whose certificate excludes so many domains.
pub fn excluding(above: &Authority, domains: usize) -> Authority {
    above.intermediate_with("excluding", |params| {
        let excluded = (0..domains).map(|at| GeneralSubtree::DnsName(format!("{at}.invalid")));
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: excluded.collect(),
        });
    })
}

/// The same chain with these certificates after it.
#[must_use]
pub fn with(mut issued: Issued, more: &[&CertificateDer<'_>]) -> Issued {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    for der in more {
        let text = BASE64_STANDARD.encode(der);
        issued.chain_pem.push_str(&format!(
            "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"
        ));
    }
    issued
}

fn pad(params: &mut CertificateParams, junk: usize) {
    const UNKNOWN: &[u64] = &[1, 3, 6, 1, 4, 1, 32473, 1];
    if junk > 0 {
        let extension = CustomExtension::from_oid_content(UNKNOWN, vec![0; junk]);
        params.custom_extensions.push(extension);
    }
}
