//! What a reload changed, in words for an operator.

use std::fmt::Display;

use crate::config::{Config, Peer, ServedDomain};

/// Each change that is in force now. The loader of certificates reports those itself.
pub(crate) fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    let mut changed = |what: &dyn Display| changes.push(format!("{what} has changed"));
    let is_like = |one: &ServedDomain, other: &ServedDomain| {
        let account = |it: &ServedDomain| {
            let account = it.component.as_ref();
            account.map(|it| (it.secret.as_str().to_owned(), it.max_stanza))
        };
        account(one) == account(other) && one.contact == other.contact
    };
    for domain in &new.domains {
        if let Some(before) = old.served(&domain.name)
            && !is_like(before, domain)
        {
            changed(&format!("[[domain]] {}", domain.name));
        }
    }
    if old.access != new.access || !old.policy.is_like(&new.policy) {
        changed(&"[policy]");
    }
    let entry = |config: &Config, peer: &Peer| {
        let peers = config.peers.iter();
        let same = |it: &&Peer| it.pattern == peer.pattern;
        peers.clone().find(same).cloned()
    };
    for peer in &new.peers {
        if let Some(before) = entry(old, peer)
            && !before.policy.is_like(&peer.policy)
        {
            changed(&format!("[[peer]] {}", peer.pattern));
        }
    }
    if old.limits != new.limits {
        changed(&"[limits]");
    }
    if old.queue != new.queue {
        changed(&"[queue]");
    }
    if old.log != new.log {
        changed(&"[log]");
    }
    for domain in &new.domains {
        if old.served(&domain.name).is_none() {
            changes.push(format!("[[domain]] {} is new", domain.name));
        }
    }
    for domain in &old.domains {
        if new.served(&domain.name).is_none() {
            changes.push(format!("[[domain]] {} is gone", domain.name));
        }
    }
    for peer in &new.peers {
        if entry(old, peer).is_none() {
            changes.push(format!("[[peer]] {} is new", peer.pattern));
        }
    }
    for peer in &old.peers {
        if entry(new, peer).is_none() {
            changes.push(format!("[[peer]] {} is gone", peer.pattern));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(more: &str) -> Config {
        let toml = format!("[policy]\ntls = 'optional'\n{more}");
        let loaded = Config::from_toml(&toml, "s2sd.toml", Path::new("."));
        loaded.unwrap().config
    }

    #[test]
    fn each_change_is_named_and_what_stayed_is_not() {
        let old = "[queue]\ngive_up = '60s'\n[[domain]]\nname = 'a.example'\n[[domain]]\nname = 'b.example'\n\
                   [[peer]]\ndomain = 'p.example'\ntls = 'optional'\n[[peer]]\ndomain = 'q.example'\nauth = ['dialback']\n";
        let new = "[queue]\ngive_up = '90s'\n[[domain]]\nname = 'a.example'\ncontact = ['mailto:a@a.example']\n\
                   [[domain]]\nname = 'c.example'\n[[peer]]\ndomain = 'p.example'\nauth = ['dialback']\n\
                   [[peer]]\ndomain = 'r.example'\nauth = ['dialback']\n";
        assert_eq!(changes(&config(old), &config(old)), Vec::<String>::new());
        assert_eq!(
            changes(&config(old), &config(new)),
            [
                "[[domain]] a.example has changed",
                "[[peer]] p.example has changed",
                "[queue] has changed",
                "[[domain]] c.example is new",
                "[[domain]] b.example is gone",
                "[[peer]] r.example is new",
                "[[peer]] q.example is gone",
            ]
        );
    }
}
