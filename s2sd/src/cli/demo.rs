//! `s2sd demo`: the transcript goes to standard output.

use std::{error::Error, io};

use super::{Exit, complain};
use crate::logging;
use crate::tools::demo::{self, Scenario};

pub(super) fn demo(scenario: Option<Scenario>) -> Exit {
    let colours = logging::colours(&io::stdout());
    match demo::run(scenario, &mut io::stdout(), colours) {
        Ok(()) => Exit::Well,
        // The reader is gone, as with `s2sd demo | head`: who has seen enough has missed nothing.
        Err(error) if is_unread(&*error) => Exit::Well,
        Err(error) => {
            complain(format_args!("s2sd demo: {error}\n"));
            Exit::Fault
        }
    }
}

fn is_unread(error: &(dyn Error + 'static)) -> bool {
    let written = error.downcast_ref::<io::Error>();
    written.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
