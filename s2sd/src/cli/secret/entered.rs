//! A password from standard input: what a pipe or a file has, or what is typed at a terminal, which does not show it.
//!
//! Nothing of it stays in a buffer that is not wiped: the input is read past the standard library's.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    os::fd::AsFd as _,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use xmpp_sasl::Password;
use zeroize::Zeroizing;

use super::{SecretError, complain};

/// In bytes.
pub(super) const LONGEST: usize = 1024;

/// One line, which must be all there is.
pub(super) fn password() -> Result<Password, SecretError> {
    let stdin = io::stdin();
    let input = stdin
        .as_fd()
        .try_clone_to_owned()
        .map_err(SecretError::Unread)?;
    let mut input = File::from(input);
    if !input.is_terminal() {
        return checked(&read(&mut input, false)?);
    }
    let hidden = Hidden::from(input).map_err(SecretError::Unread)?;
    let first = hidden.ask("Password: ")?;
    let password = checked(&first)?;
    if hidden.ask("The same again: ")? != first {
        return Err(SecretError::Different);
    }
    Ok(password)
}

/// Bytes of a password, with one more than it may have, so that too much is noticed. Never moved.
type Line = Zeroizing<Vec<u8>>;

/// To the end of the input, or of the line.
fn read(input: &mut File, one_line: bool) -> Result<Line, SecretError> {
    // With the line's end, be it of two characters.
    let mut line = Zeroizing::new(vec![0; LONGEST + 3]);
    let mut filled = 0;
    while let Some(room) = line.get_mut(filled..).filter(|room| !room.is_empty()) {
        match input.read(room) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(SecretError::Unread(why)),
        }
        if one_line && line[..filled].ends_with(b"\n") {
            break;
        }
    }
    line.truncate(filled);
    Ok(line)
}

fn checked(line: &Line) -> Result<Password, SecretError> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text.len() > LONGEST {
        return Err(SecretError::TooLong);
    }
    let text = std::str::from_utf8(text).map_err(|_| SecretError::NoText)?;
    if text.trim().is_empty() {
        return Err(SecretError::Empty);
    }
    if text.contains('\n') {
        return Err(SecretError::Lines);
    }
    Ok(Password::new(text))
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn from(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent
            .local_modes
            .insert(LocalModes::ECHONL | LocalModes::ICANON);
        // What was typed before it was asked for was seen: it is forgotten.
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }

    fn ask(&self, question: &str) -> Result<Line, SecretError> {
        complain(format_args!("{question}"));
        let mut terminal = self.terminal.try_clone().map_err(SecretError::Unread)?;
        read(&mut terminal, true)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // With the rest of a line that was too long. A terminal that is gone needs nothing.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
