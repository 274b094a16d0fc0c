//! The way to the runtime, and to keepers: the one file that knows how both are reached.

use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::SignalKind;

use super::environment::{CONFIG_VARIABLE, Environment};
use crate::api::{self, Client, Method, Notification, Subscribe, TaskReply};
use crate::clock::Timestamp;
use crate::config;
use crate::daemon::{self, Readiness};
use crate::failure::{Code, Failure};
pub use crate::keeper::Stream;
use crate::keeper::{Exit, ExitStatus};
use crate::runtime::{Options, Runtime};
use crate::task::{self, Follow, Link, LogReader, TaskError};

/// What an attachment is made of.
pub mod terminal {
    pub use crate::keeper::protocol::{Attach, FRESH, MAX_INPUT, Refusal, Reply, Request};
    pub use crate::pty::screen::{Model, View, is_caught};
    pub use crate::pty::{DetachKey, DetachKeyError, DetachMatcher, Filter, Questions, RESET, RawMode, Size};
    pub use crate::task::Stream;
}

/// Who we are, to the runtime.
const WHO: &str = concat!("lanes-cli ", env!("CARGO_PKG_VERSION"));

/// How often a runtime is started that is gone again before it has greeted us.
const STARTS: u32 = 2;

/// A connection to the runtime of a home. Clones share it.
#[derive(Clone)]
pub struct Daemon {
    client: Client,
}

impl Daemon {
    /// Connects; starts the runtime when nobody is there and we are not inside a lane.
    pub async fn open(at: &Environment) -> Result<Self, Failure> {
        for _start in 0..STARTS {
            if let Some(daemon) = Self::running(at).await? {
                return Ok(daemon);
            }
            if at.in_lane {
                return Err(down_in_lane());
            }
            start(at).await?;
        }
        Ok(Self { client: Client::connect(&at.home, WHO).await? })
    }

    /// Connects to what runs; `None` when nothing does.
    pub async fn running(at: &Environment) -> Result<Option<Self>, Failure> {
        match Client::connect(&at.home, WHO).await {
            Ok(client) => Ok(Some(Self { client })),
            // What is not retryable is there but is not ours.
            Err(failure) if failure.code == Code::DaemonDown && failure.retryable => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Asks, and waits for the answer.
    pub async fn call<M: Method>(&self, params: M::Params) -> Result<M::Reply, Failure> {
        self.client.call::<M>(params).await
    }

    /// The end of a task, from the runtime when its run folder does not tell it: the folder of a short
    /// command may be removed, its end being written down, before anybody else could look there.
    pub async fn settled(&self, reply: &TaskReply, exit: Exit) -> Exit {
        if !matches!(exit.status, ExitStatus::Lost(_)) {
            return exit;
        }
        let task = api::TaskRef { task: reply.task.id.to_string(), lane: None };
        let known = self.call::<api::TaskGet>(task).await.ok().and_then(|reply| reply.task.exit);
        known.unwrap_or(exit)
    }

    /// Begins notifications.
    pub async fn subscribe(&self, params: Subscribe) -> Result<Notices, Failure> {
        Ok(Notices { events: self.client.subscribe(params).await? })
    }
}

/// Notifications.
pub struct Notices {
    events: api::Events,
}

impl Notices {
    /// The next one; `None` when the runtime has gone. Nothing is lost when the call is dropped.
    pub async fn next(&mut self) -> Result<Option<Notification>, Failure> {
        match self.events.next().await {
            Some(Ok(notification)) => Ok(Some(notification)),
            Some(Err(failure)) if failure.code == Code::DaemonDown => Ok(None),
            Some(Err(failure)) => Err(failure),
            None => Ok(None),
        }
    }

    /// The newest offset when they began.
    pub fn head(&self) -> u64 {
        self.events.head()
    }

    /// The epoch of the offsets.
    pub fn epoch(&self) -> &str {
        self.events.epoch()
    }
}

/// What is started inside a lane would be the keeper's child and die with the lane.
pub fn down_in_lane() -> Failure {
    Failure::new(Code::DaemonDown, "the daemon is not running, and it cannot be started from inside a lane")
        .hint("run `lanes daemon start` in a terminal outside of any lane")
}

/// Starts the runtime in the background.
async fn start(at: &Environment) -> Result<(), Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::io("find this program", &error))?;
    let home = at.home.clone();
    let descends = move || task::peer_lane(std::process::id(), &home).is_some();
    let user_file = at.user_file.as_deref().unwrap_or(Path::new(""));
    daemon::Launch::new(&at.home, &program)
        .unless_descendant(&descends)
        .env(CONFIG_VARIABLE, user_file.as_os_str())
        .ensure()
        .await
}

