//! The name servers themselves: the sockets to ask them, whether they know EDNS (RFC 6891), and the outcome of a
//! question.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hickory_resolver::{
    ConnectionProvider, NameServerPool, PoolContext, TlsConfig,
    config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverOpts},
    net::{
        DnsError, NetError,
        runtime::TokioRuntimeProvider,
        udp::UdpClientStream,
        xfer::{DnsHandle, DnsResponseStream, FirstAnswer as _, RetryDnsHandle},
    },
    proto::{
        dnssec::Proof,
        op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query, ResponseCode},
        rr::{Name, RecordType},
    },
};
use tokio::time::{Instant, timeout};
use tracing::info;

use super::{
    reply::{self, Denial},
    system::Upstream,
};
use crate::net::descriptors::is_exhausted;

/// So many sockets are opened for one question to one name server, one after the other while there is no answer.
const SOCKETS: u8 = 2;
/// If a name server does not know EDNS, s2sd tries again after this time.
const WITHOUT_EDNS: Duration = Duration::from_secs(15 * 60);

/// An answer to a question with EDNS is waited for so long, where none ever came.
pub(super) const EDNS_TIMEOUT: Duration = Duration::from_millis(1500);

/// Name servers, and the options to ask them with.
pub(super) fn pool(upstream: &Upstream) -> Result<(Servers, DnsRequestOptions), String> {
    let mut options = ResolverOpts::default();
    options.timeout = upstream.timeout;
    options.attempts = upstream.attempts;
    options.try_tcp_on_error = true;
    let mut asking = DnsRequestOptions::default();
    asking.use_edns = true;
    asking.edns_payload_len = options.edns_payload_len;
    asking.recursion_desired = true;
    let unused = TlsConfig::new().map_err(|error| error.to_string())?;
    let context = Arc::new(PoolContext::new(options, unused));
    let servers = upstream.servers.iter().map(|server| name_server(*server));
    let pool = |servers: Vec<NameServerConfig>| {
        NameServerPool::from_config(servers, Arc::clone(&context), Sockets::default())
    };
    let each = match upstream.servers.len() {
        0 | 1 => Vec::new(),
        _ => servers.clone().map(|server| pool(vec![server])).collect(),
    };
    let servers = Servers {
        all: RetryDnsHandle::new(pool(servers.collect()), upstream.attempts),
        each: each.into(),
    };
    Ok((servers, asking))
}

/// All name servers, and each by itself. The library asks two at the same time and takes the first answer, even one
/// that says only that this server could not or would not look. In that case s2sd asks each in turn, as the C library
/// does.
#[derive(Clone)]
pub(super) struct Servers {
    all: RetryDnsHandle<NameServerPool<Sockets>>,
    each: Arc<[NameServerPool<Sockets>]>,
}

impl DnsHandle for Servers {
    type Response = DnsResponseStream;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let servers = self.clone();
        let asking = async move {
            let first = servers.all.send(request.clone()).first_answer().await;
            if !knows_nothing(&first) {
                return first;
            }
            for server in servers.each.iter() {
                let answer = server.send(request.clone()).first_answer().await;
                if answer.is_ok() && !knows_nothing(&answer) {
                    return answer;
                }
            }
            first
        };
        Box::pin(asking).into()
    }
}

/// Whether another name server may know more (RFC 1035 §4.1.1: server failure, refused).
fn knows_nothing(answer: &Result<DnsResponse, NetError>) -> bool {
    let code = match answer {
        Ok(response) => response.metadata.response_code,
        Err(NetError::Dns(DnsError::ResponseCode(code))) => *code,
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => none.response_code,
        Err(_) => return false,
    };
    matches!(code, ResponseCode::ServFail | ResponseCode::Refused)
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// The library's sockets, fewer of them for UDP.
#[derive(Clone, Default)]
pub(super) struct Sockets(TokioRuntimeProvider);

impl ConnectionProvider for Sockets {
    type Conn = <TokioRuntimeProvider as ConnectionProvider>::Conn;
    type FutureConn = <TokioRuntimeProvider as ConnectionProvider>::FutureConn;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        if !matches!(config.protocol, ProtocolConfig::Udp) {
            return self.0.new_connection(ip, config, context);
        }
        let stream = UdpClientStream::builder(SocketAddr::new(ip, config.port), self.0.clone())
            .with_timeout(Some(context.options.timeout))
            .with_bind_addr(config.bind_addr)
            .with_max_retries(SOCKETS);
        // It begins a task.
        Ok(Box::pin(async move { Ok(stream.exchange()) }))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.0
    }
}

/// RFC 4035 §3.2.2: the CD bit. Without it, a name server that validates keeps a bogus answer to itself and says
/// SERVFAIL. With it, we get the answer and can say what is wrong with it.
#[derive(Clone)]
pub(super) struct Unchecked(Servers);

impl Unchecked {
    pub(super) fn new(servers: &Servers) -> Self {
        Self(servers.clone())
    }
}

