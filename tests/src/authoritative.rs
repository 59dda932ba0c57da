//! An authoritative server of dialback (XEP-0220 §2.1.2 step 3) that is told what to say: to whom a receiving server
//! turns when the zone leads it here.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::{JoinHandle, JoinSet},
};
use xmpp_dialback::{
    DialbackError, ErrorCondition, Question, Secret, Verdict, verify, wire::Nonza,
};
use xmpp_stream::{DialbackFeature, Element, Features, ns};

use crate::{
    peer::Peer,
    tls::TlsIdentity,
    wire::{Event, Wire},
};

/// What it answers.
#[derive(Clone, Debug)]
pub enum Says {
    /// What the secret says about the key (XEP-0185).
    Secret(Secret),
    /// Every key is good.
    Valid,
    /// No key is good.
    Invalid,
    /// `type='error'`, item-not-found.
    Error,
    /// Nothing.
    Silence,
}

impl Says {
    fn verdict(&self, question: &Question) -> Option<Verdict> {
        match self {
            Self::Secret(secret) => Some(verify(secret, question)),
            Self::Valid => Some(Verdict::Valid),
            Self::Invalid => Some(Verdict::Invalid),
            Self::Error => Some(Verdict::Error(DialbackError::new(
                ErrorCondition::ItemNotFound,
            ))),
            Self::Silence => None,
        }
    }
}

/// A question that was asked, and what was said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// The question.
    pub question: Question,
    /// The answer; `None`: silence.
    pub verdict: Option<Verdict>,
    /// Was it asked over TLS?
    pub encrypted: bool,
}

/// The server. It stops when it is dropped.
#[derive(Debug)]
pub struct Authoritative {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    says: Says,
    identity: Option<TlsIdentity>,
    asked: Mutex<Vec<Asked>>,
    log: broadcast::Sender<Asked>,
}

