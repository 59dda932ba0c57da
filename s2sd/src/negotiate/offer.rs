//! What a receiving entity offers on a stream, or why it refuses it: DESIGN's rules for proof, in one place.
//!
//! RFC 6120 §4.3.2 (features), §5.3.1 (required TLS is offered alone), XEP-0178 §3 (EXTERNAL only once the certificate
//! was found good), XEP-0220 §2.4.1 (the dialback feature).

use xmpp_stream::{DialbackFeature, Domain, Features, StreamLimits};

use super::{House, Transport};
use crate::config::{self, Policy, TlsMode, Verify};
use crate::tls::trust::Certificate;

/// What is offered, and kept so that only what was offered is accepted.
#[derive(Clone, Debug, Default)]
pub(super) struct Offer {
    pub(super) starttls: bool,
    /// TLS is required and not there yet: nothing else is offered, nothing else accepted.
    pub(super) tls_first: bool,
    pub(super) mechanisms: Vec<&'static str>,
    pub(super) dialback: bool,
}

/// What an offer depends on.
pub(super) struct Asked<'a> {
    pub(super) house: &'a House,
    pub(super) local: Option<&'a Domain>,
    pub(super) remote: Option<&'a Domain>,
    pub(super) policy: &'a Policy,
    pub(super) transport: &'a Transport,
    /// The verdict on the certificate for `remote`, or for its single identity.
    pub(super) certificate: &'a Certificate,
    /// Whether this stream is already authenticated by SASL.
    pub(super) authenticated: bool,
}

/// Why nothing can be offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoOffer {
    /// `not-authorized`: the certificate is bad and policy is strict. The text is for the peer's operator.
    BadCertificate(String),
    /// `policy-violation`: nothing the peer could do would count as proof.
    Nothing(&'static str),
}

pub(super) fn offer(asked: &Asked<'_>) -> Result<Offer, NoOffer> {
    let policy = asked.policy;
    if asked.authenticated {
        // Further pairs may be proved by dialback; nothing else is left to negotiate.
        return Ok(Offer {
            dialback: policy.auth.contains(&config::Method::Dialback),
            ..Offer::default()
        });
    }
    let tls = asked.transport.is_tls();
    let can_tls = asked
        .local
        .is_some_and(|local| asked.house.has_certificate(local));
    let starttls = !tls && can_tls && policy.tls != TlsMode::Disabled;
    if !tls && policy.tls == TlsMode::Required {
        return if starttls {
            Ok(Offer {
                starttls,
                tls_first: true,
                ..Offer::default()
            })
        } else {
            Err(NoOffer::Nothing(
                "encryption is required and not possible for this domain",
            ))
        };
    }
    if let Certificate::Bad(bad) = asked.certificate
        && policy.verify == Verify::Strict
    {
        return Err(NoOffer::BadCertificate(bad.to_string()));
    }
    let mut mechanisms = Vec::new();
    let dialback = policy.auth.contains(&config::Method::Dialback);
    for method in &policy.auth {
        match method {
            config::Method::External => {
                if tls && matches!(asked.certificate, Certificate::Good { .. }) {
                    mechanisms.push("EXTERNAL");
                }
            }
            config::Method::DigestMd5 => {
                // Without TLS only where the peer entry itself switches TLS off; with `optional` after TLS only.
                if policy.accept.is_some() && tls != (policy.tls == TlsMode::Disabled) {
                    mechanisms.push("DIGEST-MD5");
                }
            }
            config::Method::Dialback => {}
        }
    }
    if asked.remote.is_none()
        && !mechanisms.contains(&"DIGEST-MD5")
        && asked.house.config.accepting().any(|(_, policy)| {
            policy.allows(config::Method::DigestMd5) && tls != (policy.tls == TlsMode::Disabled)
        })
    {
        mechanisms.push("DIGEST-MD5");
    }
    if mechanisms.is_empty() && !dialback && !starttls {
        return Err(NoOffer::Nothing(
            "no certificate was shown, and nothing else is accepted as proof here",
        ));
    }
    Ok(Offer {
        starttls,
        tls_first: false,
        mechanisms,
        dialback,
    })
}

impl Offer {
    pub(super) fn features(&self, max_stanza: usize) -> Features {
        let limits = StreamLimits {
            max_bytes: u64::try_from(max_stanza).ok(),
            idle_seconds: None,
        };
        Features {
            starttls: self.starttls.then_some(self.tls_first),
            mechanisms: self
                .mechanisms
                .iter()
                .map(|&name| name.to_owned())
                .collect(),
            dialback: self.dialback.then_some(DialbackFeature { errors: true }),
            limits: (!self.tls_first).then_some(limits),
            ..Features::default()
        }
    }
}
