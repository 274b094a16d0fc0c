//! Requests about tasks: started, typed into, signalled, read.

use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use super::blocking::blocking;
use super::lane_requests::agent_name;
use super::owner::Owner;
use crate::api::{
    Attach, Beat, Chunk, Command, Exec, Input, InputReply, LaneRef, Logs, LogsReply, Nothing, Resize, Signal,
    SignalView, TaskRef, TaskReply,
};
use crate::bus::{Context, redact};
use crate::clock;
use crate::failure::{Code, Failure};
use crate::ids::{TaskId, TaskKind};
use crate::keeper::{Shape, Stream};
use crate::lanes::lane::{Lane, Stage, Task};
use crate::lanes::machine::{Input as Event, Sight};
use crate::lanes::{Handle, Launch};
use crate::raw::Raw;
use crate::task::{self, Link, Recipe, TaskError};

/// The most output that one reply of `task.logs` carries, in bytes: half the payload cap, because bytes
/// that are not text grow by a third.
const LOGS_PAGE: usize = 256 << 10;

/// What a task is started with besides its command.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) stdin: bool,
    pub(super) timeout_ms: Option<u64>,
    pub(super) heartbeat_ms: Option<u64>,
    pub(super) agent: Option<String>,
    /// Nobody waits for it.
    pub(super) detached: bool,
}

impl Owner {
    /// Starts a task in a lane; answers when its command is alive.
    pub(super) async fn start_task(
        &self,
        handle: &Handle,
        kind: TaskKind,
        command: Command,
        options: Options,
        context: Context,
    ) -> Result<(Arc<Lane>, Task), Failure> {
        self.may_start()?;
        let lane = handle.lane();
        let id = TaskId::generate(kind);
        let env = command.env.clone().unwrap_or_else(own_environment);
        let argv = match (command.argv.is_empty(), kind) {
            (false, _) => command.argv.clone(),
            (true, TaskKind::Terminal) => vec![shell(&env)],
            (true, TaskKind::Run) => {
                return Err(Failure::new(Code::ValidationError, "there is no command to run")
                    .hint("give one after --"));
            }
        };
        if let Some(dir) = &command.dir {
            check_dir(dir.as_path())?;
        }
        let shape = match kind {
            TaskKind::Run => Shape::Run { stdin: options.stdin },
            TaskKind::Terminal => {
                let size = command.size.unwrap_or(crate::api::Size { cols: 80, rows: 24 });
                check_size(size)?;
                Shape::Terminal { cols: size.cols, rows: size.rows }
            }
        };
        let place = (lane.id, lane.workspace_id());
        let task = Task {
            command: redact::arguments(&argv).iter().map(ToString::to_string).collect(),
            agent: options.agent,
            heartbeat_ms: options.heartbeat_ms,
            ..Task::asked_for(&self.home, id, place, shape, Task::new_secret(), clock::now())
        };
        // What holds a secret is written down nowhere; its user starts it again.
        let told = |words: &[Raw]| redact::arguments(words) == words;
        let revivable =
            (kind == TaskKind::Terminal || options.detached) && told(&argv) && told(&command.resume);
        let recipe = revivable.then(|| Recipe {
            argv: argv.clone(),
            resume: command.resume,
            dir: command.dir.clone(),
            timeout_ms: options.timeout_ms,
        });
        let launch = Launch {
            argv,
            recipe,
            env,
            dir: command.dir,
            timeout_ms: options.timeout_ms,
            correlation_id: Some(context.correlation_id),
        };
        noticed(handle, &lane).await;
        let lane = handle.start(task.clone(), launch, context).await?;
        let task = lane.tasks.get(&id).cloned().unwrap_or(task);
        Ok((lane, task))
    }

    /// `task.exec`.
    pub(super) async fn exec(&self, asked: Exec, context: Context) -> Result<TaskReply, Failure> {
        let agent = asked.agent.map(agent_name).transpose()?;
        let options = Options {
            stdin: asked.stdin,
            timeout_ms: asked.timeout_ms,
            heartbeat_ms: asked.heartbeat_ms.map(heartbeat).transpose()?,
            agent,
            detached: asked.detached,
        };
        let (lane, task) =
            self.start_command(&asked.lane, TaskKind::Run, asked.command, options, context).await?;
        Ok(reply(&lane, &task, true))
    }

