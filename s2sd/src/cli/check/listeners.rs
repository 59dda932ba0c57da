//! Whether the addresses of `[listen]` can be had: each is bound for a moment, all at the same time.
//!
//! Who checks need not be who runs, and s2sd itself may be running: what cannot be known is no fault.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::report::{Listener, Report};
use crate::config::{Listen, Severity};
use crate::flow::listen;
use crate::peer_text::PeerText;

pub(super) fn try_all(listen: &Listen, report: &mut Report) {
    try_with(listen, report, listen::socket, |port| {
        holder(Path::new("/proc"), port)
    });
}

/// Who listens on a port.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Holder {
    process: u32,
    name: String,
}

fn try_with<T>(
    listen: &Listen,
    report: &mut Report,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
    holder: impl Fn(u16) -> Option<Holder>,
) {
    // Kept to the end: two of them may be in each other's way.
    let mut bound = Vec::new();
    for (key, addresses) in [
        ("s2s", &listen.s2s),
        ("s2s_tls", &listen.s2s_tls),
        ("components", &listen.components),
        ("admin", &listen.admin),
    ] {
        let unsaid = listen.unsaid.contains(&key);
        for &address in addresses {
            let mut entry = Listener {
                key,
                address,
                state: "free",
            };
            match listen::bind_or_default(address, unsaid, &bind) {
                Ok((listener, instead)) => {
                    bound.push(listener);
                    if instead {
                        entry.address = listen::instead_of(address);
                        let text = format!(
                            "this machine has no IPv6: s2sd will listen on {} instead of {address}; to choose, write \
                             `{key}` in [listen]",
                            entry.address
                        );
                        report.add(Severity::Warning, text);
                    }
                }
                Err(error) => {
                    let (state, said) = refused(&entry, &error, holder(address.port()));
                    entry.state = state;
                    if let Some((severity, text)) = said {
                        report.add(severity, text);
                    }
                }
            }
            report.listen.push(entry);
        }
    }
}

fn refused(
    entry: &Listener,
    error: &io::Error,
    holder: Option<Holder>,
) -> (&'static str, Option<(Severity, String)>) {
    let Listener { key, address, .. } = entry;
    let listens = format!("`{key}` in [listen]: {address}");
    match (error.kind(), holder) {
        (io::ErrorKind::AddrInUse, Some(holder)) if holder.process == std::process::id() => {
            let text = format!("{listens} is taken by another address of [listen]");
            ("in use", Some((Severity::Fault, text)))
        }
        (io::ErrorKind::AddrInUse, Some(holder)) if holder.name == "s2sd" => {
            ("in use by s2sd", None)
        }
        (io::ErrorKind::AddrInUse, Some(Holder { process, name })) => {
            let text = format!(
                "{listens} is taken by {name} (process {process}): stop that, or choose another port"
            );
            ("in use", Some((Severity::Fault, text)))
        }
        (io::ErrorKind::AddrInUse, None) => {
            let text = format!(
                "{listens} is taken by a program of another user, which may be s2sd; root sees which one it is"
            );
            ("in use", Some((Severity::Warning, text)))
        }
        (io::ErrorKind::PermissionDenied, _) => {
            let text = format!(
                "{listens} cannot be tried by you: {}",
                listen::why_not(*address, error)
            );
            ("refused", Some((Severity::Warning, text)))
        }
        _ => {
            let why = listen::why_not(*address, error);
            let text = format!("{listens} cannot be listened on: {why}");
            ("refused", Some((Severity::Fault, text)))
        }
    }
}

/// Who listens on this port, as far as this user may see (proc(5)).
fn holder(proc: &Path, port: u16) -> Option<Holder> {
    let listening = |file: &str| {
        let text = fs::read_to_string(proc.join(file)).unwrap_or_default();
        inodes(&text, port)
    };
    let mut sockets = listening("net/tcp");
    sockets.extend(listening("net/tcp6"));
    let links: Vec<PathBuf> = sockets
        .into_iter()
        .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
        .collect();
    if links.is_empty() {
        return None;
    }
    fs::read_dir(proc).ok()?.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let mut open = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        open.find(|open| fs::read_link(open.path()).is_ok_and(|link| links.contains(&link)))?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        // Any program may choose its name.
        let name = PeerText::new(name.trim_end()).to_string();
        Some(Holder { process, name })
    })
}

