//! On a machine without IPv6: the default of `[listen]`. A filter of system calls has the kernel say that there is none, in a
//! network of its own, where the default's ports are free. Where there is no `python3` to set it, or no such network, nothing is
//! tried, and the test says so.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// `socket(AF_INET6, …)` fails with EAFNOSUPPORT, in the program that is started and all below it (seccomp(2)).
const PROGRAM: &str = "\
import ctypes, os, platform, struct, sys
call = {'x86_64': 41}.get(platform.machine(), 198)
allow, refuse = 0x7fff0000, 0x00050000 | 97
lines = [(0x20, 0, 0, 0), (0x15, 0, 3, call), (0x20, 0, 0, 16), (0x15, 0, 1, 10), (0x06, 0, 0, refuse), (0x06, 0, 0, allow)]
text = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in lines))
filter = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(lines), ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter):
    sys.exit('no filter of system calls: ' + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
";

/// As an ordinary user, else as root.
const NETWORKS: [&[&str]; 2] = [&["--user", "--map-root-user", "--net"], &["--net"]];

/// `[listen]` says nothing of servers.
const CONFIGURATION: &str = "\
data_dir = 'data'
[listen]
components = []
[policy]
tls = 'optional'
[dns]
servers = ['127.0.0.1:1']
[[domain]]
name = 'a.example'
";

/// Starts s2sd there, or says why not.
fn s2sd(directory: &Path, arguments: &[&str]) -> Option<Command> {
    let python = |network: &[&str], words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(network).args(["python3", "-c", PROGRAM]);
        command.args(words).stdin(Stdio::null());
        command
    };
    let works = |network: &&&[&str]| {
        let output = python(network, &["/bin/true"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(network) = NETWORKS.iter().find(works) else {
        eprintln!("left out: no network of our own, or no python3, or no filter of system calls");
        assert!(std::env::var_os("S2SD_NEED_NAMESPACES").is_none());
        return None;
    };
    let words = [&[env!("CARGO_BIN_EXE_s2sd")], arguments].concat();
    let mut command = python(network, &words);
    command.current_dir(directory);
    Some(command)
}

fn directory(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("s2sd.toml"), CONFIGURATION).unwrap();
    directory
}

#[test]
fn without_ipv6_the_default_listens_for_ipv4_and_says_so() {
    let directory = directory("without-ipv6-run");
    let Some(mut command) = s2sd(&directory, &["run", "-c", "s2sd.toml"]) else {
        return;
    };
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        said.push(line);
        if said.last().is_some_and(|line| line.contains("serving ")) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let has = |parts: &[&str]| {
        let mut lines = said.iter();
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    };
    assert!(has(&["WARN", "this machine has no IPv6"]), "{said:#?}");
    assert!(has(&["listening", "address=0.0.0.0:5269"]), "{said:#?}");
    assert!(has(&["serving "]), "{said:#?}");
}

#[test]
fn without_ipv6_check_says_where_it_will_listen() {
    let directory = directory("without-ipv6-check");
    let Some(mut command) = s2sd(&directory, &["check", "-c", "s2sd.toml"]) else {
        return;
    };
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let want = "this machine has no IPv6: s2sd will listen on 0.0.0.0:5269 instead of [::]:5269";
    assert!(said.contains(want), "{said}");
    assert!(output.status.success(), "{said}");
}
