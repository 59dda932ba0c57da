//! The sockets of the zone server: RFC 1035 §4.2, UDP and TCP on one port.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hickory_resolver::proto::op::{Message, MessageType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::broadcast,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{Zone, key};

/// The server. It stops when it is dropped.
#[derive(Debug)]
pub struct ZoneServer {
    addr: SocketAddr,
    shared: Arc<ServedZone>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Debug)]
struct ServedZone {
    state: Mutex<State>,
    /// Slow listeners lose the oldest.
    log: broadcast::Sender<String>,
}

#[derive(Debug)]
struct State {
    zone: Zone,
    /// The last [`REMEMBERED`] questions.
    asked: VecDeque<String>,
}

const REMEMBERED: usize = 10_000;

impl ZoneServer {
    /// Listens on one port with UDP and TCP (port 0: any that is free for both). Called inside a tokio runtime.
    pub fn start(listen: SocketAddr, zone: Zone) -> io::Result<Self> {
        let (udp, tcp) = bind(listen)?;
        let addr = udp.local_addr()?;
        let shared = Arc::new(ServedZone {
            state: Mutex::new(State {
                zone,
                asked: VecDeque::new(),
            }),
            log: broadcast::channel(1024).0,
        });
        let tasks = [
            tokio::spawn(serve_udp(udp, shared.clone())),
            tokio::spawn(serve_tcp(tcp, shared.clone())),
        ];
        Ok(Self {
            addr,
            shared,
            tasks,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on it answers from this zone.
    pub fn replace(&self, zone: Zone) {
        self.shared.lock().zone = zone;
    }

    /// What was asked so far (the last ten thousand), as `NAME TYPE`: `_xmpp-server._tcp.example.org SRV`.
    pub fn asked(&self) -> Vec<String> {
        self.shared.lock().asked.iter().cloned().collect()
    }

    /// The questions from now on, as they come.
    pub fn watch(&self) -> broadcast::Receiver<String> {
        self.shared.log.subscribe()
    }
}

impl Drop for ZoneServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl ServedZone {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a packet, no longer than `limit`; `None`: not a query, or keep silent.
    fn answer(&self, packet: &[u8], limit: Option<usize>) -> Option<Vec<u8>> {
        let request = Message::from_vec(packet).ok()?;
        if request.metadata.message_type != MessageType::Query {
            return None;
        }
        let answer = {
            let mut state = self.lock();
            for query in &request.queries {
                let line = format!("{} {}", key(&query.name.to_ascii()), query.query_type);
                let _ = self.log.send(line.clone());
                if state.asked.len() == REMEMBERED {
                    state.asked.pop_front();
                }
                state.asked.push_back(line);
            }
            state.zone.answer(&request)?
        };
        let bytes = answer.to_vec().ok()?;
        // RFC 1035 §4.1.1, RFC 6891 §6.2.3: without EDNS 512 bytes, else what the asker announced.
        let room = limit.map(|limit| limit.max(request.max_payload().into()));
        match room {
            Some(room) if bytes.len() > room => answer.truncate().to_vec().ok(),
            _ => Some(bytes),
        }
    }
}

/// The same port for both. With port 0 the second may be taken: then another is tried.
fn bind(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if listen.port() == 0 { 20 } else { 1 };
    loop {
        tries -= 1;
        let udp = std::net::UdpSocket::bind(listen)?;
        match std::net::TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => {
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                return Ok((UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?));
            }
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

async fn serve_udp(socket: UdpSocket, shared: Arc<ServedZone>) {
    let mut packet = vec![0; 4096];
    loop {
        // An error here is of an earlier answer (ICMP): the socket itself is well.
        let Ok((length, peer)) = socket.recv_from(&mut packet).await else {
            tokio::task::yield_now().await;
            continue;
        };
        if let Some(answer) = shared.answer(&packet[..length], Some(512)) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<ServedZone>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve_stream(stream, shared.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

/// RFC 1035 §4.2.2: two bytes of length before each message. A stream that is idle for 10 s ends.
async fn serve_stream(mut stream: TcpStream, shared: Arc<ServedZone>) -> io::Result<()> {
    loop {
        let length = timeout(Duration::from_secs(10), stream.read_u16()).await??;
        let mut packet = vec![0; length.into()];
        timeout(Duration::from_secs(10), stream.read_exact(&mut packet)).await??;
        if let Some(answer) = shared.answer(&packet, None)
            && let Ok(length) = u16::try_from(answer.len())
        {
            let mut framed = length.to_be_bytes().to_vec();
            framed.extend_from_slice(&answer);
            stream.write_all(&framed).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::{
        Resolver, TokioResolver,
        config::{NameServerConfig, ResolveHosts, ResolverConfig},
        net::runtime::TokioRuntimeProvider,
        proto::rr::RecordType,
    };

    use super::{
        super::tests::{LOCAL, example},
        *,
    };

    fn resolver(server: SocketAddr, tcp_only: bool) -> TokioResolver {
        let mut upstream = match tcp_only {
            true => NameServerConfig::tcp(server.ip()),
            false => NameServerConfig::udp_and_tcp(server.ip()),
        };
        for connection in &mut upstream.connections {
            connection.port = server.port();
        }
        let mut builder = Resolver::builder_with_config(
            ResolverConfig::from_parts(None, vec![], vec![upstream]),
            TokioRuntimeProvider::default(),
        );
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        builder.build().unwrap()
    }

    async fn addresses(resolver: &TokioResolver, name: &str) -> Result<Vec<String>, String> {
        match resolver.lookup(name, RecordType::A).await {
            Ok(found) => Ok(found.answers().iter().map(|r| r.data.to_string()).collect()),
            Err(error) if error.is_nx_domain() => Err("nxdomain".to_owned()),
            Err(error) if error.is_no_records_found() => Err("nodata".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn a_resolver_gets_its_answers_by_udp_and_by_tcp() {
        for tcp_only in [false, true] {
            let server = ZoneServer::start(SocketAddr::from((LOCAL, 0)), example()).unwrap();
            let resolver = resolver(server.addr(), tcp_only);
            assert_eq!(
                addresses(&resolver, "host.a.example.").await,
                Ok(vec!["127.0.0.1".to_owned()])
            );
            assert_eq!(
                addresses(&resolver, "a.example.").await,
                Err("nodata".to_owned())
            );
            assert_eq!(
                addresses(&resolver, "b.example.").await,
                Err("nxdomain".to_owned())
            );
            assert_eq!(
                server.asked(),
                ["host.a.example A", "a.example A", "b.example A"]
            );
        }
    }

    #[tokio::test]
    async fn a_replaced_zone_is_seen_at_once() {
        let server = ZoneServer::start(SocketAddr::from((LOCAL, 0)), Zone::new()).unwrap();
        let resolver = resolver(server.addr(), false);
        assert_eq!(
            addresses(&resolver, "host.a.example.").await,
            Err("nxdomain".to_owned())
        );
        let mut log = server.watch();
        server.replace(example());
        assert_eq!(
            addresses(&resolver, "host.a.example.").await,
            Ok(vec!["127.0.0.1".to_owned()])
        );
        assert_eq!(log.recv().await.unwrap(), "host.a.example A");
    }

    #[tokio::test]
    async fn an_answer_too_long_for_udp_comes_by_tcp() {
        let mut zone = Zone::new();
        for last in 0..=255 {
            zone = zone.a("many.example", Ipv4Addr::new(127, 0, 0, last));
        }
        let server = ZoneServer::start(SocketAddr::from((LOCAL, 0)), zone).unwrap();
        let found = addresses(&resolver(server.addr(), false), "many.example.").await;
        assert_eq!(found.unwrap().len(), 256);
        assert_eq!(server.asked().len(), 2);
    }
}
