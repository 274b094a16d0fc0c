//! Watches tasks until they have ended, and ends them.

use std::time::{Duration, Instant};

use crate::clock;
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::ids::TaskKind;
use crate::keeper::{Exit, ExitStatus, SOCKET};
use crate::lanes::lane::{Lost, Task};
use crate::task::{self, Link, Notice, TaskError};

/// Between two attempts to reach a keeper that lives but does not answer.
const RECONNECT: Duration = Duration::from_millis(200);

/// Waits for the end of a task's command, as its keeper tells it or has written it down. `suspect` is
/// called whenever the keeper leaves a request unanswered.
pub(super) async fn ended(task: &Task, suspect: impl Fn()) -> Exit {
    let run_dir = task.run_dir.as_path();
    loop {
        if let Some(exit) = task::read_exit(run_dir) {
            return exit;
        }
        let subscribed = async {
            let link = Link::connect(run_dir).await?;
            let notices = link.subscribe(u64::MAX).await?;
            Ok((link, notices))
        };
        let subscribed = subscribed.await;
        if let Err(TaskError::NoAnswer { .. }) = subscribed {
            suspect();
        }
        if let Ok((_link, mut notices)) = subscribed {
            loop {
                match notices.next().await {
                    Notice::Exited(exit) => return exit,
                    Notice::Offset(_) => {}
                    Notice::Gone => break,
                }
            }
        }
        if let Some(exit) = task::read_exit(run_dir) {
            return exit;
        }
        if !keeper_lives(task) {
            // It may have written that and left since we looked.
            if let Some(exit) = task::read_exit(run_dir) {
                return exit;
            }
            // Its keeper was ended by force: what it marked is ended, how the command ended nobody knows.
            sweep(task).await;
            return lost(task);
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Waits until the keeper of an ended task has left; what one that was ended by force leaves behind is ended.
pub(super) async fn gone(task: &Task, suspect: impl Fn()) {
    while keeper_lives(task) {
        match Link::connect(task.run_dir.as_path()).await {
            Ok(link) => link.gone().await,
            Err(TaskError::NoAnswer { .. }) => suspect(),
            Err(_it_left) => {}
        }
        if keeper_lives(task) {
            tokio::time::sleep(RECONNECT).await;
        }
    }
    // One that leaves by itself takes its socket away, and has nobody left.
    if task.run_dir.as_path().join(SOCKET).exists() {
        sweep(task).await;
    }
}

pub(super) fn keeper_lives(task: &Task) -> bool {
    task.identity.as_ref().is_some_and(task::keeper_alive)
}

/// How long what a dead keeper left behind has between TERM and KILL.
const SWEEP_GRACE: Duration = Duration::from_secs(1);

async fn sweep(task: &Task) -> usize {
    match &task.identity {
        Some(identity) => task::sweep(identity, SWEEP_GRACE).await.len(),
        None => 0,
    }
}

fn lost(task: &Task) -> Exit {
    let now = clock::now();
    let started = task.identity.as_ref().map_or(task.asked_at, |identity| identity.started_at);
    Exit {
        status: ExitStatus::Lost(true),
        timed_out: false,
        at: now,
        ms: u64::try_from(started.age(now).as_millis()).unwrap_or(u64::MAX),
        max_rss_kb: 0,
        cpu_ms: 0,
        end: task::log_end(task.log_dir.as_path()),
    }
}

/// Why nobody knows how a command ended; `None` when somebody does.
pub(super) fn why_lost(task: &Task, exit: &Exit) -> Option<Lost> {
    match exit.status {
        ExitStatus::Code(_) | ExitStatus::Signal(_) => None,
        ExitStatus::Lost(_) => {
            let another_boot = task.identity.as_ref().is_some_and(|known| known.boot_id != task::boot_id());
            Some(if another_boot { Lost::Reboot } else { Lost::KeeperEnded })
        }
    }
}

/// Ends one task with everything it started, gently first. True when force was needed.
///
/// # Errors
/// `BUSY` when something of it cannot be ended; asking again tries again.
pub(super) async fn stop(task: &Task, config: &Config) -> Result<bool, Failure> {
    let grace = match task.kind() {
        TaskKind::Terminal => config.stop.terminal_grace,
        TaskKind::Run => config.stop.run_grace,
    };
    let asked = Instant::now();
    let known = task::read_identity(task.run_dir.as_path()).is_some();
    let ended = task::end(task.run_dir.as_path(), grace).await;
    // The run folder may have been removed under us; the record still knows who it was.
    if keeper_lives(task)
        && let Some(identity) = &task.identity
    {
        task::kill_keeper(identity);
    }
    // What has a run folder was swept already, where that was needed.
    let swept = if known { 0 } else { sweep(task).await };
    if !ended.complete && keeper_lives(task) {
        return Err(Failure::new(Code::Busy, format!("something of task {} cannot be ended", task.id))
            .hint("look at its processes (lanes show), then clean up again"));
    }
    Ok(swept > 0 || !ended.swept.is_empty() || asked.elapsed() >= grace)
}
