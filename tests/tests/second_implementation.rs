//! SCRAM against a second implementation, bound to a TLS connection that there is: each side gets what its own end of it
//! gives. `cargo xtask interop --peer rsasl` is the same over pipes, and has the other mechanisms.

#![allow(clippy::unwrap_used)]

use rustls::{ClientConnection, Connection, ServerConnection};
use s2sd::net::tls::binding::{EXPORTER_LABEL, channel_bindings};
use s2sd::tools::demo::ca::{Issued, Leaf};
use s2sd_tests::{
    second::{Account, Side, Stepped},
    tls::{self, TlsIdentity},
};
use sha2::{Digest as _, Sha256};
use xmpp_sasl::{
    ChannelBindingType, ChannelBindings, ClientCredentials, ClientInput, ClientStep, Failure, Host,
    Identity as Proved, Password, ServerOptions, ServerStep,
};

const PLUS: [&str; 3] = [
    "SCRAM-SHA-512-PLUS",
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
];
const BARE: [&str; 3] = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"];
const KINDS: [ChannelBindingType; 2] = [
    ChannelBindingType::TlsExporter,
    ChannelBindingType::TlsServerEndPoint,
];
const USER: &str = "alice";
const PASSWORD: &str = "secret";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum We {
    Prove,
    Ask,
}

/// What the two ends of one TLS connection give to bind to: to us, as the daemon takes it, and to the other side.
struct Ends {
    ours: ChannelBindings,
    exported: Vec<u8>,
    certificate: Vec<u8>,
}

/// A TLS connection in memory; who proves is its client.
fn connection(we: We) -> Ends {
    let issued = Issued::self_signed(&Leaf::domain("montague.example"));
    let shown = issued.chain().remove(0);
    let name = "montague.example".try_into().unwrap();
    let client = ClientConnection::new(tls::client(None, false).unwrap(), name).unwrap();
    let server = ServerConnection::new(tls::server(&TlsIdentity::from(&issued)).unwrap()).unwrap();
    let mut client = Connection::from(client);
    let mut server = Connection::from(server);
    while client.is_handshaking() || server.is_handshaking() {
        pass(&mut client, &mut server);
        pass(&mut server, &mut client);
    }
    let exported = |end: &Connection| -> [u8; 32] {
        end.export_keying_material([0; 32], EXPORTER_LABEL, Some(b""))
            .unwrap()
    };
    let (ours, theirs) = match we {
        We::Prove => (&client, &server),
        We::Ask => (&server, &client),
    };
    Ends {
        ours: channel_bindings(Some(exported(ours)), Some(&shown)),
        exported: exported(theirs).to_vec(),
        certificate: shown.to_vec(),
    }
}

fn pass(from: &mut Connection, to: &mut Connection) {
    let mut records = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut records).unwrap();
    }
    let mut records = records.as_slice();
    while !records.is_empty() {
        to.read_tls(&mut records).unwrap();
        to.process_new_packets().unwrap();
    }
}

impl Ends {
    /// What the other side binds to. RFC 5929 §4.1: the certificate is signed with ECDSA and SHA-256.
    fn theirs(&self, kind: ChannelBindingType) -> (String, Vec<u8>) {
        let data = match kind {
            ChannelBindingType::TlsExporter => self.exported.clone(),
            _ => Sha256::digest(&self.certificate).to_vec(),
        };
        (kind.name().to_owned(), data)
    }

    /// Nothing of ours but this.
    fn ours(&self, kind: ChannelBindingType) -> ChannelBindings {
        ChannelBindings::none().with(kind, self.ours.get(kind).unwrap())
    }
}

struct Accounts;

impl Host for Accounts {
    fn random(&mut self, out: &mut [u8]) {
        getrandom::fill(out).unwrap();
    }

    fn password(&mut self, name: &str, _: Option<&str>) -> Option<Password> {
        (name == USER).then(|| Password::new(PASSWORD))
    }

    fn authorize(&mut self, _: &str, authzid: Option<&str>) -> Result<(), Failure> {
        assert_eq!(authzid, None);
        Ok(())
    }

    fn external(&mut self, _: Option<&str>) -> Result<Proved, Failure> {
        Err(Failure::NotAuthorized)
    }
}

/// Both sides to their end: what the one that asks says.
fn exchange(
    we: We,
    mechanism: &str,
    ours: ChannelBindings,
    theirs: Option<(String, Vec<u8>)>,
    their_password: &str,
) -> Result<(), String> {
    let account = Account {
        mechanism: mechanism.to_owned(),
        username: USER.to_owned(),
        password: their_password.to_owned(),
        authzid: None,
        external: None,
        channel_binding: theirs,
    };
    match we {
        We::Prove => prove(mechanism, ours, Side::server(account).unwrap()),
        We::Ask => ask(mechanism, ours, Side::client(account).unwrap()),
    }
}

