//! TLS as no library speaks it by itself: changes of keys without end, with next to nothing between them (RFC 8446 §4.6.3).
//! Over blocking sockets: call it where that is no harm.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::ensure;
use rustls::{ClientConnection, pki_types::ServerName};
use tokio::net::TcpSocket;

use crate::{
    peer::{header_text, initial_header},
    tls::{self, TlsIdentity},
};

/// How long a socket waits.
const PEER_TIMEOUT: Duration = Duration::from_secs(20);
/// So many changes in a row are put up with.
const IN_A_ROW: usize = 32;

/// A connection within TLS.
#[derive(Debug)]
pub struct Encrypted {
    tcp: TcpStream,
    tls: ClientConnection,
}

/// Connects from an address of our own.
pub async fn connect(source: Ipv4Addr, addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((source, 0).into())?;
    let tcp = socket.connect(addr).await?.into_std()?;
    tcp.set_nonblocking(false)?;
    tcp.set_read_timeout(Some(PEER_TIMEOUT))?;
    tcp.set_write_timeout(Some(PEER_TIMEOUT))?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// Reads until these words have come.
fn until(mut from: impl Read, words: &str) -> anyhow::Result<()> {
    let (mut text, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let read = from.read(&mut some)?;
        ensure!(read > 0, "closed before {words:?}");
        text.extend_from_slice(some.get(..read).unwrap_or_default());
        if String::from_utf8_lossy(&text).contains(words) {
            return Ok(());
        }
    }
}

impl Encrypted {
    /// A stream up to the features within TLS.
    pub fn open(
        mut tcp: TcpStream,
        from: &str,
        to: &str,
        identity: Option<&TlsIdentity>,
    ) -> anyhow::Result<Self> {
        let header = header_text(&initial_header(Some(from), to));
        tcp.write_all(&header)?;
        until(&tcp, "</stream:features>")?;
        tcp.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")?;
        until(&tcp, "<proceed")?;
        let name = ServerName::try_from(to.to_owned())?;
        let mut tls = ClientConnection::new(tls::client(identity, false)?, name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        let mut this = Self { tcp, tls };
        this.ask(&header, "</stream:features>")?;
        Ok(this)
    }

    /// Says something, and waits for these words.
    pub fn ask(&mut self, text: &[u8], words: &str) -> anyhow::Result<()> {
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.tcp);
        stream.write_all(text)?;
        stream.flush()?;
        until(stream, words)
    }

    /// Changes of keys, so many times as many as may follow each other, and a space after each row: as bytes of the wire,
    /// which are still to be sent.
    pub fn changes_of_keys(&mut self, rows: usize) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::new();
        for _ in 0..rows {
            for _ in 0..IN_A_ROW {
                self.tls.refresh_traffic_keys()?;
                while self.tls.wants_write() {
                    self.tls.write_tls(&mut out)?;
                }
            }
            self.tls.writer().write_all(b" ")?;
            while self.tls.wants_write() {
                self.tls.write_tls(&mut out)?;
            }
        }
        Ok(out)
    }

    /// Sends what is encrypted already.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.tcp.write_all(bytes)
    }

    /// Whether the connection ends while we wait, whatever comes before.
    pub fn ends(&mut self) -> bool {
        let mut some = [0; 4096];
        loop {
            match self.tcp.read(&mut some) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }
}
