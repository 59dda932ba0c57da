//! A server of one screen, to test the lab itself: components attach to it, and it passes stanzas between them by
//! the domain in `to`. It can be told to be a bad server.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use xmpp_stream::{
    Element, ErrorType, StanzaCondition, StanzaError, Writer, component::Accepting, error_reply,
    split_jid,
};

use crate::wire::{Event, Wire};

pub(crate) const SECRET: &str = "hub's secret";

/// What it does with the stanzas it gets, by their number.
pub(crate) type Fault = fn(usize, Bytes) -> Vec<Bytes>;

pub(crate) struct RelayServer {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for RelayServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Links = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Bytes>>>>;

impl RelayServer {
    pub(crate) async fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let links = Links::default();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Wire::over(stream), links.clone(), fault));
            }
        });
        Self { addr, task }
    }

    pub(crate) fn end(&self, domain: &str) -> crate::endpoint::End {
        format!(
            "component,addr={},domain={domain},secret={SECRET}",
            self.addr
        )
        .parse()
        .unwrap()
    }
}

async fn serve(mut wire: Wire, links: Links, fault: Fault) -> anyhow::Result<()> {
    let within = Duration::from_secs(5);
    let Event::Header(header) = wire.next(within).await? else {
        anyhow::bail!("no header");
    };
    let (waiting, answer) = Accepting::new().header(&header, "id-of-the-hub").unwrap();
    let mut text = BytesMut::new();
    answer.write(&mut text);
    wire.send(text).await?;
    let domain = waiting.domain().to_owned();
    let Event::Element(handshake) = wire.next(within).await? else {
        anyhow::bail!("no handshake");
    };
    match waiting.element(&handshake, SECRET) {
        Ok(answer) => wire.send(answer).await?,
        Err(error) => return wire.send(error.to_bytes()).await,
    }
    let (link, mut outgoing) = mpsc::unbounded_channel();
    links.lock().unwrap().insert(domain, link);
    let mut count = 0;
    loop {
        tokio::select! {
            Some(stanza) = outgoing.recv() => wire.send(stanza).await?,
            event = wire.next(Duration::from_secs(60)) => match event? {
                Event::Element(stanza) => {
                    for answer in route(&stanza, &links, fault, count) {
                        wire.send(answer).await?;
                    }
                    count += 1;
                }
                _ => return Ok(()),
            }
        }
    }
}

fn route(stanza: &Element, links: &Links, fault: Fault, count: usize) -> Vec<Bytes> {
    let to = stanza.to().unwrap_or_default();
    let (_, domain, _) = split_jid(&to);
    match links.lock().unwrap().get(domain) {
        Some(link) => {
            for stanza in fault(count, stanza.bytes().clone()) {
                let _ = link.send(stanza);
            }
            Vec::new()
        }
        None => {
            let error = StanzaError::new(ErrorType::Cancel, StanzaCondition::RemoteServerNotFound);
            error_reply(stanza, &error.with_text("nobody there"))
                .map(Writer::finish)
                .into_iter()
                .collect()
        }
    }
}
