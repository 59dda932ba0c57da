//! Which rows there are, in memory: the table has no index, which would cost more than all the rest.

use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

use super::limits::ROW_OVERHEAD;
use super::run::from_millis;
use crate::protocol::proof::DomainPair;

/// Where a run is. Later ones have greater positions, and none is ever used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position(pub(super) i64);

/// A row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) position: Position,
    pub(super) count: u32,
    /// Of the body.
    pub(super) bytes: u64,
    /// When its first stanza was accepted, in milliseconds since 1970.
    pub(super) accepted: u64,
}

impl Row {
    fn cost(&self) -> u64 {
        self.bytes + ROW_OVERHEAD
    }
}

/// How much of a pair is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Depth {
    /// Runs.
    pub runs: usize,
    /// Stanzas.
    pub stanzas: u64,
    /// Bytes, as [`SpoolLimits::bytes`](super::SpoolLimits::bytes) counts them.
    pub bytes: u64,
    /// When the first of them was accepted.
    pub oldest: SystemTime,
}

/// All rows, by pair and oldest first.
#[derive(Debug, Default)]
pub(super) struct Index {
    lanes: HashMap<DomainPair, VecDeque<Row>>,
    total: Total,
}

/// How much is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Total {
    pub(super) bytes: u64,
    pub(super) stanzas: u64,
}

impl Total {
    pub(super) fn add(&mut self, row: &Row) {
        self.bytes += row.cost();
        self.stanzas += u64::from(row.count);
    }

    pub(super) fn subtract(&mut self, row: &Row) {
        self.bytes = self.bytes.saturating_sub(row.cost());
        self.stanzas = self.stanzas.saturating_sub(row.count.into());
    }
}

impl Index {
    pub(super) fn add(&mut self, pair: DomainPair, row: Row) {
        self.total.add(&row);
        self.lanes.entry(pair).or_default().push_back(row);
    }

    /// Those of the pair up to here, oldest first.
    pub(super) fn up_to(&self, pair: &DomainPair, last: Position) -> impl Iterator<Item = &Row> {
        let rows = self.lanes.get(pair).into_iter().flatten();
        rows.take_while(move |row| row.position <= last)
    }

    /// Those of the pair after this one, oldest first.
    pub(super) fn after(
        &self,
        pair: &DomainPair,
        position: Option<Position>,
    ) -> impl Iterator<Item = &Row> {
        let rows = self.lanes.get(pair);
        let from = match (rows, position) {
            (Some(rows), Some(position)) => rows.partition_point(|row| row.position <= position),
            _ => 0,
        };
        rows.into_iter().flat_map(move |rows| rows.range(from..))
    }

    pub(super) fn remove_up_to(&mut self, pair: &DomainPair, last: Position) {
        self.retain(pair, |row| row.position > last);
    }

    pub(super) fn remove(&mut self, pair: &DomainPair, position: Position) {
        self.retain(pair, |row| row.position != position);
    }

    fn retain(&mut self, pair: &DomainPair, stays: impl Fn(&Row) -> bool) {
        let Some(rows) = self.lanes.get_mut(pair) else {
            return;
        };
        // What goes is at the head, so this ends soon; a bad row may be in the middle.
        if rows.front().is_some_and(&stays) {
            let total = &mut self.total;
            rows.retain(|row| {
                let stays = stays(row);
                if !stays {
                    total.subtract(row);
                }
                stays
            });
        }
        while let Some(row) = rows.front() {
            if stays(row) {
                break;
            }
            self.total.subtract(row);
            rows.pop_front();
        }
        if rows.is_empty() {
            self.lanes.remove(pair);
        }
    }

    pub(super) fn total(&self) -> Total {
        self.total
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    pub(super) fn depths(&self) -> Vec<(DomainPair, Depth)> {
        let depth = |(pair, rows): (&DomainPair, &VecDeque<Row>)| {
            let mut total = Total::default();
            rows.iter().for_each(|row| total.add(row));
            let oldest = rows.iter().map(|row| row.accepted).min().unwrap_or(0);
            let depth = Depth {
                runs: rows.len(),
                stanzas: total.stanzas,
                bytes: total.bytes,
                oldest: from_millis(oldest),
            };
            (pair.clone(), depth)
        };
        self.lanes.iter().map(depth).collect()
    }
}
