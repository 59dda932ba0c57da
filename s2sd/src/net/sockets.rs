//! Socket options of every connection. By them the kernel notices that a peer vanished (its machine lost power, its
//! network failed), and keeps little of what the peer does not take.
//!
//! Without them an idle connection stays for ever, and one with unsent bytes for the kernel's own patience, which is a
//! quarter of an hour and more.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tracing::debug;

use crate::config::Limits;

/// The kernel takes from one second to 32,767 (tcp(7)).
const LONGEST: Duration = Duration::from_secs(32_767);
const SHORTEST: Duration = Duration::from_secs(1);
/// So many probes are sent, on systems where `TCP_USER_TIMEOUT` does not decide.
const PROBES: u32 = 4;
/// How many unsent bytes the kernel takes, which then count as taken. The others wait here and are not lost with the
/// connection. Bytes that are sent and not acknowledged do not count, so a long path is filled as before.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

/// Sets them. A connection on which they cannot be set works without.
pub(crate) fn notice_death(tcp: &TcpStream, limits: &Limits) {
    if let Err(error) = set(tcp, limits) {
        debug!(%error, "the kernel does not watch over a connection");
    }
}

fn set(tcp: &TcpStream, limits: &Limits) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    let idle = limits.keepalive.clamp(SHORTEST, LONGEST);
    let again = (idle / PROBES).max(SHORTEST);
    let probes = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(again)
        .with_retries(PROBES);
    socket.set_tcp_keepalive(&probes)?;
    // From the oldest byte that is sent and not acknowledged, or, if there is none, from the last byte received.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limits.stall.max(SHORTEST)))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_kernel_keeps_little_that_it_cannot_send() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut taken = Vec::new();
        for little in [true, false] {
            let tcp = TcpStream::connect(address).await.unwrap();
            // It reads nothing.
            let (_peer, _) = listener.accept().await.unwrap();
            if little {
                set(&tcp, &Limits::default()).unwrap();
                assert_eq!(SockRef::from(&tcp).tcp_notsent_lowat().unwrap(), UNSENT);
            }
            let (piece, mut all) = (vec![0; 16 * 1024], 0);
            tcp.writable().await.unwrap();
            // What is on the way makes room for a moment.
            for _ in 0..100 {
                while let Ok(more) = tcp.try_write(&piece) {
                    all += more;
                }
                tokio::task::yield_now().await;
            }
            taken.push(all);
        }
        assert!(taken[0] < taken[1], "{taken:?}");
    }

    #[tokio::test]
    async fn the_kernel_is_told_how_long_a_peer_may_be_silent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await;
        let tcp = tcp.unwrap();
        let of = |keepalive, stall| {
            let limits = Limits {
                keepalive: Duration::from_secs(keepalive),
                stall: Duration::from_secs(stall),
                ..Limits::default()
            };
            set(&tcp, &limits).unwrap();
            let socket = SockRef::from(&tcp);
            assert!(socket.keepalive().unwrap());
            (
                socket.tcp_keepalive_time().unwrap().as_secs(),
                socket.tcp_keepalive_interval().unwrap().as_secs(),
                socket.tcp_keepalive_retries().unwrap(),
                #[cfg(target_os = "linux")]
                socket.tcp_user_timeout().unwrap().unwrap().as_secs(),
            )
        };
        #[cfg(target_os = "linux")]
        {
            assert_eq!(of(300, 240), (300, 75, 4, 240));
            // Whatever is configured, the kernel takes it.
            assert_eq!(of(0, 0), (1, 1, 4, 1));
            assert_eq!(of(1_000_000, 1_000_000), (32_767, 8191, 4, 1_000_000));
        }
        #[cfg(not(target_os = "linux"))]
        assert_eq!(of(300, 240), (300, 75, 4));
    }
}
