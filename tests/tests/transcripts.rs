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
        dialback
        end
        external
        header
        seed_dialback
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
        seed_dialback
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
