//! Starts keepers and waits for them, and for nothing else.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::{OnceCell, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::{TaskError, pidfd, program, sweep};
use crate::failure::Failure;
use crate::fault;
use crate::keeper::{self, Identity, Spec, StartResult};
use crate::proc;

/// A new keeper has so long to say that its command runs: far more than a loaded machine needs.
pub const START_DEADLINE: Duration = Duration::from_secs(60);
/// Its answer is not longer than this.
const MAX_RESULT: u64 = 1 << 20;
/// A copy that another thread's child still holds open for writing cannot be started; that passes.
const BUSY_TRIES: u32 = 50;

/// Where the keeper's program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeeperChoice {
    /// This program, which calls [`keeper::main_if_invoked`] first.
    Program(PathBuf),
    /// `lanes-keeper` beside the program we are; where there is none, the program we are, which calls
    /// [`keeper::main_if_invoked`] first.
    SelfExec,
    /// A thread of ours: the task does not outlive us, and a descendant that hides is not found.
    InProcess,
}

/// Starts keepers.
#[derive(Clone, Debug)]
pub struct Launcher {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    choice: KeeperChoice,
    bin: PathBuf,
    copy: OnceCell<PathBuf>,
    tasks: TaskTracker,
}

/// A task that runs.
#[derive(Debug)]
pub struct Started {
    /// Who it is.
    pub identity: Identity,
    /// Resolves when its keeper has ended.
    pub keeper_gone: KeeperGone,
}

/// The end of a keeper.
#[derive(Clone, Debug)]
pub struct KeeperGone(watch::Receiver<()>);

impl KeeperGone {
    /// Resolves when the keeper has ended and was waited for: then `exit.json` lies there, or nobody knows.
    pub async fn wait(mut self) {
        // The sender says nothing; it is dropped.
        while self.0.changed().await.is_ok() {}
    }
}

impl Launcher {
    /// Starts keepers as chosen; copies of programs lie in `home/bin`.
    pub fn new(choice: KeeperChoice, home: &Path) -> Self {
        let bin = home.join("bin");
        let inner = Inner { choice, bin, copy: OnceCell::new(), tasks: TaskTracker::new() };
        Self { inner: Arc::new(inner) }
    }

    /// Where keepers come from.
    pub fn choice(&self) -> &KeeperChoice {
        &self.inner.choice
    }

    /// Copies of programs that nobody runs from, and from which we start nothing. Blocks.
    pub fn unused_copies(&self) -> Vec<PathBuf> {
        let mut unused = program::unused_copies(&self.inner.bin);
        unused.retain(|path| self.inner.copy.get() != Some(path));
        unused
    }

    /// Starts a task. Dropping the future does not take the start back.
    ///
    /// # Errors
    /// What the keeper says (command not found, folder gone, …), or why there is none.
    pub async fn start(&self, spec: Spec) -> Result<Started, TaskError> {
        let task = spec.id;
        let (tell, told) = oneshot::channel();
        let inner = Arc::clone(&self.inner);
        // Ours, so that a keeper is waited for whoever asked for it.
        self.inner.tasks.spawn(async move { inner.keep(spec, tell).await });
        told.await.unwrap_or(Err(TaskError::NoResult { task }))
    }
}

type Tell = oneshot::Sender<Result<Started, TaskError>>;

impl Inner {
    /// Starts a task, tells how that went, and waits for the keeper's end.
    async fn keep(&self, spec: Spec, tell: Tell) {
        let (alive, gone) = watch::channel(());
        let keeper_gone = KeeperGone(gone);
        if self.choice == KeeperChoice::InProcess {
            keep_here(spec, tell, keeper_gone).await;
            return drop(alive);
        }
        let mut child = match self.spawn(&spec).await {
            Ok(child) => child,
            Err(error) => {
                let _asker_left = tell.send(Err(error));
                return;
            }
        };
        fault::pass("keeper.spawned");
        let result = match tokio::time::timeout(START_DEADLINE, talk(&mut child, &spec)).await {
            // It said so itself, and has left nothing.
            Ok(result @ (Ok(_) | Err(TaskError::Start(_)))) => result,
            Ok(Err(error)) => {
                end(&mut child, &spec).await;
                Err(error)
            }
            Err(_elapsed) => {
                end(&mut child, &spec).await;
                Err(TaskError::StartTimeout { task: spec.id, after: START_DEADLINE })
            }
        };
        fault::pass("keeper.told");
        let failed = result.is_err();
        let started = result.map(|identity| Started { identity, keeper_gone });
        if failed {
            // Waited for first: who hears of a failed start finds nothing left of it.
            wait(&mut child).await;
            let _asker_left = tell.send(started);
        } else {
            let _asker_left = tell.send(started);
            wait(&mut child).await;
        }
        drop(alive);
    }

