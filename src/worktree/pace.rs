//! How fast work on files goes: at once, for somebody who waits, or in the background.

use std::time::Duration;

/// The pace of one piece of work. Work is cut into small parts; after each it asks for a rest.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    background: bool,
}

impl Pace {
    /// As fast as it goes: somebody waits for it.
    pub const fn full() -> Self {
        Self { background: false }
    }

    /// Beside other work.
    pub const fn background() -> Self {
        Self { background: true }
    }

    /// True in the background.
    pub const fn is_background(&self) -> bool {
        self.background
    }

    /// Called after a part of the work that took so long. Blocks.
    pub fn rest(&self, worked: Duration) {
        if self.background {
            std::thread::sleep(worked);
        }
    }
}
