//! The client's own terminal: raw while attached, written to without waiting, as before afterwards.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::termios::{QueueSelector, tcflush};

use super::super::connect::terminal::{RESET, RawMode, is_caught};
use crate::failure::Failure;

/// A terminal that takes nothing is waited for so long with what resets it.
const PATIENCE: Duration = Duration::from_millis(200);
/// Where it cannot be opened anew, writing may wait: little at a time, which a terminal that takes
/// anything takes whole.
const SMALL: usize = 256;

/// Our terminal in raw mode; as before when this is dropped, and before a panic is printed.
pub struct Window {
    raw: Option<RawMode>,
    out: Out,
}

/// Where drawings go.
struct Out {
    file: File,
    most: usize,
    bytes: Vec<u8>,
    at: usize,
}

impl Window {
    /// Takes it.
    ///
    /// # Errors
    /// Standard input is no terminal, or standard output cannot be written to.
    pub fn enter() -> Result<Self, Failure> {
        // Unwinding drops this too, but the message would be printed first, in raw mode.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !is_caught() {
                let mut stdout = std::io::stdout().lock();
                let _terminal_may_be_gone = stdout.write_all(RESET).and_then(|()| stdout.flush());
                before(panic);
            }
        }));
        let out = Out::open().map_err(|error| Failure::io("write to the terminal", &error))?;
        Ok(Self { raw: Some(RawMode::enter(std::io::stdin())?), out })
    }

    /// Raw again: who stopped and continued us may have changed it.
    pub fn enter_again(&mut self) {
        // What is there now is the shell's for a job that is stopped, so what to go back to stays.
        if let Some(raw) = &self.raw {
            let _terminal_may_be_gone = raw.again();
        }
    }

    /// Bytes that the terminal has not taken yet.
    pub fn unwritten(&self) -> usize {
        self.out.bytes.len() - self.out.at
    }

    /// Where drawings are appended; [`Window::flush`] writes them.
    pub fn drawing(&mut self) -> &mut Vec<u8> {
        if self.out.at == self.out.bytes.len() {
            self.out.bytes.clear();
            self.out.at = 0;
        }
        &mut self.out.bytes
    }

    /// Writes what the terminal takes now.
    ///
    /// # Errors
    /// It has gone.
    pub fn flush(&mut self) -> std::io::Result<()> {
        while self.unwritten() > 0 {
            let bytes = &self.out.bytes[self.out.at..];
            let some = &bytes[..bytes.len().min(self.out.most)];
            if self.out.most == SMALL && !is_ready(&self.out.file, Duration::ZERO) {
                return Ok(());
            }
            match self.out.file.write(some) {
                Ok(n) => self.out.at += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What to wait for until it takes more.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.out.file.as_fd()
    }

    /// Undoes what the program switched on, after what was drawn when that is taken at once. The cursor
    /// goes to a line of its own.
    fn leave(&mut self) {
        self.out.at = self.out.bytes.len();
        // What was cut off ends first.
        let reset = [b"\x1b\\".as_slice(), RESET, b"\r\n"].concat();
        *self.drawing() = reset;
        self.push_out();
        if self.unwritten() > 0 {
            // Nobody reads: what waits in between goes, so that this fits.
            let _terminal_may_be_gone = tcflush(&self.out.file, QueueSelector::OFlush);
            self.push_out();
        }
        self.raw = None;
    }

    fn push_out(&mut self) {
        let late = Instant::now() + PATIENCE;
        while self.unwritten() > 0 && self.flush().is_ok() {
            let left = late.saturating_duration_since(Instant::now());
            if self.unwritten() == 0 || left.is_zero() || !is_ready(&self.out.file, left) {
                return;
            }
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Out {
    /// Opens the terminal of standard output anew, so that not waiting is ours alone: its own description
    /// is the shell's too.
    fn open() -> std::io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let (file, most) = match rustix::fs::open("/proc/self/fd/1", flags, Mode::empty()) {
            Ok(fd) => (File::from(fd), usize::MAX),
            Err(_not_ours_to_open) => {
                (File::from(rustix::io::fcntl_dupfd_cloexec(std::io::stdout(), 3)?), SMALL)
            }
        };
        Ok(Self { file, most, bytes: Vec::new(), at: 0 })
    }
}

fn is_ready(file: &File, patience: Duration) -> bool {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    poll(&mut fds, Timespec::try_from(patience).ok().as_ref()).is_ok_and(|ready| ready > 0)
}

/// Reads what was typed; `None` when there is no more. Unbuffered: what is left is seen by the next wait.
pub fn read_keys(buffer: &mut [u8]) -> Option<usize> {
    match rustix::io::read(rustix::stdio::stdin(), buffer) {
        Ok(0) => None,
        Ok(n) => Some(n),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Some(0),
        Err(_gone) => None,
    }
}
