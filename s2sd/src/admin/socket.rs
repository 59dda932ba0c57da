//! The socket in `data_dir` that the commands use: only its own user and root may use it.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// Its name.
pub(crate) const SOCKET: &str = "s2sd.sock";
/// So many wait for their turn.
const BACKLOG: i32 = 16;

/// Why there is no socket.
#[derive(Debug)]
pub(crate) enum NoSocket {
    /// Another daemon answers at it.
    Taken,
    /// It cannot be made there.
    Failed(io::Error),
}

impl From<io::Error> for NoSocket {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Device, inode, and when it was last changed: an inode is used again at once.
type Inode = (u64, u64, i64, i64);

/// The file, which is removed when this is dropped, unless it is another daemon's by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    made: Inode,
}

/// Makes the socket. One that a dead daemon left there is replaced.
pub(crate) fn bind(data_dir: &Path) -> Result<(UnixListener, SocketFile), NoSocket> {
    fs::create_dir_all(data_dir)?;
    let path = data_dir.join(SOCKET);
    remove_left_over(&path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&path)?)?;
    // No client connects before it listens, so there is no moment in which other users might.
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let file = SocketFile {
        made: inode(&fs::symlink_metadata(&path)?),
        path,
    };
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

fn remove_left_over(path: &Path) -> Result<(), NoSocket> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !found.file_type().is_socket() {
        let what = "there is something else of that name";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what).into());
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        // Its backlog is full.
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.into()),
        Ok(()) | Err(_) => Err(NoSocket::Taken),
    }
}

fn inode(metadata: &Metadata) -> Inode {
    let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
    (metadata.dev(), metadata.ino(), seconds, nanoseconds)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |metadata: Metadata| inode(&metadata) == self.made;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // If it stays, the next daemon replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("s2sd-socket-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn the_socket_is_its_users_alone_and_goes_with_the_daemon() {
        let directory = Directory::new("mode");
        let (listener, file) = bind(&directory.0).unwrap();
        let path = directory.0.join(SOCKET);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop((listener, file));
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_daemon_that_lives_keeps_its_socket_and_a_dead_ones_is_replaced() {
        let directory = Directory::new("stale");
        let (listener, file) = bind(&directory.0).unwrap();
        assert!(matches!(bind(&directory.0), Err(NoSocket::Taken)));
        // It dies without a word.
        drop(listener);
        let (_listener, newer) = bind(&directory.0).unwrap();
        // And takes nothing from its successor.
        drop(file);
        assert!(directory.0.join(SOCKET).exists());
        drop(newer);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_not_removed() {
        let directory = Directory::new("other");
        fs::create_dir_all(&directory.0).unwrap();
        let path = directory.0.join(SOCKET);
        fs::write(&path, "a file").unwrap();
        assert!(matches!(bind(&directory.0), Err(NoSocket::Failed(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }
}
