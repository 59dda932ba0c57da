//! How the connection of an incoming stream begins: on whose account it is, and TLS.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;
use xmpp_stream::{Codec, ContentNamespace, Domain};

use super::Driver;
use crate::closed::{By, Cause, Closed};
use crate::config::TlsFloor;
use crate::flow::router::Router;
use crate::flow::shared::Shared;
use crate::net::conn::{self, Conn, Io};
use crate::net::metered::Metered;
use crate::protocol::budget::{Charge, Owner};
use crate::protocol::negotiate::{InboundEvent, Secured, Snapshot, Transport};
use crate::trust;

pub(super) async fn accept(
    router: &Router,
    snapshot: &Snapshot,
    tcp: TcpStream,
    peer: SocketAddr,
    direct_tls: bool,
    began: Instant,
) -> Result<(Conn, Transport), Closed> {
    let _ = tcp.set_nodelay(true);
    let charge = admit(router.shared(), peer)?;
    let codec = Codec::new(snapshot.limits_before_authentication())
        .with_content_namespace(ContentNamespace::Server);
    if !direct_tls {
        let conn = Conn::new(Io::Plain(tcp), peer, codec, charge);
        return Ok((conn, Transport::Plain));
    }
    let deadline = began + snapshot.config.limits.negotiation;
    let (conn, secured) = handshake(
        router.shared(),
        (tcp, peer),
        codec,
        charge,
        // Who it is, is not said yet.
        (None, snapshot.config.policy.tls_floor()),
        deadline,
    )
    .await?;
    Ok((conn, secured.map_or(Transport::Plain, Transport::Tls)))
}

/// Until it is known who it is, a connection is on the account of the network that it comes from.
pub(super) fn admit(shared: &Shared, peer: SocketAddr) -> Result<Charge, Closed> {
    let network = shared.memory.account(Owner::at(peer.ip()));
    conn::admit(&network).ok_or(Closed {
        by: By::Us,
        cause: Cause::Memory,
    })
}

pub(super) async fn handshake(
    shared: &Shared,
    (tcp, peer): (TcpStream, SocketAddr),
    codec: Codec,
    charge: Charge,
    (fallback, floor): (Option<&Domain>, TlsFloor),
    deadline: Instant,
) -> Result<(Conn, Option<Secured>), Closed> {
    let (config, own) = shared.tls.accepting(fallback, floor);
    let accepting = async {
        // Who says nothing waits for no turn.
        tcp.readable().await?;
        let accepting = TlsAcceptor::from(config).accept(Metered::new(tcp));
        shared.handshakes.drive(peer.ip(), accepting).await
    };
    let in_time = timeout_at(deadline.into(), accepting);
    let Some(tls) = shared.stop.run_until_cancelled(in_time).await else {
        return Err(Closed {
            by: By::Us,
            cause: Cause::Shutdown,
        });
    };
    match tls {
        Ok(Ok(tls)) => {
            let conn = Conn::new(Io::Tls(Box::new(tls.into())), peer, codec, charge);
            let secured = Shared::secured(&conn, floor, Some(&own));
            Ok((conn, secured))
        }
        Ok(Err(error)) => Err(Closed {
            by: By::World,
            cause: Cause::Tls(trust::in_words(&error).into()),
        }),
        Err(_) => Err(Closed {
            by: By::Us,
            cause: Cause::Timeout("TLS handshake"),
        }),
    }
}

impl Driver {
    pub(super) async fn start_tls(
        &mut self,
        proceed: &[u8],
        chosen: (Option<&Domain>, TlsFloor),
    ) -> Result<InboundEvent, Closed> {
        let broken = |error: std::io::Error| Closed {
            by: By::World,
            cause: Cause::Lost(error.to_string().into()),
        };
        let clean = match self.conn.boundary() {
            Ok(clean) => clean,
            Err(error) => return Ok(InboundEvent::Malformed(error)),
        };
        self.receiving.forget();
        // What was asked in clear is forgotten with it; its answer must not be taken for one to a later question.
        self.questions = JoinSet::new();
        self.conn.send(proceed);
        let deadline = self.began + self.snapshot.config.limits.negotiation;
        // If a pair was proved in clear, there may be much to write, and the peer may take none of it.
        let flushed = timeout_at(deadline.into(), self.conn.flush());
        let shared = self.router.shared();
        let Some(flushed) = shared.stop.run_until_cancelled(flushed).await else {
            return Ok(InboundEvent::Shutdown);
        };
        flushed
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .map_err(broken)?;
        let Some(tcp) = self.conn.take_tcp(clean) else {
            return Ok(InboundEvent::TlsFailed("TLS within TLS".to_owned()));
        };
        let charge = admit(self.router.shared(), tcp.1)?;
        let codec = Codec::new(self.snapshot.limits_before_authentication())
            .with_content_namespace(ContentNamespace::Server);
        let (conn, secured) =
            handshake(self.router.shared(), tcp, codec, charge, chosen, deadline).await?;
        self.conn = conn;
        self.entry.carried_by(&mut self.conn);
        Ok(match secured {
            Some(secured) => InboundEvent::TlsReady(secured),
            None => InboundEvent::TlsFailed("no session".to_owned()),
        })
    }
}
