//! Findings to draw a verdict from, each by what is special in it.

use super::super::*;
use crate::tools::probe::findings::{
    CertificateCheck, Garbage, Header, MeantFor, Offer, Shown, Tls,
};
use crate::trust::BadCertificate;

pub(super) fn with<T>(mut value: T, change: impl FnOnce(&mut T)) -> T {
    change(&mut value);
    value
}

pub(super) fn one(attempt: AttemptReport) -> Findings {
    findings(vec![attempt])
}

/// A connection that ended so.
pub(super) fn end(cause: Cause) -> Findings {
    one(ended(cause))
}

/// The same after a stream header had come.
pub(super) fn after_header(cause: Cause) -> Findings {
    one(with(ended(cause), |it| it.headers.push(header())))
}

pub(super) fn header() -> Header {
    Header {
        from: Some("b.example".into()),
        id: true,
        version: Some("1.0".to_owned()),
        took: Duration::ZERO,
    }
}

pub(super) fn error(condition: Condition) -> Cause {
    Cause::StreamError(StreamError::new(condition).into())
}

pub(super) fn stream_error(condition: Condition) -> Findings {
    end(error(condition))
}

/// The last method that was tried before the end.
pub(super) fn tried(method: &'static str, outcome: ProofOutcome, cause: Cause) -> Findings {
    let took = Duration::ZERO;
    let proof = Proof {
        method,
        outcome,
        took,
    };
    one(with(ended(cause), |it| {
        it.headers.push(header());
        it.proofs.push(proof);
    }))
}

/// Dialback came to this error.
pub(super) fn dialback(condition: ErrorCondition) -> Findings {
    let cause = Cause::Dialback(Unproved::Other(PeerText::default()), None);
    tried("dialback", ProofOutcome::Error(condition, None), cause)
}

/// Somebody is believed, and the stream goes on.
pub(super) fn believed() -> AttemptReport {
    let proof = Proof {
        method: "EXTERNAL",
        outcome: ProofOutcome::Proved,
        took: Duration::ZERO,
    };
    AttemptReport {
        address: "192.0.2.1:5269".to_owned(),
        connected: Some(Duration::ZERO),
        proofs: vec![proof],
        ..AttemptReport::default()
    }
}

pub(super) fn tls(asked: bool, shown: bool) -> Tls {
    Tls {
        version: "TLS 1.3",
        cipher: String::new(),
        group: None,
        asked,
        shown,
        took: Duration::ZERO,
        chain: Vec::new(),
        identity: None,
    }
}

/// Over TLS, in which our certificate was asked for, or not, and shown, or not.
pub(super) fn over_tls(cause: Cause, asked: bool, shown: bool) -> Findings {
    one(with(ended(cause), |it| it.tls = Some(tls(asked, shown))))
}

pub(super) fn identity(bad: Option<BadCertificate>) -> CertificateCheck {
    CertificateCheck {
        good: bad.is_none(),
        trust: String::new(),
        because: "because".into(),
        bad,
    }
}

/// Its certificate was not accepted.
pub(super) fn judged(bad: BadCertificate) -> Findings {
    let mut findings = over_tls(Cause::Certificate("because".into()), true, true);
    findings.places[0].attempts[0]
        .tls
        .as_mut()
        .unwrap()
        .identity = Some(identity(Some(bad)));
    findings
}

pub(super) fn unconnected(why: ConnectFailure) -> Findings {
    let said = PeerText::from("it failed");
    let attempt = ended(Cause::Connect(said.clone()));
    one(with(attempt, |it| {
        it.unconnected = Some(Unconnected { why, said })
    }))
}

pub(super) fn no_tls(why: Unsecured) -> Findings {
    let said = PeerText::from("it failed");
    let attempt = ended(Cause::Tls(said.clone()));
    one(with(attempt, |it| it.no_tls = Some(NoTls { why, said })))
}

pub(super) fn nowhere(why: ResolveError) -> Findings {
    with(findings(Vec::new()), |it| {
        it.places.clear();
        it.unresolved = Some(why);
    })
}

/// One place has no address; `srv`: there are SRV records that lead to it.
pub(super) fn no_address(srv: bool) -> Findings {
    let records = if srv {
        vec!["0 5 5269 x.b.example.".into()]
    } else {
        Vec::new()
    };
    let lookup = Lookup {
        name: "_xmpp-server._tcp.b.example".to_owned(),
        kind: "SRV",
        records,
        failed: None,
        dnssec: Dnssec::Unchecked,
        took: Duration::ZERO,
    };
    with(findings(Vec::new()), |it| {
        it.lookups.push(lookup);
        it.places[0].unresolved = Some(ResolveError::NotFound);
    })
}

/// What came first was this, and no stream.
pub(super) fn garbage(text: &str) -> Findings {
    let attempt = ended(Cause::Protocol(Condition::NotWellFormed, text.into()));
    let garbage = Garbage::Other(text.into());
    one(with(attempt, |it| it.garbage = Some(garbage)))
}

/// The same in TLS.
pub(super) fn tls_at_once(record: &'static str) -> Findings {
    let attempt = ended(Cause::Protocol(Condition::NotWellFormed, record.into()));
    one(with(attempt, |it| it.garbage = Some(Garbage::Tls(record))))
}

pub(super) fn meant_for(whom: MeantFor) -> Findings {
    let attempt = ended(Cause::Protocol(
        Condition::InvalidNamespace,
        "it is not".into(),
    ));
    one(with(attempt, |it| it.meant_for = Some(whom)))
}

/// Only looked at, over TLS with this certificate.
pub(super) fn looked(bad: Option<BadCertificate>) -> Findings {
    one(with(ended(Cause::Finished), |it| {
        it.aim = Aim::Look;
        it.features.push(Offer::default());
        it.tls = Some(with(tls(false, false), |it| {
            it.identity = Some(identity(bad))
        }));
    }))
}

pub(super) fn offering(mechanisms: &[&str]) -> Cause {
    let offered = mechanisms.iter().map(|name| PeerText::new(name)).collect();
    Cause::NoMechanism { offered }
}

pub(super) fn refused(mechanism: &'static str, failure: Failure) -> Cause {
    Cause::Refused { mechanism, failure }
}

/// With a certificate that has so many days left.
pub(super) fn good_for(days_left: i64, bad: Option<BadCertificate>) -> Findings {
    let shown = Shown {
        days_left,
        ..Shown::default()
    };
    one(with(believed(), |it| {
        it.tls = Some(with(tls(true, true), |it| {
            it.chain.push(shown);
            it.identity = Some(identity(bad));
        }));
    }))
}

/// Takes stanzas up to this size.
pub(super) fn takes(max_bytes: u64) -> Findings {
    let offer = Offer {
        max_bytes: Some(max_bytes),
        ..Offer::default()
    };
    one(with(believed(), |it| it.features.push(offer)))
}

pub(super) fn auth(findings: Findings, methods: &[&'static str]) -> Findings {
    with(findings, |it| it.rule.auth = methods.to_vec())
}

pub(super) fn nobody(findings: Findings) -> Findings {
    with(findings, |it| it.from = None)
}

pub(super) fn ours(findings: Findings, own: Own) -> Findings {
    with(findings, |it| it.own = own)
}

pub(super) fn bare() -> Own {
    Own {
        configured: true,
        ..Own::default()
    }
}
