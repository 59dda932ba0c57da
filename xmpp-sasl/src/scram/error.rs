//! What is wrong with a message, and what the asking side says to it.

use crate::{Failure, ScramError};

/// A message that breaks the syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) why: &'static str,
    pub(super) error: ScramError,
}

pub(super) const fn malformed(why: &'static str) -> Malformed {
    Malformed {
        why,
        error: ScramError::OtherError,
    }
}

/// Why the asking side says no: to its driver, and in `e=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) error: ScramError,
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        Self {
            failure: Failure::MalformedRequest,
            error: malformed.error,
        }
    }
}
