//! Whether there is room for one more task: asked before a start, so that it is refused and not half done.

use std::fs;
use std::os::fd::AsRawFd as _;

use rustix::process::{Resource, getrlimit};

use crate::failure::{Code, Failure};
use crate::ids::TaskKind;

/// Terminals that stay free for people, who need one to look after what is wrong.
const SPARE_TERMINALS: u64 = 16;
/// Descriptors that stay free for git, the store and those who ask.
const SPARE_FILES: u64 = 64;

/// What the system has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Terminals that are open, and the most there can be (`kernel.pty`).
    pub terminals: Option<(u64, u64)>,
    /// Descriptors of this process, and its soft limit.
    pub files: Option<(u64, u64)>,
}

impl Room {
    /// Looks.
    pub fn look() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let terminals = number("/proc/sys/kernel/pty/nr").zip(number("/proc/sys/kernel/pty/max"));
        // A new descriptor is the lowest that is free; where none is, all are taken.
        let limit = getrlimit(Resource::Nofile).current;
        let lowest = match fs::File::open("/dev/null") {
            Ok(null) => u64::try_from(null.as_raw_fd()).ok(),
            Err(_none_is_free) => limit,
        };
        Self { terminals, files: lowest.zip(limit) }
    }

    /// Says whether one more task of this kind can be started.
    ///
    /// # Errors
    /// `AT_CAPACITY`, with what to raise.
    pub fn take(self, kind: TaskKind) -> Result<(), Failure> {
        if let (TaskKind::Terminal, Some((open, most))) = (kind, self.terminals)
            && open.saturating_add(SPARE_TERMINALS) >= most
        {
            return Err(Failure::new(
                Code::AtCapacity,
                format!("this machine has {open} terminals open, of {most} at most"),
            )
            .hint("close some, or raise kernel.pty.max (sysctl)"));
        }
        if let Some((open, most)) = self.files
            && open.saturating_add(SPARE_FILES) >= most
        {
            return Err(Failure::new(
                Code::AtCapacity,
                format!("the runtime has {open} files open, of {most} at most"),
            )
            .hint("end some tasks, or start the runtime with a higher limit (ulimit -Hn)"));
        }
        Ok(())
    }
}
