//! Accepts connections, and gives each that is admitted to its task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain as Family, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tracing::{field::Empty, warn};

use crate::component;
use crate::guests::{Bounds, Guests};
use crate::inbound;
use crate::router::Router;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Server-to-server, STARTTLS.
    S2s,
    /// Server-to-server, TLS from the first byte (XEP-0368).
    S2sTls,
    /// Components (XEP-0114).
    Components,
}

/// Binds a listener. IPv6 listeners take IPv6 only where an IPv4 listener could stand beside them.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
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
    TcpListener::from_std(socket.into())
}

/// Accepts until the server stops.
pub(crate) async fn serve(
    router: Arc<Router>,
    listener: TcpListener,
    door: Door,
    guests: Arc<Guests>,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = router.means().stop.cancelled() => return,
        };
        match accepted {
            Ok((tcp, peer)) => admit(&router, tcp, peer, door, &guests, &tasks),
            Err(error) => {
                // Out of descriptors, as a rule: trying at once would spin.
                warn!(unproved = Empty, %error, "a connection could not be accepted{}", what_to_do(&error));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// What an operator can do about it.
pub(crate) fn what_to_do(error: &io::Error) -> &'static str {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => ": raise LimitNOFILE or lower inbound in [limits]",
        _ => "",
    }
}

fn admit(
    router: &Arc<Router>,
    tcp: TcpStream,
    peer: SocketAddr,
    door: Door,
    guests: &Arc<Guests>,
    tasks: &TaskTracker,
) {
    let house = router.means().house.load();
    let (limits, served) = (&house.config.limits, house.config.domains.len());
    let bounds = match door {
        Door::S2s | Door::S2sTls => Bounds::servers(limits, served),
        Door::Components => Bounds::components(limits),
    };
    // Who is refused is counted there.
    let Ok(admission) = guests.admit(peer.ip(), bounds) else {
        return;
    };
    let router = Arc::clone(router);
    match door {
        Door::S2s => tasks.spawn(inbound::serve(router, tcp, false, admission)),
        Door::S2sTls => tasks.spawn(inbound::serve(router, tcp, true, admission)),
        Door::Components => tasks.spawn(component::serve(router, tcp, admission)),
    };
}
