//! What has to be true of any bytes from outside: the bodies of the tests beside this directory, which make bytes under
//! proptest, and of the fuzz targets in `fuzz/`.
//!
//! Each says what it came to, so that a test can see that it comes to what it guards.

#![allow(dead_code, reason = "each user of this file uses a part of it")]

pub(crate) mod certificate;
pub(crate) mod configuration;
pub(crate) mod document;
pub(crate) mod inbound;
pub(crate) mod outbound;
mod rules;
pub(crate) mod xml;

use std::collections::BTreeSet;

/// What a body came to.
pub(crate) type Reached = BTreeSet<&'static str>;

/// Takes bytes as they are wanted; zeros when there are none left.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    pub(crate) fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte() % 64).min(self.0.len());
        let (some, rest) = self.0.split_at(length);
        self.0 = rest;
        some
    }

    pub(crate) fn of<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[usize::from(self.byte()) % all.len()]
    }
}
