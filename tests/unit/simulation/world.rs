//! The world that lanes act on: the model behind `lanes::World`.

use std::sync::Arc;

use lanes::bus::{Actor, BoxFuture, Bus, Context};
use lanes::failure::{Code, Failure};
use lanes::ids::{CorrelationId, LaneId, TaskId, TaskKind};
use lanes::keeper::{Exit, ExitStatus, Identity};
use lanes::lanes::lane::{Lane, Lost, Stage, Task};
use lanes::lanes::machine::Input;
use lanes::lanes::table::State as LaneState;
use lanes::lanes::{Launch, Retired, Tell, World};
use lanes::worktree::{Changes, Saved, TrashEntry, Tree};
use serde_json::json;
use tokio::sync::mpsc;

use super::machine::Role;
use super::sim::{Planted, Sim, State};

/// One life of the runtime.
#[derive(Clone)]
pub struct Life {
    pub sim: Sim,
    pub bus: Bus,
    saves: mpsc::UnboundedSender<LaneId>,
    /// How many trees wait to be saved.
    waiting: Arc<std::sync::atomic::AtomicUsize>,
}

impl Life {
    /// Begins to live; what is to be saved is saved in the background.
    pub fn begin(sim: &Sim, bus: &Bus) -> Self {
        let (saves, mut queue) = mpsc::unbounded_channel();
        let waiting = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let life = Self { sim: sim.clone(), bus: bus.clone(), saves, waiting: Arc::clone(&waiting) };
        let (sim, bus) = (sim.clone(), bus.clone());
        tokio::spawn(async move {
            while let Some(id) = queue.recv().await {
                if let Ok(true) = sim.save(id).await {
                    let told = json!({ "saved": { "state": "archived" } });
                    let mut draft = Context::new(Actor::lanes()).draft("lane.worktree.saved", told);
                    draft.lane_id = Some(id);
                    let _full = bus.publish(draft).await;
                }
                waiting.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        life
    }

    pub fn save_later(&self, id: LaneId) {
        self.waiting.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.saves.send(id).expect("it saves as long as it lives");
    }

    pub fn saves_wait(&self) -> bool {
        self.waiting.load(std::sync::atomic::Ordering::Relaxed) > 0
    }

    /// `watch.rs`, `end.rs`, `sweep.rs`: ends a task with everything it started.
    pub async fn stop(&self, task: TaskId, known: Option<&Identity>) -> Result<(), Failure> {
        self.sim.step("asking the keeper to end its tree").await?;
        let by_number = self.sim.lock().planted == Some(Planted::EndByPid);
        let written = self.sim.lock().machine.identity(task).cloned();
        let Some(identity) = written.or_else(|| known.cloned()) else { return Ok(()) };
        self.sim.change(
            || format!("  task {task}: its tree is ended"),
            |state| {
                let machine = &mut state.machine;
                if by_number {
                    machine.end(identity.pid, ExitStatus::Signal(9));
                }
                if machine.keeper_alive(&identity) {
                    for pid in machine.below(identity.keeper_pid) {
                        machine.end(pid, ExitStatus::Signal(15));
                    }
                    machine.processes.remove(&identity.keeper_pid);
                }
            },
        );
        self.sim.sure_step().await;
        self.sweep(&identity);
        Ok(())
    }

    fn sweep(&self, identity: &Identity) {
        self.sim.change(
            || format!("  task {}: swept", identity.id),
            |state| {
                if state.machine.keeper_alive(identity) {
                    return;
                }
                for pid in state.machine.left_behind(identity) {
                    state.machine.end(pid, ExitStatus::Signal(9));
                }
            },
        );
    }

    /// `clean.rs`: every task of a lane is stopped.
    async fn stop_all(&self, lane: &Lane) -> Result<(), Failure> {
        let mut terminals = 0;
        for task in lane.tasks.values().filter(|task| task.stage != Stage::Ended) {
            terminals += u64::from(task.kind() == TaskKind::Terminal);
            self.stop(task.id, task.identity.as_ref()).await?;
        }
        if terminals > 0 {
            let told = json!({ "count": terminals, "force_killed": 0 });
            self.publish(lane, "lane.ptys_terminated", told).await?;
        }
        Ok(())
    }

    async fn publish(
        &self,
        lane: &Lane,
        topic: &'static str,
        payload: serde_json::Value,
    ) -> Result<(), Failure> {
        let mut draft = Context::new(Actor::lanes()).draft(topic, payload);
        draft.workspace_id = Some(lane.workspace_id());
        draft.lane_id = Some(lane.id);
        self.bus.publish(draft).await.map(drop)
    }

    fn entry(&self, id: LaneId) -> Option<TrashEntry> {
        self.sim.lock().git.trash.get(&id).map(|spot| spot.entry.clone())
    }

    /// `live/tree.rs`: what a crash left of making a tree is undone.
    async fn undone(&self, lane: &Lane) -> Result<Option<Tree>, Failure> {
        self.stop_all(lane).await?;
        let Some(from) = lane.restored_from else {
            let worked_in = {
                let state = self.sim.lock();
                let found = state.git.found(&lane.order);
                let worked = match found {
                    Some(tree) => state.git.is_worked_in(&lane.order, &tree).then_some(tree),
                    None => state.git.entry_of(&lane.order.token).and_then(|(order, tree)| {
                        state.git.has_moved_on(&order, &tree.admin_id).then_some(tree)
                    }),
                };
                worked.filter(|_| state.planted != Some(Planted::UndoWork))
            };
            if let Some(tree) = worked_in {
                let entry = self.sim.retire(&lane.order, &tree).await?;
                self.save_later(entry.order.lane_id);
            }
            self.sim.undo(&lane.order).await?;
            return Ok(None);
        };
        if self.entry(from).is_some() {
            self.sim.roll_back(from).await?;
            if self.entry(from).is_some_and(|entry| entry.saved == Saved::Pending) {
                self.save_later(from);
            }
            return Ok(None);
        }
        if let Some(tree) = self.sim.lock().git.found(&lane.order) {
            return Ok(Some(tree));
        }
        let carried = self.sim.lock().git.entry_of(&lane.order.token);
        if let Some((order, tree)) = carried {
            let entry = self.sim.retire(&order, &tree).await?;
            self.save_later(entry.order.lane_id);
        }
        Ok(None)
    }

    /// The record must say that the lane is being ended, or made, when its tasks are.
    fn may_end(&self, lane: &Lane) {
        let mut state = self.sim.lock();
        match state.recorded.get(&lane.id) {
            Some(LaneState::Cleaning | LaneState::Provisioning) => {}
            other => {
                let what = format!("lane {} is ended while its record says {other:?}", lane.name());
                state.break_(what);
            }
        }
    }
}

fn lost() -> Exit {
    Exit {
        status: ExitStatus::Lost(true),
        timed_out: false,
        at: lanes::clock::Timestamp(3),
        ms: 1,
        max_rss_kb: 0,
        cpu_ms: 0,
        end: 0,
    }
}

fn identity_of(task: &Task, launch: &Launch) -> Identity {
    Identity {
        id: task.id,
        lane_id: task.lane_id,
        workspace_id: task.workspace_id,
        correlation_id: launch.correlation_id.unwrap_or(CorrelationId::from_u128(1)),
        pid: 0,
        pid_start: 0,
        keeper_pid: 0,
        keeper_start: 0,
        boot_id: String::new(),
        secret: task.secret.clone(),
        started_at: lanes::clock::Timestamp(1),
        groups: Default::default(),
        rlimits: Default::default(),
    }
}

/// How a task is seen by somebody who waits for its end.
enum Seen {
    Exited(Exit),
    Lives,
    KeeperGone(Box<Identity>),
}

fn look(state: &State, task: &Task) -> Seen {
    let machine = &state.machine;
    if let Some(exit) = machine.runs.get(&task.id).and_then(|run| run.exit.clone()) {
        return Seen::Exited(exit);
    }
    match task.identity.clone() {
        Some(identity) if machine.keeper_alive(&identity) => Seen::Lives,
        Some(identity) => Seen::KeeperGone(Box::new(identity)),
        None => Seen::Lives,
    }
}

impl World for Life {
    fn provision(&self, lane: Lane, _context: Context) -> BoxFuture<'static, Result<Tree, Failure>> {
        let life = self.clone();
        Box::pin(async move {
            match lane.restored_from {
                Some(from) => life.sim.bring_back(from, &lane.order).await,
                None => life.sim.make(&lane.order).await,
            }
        })
    }

    fn rollback(&self, lane: Lane) -> BoxFuture<'static, Result<Tree, Failure>> {
        let life = self.clone();
        Box::pin(async move {
            life.may_end(&lane);
            match life.undone(&lane).await? {
                Some(tree) => Ok(tree),
                None => Err(Failure::new(Code::DaemonDown, "the runtime stopped while the lane was made")),
            }
        })
    }

    fn adopt(&self, task: Task) -> BoxFuture<'static, Option<Identity>> {
        let life = self.clone();
        Box::pin(async move {
            loop {
                life.sim.sure_step().await;
                let changed = life.sim.changed();
                {
                    let state = life.sim.lock();
                    if let Some(identity) = state.machine.identity(task.id) {
                        return Some(identity.clone());
                    }
                    let run = state.machine.runs.get(&task.id);
                    let on_its_way = run.is_some_and(|run| state.machine.keeper_alive(&run.about));
                    if !on_its_way || state.planted == Some(Planted::NoWaitForKeeper) {
                        return None;
                    }
                }
                changed.await;
            }
        })
    }

