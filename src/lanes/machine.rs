//! What follows from what happens to a lane: pure decisions on values.
//!
//! [`apply`] takes a lane and an input and gives the next lane, the facts to write down and tell, and
//! the effects it asks for; or a refusal, and nothing has changed.

use serde_json::{Value, json};

use super::lane::{AGENTS, ENDED_TASKS, HISTORY, Lane, Lost, Stage, Task, Transition};
use super::phase::Happening;
use super::table::{Event, Move, State, lookup};
use super::terminal;
use crate::api::{AgentView, SignalView};
use crate::clock::Timestamp;
use crate::failure::{Code, Failure};
use crate::ids::{SessionId, TaskId, TaskKind};
use crate::keeper::{Exit, ExitStatus, Identity, Shape};
use crate::raw::Raw;
use crate::worktree::{Changes, Tree};

/// What can happen to a lane: requests, and ends of effects.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Begin.
    Create,
    /// The tree is there.
    Provisioned {
        /// The tree.
        tree: Tree,
    },
    /// Its tree was found, with no record of it.
    Adopted {
        /// The tree.
        tree: Tree,
        /// Its tasks as their keepers wrote them down (their stage is `Starting`).
        tasks: Vec<Task>,
    },
    /// It could not be made, and nothing of it is left.
    ProvisionFailed(Failure),
    /// End it.
    Cleanup {
        /// Detach the agents of a shared lane.
        force: bool,
    },
    /// Nothing of it is left.
    Cleaned {
        /// What was kept and how to get it back.
        notes: Vec<String>,
        /// `cleanup`, or what else ended it.
        reason: String,
    },
    /// It could not be ended; another request goes on from there.
    CleanupFailed(Failure),
    /// Let several agents in.
    Share,
    /// End that.
    Unshare,
    /// Attach an agent.
    Join {
        /// Its own name for itself.
        agent: String,
        /// Its stay.
        session_id: SessionId,
    },
    /// Detach an agent.
    Leave {
        /// Its own name for itself.
        agent: String,
    },
    /// A live task waits for somebody.
    Block {
        /// For people.
        reason: String,
    },
    /// It waits no more.
    Unblock,
    /// Start a task (its stage is `Starting`).
    Start(Box<Task>),
    /// Its command is alive.
    Started(TaskId, Box<Identity>),
    /// It could not be started.
    NotStarted(TaskId, Failure),
    /// Its command has ended.
    Ended(TaskId, Exit),
    /// Nothing of it runs any more.
    Gone(TaskId),
    /// A signal was sent to it.
    Signalled(TaskId, SignalView),
    /// It is being ended: its keeper does not answer (`no_answer`), or its heart stopped (`heartbeat`).
    Stale {
        /// Which task.
        id: TaskId,
        /// For how long nothing was heard.
        silent_ms: u64,
        /// Which of the two.
        reason: &'static str,
    },
    /// Nobody will know how it ended; its end follows.
    Lost {
        /// Which task.
        id: TaskId,
        /// Why.
        reason: Lost,
    },
    /// A task that a reboot ended was started again.
    Revived {
        /// Which task.
        id: TaskId,
        /// The new one.
        by: TaskId,
    },
    /// It had to be ended by force, after so long.
    ForceKilled {
        /// Which task.
        id: TaskId,
        /// As in [`Input::Stale`].
        reason: &'static str,
        /// Since it was asked to end.
        ms: u64,
    },
    /// A terminal is held back because it writes too fast, or is so no more.
    Throttled(TaskId, bool),
    /// Something was seen of a terminal.
    Seen(TaskId, Sight),
    /// Its changes were counted.
    Counted {
        /// The commit HEAD is at.
        head: Option<String>,
        /// Against its base and HEAD.
        changes: Changes,
    },
}

/// What is seen of a terminal. All but the size comes from the program and is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It has another size.
    Resized {
        /// Columns.
        cols: u16,
        /// Rows.
        rows: u16,
        /// Who asked.
        by: Option<String>,
    },
    /// Recorded output was rotated away, from and to these offsets.
    OutputDropped {
        /// The first byte that is gone.
        from: u64,
        /// The first that is not.
        to: u64,
    },
    /// It set its title.
    Title(String),
    /// It told its folder.
    Cwd(Raw),
    /// It notifies.
    Notification {
        /// Above the text.
        title: Option<String>,
        /// The text.
        body: String,
    },
    /// It marked a prompt.
    Prompt {
        /// Which mark.
        mark: String,
        /// The status of the command before it.
        exit: Option<i32>,
    },
}

