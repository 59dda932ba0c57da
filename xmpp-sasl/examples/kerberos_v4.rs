//! One side of KERBEROS_V4 on standard input and output, a message a line, for trying it with another program.
//!
//! ```text
//! kerberos_v4 server KEYFILE HOST DOMAIN    may be entered by who acts as DOMAIN
//! kerberos_v4 client KEYFILE HOST AUTHZID   asks HOST to act as AUTHZID
//!
//! the server writes    challenge BASE64, and at the end    success PRINCIPAL AUTHZID    or    failure CONDITION
//! the client writes    response BASE64, and at the end     satisfied    or    abort REASON
//! ```
//!
//! Exit code 0 if it came to the good end. `tests/kerberos_v4.py` is such another program.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead};
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use xmpp_sasl::kerberos_v4::Keys;
use xmpp_sasl::{
    Client, ClientCredentials, ClientInput, ClientStep, Failure, Host, Identity, Password, Server,
    ServerOptions, ServerStep, client, server,
};

const NAME: &str = "KERBEROS_V4";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [role, key_file, host, domain] = &arguments[..] else {
        return Err("kerberos_v4 server|client KEYFILE HOST DOMAIN".into());
    };
    let keys = Keys::parse(&fs::read_to_string(key_file)?)?;
    let well = match role.as_str() {
        "server" => {
            let mut options = ServerOptions::new("xmpp", host);
            options.kerberos_v4 = Some(keys);
            serve(server(NAME, &options)?, domain)?
        }
        _ => {
            let credentials = ClientCredentials::new("xmpp", host)
                .with_kerberos_v4(keys)
                .with_authzid(domain.clone());
            prove(client(NAME, &credentials)?)?
        }
    };
    Ok(if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn serve(mut asking: Box<dyn Server>, domain: &str) -> Result<bool, Box<dyn Error>> {
    let mut host = ServerHost { domain };
    let mut input = None;
    loop {
        match asking.step(input.as_deref(), &mut host) {
            ServerStep::Challenge(challenge, next) => {
                println!("challenge {}", STANDARD.encode(challenge));
                asking = next;
            }
            ServerStep::Success { identity, .. } => {
                let [authcid, authzid] =
                    [identity.authcid, identity.authzid].map(Option::unwrap_or_default);
                println!("success {authcid} {authzid}");
                return Ok(true);
            }
            ServerStep::Failure(failure) => {
                println!("failure {}", failure.name());
                return Ok(false);
            }
        }
        let line = line()?;
        let response = line.strip_prefix("response ").ok_or("not a response")?;
        input = Some(STANDARD.decode(response)?);
    }
}

fn prove(proving: Box<dyn Client>) -> Result<bool, Box<dyn Error>> {
    let mut step = proving.step(ClientInput::Start, &mut random);
    loop {
        let next = match step {
            ClientStep::Respond(response, next) => {
                println!("response {}", STANDARD.encode(response));
                next
            }
            ClientStep::Wait(next) => next,
            ClientStep::Authenticated => {
                println!("satisfied");
                return Ok(true);
            }
            ClientStep::Abort(error) => {
                println!("abort {error}");
                return Ok(false);
            }
        };
        let line = line()?;
        step = match line.split_once(' ') {
            Some(("challenge", challenge)) => {
                let challenge = STANDARD.decode(challenge)?;
                next.step(ClientInput::Challenge(&challenge), &mut random)
            }
            Some(("success", _)) => next.step(ClientInput::Success(None), &mut random),
            _ => return Ok(false),
        };
    }
}

fn line() -> Result<String, Box<dyn Error>> {
    let mut lines = io::stdin().lock().lines();
    Ok(lines.next().ok_or("the other side has gone")??)
}

fn random(out: &mut [u8]) {
    getrandom::fill(out).expect("the system has random numbers");
}

/// Lets in principals that act as the domain: the key file says which can.
struct ServerHost<'a> {
    domain: &'a str,
}

impl Host for ServerHost<'_> {
    fn random(&mut self, out: &mut [u8]) {
        random(out);
    }

    fn password(&mut self, _: &str, _: Option<&str>) -> Option<Password> {
        None
    }

    fn authorize_principal(
        &mut self,
        _: &str,
        _: &str,
        authzid: Option<&str>,
    ) -> Result<(), Failure> {
        if authzid == Some(self.domain) {
            Ok(())
        } else {
            Err(Failure::InvalidAuthzid)
        }
    }

    fn external(&mut self, _: Option<&str>) -> Result<Identity, Failure> {
        Err(Failure::NotAuthorized)
    }
}
