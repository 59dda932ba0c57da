//! Messages against vectors, and against bytes put together by hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::AwaitProof;
use super::message::{Authenticator, Last, Order, Proof, Request, Ticket};
use super::tests::{key, principal, service_key, session};
use super::*;
use crate::{Client, ClientInput, ClientStep};

fn hexadecimal(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// The last two messages for a session key, a challenge and an authorization identity, computed elsewhere (Python's
/// cryptography and OpenSSL).
#[test]
fn proof_and_last_response_are_those_of_the_vectors() {
    for (session, first, proof, authzid, last) in [
        (
            0x0123_4567_89ab_cdef_u64,
            0x0261_588a_u32,
            "c15aad9a7cb007ad",
            "example.com",
            "79b6b09504a1ba7d28b6c86efd13706150138e4ae4a7d229",
        ),
        (
            0x1334_5779_9bbc_dff1,
            0x0000_0001,
            "d0cc1014bcafd9f1",
            "a.b.test",
            "bf8e7dd274567a3a2ee913fba7c1e9f3f2715a792db19f1c",
        ),
    ] {
        let sealed = Proof {
            number: first.wrapping_add(1),
            layers: NO_LAYER,
        }
        .seal(&key(session));
        assert_eq!(sealed.to_vec(), hexadecimal(proof));
        proof_is_answered(session, first, proof, authzid, last);
    }
    // A server with all layers and a size for them, and a challenge that wraps around.
    proof_is_answered(
        0x1334_5779_9bbc_dff1,
        0xffff_ffff,
        "3b8a3afd77f2332b",
        "example.com",
        "1eb953f4cfff663350a4cd8f159d6ac32a833fe42c487488",
    );
}

#[track_caller]
fn proof_is_answered(session: u64, first: u32, proof: &str, authzid: &str, last: &str) {
    let waiting = Box::new(AwaitProof {
        challenge: first,
        session: key(session),
        authzid: authzid.to_owned(),
    });
    let mut random = |_: &mut [u8]| unreachable!("everything is known");
    let step = waiting.step(ClientInput::Challenge(&hexadecimal(proof)), &mut random);
    let ClientStep::Respond(response, _) = step else {
        panic!("{step:?}")
    };
    assert_eq!(response, hexadecimal(last));
    let opened = Last::open(&response, &key(session)).unwrap();
    assert_eq!(
        opened,
        Last {
            number: first,
            layer: NO_LAYER,
            authzid: authzid.to_owned()
        }
    );
}

#[test]
fn the_request_that_rfc_2222_prints_is_read() {
    let printed = "BAcAQU5EUkVXLkNNVS5FRFUAOCAsho84kLN3/IJmrMG+25a4DT+nZImJjnTNHJUtxAA+o0KPKfHEcAFs9a3CL5Oebe/ydHJU\
                   wYFdWwuQ1MWiy6IesKvjL5rL9WjXUb9MwT9bpObYLGOKi1Qh";
    let message = STANDARD.decode(printed).unwrap();
    let request = Request::parse(&message).unwrap();
    assert_eq!(request.order, Order::Little);
    assert_eq!((request.version, request.realm), (0, "ANDREW.CMU.EDU"));
    assert_eq!(
        (request.ticket.len(), request.authenticator.len()),
        (56, 32)
    );
    for length in 0..message.len() {
        assert_eq!(Request::parse(&message[..length]), None);
    }
}

#[test]
fn numbers_are_read_in_the_order_of_the_sender() {
    // A ticket and an authenticator from a little-endian machine, put together by hand.
    let mut plain = b"\x01ali\0\0CAVE.EXAMPLE\0\x7f\0\0\x01\x01\x23\x45\x67\x89\xab\xcd\xef\x60\x78\x56\x34\x12imap\0cave\0".to_vec();
    plain.resize(plain.len().next_multiple_of(8), 0);
    service_key().encrypt(&mut plain);
    let ticket = Ticket::open(&plain, &service_key()).unwrap();
    assert_eq!(ticket.client, principal("ali@CAVE.EXAMPLE"));
    assert_eq!((ticket.issued, ticket.life), (0x1234_5678, 0x60));
    assert_eq!(ticket.expires(), 0x1234_5678 + 8 * 3600);
    assert_eq!(ticket.session, session());

    let mut plain = b"ali\0\0CAVE.EXAMPLE\0\x8a\x58\x61\x02\x05\x78\x56\x34\x12".to_vec();
    plain.resize(plain.len().next_multiple_of(8), 0);
    session().encrypt(&mut plain);
    let authenticator = Authenticator::open(&plain, &session(), Order::Little).unwrap();
    assert_eq!(authenticator.checksum, 0x0261_588a);
    assert_eq!(authenticator.seconds, 0x1234_5678);
}

#[test]
fn the_longest_names_fit() {
    let part = "x".repeat(39);
    let longest = principal(&format!("{part}.{part}@{part}"));
    let ticket = Ticket {
        client: longest.clone(),
        session: session(),
        life: 255,
        issued: u32::MAX,
        service: part.clone(),
        instance: part.clone(),
    };
    let authenticator = Authenticator {
        client: longest,
        checksum: 0,
        seconds: 0,
    };
    let [sealed, proof] = [ticket.seal(&service_key()), authenticator.seal(&session())];
    let request = Request {
        order: Order::Network,
        version: 255,
        realm: &part,
        ticket: &sealed,
        authenticator: &proof,
    };
    let message = request.write();
    assert_eq!(Request::parse(&message), Some(request));
    assert_eq!(Ticket::open(&sealed, &service_key()), Some(ticket));
}
