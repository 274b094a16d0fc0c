//! Looks after running tasks: hearts that stop, keepers that do not answer.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Live, Shared};
use crate::config::Config;
use crate::ids::TaskId;
use crate::keeper::{ExitStatus, Identity};
use crate::lanes::lane::{Stage, Task};
use crate::lanes::machine::Input;
use crate::lanes::world::Tell;
use crate::task::{self, LADDER_GRACE, Link, Verdict};

/// How often in its period a heart is listened to: it stops between one period and a quarter more.
const LISTENS: u32 = 4;

/// What is known of a running task from outside.
#[derive(Debug)]
pub(super) struct Heart {
    /// A request was left unanswered.
    suspected: Notify,
    /// When it last gave a sign of life.
    beat: Mutex<Instant>,
}

impl Heart {
    fn beat(&self) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent(&self) -> Duration {
        self.beat.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Why a task is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    NoAnswer,
    Heartbeat,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no_answer",
            Self::Heartbeat => "heartbeat",
        }
    }
}

impl Live {
    /// A keeper left a request unanswered: it is asked each second until something is clear.
    pub fn suspect(&self, task: TaskId) {
        self.shared.suspect(task);
    }

    /// A task says that it is alive.
    pub fn beat(&self, task: TaskId) {
        if let Some(heart) = self.shared.hearts.get(&task) {
            heart.beat();
        }
    }
}

impl Shared {
    pub(super) fn suspect(&self, task: TaskId) {
        if let Some(heart) = self.hearts.get(&task) {
            heart.suspected.notify_one();
        }
    }

    /// Waits for something of a task and looks after it meanwhile. Ends it when its keeper is stale, or
    /// its heart stopped; what is waited for follows from that.
    pub(super) async fn looked_after<T: Told>(
        &self,
        task: &Task,
        tell: &Tell,
        wait: impl Future<Output = T>,
    ) -> T {
        let Some(identity) = &task.identity else { return wait.await };
        let heart = Arc::new(Heart { suspected: Notify::new(), beat: Mutex::new(Instant::now()) });
        self.hearts.insert(task.id, Arc::clone(&heart));
        let _forgotten = Forget { shared: self, task: task.id };
        let mut wait = pin!(wait);
        let (reason, silent) = tokio::select! {
            done = &mut wait => return done,
            found = self.found_dead(task, identity, &heart) => found,
        };
        let silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
        let reason_name = reason.name();
        let _lane_is_closing = tell.send(Input::Stale { id: task.id, silent_ms, reason: reason_name }).await;
        let begun = Instant::now();
        let done = match reason {
            Reason::NoAnswer => {
                task::end_stale(identity).await;
                wait.await
            }
            Reason::Heartbeat => {
                let asked =
                    async { Link::connect(task.run_dir.as_path()).await?.kill_tree(LADDER_GRACE).await };
                if asked.await.is_err() {
                    task::end_stale(identity).await;
                }
                wait.await
            }
        };
        if reason == Reason::NoAnswer || done.was_killed() {
            let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            let _lane_is_closing =
                tell.send(Input::ForceKilled { id: task.id, reason: reason_name, ms }).await;
        }
        done
    }

    /// Resolves when the task has to be ended, with why and for how long it has been silent.
    async fn found_dead(&self, task: &Task, identity: &Identity, heart: &Heart) -> (Reason, Duration) {
        tokio::select! {
            silent = self.stale(task, identity, heart) => (Reason::NoAnswer, silent),
            silent = stopped(task, heart) => (Reason::Heartbeat, silent),
        }
    }

    async fn stale(&self, task: &Task, identity: &Identity, heart: &Heart) -> Duration {
        loop {
            heart.suspected.notified().await;
            if identity.keeper_pid == std::process::id() {
                // A keeper in our own process is stale when we are.
                continue;
            }
            let after = self.config_of(task).await.task.stale_after;
            let (run_dir, log_dir) = (task.run_dir.as_path(), task.log_dir.as_path());
            match task::observe(identity, run_dir, log_dir, after).await {
                Verdict::Stale(silent) => return silent,
                Verdict::Wait | Verdict::Answers | Verdict::Gone => {}
            }
        }
    }

    /// The configuration that holds for a task.
    async fn config_of(&self, task: &Task) -> Config {
        let workspaces = self.workspaces.all();
        let Some(workspace) = workspaces.iter().find(|one| one.id == task.workspace_id) else {
            return Config::default();
        };
        self.workspaces.config(&workspace.repo).await.unwrap_or_default()
    }
}

/// Resolves when a task with a heartbeat has neither written nor beaten for a period; else never.
///
/// Measured on a clock that stands still in suspend, and from the beginning whenever we ourselves were
/// not running.
async fn stopped(task: &Task, heart: &Heart) -> Duration {
    let (Some(ms), Stage::Live) = (task.heartbeat_ms, task.stage) else {
        return std::future::pending().await;
    };
    let period = Duration::from_millis(ms);
    let pause = period / LISTENS;
    let mut written = task::last_output(task.log_dir.as_path());
    loop {
        let asleep = Instant::now();
        tokio::time::sleep(pause).await;
        let now = task::last_output(task.log_dir.as_path());
        let we_slept = asleep.elapsed() > period;
        if now != written || we_slept {
            written = now;
            heart.beat();
        }
        let silent = heart.silent();
        if silent >= period {
            return silent;
        }
    }
}

/// Takes a heart off the list, also when the wait was dropped.
struct Forget<'a> {
    shared: &'a Shared,
    task: TaskId,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.hearts.remove(&self.task);
    }
}

/// What a wait brings.
pub(super) trait Told {
    /// True when the end was by SIGKILL.
    fn was_killed(&self) -> bool;
}

impl Told for crate::keeper::Exit {
    fn was_killed(&self) -> bool {
        self.status == ExitStatus::Signal(libc::SIGKILL)
    }
}

impl Told for () {
    fn was_killed(&self) -> bool {
        false
    }
}
