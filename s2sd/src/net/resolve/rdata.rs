//! The parts of an answer's records that s2sd uses, and no more: a name server may send thousands, and its sender
//! decides what we would hold.

use std::{mem::size_of, net::IpAddr};

use hickory_resolver::proto::rr::RData;

use crate::protocol::plan::Srv;
use crate::trust::Tlsa;

/// How many addresses of one family a machine may have.
const MAX_ADDRESSES: usize = 8;
/// How many SRV records a service may have. More than are tried: among those of one priority chance chooses anew each
/// time, by their weights (RFC 2782), and of so many all take part.
const MAX_SRV: usize = 64;
/// What the allocator adds to a piece of memory.
const ALLOCATION: usize = 16;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rdata {
    /// A or AAAA.
    Address(IpAddr),
    /// RFC 2782.
    Srv(Srv),
    /// RFC 6698 §2.1, where it is one that can be used.
    Tlsa(Tlsa),
}

impl Rdata {
    /// The records of one kind that count: of SRV those of the first priorities, of addresses the first of the message.
    pub(super) fn used<'m>(all: impl Iterator<Item = &'m RData>) -> Vec<Self> {
        let (mut tlsa, mut used) = (Vec::new(), Vec::new());
        for data in all {
            match Self::of(data) {
                Some(Self::Tlsa(one)) => tlsa.push(one),
                Some(one) => used.push(one),
                None => {}
            }
        }
        // Equals stay in their order.
        used.sort_by_key(Self::priority);
        used.truncate(match used.first() {
            Some(Self::Address(_)) => MAX_ADDRESSES,
            Some(Self::Srv(_) | Self::Tlsa(_)) | None => MAX_SRV,
        });
        used.extend(Tlsa::that_count(tlsa).into_iter().map(Self::Tlsa));
        used.shrink_to_fit();
        used
    }

    fn of(data: &RData) -> Option<Self> {
        match data {
            RData::SRV(srv) => Some(Self::Srv(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_ascii(),
            })),
            RData::TLSA(tlsa) => Tlsa::new(
                tlsa.cert_usage.into(),
                tlsa.selector.into(),
                tlsa.matching.into(),
                tlsa.cert_data.clone(),
            )
            .map(Self::Tlsa),
            other => other.ip_addr().map(Self::Address),
        }
    }

    fn priority(&self) -> u16 {
        match self {
            Self::Srv(srv) => srv.priority,
            Self::Address(_) | Self::Tlsa(_) => 0,
        }
    }

    /// How much memory it takes, about and rather more.
    pub(super) fn cost(&self) -> usize {
        let more = match self {
            Self::Address(_) => 0,
            Self::Srv(srv) => srv.target.capacity() + ALLOCATION,
            Self::Tlsa(tlsa) => tlsa.data.capacity() + ALLOCATION,
        };
        size_of::<Self>() + more
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::{Name, rdata};

    use super::*;

    fn srv(priority: u16, weight: u16, port: u16) -> RData {
        let target = Name::from_ascii("x.example.").unwrap();
        RData::SRV(rdata::SRV::new(priority, weight, port, target))
    }

    #[test]
    fn of_too_many_records_the_first_priorities_are_kept_and_of_equals_the_first() {
        let mut all: Vec<RData> = (0..1000).map(|n| srv(9, 0, n)).collect();
        all.push(srv(1, 0, 5000));
        let used = Rdata::used(all.iter());
        assert_eq!(used.len(), MAX_SRV);
        let ports: Vec<u16> = used
            .iter()
            .map(|used| match used {
                Rdata::Srv(srv) => srv.port,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ports[..3], [5000, 0, 1]);
        let all: Vec<RData> = (0..=255u8)
            .map(|n| RData::from(IpAddr::from([192, 0, 2, n])))
            .collect();
        let used = Rdata::used(all.iter());
        assert_eq!(used.len(), MAX_ADDRESSES);
        assert_eq!(used[0], Rdata::Address([192, 0, 2, 0].into()));
        assert_eq!(Rdata::used([].iter()), []);
    }

    /// RFC 2782 shares load by weight among all of one priority, so a service of usual size loses none.
    #[test]
    fn all_records_of_a_service_of_usual_size_take_part() {
        let all: Vec<RData> = (0..40).map(|n| srv(0, n, n)).collect();
        assert_eq!(Rdata::used(all.iter()).len(), 40);
    }
}