impl Input {
    /// The task it is about, if it is about one that is known already.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::Started(id, _)
            | Self::NotStarted(id, _)
            | Self::Ended(id, _)
            | Self::Gone(id)
            | Self::Signalled(id, _)
            | Self::Stale { id, .. }
            | Self::ForceKilled { id, .. }
            | Self::Lost { id, .. }
            | Self::Revived { id, .. }
            | Self::Throttled(id, _)
            | Self::Seen(id, _) => Some(*id),
            Self::Create
            | Self::Adopted { .. }
            | Self::Provisioned { .. }
            | Self::ProvisionFailed(_)
            | Self::Cleanup { .. }
            | Self::Cleaned { .. }
            | Self::CleanupFailed(_)
            | Self::Share
            | Self::Unshare
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Block { .. }
            | Self::Unblock
            | Self::Start(_)
            | Self::Counted { .. } => None,
        }
    }
}

/// Something to write down and tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Its topic.
    pub topic: &'static str,
    /// Its payload.
    pub payload: Value,
    /// The task it is about.
    pub task_id: Option<TaskId>,
    /// The session it is about.
    pub session_id: Option<SessionId>,
    /// True when the request for the cleanup caused it, whatever was decided just now.
    pub of_cleanup: bool,
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the tree.
    Provision,
    /// Undo what a crash has left of making the tree; after a restart only.
    Rollback,
    /// Start the keeper of a task.
    Start(TaskId),
    /// Find out whether a task that was being started has a keeper; after a restart only.
    Adopt(TaskId),
    /// Watch a task until it has ended and nothing of it runs.
    Watch(TaskId),
    /// Stop what runs, retire the tree.
    Clean,
    /// Count its changes.
    Count,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The lane from now on.
    pub lane: Lane,
    /// In this order.
    pub facts: Vec<Fact>,
    /// In this order, after the facts are written down.
    pub effects: Vec<Effect>,
    /// Tasks whose record has changed.
    pub tasks: Vec<TaskId>,
    /// True from the beginning of a cleanup on.
    closing: bool,
}

impl Step {
    fn of(lane: &Lane) -> Self {
        let lane = lane.clone();
        Self { lane, facts: Vec::new(), effects: Vec::new(), tasks: Vec::new(), closing: false }
    }

    fn fact(&mut self, topic: &'static str, payload: Value) {
        self.push(topic, payload, None, None);
    }

    pub(super) fn task_fact(&mut self, topic: &'static str, task_id: TaskId, payload: Value) {
        self.push(topic, payload, Some(task_id), None);
    }

    fn session_fact(&mut self, topic: &'static str, session_id: SessionId, payload: Value) {
        self.push(topic, payload, None, Some(session_id));
    }

    fn push(
        &mut self,
        topic: &'static str,
        payload: Value,
        task_id: Option<TaskId>,
        session_id: Option<SessionId>,
    ) {
        self.facts.push(Fact { topic, payload, task_id, session_id, of_cleanup: self.closing });
    }

    /// Moves as the table says. The only place that assigns a state.
    fn transit(&mut self, event: Event, reason: Option<&str>, at: Timestamp) -> Result<(), Failure> {
        let from = self.lane.state;
        let to = match lookup(from, event) {
            Move::To(next) => next,
            Move::ByFacts => self.state_by_facts(),
            Move::Pending => {
                self.lane.cleanup_pending = true;
                from
            }
            Move::Nothing => return Ok(()),
            Move::Refused => return Err(self.lane.refuse(event)),
        };
        self.lane.state = to;
        self.lane.history.push_back(Transition { from, event, to, at });
        while self.lane.history.len() > HISTORY {
            self.lane.history.pop_front();
        }
        let mut payload = json!({ "from": from, "to": to, "event": event });
        if let Some(reason) = reason {
            payload["reason"] = reason.into();
        }
        self.fact("lane.state.changed", payload);
        Ok(())
    }

    fn state_by_facts(&self) -> State {
        if self.lane.blocked.is_some() {
            State::Blocked
        } else if self.lane.live_tasks().any(|task| task.stage == Stage::Live) {
            State::Running
        } else {
            State::Ready
        }
    }

    fn starting(&self) -> bool {
        self.lane.tasks.values().any(|task| task.stage == Stage::Starting)
    }

    fn commands_alive(&self) -> bool {
        self.lane.tasks.values().any(|task| task.stage == Stage::Live)
    }

