//! A server that federates, made of `xmpp-stream`, `xmpp-sasl` and `xmpp-dialback` between tokio and rustls. It answers each
//! message with the same text.
//!
//! ```text
//! small_server LISTEN DOMAIN CHAIN.pem KEY.pem AUTHORITIES.pem PEER=ADDRESS:PORT…
//! ```
//!
//! Incoming streams: STARTTLS, then dialback. Outgoing streams: STARTTLS with a certificate that is good for the peer's
//! domain, then SASL EXTERNAL where the peer offers it, else dialback. A table says where each peer is; a server of yours
//! asks the DNS. Each answer goes out on a stream of its own, and nothing here has a time limit: a server of yours keeps
//! streams open, and puts a limit on every wait.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use xmpp_dialback::wire::Nonza;
use xmpp_dialback::{
    DialbackError, DialbackLimits, DialbackReply, ErrorCondition, Initiating, Pair, Question,
    Receiving, Request, RequestOutcome, Secret, Unsolicited, Verdict, Verifying, verify,
};
use xmpp_sasl::wire::Nonza as Sasl;
use xmpp_sasl::{Client, ClientCredentials, ClientInput, ClientStep, OsRandom, Random, client};
use xmpp_stream::{
    Condition, ContentNamespace, DialbackFeature, Domain, Element, Features, Frame, Jid,
    StanzaKind, StreamError, StreamHeader, Writer, XmlLimits, ns, reply,
};

use stream::{Socket, Stream};

mod stream;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, domain, chain, key, roots, peers @ ..] = arguments.as_slice() else {
        return Err("usage: small_server LISTEN DOMAIN CHAIN KEY ROOTS PEER=ADDRESS:PORT…".into());
    };
    let read = std::fs::read_to_string;
    let mut server = Server::new(domain, &read(chain)?, &read(key)?, &read(roots)?)?;
    for peer in peers {
        let (domain, address) = peer
            .split_once('=')
            .ok_or("a peer is DOMAIN=ADDRESS:PORT")?;
        server.add_peer(domain, address.parse()?)?;
    }
    Arc::new(server)
        .serve(TcpListener::bind(listen).await?)
        .await
}

