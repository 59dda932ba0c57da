//! What both sides of negotiation are driven with.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use bytes::BytesMut;
use s2sd::config::Config;
use s2sd::protocol::negotiate::{Judged, Secured, Snapshot};
use s2sd::trust::{BadCertificate, Because, Judgement, TlsFacts};
use tokio_util::codec::Decoder as _;
use xmpp_dialback::Secret;
use xmpp_sasl::{ChannelBindings, Random};
use xmpp_stream::{Codec, ContentNamespace, DecodeError, Domain, Frame, XmlLimits};

/// The domain served here.
pub(super) const HERE: &str = "here.test";
/// Peers.
pub(super) const PEERS: [&str; 3] = ["evil.test", "other.test", "third.test"];

pub(super) struct PolicyCase {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) tls_required: bool,
    pub(super) strict: bool,
    /// Whether a stream may carry both directions.
    pub(super) bidi: bool,
}

/// Every policy that matters to the state of a stream.
pub(super) fn rules() -> &'static [PolicyCase] {
    static RULES: OnceLock<Vec<PolicyCase>> = OnceLock::new();
    RULES.get_or_init(|| {
        let mut rules = Vec::new();
        for tls in ["optional", "required", "disabled"] {
            for verify in ["strict", "dialback"] {
                let auth = match tls {
                    "disabled" => "['dialback']",
                    _ => "['external', 'dialback']",
                };
                let text = format!(
                    "[[domain]]\nname = '{HERE}'\ncertificate = 'c.pem'\nkey = 'k.pem'\n[policy]\ntls = '{tls}'\nverify = '{verify}'\nauth = {auth}\n"
                );
                let loaded = Config::from_toml(&text, "s2sd.toml", Path::new("/nowhere"));
                let loaded = match loaded {
                    Ok(loaded) => loaded,
                    Err(faults) => panic!("{faults}"),
                };
                let secret = Secret::new("only we know this");
                let snapshot = Snapshot::new(Arc::new(loaded.config), secret, |_| true);
                rules.push(PolicyCase {
                    snapshot: Arc::new(snapshot),
                    tls_required: tls == "required",
                    strict: verify == "strict",
                    bidi: tls != "disabled",
                });
            }
        }
        rules
    })
}

/// The bytes of the peer, as a stream.
pub(super) struct Reader {
    codec: Codec,
    unread: BytesMut,
}

impl Reader {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let codec = Codec::new(snapshot.limits_before_authentication());
        Self {
            codec: codec.with_content_namespace(ContentNamespace::Server),
            unread: BytesMut::new(),
        }
    }

    pub(super) fn hears(&mut self, text: &[u8]) {
        self.unread.extend_from_slice(text);
    }

    pub(super) fn next(&mut self) -> Option<Result<Frame, DecodeError>> {
        self.codec.decode(&mut self.unread).transpose()
    }

    /// A new stream over TLS, if the one before ends here.
    pub(super) fn start_tls(&mut self, snapshot: &Snapshot) -> Result<(), DecodeError> {
        self.codec.boundary(&self.unread)?;
        *self = Self::new(snapshot);
        Ok(())
    }

    pub(super) fn restart(&mut self, limits: XmlLimits) {
        self.codec.restart();
        self.codec.set_limits(limits);
    }

    pub(super) fn set_limits(&mut self, limits: XmlLimits) {
        self.codec.set_limits(limits);
    }
}

pub(super) struct Counting(pub(super) u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

pub(super) fn domain(text: &str) -> Domain {
    Domain::parse(text).expect("one of the domains above")
}

pub(super) fn secured(certificate_shown: bool) -> Secured {
    Secured {
        facts: TlsFacts {
            version: "TLS 1.3",
            cipher: String::new(),
            group: None,
        },
        ems: true,
        certificate_shown,
        channel_bindings: ChannelBindings::none(),
    }
}

/// What is found of a certificate that is good or not.
pub(super) fn judgement(good: bool) -> Judgement {
    match good {
        true => Because::Name {
            matched: String::new().into(),
        },
        false => Because::Bad(BadCertificate::NoTlsa),
    }
    .into()
}

pub(super) fn judged(domain: Option<Domain>, good: bool, identity: Option<Domain>) -> Judged {
    Judged {
        judgement: judgement(good),
        identity: identity.filter(|_| domain.is_none()),
        domain,
    }
}