    /// Cleaning begins once no keeper is on its way: what is not there yet cannot be stopped.
    fn clean_when_still(&mut self) {
        if self.lane.state == State::Cleaning && !self.starting() {
            self.effects.push(Effect::Clean);
        }
    }

    fn begin_cleanup(&mut self, reason: &str, at: Timestamp) -> Result<(), Failure> {
        let before = self.lane.state;
        self.closing = true;
        self.transit(Event::RequestCleanup, Some(reason), at)?;
        self.lane.cleanup_pending = false;
        self.lane.blocked = None;
        self.lane.cleanup_failure = None;
        self.lane.cleanup_attempts += 1;
        if before != State::Cleaning {
            self.fact("lane.cleaning", json!({ "reason": reason }));
        }
        self.clean_when_still();
        Ok(())
    }

    fn forget_old_tasks(&mut self, but: TaskId) {
        let ended: Vec<TaskId> = self
            .lane
            .tasks
            .values()
            .filter(|task| task.stage == Stage::Ended && task.id != but)
            .map(|task| task.id)
            .collect();
        let surplus = ended.len().saturating_sub(ENDED_TASKS);
        for id in ended.into_iter().take(surplus) {
            self.lane.tasks.remove(&id);
        }
    }
}

/// Decides what follows from `input`.
///
/// # Errors
/// The refusal; the lane is as it was.
pub fn apply(lane: &Lane, input: Input, at: Timestamp) -> Result<Step, Failure> {
    let mut step = Step::of(lane);
    step.lane.updated_at = at;
    match input {
        Input::Create => {
            create(&mut step, at)?;
            step.effects.push(Effect::Provision);
        }
        Input::Adopted { tree, tasks } => adopted(&mut step, tree, tasks, at)?,
        Input::Provisioned { tree } => provisioned(&mut step, tree, at)?,
        Input::ProvisionFailed(failure) => provision_failed(&mut step, failure, at)?,
        Input::Cleanup { force } => cleanup(&mut step, force, at)?,
        Input::Cleaned { notes, reason } => cleaned(&mut step, notes, &reason, at)?,
        Input::CleanupFailed(failure) => step.lane.cleanup_failure = Some(failure),
        Input::Share => share(&mut step, at)?,
        Input::Unshare => unshare(&mut step, at)?,
        Input::Join { agent, session_id } => join(&mut step, agent, session_id, at)?,
        Input::Leave { agent } => leave(&mut step, &agent, at)?,
        Input::Block { reason } => block(&mut step, reason, at)?,
        Input::Unblock => unblock(&mut step, at)?,
        Input::Start(task) => start(&mut step, *task, at)?,
        Input::Signalled(id, signal) => terminal::signalled(&mut step, id, signal),
        Input::Stale { id, silent_ms, reason } => terminal::stale(&mut step, id, silent_ms, reason, at),
        Input::ForceKilled { id, reason, ms } => terminal::force_killed(&mut step, id, reason, ms, at),
        Input::Lost { id, reason } => {
            if let Some(task) = step.lane.tasks.get_mut(&id) {
                task.lost = Some(reason);
                step.tasks.push(id);
            }
        }
        Input::Revived { id, by } => {
            if let Some(task) = step.lane.tasks.get_mut(&id) {
                task.revived_as = Some(by);
                step.tasks.push(id);
            }
        }
        Input::Throttled(id, held) => {
            let happening = if held { Happening::Throttled } else { Happening::OutputResumed };
            terminal::advance(&mut step, id, happening);
        }
        Input::Seen(id, sight) => terminal::seen(&mut step, id, sight),
        Input::Started(id, identity) => started(&mut step, id, *identity, at)?,
        Input::NotStarted(id, failure) => not_started(&mut step, id, &failure),
        Input::Ended(id, exit) => ended(&mut step, id, exit, at)?,
        Input::Gone(id) => gone(&mut step, id),
        Input::Counted { head, changes } => {
            step.lane.updated_at = lane.updated_at;
            step.lane.head = head.or(step.lane.head.take());
            step.lane.changes = Some(changes);
        }
    }
    Ok(step)
}

fn create(step: &mut Step, at: Timestamp) -> Result<(), Failure> {
    let order = &step.lane.order;
    let payload = json!({
        "name": order.name, "branch": order.branch.name, "base": order.base,
        "worktree": order.path, "restored_from": step.lane.restored_from,
    });
    step.fact("lane.created", payload);
    step.transit(Event::Create, None, at)
}

