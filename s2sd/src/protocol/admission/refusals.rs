//! Refusals and their reasons, counted, so that the log has one line for many.

use std::fmt;

use crate::network::Network;

/// Why a connection, or a stream, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many of its host are not authenticated as may be.
    HostUnauthenticated,
    /// As many of its site are not authenticated as may be.
    SiteUnauthenticated,
    /// Its site has as many as it may have.
    Site,
    /// The places that are left are kept for networks whose domains authenticated lately.
    Reserved,
    /// All places are taken.
    Full,
    /// Its domain has as many streams as it may have.
    Domain,
}

impl Refusal {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::HostUnauthenticated,
        Self::SiteUnauthenticated,
        Self::Site,
        Self::Reserved,
        Self::Full,
        Self::Domain,
    ];

    /// The name for the log and for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HostUnauthenticated => "address-unauthenticated",
            Self::SiteUnauthenticated => "network-unauthenticated",
            Self::Site => "network",
            Self::Reserved => "reserved",
            Self::Full => "full",
            Self::Domain => "domain",
        }
    }
}

/// How often, for each reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused([u64; Refusal::ALL.len()]);

impl Refused {
    /// Each reason with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.into_iter().zip(self.0)
    }

    /// All together.
    pub(crate) fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (refusal, count) in self.iter().filter(|(_, count)| *count > 0) {
            write!(f, "{comma}{}: {count}", refusal.name())?;
            comma = ", ";
        }
        Ok(())
    }
}

/// The refusals so far, and how many of them the log has reported.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    total: Refused,
    told: Refused,
    last: Option<Network>,
}

impl Refusals {
    /// One more.
    pub(crate) fn note(&mut self, refusal: Refusal, network: Network) {
        self.total.0[refusal as usize] += 1;
        self.last = Some(network);
    }

    /// All of them.
    pub(crate) fn total(&self) -> Refused {
        self.total
    }

    /// Those since the last time, and where the last one came from.
    pub(crate) fn take(&mut self) -> Option<(Refused, Network)> {
        let mut new = self.total;
        for (new, told) in new.0.iter_mut().zip(self.told.0) {
            *new -= told;
        }
        self.told = self.total;
        self.last.take().map(|last| (new, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_told_of_once_with_its_reason() {
        let mut refusals = Refusals::default();
        let network = |text: &str| Network::host(text.parse().unwrap());
        assert_eq!(refusals.take(), None);
        refusals.note(Refusal::Full, network("192.0.2.1"));
        refusals.note(Refusal::Site, network("192.0.2.2"));
        refusals.note(Refusal::Full, network("2001:db8::1"));
        let (refused, last) = refusals.take().unwrap();
        assert_eq!(refused.to_string(), "network: 1, full: 2");
        assert_eq!((refused.sum(), last), (3, network("2001:db8::2")));
        assert_eq!(refusals.take(), None);
        refusals.note(Refusal::Domain, network("192.0.2.1"));
        assert_eq!(refusals.take().unwrap().0.to_string(), "domain: 1");
        assert_eq!(refusals.total().sum(), 4);
    }

    #[test]
    fn every_reason_has_its_own_number() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
        }
    }
}
