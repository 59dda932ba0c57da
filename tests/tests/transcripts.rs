//! The golden transcripts of `transcripts/`, each against the pure machines and again over sockets.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use s2sd_tests::transcript::{self, Against};

/// A transcript is a file, and a line here.
macro_rules! transcripts {
    ($($role:ident { $($name:ident)* })*) => {
        $(mod $role {
            $(mod $name {
                use super::super::*;

                #[test]
                fn against_the_machines() {
                    play(stringify!($role), stringify!($name), Against::Machines);
                }

                #[test]
                fn over_sockets() {
                    play(stringify!($role), stringify!($name), Against::Sockets);
                }
            })*
        })*

        const LISTED: &[(&str, &[&str])] = &[$((stringify!($role), &[$(stringify!($name)),*])),*];
    };
}

transcripts! {
    receiving {
        certified_pairs
        dialback
        end
        external
        header
        password
        plain
        scram
        seed_dialback
        seed_kerberos_v4
        seed_sasl
        stanza
        starttls
        xml
    }
    initiating {
        dialback
        external
        features
        header
        open
        password
        plain
        scram
        seed_dialback
        seed_kerberos_v4
        seed_sasl
        starttls
        xml
    }
}

fn folder(role: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("transcripts")
        .join(role)
}

#[track_caller]
fn play(role: &str, name: &str, against: Against) {
    let file = folder(role).join(name).with_extension("txt");
    if let Err(error) = transcript::run(&file, against) {
        panic!("{error:#}");
    }
}

#[test]
fn every_transcript_is_played() {
    for (role, names) in LISTED {
        let mut found: Vec<String> = std::fs::read_dir(folder(role))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let listed: Vec<String> = names.iter().map(|name| format!("{name}.txt")).collect();
        assert_eq!(found, listed, "{role}");
    }
}

