//! A server with PLAIN and a table of passwords, as short as it gets: it says who each line comes from.
//!
//! ```text
//! $ printf '\0juliet\0r0m30' | base64 | cargo run -p xmpp-sasl --example plain_server
//! juliet is in
//! ```
//!
//! PLAIN gives the password away: in a program of yours this stands behind TLS.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, stdin};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use xmpp_sasl::{Failure, Host, Identity, Password, ServerOptions, ServerStep, server};

fn main() -> Result<(), Box<dyn Error>> {
    for line in stdin().lock().lines() {
        match log_in(&STANDARD.decode(line?)?)? {
            Ok(identity) => println!("{} is in", identity.authcid.unwrap_or_default()),
            Err(failure) => println!("refused: {failure}"),
        }
    }
    Ok(())
}

/// What PLAIN asks about: nothing but passwords.
struct Table(HashMap<&'static str, &'static str>);

impl Host for Table {
    fn password(&mut self, name: &str, _realm: Option<&str>) -> Option<Password> {
        self.0.get(name).map(|password| Password::from(*password))
    }
}

/// The one message of PLAIN, which came as an initial response.
pub(crate) fn log_in(message: &[u8]) -> Result<Result<Identity, Failure>, Box<dyn Error>> {
    let mut table = Table(HashMap::from([("juliet", "r0m30"), ("nurse", "h0ney")]));
    let exchange = server("PLAIN", &ServerOptions::new("imap", "mail.example"))?;
    match exchange.step(Some(message), &mut table) {
        ServerStep::Success { identity, .. } => Ok(Ok(identity)),
        ServerStep::Failure(failure) => Ok(Err(failure)),
        ServerStep::Challenge(..) => Err("PLAIN has no challenge after its message".into()),
    }
}