    /// `task.beat`.
    pub(super) async fn beat(&self, asked: Beat, context: Context) -> Result<Nothing, Failure> {
        let lane = match (&asked.task, &asked.lane) {
            (Some(text), lane) => {
                let (lane, task) = self.task(text, lane.as_ref()).await?;
                self.guard(&context, Some(&lane), "beat for")?;
                self.live.beat(task.id);
                return Ok(Nothing {});
            }
            (None, Some(words)) => self.open_lane(words).await?.lane(),
            (None, None) => {
                return Err(Failure::new(Code::ValidationError, "neither a lane nor a task is named")
                    .hint("name one"));
            }
        };
        self.guard(&context, Some(&lane), "beat for")?;
        for task in lane.live_tasks() {
            self.live.beat(task.id);
        }
        Ok(Nothing {})
    }

    /// `task.attach`.
    pub(super) async fn attach(&self, asked: Attach, context: Context) -> Result<TaskReply, Failure> {
        let handle = self.open_lane(&asked.lane).await?;
        let lane = handle.lane();
        self.guard(&context, Some(&lane), "attach to")?;
        self.used(&lane);
        if let Some(env) = &asked.command.env {
            self.live.came_with(&lane, env);
        }
        if let Some(text) = &asked.terminal {
            let (lane, task) = self.task(text, Some(&asked.lane)).await?;
            return Ok(reply(&lane, &task, false));
        }
        if !asked.new
            && asked.command.argv.is_empty()
            && let Some(task) = terminal(&lane)
        {
            return Ok(reply(&lane, task, false));
        }
        let (lane, task) =
            self.start_task(&handle, TaskKind::Terminal, asked.command, Options::default(), context).await?;
        Ok(reply(&lane, &task, true))
    }

    /// `task.get`.
    pub(super) async fn task_get(&self, asked: TaskRef, _context: Context) -> Result<TaskReply, Failure> {
        let (lane, task) = self.task(&asked.task, asked.lane.as_ref()).await?;
        Ok(reply(&lane, &task, false))
    }

    /// `task.input`.
    pub(super) async fn input(&self, asked: Input, context: Context) -> Result<InputReply, Failure> {
        let (lane, task) = self.addressed(asked.task.as_deref(), asked.lane.as_ref()).await?;
        self.guard(&context, Some(&lane), "type into")?;
        let link = self.link(&task).await?;
        let mut bytes = asked.data.0;
        if asked.enter {
            bytes.push(match task.kind() {
                TaskKind::Terminal => b'\r',
                TaskKind::Run => b'\n',
            });
        }
        let accepted = self.heard(&task, link.input(&bytes).await)?;
        if accepted < bytes.len() {
            return Err(Failure::new(
                Code::Backpressure,
                format!("{accepted} of {} bytes were taken: the program does not read", bytes.len()),
            )
            .hint("send the rest when it reads again")
            .details(serde_json::json!({ "accepted": accepted, "task_id": task.id })));
        }
        Ok(InputReply { accepted: accepted as u64, task_id: task.id })
    }

    /// The task that is named, else the lane's terminal.
    async fn addressed(
        &self,
        task: Option<&str>,
        lane: Option<&LaneRef>,
    ) -> Result<(Arc<Lane>, Task), Failure> {
        match (task, lane) {
            (Some(text), lane) => self.task(text, lane).await,
            (None, Some(words)) => {
                let lane = self.open_lane(words).await?.lane();
                let found = terminal(&lane).cloned();
                found.map(|task| (Arc::clone(&lane), task)).ok_or_else(|| {
                    Failure::new(Code::TaskNotFound, format!("lane {} has no live terminal", lane.name()))
                        .hint(format!("start one: lanes attach {}", lane.name()))
                })
            }
            (None, None) => {
                Err(Failure::new(Code::ValidationError, "neither a lane nor a task is named")
                    .hint("name one"))
            }
        }
    }

    /// `task.resize`.
    pub(super) async fn resize(&self, asked: Resize, context: Context) -> Result<Nothing, Failure> {
        check_size(asked.size)?;
        let (lane, task) = self.task(&asked.task.task, asked.task.lane.as_ref()).await?;
        self.guard(&context, Some(&lane), "resize a terminal of")?;
        let link = self.link(&task).await?;
        self.heard(&task, link.resize(asked.size.cols, asked.size.rows).await)?;
        let (cols, rows) = (asked.size.cols, asked.size.rows);
        let sight = Sight::Resized { cols, rows, by: Some(context.actor.kind.clone()) };
        self.note(&lane, Event::Seen(task.id, sight), context).await;
        Ok(Nothing {})
    }

