//! A login that is bound to its TLS connection, in a line protocol that is not XMPP: `AUTHENTICATE` as IMAP has it.
//!
//! ```text
//! S: * OK AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256
//! C: a1 AUTHENTICATE SCRAM-SHA-256-PLUS cD10bHMt…    the initial response, in base64
//! S: + cj1…                                          a challenge
//! C: Yz1…
//! S: + dj1…                                          the server's proof: OK has no place for it (RFC 4422 §3.6)
//! C:
//! S: a1 OK
//! ```
//!
//! `cargo run -p xmpp-sasl --example mail_login` logs in three times: with the right password, with a wrong one, and with
//! the right one while an attacker in between has a certificate that the client trusts. Both ends see it: what SCRAM
//! signs holds something of the TLS connection, and there are two of them.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream,
    copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use xmpp_sasl::{
    ChannelBindingType, ChannelBindings, ClientCredentials, ClientInput, ClientStep, Host, Offer,
    OsRandom, Password, ServerOptions, ServerStep, select,
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const HOST: &str = "mail.example";
/// A server that has `-PLUS` offers the same without it too, for clients that have nothing to bind to.
const OFFER: [&str; 2] = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    for (what, password, between) in [
        ("the right password", "r0m30", false),
        ("a wrong password", "h0ney", false),
        (
            "the right password, and an attacker in between",
            "r0m30",
            true,
        ),
    ] {
        println!("{what}");
        match run(password, between).await {
            Ok(()) => println!("   both sides know who the other is\n"),
            Err(error) => println!("   {error}\n"),
        }
    }
    Ok(())
}

/// One login, perhaps with an attacker in between.
pub(crate) async fn run(password: &str, between: bool) -> Result<()> {
    let (real, false_one) = (Site::new()?, Site::new()?);
    let trusted = [real.certificate.clone(), false_one.certificate.clone()];
    let connector = connector(&trusted)?;
    let (listener, mut address) = listen().await?;
    let acceptor = real.acceptor;
    tokio::spawn(async move { serve(listener, acceptor).await });
    if between {
        let (listener, own) = listen().await?;
        let (acceptor, connector) = (false_one.acceptor, connector.clone());
        tokio::spawn(async move { relay(listener, acceptor, connector, address).await });
        address = own;
    }
    let stream = connect(&connector, address).await?;
    let bindings = exported(stream.get_ref().1)?;
    log_in(Lines::new(stream), bindings, password).await
}

/// The side that asks.
async fn serve(listener: TcpListener, acceptor: TlsAcceptor) -> Result<()> {
    let stream: server::TlsStream<_> = acceptor.accept(listener.accept().await?.0).await?;
    let options = ServerOptions::new("imap", HOST)
        .with_channel_bindings(exported(stream.get_ref().1)?)
        .with_offer(Offer::new(OFFER));
    let mut lines = Lines::new(stream);
    let capabilities = OFFER.map(|name| format!("AUTH={name}")).join(" ");
    lines.send(&format!("* OK {capabilities}")).await?;
    let line = lines.receive().await?;
    let mut words = line.split(' ');
    let (tag, command) = (words.next().unwrap_or_default(), words.next());
    let mechanism = words.next().filter(|name| OFFER.contains(name));
    let exchange = mechanism.and_then(|name| xmpp_sasl::server(name, &options).ok());
    let (Some("AUTHENTICATE"), Some(mut exchange)) = (command, exchange) else {
        return lines.send(&format!("{tag} BAD")).await;
    };
    let mut input = words.next().map(decode).transpose()?;
    loop {
        // With passwords, and not keys, a step computes for long: see `Server::is_heavy`.
        match exchange.step(input.as_deref(), &mut Accounts) {
            ServerStep::Challenge(data, next) => {
                lines.send(&format!("+ {}", STANDARD.encode(data))).await?;
                exchange = next;
                input = Some(decode(&lines.receive().await?)?);
            }
            ServerStep::Success { data, .. } => {
                if let Some(data) = data {
                    lines.send(&format!("+ {}", STANDARD.encode(data))).await?;
                    if !lines.receive().await?.is_empty() {
                        return lines.send(&format!("{tag} BAD")).await;
                    }
                }
                return lines.send(&format!("{tag} OK")).await;
            }
            ServerStep::Failure(failure) => {
                return lines.send(&format!("{tag} NO {failure}")).await;
            }
        }
    }
}