/// Where each step of RFC 3920 §6.6 (SASL, with its alternatives) and §8.3 (dialback) is played, in both roles; those of SASL
/// twice, since DIGEST-MD5 and KERBEROS_V4 are offered: once by who knows the former only, and once by the latter.
const SEED: &[(&str, &str, &str)] = &[
    // A header with `to` and version='1.0', without `from`; the answer has `from`, a fresh `id`, a version.
    ("SASL 1 to 2", "receiving/seed_sasl", "SASL 1 to 11:"),
    ("SASL 1 to 2", "initiating/seed_sasl", "SASL 1 to 11:"),
    ("SASL 1 to 2", "receiving/seed_kerberos_v4", "SASL 1 to 11:"),
    (
        "SASL 1 to 2",
        "initiating/seed_kerberos_v4",
        "SASL 1 to 11:",
    ),
    // DIGEST-MD5 and KERBEROS_V4 are offered and seen, both ways: by an initiator that does not know the latter,
    ("SASL 3", "receiving/seed_sasl", "SASL 1 to 11:"),
    (
        "SASL 3",
        "initiating/seed_sasl",
        "SASL 1 to 11: both names seen, KERBEROS_V4 passed over",
    ),
    (
        "SASL 3",
        "initiating/seed_sasl",
        "SASL 3: KERBEROS_V4 alone",
    ),
    (
        "SASL 3",
        "receiving/seed_sasl",
        "SASL 4: KERBEROS_V4 was not offered",
    ),
    // and by one that selects it.
    ("SASL 3", "receiving/seed_kerberos_v4", "SASL 1 to 11:"),
    (
        "SASL 3",
        "initiating/seed_kerberos_v4",
        "SASL 1 to 11: both names seen, KERBEROS_V4 selected",
    ),
    (
        "SASL 3",
        "initiating/seed_kerberos_v4",
        "SASL 3: KERBEROS_V4 alone",
    ),
    // Choice, challenge, response.
    ("SASL 4 to 6", "receiving/seed_sasl", "SASL 1 to 11:"),
    (
        "SASL 4 to 6",
        "receiving/seed_sasl",
        "SASL 6: a response that ends in a line feed",
    ),
    (
        "SASL 4 to 6",
        "receiving/seed_sasl",
        "SASL 6: the printed digest-uri",
    ),
    ("SASL 4 to 6", "initiating/seed_sasl", "SASL 1 to 11:"),
    (
        "SASL 4 to 6",
        "initiating/seed_sasl",
        "SASL 5: a challenge that ends in a line feed",
    ),
    (
        "SASL 5 alt",
        "receiving/seed_sasl",
        "SASL 5 alt: incorrect-encoding, and the stream is closed",
    ),
    (
        "SASL 5 alt",
        "initiating/seed_sasl",
        "SASL 5 alt: incorrect-encoding",
    ),
    (
        "SASL 4 to 6",
        "receiving/seed_kerberos_v4",
        "SASL 6: a wrong key is refused, and another try is not",
    ),
    (
        "SASL 4 to 6",
        "receiving/seed_kerberos_v4",
        "SASL 6: an answer to an older challenge",
    ),
    (
        "SASL 4 to 6",
        "receiving/seed_kerberos_v4",
        "SASL 6: a wrong key is refused, and the password is not",
    ),
    (
        "SASL 4 to 6",
        "initiating/seed_kerberos_v4",
        "SASL 5: a challenge of another length",
    ),
    (
        "SASL 5 alt",
        "receiving/seed_kerberos_v4",
        "SASL 5 alt: incorrect-encoding, and the stream is closed",
    ),
    (
        "SASL 5 alt",
        "initiating/seed_kerberos_v4",
        "SASL 5 alt: incorrect-encoding",
    ),
    // The receiving entity's proof, and the empty response to it.
    ("SASL 7 to 8", "receiving/seed_sasl", "SASL 1 to 11:"),
    (
        "SASL 7 to 8",
        "receiving/seed_sasl",
        "SASL 8: the initiator's answer to rspauth is empty",
    ),
    ("SASL 7 to 8", "initiating/seed_sasl", "SASL 1 to 11:"),
    (
        "SASL 7 to 8",
        "initiating/seed_sasl",
        "SASL 7: a wrong rspauth is not believed",
    ),
    (
        "SASL 7 to 8",
        "initiating/seed_sasl",
        "SASL 7: success without rspauth is not believed",
    ),
    (
        "SASL 7 alt",
        "receiving/seed_sasl",
        "SASL 7 alt: invalid-authzid, and the stream is closed",
    ),
    (
        "SASL 7 alt",
        "initiating/seed_sasl",
        "SASL 7 alt: invalid-authzid",
    ),
    (
        "SASL 8 alt, 9 alt",
        "receiving/seed_sasl",
        "SASL 8 alt, 9 alt: the initiator aborts, aborted",
    ),
    (
        "SASL 8 alt, 9 alt",
        "initiating/seed_sasl",
        "SASL 7: a wrong rspauth is not believed, step 8 alt: abort, step 9 alt: aborted",
    ),
    (
        "SASL 7 to 8",
        "receiving/seed_kerberos_v4",
        "SASL 8: a last response that was not sealed",
    ),
    (
        "SASL 7 to 8",
        "initiating/seed_kerberos_v4",
        "SASL 7: a wrong proof is not believed",
    ),
    (
        "SASL 7 to 8",
        "initiating/seed_kerberos_v4",
        "SASL 7: success without the server's proof",
    ),
    (
        "SASL 7 alt",
        "receiving/seed_kerberos_v4",
        "SASL 7 alt: invalid-authzid, and the stream is closed",
    ),
    (
        "SASL 7 alt",
        "initiating/seed_kerberos_v4",
        "SASL 7 alt: invalid-authzid",
    ),
    (
        "SASL 8 alt, 9 alt",
        "receiving/seed_kerberos_v4",
        "SASL 8 alt, 9 alt: the initiator aborts, aborted",
    ),
    (
        "SASL 8 alt, 9 alt",
        "initiating/seed_kerberos_v4",
        "SASL 7: a wrong proof is not believed, step 8 alt: abort, step 9 alt: aborted",
    ),
    // Success, a new stream with a new id, features.
    ("SASL 9 to 11", "receiving/seed_sasl", "SASL 1 to 11:"),
    ("SASL 9 to 11", "initiating/seed_sasl", "SASL 1 to 11:"),
    (
        "SASL 9 to 11",
        "receiving/seed_kerberos_v4",
        "SASL 1 to 11:",
    ),
    (
        "SASL 9 to 11",
        "initiating/seed_kerberos_v4",
        "SASL 1 to 11:",
    ),
    // Headers without version: no features are sent, none are waited for.
    (
        "dialback 1 to 2",
        "receiving/seed_dialback",
        "dialback 1 to 8, valid: headers without version",
    ),
    (
        "dialback 1 to 2",
        "initiating/seed_dialback",
        "dialback 1 to 8: a response header without version is answered by db:result at once",
    ),
    // Key, question, answer, result: as originating, receiving and authoritative server.
    (
        "dialback 3 to 8",
        "receiving/seed_dialback",
        "dialback 1 to 8, valid:",
    ),
    (
        "dialback 3 to 8",
        "receiving/seed_dialback",
        "dialback 7 and 8, invalid:",
    ),
    (
        "dialback 3 to 8",
        "receiving/seed_dialback",
        "dialback 6 and 7: s2sd is C, and verifies a key of its own",
    ),
    (
        "dialback 3 to 8",
        "receiving/seed_dialback",
        "dialback 6 and 7: s2sd is C, and a key is not its own",
    ),
    (
        "dialback 3 to 8",
        "initiating/seed_dialback",
        "dialback 1 to 8:",
    ),
    (
        "dialback 3 to 8",
        "initiating/seed_dialback",
        "dialback 8, invalid",
    ),
    // One direction proves one direction.
    (
        "dialback, the last line",
        "receiving/seed_dialback",
        "dialback, the last line:",
    ),
    (
        "dialback, the last line",
        "initiating/seed_dialback",
        "dialback, the last line:",
    ),
];

#[test]
fn every_step_of_the_rfc_3920_examples_has_its_scene() {
    for (step, file, begins) in SEED {
        let (role, name) = file.split_once('/').unwrap();
        let titles = transcript::titles(&folder(role).join(name).with_extension("txt")).unwrap();
        let found = titles.iter().any(|title| title.starts_with(begins));
        assert!(found, "{step}: no scene '{begins}' in {file}");
    }
}
