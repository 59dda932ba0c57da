//! What must come of two servers' settings, from the rules alone: the policy of s2sd as its documentation states it
//! (`tls`, `auth` and `verify` in docs/config.md, and the two tables of docs/flow.md), written down a second time.
//!
//! It shares no code with s2sd. Where both err, they have to err alike.

use std::fmt;

/// `tls`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Disabled,
    Optional,
    Required,
}

/// The certificate of the served domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// None is configured.
    Missing,
    /// One that nobody believes.
    Invalid,
    Valid,
}

/// `verify`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    Strict,
    Dialback,
}

/// How one side is set up. `auth` is EXTERNAL, and dialback after it where that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) tls: Tls,
    pub(crate) certificate: Certificate,
    pub(crate) verify: Verify,
    pub(crate) dialback: bool,
}

impl Side {
    /// All there are.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        use Certificate::{Invalid, Missing, Valid};
        use Tls::{Disabled, Optional, Required};
        [Disabled, Optional, Required].into_iter().flat_map(|tls| {
            [Missing, Invalid, Valid]
                .into_iter()
                .flat_map(move |certificate| {
                    [Verify::Strict, Verify::Dialback]
                        .into_iter()
                        .flat_map(move |verify| {
                            [true, false].map(|dialback| Self {
                                tls,
                                certificate,
                                verify,
                                dialback,
                            })
                        })
                })
        })
    }

    /// Words of every fault that the configuration has.
    pub(crate) fn faults(self) -> Vec<&'static str> {
        let mut faults = Vec::new();
        if self.verify == Verify::Dialback && !self.dialback {
            faults.push("`verify` is \"dialback\", but `auth` has no \"dialback\"");
        }
        if self.tls == Tls::Disabled && !self.dialback {
            faults.push("`auth` has only \"external\", which needs TLS, and `tls` is \"disabled\"");
        }
        if self.tls == Tls::Required && self.certificate == Certificate::Missing {
            faults.push("has no certificate, but TLS is required");
        }
        faults
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialback = if self.dialback { "on" } else { "off" };
        let Self {
            tls,
            certificate,
            verify,
            ..
        } = self;
        let text = format!("{tls:?}-{certificate:?}-{verify:?}-{dialback}");
        f.write_str(&text.to_lowercase())
    }
}

/// Where the DNS leads for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SrvRecord {
    /// `_xmpp-server`.
    StartTls,
    /// `_xmpps-server`, and `_xmpp-server` says that there is no such service.
    Direct,
    /// Both say that.
    Nowhere,
}

/// A domain that can be federated with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    pub(crate) side: Side,
    pub(crate) srv: SrvRecord,
}

/// What must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    Federates { tls: bool, proof: Proof },
    No(Refusal),
}

/// What proves the initiating server's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    External,
    /// The receiving server asks the authoritative one.
    Dialback,
}

/// Why no stream comes to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The DNS leads nowhere, or only to TLS where that is disabled.
    NoService,
    /// TLS is required and not offered.
    TlsNotOffered,
    /// TLS is disabled and required by the other side.
    TlsDisabled,
    /// The receiving server's certificate is bad, and its peer strict.
    ReceiversCertificate,
    /// The initiating server's certificate is bad, and its peer strict.
    InitiatorsCertificate,
    /// There is nothing that the receiving server could take for a proof on this stream.
    NothingCounts,
    /// The same, and there will be no TLS.
    NothingWithoutTls,
    /// The receiving server offers nothing that the initiating one may use.
    NoMethod,
    /// A key comes where dialback is off.
    DialbackIsOff,
    /// The authoritative server cannot be asked.
    CallBack(Box<Refusal>),
}

/// What a message from one to the other brings about.
pub(crate) fn outcome(from: Endpoint, to: Endpoint) -> Expectation {
    let tls = match stream(from, to) {
        Ok(tls) => tls,
        Err(refusal) => return Expectation::No(refusal),
    };
    let refused = |refusal| Expectation::No(refusal);
    let federates = |proof| Expectation::Federates { tls, proof };
    if offers_external(from.side, to.side, tls) {
        return federates(Proof::External);
    }
    if !from.side.dialback {
        return refused(Refusal::NoMethod);
    }
    if !to.side.dialback {
        return refused(Refusal::DialbackIsOff);
    }
    // The receiving server finds the sender's domain by the same rules, and is the initiating one there.
    match stream(to, from) {
        Ok(_) => federates(Proof::Dialback),
        Err(refusal) => refused(Refusal::CallBack(Box::new(refusal))),
    }
}

/// A stream with features that leave something to do, over TLS or not.
fn stream(from: Endpoint, to: Endpoint) -> Result<bool, Refusal> {
    let tls = transport(from, to)?;
    let (from, to) = (from.side, to.side);
    if tls {
        // The initiating side judges first: nothing is sent to a server that is not the one that is meant.
        if to.certificate == Certificate::Invalid && from.verify == Verify::Strict {
            return Err(Refusal::ReceiversCertificate);
        }
        // One that is missing is not a bad one.
        if from.certificate == Certificate::Invalid && to.verify == Verify::Strict {
            return Err(Refusal::InitiatorsCertificate);
        }
    }
    let may_start_tls = !tls && offers_tls(to);
    if !to.dialback && !offers_external(from, to, tls) && !may_start_tls {
        return Err(Refusal::NothingCounts);
    }
    Ok(tls)
}

/// TLS or not.
fn transport(from: Endpoint, to: Endpoint) -> Result<bool, Refusal> {
    match (to.srv, from.side.tls, to.side.tls) {
        (SrvRecord::Nowhere, _, _) | (SrvRecord::Direct, Tls::Disabled, _) => {
            Err(Refusal::NoService)
        }
        // Whoever has a listener for TLS from the first byte takes it, also with `disabled`.
        (SrvRecord::Direct, _, _) => Ok(true),
        // Without TLS and without dialback nothing is left, and the receiving side is the first to know.
        (SrvRecord::StartTls, ..) if !offers_tls(to.side) && !to.side.dialback => {
            Err(Refusal::NothingWithoutTls)
        }
        (SrvRecord::StartTls, Tls::Disabled, Tls::Required) => Err(Refusal::TlsDisabled),
        (SrvRecord::StartTls, Tls::Disabled, _) => Ok(false),
        (SrvRecord::StartTls, Tls::Optional, _) => Ok(offers_tls(to.side)),
        (SrvRecord::StartTls, Tls::Required, _) => match offers_tls(to.side) {
            true => Ok(true),
            false => Err(Refusal::TlsNotOffered),
        },
    }
}

fn offers_tls(to: Side) -> bool {
    to.tls != Tls::Disabled && to.certificate != Certificate::Missing
}

/// Only once the certificate was found good, and never where TLS is disabled.
fn offers_external(from: Side, to: Side, tls: bool) -> bool {
    tls && from.certificate == Certificate::Valid && to.tls != Tls::Disabled
}