    /// `task.signal`.
    pub(super) async fn signal(&self, asked: Signal, context: Context) -> Result<Nothing, Failure> {
        if !(1..=64).contains(&asked.signal) {
            return Err(Failure::new(Code::ValidationError, format!("{} is not a signal", asked.signal))
                .hint("1 to 64"));
        }
        let (lane, task) = self.task(&asked.task.task, asked.task.lane.as_ref()).await?;
        self.guard(&context, Some(&lane), "signal a task of")?;
        let link = self.link(&task).await?;
        let sent = self.heard(&task, link.signal(asked.signal).await);
        self.note(&lane, Event::Signalled(task.id, sent_as(asked.signal, sent.as_ref().err())), context)
            .await;
        sent?;
        Ok(Nothing {})
    }

    /// `task.kill`.
    pub(super) async fn kill(&self, asked: TaskRef, context: Context) -> Result<TaskReply, Failure> {
        let (lane, task) = self.task(&asked.task, asked.lane.as_ref()).await?;
        self.guard(&context, Some(&lane), "end a task of")?;
        if task.stage == Stage::Ended {
            return Ok(reply(&lane, &task, false));
        }
        self.note(&lane, Event::Signalled(task.id, sent_as(libc::SIGTERM, None)), context).await;
        self.live.stop_task(&lane, &task).await?;
        let task = match self.registry.get(lane.id) {
            Some(handle) => {
                let ended =
                    handle.until(|lane| lane.tasks.get(&task.id).filter(|task| task.exit.is_some()).cloned());
                tokio::time::timeout(KILL_WAIT, ended).await.ok().flatten().unwrap_or(task)
            }
            None => task,
        };
        Ok(reply(&lane, &task, false))
    }

    /// `task.logs`.
    pub(super) async fn logs(&self, asked: Logs, _context: Context) -> Result<LogsReply, Failure> {
        let (_lane, task) = self.task(&asked.task.task, asked.task.lane.as_ref()).await?;
        let limit = match usize::try_from(asked.limit) {
            Ok(0) | Err(_) => LOGS_PAGE,
            Ok(limit) => limit.min(LOGS_PAGE),
        };
        let dir = task.log_dir.to_path_buf();
        let since = asked.since;
        blocking(move || page(&dir, since, limit)).await?
    }

