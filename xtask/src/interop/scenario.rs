//! The scenarios. Each is a setup and what happens in it; a new one is a line in the table and, if it does
//! something new, one function.

use super::{
    evidence::{Method, Refusal},
    peers::{Peer, S2sd},
    row::Row,
    setup::{Agreed, Certificate, Direction, Proof, Setup, Transport},
};
use anyhow::Result;

pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) setup: fn(&dyn Peer, Direction) -> Setup,
    pub(super) act: fn(&Row<'_>) -> Result<()>,
}

pub(super) const ALL: [Scenario; 20] = [
    Scenario {
        name: "dialback-plain",
        setup: |_, _| Setup::new(Transport::Plain, Proof::Dialback),
        act: |row| row.federates(Method::Dialback),
    },
    Scenario {
        name: "dialback-starttls",
        setup: |_, _| {
            Setup::new(Transport::StartTls, Proof::Dialback).certificates(Certificate::SelfSigned)
        },
        act: |row| row.federates(Method::Dialback),
    },
    Scenario {
        name: "external-starttls",
        setup: |_, _| Setup::new(Transport::StartTls, Proof::External),
        act: |row| row.federates(Method::External),
    },
    Scenario {
        name: "external-direct-tls",
        setup: |_, _| Setup::new(Transport::DirectTls, Proof::External),
        act: |row| row.federates(Method::External),
    },
    Scenario {
        name: "external-srvname",
        setup: |_, _| {
            Setup::new(Transport::StartTls, Proof::External).certificates(Certificate::SrvName)
        },
        act: |row| row.federates(Method::External),
    },
    Scenario {
        // Prosody 0.12 does not find a name of this kind in ours: it looks for it where the service is `_xmpp-server`, and
        // asks for `xmpp-server`.
        name: "external-xmppaddr",
        setup: |_, _| Setup {
            our_certificate: Certificate::XmppAddrToo,
            peer_certificate: Certificate::XmppAddr,
            ..Setup::new(Transport::StartTls, Proof::External)
        },
        act: |row| {
            row.federates(Method::External)?;
            row.was_believed_because("xmppAddr")
        },
    },
    Scenario {
        // Public authorities sign nothing else since 2026.
        name: "server-only",
        setup: |_, direction| {
            initiator_shows(
                Setup::new(Transport::StartTls, Proof::Either),
                direction,
                Certificate::ServerOnly,
            )
        },
        act: |row| match row.direction {
            // We ask for serverAuth from both ends.
            Direction::FromPeer => row.federates(Method::External),
            Direction::ToPeer => row.federates(row.peer.takes_server_only()),
        },
    },
    Scenario {
        // DANE-EE: the receiving server's certificate is signed by nobody, and its TLSA record is all that speaks for it.
        name: "dane",
        setup: |_, direction| {
            // Where it is ours, it is none that Prosody 0.12 takes of a client: the stream back is by dialback.
            let proof = match direction {
                Direction::FromPeer => Proof::Either,
                Direction::ToPeer => Proof::External,
            };
            let setup = Setup {
                dane: true,
                ..Setup::new(Transport::StartTls, proof)
            };
            receiver_shows(setup, direction, Certificate::SelfSigned)
        },
        act: |row| {
            row.federates(Method::External)?;
            row.was_believed_because("TLSA 3 0 1")?;
            match row.direction {
                Direction::FromPeer => row.was_found_by_dane(),
                Direction::ToPeer => Ok(()),
            }
        },
    },
    Scenario {
        name: "fallback",
        setup: |_, _| Setup {
            lenient: true,
            ..Setup::new(Transport::StartTls, Proof::Either).certificates(Certificate::Stranger)
        },
        act: |row| {
            row.federates(Method::Dialback)?;
            row.certificate_was_bad()
        },
    },
    Scenario {
        name: "wrong-certificate",
        setup: |_, direction| {
            initiator_shows(
                Setup::new(Transport::StartTls, Proof::External),
                direction,
                Certificate::WrongName,
            )
        },
        act: |row| row.is_refused(Refusal::Certificate),
    },
    Scenario {
        name: "unknown-authority",
        setup: |_, direction| {
            initiator_shows(
                Setup::new(Transport::StartTls, Proof::External),
                direction,
                Certificate::Stranger,
            )
        },
        act: |row| row.is_refused(Refusal::Certificate),
    },
    Scenario {
        name: "impostor",
        setup: |_, direction| {
            receiver_shows(
                Setup::new(Transport::StartTls, Proof::External),
                direction,
                Certificate::WrongName,
            )
        },
        act: |row| row.is_refused(Refusal::Impostor),
    },
    Scenario {
        name: "tls-required",
        setup: |_, _| Setup {
            insists: true,
            ..Setup::new(Transport::Plain, Proof::Dialback)
        },
        act: |row| row.is_refused(Refusal::NoTls),
    },
    Scenario {
        name: "wrong-key",
        setup: |_, _| Setup::new(Transport::Plain, Proof::Dialback),
        act: |row| match row.direction {
            Direction::FromPeer => row.key_of_another_authority(),
            Direction::ToPeer => row.forged_key(),
        },
    },
    Scenario {
        name: "unknown-host",
        setup: |_, _| Setup::new(Transport::Plain, Proof::Dialback),
        act: |row| row.unknown_host(),
    },
    Scenario {
        // RFC 6120 §4.7.5: a header without `version` is answered without, and no features follow.
        name: "no-version",
        setup: |_, _| Setup::new(Transport::Plain, Proof::Dialback),
        act: |row| {
            row.federates(Method::Dialback)?;
            row.header_had_no_version()
        },
    },
    Scenario {
        // Other users of the component write stanzas at which some servers end the stream.
        name: "odd-senders",
        setup: |_, _| Setup::new(Transport::Plain, Proof::Dialback),
        act: |row| row.keeps_order_among_odd_stanzas(),
    },
    Scenario {
        // XEP-0220 §2.6: a key for each domain, and one stream.
        name: "multiplex",
        setup: |_, _| Setup {
            further: 5,
            our_certificate: Certificate::Wildcard,
            ..Setup::new(Transport::StartTls, Proof::Either)
        },
        act: |row| row.shares_a_stream(),
    },
    Scenario {
        // XEP-0288: what the receiving server sends goes back by the stream of the initiating one.
        name: "bidi",
        setup: |_, _| Setup {
            bidi: true,
            ..Setup::new(Transport::StartTls, Proof::External)
        },
        act: |row| row.goes_both_ways(Method::External),
    },
    Scenario {
        // XEP-0198: the peer acknowledges what we send.
        name: "acks",
        setup: |_, _| Setup::new(Transport::StartTls, Proof::External),
        act: |row| row.is_acknowledged(),
    },
];