impl Authoritative {
    /// Listens (port 0: any that is free). With an identity it offers STARTTLS.
    pub async fn start(
        listen: SocketAddr,
        says: Says,
        identity: Option<TlsIdentity>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let shared = Arc::new(Shared {
            says,
            identity,
            asked: Mutex::default(),
            log: broadcast::channel(256).0,
        });
        Ok(Self {
            addr: listener.local_addr()?,
            shared: shared.clone(),
            task: tokio::spawn(accept(listener, shared)),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().clone()
    }

    /// The questions from now on.
    pub fn watch(&self) -> broadcast::Receiver<Asked> {
        self.shared.log.subscribe()
    }
}

impl Drop for Authoritative {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, shared.clone()));
        }
        while let Some(ended) = connections.try_join_next() {
            if let Ok(Err(error)) = ended {
                tracing::debug!("a connection ended: {error:#}");
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut peer = Peer::over(Wire::over(stream)).with_timeout(IDLE);
    let offer = shared.identity.is_some().then_some(false);
    peer.answer_open("lab-1", &features(offer)).await?;
    loop {
        let element = match peer.next().await? {
            Event::Element(element) => element,
            Event::Footer => return peer.send("</stream:stream>").await,
            Event::Header(_) => anyhow::bail!("a second stream header"),
            Event::Closed | Event::Nothing => return Ok(()),
        };
        match &shared.identity {
            Some(identity) if element.is(ns::TLS, "starttls") && peer.tls().is_none() => {
                peer.proceed(identity).await?;
                peer.answer_open("lab-2", &features(None)).await?;
            }
            _ => dialback(&mut peer, &element, &shared).await?,
        }
    }
}

const IDLE: std::time::Duration = std::time::Duration::from_secs(120);

fn features(starttls: Option<bool>) -> Features {
    let mut features = Features::new().with_dialback(DialbackFeature::with_errors());
    features.starttls = starttls;
    features
}

async fn dialback(peer: &mut Peer, element: &Element, shared: &Shared) -> anyhow::Result<()> {
    match Nonza::from_element(element) {
        Some(Ok(Nonza::Question(question))) => {
            let verdict = shared.says.verdict(&question);
            let asked = Asked {
                question: question.clone(),
                verdict: verdict.clone(),
                encrypted: peer.tls().is_some(),
            };
            shared.lock().push(asked.clone());
            let _ = shared.log.send(asked);
            if let Some(verdict) = verdict {
                let Question {
                    pair, stream_id, ..
                } = question;
                let answer = Nonza::Answer {
                    pair,
                    stream_id,
                    verdict,
                };
                peer.send(answer.to_bytes()).await?;
            }
        }
        // COMPAT(prosody 0.12.3): asks nothing before its own stream is proved. Whoever proves a domain here gains
        // nothing by it, since there is nobody to deliver to. `whoever_proves_itself_first_may_ask_then`
        Some(Ok(Nonza::Request(request))) => {
            let answer = Nonza::Result {
                pair: request.pair,
                verdict: Verdict::Valid,
            };
            peer.send(answer.to_bytes()).await?;
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use s2sd::tools::demo::ca::{Issued, Leaf};
    use xmpp_dialback::Pair;

    async fn ask(says: Says, key: &str, tls: bool) -> (String, Vec<Asked>) {
        let identity = TlsIdentity::from(&Issued::self_signed(&Leaf::domain("a.test")));
        let server = Authoritative::start(([127, 0, 0, 1], 0).into(), says, Some(identity))
            .await
            .unwrap();
        let mut peer = Peer::connect(server.addr()).await.unwrap();
        let opened = peer.open("b.test", "a.test").await.unwrap();
        assert_eq!(opened.features.starttls, Some(false));
        if tls {
            peer.starttls("a.test", None).await.unwrap();
            let opened = peer.open("b.test", "a.test").await.unwrap();
            assert_eq!(opened.features.starttls, None);
        }
        let verify = format!("<db:verify from='b.test' to='a.test' id='x'>{key}</db:verify>");
        peer.send(verify).await.unwrap();
        let mut peer = peer.with_timeout(std::time::Duration::from_millis(300));
        let answer = match peer.next().await.unwrap() {
            Event::Element(answer) => answer.type_attr().unwrap_or_default().into_owned(),
            Event::Nothing => "nothing".to_owned(),
            other => panic!("{other:?}"),
        };
        (answer, server.asked())
    }

    #[tokio::test]
    async fn it_says_what_it_is_told_to_say() {
        let secret = Secret::new("s");
        let good = secret.key(&Pair::new("a.test", "b.test"), "x");
        let says = Says::Secret(secret);
        assert_eq!(ask(says.clone(), good.as_str(), false).await.0, "valid");
        assert_eq!(ask(says, "other", false).await.0, "invalid");
        assert_eq!(ask(Says::Valid, "k", true).await.0, "valid");
        assert_eq!(ask(Says::Invalid, "k", false).await.0, "invalid");
        assert_eq!(ask(Says::Error, "k", false).await.0, "error");
        let (answer, asked) = ask(Says::Silence, "k", true).await;
        assert_eq!(answer, "nothing");
        assert!(asked[0].encrypted);
        assert_eq!(asked[0].question.pair, Pair::new("a.test", "b.test"));
    }

    #[tokio::test]
    async fn whoever_proves_itself_first_may_ask_then() {
        let server = Authoritative::start(([127, 0, 0, 1], 0).into(), Says::Invalid, None)
            .await
            .unwrap();
        let mut peer = Peer::connect(server.addr()).await.unwrap();
        peer.open("b.test", "a.test").await.unwrap();
        assert_eq!(
            peer.dialback("b.test", "a.test", "any").await.unwrap(),
            "valid"
        );
        peer.send("<db:verify from='b.test' to='a.test' id='x'>key</db:verify>")
            .await
            .unwrap();
        let answer = peer.expect(ns::DIALBACK, "verify").await.unwrap();
        assert_eq!(answer.type_attr().as_deref(), Some("invalid"));
    }
}
