//! What a receiving entity offers on a stream, or why it refuses it: DESIGN's rules for proof, in one place.
//!
//! RFC 6120 §4.3.2 (features), §5.3.1 (required TLS is offered alone), XEP-0178 §3 (EXTERNAL only once the certificate
//! was found good), XEP-0220 §2.4.1 (the dialback feature), XEP-0440 §3
//! (the channel-binding types), XEP-0288 §2.1 (both directions).

use std::time::Duration;

use xmpp_stream::{DialbackFeature, Domain, Features, StreamLimits};

use xmpp_sasl::ChannelBindingType;

use super::{Method, Snapshot, Transport, accepts, bidi};
use crate::config::{Agreement, Config, Policy, TlsMode, Verify};
use crate::trust::bad_certificate::BadCertificate;
use crate::trust::judgement::Judgement;

/// Our offer. The stream accepts only what is in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Offer {
    pub(super) starttls: bool,
    /// TLS is required and not there yet: we offer and accept nothing else.
    pub(super) tls_first: bool,
    pub(super) mechanisms: Vec<&'static str>,
    /// The channel-binding types that go with them.
    pub(super) channel_bindings: Option<Vec<&'static str>>,
    pub(super) dialback: bool,
    /// Stanzas in both directions (XEP-0288).
    pub(super) bidi: bool,
}

/// What an offer depends on.
pub(super) struct Asked<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) local: Option<&'a Domain>,
    pub(super) remote: Option<&'a Domain>,
    pub(super) policy: &'a Policy,
    pub(super) transport: &'a Transport,
    /// The verdict on the certificate for `remote`, or for its single identity.
    pub(super) judgement: &'a Judgement,
    /// Whether this stream is already authenticated by SASL.
    pub(super) authenticated: bool,
    /// Whether the driver can send stanzas on it.
    pub(super) bidi: bool,
}

/// Why we can make no offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoOffer {
    /// `not-authorized`: the certificate is bad and policy is strict. The text is for the peer's operator.
    BadCertificate(BadCertificate),
    /// `policy-violation`: the peer can give no proof that would count.
    Nothing(&'static str),
}

pub(super) fn offer(asked: &Asked<'_>) -> Result<Offer, NoOffer> {
    let policy = asked.policy;
    if asked.authenticated {
        // Further pairs may be proved by dialback, or by a certificate that has their name too (XEP-0344 §2.4);
        // nothing else is left to negotiate.
        let certified =
            asked.transport.certificate_shown() && policy.allows_over(Method::External, true);
        return Ok(Offer {
            dialback: certified || policy.allows(Method::Dialback),
            ..Offer::default()
        });
    }
    let tls = asked.transport.is_tls();
    let can_tls = asked
        .local
        .is_some_and(|local| asked.snapshot.has_certificate(local));
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
    if let Some(bad) = asked.judgement.bad()
        && policy.verify == Verify::Strict
    {
        return Err(NoOffer::BadCertificate(bad.clone()));
    }
    let dialback = policy.allows(Method::Dialback);
    let bindings = asked.transport.channel_bindings();
    let external = |method| {
        method == Method::External
            && asked.judgement.is_certified()
            && policy.allows_over(method, tls)
    };
    let host = asked.local.map(Domain::ascii).unwrap_or_default();
    let provided = |method: &Method| match method.agreement() {
        Some(Agreement::Realm) => accepts::acceptor(asked.snapshot, asked.remote).is_some(),
        Some(Agreement::Key) => accepts::keys(asked.snapshot, asked.remote, host).is_some(),
        Some(Agreement::Password) => !method.is_plus() || !bindings.is_empty(),
        None => false,
    };
    let agreed = |method: &Method| {
        provided(method)
            && (policy.accepts_over(*method, tls)
                // Without `from` the username or the principal will decide about the rules.
                || asked.remote.is_none()
                    && asked
                        .snapshot
                        .config
                        .accepting()
                        .any(|(_, policy)| policy.accepts_over(*method, tls)))
    };
    let own = policy.auth.iter().copied();
    let methods = match asked.remote {
        Some(_) => own.collect(),
        None => in_order(own, &asked.snapshot.config),
    };
    let mechanisms: Vec<&'static str> = methods
        .into_iter()
        .filter(|method| external(*method) || agreed(method))
        .filter_map(Method::mechanism)
        .collect();
    let bound = methods_bound(&mechanisms).then(|| bindings.types().map(ChannelBindingType::name));
    if mechanisms.is_empty() && !dialback && !starttls {
        return Err(NoOffer::Nothing(match tls {
            true => "no certificate was shown, and nothing else is accepted as proof here",
            false => {
                "what is accepted here as proof needs encryption, which this domain does not offer"
            }
        }));
    }
    Ok(Offer {
        starttls,
        tls_first: false,
        channel_bindings: bound.map(Iterator::collect),
        mechanisms,
        dialback,
        // Where the certificate does not allow it, it is not offered in vain.
        bidi: asked.bidi
            && bidi::is_allowed(policy, asked.transport)
            && bidi::may_rest_on(policy, asked.judgement.is_certified()),
    })
}

/// What `[policy]` allows in its order, then what the peer entries allow that may be meant, strongest first.
fn in_order(own: impl Iterator<Item = Method>, config: &Config) -> Vec<Method> {
    let mut methods: Vec<Method> = own.collect();
    let entries = || config.accepting().flat_map(|(_, policy)| &policy.auth);
    for name in xmpp_sasl::STRENGTH {
        if let Some(method) = Method::of_mechanism(name)
            && entries().any(|allowed| *allowed == method)
            && !methods.contains(&method)
        {
            methods.push(method);
        }
    }
    methods
}

/// XEP-0440 §3: the types are announced where a mechanism is that can use them.
fn methods_bound(mechanisms: &[&str]) -> bool {
    let plus = |name: &&str| Method::of_mechanism(name).is_some_and(Method::is_plus);
    mechanisms.iter().any(plus)
}

impl Offer {
    /// The offer as the mechanisms need it, so that they can show whether it arrived (XEP-0474).
    pub(super) fn advertised(&self) -> xmpp_sasl::Offer {
        let offer = xmpp_sasl::Offer::new(self.mechanisms.iter().copied());
        match &self.channel_bindings {
            Some(types) => offer.with_channel_bindings(types.iter().copied()),
            None => offer,
        }
    }

    /// `idle`: after this time without a stanza the stream is closed.
    pub(super) fn features(&self, max_stanza: usize, idle: Duration) -> Features {
        let mut limits = StreamLimits::new();
        limits.max_bytes = u64::try_from(max_stanza).ok();
        // An xs:unsignedInt (XEP-0478 §9).
        let seconds = u32::try_from(idle.as_secs()).ok();
        limits.idle_seconds = seconds.filter(|it| *it > 0).map(Into::into);
        let mut features = Features::new().with_mechanisms(self.mechanisms.iter().copied());
        features.starttls = self.starttls.then_some(self.tls_first);
        if let Some(types) = &self.channel_bindings {
            features = features.with_channel_bindings(types.iter().copied());
        }
        if self.dialback {
            features = features.with_dialback(DialbackFeature::with_errors());
        }
        if !self.tls_first {
            features = features.with_limits(limits);
        }
        features.bidi = self.bidi;
        features
    }
}
