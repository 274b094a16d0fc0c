//! Two homes on one repository, a second daemon on one home, an embedding program that owns a home and quits.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use lanes::runtime::{Options, Runtime};
use lanes::task::KeeperChoice;
use serde_json::Value;

use crate::support::e2e::{Made, Ran, Scene};
use crate::support::stage::until;
use crate::support::task::kill_and_wait;

/// A second home beside the one of the scene, whose daemon ends with it.
struct Other<'a> {
    scene: &'a Scene,
    home: PathBuf,
}

impl<'a> Other<'a> {
    fn new(scene: &'a Scene) -> Self {
        Self { scene, home: scene.path().join("home-b") }
    }

    fn lanes(&self, args: &[&str]) -> Ran {
        let mut all: Vec<OsString> = vec!["--home".into(), self.home.clone().into(), "--json".into()];
        all.extend(args.iter().map(OsString::from));
        self.scene.lanes(&all)
    }

    fn json(&self, args: &[&str]) -> Value {
        let ran = self.lanes(args);
        assert_eq!(ran.code, Some(0), "lanes {args:?}: {}{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).expect("one object")
    }

    fn kill(&self) {
        let pid = self.json(&["daemon", "status"])["daemon"]["pid"].as_i64().expect("a pid");
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        assert!(kill_and_wait(pid), "it is there");
    }
}

impl Drop for Other<'_> {
    fn drop(&mut self) {
        let _open_ones = self.lanes(&["cleanup", "--all", "--force"]);
        let _running = self.lanes(&["daemon", "stop"]);
    }
}

/// Every file of a tree with its bytes, and the lane's tasks with their processes.
fn facts(scene: &Scene, lane: &Made) -> (BTreeMap<PathBuf, Vec<u8>>, Value, String) {
    let mut files = BTreeMap::new();
    let mut folders = vec![lane.path.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("reads").flatten() {
            match entry.file_type().expect("a kind").is_dir() {
                true => folders.push(entry.path()),
                false => drop(files.insert(entry.path(), std::fs::read(entry.path()).expect("reads"))),
            }
        }
    }
    let shown = scene.json(&["show", &lane.id])["lane"].clone();
    let tasks = shown["tasks"].as_array().expect("a list").iter();
    let tasks = tasks.map(|task| serde_json::json!([task["id"], task["pid"], task["keeper_pid"]])).collect();
    (files, tasks, scene.git_in(&lane.path, &["rev-parse", "HEAD"]))
}

/// Every worktree that git knows, but for spares: those come and go.
fn worktrees(scene: &Scene) -> Vec<String> {
    let listed = scene.git(&["worktree", "list", "--porcelain"]);
    let all = listed.split("\n\n").filter(|one| !one.contains("locked lanes spare "));
    all.map(str::to_owned).collect()
}