/// What two of us have agreed on, which no other server has between servers.
pub(super) const PAIRS: [Scenario; 6] = [
    Scenario {
        name: "agreed-digest-md5",
        setup: |_, _| pair(Agreed::DigestMd5),
        act: |row| row.federates(Method::Agreed(Agreed::DigestMd5.names().0)),
    },
    Scenario {
        name: "agreed-scram-sha-256-plus",
        setup: |_, _| pair(Agreed::ScramSha256Plus),
        act: |row| row.federates(Method::Agreed(Agreed::ScramSha256Plus.names().0)),
    },
    Scenario {
        name: "agreed-gssapi",
        setup: |_, _| pair(Agreed::Gssapi),
        act: |row| row.federates(Method::Agreed(Agreed::Gssapi.names().0)),
    },
    Scenario {
        name: "agreed-kerberos-v4",
        setup: |_, _| pair(Agreed::KerberosV4),
        act: |row| row.federates(Method::Agreed(Agreed::KerberosV4.names().0)),
    },
    Scenario {
        name: "bidi-external",
        setup: |_, _| Setup {
            bidi: true,
            ..Setup::new(Transport::StartTls, Proof::External)
        },
        act: |row| row.goes_both_ways(Method::External),
    },
    Scenario {
        name: "bidi-dialback",
        setup: |_, _| {
            let setup = Setup {
                bidi: true,
                ..Setup::new(Transport::StartTls, Proof::Dialback)
            };
            setup.certificates(Certificate::SelfSigned)
        },
        act: |row| row.goes_both_ways(Method::Dialback),
    },
];

/// Those that are played with this peer.
pub(super) fn of(peer: &dyn Peer) -> &'static [Scenario] {
    match peer.name() == S2sd.name() {
        true => &PAIRS,
        false => &ALL,
    }
}

/// Certificates are good, and none is a proof: encryption is theirs alone.
fn pair(agreed: Agreed) -> Setup {
    Setup::new(Transport::StartTls, Proof::Agreed(agreed))
}

fn initiator_shows(setup: Setup, direction: Direction, certificate: Certificate) -> Setup {
    match direction {
        Direction::FromPeer => Setup {
            peer_certificate: certificate,
            ..setup
        },
        Direction::ToPeer => Setup {
            our_certificate: certificate,
            ..setup
        },
    }
}

fn receiver_shows(setup: Setup, direction: Direction, certificate: Certificate) -> Setup {
    match direction {
        Direction::FromPeer => initiator_shows(setup, Direction::ToPeer, certificate),
        Direction::ToPeer => initiator_shows(setup, Direction::FromPeer, certificate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_has_its_own_name() {
        let all = ALL.iter().chain(&PAIRS);
        let mut names: Vec<&str> = all.map(|scenario| scenario.name).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b));
    }
}
