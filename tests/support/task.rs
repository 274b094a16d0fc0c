//! A home for tasks in a temporary folder, and what is left of them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lanes::ids::{CorrelationId, LaneId, TaskId, TaskKind, WorkspaceId};
use lanes::keeper::{Exit, Shape, Spec, Stream, has_secret};
use lanes::proc;
use lanes::raw::Raw;
use lanes::task::{KeeperChoice, Launcher, Link, LogReader, Piece, Started, follow};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

/// Nothing here takes so long, however loaded the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a process by force and waits until it has gone; false when it had gone before.
pub fn kill_and_wait(pid: Pid) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let killed = pidfd_send_signal(&process, Signal::KILL).is_ok();
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    let _ended = rustix::event::poll(&mut fds, None);
    killed
}

/// A home, a folder to run in and a launcher. Ends what it started when dropped.
pub struct Bench {
    pub dir: TempDir,
    pub launcher: Launcher,
    pub secret: String,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(KeeperChoice::Program(keeper_program()))
    }

    pub fn in_process() -> Self {
        Self::with(KeeperChoice::InProcess)
    }

    pub fn with(choice: KeeperChoice) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let launcher = Launcher::new(choice, &dir.path().join("home"));
        Self { dir, launcher, secret: uuid::Uuid::new_v4().simple().to_string() }
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub fn spec(&self, shape: Shape, argv: &[&str]) -> Spec {
        let kind = match shape {
            Shape::Terminal { .. } => TaskKind::Terminal,
            Shape::Run { .. } => TaskKind::Run,
        };
        let (id, lane_id) = (TaskId::generate(kind), LaneId::generate());
        let home = self.home();
        let mut env: BTreeMap<String, String> = BTreeMap::new();
        env.insert("PATH".into(), std::env::var("PATH").expect("a PATH"));
        env.insert("TERM".into(), "xterm-256color".into());
        env.insert("LANES_TASK_ID".into(), id.to_string());
        env.insert("LANES_TASK_SECRET".into(), self.secret.clone());
        Spec {
            id,
            lane_id,
            workspace_id: WorkspaceId::generate(),
            correlation_id: CorrelationId::generate(),
            shape,
            argv: argv.iter().map(|a| Raw::from(*a)).collect(),
            cwd: self.dir.path().into(),
            env: env.into_iter().map(|(n, v)| (n.into(), v.into())).collect(),
            secret: self.secret.clone(),
            timeout_ms: None,
            grace_ms: 2_000,
            run_dir: home.join("run").join(id.to_string()).into(),
            log_dir: home.join("logs").join(lane_id.to_string()).join(id.to_string()).into(),
            log_limit: 256 << 20,
            groups: lanes::keeper::Groups::default(),
            rlimits: lanes::keeper::Rlimits::default(),
        }
    }

    pub fn run(&self, script: &str) -> Spec {
        self.spec(Shape::Run { stdin: false }, &["sh", "-c", script])
    }

    pub fn terminal(&self, script: &str) -> Spec {
        self.spec(Shape::Terminal { cols: 80, rows: 24 }, &["sh", "-c", script])
    }

    pub async fn start(&self, spec: &Spec) -> Started {
        self.launcher.start(spec.clone()).await.expect("the task starts")
    }

    pub async fn link(&self, spec: &Spec) -> Link {
        Link::connect(spec.run_dir.as_path()).await.expect("the keeper answers")
    }

    /// Living processes that carry our secret.
    pub fn marked(&self) -> Vec<proc::Process> {
        let all = proc::all().into_iter();
        all.filter(|p| !p.is_dead() && has_secret(p.pid, &self.secret)).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let runs = std::fs::read_dir(self.home().join("run")).into_iter().flatten().flatten();
        let keepers: Vec<_> = runs
            .filter_map(|run| lanes::task::read_identity(&run.path()))
            .filter(|task| task.keeper_pid != std::process::id())
            .collect();
        // A keeper writes down how its command ended before it leaves: the folder goes after that.
        let begun = std::time::Instant::now();
        loop {
            for process in self.marked() {
                lanes::keeper::signal(&process, &[rustix::process::Signal::KILL]);
            }
            let living = keepers.iter().any(lanes::task::keeper_alive);
            if (!living && self.marked().is_empty()) || begun.elapsed() > PATIENCE / 6 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub fn keeper_program() -> PathBuf {
    env!("CARGO_BIN_EXE_lanes-keeper").into()
}

/// What a task wrote, stream by stream and all together, and how it ended.
#[derive(Debug, Default)]
pub struct Output {
    pub all: Vec<u8>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub gaps: Vec<(u64, u64)>,
    pub exit: Option<Exit>,
}

/// Reads a task to its end.
pub async fn read_all(spec: &Spec) -> Output {
    tokio::time::timeout(PATIENCE, async {
        let reader = LogReader::open(spec.log_dir.as_path(), 0);
        let link = Link::connect(spec.run_dir.as_path()).await.ok();
        let mut pieces = follow(reader, spec.run_dir.as_path(), link.as_ref()).await.expect("follows");
        let mut out = Output::default();
        while let Some(piece) = pieces.next().await.expect("reads") {
            match piece {
                Piece::Gap { from, to } => out.gaps.push((from, to)),
                Piece::Chunk(chunk) => {
                    out.all.extend_from_slice(&chunk.bytes);
                    match chunk.stream {
                        Stream::Stdout | Stream::Terminal => out.stdout.extend_from_slice(&chunk.bytes),
                        Stream::Stderr => out.stderr.extend_from_slice(&chunk.bytes),
                    }
                }
            }
        }
        out.exit = pieces.exit();
        out
    })
    .await
    .expect("the task ends in time")
}

/// Waits until the log contains this text; gives everything up to then.
pub async fn read_until(spec: &Spec, text: &str) -> String {
    let mut reader = LogReader::open(spec.log_dir.as_path(), 0);
    let mut all = Vec::new();
    wait_for(&format!("{text:?} in the output"), || {
        while let Some(piece) = reader.read_chunk().expect("reads") {
            if let Piece::Chunk(chunk) = piece {
                all.extend_from_slice(&chunk.bytes);
            }
        }
        String::from_utf8_lossy(&all).contains(text)
    })
    .await;
    String::from_utf8_lossy(&all).into_owned()
}

/// Waits for a condition, with a deadline.
pub async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for a future, with a deadline.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

pub fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}
