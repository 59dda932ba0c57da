//! Stream management (XEP-0198) as values: the elements, and the two counters of a stream.
//!
//! ```text
//!  our side                                   the peer
//!   <enable resume='true'/>              ->             SendWindow of each side begins when it has sent this
//!                                        <-  <enabled id='…' resume='true'/>
//!   SendWindow::push, <message/>         ->  ReceiveWindow::receive, and later ReceiveWindow::settle
//!   SendWindow::requested, <r/>          ->
//!   SendWindow::acknowledge              <-  <a h='…'/>, ReceiveWindow::ack
//!  ------------------------- the connection breaks, and there is a new one -------------------------
//!   <resume previd='…' h='…'/>           ->  SendWindow::resume
//!   SendWindow::resume                   <-  <resumed previd='…' h='…'/>, ReceiveWindow::resume
//!   SendWindow::unacknowledged, again    ->  Received::Repeated for what is here already
//! ```
//!
//! - [`Nonza`]: `<enable/>`, `<enabled/>`, `<r/>`, `<a/>`, `<resume/>`, `<resumed/>` and `<failed/>`, read and written (§3–§6).
//! - [`SendWindow`]: what was sent and is not acknowledged. Its owner keeps the items in it and gets them back.
//! - [`ReceiveWindow`]: what was received, and how much of it, without gaps, is *handled*: only that is acknowledged (§4).
//!
//! A stream has one of each for each direction that carries stanzas. Only stanzas count (§1): no element of this module does, and
//! neither do dialback and other elements. A window begins when its side has sent, or has received, `<enable/>` or
//! `<enabled/>` (§4), and outlives its connection where the stream is resumed (§5).
//!
//! Not here: the stream feature, which is [`ns::STREAM_MANAGEMENT`](crate::ns::STREAM_MANAGEMENT) and `sm` among
//! [`Features::other`](crate::Features::other); who may resume which stream (only the entity that proved itself as the same, §10);
//! how long a stream can be resumed; and the delay stamps (XEP-0203) of stanzas that are sent again on another stream.

mod error;
mod limits;
mod nonza;
mod read;
mod receive_window;
mod send_window;

pub use error::{AckError, ErrorReply, NonzaError, TooManyUnsettled, WindowFull};
pub use limits::{ReceiveLimits, SendLimits};
pub use nonza::{Enable, Enabled, Failed, Location, Nonza, Resume, Resumed, SmId};
pub use receive_window::{Receipt, ReceiveWindow, Received};
pub use send_window::SendWindow;