/// Made and provided for in one step: a record that were only half written would be rolled back.
fn adopted(step: &mut Step, tree: Tree, tasks: Vec<Task>, at: Timestamp) -> Result<(), Failure> {
    create(step, at)?;
    provisioned(step, tree, at)?;
    // What it has changed is not known, as after a restore.
    step.lane.head = None;
    step.lane.changes = None;
    step.effects.push(Effect::Count);
    for task in tasks {
        let id = task.id;
        step.effects.push(Effect::Adopt(id));
        step.tasks.push(id);
        step.lane.tasks.insert(id, task);
        terminal::advance(step, id, Happening::SpawnRequested);
    }
    Ok(())
}

fn provisioned(step: &mut Step, tree: Tree, at: Timestamp) -> Result<(), Failure> {
    let order = &step.lane.order;
    let payload = json!({
        "backend": tree.backend, "ms": tree.ms, "base": order.base.sha,
        "branch": order.branch.name, "path": tree.path, "notes": tree.notes,
    });
    step.lane.order.branch = tree.branch.clone();
    step.lane.tree = Some(tree);
    step.transit(Event::ProvisionComplete, None, at)?;
    step.fact("lane.worktree.provisioned", payload);
    if let Some(from) = step.lane.restored_from {
        step.fact("lane.restored", json!({ "restored_from": from }));
    }
    if step.lane.cleanup_pending {
        return step.begin_cleanup("cleanup was asked for while provisioning", at);
    }
    match step.lane.restored_from {
        Some(_what_it_was) => step.effects.push(Effect::Count),
        None => {
            // Nothing can have changed yet, so nothing needs counting.
            step.lane.head = Some(step.lane.order.base.sha.clone());
            step.lane.changes = Some(Changes::default());
        }
    }
    Ok(())
}

fn provision_failed(step: &mut Step, failure: Failure, at: Timestamp) -> Result<(), Failure> {
    step.transit(Event::ProvisionFailed, Some("provision_failed"), at)?;
    step.fact("lane.provision_failed", json!({ "code": failure.code, "message": failure.message }));
    step.lane.provision_failure = Some(failure);
    step.lane.cleanup_pending = false;
    close(step, "provision_failed");
    Ok(())
}

fn close(step: &mut Step, reason: &str) {
    step.lane.close_reason = Some(reason.to_owned());
    step.lane.agents.clear();
    step.lane.blocked = None;
    step.fact("lane.closed", json!({ "close_reason": reason }));
}

fn cleanup(step: &mut Step, force: bool, at: Timestamp) -> Result<(), Failure> {
    match step.lane.state {
        State::Closed => return Ok(()),
        State::New => {
            step.transit(Event::RequestCleanup, Some("cleanup"), at)?;
            close(step, "cleanup");
            return Ok(());
        }
        State::Provisioning => return step.transit(Event::RequestCleanup, Some("cleanup"), at),
        State::Shared if !step.lane.agents.is_empty() && !force => return Err(shared_in_use(&step.lane)),
        State::Cleaning if step.lane.cleanup_failure.is_none() => {
            // Somebody is at it already; this caller waits for the same end.
            return step.transit(Event::RequestCleanup, Some("cleanup"), at);
        }
        State::Ready | State::Running | State::Blocked | State::Shared | State::Cleaning => {}
    }
    for agent in std::mem::take(&mut step.lane.agents) {
        step.session_fact(
            "lane.detached",
            agent.session_id,
            json!({ "agent": agent.id, "reason": "cleanup" }),
        );
    }
    step.begin_cleanup("cleanup", at)
}

fn shared_in_use(lane: &Lane) -> Failure {
    let agents: Vec<&str> = lane.agents.iter().map(|agent| agent.id.as_str()).collect();
    Failure::new(Code::SharedInUse, format!("lane {} is shared with {}", lane.name(), agents.join(", ")))
        .hint("let them leave, or add --force, which detaches them")
        .details(json!({ "agents": agents }))
}

fn cleaned(step: &mut Step, notes: Vec<String>, reason: &str, at: Timestamp) -> Result<(), Failure> {
    step.transit(Event::CleanupComplete, Some(reason), at)?;
    step.lane.closing_notes = notes;
    let terminals: Vec<TaskId> = step.lane.tasks.keys().copied().collect();
    for id in terminals {
        terminal::advance(step, id, Happening::Cleanup);
    }
    let leftover: Vec<TaskId> =
        step.lane.tasks.values().filter(|task| task.stage != Stage::Ended).map(|task| task.id).collect();
    for id in leftover {
        gone(step, id);
    }
    close(step, reason);
    Ok(())
}