    fn start(
        &self,
        _lane: Lane,
        task: Task,
        launch: Launch,
    ) -> BoxFuture<'static, Result<Identity, Failure>> {
        let life = self.clone();
        Box::pin(async move {
            life.sim.step("starting a keeper").await?;
            life.sim.change(
                || format!("  keeper of {}", task.id),
                |state| {
                    state.counts.tasks += 1;
                    state.machine.begin(identity_of(&task, &launch));
                },
            );
            life.sim.sure_step().await;
            life.sim.change(|| format!("  command of {}", task.id), |state| state.machine.come_up(task.id));
            life.sim.sure_step().await;
            let up = life.sim.lock().machine.identity(task.id).cloned();
            up.ok_or_else(|| Failure::new(Code::CommandNotFound, "its keeper was ended"))
        })
    }

    fn ended(&self, task: Task, tell: Tell) -> BoxFuture<'static, Exit> {
        let life = self.clone();
        Box::pin(async move {
            loop {
                life.sim.sure_step().await;
                let changed = life.sim.changed();
                let seen = look(&life.sim.lock(), &task);
                match seen {
                    Seen::Exited(exit) => return exit,
                    Seen::Lives => changed.await,
                    Seen::KeeperGone(identity) => {
                        life.sweep(&identity);
                        let another = identity.boot_id != life.sim.lock().machine.boot_id();
                        let reason = if another { Lost::Reboot } else { Lost::KeeperEnded };
                        let _lane_is_closing = tell.send(Input::Lost { id: task.id, reason }).await;
                        return lost();
                    }
                }
            }
        })
    }

    fn gone(&self, task: Task, _tell: Tell) -> BoxFuture<'static, ()> {
        let life = self.clone();
        Box::pin(async move {
            loop {
                life.sim.sure_step().await;
                let changed = life.sim.changed();
                let lives =
                    task.identity.as_ref().is_some_and(|known| life.sim.lock().machine.keeper_alive(known));
                if !lives {
                    if let Some(identity) = &task.identity {
                        life.sweep(identity);
                    }
                    return;
                }
                changed.await;
            }
        })
    }

    fn clean(&self, lane: Lane, _context: Context) -> BoxFuture<'static, Result<Retired, Failure>> {
        let life = self.clone();
        Box::pin(async move {
            life.may_end(&lane);
            life.stop_all(&lane).await?;
            let Some(tree) = &lane.tree else { return Ok(Retired::default()) };
            let entry = life.sim.retire(&lane.order, tree).await?;
            let told = json!({ "path": lane.order.path, "branch_deleted": entry.branch_deleted });
            life.publish(&lane, "lane.worktree.removed", told).await?;
            if entry.saved == Saved::Pending {
                life.save_later(lane.id);
            }
            Ok(Retired::default())
        })
    }

    fn count(&self, _lane: Lane) -> BoxFuture<'static, Result<(Option<String>, Changes), Failure>> {
        let life = self.clone();
        Box::pin(async move {
            life.sim.step("counting").await?;
            Ok((None, Changes::default()))
        })
    }

    fn forget(&self, task: TaskId) {
        if self.sim.is_dead() {
            return;
        }
        self.sim.change(
            || format!("  run folder of {task} is removed"),
            |state| {
                let lives = state.machine.processes.values();
                let mut alive = lives.filter(|one| one.task == Some(task) && one.role == Role::Keeper);
                if alive.next().is_some() {
                    state.break_(format!("the run folder of {task} is removed below its keeper"));
                }
                state.machine.runs.remove(&task)
            },
        );
    }
}
