//! A client's own terminal: raw while attached, as before afterwards.

use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{OptionalActions, Termios};

use super::Size;

/// Undoes what a program may have switched on, in this order: synchronised output ends, the other screen
/// is left, mouse and focus reports and bracketed paste end, the kitty and xterm keyboards are popped,
/// margins, keypad, cursor keys, wrapping, character set, colours and cursor are as ever.
///
/// Leaving the other screen and resetting margins move the cursor, so it is saved before each.
pub const RESET: &[u8] = b"\x1b[?2026l\x1b7\x1b[?1049l\x1b[?47l\x1b[?1047l\
\x1b[?9l\x1b[?1000l\x1b[?1001l\x1b[?1002l\x1b[?1003l\x1b[?1005l\x1b[?1006l\x1b[?1015l\x1b[?1016l\
\x1b[?1004l\x1b[?2004l\x1b[?2031l\x1b[?2048l\x1b[<99u\x1b[=0;1u\x1b[>4;0m\
\x1b7\x1b[?69l\x1b[r\x1b8\x1b[!p\x1b>\x1b[?1l\x1b[?5l\x1b[?7h\x1b[4l\x1b(B\x0f\x1b[0m\x1b[0 q\x1b[?25h";

/// Why a terminal could not be switched.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Its settings cannot be read: not a terminal.
    #[error("could not read the settings of the terminal: {0}")]
    Read(#[source] std::io::Error),
    /// Its settings cannot be changed.
    #[error("could not change the settings of the terminal: {0}")]
    Change(#[source] std::io::Error),
}

impl From<AttachError> for crate::failure::Failure {
    fn from(error: AttachError) -> Self {
        Self::new(crate::failure::Code::Io, error.to_string())
            .hint("run it in a terminal, or read the output with `lanes logs -f`")
    }
}

/// A terminal in raw mode until this is dropped.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Switches to raw mode.
    ///
    /// # Errors
    /// When it is not a terminal, or cannot be switched.
    pub fn enter(terminal: impl AsFd) -> Result<Self, AttachError> {
        let terminal =
            rustix::io::fcntl_dupfd_cloexec(terminal, 3).map_err(|e| AttachError::Read(e.into()))?;
        let before = rustix::termios::tcgetattr(&terminal).map_err(|e| AttachError::Read(e.into()))?;
        let mode = Self { terminal, before };
        mode.again()?;
        Ok(mode)
    }

    /// Switches to raw mode once more, when somebody else may have changed it.
    ///
    /// # Errors
    /// When it cannot be switched.
    pub fn again(&self) -> Result<(), AttachError> {
        let mut raw = self.before.clone();
        raw.make_raw();
        // Not after what waits to be drawn: a terminal that nobody reads would keep us here.
        rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &raw)
            .map_err(|e| AttachError::Change(e.into()))
    }

    /// Goes back, as dropping does, and says whether it worked.
    ///
    /// # Errors
    /// When the settings cannot be changed.
    pub fn leave(self) -> Result<(), AttachError> {
        self.restore().map_err(AttachError::Change)
    }

    fn restore(&self) -> std::io::Result<()> {
        Ok(rustix::termios::tcsetattr(&self.terminal, OptionalActions::Now, &self.before)?)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _terminal_may_be_gone = self.restore();
    }
}

/// The size of a terminal; `None` when it is not one or has none.
pub fn window_size(terminal: impl AsFd) -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    Size::new(size.ws_col, size.ws_row)
}