fn share(step: &mut Step, at: Timestamp) -> Result<(), Failure> {
    if step.lane.state == State::Shared {
        return Ok(());
    }
    step.transit(Event::Share, None, at)?;
    step.fact("lane.shared", json!({}));
    Ok(())
}

fn unshare(step: &mut Step, at: Timestamp) -> Result<(), Failure> {
    if step.lane.state == State::Shared && (step.lane.agents.len() > 1 || step.lane.live_runs().count() > 1) {
        let message = format!(
            "lane {} still has {} agents and {} runs",
            step.lane.name(),
            step.lane.agents.len(),
            step.lane.live_runs().count()
        );
        return Err(Failure::new(Code::SharedInUse, message)
            .hint("wait until at most one agent and one run are left"));
    }
    step.transit(Event::Unshare, None, at)?;
    step.fact("lane.unshared", json!({}));
    Ok(())
}

fn join(step: &mut Step, agent: String, session_id: SessionId, at: Timestamp) -> Result<(), Failure> {
    if step.lane.agents.iter().any(|known| known.id == agent) {
        return Ok(());
    }
    if !step.lane.state.takes_tasks() {
        return Err(cannot(&step.lane, "an agent cannot join it"));
    }
    let runs = step.lane.live_runs().any(|run| run.agent.as_ref().is_some_and(|other| *other != agent));
    if step.lane.state != State::Shared && (runs || !step.lane.agents.is_empty()) {
        return Err(not_shared(&step.lane));
    }
    if step.lane.agents.len() >= AGENTS {
        return Err(Failure::new(
            Code::Busy,
            format!("lane {} has {AGENTS} agents, the most it takes", step.lane.name()),
        ));
    }
    step.lane.agents.push(AgentView { id: agent.clone(), session_id, since: at });
    step.session_fact("lane.attached", session_id, json!({ "agent": agent }));
    Ok(())
}

fn not_shared(lane: &Lane) -> Failure {
    Failure::new(
        Code::LaneNotShared,
        format!("another agent is in lane {}, which is not shared", lane.name()),
    )
    .hint(format!("share it first: lanes share {}", lane.name()))
}

/// A refusal of something that is no event of the table, in a state that does not allow it.
fn cannot(lane: &Lane, what: &str) -> Failure {
    Failure::new(Code::InvalidTransition, format!("lane {} is {}: {what}", lane.name(), lane.state.name()))
        .details(json!({ "lane_id": lane.id, "state": lane.state }))
}

fn leave(step: &mut Step, agent: &str, at: Timestamp) -> Result<(), Failure> {
    let Some(place) = step.lane.agents.iter().position(|known| known.id == agent) else {
        return Ok(());
    };
    let left = step.lane.agents.remove(place);
    step.session_fact("lane.detached", left.session_id, json!({ "agent": left.id, "reason": "left" }));
    if step.lane.state == State::Shared && step.lane.agents.is_empty() {
        step.transit(Event::Unshare, Some("the last agent left"), at)?;
        step.fact("lane.unshared", json!({}));
    }
    Ok(())
}

fn block(step: &mut Step, reason: String, at: Timestamp) -> Result<(), Failure> {
    if step.lane.state == State::Shared && !step.commands_alive() {
        return Err(cannot(&step.lane, "nothing runs that could wait"));
    }
    step.transit(Event::Block, Some(&reason), at)?;
    step.lane.blocked = Some(reason);
    Ok(())
}

fn unblock(step: &mut Step, at: Timestamp) -> Result<(), Failure> {
    step.transit(Event::Unblock, None, at)?;
    step.lane.blocked = None;
    Ok(())
}

fn start(step: &mut Step, task: Task, at: Timestamp) -> Result<(), Failure> {
    let lane = &step.lane;
    if !lane.state.takes_tasks() {
        return Err(lane.refuse(Event::StartRunning));
    }
    if let Some(agent) = &task.agent {
        let known = lane.agents.iter().any(|known| known.id == *agent);
        let another_attached = !known && !lane.agents.is_empty();
        let another_runs = lane.live_runs().any(|run| run.agent.as_ref().is_some_and(|other| other != agent));
        if lane.state != State::Shared && (another_attached || another_runs) {
            return Err(not_shared(lane));
        }
        if lane.state == State::Shared && !known {
            join(step, agent.clone(), SessionId::generate(), at)?;
        }
    }
    let lane = &step.lane;
    if task.kind() == TaskKind::Run && lane.state != State::Shared && lane.live_runs().next().is_some() {
        return Err(Failure::new(Code::LaneBusy, format!("a run is live in lane {}", lane.name())).hint(
            format!(
                "wait for it (lanes wait {0} --until exit), or share the lane (lanes share {0})",
                lane.name()
            ),
        ));
    }
    let id = task.id;
    step.effects.push(Effect::Start(id));
    step.tasks.push(id);
    step.lane.tasks.insert(id, task);
    terminal::advance(step, id, Happening::SpawnRequested);
    Ok(())
}

