//! What was typed, on its way to the program: one frame at a time, so that nothing overtakes.

use std::collections::VecDeque;

use super::super::connect::terminal::MAX_INPUT;

/// Above this no more is read from the keyboard until the program has read: the keeper's queue again.
const MAX_TYPED: usize = 256 << 10;

/// Bytes for the program, in order.
#[derive(Debug, Default)]
pub struct Typing {
    queue: VecDeque<u8>,
    sent: Option<(u32, usize)>,
    /// The keeper took less than it was given; it tells when there is room.
    full: bool,
}

impl Typing {
    /// Takes what was typed.
    pub fn push(&mut self, bytes: &[u8]) {
        self.queue.extend(bytes);
    }

    /// True when nothing more should be read from the keyboard.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX_TYPED
    }

    /// What is sent next, when something may be.
    pub fn next(&self) -> Option<Vec<u8>> {
        let ready = self.sent.is_none() && !self.full && !self.queue.is_empty();
        ready.then(|| self.queue.iter().take(MAX_INPUT).copied().collect())
    }

    /// The frame of this number has so many of the bytes.
    pub const fn sent(&mut self, id: u32, len: usize) {
        self.sent = Some((id, len));
    }

    /// So many of them were taken.
    pub fn accepted(&mut self, id: u32, taken: usize) {
        if let Some((_, len)) = self.sent.take_if(|(sent, _)| *sent == id) {
            self.queue.drain(..taken.min(len).min(self.queue.len()));
            self.full = taken < len;
        }
    }

    /// There is room again.
    pub const fn room(&mut self) {
        self.full = false;
    }

    /// The program takes none: what was typed is dropped.
    pub fn refused(&mut self, id: u32) {
        if self.sent.take_if(|(sent, _)| *sent == id).is_some() {
            self.queue.clear();
        }
    }
}
