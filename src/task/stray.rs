//! Ends one process, or one keeper with its tree, that nobody waits for.

use std::time::Duration;

use rustix::process::Signal;

use super::Swept;
use super::end::end_tree;
use super::sweep::{all_gone, round};
use crate::proc;

/// What was killed has so long to be gone.
const KILLED: Duration = Duration::from_secs(2);

/// Ends exactly this process: TERM, the grace, SIGKILL. True when it is gone, also when it was before.
pub async fn end_process(pid: u32, start: u64, grace: Duration) -> bool {
    let mut swept = Vec::new();
    for (signals, at_most) in [(&[Signal::TERM, Signal::CONT][..], grace), (&[Signal::KILL][..], KILLED)] {
        let Some(process) = proc::process(pid).filter(|it| it.start == start && !it.is_dead()) else {
            return true;
        };
        round(std::slice::from_ref(&process), signals, &mut swept);
        all_gone(&[process], at_most).await;
    }
    proc::process(pid).is_none_or(|it| it.start != start || it.is_dead())
}

/// Ends a keeper without run folder: its tree gently, then by force, then the keeper. Returns what was
/// signalled below it.
pub async fn end_keeper(pid: u32, start: u64, grace: Duration) -> Vec<Swept> {
    end_tree(pid, start, None, grace).await
}
