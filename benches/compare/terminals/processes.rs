//! What processes use, which of them are ours, and their ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Memory, in kB.
#[derive(Clone, Copy, Default)]
pub(super) struct Memory {
    pub pss: f64,
    pub private: f64,
    pub anonymous: f64,
    pub rss: f64,
}

impl Memory {
    /// What one process uses.
    pub(super) fn of(pid: u32) -> Result<Self, String> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
        };
        Ok(Self {
            pss: field("Pss:"),
            private: field("Private_Clean:") + field("Private_Dirty:"),
            anonymous: field("Anonymous:"),
            rss: field("Rss:"),
        })
    }

    /// What several use together.
    pub(super) fn sum(pids: &[u32]) -> Result<Self, String> {
        pids.iter().try_fold(Self::default(), |sum, pid| {
            let one = Self::of(*pid)?;
            Ok(Self {
                pss: sum.pss + one.pss,
                private: sum.private + one.private,
                anonymous: sum.anonymous + one.anonymous,
                rss: sum.rss + one.rss,
            })
        })
    }
}

/// How often each thread of these processes has gone to sleep since it began.
pub(super) fn sleeps(pids: &[u32]) -> BTreeMap<String, u64> {
    let of_thread = |path: std::path::PathBuf| -> Option<(String, u64)> {
        let text = fs::read_to_string(path.join("status")).ok()?;
        let count = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((path.to_string_lossy().into_owned(), count.trim().parse().ok()?))
    };
    let threads = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    threads.flatten().filter_map(|thread| of_thread(thread.ok()?.path())).collect()
}

/// How many of them were between two looks; threads may have come and gone.
pub(super) fn sleeps_between(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> f64 {
    let of = |(thread, count): (&String, &u64)| count - before.get(thread).copied().unwrap_or(0).min(*count);
    after.iter().map(of).sum::<u64>() as f64
}

/// Who started a process.
pub(super) fn parent_of(pid: u32) -> Result<u32, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| error.to_string())?;
    let parent = text.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    parent.ok_or_else(|| format!("{pid} has no parent"))
}

/// Processes whose environment holds a text; ourselves left out.
pub(super) fn marked(mark: &str) -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| {
        entry.ok()?.file_name().to_str()?.parse::<u32>().ok().filter(|pid| *pid != std::process::id())
    });
    pids.filter(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        memchr::memmem::find(&environment, mark.as_bytes()).is_some()
    })
    .collect()
}

/// Processes whose end is waited for.
pub(super) struct Ends(Vec<OwnedFd>);

impl Ends {
    /// Holds them, so that their numbers cannot become somebody else's.
    pub(super) fn of(pids: impl IntoIterator<Item = u32>) -> Self {
        let open = |pid: u32| pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok();
        Self(pids.into_iter().filter_map(open).collect())
    }

    /// Signals them.
    pub(super) fn signal(&self, signal: Signal) {
        for process in &self.0 {
            let _gone = pidfd_send_signal(process, signal);
        }
    }

    /// Waits until all have ended; false when somebody lives then.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        self.0.iter().all(|process| {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], timeout.as_ref()), Ok(1..))
        })
    }
}
