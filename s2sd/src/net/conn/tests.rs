//! The end of a connection, against a peer that reads late.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::ServerName};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::yield_now;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use xmpp_stream::ContentNamespace;

use super::*;
use crate::protocol::budget::{Budget, Owner, Share};
use crate::tools::demo::ca::{Authority, Leaf};

const TIMEOUT: Duration = Duration::from_secs(30);
/// More than the socket that does not read takes, and less than both.
const WRITTEN: usize = 96 * 1024;

async fn pair() -> (Conn, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // What is accepted has it, too.
    SockRef::from(&listener)
        .set_recv_buffer_size(4 * 1024)
        .unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    SockRef::from(&tcp)
        .set_send_buffer_size(4 * WRITTEN)
        .unwrap();
    let (theirs, peer) = listener.accept().await.unwrap();
    (over(Io::Plain(tcp), peer), theirs)
}

fn over(io: Io, peer: SocketAddr) -> Conn {
    let memory = Budget::new(64 << 20, Share(1, 1), Share(1, 1));
    let charge = admit(&memory.account(Owner::at(peer.ip()))).unwrap();
    let codec = Codec::new(XmlLimits::after_authentication())
        .with_content_namespace(ContentNamespace::Server);
    Conn::new(io, peer, codec, charge)
}

/// All that comes until the end, or until the connection is reset.
async fn read_all(theirs: &mut TcpStream) -> usize {
    let (mut all, mut some) = (0, vec![0; READ]);
    while let Ok(count @ 1..) = theirs.read(&mut some).await {
        all += count;
    }
    all
}

#[tokio::test]
async fn what_counts_as_written_arrives_although_the_peer_said_something_that_we_did_not_read() {
    let (mut conn, mut theirs) = pair().await;
    theirs.write_all(b"<unread/>").await.unwrap();
    conn.send(&vec![b'x'; WRITTEN]);
    timeout(TIMEOUT, conn.flush()).await.unwrap().unwrap();
    assert_eq!(conn.written(), WRITTEN as u64);
    let closing = async {
        conn.close(TIMEOUT).await;
        drop(conn);
    };
    let reading = async {
        for _ in 0..100 {
            yield_now().await;
        }
        // And more that nobody reads any more.
        theirs.write_all(b"<late/>").await.unwrap();
        let all = read_all(&mut theirs).await;
        drop(theirs);
        all
    };
    let ((), all) = tokio::join!(closing, reading);
    assert_eq!(all, WRITTEN);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_before_it_has_written_all_gets_our_last_words() {
    let (mut conn, mut theirs) = pair().await;
    // More than both sockets hold, in either direction.
    const ALL: usize = 8 * 1024 * 1024;
    conn.send(&vec![b'x'; ALL]);
    let closing = async {
        conn.close(TIMEOUT).await;
        drop(conn);
    };
    let writing = async {
        theirs.write_all(&vec![b'y'; ALL]).await.unwrap();
        let all = read_all(&mut theirs).await;
        drop(theirs);
        all
    };
    let ((), all) = tokio::join!(closing, writing);
    assert_eq!(all, ALL);
}

#[tokio::test]
async fn a_peer_that_goes_on_and_on_is_not_heard_for_ever() {
    let (mut conn, mut theirs) = pair().await;
    let talking = tokio::spawn(async move {
        let some = vec![b'y'; READ];
        while theirs.write_all(&some).await.is_ok() {}
    });
    timeout(TIMEOUT, conn.close(TIMEOUT * 10)).await.unwrap();
    drop(conn);
    timeout(TIMEOUT, talking).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_slow_peer_took_is_told_before_it_has_taken_all() {
    let (mut ours, theirs) = pair().await;
    // More than the kernels take.
    ours.send(&vec![b' '; 32 << 20]);
    let progress = timeout(Duration::from_secs(10), ours.progress(false)).await;
    assert_eq!(progress.unwrap().unwrap(), Progress::Written);
    assert!(ours.written() > 0 && !ours.is_flushed());
    drop(theirs);
}

/// What authorities say of a chain is kept with it, for all pairs of the stream and whenever it is judged again.
#[tokio::test]
async fn what_the_peer_showed_is_one_value_for_the_whole_connection() {
    let root = Authority::new("root");
    let issued = root.issue(&Leaf::domain("a.example"));
    let provider = Arc::new(aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(issued.chain(), issued.key())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = listener.local_addr().unwrap();
    let theirs = async {
        let (tcp, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(server)).accept(tcp).await
    };
    let ours = async {
        let tcp = Metered::new(TcpStream::connect(peer).await.unwrap());
        let name = ServerName::try_from("a.example").unwrap();
        TlsConnector::from(Arc::new(client))
            .connect(name, tcp)
            .await
    };
    let (_theirs, ours) = tokio::try_join!(theirs, ours).unwrap();
    let mut conn = over(Io::Tls(Box::new(ours.into())), peer);
    let (first, second) = (conn.shown().unwrap(), conn.shown().unwrap());
    assert!(first.is_one_with(&second));
    let (mut plain, _) = pair().await;
    assert_eq!(plain.shown(), None);
}