struct Accounts;

impl Host for Accounts {
    fn password(&mut self, name: &str, _realm: Option<&str>) -> Option<Password> {
        (name == "juliet").then(|| "r0m30".into())
    }
}

/// The side that proves who it is, and has the other one prove the same.
async fn log_in<S: Socket>(
    mut lines: Lines<S>,
    bindings: ChannelBindings,
    password: &str,
) -> Result<()> {
    let greeting = lines.receive().await?;
    let words = greeting.split(' ');
    let offered: Vec<&str> = words
        .filter_map(|word| word.strip_prefix("AUTH="))
        .collect();
    let credentials = ClientCredentials::new("imap", HOST)
        .with_password("juliet", password)
        .with_channel_bindings(bindings);
    // Nothing that is not bound: an attacker in between would take it off the offer.
    let exchange = select(&offered, &["SCRAM-SHA-256-PLUS"], &credentials, None)?;
    let name = exchange.name();
    let ClientStep::Respond(initial, mut exchange) =
        exchange.step(ClientInput::Start, &mut OsRandom)
    else {
        return Err("SCRAM begins with a message".into());
    };
    let initial = STANDARD.encode(initial);
    lines
        .send(&format!("a1 AUTHENTICATE {name} {initial}"))
        .await?;
    loop {
        let line = lines.receive().await?;
        let step = match line.strip_prefix("+ ") {
            Some(data) => exchange.step(ClientInput::Challenge(&decode(data)?), &mut OsRandom),
            None if line == "a1 OK" => exchange.step(ClientInput::Success(None), &mut OsRandom),
            None => return Err(line.into()),
        };
        match step {
            ClientStep::Respond(data, next) => {
                lines.send(&STANDARD.encode(data)).await?;
                exchange = next;
            }
            ClientStep::Wait(next) => exchange = next,
            ClientStep::Authenticated => return Ok(()),
            ClientStep::Abort(error) => return Err(error.into()),
        }
    }
}

/// What SASL is bound to: key material that both ends of this connection derive, and no other connection has (RFC 9266).
fn exported<D>(session: &rustls::ConnectionCommon<D>) -> Result<ChannelBindings> {
    let label = b"EXPORTER-Channel-Binding";
    let data = session.export_keying_material([0; 32], label, Some(b""))?;
    Ok(ChannelBindings::none().with(ChannelBindingType::TlsExporter, data))
}

/// The attacker in between: reads everything, and passes it on.
async fn relay(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    to: SocketAddr,
) -> Result<()> {
    let mut client = acceptor.accept(listener.accept().await?.0).await?;
    let mut server = connect(&connector, to).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A certificate for [`HOST`], and its key.
struct Site {
    certificate: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

impl Site {
    fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        // In TLS 1.2 the exporter is unique only with the extended master secret.
        let config = ServerConfig::builder_with_protocol_versions(&[&TLS13])
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())?;
        Ok(Self {
            certificate,
            acceptor: Arc::new(config).into(),
        })
    }
}

fn connector(trusted: &[CertificateDer<'static>]) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone())?;
    }
    let config = ClientConfig::builder_with_protocol_versions(&[&TLS13])
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

async fn listen() -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn connect(connector: &TlsConnector, to: SocketAddr) -> Result<client::TlsStream<TcpStream>> {
    let socket = TcpStream::connect(to).await?;
    Ok(connector
        .connect(ServerName::try_from(HOST)?, socket)
        .await?)
}

fn decode(text: &str) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(text)?)
}

trait Socket: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket for S {}

/// A stream in lines.
struct Lines<S>(BufStream<S>);

impl<S: Socket> Lines<S> {
    fn new(stream: S) -> Self {
        Self(BufStream::new(stream))
    }

    async fn send(&mut self, line: &str) -> Result<()> {
        println!("   {line}");
        self.0.write_all(format!("{line}\r\n").as_bytes()).await?;
        Ok(self.0.flush().await?)
    }

    async fn receive(&mut self) -> Result<String> {
        let mut line = String::new();
        (&mut self.0).take(8192).read_line(&mut line).await?;
        let line = line.strip_suffix("\r\n").ok_or("no whole line came")?;
        Ok(line.to_owned())
    }
}
