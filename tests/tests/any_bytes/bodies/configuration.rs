//! The configuration, which the operator writes, and programs do too.

use std::path::Path;

use s2sd::config::Config;

use super::{Bytes, Reached};

/// What is often in it. Put together at random it often goes far.
const WORDS: &[&str] = &[
    "[[domain]]\n",
    "name = 'here.test'\n",
    "[policy]\n",
    "[[peer]]\n",
    "domain = '*.x.test'\n",
    "domain = 'x.test'\n",
    "tls = 'required'\n",
    "tls = 'optional'\n",
    "auth = ['dialback']\n",
    "auth = ['external', 'scram-sha-256']\n",
    "verify = 'dialback'\n",
    "[limits]\n",
    "max_stanza = '1MiB'\n",
    "inbound = 5\n",
    "inbound = -1\n",
    "connect = '1s'\n",
    "[queue]\n",
    "bytes = '16MiB'\n",
    "give_up = '2m'\n",
    "[dns]\n",
    "servers = ['127.0.0.1:53']\n",
    "component = { secret = 'correct horse battery' }\n",
    "accept = { username = 'a', password = 'correct horse battery' }\n",
    "credentials = { username = 'a', password = 'correct horse battery' }\n",
    "[dialback]\n",
    "secret = 'correct horse battery'\n",
    "[listen]\n",
    "s2s = ['127.0.0.1:0']\n",
    "allow = ['*.ü.test']\n",
    "connect = ['[::1]:5269', 'tls://x.test:1']\n",
    "trust = 'system'\n",
    "[log]\n",
    "level = 'debug'\n",
    "source = ['192.0.2.1']\n",
    "proxy = 'socks5://u:correct horse battery@h:1'\n",
    "= ",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "\n",
    "x = 1\n",
    "1979-05-27",
    "nam = 'x'\n",
    "\u{202e}",
];

/// A text is taken or refused, with something to read; a secret in it is not shown again.
pub(crate) fn body(data: &[u8]) -> Reached {
    let mut reached = Reached::new();
    let mut read = |text: &str| {
        // It reads the files that it names.
        if text.contains("/dev") || text.contains("/proc") || text.contains("/sys") {
            return;
        }
        match Config::from_toml(text, "s2sd.toml", Path::new("/nowhere")) {
            Ok(loaded) => {
                let shown = format!("{:?}", loaded.config);
                assert!(!shown.contains("correct horse battery"), "a secret shows");
                reached.insert("taken");
            }
            Err(faults) => {
                assert!(!faults.render(false).is_empty());
                assert!(faults.lines().next().is_some());
                reached.insert("refused");
            }
        }
    };
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
    let mut bytes = Bytes(data);
    let mut text = String::new();
    while !bytes.is_empty() && text.len() < 2000 {
        match bytes.byte() {
            byte @ 0..=249 => text += WORDS[usize::from(byte) % WORDS.len()],
            _ => text += &String::from_utf8_lossy(bytes.some()),
        }
    }
    read(&text);
    // Deeper: after a beginning that is taken.
    let taken = "[policy]\ntls = 'optional'\nauth = ['dialback']\n[[domain]]\nname = 'here.test'\n";
    read(&format!("{taken}{text}"));
    reached
}
