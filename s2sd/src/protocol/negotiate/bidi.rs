//! Streams that carry stanzas in both directions (XEP-0288): the proof that the second direction rests on.
//!
//! The initiator opens and proves a stream for one direction: its own stanzas. With bidi the other side sends on it
//! too, and gives no further proof of itself. So the second direction is allowed only if we know as much about the peer
//! as the policy for it demands on a stream of that direction:
//!
//! - [`ours`]: we send on a stream that the peer opened. On a stream of our own, policy asks for TLS, and with
//!   `verify = "strict"` for a certificate that is good for the peer's domain: then the certificate that the peer showed must
//!   have been found good for it, by whatever method the pair was proved. With `verify = "dialback"` a stream of our own rests on
//!   the DNS alone, and the pair's proof is no less.
//! - [`theirs`]: the peer sends on a stream that we opened. On a stream of its own, policy asks for a method of `auth`. A
//!   certificate that is good for its domain is as much as `"external"`. A connection that we made to where the domain's DNS
//!   leads is as much as `"dialback"`: it is to the very server that we would ask about a key, and `verify` holds for both. A
//!   mechanism in which the server proved itself to us is as much as the same mechanism the other way round, if that is accepted from it.
//!
//! With dialback, each pair has to be proved by itself, and the second direction is that of the proved pairs alone (§2.2).

use super::{Authorized, DomainPair, Method, Transport};
use crate::config::{Policy, TlsMode, Verify};
use crate::trust::judgement::{Because, Judgement};

/// Whether any stream like this one may carry both directions: within TLS as policy wants it, never in clear.
pub(super) fn is_allowed(policy: &Policy, transport: &Transport) -> bool {
    policy.bidi
        && policy.tls != TlsMode::Disabled
        && transport.is_tls()
        && transport.lacks(policy).is_none()
}

/// Whether a certificate that is good for the peer's domain, or is not, leaves the second direction possible.
pub(super) fn may_rest_on(policy: &Policy, certified: bool) -> bool {
    certified || policy.verify != Verify::Strict
}

/// Our direction of a pair that the peer proved on a stream that it opened. `certified`: its certificate is good for the
/// pair's remote domain.
pub(super) fn ours(
    policy: &Policy,
    transport: &Transport,
    proved: &Authorized,
    certified: bool,
) -> Option<Authorized> {
    (is_allowed(policy, transport) && may_rest_on(policy, certified)).then(|| proved.clone())
}

/// The server at the other end of a stream of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Server<'a> {
    /// What its certificate says of the pair's remote domain.
    pub(super) judgement: &'a Judgement,
    /// Whether it is the one that the domain's DNS, or the configuration, leads to.
    pub(super) is_reached: bool,
    /// The mechanism in which it proved that domain to us, if there was one.
    pub(super) by: Option<Method>,
}

/// The peer's direction of a pair on a stream that we opened.
pub(super) fn theirs(
    policy: &Policy,
    transport: &Transport,
    pair: &DomainPair,
    server: Server<'_>,
) -> Option<Authorized> {
    let certified = server.judgement.is_certified();
    if !is_allowed(policy, transport) || !may_rest_on(policy, certified) {
        return None;
    }
    let mutual = |method: &Method| method.is_mutual() && policy.accepts_over(*method, true);
    let (method, judgement) = if certified && policy.allows_over(Method::External, true) {
        (Method::External, server.judgement.clone())
    } else if server.is_reached && policy.allows_over(Method::Dialback, true) {
        (Method::Dialback, Because::Reached.into())
    } else {
        let method = server.by.filter(mutual)?;
        (method, Because::Mechanism(method.name()).into())
    };
    Some(Authorized::new(pair.clone(), method, judgement))
}

/// Whether [`theirs`] will have a mechanism to rest on, whichever of `auth` is used: nothing else is in it.
pub(super) fn is_mutual(policy: &Policy) -> bool {
    let mut methods = policy.auth.iter();
    methods.all(|method| method.is_mutual() && policy.accepts_over(*method, true))
}