/// Lets go of what the starter gave us, when somebody started us to go on in the background.
pub fn detach(at: &Environment) -> Result<Readiness, Failure> {
    match daemon::asked_to_detach() {
        true => Ok(daemon::detach(&at.home)?),
        false => Ok(Readiness::nobody()),
    }
}

/// Runs the runtime here until somebody stops it.
pub fn run(at: &Environment, readiness: Readiness) -> Result<(), Failure> {
    let open_files_soft = crate::daemon::raise_open_files();
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("start", &error))?;
    let done = threads.block_on(serve(at, readiness, open_files_soft));
    threads.shutdown_background();
    done
}

/// Threads of the daemon: it decides and waits; git and keepers do the work.
const WORKERS: usize = 2;

async fn serve(at: &Environment, readiness: Readiness, open_files_soft: Option<u64>) -> Result<(), Failure> {
    let mut options = Options::new(&at.home, task::KeeperChoice::SelfExec);
    options.open_files_soft = open_files_soft;
    options.user_config.clone_from(&at.user_file);
    options.who = crate::bus::Actor { kind: "lanes".into(), id: "daemon".into() };
    let runtime = match Runtime::open_owner(options).await {
        Ok(runtime) => runtime,
        Err(failure) => {
            readiness.failed(&failure);
            return Err(failure);
        }
    };
    readiness.ready();
    let signal =
        |kind| tokio::signal::unix::signal(kind).map_err(|error| Failure::io("listen for signals", &error));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = runtime.asked_to_stop() => {}
        _told = terminate.recv() => {}
        _told = interrupt.recv() => {}
    }
    runtime.shut_down().await;
    Ok(())
}

