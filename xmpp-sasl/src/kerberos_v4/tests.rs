//! Every refusal by its reason.

use super::client::AwaitProof;
use super::message::{Authenticator, Last, Order, Proof, Request, Ticket};
use super::server::AwaitLast;
use super::*;
use crate::{
    Client, ClientCredentials, ClientError, ClientInput, ClientStep, Failure, Host, Identity,
    Password, Server, ServerOptions, ServerStep,
};

const CLIENT: &str = "xmpp.capulet@CAPULET.EXAMPLE";
const SERVICE: &str = "xmpp.montague@MONTAGUE.EXAMPLE";
const NOW: u32 = 1_100_000_000;

pub(super) fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

pub(super) fn key(octets: u64) -> Key {
    Key::new(octets.to_be_bytes()).unwrap()
}

pub(super) fn service_key() -> Key {
    key(0x1334_5779_9bbc_dff1)
}

pub(super) fn session() -> Key {
    key(0x0123_4567_89ab_cdef)
}

fn keys() -> Keys {
    Keys::parse(&format!("{CLIENT} {SERVICE} 3 133457799bbcdff1"))
        .unwrap()
        .with_clock(Clock(|| u64::from(NOW)))
}

/// Lets the one principal act as the one domain.
#[derive(Default)]
struct Montague {
    asked: Vec<(String, String, Option<String>)>,
}

impl Host for Montague {
    fn random(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&[0x02, 0x61, 0x58, 0x8a]);
    }

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        unreachable!("there are no passwords here")
    }

    fn authorize(&mut self, _: &str, _: Option<&str>) -> Result<(), Failure> {
        unreachable!("authorize_principal() decides")
    }

    fn authorize_principal(
        &mut self,
        principal: &str,
        ours: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        let authzid = authzid.map(str::to_owned);
        self.asked
            .push((principal.to_owned(), ours.to_owned(), authzid.clone()));
        match authzid.as_deref() {
            None | Some("capulet.example") if principal == CLIENT => Ok(()),
            _ => Err(Failure::InvalidAuthzid),
        }
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        unreachable!("this is not EXTERNAL")
    }
}

/// What a client says to the challenge 0261588a, and who it says it is.
struct Claim {
    ticket: Ticket,
    authenticator: Authenticator,
    key: Key,
    version: u8,
    realm: &'static str,
}

fn claim() -> Claim {
    Claim {
        ticket: Ticket {
            client: principal(CLIENT),
            session: session(),
            life: 12,
            issued: NOW,
            service: "xmpp".to_owned(),
            instance: "montague".to_owned(),
        },
        authenticator: Authenticator {
            client: principal(CLIENT),
            checksum: 0x0261_588a,
            seconds: NOW,
        },
        key: service_key(),
        version: 3,
        realm: "MONTAGUE.EXAMPLE",
    }
}

impl Claim {
    fn message(&self) -> Vec<u8> {
        Request {
            order: Order::Network,
            version: self.version,
            realm: self.realm,
            ticket: &self.ticket.seal(&self.key),
            authenticator: &self.authenticator.seal(&self.ticket.session),
        }
        .write()
    }
}

fn asked() -> Box<dyn Server> {
    let mut options = ServerOptions::new("xmpp", "montague.example");
    options.kerberos_v4 = Some(keys());
    match server(&options)
        .unwrap()
        .step(None, &mut Montague::default())
    {
        ServerStep::Challenge(challenge, next) if challenge == [0x02, 0x61, 0x58, 0x8a] => next,
        step => panic!("{step:?}"),
    }
}

fn server(options: &ServerOptions) -> Option<Box<dyn Server>> {
    crate::server(NAME, options).ok()
}

#[track_caller]
fn check(want: Result<(), Failure>, change: impl FnOnce(&mut Claim)) {
    let mut claim = claim();
    change(&mut claim);
    let got = match asked().step(Some(&claim.message()), &mut Montague::default()) {
        ServerStep::Challenge(proof, _) => {
            let proof = Proof::open(proof.try_into().unwrap(), &claim.ticket.session);
            assert_eq!((proof.number, proof.layers), (0x0261_588b, NO_LAYER));
            Ok(())
        }
        ServerStep::Failure(failure) => Err(failure),
        step => panic!("{step:?}"),
    };
    assert_eq!(got, want);
}