/// What the server knows.
pub(crate) struct Server {
    domain: Domain,
    /// Dialback keys are made with it.
    secret: Secret,
    peers: HashMap<String, SocketAddr>,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Server {
    /// All but the domain are PEM texts.
    pub(crate) fn new(domain: &str, chain: &str, key: &str, authorities: &str) -> Result<Self> {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            roots.add(authority?)?;
        }
        let acceptor = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.clone_key())?;
        let connector = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self {
            domain: Domain::parse(domain)?,
            secret: Secret::new(random()),
            peers: HashMap::new(),
            acceptor: Arc::new(acceptor).into(),
            connector: Arc::new(connector).into(),
        })
    }

    pub(crate) fn add_peer(&mut self, domain: &str, address: SocketAddr) -> Result<()> {
        let domain = Domain::parse(domain)?.as_str().to_owned();
        self.peers.insert(domain, address);
        Ok(())
    }

    /// Takes streams until the listener fails.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> Result<()> {
        loop {
            let (socket, address) = listener.accept().await?;
            let server = self.clone();
            tokio::spawn(async move {
                if let Err(error) = server.incoming(socket).await {
                    eprintln!("the stream from {address} ended: {error}");
                }
            });
        }
    }

    async fn incoming(&self, socket: TcpStream) -> Result<()> {
        let mut plain = Stream::new(socket);
        let offer = Features::new().with_starttls(true);
        self.accept(&mut plain, &offer).await?;
        if !plain.element().await?.is(ns::TLS, "starttls") {
            let error = StreamError::new(Condition::PolicyViolation);
            return plain.fail(&error.with_text("use STARTTLS first")).await;
        }
        let mut socket = plain.into_socket()?;
        let proceed = Writer::new("proceed").xmlns(ns::TLS).finish();
        socket.write_all(&proceed).await?;
        let mut stream = Stream::new(self.acceptor.accept(socket).await?);
        let offer = Features::new().with_dialback(DialbackFeature::with_errors());
        let id = self.accept(&mut stream, &offer).await?;
        let mut receiving = Receiving::new(DialbackLimits::default());
        loop {
            let done = match stream.next().await {
                Ok(Some(Frame::Element(element))) => {
                    let receiving = &mut receiving;
                    self.element(&element, &id, receiving, &mut stream).await
                }
                Ok(Some(Frame::Footer) | None) => return stream.close().await,
                Ok(Some(_)) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                return match error.downcast::<StreamError>() {
                    Ok(error) => stream.fail(&error).await,
                    Err(error) => Err(error),
                };
            }
        }
    }

    /// Answers the peer's header, and gives the id of the stream.
    async fn accept<S: Socket>(&self, stream: &mut Stream<S>, offer: &Features) -> Result<String> {
        let peer = stream.header().await?;
        let id: String = random().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut header = self.header(peer.from);
        header.id = Some(id.clone());
        stream.send(Frame::Header(header)).await?;
        stream.send(offer.to_bytes()).await?;
        Ok(id)
    }

    fn header(&self, to: Option<String>) -> StreamHeader {
        let mut header = StreamHeader::new(ContentNamespace::Server).with_dialback();
        header.from = Some(self.domain.as_str().to_owned());
        header.to = to;
        header
    }

    /// An element came on a stream with this id.
    async fn element<S: Socket>(
        &self,
        element: &Element,
        id: &str,
        receiving: &mut Receiving,
        stream: &mut Stream<S>,
    ) -> Result<()> {
        match Nonza::from_element(element) {
            None if element.stanza_kind().is_some() => self.stanza(element, receiving).await,
            None => Err(StreamError::new(Condition::UnsupportedStanzaType).into()),
            Some(Err(malformed)) => Err(malformed.stream_error().into()),
            Some(Ok(Nonza::Request(Request { pair, key }))) => {
                let prepared = pair.prepared().map(|pair| Request { pair, key });
                let request = prepared.map_err(|_| StreamError::new(Condition::ImproperAddressing));
                let DialbackReply { verdict, close } = self.judge(request?, id, receiving).await?;
                if verdict == Verdict::Valid {
                    stream.codec.set_limits(XmlLimits::after_authentication());
                }
                let result = Nonza::Result { pair, verdict };
                stream.send(result.to_bytes()).await?;
                match close {
                    None => Ok(()),
                    Some(_) => Err(StreamError::new(Condition::PolicyViolation).into()),
                }
            }
            Some(Ok(Nonza::Question(question))) => {
                let verdict = match self.domain.is_named_by(&question.pair.sender) {
                    true => verify(&self.secret, &question),
                    false => Verdict::Error(DialbackError::new(ErrorCondition::ItemNotFound)),
                };
                let Question {
                    pair, stream_id, ..
                } = question;
                let answer = Nonza::Answer {
                    pair,
                    stream_id,
                    verdict,
                };
                stream.send(answer.to_bytes()).await
            }
            Some(Ok(Nonza::Answer { pair, .. } | Nonza::Result { pair, .. })) => {
                Err(Unsolicited { pair }.stream_error().into())
            }
        }
    }

    /// What comes of a key: the server of its domain says whether it is good.
    async fn judge(
        &self,
        request: Request,
        id: &str,
        receiving: &mut Receiving,
    ) -> Result<DialbackReply> {
        if !self.domain.is_named_by(&request.pair.target) {
            return Ok(receiving.refuse(DialbackError::new(ErrorCondition::ItemNotFound)));
        }
        let question = match receiving.request(request, id) {
            Ok(question) => question,
            Err(refused) => return Ok(refused.reply),
        };
        let pair = question.pair.clone();
        let verdict = self.ask(question).await.unwrap_or_else(|error| {
            eprintln!("{} cannot be asked about a key: {error}", pair.sender);
            Verdict::Error(DialbackError::new(ErrorCondition::RemoteConnectionFailed))
        });
        Ok(receiving.answered(&pair, verdict)?)
    }

    /// Sends a message back, if the pair of its domains is proved.
    async fn stanza(&self, stanza: &Element, receiving: &Receiving) -> Result<()> {
        let address = |text: Option<Cow<'_, str>>| text.and_then(|text| Jid::parse(&text).ok());
        let (Some(from), Some(to)) = (address(stanza.from()), address(stanza.to())) else {
            return Err(StreamError::new(Condition::ImproperAddressing).into());
        };
        if !receiving.is_proved(&Pair::of(from.domain(), to.domain())) {
            return Err(StreamError::new(Condition::NotAuthorized).into());
        }
        let is_message = stanza.stanza_kind() == Some(StanzaKind::Message);
        // None for errors: two servers that answer errors would never end.
        if let Some(mut answer) = reply(stanza).filter(|_| is_message) {
            for child in stanza.tree().elements() {
                answer = answer.child(child.to_writer());
            }
            let back = Pair::of(to.domain(), from.domain());
            if let Err(error) = self.send(back, answer).await {
                eprintln!("no answer to {}: {error}", from.domain());
            }
        }
        Ok(())
    }

    /// Asks the authoritative server of a domain about a key.
    async fn ask(&self, question: Question) -> Result<Verdict> {
        let (mut stream, ..) = self.connect(&question.pair.sender).await?;
        let mut verifying = Verifying::new(question.clone());
        stream.send(Nonza::Question(question).to_bytes()).await?;
        match Nonza::from_element(&stream.element().await?) {
            Some(Ok(Nonza::Answer {
                pair,
                stream_id,
                verdict,
            })) => {
                stream.close().await?;
                Ok(verifying.answer(&pair.prepared()?, &stream_id, verdict)?)
            }
            _ => Err("the authoritative server sent something else than an answer".into()),
        }
    }

    /// Proves our domain to the server of another, and sends it a stanza.
    async fn send(&self, pair: Pair, stanza: Writer) -> Result<()> {
        let (mut stream, id, features) = self.connect(&pair.target).await?;
        if features.mechanisms.iter().any(|name| name == "EXTERNAL") {
            let credentials = ClientCredentials::new("xmpp", &pair.target)
                .with_authzid(&pair.sender)
                .with_certificate();
            authenticate(&mut stream, client("EXTERNAL", &credentials)?).await?;
            self.open(&mut stream, &pair.target).await?;
        } else {
            let mut initiating = Initiating::new(1);
            let request = initiating.request(pair, &id, &self.secret)?;
            stream.send(Nonza::Request(request).to_bytes()).await?;
            let Some(Ok(Nonza::Result { pair, verdict })) =
                Nonza::from_element(&stream.element().await?)
            else {
                return Err("the peer sent something else than a result".into());
            };
            match initiating.answer(&pair.prepared()?, verdict)? {
                RequestOutcome::Proved => {}
                RequestOutcome::Invalid => return Err("our key is invalid".into()),
                RequestOutcome::Failed(error) => return Err(error.into()),
            }
        }
        stream.send(stanza).await?;
        stream.close().await
    }

    /// A stream with TLS to the server of a domain, its id and what is offered on it.
    async fn connect(
        &self,
        peer: &str,
    ) -> Result<(Stream<TlsStream<TcpStream>>, String, Features)> {
        let address = self
            .peers
            .get(peer)
            .ok_or("this peer is not in the table")?;
        let mut plain = Stream::new(TcpStream::connect(address).await?);
        self.open(&mut plain, peer).await?;
        plain.send(Writer::new("starttls").xmlns(ns::TLS)).await?;
        if !plain.element().await?.is(ns::TLS, "proceed") {
            return Err("the peer refuses TLS".into());
        }
        let name = ServerName::try_from(Domain::parse(peer)?.ascii().to_owned())?;
        let tls = self.connector.connect(name, plain.into_socket()?).await?;
        let mut stream = Stream::new(tls);
        let (id, features) = self.open(&mut stream, peer).await?;
        Ok((stream, id, features))
    }

    /// Sends a header, and takes the peer's with its features.
    async fn open<S: Socket>(
        &self,
        stream: &mut Stream<S>,
        peer: &str,
    ) -> Result<(String, Features)> {
        let header = self.header(Some(peer.to_owned()));
        stream.send(Frame::Header(header)).await?;
        let id = stream
            .header()
            .await?
            .id
            .ok_or("the peer's header has no id")?;
        let features = Features::from_element(&stream.element().await?);
        Ok((id, features.ok_or("the peer sent no features")?))
    }
}

/// SASL with one message, which is what EXTERNAL needs. The example `mail_login` of xmpp-sasl has the loop for all.
async fn authenticate<S: Socket>(stream: &mut Stream<S>, client: Box<dyn Client>) -> Result<()> {
    let mechanism = client.name().to_owned();
    let ClientStep::Respond(data, client) = client.step(ClientInput::Start, &mut OsRandom) else {
        return Err("this mechanism does not begin with a message".into());
    };
    let initial = Some(data);
    stream
        .send(Sasl::Auth { mechanism, initial }.to_bytes())
        .await?;
    match Sasl::from_element(&stream.element().await?).transpose()? {
        Some(Sasl::Success(data)) => {
            match client.step(ClientInput::Success(data.as_deref()), &mut OsRandom) {
                ClientStep::Authenticated => {
                    stream.codec.restart();
                    Ok(())
                }
                other => Err(format!("{other:?}").into()),
            }
        }
        Some(Sasl::Failure { failure, .. }) => Err(failure.into()),
        _ => Err("the peer sent something else than an outcome".into()),
    }
}

fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    OsRandom.fill(&mut bytes);
    bytes
}
