//! A chain of tiny certificates through which there are a hundred thousand ways, none of which leads to a root: layers
//! of certificates that all could have signed each of the layer before (RFC 5280 §6.1 leaves the search to who builds
//! the path), and others that lead nowhere and are looked at each time.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use s2sd::tools::demo::ca::{Authority, Issued, Leaf};

fn tlv(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ ..128 => out.push(short as u8),
        long => {
            out.push(0x82);
            out.extend_from_slice(&u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}

/// A name as rcgen writes it: a common name, UTF8String.
fn name(text: &str) -> Vec<u8> {
    let (kind, value) = (tlv(6, &[&[0x55, 4, 3]]), tlv(0x0c, &[text.as_bytes()]));
    tlv(0x30, &[&tlv(0x31, &[&tlv(0x30, &[&kind, &value])])])
}

/// A certificate that nobody signed: names, a time, and whether it may sign.
fn certificate(serial: u16, subject: &[u8], issuer: &[u8], signs: bool) -> Vec<u8> {
    let empty = tlv(0x30, &[]);
    let time = |text: &str| tlv(0x17, &[text.as_bytes()]);
    let validity = tlv(0x30, &[&time("200101000000Z"), &time("491231235959Z")]);
    let version = tlv(0xa0, &[&tlv(2, &[&[2]])]);
    let serial = serial.to_be_bytes();
    let serial = tlv(2, &[&[1, serial[0], serial[1]]]);
    let extensions = match signs {
        true => {
            let is_authority = tlv(4, &[&tlv(0x30, &[&tlv(1, &[&[0xff]])])]);
            let constraints = tlv(
                0x30,
                &[
                    &tlv(6, &[&[0x55, 0x1d, 0x13]]),
                    &tlv(1, &[&[0xff]]),
                    &is_authority,
                ],
            );
            tlv(0xa3, &[&tlv(0x30, &[&constraints])])
        }
        false => Vec::new(),
    };
    let body = [
        &version,
        &serial,
        &empty,
        issuer,
        &validity,
        subject,
        &empty,
        &extensions,
    ];
    let body = body.map(|part| part as &[u8]);
    tlv(0x30, &[&tlv(0x30, &body), &empty, &tlv(3, &[&[0]])])
}

/// So many layers of so many, and others up to this size in all.
pub(crate) fn chain(domain: &str, layers: u16, of: u16, size: usize) -> Issued {
    let mut issued = Authority::new("1").issue(&Leaf::domain(domain));
    let mut chain = Vec::new();
    let mut serial = 0..;
    for layer in 1..=layers {
        let (subject, issuer) = (name(&layer.to_string()), name(&(layer + 1).to_string()));
        for _ in 0..of {
            let serial = serial.next().unwrap();
            chain.push(certificate(serial, &subject, &issuer, true));
        }
    }
    let length = |chain: &[Vec<u8>]| -> usize { chain.iter().map(|one| one.len() + 5).sum() };
    let other = name("nobody has this");
    while length(&chain) + 600 < size {
        // They come first: each is looked at before the next of the path is found.
        chain.insert(
            0,
            certificate(serial.next().unwrap(), &other, &other, false),
        );
    }
    for one in chain {
        let pem = STANDARD.encode(one);
        issued.chain_pem +=
            &format!("-----BEGIN CERTIFICATE-----\n{pem}\n-----END CERTIFICATE-----\n");
    }
    issued
}
