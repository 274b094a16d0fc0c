//! Waits for the end of any process of ours, by its pidfd: no signal handler, no thread.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The descriptor of the process with this number; `None` when there is none, or no pidfds.
pub(super) fn open(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::NONBLOCK).ok()
}

/// Resolves when the process has ended, whether it was waited for or not; false when nobody can tell.
pub(super) async fn ended(process: OwnedFd) -> bool {
    // SAFETY: the descriptor is owned by the value that is registered, so it stays open and the same.
    let registered = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
    let Ok(process) = registered else { return false };
    process.readable().await.is_ok()
}