    /// `task.detach`.
    pub(super) async fn detach(&self, words: LaneRef, context: Context) -> Result<Nothing, Failure> {
        let lane = self.open_lane(&words).await?.lane();
        self.guard(&context, Some(&lane), "detach the terminals of")?;
        for task in lane.live_tasks().filter(|task| task.kind() == TaskKind::Terminal) {
            match self.link(task).await {
                Ok(link) => self.heard(task, link.detach_clients().await)?,
                // It ended meanwhile, and whoever was attached has seen that.
                Err(failure) if failure.code == Code::TaskNotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(Nothing {})
    }
}

/// Waits until the ends that keepers have told already are written down: who saw a run end and starts the
/// next one must not find the lane busy with the first.
async fn noticed(handle: &Handle, lane: &Lane) {
    for task in lane.live_tasks().filter(|task| task.kind() == TaskKind::Run) {
        if task::read_exit(task.run_dir.as_path()).is_none() {
            continue;
        }
        let ended =
            |lane: &Lane| lane.tasks.get(&task.id).is_none_or(|task| task.exit.is_some()).then_some(());
        let _late_or_noticed = tokio::time::timeout(NOTICE_WAIT, handle.until(ended)).await;
    }
}

/// How long an end that its keeper has told may take to be written down.
const NOTICE_WAIT: Duration = Duration::from_secs(5);

/// How long `task.kill` waits for the end to be written down, beyond every grace.
const KILL_WAIT: Duration = Duration::from_secs(5);

fn reply(lane: &Lane, task: &Task, started: bool) -> TaskReply {
    TaskReply {
        task: task.view(),
        lane_name: lane.name().to_owned(),
        run_dir: task.run_dir.clone(),
        log_dir: task.log_dir.clone(),
        started,
    }
}

/// The lane's terminal: the live one that was asked for last.
fn terminal(lane: &Lane) -> Option<&Task> {
    lane.live_tasks().filter(|task| task.kind() == TaskKind::Terminal).max_by_key(|task| task.id)
}

fn sent_as(signal: i32, failure: Option<&Failure>) -> SignalView {
    let outcome = if failure.is_some() { "failed" } else { "delivered" };
    let error = failure.map(|failure| failure.message.clone());
    SignalView { signal, at: clock::now(), outcome: outcome.to_owned(), error }
}

impl Owner {
    /// Writes down what was done to a task. That it was done does not depend on it.
    async fn note(&self, lane: &Lane, event: Event, context: Context) {
        let Some(handle) = self.registry.get(lane.id) else { return };
        if let Err(failure) = handle.apply(event, context).await {
            tracing::warn!(lane = %lane.id, error = %failure, "what was done to a task was not written down");
        }
    }

    async fn link(&self, task: &Task) -> Result<Link, Failure> {
        if task.exit.is_some() {
            return Err(Failure::new(Code::TaskNotFound, format!("task {} has ended", task.id))
                .hint("its output is still there: lanes logs"));
        }
        self.heard(task, Link::connect(task.run_dir.as_path()).await)
    }

    /// Passes on what a keeper was asked; one that left it unanswered is looked at from now on.
    fn heard<T>(&self, task: &Task, answer: Result<T, TaskError>) -> Result<T, Failure> {
        answer.map_err(|error| {
            if matches!(error, TaskError::NoAnswer { .. }) {
                self.live.suspect(task.id);
            }
            error.into()
        })
    }
}

/// A heartbeat faster than this costs more than it tells.
const FASTEST_HEARTBEAT: u64 = 100;

fn heartbeat(ms: u64) -> Result<u64, Failure> {
    if ms >= FASTEST_HEARTBEAT {
        return Ok(ms);
    }
    Err(Failure::new(Code::ValidationError, format!("a heartbeat of {ms} ms is too fast"))
        .hint("100ms is the fastest"))
}

fn page(dir: &Path, since: u64, limit: usize) -> Result<LogsReply, Failure> {
    let mut reader = task::LogReader::open(dir, since);
    let mut answer = LogsReply { chunks: Vec::new(), gap: None, next: since, end: reader.end()? };
    let mut held = 0;
    while held < limit {
        let Some(piece) = reader.read_chunk()? else { break };
        match piece {
            task::Piece::Chunk(chunk) => {
                held += chunk.bytes.len();
                answer.next = chunk.offset + chunk.bytes.len() as u64;
                answer.chunks.push(Chunk {
                    offset: chunk.offset,
                    stream: stream_name(chunk.stream).to_owned(),
                    at: chunk.at,
                    data: Raw(chunk.bytes),
                });
            }
            task::Piece::Gap { from, to } if answer.chunks.is_empty() => {
                answer.gap = Some((from, to));
                answer.next = to;
            }
            task::Piece::Gap { .. } => break,
        }
    }
    Ok(answer)
}

const fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Terminal => "terminal",
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

fn check_size(size: crate::api::Size) -> Result<(), Failure> {
    if (1..=10_000).contains(&size.cols) && (1..=10_000).contains(&size.rows) {
        return Ok(());
    }
    Err(Failure::new(Code::ValidationError, format!("a terminal cannot be {} x {}", size.cols, size.rows))
        .hint("columns and rows are 1 to 10,000"))
}

/// A folder for a command stays below the tree of its lane.
fn check_dir(dir: &Path) -> Result<(), Failure> {
    let below = dir.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if below {
        return Ok(());
    }
    Err(Failure::new(Code::ValidationError, format!("{} is not below the lane's tree", dir.display()))
        .hint("give a path relative to the tree, without .."))
}

fn own_environment() -> Vec<(Raw, Raw)> {
    std::env::vars_os().map(|(key, value)| (key.into(), value.into())).collect()
}

/// The requester's shell, or the one everybody has.
fn shell(env: &[(Raw, Raw)]) -> Raw {
    env.iter()
        .find(|(key, value)| key.as_bytes() == b"SHELL" && value.as_bytes().starts_with(b"/"))
        .map_or_else(|| "/bin/sh".into(), |(_key, value)| value.clone())
}