impl DnsHandle for Unchecked {
    type Response = <Servers as DnsHandle>::Response;
    type Runtime = <Servers as DnsHandle>::Runtime;

    fn send(&self, mut request: DnsRequest) -> Self::Response {
        request.metadata.checking_disabled = true;
        self.0.send(request)
    }
}

/// Whether the name servers know EDNS (RFC 6891 §6.2.2).
#[derive(Debug, Default)]
pub(super) struct Edns(Mutex<Known>);

#[derive(Clone, Copy, Debug, Default)]
enum Known {
    #[default]
    Unknown,
    Yes,
    /// They are not asked with it until then.
    No(Instant),
}

impl Edns {
    /// How long s2sd waits for an answer with EDNS before it asks without, too. `None`: it does not ask with EDNS at
    /// all.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        match *self.lock() {
            Known::Yes => Some(Duration::MAX),
            Known::No(until) if now < until => None,
            Known::Unknown | Known::No(_) => Some(EDNS_TIMEOUT),
        }
    }

    /// They answered with it.
    pub(super) fn is_known(&self) {
        *self.lock() = Known::Yes;
    }

    /// They answered only the question without it.
    pub(super) fn is_not_known(&self, now: Instant) {
        let before = std::mem::replace(&mut *self.lock(), Known::No(now + WITHOUT_EDNS));
        if !matches!(before, Known::No(_)) {
            info!(
                "the name server does not know EDNS, so queries go without it: no answer can be proved by DNSSEC, and long \
                 ones come by TCP"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a question with EDNS. If the server refuses its form, or does not answer within `wait`, the answer to
/// a question without EDNS, and then `true`. Some servers refuse without repeating the question, which looks like a
/// forgery, and some firewalls drop such a question.
pub(super) async fn with_or_without(
    wait: Duration,
    with: impl Future<Output = Heard>,
    without: impl Future<Output = Heard>,
) -> (Heard, bool) {
    let mut with = pin!(with);
    let said = match timeout(wait, &mut with).await {
        Ok(said) if said.knows_no_edns() => Some(said),
        Ok(said) => return (said, false),
        Err(_) => None,
    };
    let mut without = pin!(without);
    let (said, again) = match said {
        Some(said) => (said, without.await),
        None => tokio::select! {
            said = &mut with => match said {
                Heard::Message(..) => return (said, false),
                said => (said, without.await),
            },
            again = &mut without => match again {
                Heard::Message(..) => return (again, true),
                again => (with.await, again),
            },
        },
    };
    match again {
        Heard::Message(..) => (again, true),
        Heard::Failed(_) | Heard::Refused(_) | Heard::Exhausted => (said, false),
    }
}

/// The outcome of a question.
pub(super) enum Heard {
    /// An answer.
    Message(Box<Message>, Denial),
    /// None.
    Failed(String),
    /// A word that there was none: SERVFAIL, REFUSED.
    Refused(ResponseCode),
    /// There was no descriptor to ask with.
    Exhausted,
}

impl Heard {
    /// RFC 6891 §7: what a server without EDNS says to a question with it; and what others have been seen to say.
    pub(super) fn knows_no_edns(&self) -> bool {
        matches!(
            self,
            Self::Refused(ResponseCode::FormErr | ResponseCode::NotImp)
        )
    }
}

/// Asks one question.
pub(super) async fn heard(
    servers: &impl DnsHandle,
    name: &Name,
    kind: RecordType,
    options: DnsRequestOptions,
) -> Heard {
    let query = Query::query(name.clone(), kind);
    match servers.lookup(query, options).first_answer().await {
        Ok(response) => {
            let message = response.into_message();
            match reply::is_answer(message.metadata.response_code) {
                true => Heard::Message(Box::new(message), Denial::Proved),
                false => Heard::Refused(message.metadata.response_code),
            }
        }
        Err(NetError::Dns(DnsError::Nsec {
            response, proof, ..
        })) => {
            let denial = match proof {
                Proof::Secure => Denial::Proved,
                Proof::Insecure => Denial::Costly,
                Proof::Bogus | Proof::Indeterminate => Denial::Refuted,
            };
            Heard::Message(Box::new(response.into_message()), denial)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            if !reply::is_answer(none.response_code) {
                return Heard::Refused(none.response_code);
            }
            let mut message = Message::query();
            message.metadata.response_code = none.response_code;
            if let Some(soa) = none.soa {
                message.add_authority(soa.into_record_of_rdata());
            }
            Heard::Message(Box::new(message), Denial::Proved)
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Heard::Refused(code),
        Err(NetError::Io(error)) if is_exhausted(&error) => Heard::Exhausted,
        Err(NetError::NoConnections) if has_no_descriptor() => Heard::Exhausted,
        Err(error) => Heard::Failed(error.to_string()),
    }
}

/// Whether there is no descriptor left: where no socket could be made for any of the name servers, the library does not say
/// why not.
fn has_no_descriptor() -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
    socket.is_err_and(|error| is_exhausted(&error))
}
