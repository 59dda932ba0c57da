//! Both directions on one stream (XEP-0288): when they are offered, asked for and taken, and on which proof each rests.

use super::*;
use crate::trust::BadCertificate;

mod initiating;
mod receiving;

const OPEN: &str = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' \
     xmlns:db='jabber:server:dialback'";
const OFFER: &str = "<bidi xmlns='urn:xmpp:features:bidi'/>";
const BIDI: &str = "<bidi xmlns='urn:xmpp:bidi'/>";
const DNS_ALONE: &str = "verify = 'dialback'";

fn good() -> Judgement {
    proved()
}

fn bad() -> Judgement {
    Because::Bad(BadCertificate::Revoked).into()
}

/// Within TLS, with a certificate or without.
fn within_tls(shown: bool) -> Transport {
    let Transport::Tls(secured) = tls(b"one") else {
        unreachable!()
    };
    Transport::Tls(Secured {
        certificate_shown: shown,
        ..secured
    })
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

fn frames(codec: &mut Codec, said: &str) -> Vec<Frame> {
    let mut buffer = BytesMut::from(said);
    std::iter::from_fn(|| codec.decode(&mut buffer).unwrap()).collect()
}

/// `what LOCAL REMOTE by METHOD`.
fn by(what: &str, authorized: &Authorized) -> String {
    let (pair, method) = (authorized.pair(), authorized.method().name());
    format!("{what} {} {} by {method}", pair.local, pair.remote)
}