    async fn spawn(&self, spec: &Spec) -> Result<Child, TaskError> {
        let original = match &self.choice {
            KeeperChoice::Program(path) => path.clone(),
            KeeperChoice::SelfExec | KeeperChoice::InProcess => program::beside_us(),
        };
        let copied = self.copy.get_or_try_init(|| blocking_copy(&original, &self.bin)).await?;
        match spawn_patiently(copied, spec).await {
            // The copy was removed, or lies where nothing may be executed.
            Err(TaskError::SpawnKeeper { source, .. })
                if matches!(
                    source.kind(),
                    std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotFound
                ) =>
            {
                spawn_patiently(&original, spec).await
            }
            result => result,
        }
    }
}

async fn blocking_copy(from: &Path, bin: &Path) -> Result<PathBuf, TaskError> {
    let (from, bin) = (from.to_path_buf(), bin.to_path_buf());
    let to = bin.clone();
    let shown = from.clone();
    tokio::task::spawn_blocking(move || program::copy(&from, &bin)).await.unwrap_or_else(|cancelled| {
        Err(TaskError::CopyKeeper { from: shown, to, source: std::io::Error::other(cancelled) })
    })
}

async fn spawn_patiently(program: &Path, spec: &Spec) -> Result<Child, TaskError> {
    let mut tries = 0;
    let failed = |source| TaskError::SpawnKeeper { program: program.to_path_buf(), source };
    fault::at("keeper.spawn").map_err(|injected| failed(injected.source))?;
    loop {
        // No `pre_exec`: the child is made without copying our memory, however large we are.
        let spawned = Command::new(program)
            .arg(keeper::ARGUMENT)
            .arg(spec.id.text().as_str())
            .env_clear()
            .envs(fault::handed_down())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match spawned {
            Ok(child) => return Ok(child),
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(source) => return Err(failed(source)),
        }
    }
}

/// Tells a new keeper its task, and reads its answer.
async fn talk(child: &mut Child, spec: &Spec) -> Result<Identity, TaskError> {
    let task = spec.id;
    let failed = |source| TaskError::TellKeeper { task, source };
    let body = serde_json::to_vec(spec).map_err(|e| failed(e.into()))?;
    let stdin = child.stdin.take().expect("invariant: asked for a pipe");
    let stdout = child.stdout.take().expect("invariant: asked for a pipe");
    let mut to = pipe::Sender::from_owned_fd(OwnedFd::from(stdin)).map_err(failed)?;
    let from = pipe::Receiver::from_owned_fd(OwnedFd::from(stdout)).map_err(failed)?;
    let written = to.write_all(&body).await;
    drop(to);
    // A keeper that could not be set up answers without reading; its answer says more than our error.
    let mut line = Vec::new();
    from.take(MAX_RESULT).read_to_end(&mut line).await.map_err(failed)?;
    match serde_json::from_slice(&line) {
        Ok(StartResult::Started(identity)) => Ok(*identity),
        Ok(StartResult::Failed(failure)) => Err(TaskError::Start(failure)),
        Err(_not_a_result) => Err(written.map_or_else(failed, |()| TaskError::NoResult { task })),
    }
}

/// Ends a keeper that never said whether its command runs, and what it may have started.
async fn end(child: &mut Child, spec: &Spec) {
    let start = proc::start_of(child.id()).unwrap_or_default();
    let _ended_already = child.kill();
    wait(child).await;
    let unknown = Identity {
        id: spec.id,
        lane_id: spec.lane_id,
        workspace_id: spec.workspace_id,
        correlation_id: spec.correlation_id,
        pid: 0,
        pid_start: start,
        keeper_pid: child.id(),
        keeper_start: start,
        boot_id: proc::boot_id(),
        secret: spec.secret.clone(),
        started_at: crate::clock::now(),
        groups: spec.groups.clone(),
        rlimits: spec.rlimits,
    };
    sweep(&unknown, Duration::ZERO).await;
}

/// Waits for this child, by its pidfd: no signal handler, no other child.
async fn wait(child: &mut Child) {
    // Its number may be another's once it was waited for.
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    if let Some(process) = pidfd::open(child.id()) {
        let _asked_below = pidfd::ended(process).await;
    }
    while let Ok(None) = child.try_wait() {
        // Only where there are no pidfds (Linux before 5.3).
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Keeps a task in a thread of ours.
async fn keep_here(spec: Spec, tell: Tell, keeper_gone: KeeperGone) {
    let (task, run_dir) = (spec.id, spec.run_dir.to_path_buf());
    let told = move |result: Result<Identity, keeper::KeeperError>| {
        let started = result
            .map(|identity| Started { identity, keeper_gone })
            .map_err(|error| TaskError::Start(Failure::from(error)));
        let _asker_left = tell.send(started);
    };
    let (running, ended) = oneshot::channel::<()>();
    let body = move || {
        keeper::keep_in_thread(spec, told);
        drop(running);
    };
    let name = format!("keeper {task}");
    match std::thread::Builder::new().name(name).spawn(body) {
        // The thread ends with its task; this waits for exactly that.
        Ok(_thread) => drop(ended.await),
        Err(error) => tracing::warn!(%task, run_dir = %run_dir.display(), %error, "no thread for a keeper"),
    }
}