#[test]
fn a_request_is_refused_for_each_part_that_is_wrong() {
    const NO: Result<(), Failure> = Err(Failure::NotAuthorized);
    check(Ok(()), |_| ());
    check(NO, |claim| claim.key = session());
    check(NO, |claim| claim.version = 2);
    check(NO, |claim| claim.realm = "CAPULET.EXAMPLE");
    check(NO, |claim| claim.ticket.service = "imap".to_owned());
    check(NO, |claim| claim.ticket.instance = "capulet".to_owned());
    // The key is shared with one client; it cannot speak for another.
    check(NO, |claim| {
        claim.ticket.client = principal("xmpp.mercutio@MERCUTIO.EXAMPLE");
        claim.authenticator.client = claim.ticket.client.clone();
    });
    check(NO, |claim| {
        claim.authenticator.client = principal("ali@CAVE.EXAMPLE")
    });
    // Another exchange's, which is what a replay is.
    check(NO, |claim| claim.authenticator.checksum ^= 1);
    check(Ok(()), |claim| claim.authenticator.seconds -= 300);
    check(NO, |claim| claim.authenticator.seconds -= 301);
    check(Ok(()), |claim| claim.authenticator.seconds += 300);
    check(NO, |claim| claim.authenticator.seconds += 301);
    check(Ok(()), |claim| claim.ticket.issued += 300);
    check(NO, |claim| claim.ticket.issued += 301);
    check(Ok(()), |claim| claim.ticket.issued -= 3900);
    check(Err(Failure::CredentialsExpired), |claim| {
        claim.ticket.issued -= 3901
    });
}

#[test]
fn what_is_not_a_request_is_malformed() {
    let good = claim().message();
    let refused = |message: Option<&[u8]>| match asked().step(message, &mut Montague::default()) {
        ServerStep::Failure(failure) => failure,
        step => panic!("{step:?}"),
    };
    assert_eq!(refused(None), Failure::MalformedRequest);
    for length in 0..good.len() {
        assert_eq!(refused(Some(&good[..length])), Failure::MalformedRequest);
    }
    let longer = [&good[..], b"\0"].concat();
    assert_eq!(refused(Some(&longer)), Failure::MalformedRequest);
    for (at, octet) in [(0, 5), (1, 8), (3, 0)] {
        let mut changed = good.clone();
        changed[at] = octet;
        assert_eq!(refused(Some(&changed)), Failure::MalformedRequest);
    }
}

#[test]
fn every_changed_bit_of_a_request_is_noticed() {
    let good = claim().message();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.clone();
            changed[at] ^= 1 << bit;
            let step = asked().step(Some(&changed), &mut Montague::default());
            // The one bit that says nothing but the byte order makes another number of the challenge.
            assert!(
                matches!(step, ServerStep::Failure(_)),
                "bit {bit} of octet {at}"
            );
        }
    }
}

#[test]
fn there_is_no_initial_response() {
    let mut options = ServerOptions::new("xmpp", "montague.example");
    options.kerberos_v4 = Some(keys());
    let step = server(&options)
        .unwrap()
        .step(Some(b""), &mut Montague::default());
    assert!(matches!(
        step,
        ServerStep::Failure(Failure::MalformedRequest)
    ));
}

fn await_last() -> Box<AwaitLast> {
    Box::new(AwaitLast {
        challenge: 0x0261_588a,
        session: session(),
        client: principal(CLIENT),
        service: principal(SERVICE),
    })
}

#[track_caller]
fn last(message: &[u8], want: Result<Option<&str>, Failure>) {
    let mut host = Montague::default();
    let got = match await_last().step(Some(message), &mut host) {
        ServerStep::Success { identity, data } => {
            assert_eq!(data, None);
            assert_eq!(identity.authcid.as_deref(), Some(CLIENT));
            let asked = (
                CLIENT.to_owned(),
                SERVICE.to_owned(),
                identity.authzid.clone(),
            );
            assert_eq!(host.asked, [asked]);
            Ok(identity.authzid)
        }
        ServerStep::Failure(failure) => Err(failure),
        step @ ServerStep::Challenge(..) => panic!("{step:?}"),
    };
    assert_eq!(got, want.map(|authzid| authzid.map(str::to_owned)));
}

fn sealed(number: u32, layer: u8, authzid: &str) -> Vec<u8> {
    let authzid = authzid.to_owned();
    Last {
        number,
        layer,
        authzid,
    }
    .seal(&session())
}

#[test]
fn the_last_response_says_who_to_act_as() {
    const CHALLENGE: u32 = 0x0261_588a;
    last(
        &sealed(CHALLENGE, 1, "capulet.example"),
        Ok(Some("capulet.example")),
    );
    last(&sealed(CHALLENGE, 1, ""), Ok(None));
    last(
        &sealed(CHALLENGE, 1, "montague.example"),
        Err(Failure::InvalidAuthzid),
    );
    last(&sealed(CHALLENGE + 1, 1, ""), Err(Failure::NotAuthorized));
    // A layer that was not offered, two, none.
    for layer in [2, 4, 3, 0] {
        last(
            &sealed(CHALLENGE, layer, ""),
            Err(Failure::MalformedRequest),
        );
    }
    let long = "x".repeat(LAST_BOUND);
    last(&sealed(CHALLENGE, 1, &long), Err(Failure::MalformedRequest));
    last(b"", Err(Failure::NotAuthorized));
}

