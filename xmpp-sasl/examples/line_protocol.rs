//! Both sides of an exchange over a line protocol of its own, through a real socket.
//!
//! ```text
//! S: * EXTERNAL SCRAM-SHA-256 DIGEST-MD5    what is offered
//! C: AUTH SCRAM-SHA-256 [data]              data in base64, "=" for none at all
//! S: + data                                 a challenge
//! C: data                                   the response
//! S: OK [data] | NO reason
//! ```
//!
//! Run it with `cargo run -p xmpp-sasl --example line_protocol`, and once more with a wrong password, or with the right
//! one ("open sesame") and DIGEST-MD5 or PLAIN, as arguments.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use xmpp_sasl::{
    ClientCredentials, ClientInput, ClientStep, Failure, Host, Identity, Offer, Password, STRENGTH,
    ScramKeys, ScramParameters, Server, ServerOptions, ServerSecret, ServerStep, select, server,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let password = arguments.next().unwrap_or_else(|| "open sesame".to_owned());
    // Without one we take whatever is strongest.
    let only = arguments.next();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let asking = thread::spawn(move || serve(Lines::new(listener.accept()?.0, "S")?));
    let proved = log_in(
        Lines::new(TcpStream::connect(address)?, "C")?,
        Password::new(password),
        only.as_deref(),
    );
    if let Ok(Err(error)) = asking.join() {
        println!("the server ended with: {error}");
    }
    proved
}

/// What the server offers. PLAIN has no place on a wire that anybody can read; it is here to be looked at.
const OFFER: [&str; 4] = ["EXTERNAL", "SCRAM-SHA-256", "DIGEST-MD5", "PLAIN"];

/// The side that asks.
fn serve(mut lines: Lines) -> Result<()> {
    lines.send(&format!("* {}", OFFER.join(" ")))?;
    let request = lines.receive()?;
    let mut words = request.split(' ');
    let mechanism = words
        .next()
        .filter(|word| *word == "AUTH")
        .and_then(|_| words.next());
    let options = ServerOptions::new("demo", "cave.example")
        // SCRAM proves what was offered, and shows the same salt each time to a name that it does not know.
        .with_offer(Offer::new(OFFER))
        .with_secret(ServerSecret::new(*b"forty thieves"))
        .with_iterations(4096);
    let offered = mechanism.filter(|name| OFFER.contains(name));
    let Some(mut exchange) = offered.and_then(|name| server(name, &options).ok()) else {
        return lines.send("NO invalid-mechanism");
    };
    let mut input = words.next().map(decode).transpose()?;
    loop {
        match step(exchange, input) {
            ServerStep::Challenge(data, next) => {
                lines.send(&format!("+ {}", encode(&data)))?;
                exchange = next;
                input = Some(decode(&lines.receive()?)?);
            }
            ServerStep::Success { identity, data } => {
                let data = data.map_or(String::new(), |data| format!(" {}", encode(&data)));
                lines.send(&format!("OK{data}"))?;
                println!(
                    "the server has let in {}",
                    identity.authcid.unwrap_or_default()
                );
                return Ok(());
            }
            ServerStep::Failure(failure) => return lines.send(&format!("NO {failure}")),
        }
    }
}

fn step(exchange: Box<dyn Server>, input: Option<Vec<u8>>) -> ServerStep {
    exchange.step(input.as_deref(), &mut Accounts)
}

/// Who may come in.
struct Accounts;

impl Host for Accounts {
    fn random(&mut self, out: &mut [u8]) {
        random(out);
    }

    fn password(&mut self, authcid: &str, _realm: Option<&str>) -> Option<Password> {
        (authcid == "ali").then(|| Password::new("open sesame"))
    }

    /// What a server should have instead of passwords. `ScramKeys::derive` made it.
    fn scram_keys(&mut self, authcid: &str, _: &ScramParameters) -> Option<ScramKeys> {
        const KEPT: &str = "SCRAM-SHA-256$4096:c2VzYW1lIHNlZWRzIDEyMw==$f0/K7Av/vZpUc5dfwaAW3afQfeuk9HyaoQrygzaBOCg=:t7RsWLkgzM52RsDV75t6tBzaFxb0IEEuoB0rBCZZm3g=";
        (authcid == "ali").then(|| ScramKeys::parse(KEPT).expect("it is well-formed"))
    }

