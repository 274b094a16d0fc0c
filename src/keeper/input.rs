//! What clients typed and the command has not read yet.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use super::protocol::Refusal;

/// So much waits for the command at most; above, the client waits. More than any paste a person makes,
/// and little beside the rest of a keeper.
pub(super) const QUEUE_BYTES: usize = 256 << 10;

/// The input of a command.
#[derive(Debug)]
pub(super) struct Input {
    queue: VecDeque<u8>,
    open: bool,
    closing: bool,
}

impl Input {
    pub(super) fn new(open: bool) -> Self {
        Self { queue: VecDeque::new(), open, closing: false }
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

    /// Writes what the command takes now.
    pub(super) fn write(&mut self, to: BorrowedFd<'_>) {
        while !self.queue.is_empty() {
            match rustix::io::write(to, self.queue.as_slices().0) {
                Ok(n) => {
                    self.queue.drain(..n);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_nobody_reads) => return self.close(),
            }
        }
        if self.queue.capacity() > QUEUE_BYTES / 4 {
            self.queue.shrink_to(0);
        }
    }
}