#[test]
fn padding_is_one_to_eight_zeros() {
    let put = |tail: &[u8]| {
        let mut plain = [&[0x02, 0x61, 0x58, 0x8a, 1, 0, 0, 0][..], tail].concat();
        assert_eq!(plain.len() % 8, 0);
        session().encrypt(&mut plain);
        plain
    };
    last(&put(b"capulet.example\0"), Ok(Some("capulet.example")));
    last(&put(b"\0\0\0\0\0\0\0\0"), Ok(None));
    for bad in [
        &b""[..],
        b"capulet.",
        b"\0\0\0\0\0\0\0x",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\xff\0\0\0\0\0\0\0",
    ] {
        last(&put(bad), Err(Failure::NotAuthorized));
    }
}

#[test]
fn every_changed_bit_of_the_last_response_is_noticed() {
    let good = sealed(0x0261_588a, 1, "capulet.example");
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut changed = good.clone();
            changed[at] ^= 1 << bit;
            let step = await_last().step(Some(&changed), &mut Montague::default());
            assert!(
                matches!(step, ServerStep::Failure(_)),
                "bit {bit} of octet {at}"
            );
        }
    }
    for length in 0..good.len() {
        let step = await_last().step(Some(&good[..length]), &mut Montague::default());
        assert!(matches!(step, ServerStep::Failure(_)));
    }
    let none = await_last().step(None, &mut Montague::default());
    assert!(matches!(
        none,
        ServerStep::Failure(Failure::MalformedRequest)
    ));
}

fn proving(authzid: Option<&str>) -> Option<Box<dyn Client>> {
    let credentials = ClientCredentials {
        kerberos_v4: Some(keys()),
        authzid: authzid.map(str::to_owned),
        ..ClientCredentials::new("xmpp", "montague.example")
    };
    crate::client(NAME, &credentials).ok()
}

fn started() -> Box<dyn Client> {
    let mut random = |_: &mut [u8]| unreachable!("there is nothing to make up yet");
    match proving(None).unwrap().step(ClientInput::Start, &mut random) {
        ClientStep::Wait(next) => next,
        step => panic!("{step:?}"),
    }
}

#[track_caller]
fn aborts(client: Box<dyn Client>, input: ClientInput<'_>, want: ClientError) {
    match client.step(input, &mut |out: &mut [u8]| out.fill(7)) {
        ClientStep::Abort(error) => assert_eq!(error, want),
        step => panic!("{step:?}"),
    }
}

#[test]
fn a_client_wants_a_challenge_and_then_a_proof() {
    let waiting = || {
        Box::new(AwaitProof {
            challenge: 0x0261_588a,
            session: session(),
            authzid: String::new(),
        })
    };
    for wrong in [&b""[..], b"abc", b"abcde"] {
        aborts(
            started(),
            ClientInput::Challenge(wrong),
            ClientError::Malformed("a challenge has four octets"),
        );
    }
    for wrong in [&b""[..], b"1234567", b"123456789"] {
        aborts(
            waiting(),
            ClientInput::Challenge(wrong),
            ClientError::Malformed("the server's proof has eight octets"),
        );
    }
    // Success before the server proved anything.
    for data in [None, Some(&b""[..])] {
        aborts(
            started(),
            ClientInput::Success(data),
            ClientError::Unexpected,
        );
        aborts(
            waiting(),
            ClientInput::Success(data),
            ClientError::Unexpected,
        );
    }
    let proof = |number, layers| Proof { number, layers }.seal(&session());
    for wrong in [proof(0x0261_588a, 1), proof(0x0261_588c, 1), [0; 8]] {
        aborts(
            waiting(),
            ClientInput::Challenge(&wrong),
            ClientError::ServerNotAuthenticated,
        );
    }
    for layers in [0, 2, 4, 6] {
        aborts(
            waiting(),
            ClientInput::Challenge(&proof(0x0261_588b, layers)),
            ClientError::Unsupported("a security layer"),
        );
    }
}

#[test]
fn a_client_exists_for_the_service_that_it_has_a_key_of() {
    assert!(proving(None).is_some());
    assert!(proving(Some("a\0b")).is_none());
    assert!(proving(Some(&"x".repeat(4000))).is_none());
    for (service, host) in [("imap", "montague.example"), ("xmpp", "capulet.example")] {
        let credentials = ClientCredentials {
            kerberos_v4: Some(keys()),
            ..ClientCredentials::new(service, host)
        };
        assert!(crate::client(NAME, &credentials).is_err());
    }
    let mut options = ServerOptions::new("xmpp", "montague.example");
    options.kerberos_v4 = Some(Keys::default());
    assert!(server(&options).is_none());
}

#[test]
fn debug_shows_no_key() {
    let mut random = |out: &mut [u8]| out.fill(0x5e);
    let step = started().step(ClientInput::Challenge(b"abcd"), &mut random);
    let shown = format!("{step:?} {:?} {:?} {:?}", asked(), await_last(), keys());
    assert!(shown.contains("Key(…)"), "{shown}");
    for secret in ["5d5d", "93, 93", "0x13", "19, 52", "133457"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