#[test]
fn nobody_reaps_the_lanes_trash_or_commits_of_another_home() {
    let scene = Scene::new();
    let other = Other::new(&scene);
    let busy = scene.create_with(&["create", "busy", "--", "sleep", "300"]);
    let dirty = scene.create("dirty");
    scene.sh(
        "dirty",
        "echo new > new; echo more >> a.txt; git add a.txt; git commit -qm more; echo x > sub/b.txt",
    );
    // Commits that nobody else has, in the trash of the first home only.
    let gone = scene.create("gone");
    scene.sh("gone", "git checkout -q --detach; echo d > d; git add d; git commit -qm detached; echo u > u");
    let detached = scene.git_in(&gone.path, &["rev-parse", "HEAD"]);
    scene.ok(&["cleanup", "gone"]);
    scene.saved(&gone.id);
    let before = (facts(&scene, &busy), facts(&scene, &dirty));

    // The second one: starts, looks, makes, ends, empties.
    assert_eq!(other.json(&["ls"])["lanes"].as_array().map(Vec::len), Some(0));
    assert_eq!(other.json(&["reconcile"])["repairs"].as_array().map(Vec::len), Some(0));
    let taken = other.lanes(&["create", "dirty"]);
    assert_eq!(taken.code, Some(3), "{}{}", taken.stdout, taken.stderr);
    other.json(&["create", "own", "--", "sleep", "300"]);
    let theirs = worktrees(&scene);
    other.json(&["create", "second"]);
    other.json(&["cleanup", "second"]);
    assert_eq!(other.json(&["trash", "ls"])["trash"].as_array().map(Vec::len), Some(1));
    other.json(&["trash", "empty", "--yes"]);
    assert_eq!(other.lanes(&["restore", "gone"]).code, Some(4));
    for name in ["dirty", "busy", &dirty.id] {
        assert_ne!(other.lanes(&["cleanup", name, "--force"]).code, Some(0), "{name} is not its own");
    }
    // Both are killed and come back, each finds its own.
    for _round in 0..2 {
        scene.kill_daemon();
        other.kill();
        other.json(&["daemon", "start"]);
        assert_eq!(other.json(&["ls"])["lanes"].as_array().map(Vec::len), Some(1));
        scene.ok(&["daemon", "start"]);
    }
    assert_eq!(worktrees(&scene), theirs);
    other.json(&["cleanup", "--all"]);
    other.json(&["trash", "empty", "--yes"]);
    scene.git(&["reflog", "expire", "--expire=now", "--all"]);
    scene.git(&["gc", "-q", "--prune=now"]);
    assert_eq!((facts(&scene, &busy), facts(&scene, &dirty)), before, "something of the first was touched");
    let back = scene.restore(&["gone"]);
    assert_eq!(scene.git_in(&back.path, &["rev-parse", "HEAD"]), detached);
    assert_eq!(std::fs::read_to_string(back.path.join("u")).expect("reads"), "u\n");
}

#[test]
fn a_home_that_was_thrown_away_leaves_lanes_that_nobody_touches_unasked() {
    let scene = Scene::new();
    let kept = {
        let other = Other::new(&scene);
        let lane = other.json(&["create", "left"])["lane"].clone();
        let path = PathBuf::from(lane["worktree"].as_str().expect("a path"));
        std::fs::write(path.join("work"), "hours\n").expect("writes");
        other.kill();
        std::fs::remove_dir_all(&other.home).expect("removes");
        // Its end would make a new home there, which finds its lane again and ends it.
        std::mem::forget(other);
        path
    };
    scene.create("a");
    scene.ok(&["reconcile"]);
    scene.ok(&["cleanup", "--all"]);
    scene.kill_daemon();
    scene.ok(&["daemon", "start"]);
    assert_eq!(std::fs::read_to_string(kept.join("work")).expect("reads"), "hours\n");
    assert!(scene.try_git(&kept, &["status"]).code == Some(0));
    scene.git(&["worktree", "remove", "-f", "-f", &kept.to_string_lossy()]);
}

#[test]
fn a_second_daemon_on_a_home_is_refused_and_a_lock_with_a_pid_of_somebody_else_is_seen_through() {
    let scene = Scene::new();
    scene.create("a");
    let pid = scene.daemon().as_raw_nonzero().to_string();
    let second = scene.lanes(&["daemon", "run"]);
    assert_ne!(second.code, Some(0));
    assert!(second.stderr.contains(&pid), "{}", second.stderr);
    assert_eq!(scene.daemon().as_raw_nonzero().to_string(), pid);
    // The machine gave the pid of the last owner to another program.
    scene.kill_daemon();
    let mut stranger = Command::new("sleep").arg("300").spawn().expect("starts");
    let lock = scene.home().join("daemon.lock");
    let mut holder: Value =
        serde_json::from_slice(&std::fs::read(&lock).expect("a holder")).expect("an object");
    holder["pid"] = stranger.id().into();
    std::fs::write(&lock, holder.to_string()).expect("writes");
    let admin = scene.repo().join(".git/worktrees/a/locked");
    let reason = std::fs::read_to_string(&admin).expect("locked");
    let reused = reason.replace(&pid, &stranger.id().to_string());
    std::fs::write(&admin, reused).expect("writes");
    scene.ok(&["daemon", "start"]);
    assert_eq!(scene.json(&["show", "a"])["lane"]["state"], "ready");
    scene.ok(&["cleanup", "a"]);
    assert!(stranger.try_wait().expect("asks").is_none(), "it was ended");
    stranger.kill().expect("ends");
    stranger.wait().expect("ends");
}

