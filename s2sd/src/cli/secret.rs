//! `s2sd secret`: what is kept in the place of a password.

mod entered;

use std::{
    fmt,
    io::{self, Write as _},
};

use clap::{Args, Subcommand, ValueEnum};
use xmpp_sasl::{BadScramKeys, IterationBounds, Password, Random as _, ScramHash, ScramKeys};
use zeroize::Zeroizing;

use super::{Exit, complain};
use crate::flow::shared::OsRandom;

/// In bytes; what PostgreSQL and GNU SASL use.
const SALT: usize = 16;

/// What is kept in the place of a password
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Example:\n  s2sd secret scram > partner.scram"
)]
pub(super) struct SecretArguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    Scram(Scram),
}

/// Stored keys for `scram_file`, from a password on standard input
///
/// A line of RFC 5803 for each hash function, with a random salt. A reader of the keys cannot log in with them, but can
/// try passwords against them, and can pretend to be this server towards the peer: keep them like a password. On a
/// terminal it prompts for the password and does not show it.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  (umask 077 && s2sd secret scram > partner.scram)\n  \
                  openssl rand -base64 24 | tee partner.pass | s2sd secret scram --hash sha-256,sha-512 > partner.scram"
)]
struct Scram {
    /// The hash functions: the peer can use SCRAM with these and no others
    #[arg(
        long,
        value_name = "NAME",
        value_enum,
        value_delimiter = ',',
        default_value = "sha-256"
    )]
    hash: Vec<Hash>,
    /// How often to apply it: so much longer takes each attempt to guess, and each time the peer logs in
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = iterations())]
    iterations: u32,
}

/// What a peer of ours takes as well.
fn iterations() -> clap::builder::RangedI64ValueParser<u32> {
    let IterationBounds { min, max } = IterationBounds::default();
    clap::value_parser!(u32).range(i64::from(min)..=i64::from(max))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Hash {
    #[value(name = "sha-1")]
    Sha1,
    #[value(name = "sha-256")]
    Sha256,
    #[value(name = "sha-512")]
    Sha512,
}

impl From<Hash> for ScramHash {
    fn from(hash: Hash) -> Self {
        match hash {
            Hash::Sha1 => Self::Sha1,
            Hash::Sha256 => Self::Sha256,
            Hash::Sha512 => Self::Sha512,
        }
    }
}

/// Why there are no keys. Nothing of the password is in it.
#[derive(Debug)]
enum SecretError {
    /// It cannot be read.
    Unread(io::Error),
    /// Nothing but white space.
    Empty,
    /// More than one line.
    Lines,
    /// No real password is as long.
    TooLong,
    /// No UTF-8.
    NoText,
    /// Asked twice, two answers.
    Different,
    /// No keys can be made of it.
    Keys(BadScramKeys),
    /// They cannot be written.
    Unwritten(io::Error),
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(why) => write!(f, "the password cannot be read: {why}"),
            Self::Empty => f.write_str("there is no password on standard input"),
            Self::Lines => f.write_str("there is more than one line on standard input; a password is one"),
            Self::TooLong => write!(f, "the password is longer than {} bytes", entered::LONGEST),
            Self::NoText => f.write_str("the password is no text in UTF-8"),
            Self::Different => f.write_str("these were two passwords"),
            Self::Keys(BadScramKeys::Password) => f.write_str(
                "the password has characters that SASLprep (RFC 4013) does not allow, so no SCRAM can use it: control \
                 characters, private ones, those that Unicode 3.2 did not have (emoji), or text from right to \
                 left mixed with text from left to right",
            ),
            Self::Keys(why) => why.fmt(f),
            Self::Unwritten(why) => write!(f, "the keys cannot be written: {why}"),
        }
    }
}

pub(super) fn secret(arguments: &SecretArguments) -> Exit {
    let Kind::Scram(scram) = &arguments.kind;
    let made = entered::password().and_then(|password| keys(scram, &password));
    let written = made.and_then(|text| {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes());
        written
            .and_then(|()| stdout.flush())
            .map_err(SecretError::Unwritten)
    });
    match written {
        Ok(()) => Exit::Well,
        Err(error) => {
            complain(format_args!("s2sd secret scram: {error}\n"));
            Exit::Fault
        }
    }
}

/// A line for each hash function, in the order in which they were named.
fn keys(scram: &Scram, password: &Password) -> Result<Zeroizing<String>, SecretError> {
    let mut text = Zeroizing::new(String::with_capacity(scram.hash.len().saturating_mul(512)));
    let mut done = Vec::new();
    for &hash in &scram.hash {
        if done.contains(&hash) {
            continue;
        }
        done.push(hash);
        let mut salt = [0; SALT];
        OsRandom.fill(&mut salt);
        let keys = ScramKeys::derive(hash.into(), password, &salt, scram.iterations);
        text.push_str(&keys.map_err(SecretError::Keys)?.to_text());
        text.push('\n');
    }
    Ok(text)
}
