//! Plants one of each kind of leftover beside what a runtime has, and takes away what is left of them.
#![allow(dead_code, reason = "each test uses a part")]

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use lanes::ids::{LaneId, TaskId, TaskKind};
use lanes::keeper::Shape;
use lanes::task::{KeeperChoice, Launcher};
use serde_json::Value;

use super::e2e::Scene;
use super::git::write;
use super::task::{Bench, keeper_program};

/// What was planted.
pub struct Planted {
    /// Kind and resource, or for processes the pid.
    pub things: Vec<(&'static str, String)>,
    process: Child,
    /// The pid and start of the keeper.
    pub keeper: (u32, u64),
    _launching: tokio::runtime::Runtime,
    /// Ends the keeper's tree when a test has not.
    bench: Bench,
}

impl Planted {
    /// True once the process has ended; it is our child, so somebody has to ask.
    pub fn process_ended(&mut self) -> bool {
        self.process.try_wait().expect("asks").is_some()
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _waited = self.process.wait();
        let keeper = lanes::proc::process(self.keeper.0).filter(|it| it.start == self.keeper.1);
        for process in self.bench.marked().into_iter().chain(keeper) {
            lanes::keeper::signal(&process, &[rustix::process::Signal::KILL]);
        }
    }
}

/// A process with the mark of a task that nobody knows.
pub fn marked_process(home: &Path, secret: &str) -> Child {
    let mut command = Command::new("sleep");
    command.arg("300").env("LANES_TASK_ID", TaskId::generate(TaskKind::Run).to_string());
    command.env("LANES_LANE_ID", LaneId::generate().to_string());
    command.env("LANES_HOME", home).env("LANES_TASK_SECRET", secret).process_group(0);
    command.spawn().expect("starts")
}

/// Makes a tree that is locked as ours and carries no token; gives its path.
pub fn locked_tree(scene: &Scene, name: &str) -> PathBuf {
    let path = scene.root().join(name);
    let reason = format!("lanes {} {} 4194303", LaneId::generate(), lanes::proc::boot_id());
    let branch = format!("of-{name}");
    let text = path.display().to_string();
    scene.git(&["worktree", "add", "-q", "--lock", "--reason", &reason, "-b", &branch, &text]);
    path
}

/// One of each kind. The scene has a closed lane, whose id is given.
pub fn plant(scene: &Scene, closed: &str) -> Planted {
    let (root, home) = (scene.root(), scene.home());
    let mut things = Vec::new();
    let mut put = |kind: &'static str, path: &Path| things.push((kind, path.display().to_string()));

    // Processes first: they are looked at once they are five seconds old.
    let bench = Bench::new();
    let process = marked_process(&home, &bench.secret);
    let mut spec = bench.spec(Shape::Run { stdin: false }, &["sleep", "300"]);
    spec.run_dir = home.join("run").join(spec.id.to_string()).into();
    let logs = home.join("logs").join(spec.lane_id.to_string());
    spec.log_dir = logs.join(spec.id.to_string()).into();
    let launching = tokio::runtime::Runtime::new().expect("a runtime");
    let launcher = Launcher::new(KeeperChoice::Program(keeper_program()), &home);
    let started = launching.block_on(launcher.start(spec)).expect("starts");
    put("log_folder", &logs);

    let unknown = root.join("unknown");
    write(&unknown.join("deep/er/precious"), "nobody else has this\n");
    std::os::unix::fs::symlink("deep/er/precious", unknown.join("link")).expect("links");
    put("worktree", &unknown);

    let dirty = locked_tree(scene, "no-token");
    write(&dirty.join("a.txt"), "changed\n");
    write(&dirty.join("new.txt"), "untracked\n");
    put("worktree", &dirty);

    let entry = locked_tree(scene, "gone");
    write(&entry.join("more.txt"), "more\n");
    scene.git_in(&entry, &["add", "-A"]);
    scene.git_in(&entry, &["commit", "-q", "-m", "on a branch"]);
    scene.git_in(&entry, &["checkout", "-q", "--detach"]);
    scene.git_in(&entry, &["commit", "-q", "--allow-empty", "-m", "on none"]);
    std::fs::remove_dir_all(&entry).expect("removes");
    put("admin_entry", &scene.repo().join(".git/worktrees/gone"));

    // A lane of a home that is not there any more.
    let elsewhere = scene.path().join("home-gone");
    let there = |args: &[&str]| {
        let mut all = vec!["--json", "--home", elsewhere.to_str().expect("text")];
        all.extend(args);
        let text = scene.ok(&all);
        serde_json::from_str::<Value>(&text).expect("one object")
    };
    let made = there(&["create", "homeless"]);
    there(&["daemon", "stop"]);
    std::fs::remove_dir_all(&elsewhere).expect("removes");
    put("worktree", Path::new(made["lane"]["worktree"].as_str().expect("a path")));

    // The tree of a lane that is closed.
    let back = locked_tree(scene, "back");
    let token = root.join(".trash").join(closed).join("admin/lanes.json");
    std::fs::copy(token, scene.repo().join(".git/worktrees/back/lanes.json")).expect("copies");
    put("worktree", &back);

    let run = home.join("run").join(TaskId::generate(TaskKind::Run).to_string());
    write(&run.join("keeper.sock"), "");
    let aged = Command::new("touch").args(["-d", "2 hours ago"]).arg(&run).status().expect("starts");
    assert!(aged.success());
    put("run_folder", &run);

    let undone = root.join(format!(".lanes-undo-{}-tree", LaneId::generate()));
    write(&undone.join("half/of/it"), "");
    put("undo_rest", &undone);
    let emptied = root.join(".trash").join(format!(".gone-{closed}"));
    write(&emptied.join("files.tar.gz"), "half of it");
    put("undo_rest", &emptied);

    let link = home.join("agents").join(LaneId::generate().to_string());
    std::os::unix::fs::symlink("/nowhere/agent.sock", &link).expect("links");
    put("socket", &link);

    things.push(("process", process.id().to_string()));
    things.push(("keeper", started.identity.keeper_pid.to_string()));
    let keeper = (started.identity.keeper_pid, started.identity.keeper_start);
    Planted { things, process, keeper, _launching: launching, bench }
}