/// Asks the runtime to stop and waits until nobody answers any more.
pub async fn stop(at: &Environment, daemon: Daemon) -> Result<(), Failure> {
    const PATIENCE: Duration = Duration::from_secs(30);
    const PAUSE: Duration = Duration::from_millis(10);
    let status = daemon.call::<api::DaemonStatus>(api::Nothing {}).await?;
    let process = rustix::process::Pid::from_raw(status.daemon.pid.cast_signed());
    let pidfd =
        process.and_then(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok());
    match daemon.call::<api::DaemonStop>(api::Nothing {}).await {
        // It may be gone before it has answered.
        Err(failure) if failure.code != Code::DaemonDown => return Err(failure),
        Ok(_) | Err(_) => {}
    }
    drop(daemon);
    let gone = async {
        if let Some(process) = pidfd {
            let _polled = tokio::task::spawn_blocking(move || ended(&process, PATIENCE)).await;
        }
        while Daemon::running(at).await?.is_some() {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap_or_else(|_elapsed| {
        Err(Failure::new(Code::Timeout, "the daemon was asked to stop and is still there")
            .hint("look at daemon.log in its home"))
    })
}

/// Waits until a process has ended: its pidfd is readable then.
fn ended(process: &impl std::os::fd::AsFd, patience: Duration) {
    let mut fds = [rustix::event::PollFd::new(process, rustix::event::PollFlags::IN)];
    let _ended_or_late =
        rustix::event::poll(&mut fds, rustix::event::Timespec::try_from(patience).ok().as_ref());
}

/// The schema of every method and event.
pub fn schema_document() -> serde_json::Value {
    api::schema::document()
}

/// An event as CloudEvents 1.0.
pub fn cloudevent(event: &crate::bus::Event) -> serde_json::Value {
    api::cloud_event(event)
}

/// Copies between standard streams and the socket, for a client on another machine.
pub async fn stdio(at: &Environment) -> Result<(), Failure> {
    let home = at.home.clone();
    let copying = tokio::task::spawn_blocking(move || {
        api::stdio::bridge(&home, rustix::stdio::stdin(), rustix::stdio::stdout())
    });
    copying.await.map_err(|_aborted| Failure::new(Code::DaemonDown, "the copying was cut off"))?
}

/// The user's own configuration.
pub fn user_config(at: &Environment) -> Result<config::Config, Failure> {
    Ok(config::load(None, at.user_file.as_deref(), false)?.config)
}

/// A piece of recorded output, or what stands for it.
pub enum Piece {
    /// Output.
    Output {
        /// Where it starts.
        offset: u64,
        /// Of which stream.
        stream: Stream,
        /// When it was read.
        at: Timestamp,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// What is gone.
    Gap {
        /// The first byte that is gone.
        from: u64,
        /// The first that is there again.
        to: u64,
    },
    /// The end: of the command, or of what is recorded. Nothing follows.
    Ended(Exit),
}

/// A task as its keeper and its log have it; the runtime may be down.
pub struct Running {
    source: Source,
    remote: Option<Remote>,
}

enum Source {
    Live(Box<Follow>),
    Recorded(LogReader),
}

impl Running {
    /// Follows the output from an offset on.
    pub async fn open(reply: &TaskReply, since: u64) -> Result<Self, Failure> {
        let link = link(reply).await?;
        Self::follow(reply, LogReader::open(reply.log_dir.as_path(), since), link).await
    }

    /// Only what is recorded now.
    pub fn recorded(reply: &TaskReply, since: u64) -> Self {
        let reader = LogReader::open(reply.log_dir.as_path(), since);
        Self { source: Source::Recorded(reader), remote: None }
    }

    async fn follow(reply: &TaskReply, reader: LogReader, link: Option<Link>) -> Result<Self, Failure> {
        let follow = task::follow(reader, reply.run_dir.as_path(), link.as_ref()).await?;
        let remote = link.map(|link| Remote { link });
        Ok(Self { source: Source::Live(Box::new(follow)), remote })
    }

    /// The next piece. Nothing is lost when the call is dropped.
    pub async fn next(&mut self) -> Result<Piece, Failure> {
        let piece = match &mut self.source {
            Source::Live(follow) => follow.next().await?,
            Source::Recorded(reader) => reader.read_chunk()?,
        };
        Ok(match piece {
            Some(task::Piece::Chunk(chunk)) => {
                let task::Chunk { offset, stream, bytes, at, size: _ } = chunk;
                Piece::Output { offset, stream, at, bytes }
            }
            Some(task::Piece::Gap { from, to }) => Piece::Gap { from, to },
            None => Piece::Ended(self.exit()),
        })
    }

    fn exit(&self) -> Exit {
        let (known, end) = match &self.source {
            Source::Live(follow) => (follow.exit(), follow.offset()),
            Source::Recorded(reader) => (None, reader.offset()),
        };
        known.unwrap_or_else(|| lost(end))
    }

    /// The keeper; `None` when it has gone.
    pub fn remote(&self) -> Option<Remote> {
        self.remote.clone()
    }
}

/// The end of a command that nobody knows.
fn lost(end: u64) -> Exit {
    let at = crate::clock::now();
    Exit { status: ExitStatus::Lost(true), timed_out: false, at, ms: 0, max_rss_kb: 0, cpu_ms: 0, end }
}

/// Asks the keeper of a terminal for its stream; `None` when it has gone.
pub fn stream(reply: &TaskReply, asked: terminal::Attach) -> Result<Option<terminal::Stream>, Failure> {
    unless_gone(terminal::Stream::attach(reply.run_dir.as_path(), asked))
}

/// How a command ended, as its keeper wrote it down; lost when it did not.
pub fn exit_on_disk(reply: &TaskReply) -> Exit {
    task::read_exit(reply.run_dir.as_path()).unwrap_or_else(|| lost(0))
}

/// The letters that a terminal showed last.
pub fn last_screen(reply: &TaskReply) -> Result<String, Failure> {
    Ok(task::rebuild(reply.log_dir.as_path(), u64::MAX)?.model.text())
}

/// Connects to the keeper; `None` when it has gone.
async fn link(reply: &TaskReply) -> Result<Option<Link>, Failure> {
    unless_gone(Link::connect(reply.run_dir.as_path()).await)
}

fn unless_gone<T>(connected: Result<T, TaskError>) -> Result<Option<T>, Failure> {
    match connected {
        Ok(link) => Ok(Some(link)),
        Err(TaskError::Gone) => Ok(None),
        Err(TaskError::Connect { source, .. })
            if matches!(
                source.kind(),
                std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::ConnectionRefused
                    // It left while we were waiting to be let in.
                    | std::io::ErrorKind::ConnectionReset
                    | std::io::ErrorKind::BrokenPipe
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The same as [`Daemon::settled`] for one who has no connection; without a runtime it is as it was.
pub async fn settled(at: &Environment, reply: &TaskReply, exit: Exit) -> Exit {
    if !matches!(exit.status, ExitStatus::Lost(_)) {
        return exit;
    }
    match Daemon::running(at).await {
        Ok(Some(daemon)) => daemon.settled(reply, exit).await,
        Ok(None) | Err(_) => exit,
    }
}

/// A keeper, to be asked.
#[derive(Clone)]
pub struct Remote {
    link: Link,
}

impl Remote {
    /// Gives all bytes to the command, as fast as it reads.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.link.input_all(bytes).await?)
    }

    /// The end of its input.
    pub async fn close_input(&self) -> Result<(), Failure> {
        Ok(self.link.close_input().await?)
    }

    /// A signal.
    pub async fn signal(&self, number: i32) -> Result<(), Failure> {
        Ok(self.link.signal(number).await?)
    }

    /// Ends everything the command started.
    pub async fn kill_tree(&self, grace: Duration) -> Result<(), Failure> {
        Ok(self.link.kill_tree(grace).await?)
    }
}
