//! The owner of one lane: takes its requests one by one, writes down, tells, then acts.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::handle::{Ask, Handle, MAILBOX, Message};
use super::lane::{Lane, Stage};
use super::machine::{self, Effect, Input, Step};
use super::table::State;
use super::world::{Launch, Tell, World};
use crate::bus::{Actor as Who, Batch, Bus, Context, Table, Write};
use crate::clock;
use crate::failure::{Code, Failure};
use crate::ids::TaskId;
use crate::keeper::Identity;

/// Before what effects brought is tried again when the journal could not be written; longer each time.
const JOURNAL_RETRY: Duration = Duration::from_millis(250);
/// The longest such pause: a disk that has room again is noticed soon, and a full one is left alone.
const SLOWEST_RETRY: Duration = Duration::from_secs(2);
/// Whoever waits for something that cannot be written down is told so after this: no passing trouble.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// How long a stopping runtime waits for a worktree that is being made or retired.
pub const STOP_WAIT: Duration = Duration::from_secs(3);

/// How long a closed lane waits for the ends of its tasks to be written down; their processes are gone.
const LATE: Duration = Duration::from_secs(2);

/// What effects have seen waits here; one that sees more waits for its lane, and for nobody else's.
const SEEN: usize = 64;

/// What an effect brought.
struct Outcome {
    input: Option<Input>,
    context: Context,
    then: Option<Effect>,
}

/// What effects brought, which is to be written down.
enum Seen {
    /// One that goes on has seen this.
    Sight(Input),
    /// One has ended.
    End(Outcome),
}

/// Who waits for the start of a task.
type Waiter = oneshot::Sender<Result<Arc<Lane>, Failure>>;

/// The owner of one lane.
pub(super) struct Actor {
    lane: Arc<Lane>,
    bus: Bus,
    world: Arc<dyn World>,
    mailbox: mpsc::Receiver<Message>,
    /// What effects that go on have seen, and where they say it.
    seen: mpsc::Receiver<Input>,
    tell: Tell,
    /// What could not be written down yet, in order. Nothing more is taken from effects meanwhile; requests are.
    held: VecDeque<Seen>,
    held_since: Option<Instant>,
    again_at: Instant,
    pause: Duration,
    /// Why it cannot, once it is more than a passing trouble.
    stuck: watch::Sender<Option<Failure>>,
    view: watch::Sender<Arc<Lane>>,
    effects: JoinSet<Outcome>,
    launches: HashMap<TaskId, Launch>,
    waiters: HashMap<TaskId, Waiter>,
    /// The request that last caused something, for what its effects cause later.
    cause: HashMap<TaskId, Context>,
    /// The request for the cleanup that is pending or in progress.
    closing: Option<Context>,
    cleaning: bool,
    counting: bool,
    never_began: bool,
    stop: CancellationToken,
}

impl Actor {
    /// An owner for `lane`, and the handle to it.
    pub(super) fn new(
        lane: Lane,
        bus: Bus,
        world: Arc<dyn World>,
        stop: CancellationToken,
    ) -> (Self, Handle) {
        let lane = Arc::new(lane);
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let (tell, seen) = mpsc::channel(SEEN);
        let (view, watcher) = watch::channel(Arc::clone(&lane));
        let (stuck, is_stuck) = watch::channel(None);
        let handle = Handle { id: lane.id, mailbox: sender, view: watcher, stuck: is_stuck };
        let actor = Self {
            lane,
            bus,
            world,
            mailbox,
            seen,
            tell,
            held: VecDeque::new(),
            held_since: None,
            again_at: Instant::now(),
            pause: JOURNAL_RETRY,
            stuck,
            view,
            effects: JoinSet::new(),
            launches: HashMap::new(),
            waiters: HashMap::new(),
            cause: HashMap::new(),
            closing: None,
            cleaning: false,
            counting: false,
            never_began: false,
            stop,
        };
        (actor, handle)
    }

