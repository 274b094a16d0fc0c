//! A world of lanes in which nothing happens.
#![allow(dead_code, reason = "each suite uses a part")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use lanes::bus::{BoxFuture, Context};
use lanes::clock::Timestamp;
use lanes::failure::{Code, Failure};
use lanes::ids::{CorrelationId, LaneId, TaskId};
use lanes::keeper::{Exit, ExitStatus, Identity};
use lanes::lanes::lane::{Lane, Task};
use lanes::lanes::{Launch, Retired, Tell, World};
use lanes::worktree::{Changes, Tree};
use tokio::sync::Notify;

use super::records;

/// A world without git and processes: everything succeeds at once unless the test holds it.
#[derive(Default)]
pub struct Quiet {
    /// Lanes whose provisioning waits until it is told to go on.
    held: Mutex<HashMap<LaneId, Arc<Notify>>>,
    /// Tasks that run until they are ended.
    running: Mutex<HashMap<TaskId, Arc<Notify>>>,
    /// How often a lane was cleaned, and how often that is to fail first.
    cleaned: Mutex<HashMap<LaneId, u32>>,
    pub failures: Mutex<HashMap<LaneId, u32>>,
}

impl Quiet {
    /// Has the provisioning of a lane wait until it is told to go on.
    pub fn hold(&self, id: LaneId) -> Arc<Notify> {
        let go = Arc::new(Notify::new());
        self.held.lock().expect("not poisoned").insert(id, Arc::clone(&go));
        go
    }

    /// Ends the command of a task.
    pub fn end(&self, id: TaskId) {
        if let Some(running) = self.running.lock().expect("not poisoned").get(&id) {
            running.notify_one();
        }
    }

    /// How often a lane was cleaned.
    pub fn times_cleaned(&self, id: LaneId) -> u32 {
        self.cleaned.lock().expect("not poisoned").get(&id).copied().unwrap_or_default()
    }
}

impl World for Quiet {
    fn provision(&self, lane: Lane, _context: Context) -> BoxFuture<'static, Result<Tree, Failure>> {
        let held = self.held.lock().expect("not poisoned").get(&lane.id).cloned();
        Box::pin(async move {
            if let Some(go) = held {
                go.notified().await;
            }
            Ok(records::tree(&lane.order))
        })
    }

    fn rollback(&self, _lane: Lane) -> BoxFuture<'static, Result<Tree, Failure>> {
        Box::pin(async { Err(Failure::new(Code::DaemonDown, "stopped")) })
    }

    fn adopt(&self, _task: Task) -> BoxFuture<'static, Option<Identity>> {
        Box::pin(async { None })
    }

    fn start(
        &self,
        _lane: Lane,
        task: Task,
        _launch: Launch,
    ) -> BoxFuture<'static, Result<Identity, Failure>> {
        self.running.lock().expect("not poisoned").insert(task.id, Arc::new(Notify::new()));
        Box::pin(async move {
            Ok(Identity {
                id: task.id,
                lane_id: task.lane_id,
                workspace_id: task.workspace_id,
                correlation_id: CorrelationId::generate(),
                pid: 1,
                pid_start: 1,
                keeper_pid: 1,
                keeper_start: 1,
                boot_id: "boot".into(),
                secret: task.secret,
                started_at: Timestamp(1),
                groups: Default::default(),
                rlimits: Default::default(),
            })
        })
    }

    fn ended(&self, task: Task, _tell: Tell) -> BoxFuture<'static, Exit> {
        let running = self.running.lock().expect("not poisoned").get(&task.id).cloned();
        Box::pin(async move {
            if let Some(running) = running {
                running.notified().await;
            }
            Exit {
                status: ExitStatus::Code(0),
                timed_out: false,
                at: Timestamp(2),
                ms: 1,
                max_rss_kb: 1,
                cpu_ms: 0,
                end: 0,
            }
        })
    }

    fn gone(&self, _task: Task, _tell: Tell) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }

    fn clean(&self, lane: Lane, _context: Context) -> BoxFuture<'static, Result<Retired, Failure>> {
        *self.cleaned.lock().expect("not poisoned").entry(lane.id).or_insert(0) += 1;
        let mut failures = self.failures.lock().expect("not poisoned");
        let left = failures.entry(lane.id).or_insert(0);
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        for task in lane.tasks.keys() {
            self.end(*task);
        }
        Box::pin(async move {
            tokio::task::yield_now().await;
            if fails { Err(Failure::new(Code::Io, "in the way")) } else { Ok(Retired::default()) }
        })
    }

    fn count(&self, _lane: Lane) -> BoxFuture<'static, Result<(Option<String>, Changes), Failure>> {
        Box::pin(async { Ok((None, Changes::default())) })
    }

    fn forget(&self, task: TaskId) {
        self.running.lock().expect("not poisoned").remove(&task);
    }
}
