//! `s2sd demo`: the transcript goes to standard output.

use std::{error::Error, io};

use super::{Outcome, complain};
use crate::demo::{self, Scenario};
use crate::logging;

pub(super) fn demo(scenario: Option<Scenario>) -> Outcome {
    let colours = logging::colours(&io::stdout());
    match demo::run(scenario, &mut io::stdout(), colours) {
        Ok(()) => Outcome::Well,
        // Nobody reads any more, as with `s2sd demo | head`: who has seen enough has missed nothing.
        Err(trouble) if is_unread(&*trouble) => Outcome::Well,
        Err(trouble) => {
            complain(format_args!("s2sd demo: {trouble}\n"));
            Outcome::Fault
        }
    }
}

fn is_unread(trouble: &(dyn Error + 'static)) -> bool {
    let written = trouble.downcast_ref::<io::Error>();
    written.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
