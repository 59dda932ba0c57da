//! Accepts connections, and gives each that is admitted to its task.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain as Family, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::{field::Empty, warn};

use crate::flow::component;
use crate::flow::inbound;
use crate::flow::router::Router;
use crate::net::admission::ConnectionLimit;
use crate::net::descriptors::{Permit, Share, is_exhausted};
use crate::net::sockets::notice_death;
use crate::protocol::admission::Bounds;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListenerKind {
    /// Server-to-server, STARTTLS.
    S2s,
    /// Server-to-server, TLS from the first byte (XEP-0368).
    S2sTls,
    /// Components (XEP-0114).
    Components,
}

impl ListenerKind {
    fn share(self) -> Share {
        match self {
            Self::S2s | Self::S2sTls => Share::Servers,
            Self::Components => Share::Components,
        }
    }
}

/// Binds a listener. IPv6 listeners take IPv6 only where an IPv4 listener could stand beside them.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::from_std(socket(address)?.into())
}

/// The same without tokio.
pub(crate) fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Family::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket)
}

/// Binds an address. `unsaid`: it is the default, not the operator's. Without IPv6 that becomes `0.0.0.0`, and then
/// `true` comes with it. An address of the operator is bound or is an error.
pub(crate) fn bind_or_default<T>(
    address: SocketAddr,
    unsaid: bool,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<(T, bool)> {
    match bind(address) {
        Err(error) if unsaid && address.is_ipv6() && has_no_ipv6(&error) => {
            Ok((bind(instead_of(address))?, true))
        }
        bound => bound.map(|bound| (bound, false)),
    }
}

/// The default of a machine without IPv6.
pub(crate) fn instead_of(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, address.port()).into()
}

fn has_no_ipv6(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

/// Why an address cannot be had, and what an operator can do about it.
pub(crate) fn why_not(address: SocketAddr, error: &io::Error) -> String {
    let why = match Errno::from_io_error(error) {
        Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
            if address.is_ipv6() && address.ip().is_unspecified() =>
        {
            "this machine has no IPv6; write \"0.0.0.0\" with the port"
        }
        Some(Errno::AFNOSUPPORT) => "this machine has no addresses of this family",
        Some(Errno::ADDRNOTAVAIL) => {
            "this machine has no such address; take one of its own, or \"0.0.0.0\" or \"[::]\" for all of them"
        }
        Some(Errno::ADDRINUSE) => "another program listens there, or s2sd runs already",
        Some(Errno::ACCESS | Errno::PERM) => {
            "the user who runs s2sd may not; a port below 1024 needs the capability CAP_NET_BIND_SERVICE"
        }
        _ => return error.to_string(),
    };
    format!("{why} ({error})")
}

/// Accepts until the server stops.
pub(crate) async fn serve(
    router: Arc<Router>,
    listener: TcpListener,
    kind: ListenerKind,
    connection_limit: Arc<ConnectionLimit>,
    tasks: TaskTracker,
) {
    let descriptors = &router.shared().descriptors;
    let accept = async || {
        // Where there is none, the kernel holds those that come.
        let permit = descriptors.wait(kind.share()).await;
        (listener.accept().await, permit)
    };
    loop {
        let (accepted, permit) = tokio::select! {
            accepted = accept() => accepted,
            () = router.shared().stop.cancelled() => return,
        };
        match accepted {
            Ok((tcp, peer)) => admit(&router, tcp, peer, permit, kind, &connection_limit, &tasks),
            Err(error) => {
                if is_exhausted(&error) {
                    descriptors.tell("a connection could not be accepted");
                } else {
                    warn!(unproved = Empty, %error, "a connection could not be accepted");
                }
                // Trying at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn admit(
    router: &Arc<Router>,
    tcp: TcpStream,
    peer: SocketAddr,
    permit: Permit,
    kind: ListenerKind,
    connection_limit: &Arc<ConnectionLimit>,
    tasks: &TaskTracker,
) {
    let snapshot = router.shared().snapshot.load();
    let (limits, served) = (&snapshot.config.limits, snapshot.config.domains.len());
    notice_death(&tcp, limits);
    let bounds = match kind {
        ListenerKind::S2s | ListenerKind::S2sTls => {
            let places = router.shared().descriptors.servers();
            Bounds::servers(limits, served, places)
        }
        ListenerKind::Components => Bounds::components(limits),
    };
    // The limit counts the refusal.
    let Ok(admission) = connection_limit.admit(peer.ip(), bounds) else {
        return;
    };
    let router = Arc::clone(router);
    tasks.spawn(async move {
        match kind {
            ListenerKind::S2s => inbound::serve(router, tcp, false, admission).await,
            ListenerKind::S2sTls => inbound::serve(router, tcp, true, admission).await,
            ListenerKind::Components => component::serve(router, tcp, admission).await,
        }
        drop(permit);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has IPv4 alone.
    fn without_ipv6(errno: Errno) -> impl Fn(SocketAddr) -> io::Result<SocketAddr> {
        move |address| match address.is_ipv6() {
            true => Err(errno.into()),
            false => Ok(address),
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_ipv6_the_default_address_is_that_of_ipv4() {
        for errno in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let bound = bind_or_default(address("[::]:5269"), true, without_ipv6(errno));
            assert_eq!(bound.unwrap(), (address("0.0.0.0:5269"), true));
            // Nobody means another address than the one that is written.
            let bound = bind_or_default(address("[::]:5269"), false, without_ipv6(errno));
            let why = why_not(address("[::]:5269"), &bound.unwrap_err());
            assert!(why.starts_with("this machine has no IPv6; write"), "{why}");
        }
        // Where somebody else has the port, another address would hide it.
        let bound = bind_or_default(address("[::]:5269"), true, without_ipv6(Errno::ADDRINUSE));
        let why = why_not(address("[::]:5269"), &bound.unwrap_err());
        assert!(why.starts_with("another program listens there"), "{why}");
        let both = bind_or_default(address("[::]:5269"), true, Ok);
        assert_eq!(both.unwrap(), (address("[::]:5269"), false));
    }

    #[test]
    fn an_address_of_another_machine_is_said_to_be_one() {
        for (text, errno) in [
            ("192.0.2.1:5269", Errno::ADDRNOTAVAIL),
            ("[2001:db8::1]:5269", Errno::ADDRNOTAVAIL),
        ] {
            let why = why_not(address(text), &errno.into());
            assert!(why.starts_with("this machine has no such address"), "{why}");
        }
        let why = why_not(address("127.0.0.1:99"), &Errno::ACCESS.into());
        assert!(why.contains("CAP_NET_BIND_SERVICE"), "{why}");
    }
}