    /// Owns the lane until it is closed or the runtime stops. `first` are effects that a restart has to
    /// take up again.
    ///
    /// Gives back the sending half of the view: whoever waits for the owner's end waits for its drop.
    pub(super) async fn run(mut self, first: Vec<Effect>) -> watch::Sender<Arc<Lane>> {
        let ours = Context::new(Who::lanes());
        self.act(first, &ours);
        loop {
            if self.never_began {
                // Nothing is written down of it: its name is free again.
                break;
            }
            if self.lane.state() == State::Closed {
                self.drain(LATE, |_lane| true).await;
                break;
            }
            tokio::select! {
                // In this order, so that a simulation can be replayed. Ends of effects are as few as there
                // are effects; a request is taken after each sight, so that no flood of these holds it up.
                biased;
                () = self.stop.cancelled() => {
                    self.finish().await;
                    break;
                }
                () = tokio::time::sleep_until(self.again_at), if !self.held.is_empty() => {
                    self.write_held().await;
                }
                Some(ended) = self.effects.join_next(), if self.held.is_empty() && !self.effects.is_empty() => {
                    // A panicking effect is a bug of ours; it must not end the owner of the lane.
                    if let Ok(outcome) = ended {
                        self.took_effect(outcome).await;
                    }
                }
                Some(input) = self.seen.recv(), if self.held.is_empty() => {
                    self.take(Seen::Sight(input)).await;
                    if let Ok(message) = self.mailbox.try_recv() {
                        self.handle(message).await;
                    }
                }
                message = self.mailbox.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => break,
                },
            }
        }
        // Aborts what is left: git is ended with its group, keepers and their tasks live on.
        self.effects.shutdown().await;
        self.view
    }

    /// Lets a worktree that is being made or retired come to its end, for a while: what is cut off here
    /// is undone or resumed by the next start.
    async fn finish(&mut self) {
        self.mailbox.close();
        self.drain(STOP_WAIT, |lane| matches!(lane.state(), State::Provisioning | State::Cleaning)).await;
    }

    /// Takes the ends of effects while there are any and `more` wants them, up to a deadline.
    async fn drain(&mut self, wait: Duration, more: impl Fn(&Lane) -> bool) {
        let deadline = Instant::now() + wait;
        while more(&self.lane) {
            if !self.held.is_empty() {
                if self.again_at > deadline {
                    tracing::warn!(lane = %self.lane.id, "what could not be written down is left to the next start");
                    return;
                }
                tokio::time::sleep_until(self.again_at).await;
                self.write_held().await;
                continue;
            }
            match tokio::time::timeout_at(deadline, self.effects.join_next()).await {
                Ok(Some(Ok(outcome))) => self.took_effect(outcome).await,
                Ok(Some(Err(_panicked))) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }

    async fn handle(&mut self, message: Message) {
        // It came before; and who asks again now that there is room must not be told of the trouble before.
        if !self.held.is_empty() {
            self.write_held().await;
        }
        let Message { ask, context, reply } = message;
        match ask {
            Ask::Apply(input) => {
                let begins = matches!(input, Input::Create | Input::Adopted { .. });
                let result = self.decide(input, &context).await;
                self.never_began = begins && result.is_err() && self.lane.state() == State::New;
                let _caller_left = reply.send(result);
            }
            Ask::Count => {
                self.act(vec![Effect::Count], &context);
                let _caller_left = reply.send(Ok(Arc::clone(&self.lane)));
            }
            Ask::Start(task, launch) => {
                let id = task.id;
                self.launches.insert(id, launch);
                self.cause.insert(id, context.clone());
                self.waiters.insert(id, reply);
                if let Err(refusal) = self.decide(Input::Start(task), &context).await {
                    self.launches.remove(&id);
                    self.cause.remove(&id);
                    self.answer(id, Err(refusal));
                }
            }
        }
    }

    fn answer(&mut self, id: TaskId, result: Result<Arc<Lane>, Failure>) {
        if let Some(waiter) = self.waiters.remove(&id) {
            let _caller_left = waiter.send(result);
        }
    }

    async fn took_effect(&mut self, outcome: Outcome) {
        // What was seen before the end comes before it.
        while let Ok(input) = self.seen.try_recv() {
            self.take(Seen::Sight(input)).await;
        }
        self.take(Seen::End(outcome)).await;
    }

    /// Takes what an effect brought, behind what could not be written down yet.
    async fn take(&mut self, seen: Seen) {
        self.held.push_back(seen);
        if self.held.len() == 1 {
            self.write_held().await;
        }
    }

    /// Writes down what effects brought, as far as the journal can be written.
    async fn write_held(&mut self) {
        while let Some(seen) = self.held.pop_front() {
            let written = match &seen {
                Seen::Sight(input) => self.write_sight(input).await,
                Seen::End(outcome) => self.write_end(outcome).await,
            };
            if let Err(failure) = written {
                self.held.push_front(seen);
                return self.hold(failure);
            }
        }
        self.held_since = None;
        self.pause = JOURNAL_RETRY;
        self.stuck.send_if_modified(|stuck| stuck.take().is_some());
    }

    /// Waits with what could not be written down; after a while those who wait for it are told.
    fn hold(&mut self, failure: Failure) {
        let now = Instant::now();
        if self.held_since.is_none() {
            tracing::warn!(lane = %self.lane.id, error = %failure, "the end of an effect could not be written down");
        }
        let since = *self.held_since.get_or_insert(now);
        self.again_at = now + self.pause;
        self.pause = (self.pause * 2).min(SLOWEST_RETRY);
        if now.duration_since(since) < STUCK_AFTER {
            return;
        }
        let started: Vec<_> = self.held.iter().filter_map(start_of).collect();
        for (id, failed) in started {
            // A command that runs does so whether that is written down or not.
            let lane = Arc::clone(&self.lane);
            self.answer(id, failed.map_or(Ok(lane), Err));
        }
        let hint = failure.hint.clone().unwrap_or_default();
        let hint = format!("{hint}; what was begun then goes on by itself");
        let failure = failure.hint(hint.trim_start_matches("; "));
        self.stuck.send_replace(Some(failure));
    }

    /// What was seen of a task; what does not fit any more is left.
    async fn write_sight(&mut self, input: &Input) -> Result<(), Failure> {
        let ours = Context::new(Who::lanes());
        let task = input.task().and_then(|id| self.lane.tasks.get(&id));
        let context = match (task.and_then(|task| self.cause.get(&task.id)), task) {
            (Some(cause), _) => cause.clone(),
            (None, Some(task)) => task.identity.as_ref().map_or(ours.clone(), |found| caused_by(found, ours)),
            (None, None) => ours,
        };
        match self.decide(input.clone(), &context).await {
            Err(failure) if is_of_journal(&failure) => return Err(failure),
            Err(refusal) => {
                tracing::warn!(lane = %self.lane.id, error = %refusal, "what was seen of a task was not taken");
            }
            Ok(_lane) => {}
        }
        Ok(())
    }

    async fn write_end(&mut self, outcome: &Outcome) -> Result<(), Failure> {
        let Outcome { input, context, then } = outcome;
        let Some(input) = input else {
            self.counting = false;
            return Ok(());
        };
        let busy = (self.counting, self.cleaning);
        match input {
            Input::Counted { .. } => self.counting = false,
            Input::Cleaned { .. } | Input::CleanupFailed(_) => self.cleaning = false,
            _other => {}
        }
        match self.decide(input.clone(), context).await {
            Err(failure) if is_of_journal(&failure) => {
                (self.counting, self.cleaning) = busy;
                return Err(failure);
            }
            Err(refusal) => {
                tracing::error!(lane = %self.lane.id, error = %refusal, "the end of an effect was refused");
            }
            Ok(_lane) => {}
        }
        if let Some((id, failed)) = start_of_input(input) {
            let lane = Arc::clone(&self.lane);
            self.answer(id, failed.map_or(Ok(lane), Err));
        }
        if let Input::Gone(id) | Input::NotStarted(id, _) = input {
            self.cause.remove(id);
            self.world.forget(*id);
        }
        if let Some(effect) = then {
            self.act(vec![*effect], context);
        }
        Ok(())
    }

    /// Decides, writes down, tells, acts.
    async fn decide(&mut self, input: Input, context: &Context) -> Result<Arc<Lane>, Failure> {
        let asks_for_cleanup = matches!(input, Input::Cleanup { .. });
        let step = machine::apply(&self.lane, input, clock::now())?;
        let begins = step.lane.cleanup_attempts > self.lane.cleanup_attempts
            || (step.lane.cleanup_pending && !self.lane.cleanup_pending);
        if asks_for_cleanup && begins {
            self.closing = Some(context.clone());
        }
        if step.lane.state() == State::New {
            // Nobody was told of it yet: what changes nothing makes no record of it either.
            return Ok(Arc::clone(&self.lane));
        }
        let batch = batch(&step, context, self.closing.as_ref().unwrap_or(context));
        if !batch.events.is_empty() || !batch.writes.is_empty() {
            self.bus.commit(batch).await?;
        }
        self.lane = Arc::new(step.lane);
        self.view.send_replace(Arc::clone(&self.lane));
        self.act(step.effects, context);
        Ok(Arc::clone(&self.lane))
    }

    fn act(&mut self, effects: Vec<Effect>, context: &Context) {
        for effect in effects {
            let world = Arc::clone(&self.world);
            let lane = Lane::clone(&self.lane);
            let context = context.clone();
            match effect {
                Effect::Provision => {
                    self.effects.spawn(async move {
                        let input = match world.provision(lane, context.clone()).await {
                            Ok(tree) => Input::Provisioned { tree },
                            Err(failure) => Input::ProvisionFailed(failure),
                        };
                        Outcome { input: Some(input), context, then: None }
                    });
                }
                Effect::Rollback => {
                    self.effects.spawn(async move {
                        let input = match world.rollback(lane).await {
                            Ok(tree) => Input::Provisioned { tree },
                            Err(failure) => Input::ProvisionFailed(failure),
                        };
                        Outcome { input: Some(input), context, then: None }
                    });
                }
                Effect::Start(id) => self.act_start(id, lane, context),
                Effect::Adopt(id) => self.act_adopt(id, context),
                Effect::Watch(id) => self.act_watch(id, context),
                Effect::Clean if self.cleaning => {}
                Effect::Clean => {
                    self.cleaning = true;
                    let context = self.closing.clone().unwrap_or(context);
                    self.effects.spawn(async move {
                        let input = match world.clean(lane, context.clone()).await {
                            Ok(retired) => Input::Cleaned { notes: retired.notes, reason: "cleanup".into() },
                            Err(failure) => Input::CleanupFailed(failure),
                        };
                        Outcome { input: Some(input), context, then: None }
                    });
                }
                Effect::Count if self.counting || !self.lane.state().takes_tasks() => {}
                Effect::Count => {
                    self.counting = true;
                    self.effects.spawn(async move {
                        let input = match world.count(lane).await {
                            Ok((head, changes)) => Some(Input::Counted { head, changes }),
                            Err(failure) => {
                                tracing::debug!(error = %failure, "changes could not be counted");
                                None
                            }
                        };
                        Outcome { input, context, then: None }
                    });
                }
            }
        }
    }

    fn act_start(&mut self, id: TaskId, lane: Lane, context: Context) {
        let world = Arc::clone(&self.world);
        let Some(task) = lane.tasks.get(&id).cloned() else { return };
        let launch = self.launches.remove(&id).unwrap_or_default();
        self.effects.spawn(async move {
            let input = match world.start(lane, task, launch).await {
                Ok(identity) => Input::Started(id, Box::new(identity)),
                Err(failure) => Input::NotStarted(id, failure),
            };
            Outcome { input: Some(input), context, then: None }
        });
    }

    fn act_adopt(&mut self, id: TaskId, context: Context) {
        let world = Arc::clone(&self.world);
        let Some(task) = self.lane.tasks.get(&id).cloned() else { return };
        self.effects.spawn(async move {
            match world.adopt(task).await {
                Some(identity) => {
                    let context = caused_by(&identity, context);
                    let input = Some(Input::Started(id, Box::new(identity)));
                    Outcome { input, context, then: None }
                }
                None => {
                    let stopped = Failure::new(Code::DaemonDown, "the runtime stopped while it was started");
                    Outcome { input: Some(Input::NotStarted(id, stopped)), context, then: None }
                }
            }
        });
    }

    fn act_watch(&mut self, id: TaskId, context: Context) {
        let world = Arc::clone(&self.world);
        let Some(task) = self.lane.tasks.get(&id).cloned() else { return };
        let context = match (self.cause.get(&id), &task.identity) {
            (Some(cause), _) => cause.clone(),
            (None, Some(identity)) => caused_by(identity, context),
            (None, None) => context,
        };
        let tell = self.tell.clone();
        self.effects.spawn(async move {
            match task.stage {
                Stage::Starting | Stage::Live => {
                    let exit = world.ended(task, tell).await;
                    Outcome { input: Some(Input::Ended(id, exit)), context, then: Some(Effect::Watch(id)) }
                }
                Stage::Lingering | Stage::Ended => {
                    world.gone(task, tell).await;
                    Outcome { input: Some(Input::Gone(id)), context, then: None }
                }
            }
        });
    }
}

/// True when the journal could not be written: no answer of the machine, and it may pass.
fn is_of_journal(failure: &Failure) -> bool {
    matches!(failure.code, Code::Io | Code::DiskLow)
}

/// The task whose start has ended, and why it failed when it did.
fn start_of(seen: &Seen) -> Option<(TaskId, Option<Failure>)> {
    match seen {
        Seen::Sight(_) => None,
        Seen::End(outcome) => start_of_input(outcome.input.as_ref()?),
    }
}

fn start_of_input(input: &Input) -> Option<(TaskId, Option<Failure>)> {
    match input {
        Input::Started(id, _) => Some((*id, None)),
        Input::NotStarted(id, failure) => Some((*id, Some(failure.clone()))),
        _other => None,
    }
}

/// The chain of the request that started a task, as its keeper has written it down.
fn caused_by(identity: &Identity, context: Context) -> Context {
    Context { correlation_id: identity.correlation_id, ..context }
}

/// What a step writes down; `closing` is the request for its cleanup.
fn batch(step: &Step, context: &Context, closing: &Context) -> Batch {
    let lane = &step.lane;
    let events = step
        .facts
        .iter()
        .map(|fact| {
            let cause = if fact.of_cleanup { closing } else { context };
            let mut draft = cause.draft(fact.topic, fact.payload.clone());
            draft.workspace_id = Some(lane.workspace_id());
            draft.lane_id = Some(lane.id);
            draft.task_id = fact.task_id;
            draft.session_id = fact.session_id;
            draft
        })
        .collect();
    let mut writes = vec![Write::put(Table::Lanes, lane.id, lane)];
    writes.extend(step.tasks.iter().map(|id| match lane.tasks.get(id) {
        Some(task) => Write::put(Table::Tasks, id, task),
        None => Write::remove(Table::Tasks, id),
    }));
    Batch { events, writes }
}
