//! What clients typed and the command has not read yet.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use super::paste::{Canonical, Line, Step};
use super::protocol::Refusal;

/// So much waits for the command at most; above, the client waits. More than any paste a person makes,
/// and little beside the rest of a keeper.
pub(super) const QUEUE_BYTES: usize = 256 << 10;

/// One write: more than a terminal takes at once, and not much to look through for lines.
const WRITE_BYTES: usize = 16 << 10;

/// The input of a command.
#[derive(Debug)]
pub(super) struct Input {
    queue: VecDeque<u8>,
    line: Line,
    open: bool,
    closing: bool,
}

impl Input {
    pub(super) fn new(open: bool) -> Self {
        Self { queue: VecDeque::new(), line: Line::default(), open, closing: false }
    }

    /// True while bytes are taken.
    pub(super) const fn takes(&self) -> bool {
        self.open && !self.closing
    }

    /// How many bytes wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Takes as many bytes as there is room for.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        if !self.takes() {
            return Err(Refusal::NoInput);
        }
        let n = bytes.len().min(QUEUE_BYTES.saturating_sub(self.queue.len()));
        self.queue.extend(&bytes[..n]);
        Ok(n)
    }

    /// No more after what waits.
    pub(super) const fn close_after(&mut self) {
        self.closing = true;
    }

    /// No more, and what waits is dropped: nobody reads.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.queue = VecDeque::new();
    }

    /// True when everything was said and the descriptor should go.
    pub(super) fn is_over(&self) -> bool {
        !self.open || (self.closing && self.queue.is_empty())
    }

    /// Writes what the command takes now. For a terminal, `gathers` says how it gathers lines; `None` when
    /// it takes every byte as it comes.
    pub(super) fn write(&mut self, to: BorrowedFd<'_>, gathers: Option<Canonical>) {
        while !self.queue.is_empty() {
            let bytes = self.queue.as_slices().0;
            let bytes = &bytes[..bytes.len().min(WRITE_BYTES)];
            let step = gathers.map_or(Step::Bytes(bytes.len()), |terminal| self.line.next(bytes, terminal));
            let written = match step {
                Step::Bytes(n) => rustix::io::write(to, &bytes[..n]),
                Step::HandOver(eof) => rustix::io::write(to, &[eof]),
            };
            match (written, step) {
                (Ok(n), Step::Bytes(_)) => {
                    match gathers {
                        Some(terminal) => self.line.written(&bytes[..n], terminal),
                        None => self.line.clear(),
                    }
                    self.queue.drain(..n);
                }
                (Ok(_one), Step::HandOver(_)) => self.line.clear(),
                (Err(rustix::io::Errno::INTR), _) => {}
                (Err(rustix::io::Errno::AGAIN), _) => return,
                (Err(_nobody_reads), _) => return self.close(),
            }
        }
        if self.queue.capacity() > QUEUE_BYTES / 4 {
            self.queue.shrink_to(0);
        }
    }
}
