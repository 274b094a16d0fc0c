//! A runtime with tasks and without lanes, served on a real socket: what `exec`, `attach` and `logs` need.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lanes::api::{
    Attach, Exec, LaneGet, LaneRef, Method, TaskAttach, TaskExec, TaskGet, TaskRef, TaskReply, TaskView,
};
use lanes::bus::{BoxFuture, Bus, Context, Hub, MemoryJournal};
use lanes::clock;
use lanes::daemon::{ServeOptions, Socket, serve};
use lanes::failure::{Code, Failure};
use lanes::ids::{LaneId, TaskId, TaskKind, WorkspaceId};
use lanes::keeper::{Shape, Spec};
use lanes::task::{KeeperChoice, Launcher};
use tokio_util::sync::CancellationToken;

/// The runtime; it stops when this is dropped, its tasks do not.
pub struct Stage {
    pub dir: tempfile::TempDir,
    pub secret: String,
    stop: CancellationToken,
    server: Option<std::thread::JoinHandle<()>>,
}

struct Inner {
    home: PathBuf,
    work: PathBuf,
    secret: String,
    launcher: Launcher,
    tasks: Mutex<Vec<TaskReply>>,
}

impl Stage {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let secret = uuid::Uuid::new_v4().simple().to_string();
        for part in ["home", "work", "user"] {
            std::fs::create_dir(dir.path().join(part)).expect("a folder");
        }
        let home = dir.path().join("home");
        set_mode(&home, 0o700);
        let stop = CancellationToken::new();
        let (ready, wait) = std::sync::mpsc::channel();
        let inner = Arc::new(Inner {
            launcher: Launcher::new(KeeperChoice::Program(env!("CARGO_BIN_EXE_lanes").into()), &home),
            work: dir.path().join("work"),
            secret: secret.clone(),
            tasks: Mutex::new(Vec::new()),
            home,
        });
        let token = stop.clone();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let hub = Hub::new();
                let bus = Bus::new(Arc::new(MemoryJournal::new(hub.clone())), hub);
                register::<TaskExec>(&bus, &inner, |inner, params| Box::pin(inner.exec(params)));
                register::<TaskAttach>(&bus, &inner, |inner, params| Box::pin(inner.attach(params)));
                register::<TaskGet>(&bus, &inner, |inner, params| Box::pin(inner.get(params)));
                register::<LaneGet>(&bus, &inner, |_, lane| Box::pin(no_lane(lane)));
                let socket = Socket::bind(&inner.home).expect("binds");
                ready.send(()).expect("the test waits");
                serve(ServeOptions::new(socket, bus), token).await;
            });
        });
        wait.recv().expect("the server is up");
        Self { dir, secret, stop, server: Some(server) }
    }

    /// `lanes` with these arguments, in an environment of its own.
    pub fn lanes<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lanes"));
        let path = std::env::var_os("PATH").expect("a PATH");
        command
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.dir.path().join("user"))
            .env("LANES_HOME", self.dir.path().join("home"))
            .current_dir(self.dir.path().join("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Where commands run.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Ends the runtime and waits until it has gone.
    pub fn stop(&mut self) {
        self.stop.cancel();
        if let Some(server) = self.server.take() {
            server.join().expect("the server ends");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop();
        for process in lanes::proc::all() {
            if lanes::keeper::has_secret(process.pid, &self.secret) {
                lanes::keeper::signal(&process, &[rustix::process::Signal::KILL]);
            }
        }
    }
}

type Answer<M> = BoxFuture<'static, Result<<M as Method>::Reply, Failure>>;

fn register<M: Method>(bus: &Bus, inner: &Arc<Inner>, answer: fn(Arc<Inner>, M::Params) -> Answer<M>) {
    let inner = inner.clone();
    let handler = Arc::new(move |params: serde_json::Value, _context: Context| {
        let inner = inner.clone();
        let future: BoxFuture<'static, Result<serde_json::Value, Failure>> = Box::pin(async move {
            let params = serde_json::from_value(params).expect("good parameters");
            let reply = answer(inner, params).await?;
            Ok(serde_json::to_value(reply).expect("a reply is JSON"))
        });
        future
    });
    bus.register(M::NAME, handler).expect("registers");
}

async fn no_lane(lane: LaneRef) -> Result<lanes::api::LaneReply, Failure> {
    Err(Failure::new(Code::LaneNotFound, format!("there is no lane {}", lane.lane)))
}

impl Inner {
    async fn exec(self: Arc<Self>, params: Exec) -> Result<TaskReply, Failure> {
        let shape = Shape::Run { stdin: params.stdin };
        self.start(TaskKind::Run, shape, params.command, params.timeout_ms).await
    }

    async fn attach(self: Arc<Self>, params: Attach) -> Result<TaskReply, Failure> {
        if let (false, Some(found)) = (params.new, self.tasks.lock().expect("no panic").last().cloned()) {
            return Ok(found);
        }
        let size = params.command.size.unwrap_or(lanes::api::Size { cols: 80, rows: 24 });
        let shape = Shape::Terminal { cols: size.cols, rows: size.rows };
        self.start(TaskKind::Terminal, shape, params.command, None).await
    }

    async fn get(self: Arc<Self>, params: TaskRef) -> Result<TaskReply, Failure> {
        let tasks = self.tasks.lock().expect("no panic").clone();
        let found = tasks.into_iter().find(|reply| reply.task.id.to_string().starts_with(&params.task));
        found.ok_or_else(|| Failure::new(Code::TaskNotFound, "no such task"))
    }

    async fn start(
        &self,
        kind: TaskKind,
        shape: Shape,
        command: lanes::api::Command,
        timeout_ms: Option<u64>,
    ) -> Result<TaskReply, Failure> {
        let (id, lane_id) = (TaskId::generate(kind), LaneId::from_u128(7));
        let mut env = command.env.unwrap_or_default();
        env.push(("LANES_TASK_SECRET".into(), self.secret.as_str().into()));
        let spec = Spec {
            id,
            lane_id,
            workspace_id: WorkspaceId::from_u128(1),
            correlation_id: lanes::ids::CorrelationId::generate(),
            shape,
            argv: command.argv.clone(),
            cwd: self.work.as_path().into(),
            env,
            secret: self.secret.clone(),
            timeout_ms,
            grace_ms: 1_000,
            run_dir: self.home.join("run").join(id.to_string()).into(),
            log_dir: self.home.join("logs").join(lane_id.to_string()).join(id.to_string()).into(),
            log_limit: 256 << 20,
            groups: lanes::keeper::Groups::default(),
            rlimits: lanes::keeper::Rlimits::default(),
        };
        let (run_dir, log_dir) = (spec.run_dir.clone(), spec.log_dir.clone());
        let started = self.launcher.start(spec).await?;
        let task = TaskView {
            lost: None,
            revived_as: None,
            phase: None,
            signals: Vec::new(),
            id,
            lane_id,
            kind,
            command: command.argv.iter().map(|word| word.lossy().into_owned()).collect(),
            pid: Some(started.identity.pid),
            keeper_pid: Some(started.identity.keeper_pid),
            state: "live".into(),
            started_at: clock::now(),
            exit: None,
            descendants: Vec::new(),
        };
        let reply = TaskReply { task, lane_name: "a".into(), run_dir, log_dir, started: true };
        self.tasks.lock().expect("no panic").push(reply.clone());
        Ok(reply)
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("sets the mode");
}

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until something is so.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
