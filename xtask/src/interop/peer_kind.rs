//! What we are held against: a server that federates, or a tool that proves and asks for proof.

use super::{
    peers::{self, Peer},
    sasl::{self, Tool},
};

#[derive(Clone, Copy)]
pub(super) enum PeerKind {
    Server(&'static dyn Peer),
    Tool(&'static Tool),
}

/// All of them, in the order of the matrix.
pub(super) fn all() -> Vec<PeerKind> {
    let servers = peers::ALL.iter().copied().map(PeerKind::Server);
    servers
        .chain(sasl::TOOLS.iter().map(PeerKind::Tool))
        .collect()
}

impl PeerKind {
    /// Its name on our command line.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Server(peer) => peer.name(),
            Self::Tool(tool) => tool.name,
        }
    }

    pub(super) fn is_installed(&self) -> bool {
        match self {
            Self::Server(peer) => peer.is_installed(),
            Self::Tool(tool) => tool.is_installed(),
        }
    }

    /// The packages of Debian that bring it.
    pub(super) fn packages(&self) -> &'static [&'static str] {
        match self {
            Self::Server(peer) => peer.packages(),
            Self::Tool(tool) => tool.packages,
        }
    }

    /// What it calls itself and its version.
    pub(super) fn version(&self) -> Option<String> {
        match self {
            Self::Server(peer) => peer.version(),
            Self::Tool(tool) => tool.version(),
        }
    }
}