const CHILD_HOME: &str = "LANES_TEST_EMBEDDED_HOME";

/// A program that embeds the runtime, owns the home, serves its socket, and quits when its input ends.
#[test]
#[ignore = "the embedding program of these tests"]
fn child_that_embeds() {
    let Some(home) = std::env::var_os(CHILD_HOME) else { return };
    let keeper = KeeperChoice::Program(env!("CARGO_BIN_EXE_lanes-keeper").into());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let lanes =
        runtime.block_on(Runtime::open_owner(Options::new(PathBuf::from(home), keeper))).expect("owns");
    println!("\nowns");
    let _ends_with_our_parent = std::io::stdin().read(&mut [0]);
    runtime.block_on(lanes.shut_down());
}

fn embed(scene: &Scene) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command
        .args(["--exact", "e2e_two_runtimes::child_that_embeds", "--ignored", "--nocapture"])
        .env_clear()
        .envs(scene.env())
        .env(CHILD_HOME, scene.home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    assert!(output.by_ref().lines().map_while(Result::ok).any(|line| line == "owns"));
    child.stdout = Some(output.into_inner());
    child
}

#[test]
fn when_an_embedding_owner_quits_or_dies_a_daemon_takes_over_and_followers_miss_nothing() {
    for by_force in [false, true] {
        let scene = Scene::new();
        let mut owner = embed(&scene);
        assert_eq!(scene.daemon().as_raw_nonzero().get(), i32::try_from(owner.id()).expect("a pid"));
        let lane = scene.create_with(&["create", "a", "--", "sleep", "300"]);
        let mut follower = scene.start(&["--json", "events", "--follow", "--since", "0"]);
        let mut told = BufReader::new(follower.stdout.take().expect("piped")).lines();
        let mut seen: Vec<Value> = Vec::new();
        let mut read_until = |topic: &str, state: Option<&str>| {
            loop {
                let line = told.next().expect("it goes on").expect("reads");
                let event: Value = serde_json::from_str(&line).expect("an object");
                let found = event["topic"] == topic && state.is_none_or(|to| event["payload"]["to"] == to);
                seen.push(event);
                if found {
                    return;
                }
            }
        };
        read_until("lane.state.changed", Some("running"));
        let before = facts(&scene, &lane);
        if by_force {
            owner.kill().expect("kills");
        } else {
            drop(owner.stdin.take());
        }
        owner.wait().expect("ends");
        // A client starts a daemon; the lane and its command are as they were.
        assert_eq!(facts(&scene, &lane), before);
        let now = scene.daemon().as_raw_nonzero().get();
        assert_ne!(now, i32::try_from(owner.id()).expect("a pid"));
        scene.ok(&["cleanup", "a"]);
        read_until("lane.closed", None);
        let offsets: Vec<u64> =
            seen.iter().map(|event| event["offset"].as_u64().expect("a number")).collect();
        assert_eq!(offsets, (1..=offsets.len() as u64).collect::<Vec<_>>(), "a hole, or one twice");
        follower.kill().expect("ends");
        follower.wait().expect("ends");
        scene.nothing_open();
    }
}

#[test]
fn an_embedding_program_is_refused_a_home_that_a_daemon_owns_and_can_be_its_client() {
    let scene = Scene::new();
    scene.create("a");
    let options = Options::new(scene.home(), KeeperChoice::InProcess);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let refused = Runtime::open_owner(options.clone()).await.err().expect("owned by the daemon");
        assert_eq!(refused.code, lanes::failure::Code::Busy);
        let client = Runtime::open(options).await.expect("a client");
        assert!(!client.is_owner());
        client.shut_down().await;
    });
    assert!(Path::new(&scene.home()).join("daemon.sock").exists());
    scene.ok(&["cleanup", "a"]);
    until("it is closed", || scene.inventory().trees.is_empty());
}