fn prove(mechanism: &str, ours: ChannelBindings, mut server: Side) -> Result<(), String> {
    let credentials = ClientCredentials::new("xmpp", "montague.example")
        .with_password(USER, PASSWORD)
        .with_channel_bindings(ours);
    let mut random = |out: &mut [u8]| getrandom::fill(out).unwrap();
    let mut client = xmpp_sasl::client(mechanism, &credentials).unwrap();
    let mut challenge: Option<Vec<u8>> = None;
    loop {
        let input = challenge
            .as_deref()
            .map_or(ClientInput::Start, ClientInput::Challenge);
        let (response, next) = match client.step(input, &mut random) {
            ClientStep::Respond(data, next) => (data, next),
            other => panic!("{other:?}"),
        };
        match server
            .step(Some(&response))
            .map_err(|why| why.to_string())?
        {
            Stepped::Message(data) => challenge = Some(data),
            Stepped::Content(data, let_in) => {
                assert_eq!(let_in.as_deref(), Some(USER));
                let end = next.step(ClientInput::Success(data.as_deref()), &mut random);
                assert!(matches!(end, ClientStep::Authenticated), "{end:?}");
                return Ok(());
            }
        }
        client = next;
    }
}

fn ask(mechanism: &str, ours: ChannelBindings, mut client: Side) -> Result<(), String> {
    let options = ServerOptions::new("xmpp", "montague.example")
        .with_channel_bindings(ours)
        .with_iterations(4096);
    let mut server = xmpp_sasl::server(mechanism, &options).unwrap();
    let mut challenge: Option<Vec<u8>> = None;
    loop {
        let Stepped::Message(response) = client.step(challenge.as_deref()).unwrap() else {
            panic!("it is content before we are");
        };
        match server.step(Some(&response), &mut Accounts) {
            ServerStep::Challenge(data, next) => {
                challenge = Some(data);
                server = next;
            }
            ServerStep::Success { identity, data } => {
                assert_eq!(identity.authcid.as_deref(), Some(USER));
                let end = client.step(data.as_deref()).unwrap();
                assert_eq!(end, Stepped::Content(None, None));
                return Ok(());
            }
            ServerStep::Failure(failure) => return Err(failure.name().to_owned()),
        }
    }
}

#[test]
fn each_side_comes_in_at_the_other_bound_to_the_connection_between_them() {
    for we in [We::Prove, We::Ask] {
        let ends = connection(we);
        for kind in KINDS {
            for mechanism in PLUS {
                let theirs = Some(ends.theirs(kind));
                let outcome = exchange(we, mechanism, ends.ours(kind), theirs, PASSWORD);
                assert_eq!(outcome, Ok(()), "{mechanism} {kind} {we:?}");
            }
        }
        for mechanism in BARE {
            let outcome = exchange(we, mechanism, ChannelBindings::none(), None, PASSWORD);
            assert_eq!(outcome, Ok(()), "{mechanism} {we:?}");
        }
    }
}

#[test]
fn who_sits_between_two_connections_is_found_out_by_either() {
    for (we, want) in [
        (
            We::Prove,
            "it does not believe: e=channel-bindings-dont-match",
        ),
        (We::Ask, "not-authorized"),
    ] {
        let (ends, others) = (connection(we), connection(we));
        for kind in KINDS {
            for mechanism in PLUS {
                let theirs = Some(others.theirs(kind));
                let outcome = exchange(we, mechanism, ends.ours(kind), theirs, PASSWORD);
                assert_eq!(outcome, Err(want.to_owned()), "{mechanism} {kind} {we:?}");
            }
        }
    }
}

#[test]
fn another_password_is_refused_by_either() {
    for (we, want) in [
        (We::Prove, "it does not believe: e=invalid-proof"),
        (We::Ask, "not-authorized"),
    ] {
        let ends = connection(we);
        for mechanism in PLUS.into_iter().chain(BARE) {
            let (ours, theirs) = match mechanism.ends_with("-PLUS") {
                true => (
                    ends.ours(ChannelBindingType::TlsExporter),
                    Some(ends.theirs(ChannelBindingType::TlsExporter)),
                ),
                false => (ChannelBindings::none(), None),
            };
            let outcome = exchange(we, mechanism, ours, theirs, "other");
            assert_eq!(outcome, Err(want.to_owned()), "{mechanism} {we:?}");
        }
    }
}