    fn authorize(
        &mut self,
        authcid: &str,
        authzid: Option<&str>,
    ) -> std::result::Result<(), Failure> {
        // Each user as itself only.
        if authzid.is_none_or(|authzid| authzid == authcid) {
            Ok(())
        } else {
            Err(Failure::InvalidAuthzid)
        }
    }

    fn external(&mut self, _authzid: Option<&str>) -> std::result::Result<Identity, Failure> {
        // A plain socket proves nothing.
        Err(Failure::NotAuthorized)
    }
}

/// The side that proves who it is.
fn log_in(mut lines: Lines, password: Password, only: Option<&str>) -> Result<()> {
    let greeting = lines.receive()?;
    let offered: Vec<&str> = greeting.trim_start_matches("* ").split(' ').collect();
    let credentials = ClientCredentials::new("demo", "cave.example").with_password("ali", password);
    // EXTERNAL is stronger, but there is no certificate to use it with; and PLAIN only if the command line names it.
    let allowed: Vec<&str> = match &only {
        Some(name) => vec![name],
        None => STRENGTH
            .iter()
            .copied()
            .take_while(|name| *name != "DIGEST-MD5")
            .collect(),
    };
    let exchange = select(&offered, &allowed, &credentials, None)?;
    let name = exchange.name();
    let mut exchange = match exchange.step(ClientInput::Start, &mut random) {
        ClientStep::Respond(data, next) => {
            lines.send(&format!("AUTH {name} {}", encode(&data)))?;
            next
        }
        ClientStep::Wait(next) => {
            lines.send(&format!("AUTH {name}"))?;
            next
        }
        ClientStep::Authenticated => return Err("nothing has been proved yet".into()),
        ClientStep::Abort(error) => return Err(error.into()),
    };
    loop {
        let line = lines.receive()?;
        let (kind, data) = match line.split_once(' ') {
            Some((kind, data)) => (kind, Some(data)),
            None => (line.as_str(), None),
        };
        let data = match kind {
            "+" | "OK" => data.map(decode).transpose()?,
            _ => return Err(line.into()),
        };
        let input = match kind {
            "+" => ClientInput::Challenge(data.as_deref().unwrap_or_default()),
            _ => ClientInput::Success(data.as_deref()),
        };
        match exchange.step(input, &mut random) {
            ClientStep::Respond(data, next) => {
                lines.send(&encode(&data))?;
                exchange = next;
            }
            ClientStep::Wait(next) => exchange = next,
            ClientStep::Authenticated => {
                println!("the client is in, and knows that it is the right server");
                return Ok(());
            }
            ClientStep::Abort(error) => return Err(error.into()),
        }
    }
}

fn random(out: &mut [u8]) {
    getrandom::fill(out).expect("the system has random numbers");
}

fn encode(data: &[u8]) -> String {
    if data.is_empty() {
        "=".to_owned()
    } else {
        STANDARD.encode(data)
    }
}

fn decode(text: &str) -> Result<Vec<u8>> {
    if text == "=" {
        Ok(Vec::new())
    } else {
        Ok(STANDARD.decode(text)?)
    }
}

/// A socket in lines, with a transcript of what is sent.
struct Lines {
    reader: BufReader<TcpStream>,
    who: &'static str,
}

impl Lines {
    fn new(socket: TcpStream, who: &'static str) -> Result<Self> {
        Ok(Self {
            reader: BufReader::new(socket),
            who,
        })
    }

    fn send(&mut self, line: &str) -> Result<()> {
        println!("{}: {line}", self.who);
        let decoded = line
            .rsplit(' ')
            .next()
            .and_then(|word| decode(word).ok())
            .filter(|data| data.len() > 20);
        if let Some(text) = decoded.and_then(|data| String::from_utf8(data).ok()) {
            println!("     {text}");
        }
        Ok(self
            .reader
            .get_mut()
            .write_all(format!("{line}\n").as_bytes())?)
    }

    fn receive(&mut self) -> Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err("the connection was closed".into()),
        }
    }
}