/// The sockets in `/proc/net/tcp` that listen on this port.
fn inodes(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let lines = table.lines().skip(1);
    let found = lines.filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let here = u16::from_str_radix(local, 16) == Ok(port) && *fields.get(3)? == LISTEN;
        here.then(|| fields.get(9).map(|&inode| inode.to_owned()))?
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: fn(u16) -> Option<Holder> = |_| None;

    fn somebody(name: &str) -> impl Fn(u16) -> Option<Holder> {
        move |_| {
            Some(Holder {
                process: 1,
                name: name.to_owned(),
            })
        }
    }

    /// What is said, and whether it is a fault, where every address is refused for this reason.
    fn where_refused(
        kind: io::ErrorKind,
        holder: impl Fn(u16) -> Option<Holder>,
    ) -> (bool, String, Vec<&'static str>) {
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        let refuse = |_| Err::<(), _>(kind.into());
        try_with(&Listen::default(), &mut report, refuse, holder);
        let states = report.listen.iter().map(|entry| entry.state).collect();
        (report.is_well(), report.for_people(), states)
    }

    #[test]
    fn an_address_that_is_taken_is_a_fault_unless_it_may_be_s2sd_itself() {
        let taken = io::ErrorKind::AddrInUse;
        let (well, text, _) = where_refused(taken, somebody("prosody"));
        assert!(!well);
        let words = "`s2s` in [listen]: [::]:5269 is taken by prosody (process 1)";
        assert!(text.contains(words), "{text}");
        let (well, text, states) = where_refused(taken, somebody("s2sd"));
        assert!(well && !text.contains("taken"), "{text}");
        assert!(text.contains("[::]:5269 is in use by s2sd"), "{text}");
        assert_eq!(states, ["in use by s2sd"; 3]);
        let (well, text, _) = where_refused(taken, NOBODY);
        assert!(well && text.contains("which may be s2sd"), "{text}");
        // Who checks may not be who runs.
        let (well, text, _) = where_refused(io::ErrorKind::PermissionDenied, NOBODY);
        assert!(well && text.contains("cannot be tried by you"), "{text}");
        let (well, text, _) = where_refused(io::ErrorKind::AddrNotAvailable, NOBODY);
        assert!(!well, "{text}");
    }

    #[test]
    fn a_machine_without_ipv6_is_told_what_it_gets() {
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        let ipv4 = |address: SocketAddr| match address.is_ipv6() {
            true => Err(rustix::io::Errno::AFNOSUPPORT.into()),
            false => Ok(()),
        };
        try_with(&Listen::default(), &mut report, ipv4, NOBODY);
        let text = report.for_people();
        let words = "s2sd will listen on 0.0.0.0:5269 instead of [::]:5269";
        assert!(report.is_well() && text.contains(words), "{text}");
        // Who wrote it gets a fault.
        let written = Listen {
            unsaid: Vec::new(),
            ..Listen::default()
        };
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        try_with(&written, &mut report, ipv4, NOBODY);
        let text = report.for_people();
        assert!(!report.is_well());
        assert!(text.contains("this machine has no IPv6; write"), "{text}");
    }

    #[test]
    fn who_listens_on_a_port_is_found_also_where_it_is_this_process() {
        let first = listen::socket(([127, 0, 0, 1], 0).into()).unwrap();
        let port = first.local_addr().unwrap().as_socket().unwrap().port();
        let found = holder(Path::new("/proc"), port).unwrap();
        assert_eq!(found.process, std::process::id());
        let mut report = Report::new("s2sd.toml".to_owned(), false);
        let listen = Listen {
            s2s: vec![([127, 0, 0, 1], port).into()],
            s2s_tls: Vec::new(),
            components: Vec::new(),
            admin: Vec::new(),
            unsaid: Vec::new(),
        };
        try_all(&listen, &mut report);
        let text = report.for_people();
        let words = "is taken by another address of [listen]";
        assert!(!report.is_well() && text.contains(words), "{text}");
    }

    #[test]
    fn only_sockets_that_listen_on_the_port_count() {
        let table = "  sl  local_address rem_address   st\n\
               0: 00000000:1495 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n\
               1: 00000000:1495 0100007F:0001 01 0:0 0:0 0 0 0 78 1\n\
               2: 00000000:1496 00000000:0000 0A 0:0 0:0 0 0 0 79 1\n";
        assert_eq!(inodes(table, 5269), ["77"]);
    }
}
