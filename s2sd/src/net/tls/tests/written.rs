//! What counts as written when a connection breaks.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use xmpp_stream::{Codec, XmlLimits};

use super::*;
use crate::net::conn::{Conn, Io};
use crate::net::metered::Metered;
use crate::protocol::budget::{Budget, Owner, Share};

/// TLS takes some records more than the socket has room for.
#[tokio::test]
async fn written_is_what_the_peer_can_read_after_the_connection_broke() {
    let fixture = TlsFixture::new(&["a.example"]);
    let tls = fixture.tls();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
    let (accepted, peer) = listener.accept().await.unwrap();
    let name = server_name(&domain("a.example")).unwrap();
    let client = tls.client(&domain("a.example"), MinTls::V1_2, false);
    let (client, server) = tokio::join!(
        TlsConnector::from(client).connect(name, tcp.unwrap()),
        TlsAcceptor::from(tls.server(None, MinTls::V1_2)).accept(Metered::new(accepted))
    );
    let mut client = client.unwrap();
    let budget = Budget::new(1 << 30, Share(1, 1), Share(1, 1));
    let charge = budget.account(Owner::at(peer.ip())).force(0);
    let io = Io::Tls(Box::new(server.unwrap().into()));
    let mut conn = Conn::new(
        io,
        peer,
        Codec::new(XmlLimits::after_authentication()),
        charge,
    );
    conn.send(&vec![b'x'; 32 << 20]);
    // Until nothing moves: the peer reads nothing.
    let (mut written, mut still) = (0, 0);
    while still < 5 {
        let _ = timeout(Duration::from_millis(50), conn.progress(false)).await;
        still = if conn.written() == written {
            still + 1
        } else {
            0
        };
        written = conn.written();
    }
    assert!(0 < written && written < conn.queued());
    drop(conn);
    let (mut came, mut piece) = (0, vec![0; 64 << 10]);
    while let Ok(more @ 1..) = client.read(&mut piece).await {
        came += more as u64;
    }
    assert_eq!(came, written);
}