fn started(step: &mut Step, id: TaskId, identity: Identity, at: Timestamp) -> Result<(), Failure> {
    let first = !step.commands_alive();
    let Some(task) = step.lane.tasks.get_mut(&id) else {
        return Ok(());
    };
    task.stage = Stage::Live;
    let (pid, keeper_pid) = (identity.pid, identity.keeper_pid);
    task.identity = Some(identity);
    let command = task.command.clone();
    let shape = task.shape.clone();
    step.tasks.push(id);
    if first && step.lane.state.takes_tasks() {
        step.transit(Event::StartRunning, None, at)?;
    }
    step.task_fact("lane.par_task.bound", id, json!({ "task_id": id, "pid": pid, "keeper_pid": keeper_pid }));
    match shape {
        Shape::Run { .. } => {
            step.task_fact("lane.command.started", id, json!({ "task_id": id, "command": command }))
        }
        Shape::Terminal { cols, rows } => step.task_fact(
            "terminal.spawned",
            id,
            json!({ "task_id": id, "command": command, "cols": cols, "rows": rows }),
        ),
    }
    terminal::advance(step, id, Happening::SpawnSucceeded);
    step.effects.push(Effect::Watch(id));
    step.clean_when_still();
    Ok(())
}

fn not_started(step: &mut Step, id: TaskId, failure: &Failure) {
    if !step.lane.tasks.contains_key(&id) {
        return;
    }
    terminal::not_started(step, id);
    step.lane.tasks.remove(&id);
    step.tasks.push(id);
    step.task_fact(
        "lane.par_task.terminated",
        id,
        json!({ "task_id": id, "reason": "not_started", "code": failure.code }),
    );
    step.clean_when_still();
}

fn ended(step: &mut Step, id: TaskId, exit: Exit, at: Timestamp) -> Result<(), Failure> {
    let Some(task) = step.lane.tasks.get_mut(&id) else {
        return Ok(());
    };
    if task.exit.is_some() {
        return Ok(());
    }
    let was_live = task.stage == Stage::Live;
    if task.stage != Stage::Ended {
        task.stage = Stage::Lingering;
    }
    task.exit = Some(exit.clone());
    let kind = task.kind();
    let lost = task.lost;
    step.tasks.push(id);
    let status = match exit.status {
        ExitStatus::Code(code) => json!({ "code": code }),
        ExitStatus::Signal(signal) => json!({ "signal": signal }),
        ExitStatus::Lost(_) => json!({ "lost": true }),
    };
    let mut payload = json!({ "task_id": id, "exit": status, "ms": exit.ms, "max_rss_kb": exit.max_rss_kb });
    if let Some(lost) = lost {
        payload["reason"] = lost.name().into();
    }
    if exit.timed_out {
        step.task_fact("lane.command.timeout", id, json!({ "task_id": id, "ms": exit.ms }));
    }
    match kind {
        TaskKind::Run => step.task_fact("lane.command.completed", id, payload),
        TaskKind::Terminal => step.task_fact("terminal.exited", id, payload),
    }
    terminal::ended(step, id, &exit, at);
    // What ends late, in cleaning or after closing, is written down without a transition.
    if was_live && !step.commands_alive() && step.lane.state.takes_tasks() {
        step.lane.blocked = None;
        step.transit(Event::CommandComplete, None, at)?;
        step.effects.push(Effect::Count);
    }
    Ok(())
}

fn gone(step: &mut Step, id: TaskId) {
    let Some(task) = step.lane.tasks.get_mut(&id) else {
        return;
    };
    if task.stage == Stage::Ended {
        return;
    }
    task.stage = Stage::Ended;
    step.tasks.push(id);
    step.task_fact("lane.par_task.terminated", id, json!({ "task_id": id, "reason": "ended" }));
    step.forget_old_tasks(id);
}
