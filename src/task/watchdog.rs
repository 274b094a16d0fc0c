//! Asks a keeper that left a request unanswered, until it answers, is gone or is stale; ends a stale one.

use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::end::end_below;
use super::stale::{EVERY, Look, Suspicion, Verdict};
use super::{Link, keeper_alive, log_end};
use crate::keeper::Identity;
use crate::proc;

/// Between TERM and KILL of a stale task, and of one whose heart stopped.
pub const LADDER_GRACE: Duration = Duration::from_secs(10);

/// Watches a suspected keeper: looks each second until something is clear, which may be never.
///
/// Dropping the future ends the watch and changes nothing.
pub async fn observe(task: &Identity, run_dir: &Path, log_dir: &Path, stale_after: Duration) -> Verdict {
    let mut suspicion = Suspicion::new(stale_after, look(task, log_dir, false));
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // A short `stale_after` is looked at in time.
        let asked = tokio::time::timeout(EVERY.min(stale_after), answers(run_dir));
        let answered = asked.await.unwrap_or(false);
        match suspicion.look(look(task, log_dir, answered)) {
            Verdict::Wait => {}
            clear @ (Verdict::Answers | Verdict::Gone | Verdict::Stale(_)) => return clear,
        }
        every.tick().await;
    }
}

async fn answers(run_dir: &Path) -> bool {
    match Link::connect(run_dir).await {
        Ok(link) => link.status().await.is_ok(),
        Err(_unreachable) => false,
    }
}

fn look(task: &Identity, log_dir: &Path, answered: bool) -> Look {
    let clock = |id| {
        let now = clock_gettime(id);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    };
    let lives = keeper_alive(task);
    let below = if lives { proc::descendants(task.keeper_pid) } else { Vec::new() };
    let keeper = proc::process(task.keeper_pid).map_or(0, |keeper| keeper.ticks);
    Look {
        awake: clock(ClockId::Monotonic),
        passed: clock(ClockId::Boottime),
        answered,
        lives,
        log_end: log_end(log_dir),
        ticks: below.iter().map(|process| process.ticks).sum::<u64>().saturating_add(keeper),
    }
}

/// Ends a stale task: TERM to its tree, ten seconds, KILL to the tree and its keeper.
pub async fn end_stale(task: &Identity) {
    end_below(task, LADDER_GRACE).await;
}
